"""What the messages of the workflow queue ask for: submitted tasks become claimable."""

from chalicelib.tasks import upkeep
from chalicelib.types import Id, Request


class Submitted(Request):
    """A message: ids alone."""

    owner: Id
    task: Id


def make_claimable(body: str, now: int) -> None:
    """Handle one message. May run twice, late, or for a task that is gone."""
    message = Submitted.model_validate_json(body)
    upkeep.make_claimable(message.owner, message.task, now)
