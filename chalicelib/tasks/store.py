"""Named queries and conditional writes on the table `tasks`."""

import json
from collections.abc import Sequence
from typing import Any

from pynamodb.expressions.condition import Condition

from chalicelib import db
from chalicelib.pages import EXAMINED
from chalicelib.tasks import journal
from chalicelib.tasks.rows import (
    BODY,
    HEAD,
    RESULT,
    BodyRow,
    HeadRow,
    ResultRow,
    expiry,
    head,
    head_values,
    partition,
    to_task,
)
from chalicelib.tasks.shapes import Body, Outcome, TaskQuery
from chalicelib.tasks.task import HELD, Change, Event, Task

_GUARDED = ("agent", "attempt", "cancel_at")
"""What a change expects of a head besides its status: enough to lose every race that matters."""


def create(task: Task, body: Body, event: Event) -> list[db.Part]:
    """Parts of the one transaction that accepts a task; the first fails where the id is taken."""
    pk = partition(task.owner, task.id)
    context = None if body.context is None else json.dumps(body.context, ensure_ascii=False)
    return [
        db.put(HeadRow(pk, HEAD, **head_values(task)), HeadRow.pk.does_not_exist()),
        db.put(BodyRow(pk, BODY, description=body.description, context=context, expires_at=expiry(event.at))),
        journal.told(task, event),
    ]


def save(change: Change) -> list[db.Part]:
    """Parts of a transaction that make a change: the head's, on the condition that it is as expected, comes first."""
    return _parts(change, _actions(change), _as_before(change.before))


def save_end(change: Change, now: int) -> list[db.Part]:
    """The same for the end of a task that is expected to run; one that was never started is as welcome."""
    actions = [*_actions(change), _started(now)]
    return _parts(change, actions, _as_before(change.before, *HELD))


@db.clause
def _started(now: int) -> Any:
    return [HeadRow.started_at.set(HeadRow.started_at | now)]


def _parts(change: Change, actions: list[db.Clause], condition: db.Clause) -> list[db.Part]:
    parts = [db.change(head(change.after), actions, condition)]
    if change.event is not None:
        parts.append(journal.told(change.after, change.event))
    return parts


def save_alone(change: Change) -> Task:
    """Make a change that has no event, in a single write. Raises db.Failed where the task is not as expected."""
    return to_task(db.update(head(change.after), _actions(change), _as_before(change.before)))


def _actions(change: Change) -> list[db.Clause]:
    before, after = head_values(change.before), head_values(change.after)
    known = change.before.due is not None or (change.after.due is None and change.after.is_open)
    unknown = () if known else ("due_shard", "due_at")  # an expectation does not know when
    changed = {name: value for name, value in after.items() if value != before[name] or name in unknown}
    return db.assigned(HeadRow, changed)


def _as_before(task: Task, *statuses: str) -> db.Clause:
    """That a head is as expected; in one of `statuses`, where any is named."""
    condition = db.one_of(HeadRow.status, *(statuses or (task.status,)))
    for name in _GUARDED:
        value, attribute = getattr(task, name), getattr(HeadRow, name)
        condition &= db.absent(attribute) if value is None else db.equals(attribute, value)
    if task.due is not None:
        condition &= db.equals(HeadRow.due_at, task.due)
    return condition


def keep_result(task: Task, result: Outcome, now: int) -> db.Part:
    values: dict[str, Any] = {name: value or None for name, value in result.model_dump().items()}
    row = ResultRow(partition(task.owner, task.id), RESULT, expires_at=expiry(now), **values)
    return db.put(row)


def load(owner: str, task: str, now: int) -> Task | None:
    """A task's head, read consistently; None if there is none, or its time is over."""
    row = db.get(HeadRow, partition(owner, task), HEAD)
    return to_task(row) if row is not None and db.kept(row, now) else None


def load_whole(owner: str, task: str, now: int) -> tuple[Task, Body, Outcome] | None:
    """A task with all that belongs to it; None if there is none, or its time is over."""
    found = _together(owner, task, now, HEAD, BODY, RESULT)
    return None if found is None else (to_task(found[HEAD]), _body(found.get(BODY)), _outcome(found.get(RESULT, {})))


def load_outcome(owner: str, task: str, now: int) -> tuple[Task, Outcome] | None:
    """A task's head and its result, as far as there is one; None if there is no task, or its time is over."""
    found = _together(owner, task, now, HEAD, RESULT)
    return None if found is None else (to_task(found[HEAD]), _outcome(found.get(RESULT, {})))


def _together(owner: str, task: str, now: int, *kinds: str) -> dict[str, db.Row] | None:
    """These rows of a task, read consistently, by their kinds; None if there is no task, or its time is over."""
    pk = partition(owner, task)
    found = {row["sk"]: row for row in db.get_many(HeadRow, [(pk, kind) for kind in kinds], consistent=True)}
    return found if HEAD in found and db.kept(found[HEAD], now) else None


def load_bodies(owner: str, tasks: Sequence[str]) -> dict[str, tuple[Task, Body]]:
    """Heads and bodies of at most 50 tasks, by id; only those that are there."""
    keys = [(partition(owner, task), kind) for task in tasks for kind in (HEAD, BODY)]
    rows = {(row["pk"], row["sk"]): row for row in db.get_many(HeadRow, keys, consistent=True)}
    return {
        task: (to_task(rows[pk, HEAD]), _body(rows.get((pk, BODY))))
        for task in tasks
        if ((pk := partition(owner, task)), HEAD) in rows
    }


