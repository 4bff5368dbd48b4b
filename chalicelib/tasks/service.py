"""Operations on tasks for users: submitting, reading, listing, cancelling and retrying them."""

import uuid
from typing import get_args

from chalicelib import dynamodb
from chalicelib.agents.liveness import CheckIn
from chalicelib.auth import service as auth
from chalicelib.auth.tokens import Caller
from chalicelib.core.errors import (
    AgentNotFound,
    Conflict,
    DevFlowError,
    Forbidden,
    Invalid,
    RateLimited,
    TaskNotFound,
    Unavailable,
)
from chalicelib.core.settings import DAY
from chalicelib.http.pagination import EXACT_TOTAL_LIMIT, ListQuery, list_page
from chalicelib.http.rate_limits import TASKS_API
from chalicelib.tasks import history_store, list_store, quotas, requests, responses, rules, store, waiting
from chalicelib.tasks.entities import TITLE_LENGTH, Task, TaskStatus, Transition
from chalicelib.tasks.lifecycle import apply_transition, send_to_workflow_queue
from chalicelib.tasks.pinning import PinCheck
from chalicelib.tasks.requests import ExecuteWorkflowRequest, SubmitTaskRequest, TaskQuery
from chalicelib.tasks.responses import TaskEventList, TaskList
from chalicelib.tasks.tables import to_task

_MAX_TRIES = 5


class ExecutionFailed(DevFlowError):
    """The task could not be stored and was not accepted. Send the same request again."""

    title = "Failed to execute workflow"


class NotOwnAgent(Forbidden):
    """An agent's token submits tasks only to this agent. Leave out agentId, or submit the task with a user's token."""


class DifferentRequest(Conflict):
    """The id or Idempotency-Key was already used for a different task. Use a new one."""


class DescriptionExpired(Conflict):
    """The task's description is no longer stored, so it cannot be repeated. Submit its text as a new task."""


def submit_with_id(caller: Caller, request: ExecuteWorkflowRequest, now: int) -> str:
    """Accept a task under the client's id and return the id. A task that an agent submits is pinned to this agent.

    The same request sent again returns the same task, even if a limit is reached by now. Raises NotOwnAgent;
    DifferentRequest if the id belongs to another request; AgentNotFound; IntentNotAccepted; TaskNotAdmitted;
    TooManyOpenTasks; DailyQuotaReached; ExecutionFailed.
    """
    agent_id = request.agent_id
    if caller.is_agent:
        if agent_id not in (None, caller.subject):
            raise NotOwnAgent
        agent_id = caller.subject
    try:
        existing = _accept(caller.owner, request.task_id, request, agent_id, now)
    except DevFlowError:
        raise
    except Exception as error:
        raise ExecutionFailed from error
    if existing is not None and existing.request_digest != request.digest():
        raise DifferentRequest(
            f"Task {request.task_id} already exists, and was submitted by a different request. Use a new taskId."
        )
    return request.task_id


def submit_new(owner: str, request: SubmitTaskRequest, idempotency_key: str | None, now: int) -> str:
    """Accept a task under a new id and return the id.

    The id is derived from the Idempotency-Key, if there is one. So the same key within a day returns the same task.
    Raises DifferentRequest if the key was used with another request; AgentNotFound; IntentNotAccepted;
    TaskNotAdmitted; TooManyOpenTasks; DailyQuotaReached.
    """
    if idempotency_key is None:
        task_id = f"task-{uuid.uuid4()}"
        _accept(owner, task_id, request, request.agent_id, now)
        return task_id
    seed = [owner, idempotency_key]
    while True:
        task_id = _derived_id(*seed)
        existing = _accept(owner, task_id, request, request.agent_id, now)
        if existing is None or now - (existing.created_at or 0) < DAY:
            break
        seed.append(task_id)  # the key was last used more than a day ago: it now means another task
    if existing is not None and existing.request_digest != request.digest():
        raise DifferentRequest("This Idempotency-Key was used with another request. Use a new one.")
    return task_id


def _derived_id(*seed: str) -> str:
    """A task id that is the same for the same seed."""
    return f"task-{uuid.uuid5(uuid.NAMESPACE_OID, chr(0).join(seed))}"


def _accept(owner: str, task_id: str, request: SubmitTaskRequest, agent_id: str | None, now: int) -> Task | None:
    """Store a new task and send it to the workflow queue. Returns the existing task if the id already exists.

    The task is pinned to the agent, if there is one.
    """
    task = Task(
        owner=owner,
        id=task_id,
        status="pending",
        intent=request.intent,
        repo=request.repo,
        branch=request.branch or None,
        title=request.natural_language[:TITLE_LENGTH],
        pinned_agent_id=agent_id,
        submitted_by=owner,
        priority=request.priority,
        max_attempts=request.max_attempts,
        timeout=request.timeout_seconds * 1_000,
        request_digest=request.digest(),
        created_at=now,
        updated_at=now,
        due=now + rules.QUEUE_WITHIN,
    )
    body = requests.TaskBody.model_construct(description=request.natural_language, context=request.context)
    return _save_new(task, body, now)


def _save_new(task: Task, body: requests.TaskBody, now: int) -> Task | None:
    """Store a new task, and send it to the workflow queue. Returns the existing task if the id already exists."""
    try:
        existing = _store_new(task, body, now)
    except RateLimited:
        existing = store.load_task(task.owner, task.id, now)
        if existing is None:
            raise
    task = existing or task
    if task.status == "pending":  # also for a repeated request, whose first message may have been lost
        send_to_workflow_queue(task)
    return existing


