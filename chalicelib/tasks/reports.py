"""Reports of agents: progress and the end of a task.

Each report applies a rule to the task and saves the transition on the condition that the task is unchanged. Where the
agent's own row contains enough, the rule is first applied to an expectation, so that the task need not be read.
"""

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
"""How many bytes of these texts the head row stores. They are cut with a marker, so the row stays under 2 KB."""

_MAX_TRIES = 4


def report_progress(caller: Caller, task_id: str, report: ProgressReport, now: int) -> responses.ProgressResponse:
    """Record progress. The first report starts the task. Two requests if the agent holds the task.

    Raises TaskNotFound; NotHeld or WrongState if the caller does not hold the task any more; ConcurrentChanges.
    """
    update = ProgressUpdate(
        report.progress, _truncate(report.step, STEP_BYTES), _truncate(report.details, DETAILS_BYTES)
    )
    reporter = to_reporter(caller, report.attempt)
    agent = admit_reporter(caller, now)
    task = None if agent is None else _expected_task(agent, task_id, update.step)
    for _ in range(_MAX_TRIES):
        task = task or load_task(caller.owner, task_id, now)
        transition = rules.record_progress(task, reporter, update, now)
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
    claim = Claim(
        attempt=after.attempt,
        timeout=after.timeout,
        claimed_at=after.claimed_at or now,
        started_at=after.started_at,
        cancel=after.cancel_at is not None,
        step=None if after.step is None else step_fingerprint(after.step),
    )
    dynamodb.transact_write(
        *store.transition_items(transition),
        claims.update_claim_item(after.owner, after.agent_id or "", after.id, claim),
    )
    outbox.send_event(after, transition.event)
    return after


def _expected_task(agent: Agent, task_id: str, step: str | None) -> Task | None:
    """The task as the agent's row describes it, so that the task need not be read. None if the task must be read."""
    claim = agent.claims.get(task_id)
    if claim is None or claim.cancel:
        return None
    known_step = step if step is not None and claim.step == step_fingerprint(step) else None
    return expected(
        agent.owner,
        task_id,
        "assigned" if claim.started_at is None else "in_progress",
        agent_id=agent.id,
        attempt=claim.attempt,
        timeout=claim.timeout,
        claimed_at=claim.claimed_at,
        started_at=claim.started_at,
        step=known_step,
    )


def report_complete(caller: Caller, task_id: str, report: CompleteReport, now: int) -> responses.FinishedResponse:
    """The agent has finished the task; with `success: false` the task failed. Raises as `report_failure` does."""
    return _report_end(caller, task_id, report, "completed" if report.success else "failed", now)


def report_failure(caller: Caller, task_id: str, report: FailReport, now: int) -> responses.FinishedResponse:
    """The agent could not do the task. The same report sent again is a success.

    Raises TaskNotFound; NotHeld if the caller does not hold the task; WrongState if the task has already ended;
    ConcurrentChanges.
    """
    return _report_end(caller, task_id, report, "failed", now)


def _report_end(
    caller: Caller, task_id: str, report: CompleteReport | FailReport, status: Literal["completed", "failed"], now: int
) -> responses.FinishedResponse:
    """End a task as reported. One transaction if the agent holds the task; any other caller needs further requests."""
    stored_result = requests.to_stored_result(report)
    result = TaskResult(
        status,
        _truncate(stored_result.error, ERROR_BYTES),
        fingerprint(report.model_dump(exclude_defaults=True)),
        store.result_bytes(stored_result),
        report.log_end,
    )
    reporter = to_reporter(caller, report.attempt)
    if caller.is_agent:
        check_in = CheckIn(caller, caller.subject, TASKS_API, now)
        running = expected(caller.owner, task_id, "in_progress", agent_id=caller.subject, attempt=report.attempt or 1)
        try:
            transition = rules.finish(running, reporter, result, now)
            check_in_item = claims.end_claim_item(check_in, task_id)
            _save_end(check_in_item, store.end_items(transition, now), transition, stored_result, now)
        except dynamodb.TransactionCancelled:
            check_in.save()  # counts the call, and raises an error if the token was the reason
        else:
            check_in.record_estimate()
            return responses.FinishedResponse(task_id=task_id, status=status)
    else:
        admit_reporter(caller, now)
    for _ in range(_MAX_TRIES):
        task = load_task(caller.owner, task_id, now)
        if rules.is_same_report(task, reporter, result):
            return responses.FinishedResponse(task_id=task_id, status=task.status)
        transition = rules.finish(task, reporter, result, now)
        check_in_holder(caller, task, now)
        try:
            release = claims.release_claim_item(task.owner, task.agent_id or "", task_id, worked_at=now)
            _save_end(release, store.transition_items(transition), transition, stored_result, now)
        except dynamodb.TransactionCancelled:
            continue
        return responses.FinishedResponse(task_id=task_id, status=transition.after.status)
    raise ConcurrentChanges


def _save_end(
    agent_item: dynamodb.TransactItem,
    task_items: list[dynamodb.TransactItem],
    transition: Transition,
    result: StoredResult,
    now: int,
) -> None:
    dynamodb.transact_write(agent_item, *task_items, store.result_item(transition.after, result, now))
    outbox.send_event(transition.after, transition.event)


def admit_reporter(caller: Caller, now: int) -> Agent | None:
    """Admit the caller and count the call. Returns the agent, or None for a user's token."""
    if caller.is_agent:
        return CheckIn(caller, caller.subject, TASKS_API, now).save()
    auth.admit(caller, TASKS_API, now)
    return None


def check_in_holder(caller: Caller, task: Task, now: int) -> None:
    """Record a report with a user's token as a check-in of the agent that holds the task."""
    if not caller.is_agent and task.agent_id is not None:
        CheckIn(caller, task.agent_id, TASKS_API, now).save()


def load_task(owner: str, task_id: str, now: int) -> Task:
    """A task's head. Raises TaskNotFound."""
    task = store.load_task(owner, task_id, now)
    if task is None:
        raise TaskNotFound
    return task


def to_reporter(caller: Caller, attempt: int | None) -> Reporter:
    return Reporter(caller.subject if caller.is_agent else None, attempt)


def _truncate(text: str | None, maximum: int) -> str | None:
    return None if text is None else truncate(text, maximum)


def step_fingerprint(step: str) -> str:
    """A short fingerprint that distinguishes steps. The agent's row stores it instead of the step."""
    return fingerprint(step)[:8]
