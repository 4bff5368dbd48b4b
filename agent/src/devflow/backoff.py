"""How long to wait before a request is sent again (docs/protocol.md, "What to do on each status")."""

FIRST_SECONDS = 0.5
MOST_SECONDS = 60.0


def pause(failures: int, chance: float, retry_after: float | None = None) -> float:
    """Seconds to wait after so many failures in a row (1 is the first): 0.5, 1, 2 ... 60, less up to a half by chance.

    `chance` is from 0 to 1, so that a fleet does not come back in step. What the platform asks for is waited for.
    """
    longest: float = min(MOST_SECONDS, FIRST_SECONDS * 2 ** min(failures - 1, 10))
    return max(longest * (1 - chance / 2), (retry_after or 0.0) * (1 + chance / 10))
