"""What people do with tasks: submit, look, cancel, retry."""

import uuid
from typing import NamedTuple, get_args

from chalicelib import db
from chalicelib.agents import holds
from chalicelib.agents.holds import Sign
from chalicelib.auth import service as auth
from chalicelib.auth.tokens import Caller
from chalicelib.errors import AgentNotFound, Conflict, DevFlowError, RateLimited, TaskNotFound
from chalicelib.pages import COUNTED, ListQuery, listed
from chalicelib.ratelimit import TASKS_API
from chalicelib.settings import DAY, settings
from chalicelib.tasks import journal, model, shapes, store, views
from chalicelib.tasks.rows import to_task
from chalicelib.tasks.shapes import Execute, TaskQuery, Work
from chalicelib.tasks.task import EXCERPT, Change, Status, Task
from chalicelib.tasks.upkeep import send, settle
from chalicelib.tasks.views import EventListing, TaskListing


class ExecutionFailed(DevFlowError):
    """The task could not be stored; nothing was accepted. Send the same request again."""

    title = "Failed to execute workflow"


class TooManyOpenTasks(RateLimited):
    """A user has as many open tasks as there may be."""

    title = "Too many open tasks"

    def __init__(self) -> None:
        most = settings.open_tasks_per_user
        super().__init__(f"You have {most} open tasks, which is as many as there may be; let some end.", 60)


class OtherRequest(Conflict):
    """This id belongs to another request."""


class Admitted(NamedTuple):
    """Whose a new task will be. `unless` is what must hold besides for it to be accepted: a part of the transaction."""

    owner: str
    unless: db.Part | None = None


def admit(caller: Caller, now: int) -> Admitted:
    """Let somebody in who submits a task, and count the call."""
    most = settings.open_tasks_per_user
    if caller.is_agent:
        Sign(caller, caller.subject, TASKS_API, now).show()
    elif auth.admit(caller, TASKS_API, now).open_tasks < most:
        return Admitted(caller.owner)
    return Admitted(caller.owner, auth.fewer_open_tasks(caller.owner, most))


def submit(admitted: Admitted, request: Execute, now: int) -> str:
    """Accept a task under the client's id; the same request again is the same task, whether or not there is room.

    Raises OtherRequest where the id is taken by something else, and TooManyOpenTasks.
    """
    try:
        standing = _accept(admitted, request.task_id, request, now)
    except DevFlowError:
        raise
    except Exception as error:
        raise ExecutionFailed from error
    if standing is not None and standing.digest != request.digest():
        raise OtherRequest(f"Task {request.task_id} exists already, from another request.")
    return request.task_id


def submit_new(admitted: Admitted, request: Work, idempotency_key: str | None, now: int) -> str:
    """Accept a task under an id of ours. The same Idempotency-Key within a day is the same task: the id is made of it.

    Raises OtherRequest where the key came with another request.
    """
    if idempotency_key is None:
        task = f"task-{uuid.uuid4()}"
        _accept(admitted, task, request, now)
        return task
    seed = [admitted.owner, idempotency_key]
    while True:
        task = _id_from(*seed)
        standing = _accept(admitted, task, request, now)
        if standing is None or now - (standing.created_at or 0) < DAY:
            break
        seed.append(task)  # the key was used, but so long ago that it is free again
    if standing is not None and standing.digest != request.digest():
        raise OtherRequest("This Idempotency-Key was used with another request; use a new one.")
    return task


def _id_from(*seed: str) -> str:
    """An id of ours that is the same whenever it is made of the same."""
    return f"task-{uuid.uuid5(uuid.NAMESPACE_OID, chr(0).join(seed))}"


def _accept(admitted: Admitted, task_id: str, request: Work, now: int) -> Task | None:
    """Store a new task and send it on its way; the task that stands under this id, if there is one."""
    task = Task(
        owner=admitted.owner,
        id=task_id,
        status="pending",
        intent=request.intent,
        repo=request.repo,
        branch=request.branch or None,
        title=request.natural_language[:EXCERPT],
        pin=request.agent_id,
        priority=request.priority,
        max_attempts=request.max_attempts,
        timeout=request.timeout_seconds * 1_000,
        digest=request.digest(),
        created_at=now,
        updated_at=now,
        due=now + model.SENT_AGAIN_AFTER,
    )
    body = shapes.Body.model_construct(description=request.natural_language, context=request.context)
    return _store(admitted, task, body)


