"""An outage of the platform's own scheduled function, and how it changes deadlines."""

from typing import NamedTuple


class Outage(NamedTuple):
    """The last time that the scheduled function did not run. Agents and tasks are not penalised for that time."""

    began: int
    ended: int

    def extend(self, set_at: int, deadline: int) -> int:
        """Extend a deadline by the length of the outage, or return it unchanged.

        It is extended if it was set before the outage ended and had not passed when the outage began.
        """
        affected = set_at < self.ended and deadline > self.began
        return deadline + (self.ended - self.began if affected else 0)
