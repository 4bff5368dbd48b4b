"""What the messages of the workflow queue ask for: submitted tasks become claimable."""

from pydantic import Field

from chalicelib.core.models import Id, InputModel
from chalicelib.tasks import lifecycle


class SubmittedMessage(InputModel):
    """A message: ids alone."""

    owner: Id
    task_id: Id = Field(validation_alias="task")


def handle_message(body: str, now: int) -> None:
    """Handle one message. May run twice, late, or for a task that is gone."""
    message = SubmittedMessage.model_validate_json(body)
    lifecycle.make_claimable(message.owner, message.task_id, now)
