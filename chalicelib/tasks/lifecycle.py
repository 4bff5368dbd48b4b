"""Transitions that the platform makes itself: tasks are queued, released, lost, cancelled or time out.

Each function reads the task, applies a rule, and saves the transition on the condition that the task is unchanged. If
another writer was faster, the rule is applied to the new state and usually changes nothing.
"""

from collections.abc import Callable
from typing import Any, Literal

from chalicelib import dynamodb
from chalicelib.agents import claims
from chalicelib.aws import sqs
from chalicelib.core import metrics
from chalicelib.core.errors import Unavailable
from chalicelib.core.log import logger
from chalicelib.core.outage import Outage
from chalicelib.core.settings import SECOND
from chalicelib.core.threads import run_concurrently
from chalicelib.tasks import outbox, rules, store
from chalicelib.tasks.entities import DEFAULT_TIMEOUT, HELD_STATUSES, Task, Transition
from chalicelib.tasks.tables import EVENT, HEAD

AGENT_REMOVED = "Agent removed"
NO_DESCRIPTION = "The description of this task is no longer stored. Submit its text as a new task."
_MAX_TRIES = 5
_PAGE_SIZE = 100
_CONCURRENCY = 8


class ConcurrentChanges(Unavailable):
    """Other requests are changing this task at the same time. Send the same request again."""


Rule = Callable[[Task], Transition | None]


def apply_transition(owner: str, task_id: str, rule: Rule, now: int) -> Transition | None:
    """Read a task, apply a rule to it and save the transition. Repeats this if the task was changed in the meantime.

    Returns None if there is no such task, or if the rule changes nothing. Raises what the rule raises, and
    ConcurrentChanges.
    """
    for _ in range(_MAX_TRIES):
        task = store.load_task(owner, task_id, now)
        transition = None if task is None else rule(task)
        if transition is None:
            return None
        saved = _save_with_agent(transition, now)
        if saved is not None:
            outbox.send_event(saved.after, saved.event)
            return saved
    raise ConcurrentChanges


def _save_with_agent(transition: Transition, now: int) -> Transition | None:
    """Save a transition, and the change to the agent's row that belongs to it. None if the task was changed."""
    before, after = transition.before, transition.after
    items = store.transition_items(transition)
    if before.status in HELD_STATUSES and after.status not in HELD_STATUSES:
        claimable_again = after.status == "queued" and after.pinned_agent_id is not None
        items.append(
            claims.release_claim_item(
                before.owner, before.agent_id or "", before.id, claimable_at=now if claimable_again else None
            )
        )
    elif before.cancel_at != after.cancel_at:
        items.append(claims.cancel_claim_item(before.owner, before.agent_id or "", before.id))
    elif before.status == "pending" and after.status == "queued" and after.pinned_agent_id is not None:
        items.append(claims.pinned_task_item(after.owner, after.pinned_agent_id, now))
    try:
        dynamodb.transact_write(*items)
    except dynamodb.TransactionCancelled as cancelled:
        return None if 0 in cancelled.rows else _save_without_agent(transition, now)
    return transition


def _save_without_agent(transition: Transition, now: int) -> Transition | None:
    """Save only the task's part of a transition, because the agent or its claim no longer exists.

    A task that is pinned to the missing agent fails instead of returning to the queue.
    """
    if transition.after.status == "queued" and transition.after.pinned_agent_id is not None:
        transition = rules.fail(transition.before, AGENT_REMOVED, now)
    try:
        dynamodb.transact_write(*store.transition_items(transition))
    except dynamodb.TransactionCancelled:
        return None
    return transition


def send_to_workflow_queue(task: Task) -> bool:
    """Send a pending task's message to the workflow queue. False if that failed; then the sweep makes it claimable."""
    return sqs.send("workflow", {"owner": task.owner, "task": task.id})


def make_claimable(owner: str, task_id: str, now: int) -> None:
    """b: handle a message of the workflow queue. A message that is late, repeated or without a task changes nothing."""
    found = []

    def rule(task: Task) -> Transition | None:
        found.append(task)
        return rules.enqueue(task, now) if task.status == "pending" else None

    _apply_and_send_created(owner, task_id, rule, now)
    if not found:
        logger.warning("a message of the workflow queue names a task that does not exist", extra={"task": task_id})


def _apply_and_send_created(owner: str, task_id: str, rule: Rule, now: int) -> bool:
    """Apply a rule, and send the event of the submission if this ends the status `pending`. False if nothing changed.

    The submission itself sends no event, because the user waits for its response.
    """
    transition = apply_transition(owner, task_id, rule, now)
    if transition is not None and transition.before.status == "pending":
        outbox.send_event(transition.before, rules.created_event(transition.before))
    return transition is not None