def _store_new(task: Task, body: requests.TaskBody, now: int) -> Task | None:
    """Count and store a new task. Returns the existing task if the id already exists.

    The task is counted first, in a write that is not part of the transaction: all tasks of an owner would conflict in
    it. If the task is not stored, it is no longer counted. Without a response of AWS it stays counted until the next
    recount, because it may be stored.
    """
    created, size = store.create_items(task, body, rules.created_event(task)), store.body_bytes(body)
    counted = quotas.count_task(task.owner, task.id, size, now)
    try:
        existing = _write_new(task, created)
    except (AgentNotFound, Invalid):
        quotas.uncount_task(task.owner, task.id, size, counted, now)
        raise
    except Unavailable:
        raise
    except Exception:  # AWS has rejected the transaction, perhaps after a try without a response
        if store.load_task(task.owner, task.id, now) is None:
            quotas.uncount_task(task.owner, task.id, size, counted, now)
        raise
    if existing is not None and existing.created_at != task.created_at:  # else an earlier try of this call stored it
        quotas.uncount_task(task.owner, task.id, size, counted, now)
    return existing


def _write_new(task: Task, created: list[dynamodb.TransactItem]) -> Task | None:
    """Write a new task. Returns the existing task if the id already exists.

    Raises AgentNotFound, IntentNotAccepted or TaskNotAdmitted if the agent to which the task is pinned may not claim
    it.
    """
    pin_check = PinCheck(task)
    for _ in range(_MAX_TRIES):
        try:
            dynamodb.transact_write(*created, *pin_check.items())
        except dynamodb.TransactionCancelled as cancelled:
            if 0 in cancelled.rows:
                return to_task(cancelled.rows[0] or {})
            pin_check.read(cancelled.rows[len(created)])
        else:
            return None
    raise Unavailable


def get_task(caller: Caller, task_id: str, now: int) -> responses.TaskDetail:
    """A task with its description and result. An agent can read the tasks that it holds, or held when they ended.

    Raises TaskNotFound.
    """
    admit_caller(caller, now)
    found = store.load_detail(caller.owner, task_id, now)
    if found is None or (caller.is_agent and found[0].agent_id != caller.subject):
        raise TaskNotFound
    return responses.to_detail(*found, waiting.find_reason(found[0]))


def list_tasks(owner: str, query: TaskQuery, now: int) -> TaskList:
    """A page of a user's tasks, newest first."""
    return list_page(
        TaskList,
        query,
        f"tasks|{owner}",
        auth.cursors(now),
        lambda limit, start: list_store.find_tasks(owner, query, limit, start),
        list_store.cursor_key(query),
        lambda rows: [responses.to_summary(task) for task in list_store.load_tasks(rows, now)],
    )


def list_events(owner: str, task_id: str, query: ListQuery, now: int) -> TaskEventList:
    """A page of a task's timeline, oldest first. Raises TaskNotFound."""
    task = store.load_task(owner, task_id, now)
    if task is None:
        raise TaskNotFound
    return list_page(
        TaskEventList,
        query,
        f"events|{owner}|{task_id}",
        auth.cursors(now),
        lambda limit, start: history_store.find_events(task, limit, start),
        history_store.cursor_key,
        lambda rows: [responses.to_event_response(history_store.to_event(row)) for row in rows],
    )


def admit_caller(caller: Caller, now: int) -> None:
    """Admit a caller of the tasks API, and count the call."""
    if caller.is_agent:
        CheckIn(caller, caller.subject, TASKS_API, now).save()
    else:
        auth.admit(caller, TASKS_API, now)


def cancel_task(owner: str, task_id: str, now: int) -> responses.CancelResponse:
    """g: cancel a task, at once or, while an agent runs it, within a minute. A repeated request changes nothing.

    Raises TaskNotFound; WrongState if the task has ended without a cancellation; ConcurrentChanges.
    """
    found: list[Task] = []

    def rule(task: Task) -> Transition | None:
        found.append(task)
        return rules.cancel(task, now)

    transition = apply_transition(owner, task_id, rule, now)
    if not found:
        raise TaskNotFound
    task = found[-1] if transition is None else transition.after
    return responses.CancelResponse(task_id=task_id, status=task.status, cancel_requested=task.is_open)


def retry_task(owner: str, task_id: str, now: int) -> str:
    """Create a task with the same work and return its id.

    The id is derived from the old task's id and attempt, so a repeated request creates no second task.
    Raises TaskNotFound; WrongState while the old task is open; DescriptionExpired; AgentNotFound if the task is pinned
    to an agent that does not exist; IntentNotAccepted if that agent does not accept the intent any more;
    TaskNotAdmitted if its rules do not admit the task any more; RepoHasCredentials if version 0.1.0 stored credentials;
    TooManyOpenTasks; DailyQuotaReached.
    """
    found = store.load_detail(owner, task_id, now)
    if found is None:
        raise TaskNotFound
    task, body, _ = found
    retry = rules.as_retry(task, _derived_id(owner, task_id, str(task.attempt)), owner, now)
    requests.check_no_credentials(task.repo or "")
    if body is None:
        raise DescriptionExpired
    _save_new(retry, body, now)
    return retry.id


def count_by_status(owner: str) -> dict[TaskStatus, int]:
    """The number of a user's tasks in each status, counted up to 1,000 each."""
    return {status: list_store.count_tasks(owner, status, EXACT_TOTAL_LIMIT) for status in get_args(TaskStatus)}


def oldest_queued(owner: str) -> int | None:
    """When the oldest queued task of a user was submitted. None if there is none."""
    return list_store.oldest_created_at(owner, "queued")
