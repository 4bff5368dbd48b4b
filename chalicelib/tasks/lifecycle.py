"""What happens to tasks without their agent asking: queued, released, lost, cancelled, overdue.

Each of these reads the task, applies a rule and saves on condition; who comes second finds nothing left to do.
"""

from collections.abc import Callable
from typing import Any

from chalicelib import dynamodb
from chalicelib.agents import claims
from chalicelib.aws import sqs
from chalicelib.core.errors import Unavailable
from chalicelib.core.log import logger
from chalicelib.core.outage import Outage
from chalicelib.tasks import outbox, rules, store
from chalicelib.tasks.entities import DEFAULT_TIMEOUT, HELD_STATUSES, Task, Transition
from chalicelib.tasks.tables import EVENT

AGENT_REMOVED = "Agent removed"
_MAX_TRIES = 5
_PAGE_SIZE = 100


class ConcurrentChanges(Unavailable):
    """Others keep changing this task at the same moment; send the same request again."""


Rule = Callable[[Task], Transition | None]


def apply_transition(owner: str, task_id: str, rule: Rule, now: int) -> Transition | None:
    """Apply a rule to a task as it stands, and again where somebody else changed it meanwhile.

    None where there is no such task or the rule has nothing to change. Raises what the rule raises, and Contested.
    """
    for _ in range(_MAX_TRIES):
        task = store.load_task(owner, task_id, now)
        transition = None if task is None else rule(task)
        if transition is None:
            return None
        written = _save_with_agent(transition, now)
        if written is not None:
            outbox.send_event(written.after, written.event)
            return written
    raise ConcurrentChanges


def _save_with_agent(transition: Transition, now: int) -> Transition | None:
    """Save a change, and let the holder go if the task is no longer its. None if the task had changed."""
    before, after = transition.before, transition.after
    parts = store.transition_items(transition)
    if before.status in HELD_STATUSES and after.status not in HELD_STATUSES:
        back = after.status == "queued" and after.pinned_agent_id is not None
        parts.append(
            claims.release_claim_item(
                before.owner, before.agent_id or "", before.id, claimable_at=now if back else None
            )
        )
    elif before.cancel_at != after.cancel_at:
        parts.append(claims.cancel_claim_item(before.owner, before.agent_id or "", before.id))
    elif before.status == "pending" and after.status == "queued" and after.pinned_agent_id is not None:
        parts.append(claims.pinned_task_item(after.owner, after.pinned_agent_id, now))
    try:
        dynamodb.transact_write(*parts)
    except dynamodb.TransactionCancelled as cancelled:
        return None if 0 in cancelled.rows else _save_without_agent(transition, now)
    return transition


def _save_without_agent(transition: Transition, now: int) -> Transition | None:
    """The agent is gone, and with it all that its row said: the task's own part stands without it."""
    if transition.after.status == "queued" and transition.after.pinned_agent_id is not None:
        transition = rules.fail(transition.before, AGENT_REMOVED, now)
    try:
        dynamodb.transact_write(*store.transition_items(transition))
    except dynamodb.TransactionCancelled:
        return None
    return transition


def send_to_workflow_queue(task: Task) -> bool:
    """Put a pending task's message on the workflow queue; False if it could not be, and the sweep will."""
    return sqs.send("workflow", {"owner": task.owner, "task": task.id})


def make_claimable(owner: str, task_id: str, now: int) -> None:
    """b: what a message of the workflow queue asks for. Late, repeated or orphaned messages change nothing."""
    found = []

    def rule(task: Task) -> Transition | None:
        found.append(task)
        return rules.enqueue(task, now) if task.status == "pending" else None

    queued = apply_transition(owner, task_id, rule, now)
    if queued is not None:
        outbox.send_event(queued.before, rules.created_event(queued.before))
    if not found:
        logger.warning("a message for a task that is gone", extra={"task": task_id})


def release_claim(owner: str, task_id: str, agent_id: str, reason: str, now: int) -> None:
    """e: the agent went away before it started the task."""

    def rule(task: Task) -> Transition | None:
        held = task.agent_id == agent_id and task.status == "assigned"
        return rules.requeue(task, reason, now) if held else None

    apply_transition(owner, task_id, rule, now)


def lose_running(owner: str, task_id: str, agent_id: str, reason: str, now: int) -> None:
    """f: the agent is gone while it ran the task."""

    def rule(task: Task) -> Transition | None:
        held = task.agent_id == agent_id and task.status == "in_progress"
        return rules.lose(task, reason, now) if held else None

    apply_transition(owner, task_id, rule, now)


def release_from_removed_agent(owner: str, task_id: str, agent_id: str, now: int) -> None:
    """e, f: the agent that holds the task is removed; a task that only it may have ends with it."""

    def rule(task: Task) -> Transition | None:
        if task.agent_id != agent_id or task.status not in HELD_STATUSES:
            return None
        if task.pinned_agent_id == agent_id and task.cancel_at is None:
            return rules.fail(task, AGENT_REMOVED, now)
        requeued = task.status == "assigned"
        return rules.requeue(task, AGENT_REMOVED, now) if requeued else rules.lose(task, AGENT_REMOVED, now)

    if apply_transition(owner, task_id, rule, now) is None:  # the agent's row said more than was so: set that right
        dynamodb.transact_write(claims.release_claim_item(owner, agent_id, task_id))


def fail_pinned(owner: str, agent_id: str, now: int) -> None:
    """The agent is removed: what waits for it alone would wait for ever."""

    def rule(task: Task) -> Transition | None:
        return (
            rules.fail(task, AGENT_REMOVED, now)
            if task.status == "queued" and task.pinned_agent_id == agent_id
            else None
        )

    for page in dynamodb.paginate(lambda start: store.find_pinned(owner, agent_id, start, _PAGE_SIZE)):
        for task in page.rows:
            apply_transition(owner, task["pk"].partition("#")[2], rule, now)


def find_due(shard: int, now: int, start: dict[str, Any] | None, limit: int) -> dynamodb.Page:
    """Keys of open tasks that the sweep must look at."""
    return store.find_due(shard, now, start, limit)


def queued_since(shard: int, now: int, maximum: int) -> list[int]:
    """Since when each queued task of a shard waits for an agent; `most` rows are read, those due first.

    Without those that will be given up before a task that starts now would have to end: among them in the index are
    all the tasks that run, and there may be any number of these.
    """
    return [due - rules.MAX_QUEUE_TIME for due in store.queued_due_times(shard, now + DEFAULT_TIMEOUT, maximum)]


def process_due(key: dynamodb.Row, now: int, outage: Outage | None) -> bool:
    """What the sweep does with one row of its index; whether there was anything to do."""
    if key["sk"].startswith(EVENT):
        return outbox.resend_event(key, now)
    owner, _, task_id = key["pk"].partition("#")
    transition = apply_transition(owner, task_id, lambda task: rules.on_deadline(task, now, outage), now)
    if transition is None:
        return False
    if transition.after.status == "pending":
        send_to_workflow_queue(transition.after)
    return True
