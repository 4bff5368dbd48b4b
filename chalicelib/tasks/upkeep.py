"""What happens to tasks without their agent asking: queued, released, lost, cancelled, overdue.

Each of these reads the task, applies a rule and saves on condition; who comes second finds nothing left to do.
"""

from collections.abc import Callable
from typing import Any

from chalicelib import db, queue
from chalicelib.agents import holds
from chalicelib.errors import Unavailable
from chalicelib.log import logger
from chalicelib.outage import Outage
from chalicelib.tasks import model, outbox, store
from chalicelib.tasks.rows import EVENT
from chalicelib.tasks.task import DEFAULT_TIMEOUT, HELD, Change, Task

AGENT_REMOVED = "Agent removed"
_TRIES = 5
_PAGE = 100


class Contested(Unavailable):
    """Others keep changing this task at the same moment; send the same request again."""


Rule = Callable[[Task], Change | None]


def settle(owner: str, task_id: str, rule: Rule, now: int) -> Change | None:
    """Apply a rule to a task as it stands, and again where somebody else changed it meanwhile.

    None where there is no such task or the rule has nothing to change. Raises what the rule raises, and Contested.
    """
    for _ in range(_TRIES):
        task = store.load(owner, task_id, now)
        change = None if task is None else rule(task)
        if change is None:
            return None
        written = _written(change, now)
        if written is not None:
            outbox.send(written.after, written.event)
            return written
    raise Contested


def _written(change: Change, now: int) -> Change | None:
    """Save a change, and let the holder go if the task is no longer its. None if the task had changed."""
    before, after = change.before, change.after
    parts = store.save(change)
    if before.status in HELD and after.status not in HELD:
        back = after.status == "queued" and after.pin is not None
        parts.append(holds.let_go(before.owner, before.agent or "", before.id, announced=now if back else None))
    elif before.cancel_at != after.cancel_at:
        parts.append(holds.ask_to_stop(before.owner, before.agent or "", before.id))
    elif before.status == "pending" and after.status == "queued" and after.pin is not None:
        parts.append(holds.announce_pinned(after.owner, after.pin, now))
    try:
        db.write(*parts)
    except db.Cancelled as cancelled:
        return None if 0 in cancelled.rows else _written_without_agent(change, now)
    return change


def _written_without_agent(change: Change, now: int) -> Change | None:
    """The agent is gone, and with it all that its row said: the task's own part stands without it."""
    if change.after.status == "queued" and change.after.pin is not None:
        change = model.fail(change.before, AGENT_REMOVED, now)
    try:
        db.write(*store.save(change))
    except db.Cancelled:
        return None
    return change


def send(task: Task) -> bool:
    """Put a pending task's message on the workflow queue; False if it could not be, and the sweep will."""
    return queue.send("workflow", {"owner": task.owner, "task": task.id})


def make_claimable(owner: str, task_id: str, now: int) -> None:
    """b: what a message of the workflow queue asks for. Late, repeated or orphaned messages change nothing."""
    found = []

    def rule(task: Task) -> Change | None:
        found.append(task)
        return model.queue(task, now) if task.status == "pending" else None

    queued = settle(owner, task_id, rule, now)
    if queued is not None:
        outbox.send(queued.before, model.created(queued.before))
    if not found:
        logger.warning("a message for a task that is gone", extra={"task": task_id})


def release(owner: str, task_id: str, agent: str, reason: str, now: int) -> None:
    """e: the agent went away before it started the task."""

    def rule(task: Task) -> Change | None:
        held = task.agent == agent and task.status == "assigned"
        return model.requeue(task, reason, now) if held else None

    settle(owner, task_id, rule, now)


def lose(owner: str, task_id: str, agent: str, reason: str, now: int) -> None:
    """f: the agent is gone while it ran the task."""

    def rule(task: Task) -> Change | None:
        held = task.agent == agent and task.status == "in_progress"
        return model.lose(task, reason, now) if held else None

    settle(owner, task_id, rule, now)


def depart(owner: str, task_id: str, agent: str, now: int) -> None:
    """e, f: the agent that holds the task is removed; a task that only it may have ends with it."""

    def rule(task: Task) -> Change | None:
        if task.agent != agent or task.status not in HELD:
            return None
        if task.pin == agent and task.cancel_at is None:
            return model.fail(task, AGENT_REMOVED, now)
        requeued = task.status == "assigned"
        return model.requeue(task, AGENT_REMOVED, now) if requeued else model.lose(task, AGENT_REMOVED, now)

    if settle(owner, task_id, rule, now) is None:  # the agent's row said more than was so: set that right
        db.write(holds.let_go(owner, agent, task_id))


def fail_pinned(owner: str, agent: str, now: int) -> None:
    """The agent is removed: what waits for it alone would wait for ever."""

    def rule(task: Task) -> Change | None:
        return model.fail(task, AGENT_REMOVED, now) if task.status == "queued" and task.pin == agent else None

    for page in db.pages(lambda start: store.waiting_for(owner, agent, start, _PAGE)):
        for task in page.rows:
            settle(owner, task["pk"].partition("#")[2], rule, now)


def due(shard: int, now: int, start: dict[str, Any] | None, limit: int) -> db.Page:
    """Keys of open tasks that the sweep must look at."""
    return store.due(shard, now, start, limit)


def waiting_since(shard: int, now: int, most: int) -> list[int]:
    """Since when each queued task of a shard waits for an agent; `most` rows are read, those due first.

    Without those that will be given up before a task that starts now would have to end: among them in the index are
    all the tasks that run, and there may be any number of these.
    """
    return [due - model.QUEUED_FOR for due in store.waiting(shard, now + DEFAULT_TIMEOUT, most)]


def take_up(key: db.Row, now: int, outage: Outage | None) -> bool:
    """What the sweep does with one row of its index; whether there was anything to do."""
    if key["sk"].startswith(EVENT):
        return outbox.take_up(key, now)
    owner, _, task_id = key["pk"].partition("#")
    change = settle(owner, task_id, lambda task: model.overdue(task, now, outage), now)
    if change is None:
        return False
    if change.after.status == "pending":
        send(change.after)
    return True
