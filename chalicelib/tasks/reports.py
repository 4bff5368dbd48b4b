"""What agents report: progress, the end, and its log. Expect (or load), apply the rule, save on condition."""

from typing import Literal

from chalicelib import db, texts
from chalicelib.agents import holds
from chalicelib.agents.agent import Agent, Held
from chalicelib.agents.holds import Sign
from chalicelib.auth import service as auth
from chalicelib.auth.tokens import Caller
from chalicelib.errors import TaskNotFound
from chalicelib.ratelimit import TASKS_API
from chalicelib.tasks import model, outbox, shapes, store, views
from chalicelib.tasks.model import Advance, Reporter, Result
from chalicelib.tasks.shapes import CompleteReport, FailReport, Outcome, ProgressReport
from chalicelib.tasks.task import Change, Task, expected
from chalicelib.tasks.upkeep import Contested

STEP_BYTES, DETAILS_BYTES, ERROR_BYTES = 256, 512, 512
"""What the head row keeps of these, cut with a marker; it stays under 2 KB."""

_TRIES = 4


def progress(caller: Caller, task_id: str, report: ProgressReport, now: int) -> views.Progressed:
    """News of a task; the first starts it. Two requests, for the agent that holds it.

    Raises TaskNotFound, or Conflict (NotHeld, WrongState) where the caller does not hold it any more.
    """
    news = Advance(report.progress, _short(report.step, STEP_BYTES), _short(report.details, DETAILS_BYTES))
    by = reporter(caller, report.attempt)
    agent = admitted(caller, now)
    task = None if agent is None else _as_held(agent, task_id, news.step)
    for _ in range(_TRIES):
        task = task or load(caller.owner, task_id, now)
        change = model.advance(task, by, news, now)
        sign_for_holder(caller, task, now)
        try:
            after = _save_news(change, now)
        except (db.Failed, db.Cancelled):
            task = None
            continue
        return views.Progressed(task_id=task_id, cancel_requested=after.cancel_at is not None)
    raise Contested


def _save_news(change: Change, now: int) -> Task:
    if change.event is None:
        return change.after if change.after == change.before else store.save_alone(change)
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
    outbox.send(after, change.event)
    return after


def _as_held(agent: Agent, task_id: str, step: str | None) -> Task | None:
    """A task as its holder's own row knows it: enough to go on without reading the task. None: read it."""
    held = agent.held.get(task_id)
    if held is None or held.cancel:
        return None
    known_step = step if step is not None and held.step == mark(step) else None
    return expected(
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


def complete(caller: Caller, task_id: str, report: CompleteReport, now: int) -> views.Finished:
    """The agent is done; `success: false` means it failed. The same report again is a success, another a Conflict."""
    return _finish(caller, task_id, report, "completed" if report.success else "failed", now)


def fail(caller: Caller, task_id: str, report: FailReport, now: int) -> views.Finished:
    """The agent could not do it. The same report again is a success, another a Conflict."""
    return _finish(caller, task_id, report, "failed", now)


def _finish(
    caller: Caller, task_id: str, report: CompleteReport | FailReport, status: Literal["completed", "failed"], now: int
) -> views.Finished:
    """End a task as reported. One transaction, for the agent that runs it; whoever else asks costs a read more.

    Raises TaskNotFound, or Conflict where the caller does not hold the task, or it ended otherwise.
    """
    kept = shapes.outcome(report)
    result = Result(status, _short(kept.error, ERROR_BYTES), texts.digest(report.model_dump(exclude_defaults=True)))
    by = reporter(caller, report.attempt)
    if caller.is_agent:
        sign = Sign(caller, caller.subject, TASKS_API, now)
        running = expected(caller.owner, task_id, "in_progress", agent=caller.subject, attempt=report.attempt or 1)
        try:
            change = model.finish(running, by, result, now)
            _end(holds.end(sign, task_id), store.save_end(change, now), change, kept, now)
        except db.Cancelled:
            sign.show()  # says so if the token was the reason; counts the call
        else:
            sign.unseen()
            return views.Finished(task_id=task_id, status=status)
    else:
        admitted(caller, now)
    for _ in range(_TRIES):
        task = load(caller.owner, task_id, now)
        if model.same_report(task, by, result):
            return views.Finished(task_id=task_id, status=task.status)
        change = model.finish(task, by, result, now)
        sign_for_holder(caller, task, now)
        try:
            freed = holds.let_go(task.owner, task.agent or "", task_id, worked_at=now)
            _end(freed, store.save(change), change, kept, now)
        except db.Cancelled:
            continue
        return views.Finished(task_id=task_id, status=change.after.status)
    raise Contested


def _end(agents: db.Part, heads: list[db.Part], change: Change, kept: Outcome, now: int) -> None:
    db.write(agents, *heads, store.keep_result(change.after, kept, now))
    outbox.send(change.after, change.event)


def admitted(caller: Caller, now: int) -> Agent | None:
    """Let a reporter in and count the call; the agent, if it is one."""
    if caller.is_agent:
        return Sign(caller, caller.subject, TASKS_API, now).show()
    auth.admit(caller, TASKS_API, now)
    return None


def sign_for_holder(caller: Caller, task: Task, now: int) -> None:
    """A report with a user's token stands for the holder, so it is a sign of life of that agent."""
    if not caller.is_agent and task.agent is not None:
        Sign(caller, task.agent, TASKS_API, now).show()


def load(owner: str, task_id: str, now: int) -> Task:
    task = store.load(owner, task_id, now)
    if task is None:
        raise TaskNotFound
    return task


def reporter(caller: Caller, attempt: int | None) -> Reporter:
    return Reporter(caller.subject if caller.is_agent else None, attempt)


def _short(text: str | None, most: int) -> str | None:
    return None if text is None else texts.cut(text, most)


def mark(step: str) -> str:
    """A few characters that tell one step from another, small enough for the agent's row."""
    return texts.digest(step)[:8]