def _store(admitted: Admitted, task: Task, body: shapes.Body) -> Task | None:
    created = store.create(task, body, model.created(task))
    pinned_agent = [] if task.pin is None else [holds.present(task.owner, task.pin)]
    room = [] if admitted.unless is None else [admitted.unless]
    standing = None
    try:
        db.write(*created, *pinned_agent, *room)
    except db.Cancelled as cancelled:
        if 0 not in cancelled.rows:
            if pinned_agent and len(created) in cancelled.rows:
                raise AgentNotFound(f"You have no agent {task.pin} to pin this task to.") from None
            raise TooManyOpenTasks from None
        task = standing = to_task(cancelled.rows[0] or {})
    if task.status == "pending":  # also for a request sent again: perhaps its message was what got lost
        send(task)
    return standing


def show(caller: Caller, task_id: str, now: int) -> views.WholeTaskReply:
    """A task with its description and result. An agent sees those that it holds, or held when they
    ended. Raises TaskNotFound."""
    count(caller, now)
    found = store.load_whole(caller.owner, task_id, now)
    if found is None or (caller.is_agent and found[0].agent != caller.subject):
        raise TaskNotFound
    return views.whole(*found)


def list_tasks(owner: str, query: TaskQuery, now: int) -> TaskListing:
    """A page of a user's tasks, newest first."""
    return listed(
        TaskListing,
        query,
        f"tasks|{owner}",
        auth.cursors(now),
        lambda limit, start: store.find(owner, query, limit, start),
        store.key_in(query),
        lambda rows: [views.in_list(task) for task in store.load_heads(rows, now)],
    )


def list_events(owner: str, task_id: str, query: ListQuery, now: int) -> EventListing:
    """A page of a task's timeline, oldest first. Raises TaskNotFound."""
    if store.load(owner, task_id, now) is None:
        raise TaskNotFound
    return listed(
        EventListing,
        query,
        f"events|{owner}|{task_id}",
        auth.cursors(now),
        lambda limit, start: journal.events(owner, task_id, limit, start),
        journal.event_key,
        lambda rows: [views.event(journal.to_event(row)) for row in rows],
    )


def count(caller: Caller, now: int) -> None:
    """Let a caller of the tasks API in, and count the call."""
    if caller.is_agent:
        Sign(caller, caller.subject, TASKS_API, now).show()
    else:
        auth.admit(caller, TASKS_API, now)


def cancel(owner: str, task_id: str, now: int) -> views.Cancelled:
    """g: end a task, at once or with a minute's grace for the agent that runs it. Sent again, it changes nothing.

    Raises TaskNotFound; WrongState where it ended and was never to be cancelled.
    """
    found: list[Task] = []

    def rule(task: Task) -> Change | None:
        found.append(task)
        return model.cancel(task, now)

    change = settle(owner, task_id, rule, now)
    if not found:
        raise TaskNotFound
    task = found[-1] if change is None else change.after
    return views.Cancelled(task_id=task_id, status=task.status, cancel_requested=task.is_open)


def retry(admitted: Admitted, task_id: str, now: int) -> str:
    """The same work as a new task, whose id is made of the old one's and its attempt: sent twice, it is one.

    Raises TaskNotFound, WrongState while it is open, AgentNotFound where it is pinned to an agent that is gone.
    """
    found = store.load_whole(admitted.owner, task_id, now)
    if found is None:
        raise TaskNotFound
    task, body, _ = found
    again = model.again(task, _id_from(admitted.owner, task_id, str(task.attempt)), now)
    _store(admitted, again, body)
    return again.id


def count_by_status(owner: str) -> dict[Status, int]:
    """How many of a user's tasks are in each status, exact up to 1,000 each."""
    return {status: store.count(owner, status, COUNTED) for status in get_args(Status)}


def oldest_queued(owner: str) -> int | None:
    """When the queued task that waits longest was submitted."""
    return store.oldest(owner, "queued")
