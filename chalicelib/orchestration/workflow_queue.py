"""The workflow queue: its messages make submitted tasks claimable."""

from pydantic import Field

from chalicelib.core.models import Id, InputModel
from chalicelib.tasks import lifecycle


class SubmittedMessage(InputModel):
    """A message of the workflow queue. It contains only ids."""

    owner: Id
    task_id: Id = Field(validation_alias="task")


def handle_message(body: str, now: int) -> None:
    """Handle one message. A message may arrive twice or late, or for a task that was deleted."""
    message = SubmittedMessage.model_validate_json(body)
    lifecycle.make_claimable(message.owner, message.task_id, now)
