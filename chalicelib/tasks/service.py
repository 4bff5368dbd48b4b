"""What people and agents do with tasks: load (or expect), apply the rule, save on condition, tell the queue."""

import uuid
from typing import Any, Literal

from chalicelib import db, queue
from chalicelib.agents import holds
from chalicelib.agents.holds import Sign
from chalicelib.agents.model import Agent, Held
from chalicelib.auth import service as auth
from chalicelib.auth.tokens import Caller
from chalicelib.errors import AgentNotFound, Conflict, DevFlowError, TaskNotFound, Unavailable
from chalicelib.pages import ListQuery, listed
from chalicelib.ratelimit import TASKS_API
from chalicelib.settings import DAY, KB
from chalicelib.tasks import model, shapes, store
from chalicelib.tasks.model import Advance, Change, Reporter, Result, Task
from chalicelib.tasks.rows import to_task
from chalicelib.tasks.shapes import CompleteReport, Execute, FailReport, Outcome, ProgressReport, TaskQuery, Work

STEP_BYTES, DETAILS_BYTES, ERROR_BYTES = 256, 512, 512
"""What the head row keeps of these, cut with a marker; it stays under 2 KB."""

_TRIES = 4
_LOG_CHUNK = 256 * KB


class Contested(Unavailable):
    """Others keep changing this task at the same moment; send the same request again."""


class ExecutionFailed(DevFlowError):
    """The task could not be stored; nothing was accepted. Send the same request again."""

    title = "Failed to execute workflow"


class OtherRequest(Conflict):
    """This id belongs to another request."""


def submit(owner: str, request: Execute, now: int) -> str:
    """Accept a task under the client's id; the same request again is the same task.

    Raises OtherRequest where the id is taken by something else.
    """
    try:
        standing = _accept(owner, request.task_id, request, now)
    except DevFlowError:
        raise
    except Exception as error:
        raise ExecutionFailed from error
    if standing is not None and standing.digest != request.digest():
        raise OtherRequest(f"Task {request.task_id} exists already, from another request.")
    return request.task_id


def submit_new(owner: str, request: Work, idempotency_key: str | None, now: int) -> str:
    """Accept a task under an id of ours. The same Idempotency-Key within a day is the same task: the id is made of it.

    Raises OtherRequest where the key came with another request.
    """
    if idempotency_key is None:
        task = f"task-{uuid.uuid4()}"
        _accept(owner, task, request, now)
        return task
    seed = f"{owner}\0{idempotency_key}"
    while True:
        task = f"task-{uuid.uuid5(uuid.NAMESPACE_OID, seed)}"
        standing = _accept(owner, task, request, now)
        if standing is None or now - (standing.created_at or 0) < DAY:
            break
        seed = f"{seed}\0{task}"  # the key was used, but so long ago that it is free again
    if standing is not None and standing.digest != request.digest():
        raise OtherRequest("This Idempotency-Key was used with another request; use a new one.")
    return task


