"""How long to wait before a request is sent again (docs/protocol.md, "What to do on each status")."""

INITIAL_SECONDS = 0.5
MAX_SECONDS = 60.0


def compute_retry_delay(failures: int, jitter: float, retry_after: float | None = None) -> float:
    """Return the seconds to wait after `failures` failures in a row: 0.5, 1, 2 ... 60, minus jitter of up to a half.

    `failures` starts at 1. `jitter` is between 0 and 1 and keeps a fleet from retrying at the same moment.
    The delay is never shorter than `retry_after`, the seconds that the platform asked for.
    """
    longest: float = min(MAX_SECONDS, INITIAL_SECONDS * 2 ** min(failures - 1, 10))
    return max(longest * (1 - jitter / 2), (retry_after or 0.0) * (1 + jitter / 10))