def find(owner: str, query: TaskQuery, limit: int, start: dict[str, Any] | None) -> db.Page:
    """Keys of a user's tasks, newest first, from the index that fits the filters best."""
    matching: Condition | None = None
    if query.status is not None:
        index, key = "by_status", f"{owner}#{query.status}"
        for attribute, wanted in (
            (HeadRow.owner_agent, query.agent_id and f"{owner}#{query.agent_id}"),
            (HeadRow.intent, query.intent),
        ):
            if wanted is not None:
                matching = attribute == wanted if matching is None else matching & (attribute == wanted)
    elif query.agent_id is not None:
        index, key = "by_agent", f"{owner}#{query.agent_id}"
        matching = None if query.intent is None else HeadRow.intent == query.intent
    elif query.intent is not None:
        index, key = "by_intent", f"{owner}#{query.intent}"
    else:
        index, key = "recent", owner
    if matching is not None:
        limit = max(limit, EXAMINED)
    return db.query(HeadRow, key, index=index, matching=matching, limit=limit, start=start, forward=False)


def key_in(query: TaskQuery) -> Any:
    """Where a list with these filters goes on after a row: the row's keys in the table and in the index used."""
    if query.status is not None:
        index_key = "ownerStatus"
    elif query.agent_id is not None:
        index_key = "ownerAgent"
    elif query.intent is not None:
        index_key = "ownerIntent"
    else:
        index_key = "owner"
    return lambda row: {
        "pk": {"S": row["pk"]},
        "sk": {"S": row["sk"]},
        index_key: {"S": row[index_key]},
        "createdAt": {"N": str(row["createdAt"])},
    }


def load_heads(rows: Sequence[db.Row], now: int) -> list[Task]:
    """The tasks of some index rows, in their order."""
    heads = {row["pk"]: row for row in db.get_many(HeadRow, [(row["pk"], row["sk"]) for row in rows])}
    return [to_task(heads[row["pk"]]) for row in rows if row["pk"] in heads and db.kept(heads[row["pk"]], now)]


def claimable(queue: str, limit: int, first: str | None = None, last: str | None = None) -> tuple[list[Task], bool]:
    """The first tasks of a queue (of the intents from `first` to `last`), as far as the index knows them, and whether
    that is all of them."""
    within = None
    if first is not None and last is not None:
        within = _between(f"{first}#", f"{last}#~")
    page = db.query(HeadRow, queue, index="queue", within=within, limit=limit)
    return [_expected(row) for row in page.rows], page.next is None


@db.clause
def _between(first: str, last: str) -> Any:
    return HeadRow.queue_order.between(first, last)


def count(owner: str, status: str, most: int) -> int:
    """How many tasks are in a status; at most `most` are counted."""
    return db.count(HeadRow, f"{owner}#{status}", index="by_status", most=most)


def oldest(owner: str, status: str) -> int | None:
    """When the oldest of a user's tasks in a status was submitted."""
    page = db.query(HeadRow, f"{owner}#{status}", index="by_status", limit=1)
    return int(page.rows[0]["createdAt"]) if page.rows else None


def waiting_for(owner: str, agent: str, start: dict[str, Any] | None, limit: int) -> db.Page:
    """Keys of the queued tasks that are pinned to an agent."""
    return db.query(HeadRow, f"{owner}@{agent}", index="queue", limit=limit, start=start)


def _expected(row: db.Row) -> Task:
    """What the queue's index says of a task, as an expectation."""
    owner, _, task = row["pk"].partition("#")
    intent, priority, created = row["queueOrder"].split("#")
    _, _, pin = row["queue"].partition("@")
    return Task.model_construct(
        owner=owner,
        id=task,
        status="queued",
        intent=intent,
        priority=-int(priority),  # only ever compared
        created_at=int(created),
        pin=pin or None,
        attempt=row["attempt"],
        timeout=row["timeout"],
        updated_at=row["updatedAt"],
    )


def due(shard_number: int, now: int, start: dict[str, Any] | None, limit: int) -> db.Page:
    """Keys of open tasks that the sweep must look at."""
    return db.query(HeadRow, shard_number, index="due", within=HeadRow.due_at <= now, limit=limit, start=start)


def waiting(shard_number: int, after: int, most: int) -> list[int]:
    """The due times of queued tasks, among the `most` rows that are due first after an instant."""
    rows = db.query(HeadRow, shard_number, index="due", within=HeadRow.due_at > after, limit=most).rows
    return [row["dueAt"] for row in rows if row["sk"] == HEAD and row["status"] == "queued"]


def _body(row: db.Row | None) -> Body:
    found = row or {"description": ""}
    context = found.get("context")
    return Body.model_construct(
        description=found["description"], context=None if context is None else json.loads(context)
    )


def _outcome(row: db.Row) -> Outcome:
    return Outcome.model_construct(
        summary=row.get("summary"),
        output=row.get("output"),
        pr_url=row.get("prUrl"),
        result_files=row.get("resultFiles"),
        error=row.get("error"),
        details=row.get("details"),
    )
