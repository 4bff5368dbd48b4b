"""What agents report: progress, the end, and its log. Expect (or load), apply the rule, save on condition."""

from typing import Literal

from chalicelib import dynamodb
from chalicelib.agents import claims
from chalicelib.agents.entities import Agent, Claim
from chalicelib.agents.liveness import CheckIn
from chalicelib.auth import service as auth
from chalicelib.auth.tokens import Caller
from chalicelib.core.errors import TaskNotFound
from chalicelib.core.text import fingerprint, truncate
from chalicelib.http.rate_limits import TASKS_API
from chalicelib.tasks import outbox, requests, responses, rules, store
from chalicelib.tasks.entities import Task, Transition, expected
from chalicelib.tasks.lifecycle import ConcurrentChanges
from chalicelib.tasks.requests import CompleteReport, FailReport, ProgressReport, StoredResult
from chalicelib.tasks.rules import ProgressUpdate, Reporter, TaskResult

STEP_BYTES, DETAILS_BYTES, ERROR_BYTES = 256, 512, 512
"""What the head row keeps of these, cut with a marker; it stays under 2 KB."""

_MAX_TRIES = 4


def report_progress(caller: Caller, task_id: str, report: ProgressReport, now: int) -> responses.ProgressResponse:
    """News of a task; the first starts it. Two requests, for the agent that holds it.

    Raises TaskNotFound, or Conflict (NotHeld, WrongState) where the caller does not hold it any more.
    """
    news = ProgressUpdate(report.progress, _truncate(report.step, STEP_BYTES), _truncate(report.details, DETAILS_BYTES))
    by = to_reporter(caller, report.attempt)
    agent = admit_reporter(caller, now)
    task = None if agent is None else _expected_task(agent, task_id, news.step)
    for _ in range(_MAX_TRIES):
        task = task or load_task(caller.owner, task_id, now)
        transition = rules.record_progress(task, by, news, now)
        check_in_holder(caller, task, now)
        try:
            after = _save_progress(transition, now)
        except (dynamodb.ConditionFailed, dynamodb.TransactionCancelled):
            task = None
            continue
        return responses.ProgressResponse(task_id=task_id, cancel_requested=after.cancel_at is not None)
    raise ConcurrentChanges


def _save_progress(transition: Transition, now: int) -> Task:
    if transition.event is None:
        return transition.after if transition.after == transition.before else store.save_transition(transition)
    after = transition.after
    held = Claim(
        attempt=after.attempt,
        timeout=after.timeout,
        claimed_at=after.claimed_at or now,
        started_at=after.started_at,
        cancel=after.cancel_at is not None,
        step=None if after.step is None else step_fingerprint(after.step),
    )
    dynamodb.transact_write(
        *store.transition_items(transition), claims.update_claim_item(after.owner, after.agent_id or "", after.id, held)
    )
    outbox.send_event(after, transition.event)
    return after


def _expected_task(agent: Agent, task_id: str, step: str | None) -> Task | None:
    """A task as its holder's own row knows it: enough to go on without reading the task. None: read it."""
    held = agent.claims.get(task_id)
    if held is None or held.cancel:
        return None
    known_step = step if step is not None and held.step == step_fingerprint(step) else None
    return expected(
        agent.owner,
        task_id,
        "assigned" if held.started_at is None else "in_progress",
        agent_id=agent.id,
        attempt=held.attempt,
        timeout=held.timeout,
        claimed_at=held.claimed_at,
        started_at=held.started_at,
        step=known_step,
    )


def report_complete(caller: Caller, task_id: str, report: CompleteReport, now: int) -> responses.FinishedResponse:
    """The agent is done; `success: false` means it failed. The same report again is a success, another a Conflict."""
    return _report_end(caller, task_id, report, "completed" if report.success else "failed", now)


def report_failure(caller: Caller, task_id: str, report: FailReport, now: int) -> responses.FinishedResponse:
    """The agent could not do it. The same report again is a success, another a Conflict."""
    return _report_end(caller, task_id, report, "failed", now)


def _report_end(
    caller: Caller, task_id: str, report: CompleteReport | FailReport, status: Literal["completed", "failed"], now: int
) -> responses.FinishedResponse:
    """End a task as reported. One transaction, for the agent that runs it; whoever else asks costs a read more.

    Raises TaskNotFound, or Conflict where the caller does not hold the task, or it ended otherwise.
    """
    kept = requests.to_stored_result(report)
    result = TaskResult(
        status, _truncate(kept.error, ERROR_BYTES), fingerprint(report.model_dump(exclude_defaults=True))
    )
    by = to_reporter(caller, report.attempt)
    if caller.is_agent:
        check_in = CheckIn(caller, caller.subject, TASKS_API, now)
        running = expected(caller.owner, task_id, "in_progress", agent_id=caller.subject, attempt=report.attempt or 1)
        try:
            transition = rules.finish(running, by, result, now)
            _save_end(claims.end_claim_item(check_in, task_id), store.end_items(transition, now), transition, kept, now)
        except dynamodb.TransactionCancelled:
            check_in.save()  # says so if the token was the reason; counts the call
        else:
            check_in.record_estimate()
            return responses.FinishedResponse(task_id=task_id, status=status)
    else:
        admit_reporter(caller, now)
    for _ in range(_MAX_TRIES):
        task = load_task(caller.owner, task_id, now)
        if rules.is_same_report(task, by, result):
            return responses.FinishedResponse(task_id=task_id, status=task.status)
        transition = rules.finish(task, by, result, now)
        check_in_holder(caller, task, now)
        try:
            freed = claims.release_claim_item(task.owner, task.agent_id or "", task_id, worked_at=now)
            _save_end(freed, store.transition_items(transition), transition, kept, now)
        except dynamodb.TransactionCancelled:
            continue
        return responses.FinishedResponse(task_id=task_id, status=transition.after.status)
    raise ConcurrentChanges


def _save_end(
    agents: dynamodb.TransactItem,
    heads: list[dynamodb.TransactItem],
    transition: Transition,
    kept: StoredResult,
    now: int,
) -> None:
    dynamodb.transact_write(agents, *heads, store.result_item(transition.after, kept, now))
    outbox.send_event(transition.after, transition.event)


def admit_reporter(caller: Caller, now: int) -> Agent | None:
    """Let a reporter in and count the call; the agent, if it is one."""
    if caller.is_agent:
        return CheckIn(caller, caller.subject, TASKS_API, now).save()
    auth.admit(caller, TASKS_API, now)
    return None


def check_in_holder(caller: Caller, task: Task, now: int) -> None:
    """A report with a user's token stands for the holder, so it is a sign of life of that agent."""
    if not caller.is_agent and task.agent_id is not None:
        CheckIn(caller, task.agent_id, TASKS_API, now).save()


def load_task(owner: str, task_id: str, now: int) -> Task:
    task = store.load_task(owner, task_id, now)
    if task is None:
        raise TaskNotFound
    return task


def to_reporter(caller: Caller, attempt: int | None) -> Reporter:
    return Reporter(caller.subject if caller.is_agent else None, attempt)


def _truncate(text: str | None, maximum: int) -> str | None:
    return None if text is None else truncate(text, maximum)


def step_fingerprint(step: str) -> str:
    """A few characters that tell one step from another, small enough for the agent's row."""
    return fingerprint(step)[:8]
