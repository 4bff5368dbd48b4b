"""What happens to tasks without a person or an agent asking: queued, released, lost, overdue.

Each of these reads the task, applies the rule and saves on condition; whoever comes second finds nothing to do.
"""

from typing import Any

from chalicelib import db
from chalicelib.agents import holds
from chalicelib.errors import Conflict
from chalicelib.log import logger
from chalicelib.tasks import model, store
from chalicelib.tasks.model import HELD, Change, Outage
from chalicelib.tasks.service import send

AGENT_REMOVED = "Agent removed"


def due(shard: int, now: int, start: dict[str, Any] | None, limit: int) -> db.Page:
    """Keys of open tasks that the sweep must look at."""
    return store.due(shard, now, start, limit)


def make_claimable(owner: str, task_id: str, now: int) -> None:
    """b: what a message of the workflow queue asks for. Late, repeated or orphaned messages change nothing."""
    task = store.load(owner, task_id, now)
    if task is None:
        logger.warning("a message for a task that is gone", extra={"task": task_id})
        return
    if task.status != "pending":
        return
    parts = store.save(model.queue(task, now))
    if task.pin is not None:
        parts.append(holds.announce_pinned(owner, task.pin, now))
    try:
        db.write(*parts)
    except db.Cancelled as cancelled:
        if 0 not in cancelled.rows:
            _write(model.fail(task, AGENT_REMOVED, now), now)
        # else: another copy of the message was quicker


def release(owner: str, task_id: str, agent: str, reason: str, now: int) -> None:
    """e: the agent went away before it started the task."""
    task = store.load(owner, task_id, now)
    if task is not None and task.agent == agent and task.status == "assigned":
        _write(model.requeue(task, reason, now), now)


def lose(owner: str, task_id: str, agent: str, now: int) -> None:
    """f: the agent is gone while it ran the task."""
    task = store.load(owner, task_id, now)
    if task is not None and task.agent == agent and task.status == "in_progress":
        _write(model.lose(task, now), now)


def take_up(key: db.Row, now: int, outage: Outage | None) -> bool:
    """What the sweep does with one row of its index; whether there was anything to do."""
    task = store.load_key(key, now)
    change = None if task is None else model.overdue(task, now, outage)
    if change is None:
        return False
    _write(change, now)
    if change.after.status == "pending":
        send(change.after)
    return True


def _write(change: Change, now: int) -> None:
    """Save a change, and let the holder go if the task is no longer its. Raises Conflict if the task had changed."""
    before, after = change.before, change.after
    parts = store.save(change)
    if before.status in HELD and after.status not in HELD:
        back = after.status == "queued" and after.pin is not None
        parts.append(holds.let_go(before.owner, before.agent or "", before.id, announced=now if back else None))
    try:
        db.write(*parts)
    except db.Cancelled as cancelled:
        if 0 in cancelled.rows:
            raise Conflict from None
        # The agent is gone, and with it all that its row said: the task's own part stands without it.
        orphaned = after.status == "queued" and after.pin is not None
        db.write(*store.save(model.fail(before, AGENT_REMOVED, now) if orphaned else change))
