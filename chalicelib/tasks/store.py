"""Named queries and conditional writes on the table `tasks`."""

import json
from collections.abc import Sequence
from typing import Any

from chalicelib import dynamodb
from chalicelib.tasks import history_store, partitions
from chalicelib.tasks.entities import HELD_STATUSES, Task, TaskEvent, Transition
from chalicelib.tasks.requests import StoredResult, TaskBody, check_fits, to_stored_context
from chalicelib.tasks.rules import longest_life
from chalicelib.tasks.tables import (
    BODY,
    HEAD,
    RESULT,
    BodyRow,
    HeadRow,
    ResultRow,
    expiry,
    head_item,
    head_values,
    partition_key,
    to_task,
)

_CONDITION_FIELDS = ("agent_id", "attempt", "cancel_at")
"""The fields that a transition expects to be unchanged, besides the status: enough to detect every conflict."""


def create_items(task: Task, body: TaskBody, event: TaskEvent) -> list[dynamodb.TransactItem]:
    """Items of the transaction that accepts a task. The first one fails if the id already exists.

    Raises TooLarge if the body does not fit into a row. A retry is not measured again: the body was stored before.
    """
    pk = partition_key(task.owner, task.id)
    context = to_stored_context(body.context)
    if task.retry_of is None:
        check_fits(body.description, context)
    expires_at = expiry((task.created_at or 0) + longest_life(task.max_attempts, task.timeout))
    return [
        dynamodb.transact_put(
            dynamodb.item(HeadRow, pk=pk, sk=HEAD, **head_values(task)), dynamodb.not_exists(HeadRow.pk)
        ),
        dynamodb.transact_put(
            dynamodb.item(BodyRow, pk=pk, sk=BODY, description=body.description, context=context, expires_at=expires_at)
        ),
        history_store.event_item(task, event),
    ]


def body_bytes(body: TaskBody) -> int:
    """The size of a body as it is stored."""
    return len(body.description.encode()) + len((to_stored_context(body.context) or "").encode())


def result_bytes(result: StoredResult) -> int:
    """The size of a result as it is stored."""
    return sum(len(text.encode()) for text in result.model_dump().values() if text)


def transition_items(transition: Transition) -> list[dynamodb.TransactItem]:
    """Items of a transaction that saves a transition. The first one fails if the head is not as expected."""
    return _head_and_event_items(transition, _actions(transition), _unchanged_since(transition.before))


def end_items(transition: Transition, now: int) -> list[dynamodb.TransactItem]:
    """Items that end a task which is expected to be running. They also succeed if it was claimed but not started."""
    actions = [*_actions(transition), _keep_or_set_started(now)]
    return _head_and_event_items(transition, actions, _unchanged_since(transition.before, *HELD_STATUSES))


@dynamodb.clause
def _keep_or_set_started(now: int) -> Any:
    return [HeadRow.started_at.set(HeadRow.started_at | now)]


def _head_and_event_items(
    transition: Transition, actions: list[dynamodb.Clause], condition: dynamodb.Clause
) -> list[dynamodb.TransactItem]:
    items = [dynamodb.transact_update(head_item(transition.after), actions, condition)]
    if transition.event is not None:
        items.append(history_store.event_item(transition.after, transition.event))
    return items


def save_transition(transition: Transition) -> Task:
    """Save a transition without an event, in a single write. Raises ConditionFailed if the task is not as expected."""
    return to_task(
        dynamodb.update_item(head_item(transition.after), _actions(transition), _unchanged_since(transition.before))
    )


def _actions(transition: Transition) -> list[dynamodb.Clause]:
    before, after = head_values(transition.before), head_values(transition.after)
    due_is_known = transition.before.due is not None or (transition.after.due is None and transition.after.is_open)
    unknown = () if due_is_known else ("due_shard", "due_at")  # an expectation may lack the due time
    changed = {name: value for name, value in after.items() if value != before[name] or name in unknown}
    return dynamodb.set_or_remove(HeadRow, changed)


