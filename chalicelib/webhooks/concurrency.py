"""How many webhooks are sent at the same time."""

from chalicelib.core.settings import settings

SLOTS, SLOTS_WHEN_SLOW = 4, 1
"""How many requests to one endpoint may be under way at once; to one that failed or was slow last time, how many. One
that never answers thus takes up little of what all share."""
BATCH_SIZE = 10
"""How many deliveries of one batch are sent at the same time: all of them."""
MAX_BATCHES = SLOTS * settings.webhooks_per_user + 25
"""How many batches are delivered at the same time at most: more than all endpoints of a user together can take up, if
each waits for its answer in a batch of its own."""