def fail_without_description(owner: str, task_id: str, agent_id: str, now: int) -> None:
    """The agent has claimed a task whose body has expired, and must not work without knowing what to do.

    Only rows of earlier versions can cause this, or a retention that was made longer while the task was open.
    """

    def rule(task: Task) -> Transition | None:
        is_claimed = task.agent_id == agent_id and task.status == "assigned"
        return rules.fail(task, NO_DESCRIPTION, now) if is_claimed else None

    apply_transition(owner, task_id, rule, now)


def release_claim(owner: str, task_id: str, agent_id: str, reason: str, now: int) -> None:
    """e: the agent is inactive or disconnected, and has not started the task."""

    def rule(task: Task) -> Transition | None:
        is_claimed = task.agent_id == agent_id and task.status == "assigned"
        return rules.requeue(task, reason, now) if is_claimed else None

    apply_transition(owner, task_id, rule, now)


def lose_running(owner: str, task_id: str, agent_id: str, reason: str, now: int) -> None:
    """f: the agent is lost, or has lost the task, while it ran the task."""

    def rule(task: Task) -> Transition | None:
        is_running = task.agent_id == agent_id and task.status == "in_progress"
        return rules.lose(task, reason, now) if is_running else None

    apply_transition(owner, task_id, rule, now)


def release_from_removed_agent(owner: str, task_id: str, agent_id: str, now: int) -> None:
    """e, f: the agent that holds the task is removed. A task that is pinned to it fails."""

    def rule(task: Task) -> Transition | None:
        if task.agent_id != agent_id or task.status not in HELD_STATUSES:
            return None
        if task.pinned_agent_id == agent_id and task.cancel_at is None:
            return rules.fail(task, AGENT_REMOVED, now)
        is_claimed = task.status == "assigned"
        return rules.requeue(task, AGENT_REMOVED, now) if is_claimed else rules.lose(task, AGENT_REMOVED, now)

    if apply_transition(owner, task_id, rule, now) is None:
        # The agent's row has a claim that the task does not have. Remove it, so that the tombstone can be deleted.
        dynamodb.transact_write(claims.release_claim_item(owner, agent_id, task_id))


def fail_pinned(owner: str, agent_id: str, now: int) -> bool:
    """The agent is removed: fail queued tasks that are pinned to it, since no agent would ever claim them.

    At most 100 of them, several at the same time. Returns whether these were all.
    """

    def rule(task: Task) -> Transition | None:
        return (
            rules.fail(task, AGENT_REMOVED, now)
            if task.status == "queued" and task.pinned_agent_id == agent_id
            else None
        )

    page = store.find_pinned(owner, agent_id, _PAGE_SIZE)
    task_ids = [row["pk"].partition("#")[2] for row in page.rows]
    run_concurrently(lambda task_id: apply_transition(owner, task_id, rule, now), task_ids, _CONCURRENCY)
    return page.next_key is None


def find_due(
    shard: int,
    now: int,
    start: dict[str, Any] | None,
    limit: int,
    only: Literal["tasks", "events"] | None = None,
) -> dynamodb.Page:
    """Keys of the open tasks and unpublished events in a shard that are due. At most `limit` rows are examined."""
    return store.find_due(shard, now, start, limit, None if only is None else HEAD if only == "tasks" else EVENT)


def queued_since(shard: int, now: int, maximum: int) -> list[int]:
    """When the queued tasks of a shard were queued. Reads at most `maximum` rows, those that are due first.

    Skips tasks that are due within the default timeout from now. That part of the index also contains the running
    tasks with this timeout or a shorter one, and there may be any number of them.
    """
    return [due - rules.MAX_QUEUE_TIME for due in store.queued_due_times(shard, now + DEFAULT_TIMEOUT, maximum)]


def find_misplaced(shard: int, start: dict[str, Any] | None, limit: int) -> dynamodb.Page:
    """The rows of open tasks in a shard that polls and lists do not find, because the stage has fewer partitions now.

    At most `limit` rows are examined, and `limit` is at most 100.
    """
    return store.find_misplaced(shard, start, limit)


def move_to_partition(row: dynamodb.Row) -> bool:
    """Let polls and lists find a task again. Returns whether it changed anything. This is no transition."""
    return store.move_to_partition(row)


def process_due(key: dynamodb.Row, now: int, outage: Outage | None) -> bool:
    """Process one task of the sweep's index: b, e, f, g, or a deadline. Returns whether it changed anything."""
    owner, _, task_id = key["pk"].partition("#")

    def rule(task: Task) -> Transition | None:
        if task.status == "pending" and task.due is not None and task.due <= now:
            # Recorded before the write, so that the alarm also works while writes fail.
            metrics.record("OldestPending", (now - (task.created_at or now)) // SECOND)
        return rules.on_deadline(task, now, outage)

    return _apply_and_send_created(owner, task_id, rule, now)