def _unchanged_since(task: Task, *statuses: str) -> dynamodb.Clause:
    """A condition: the head is as expected, with the task's status or, if any are given, one of `statuses`."""
    condition = dynamodb.is_in(HeadRow.status, *(statuses or (task.status,)))
    for name in _CONDITION_FIELDS:
        value, attribute = getattr(task, name), getattr(HeadRow, name)
        condition &= dynamodb.not_exists(attribute) if value is None else dynamodb.equals(attribute, value)
    if task.due is not None:
        condition &= dynamodb.equals(HeadRow.due_at, task.due)
    return condition


def result_item(task: Task, result: StoredResult, now: int) -> dynamodb.TransactItem:
    """Store a task's result, as part of a transaction."""
    values: dict[str, Any] = {name: value or None for name, value in result.model_dump().items()}
    pk = partition_key(task.owner, task.id)
    row = dynamodb.item(ResultRow, pk=pk, sk=RESULT, expires_at=expiry(now), **values)
    return dynamodb.transact_put(row)


def load_task(owner: str, task_id: str, now: int) -> Task | None:
    """A task's head, read consistently. None if there is no task or it has expired."""
    row = dynamodb.get_item(HeadRow, partition_key(owner, task_id), HEAD)
    return to_task(row) if row is not None and dynamodb.not_expired(row, now) else None


def load_detail(owner: str, task_id: str, now: int) -> tuple[Task, TaskBody | None, StoredResult] | None:
    """A task with its body (None if it is no longer stored) and result. None if there is no task or it has expired."""
    found = _load_rows(owner, task_id, now, HEAD, BODY, RESULT)
    return (
        None if found is None else (to_task(found[HEAD]), _to_body(found.get(BODY)), _to_result(found.get(RESULT, {})))
    )


def load_with_result(owner: str, task_id: str, now: int) -> tuple[Task, StoredResult] | None:
    """A task's head and its result (empty if there is none). None if there is no task or it has expired."""
    found = _load_rows(owner, task_id, now, HEAD, RESULT)
    return None if found is None else (to_task(found[HEAD]), _to_result(found.get(RESULT, {})))


def _load_rows(owner: str, task_id: str, now: int, *kinds: str) -> dict[str, dynamodb.Row] | None:
    """The rows of these kinds by kind, read consistently. None if there is no task or it has expired."""
    pk = partition_key(owner, task_id)
    found = {row["sk"]: row for row in dynamodb.batch_get(HeadRow, [(pk, kind) for kind in kinds], consistent=True)}
    if RESULT in found and not dynamodb.not_expired(found[RESULT], now):
        del found[RESULT]  # it belongs to an earlier task with the same id
    return found if HEAD in found and dynamodb.not_expired(found[HEAD], now) else None


def load_with_bodies(owner: str, task_ids: Sequence[str]) -> dict[str, tuple[Task, TaskBody | None]]:
    """Heads and bodies of at most 50 tasks, by id. Tasks that do not exist are left out.

    A body that is no longer stored is None.
    """
    keys = [(partition_key(owner, task_id), kind) for task_id in task_ids for kind in (HEAD, BODY)]
    rows = {(row["pk"], row["sk"]): row for row in dynamodb.batch_get(HeadRow, keys, consistent=True)}
    return {
        task_id: (to_task(rows[pk, HEAD]), _to_body(rows.get((pk, BODY))))
        for task_id in task_ids
        if ((pk := partition_key(owner, task_id)), HEAD) in rows
    }


def find_claimable(
    queue: str, limit: int, first: str | None = None, last: str | None = None
) -> tuple[list[Task], bool]:
    """The first tasks of a queue, as expectations with the fields that the index has, and whether these are all.

    `first` and `last` limit them to a range of intents.
    """
    intents = None
    if first is not None and last is not None:
        intents = dynamodb.between(HeadRow.queue_order, f"{first}#", f"{last}#~")
    page = dynamodb.query(HeadRow, queue, index="queue", key_condition=intents, limit=limit)
    return [_to_expected_task(row) for row in page.rows], page.next_key is None


