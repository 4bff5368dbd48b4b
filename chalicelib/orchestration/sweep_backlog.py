"""The sweep's own queue: what does not fit into one run of the sweep is handed out to other processes.

Each run sends at most one message for each kind and shard. A process works on that kind and shard until the next run of
the sweep begins. It sends no message itself: if rows are left, the next run sends one. So the processes that work on
one kind and shard cannot multiply, and a message that arrives late has no effect.
"""

from typing import Annotated

from pydantic import Field

from chalicelib.aws import sqs
from chalicelib.core.log import logger
from chalicelib.core.models import InputModel
from chalicelib.orchestration import due_work, store
from chalicelib.orchestration.due_work import DueWork, Kind, TimeLeft, Visit


class BacklogMessage(InputModel):
    """A message of the sweep's queue: a kind and a shard, and when the next run of the sweep begins (epoch ms)."""

    kind: Kind
    shard: Annotated[int, Field(ge=0)]
    until: int


def hand_out(work: DueWork, until: int) -> bool:
    """Let another process work on a kind and shard until `until`. False if the queue did not accept the message."""
    return sqs.send("sweep", {"kind": work.kind, "shard": work.shard, "until": until})


def handle_message(body: str, now: int, time_left: TimeLeft) -> None:
    """Handle one message: process due rows until none is left, or the time is up."""
    message = BacklogMessage.model_validate_json(body)
    if now >= message.until:  # the next run has begun, and has handed out what is left
        return
    work = DueWork(message.kind, message.shard)
    reserve = max(0, time_left() - (message.until - now))
    visit = Visit(now, store.load_outage())
    result = due_work.process(work, visit, lambda: time_left() - reserve, 0)
    logger.info("swept a backlog", extra=work._asdict() | vars(result))
