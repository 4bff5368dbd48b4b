"""The limits of concurrent webhook requests."""

from chalicelib.core.settings import settings

SLOTS, SLOTS_WHEN_SLOW = 4, 1
"""How many requests to one endpoint may be in progress at once, and how many where its last attempt failed or was slow.
So a receiver that never responds uses little of the capacity that all endpoints share."""
BATCH_SIZE = 10
"""How many deliveries a batch has. All deliveries of a batch are sent concurrently."""
MAX_BATCHES = SLOTS * settings.webhooks_per_user + 25
"""How many batches are sent concurrently at most. This is more than all endpoints of one user can occupy, even where
each of their requests waits for its response in a different batch."""
