"""When our own scheduled function stood still, and what that does to deadlines."""

from typing import NamedTuple


class Outage(NamedTuple):
    """When our own scheduled function last stood still: nobody is punished for that silence."""

    began: int
    ended: int

    def extend(self, set_at: int, deadline: int) -> int:
        """A deadline that was set before the outage ended and was not past when it began moves by its length."""
        spared = set_at < self.ended and deadline > self.began
        return deadline + (self.ended - self.began if spared else 0)
