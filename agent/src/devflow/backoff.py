"""How long to wait before a request is sent again (docs/protocol.md, "What to do on each status")."""

INITIAL_SECONDS = 0.5
MAX_SECONDS = 60.0


def compute_retry_delay(failures: int, jitter: float, retry_after: float | None = None) -> float:
    """Seconds to wait after so many failures in a row (1 is the first): 0.5, 1, 2 ... 60, less up to a half by chance.

    `chance` is from 0 to 1, so that a fleet does not come back in step. What the platform asks for is waited for.
    """
    longest: float = min(MAX_SECONDS, INITIAL_SECONDS * 2 ** min(failures - 1, 10))
    return max(longest * (1 - jitter / 2), (retry_after or 0.0) * (1 + jitter / 10))