def _accept(owner: str, task_id: str, request: Work, now: int) -> Task | None:
    """Store a new task and send it on its way; the task that stands under this id, if there is one."""
    task = Task(
        owner=owner,
        id=task_id,
        status="pending",
        intent=request.intent,
        repo=request.repo,
        branch=request.branch or None,
        title=request.natural_language[: model.EXCERPT],
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
    event = model.Event("task.created", now, "pending", 1, None)
    pinned_agent = [] if task.pin is None else [holds.present(owner, task.pin)]
    standing = None
    try:
        db.write(*store.create(task, body, event), *pinned_agent)
    except db.Cancelled as cancelled:
        if 0 not in cancelled.rows:
            raise AgentNotFound(f"You have no agent {task.pin} to pin this task to.") from None
        task = standing = to_task(cancelled.rows[0] or {})
    if task.status == "pending":  # also for a request sent again: perhaps its message was what got lost
        send(task)
    return standing


def send(task: Task) -> bool:
    return queue.send("workflow", {"owner": task.owner, "task": task.id})


def show(caller: Caller, task_id: str, now: int) -> shapes.WholeTaskReply:
    """A task with its description and result. An agent sees those that it holds or held. Raises TaskNotFound."""
    count(caller, now)
    found = store.load_whole(caller.owner, task_id, now)
    if found is None or (caller.is_agent and found[0].agent != caller.subject):
        raise TaskNotFound
    return shapes.whole(*found)


def list_tasks(owner: str, query: TaskQuery, now: int) -> dict[str, Any]:
    """A page of a user's tasks, newest first."""
    return listed(
        query,
        f"tasks|{owner}",
        auth.cursors(now),
        lambda limit, start: store.find(owner, query, limit, start),
        store.key_in(query),
        lambda rows: [shapes.in_list(task) for task in store.load_heads(rows, now)],
    )


def list_events(owner: str, task_id: str, query: ListQuery, now: int) -> dict[str, Any]:
    """A page of a task's timeline, oldest first. Raises TaskNotFound."""
    if store.load(owner, task_id, now) is None:
        raise TaskNotFound
    return listed(
        query,
        f"events|{owner}|{task_id}",
        auth.cursors(now),
        lambda limit, start: store.events(owner, task_id, limit, start),
        store.event_key,
        lambda rows: [shapes.event(store.to_event(row)) for row in rows],
    )


def progress(caller: Caller, task_id: str, report: ProgressReport, now: int) -> shapes.Progressed:
    """News of a task; the first starts it. Two requests, for the agent that holds it.

    Raises TaskNotFound, or Conflict (NotHeld, WrongState) where the caller does not hold it any more.
    """
    news = Advance(report.progress, _short(report.step, STEP_BYTES), _short(report.details, DETAILS_BYTES))
    by = _reporter(caller, report.attempt)
    task = _as_held(_sign(caller, caller.subject, now).show(), task_id, news.step) if caller.is_agent else None
    for _ in range(_TRIES):
        task = task or _held_by_caller(caller, task_id, now)
        change = model.advance(task, by, news, now)
        try:
            after = _save_news(change, now)
        except (db.Failed, db.Cancelled):
            task = None
            continue
        return shapes.Progressed(task_id=task_id, cancel_requested=after.cancel_at is not None)
    raise Contested


def _save_news(change: Change, now: int) -> Task:
    if change.event is None:
        return store.save_alone(change)
    after = change.after
    held = Held(
        attempt=after.attempt,
        timeout=after.timeout,
        claimed_at=after.claimed_at or now,
        started_at=after.started_at,
        cancel=after.cancel_at is not None,
        step=None if after.step is None else mark(after.step),
    )
    db.write(*store.save(change), holds.begin(after.owner, after.agent or "", after.id, held))
    return after


def _as_held(agent: Agent, task_id: str, step: str | None) -> Task | None:
    """A task as its holder's own row knows it: enough to go on without reading the task. None: read it."""
    held = agent.held.get(task_id)
    if held is None or held.cancel:
        return None
    known_step = step if step is not None and held.step == mark(step) else None
    return model.expected(
        agent.owner,
        task_id,
        "assigned" if held.started_at is None else "in_progress",
        agent=agent.id,
        attempt=held.attempt,
        timeout=held.timeout,
        claimed_at=held.claimed_at,
        started_at=held.started_at,
        step=known_step,
    )


def complete(caller: Caller, task_id: str, report: CompleteReport, now: int) -> shapes.Finished:
    """The agent is done; `success: false` means it failed. The same report again is a success, another a Conflict."""
    return _finish(caller, task_id, report, "completed" if report.success else "failed", now)


def fail(caller: Caller, task_id: str, report: FailReport, now: int) -> shapes.Finished:
    """The agent could not do it. Its log, if it sent one, is kept with the task's logs."""
    finished = _finish(caller, task_id, report, "failed", now)
    if report.logs:
        task = store.load(caller.owner, task_id, now)
        if task is not None:
            store.append_log(task, model.chunks(report.logs, _LOG_CHUNK), now)
    return finished


def _finish(
    caller: Caller, task_id: str, report: CompleteReport | FailReport, status: Literal["completed", "failed"], now: int
) -> shapes.Finished:
    """End a task as reported. One transaction, for the agent that runs it; whoever else asks costs a read more.

    Raises TaskNotFound, or Conflict where the caller does not hold the task, or it ended otherwise.
    """
    kept = shapes.outcome(report)
    result = Result(status, _short(kept.error, ERROR_BYTES), model.digest(report.model_dump()))
    by = _reporter(caller, report.attempt)
    finished = shapes.Finished(task_id=task_id, status=status)
    if caller.is_agent:
        sign = _sign(caller, caller.subject, now)
        running = model.expected(
            caller.owner, task_id, "in_progress", agent=caller.subject, attempt=report.attempt or 1
        )
        try:
            _end(model.finish(running, by, result, now), kept, holds.end(sign, task_id), now)
        except db.Cancelled:
            sign.show()  # says so if the token was the reason; counts the call
        else:
            sign.unseen()
            return finished
    for _ in range(_TRIES):
        task = _held_by_caller(caller, task_id, now)
        if model.same_report(task, result):
            return finished
        change = model.finish(task, by, result, now)
        try:
            _end(change, kept, holds.let_go(task.owner, task.agent or "", task_id, worked_at=now), now)
        except db.Cancelled:
            continue
        return finished
    raise Contested


def _end(change: Change, kept: Outcome, agents_part: db.Part, now: int) -> None:
    db.write(agents_part, *store.save(change), store.keep_result(change.after, kept, now))


def _held_by_caller(caller: Caller, task_id: str, now: int) -> Task:
    """The task that a report is about, read. A user's token stands for the holder: a sign of life of that agent."""
    if not caller.is_agent:
        auth.admit(caller, TASKS_API, now)
    task = store.load(caller.owner, task_id, now)
    if task is None:
        raise TaskNotFound
    if not caller.is_agent and task.agent is not None and task.is_open:
        _sign(caller, task.agent, now).show()
    return task


def _sign(caller: Caller, agent: str, now: int) -> Sign:
    return Sign(caller, agent, TASKS_API, now)


def _reporter(caller: Caller, attempt: int | None) -> Reporter:
    return Reporter(caller.subject if caller.is_agent else None, attempt)


def count(caller: Caller, now: int) -> None:
    """Let a caller of the tasks API in, and count the call."""
    if caller.is_agent:
        _sign(caller, caller.subject, now).show()
    else:
        auth.admit(caller, TASKS_API, now)


def _short(text: str | None, most: int) -> str | None:
    return None if text is None else model.cut(text, most)


def mark(step: str) -> str:
    """A few characters that tell one step from another, small enough for the agent's row."""
    return model.digest(step)[:8]