def find_pinned(owner: str, agent_id: str, limit: int) -> dynamodb.Page:
    """Keys of the first queued tasks that are pinned to an agent."""
    return dynamodb.query(HeadRow, f"{owner}@{agent_id}", index="queue", limit=limit)


def _to_expected_task(row: dynamodb.Row) -> Task:
    """The task of an index row, as an expectation."""
    owner, _, task_id = row["pk"].partition("#")
    intent, priority, created_at = row["queueOrder"].split("#")
    _, _, pinned_agent_id = row["queue"].partition("@")
    return Task.model_construct(
        owner=owner,
        id=task_id,
        status="queued",
        intent=intent,
        priority=-int(priority),  # not the task's own number: it is used only to compare tasks
        created_at=int(created_at),
        pinned_agent_id=pinned_agent_id or None,
        attempt=row["attempt"],
        timeout=row["timeout"],
        updated_at=row["updatedAt"],
    )


def find_due(
    shard_number: int, now: int, start: dict[str, Any] | None, limit: int, part: str | None = None
) -> dynamodb.Page:
    """Keys of the open tasks and unpublished events in a shard that are due. `part`: only HEAD, or only EVENT."""
    return dynamodb.query(
        HeadRow,
        shard_number,
        index="due",
        key_condition=dynamodb.at_most(HeadRow.due_at, now),
        filter_condition=None if part is None else dynamodb.begins_with(HeadRow.sk, part),
        limit=limit,
        start=start,
    )


def find_misplaced(shard_number: int, start: dict[str, Any] | None, limit: int) -> dynamodb.Page:
    """Heads of open tasks in a shard, due or not, with a key that queries do not read any more.

    At most `limit` rows are examined, and `limit` is at most 100.
    """
    page = dynamodb.query(
        HeadRow,
        shard_number,
        index="due",
        filter_condition=dynamodb.begins_with(HeadRow.sk, HEAD),
        limit=limit,
        start=start,
    )
    heads = dynamodb.batch_get(HeadRow, [(row["pk"], row["sk"]) for row in page.rows])
    return dynamodb.Page([head for head in heads if not _is_readable(head)], page.next_key)


def _is_readable(head: dynamodb.Row) -> bool:
    return partitions.is_in_use(head["ownerStatus"]) and partitions.is_in_use(head.get("queue", ""))


def move_to_partition(head: dynamodb.Row) -> bool:
    """Give an open task the keys that queries read now. False if its status has changed, which gave it such keys."""
    task = to_task(head)
    values = head_values(task)
    actions = dynamodb.set_or_remove(HeadRow, {name: values[name] for name in ("owner_status", "queue")})
    try:
        dynamodb.update_item(head_item(task), actions, dynamodb.equals(HeadRow.owner_status, head["ownerStatus"]))
    except dynamodb.ConditionFailed:
        return False
    return True


def queued_due_times(shard_number: int, after: int, maximum: int) -> list[int]:
    """The due times of the queued tasks among the first `maximum` rows that are due after `after`."""
    rows = dynamodb.query(
        HeadRow, shard_number, index="due", key_condition=dynamodb.greater_than(HeadRow.due_at, after), limit=maximum
    ).rows
    return [row["dueAt"] for row in rows if row["sk"] == HEAD and row["status"] == "queued"]


def _to_body(row: dynamodb.Row | None) -> TaskBody | None:
    if row is None:
        return None
    context = row.get("context")
    return TaskBody.model_construct(
        description=row["description"], context=None if context is None else json.loads(context)
    )


def _to_result(row: dynamodb.Row) -> StoredResult:
    return StoredResult.model_construct(
        summary=row.get("summary"),
        output=row.get("output"),
        pr_url=row.get("prUrl"),
        result_files=row.get("resultFiles"),
        error=row.get("error"),
        details=row.get("details"),
    )
