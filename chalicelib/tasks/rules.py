"""The rules of a task's lifecycle. No I/O; time is an argument (epoch milliseconds).

Every rule that changes a task returns a `Transition`: the task before, the task after, and the event that describes
the change. The store writes a transition on the condition that the task is still as it was `before`.

So a rule can also be applied to an expectation (`entities.expected`), without reading the task first. If the
expectation is wrong, the write fails. The caller then reads the task and applies the same rule to it.

The letters are those of docs/states.md.
"""

from typing import Literal, NamedTuple

from chalicelib.core.errors import Conflict
from chalicelib.core.outage import Outage
from chalicelib.core.settings import DAY, HOUR, MINUTE, SECOND
from chalicelib.tasks.entities import MAX_ATTEMPTS, MAX_TIMEOUT, Task, TaskEvent, Transition

QUEUE_WITHIN = MINUTE
"""How long a task may be `pending` before the sweep makes it claimable, without its message."""
PUBLISH_WITHIN = 2 * MINUTE
"""How old an event may be before the sweep publishes it, without its message."""
MAX_QUEUE_TIME = 24 * HOUR
CLAIM_LEASE = 60 * SECOND
MAX_CLAIM_TIME = 10 * MINUTE
"""How long a claim can last in total. A poll does not renew it any further."""
CANCEL_GRACE = 60 * SECOND
"""How long an agent has to stop a running task after a cancellation was requested."""
OUTAGE_ALLOWANCE = 7 * DAY
"""By how much outages of the platform may extend the life of a task, all deadlines together."""

AGENT_LOST = "Agent lost"


def longest_life(max_attempts: int = MAX_ATTEMPTS, timeout: int = MAX_TIMEOUT) -> int:
    """How long a task can be open at most, in milliseconds.

    The rows of a task that are written before its end expire this much later, so that none of them expires before the
    head. A state in which a task can wait must be added here. The defaults are the maximum of all tasks, for writes
    that do not know the task's own limits.
    """
    attempt = MAX_QUEUE_TIME + MAX_CLAIM_TIME + timeout
    return QUEUE_WITHIN + max_attempts * attempt + CANCEL_GRACE + OUTAGE_ALLOWANCE


class WrongState(Conflict):
    """This is not possible in the present status of the task."""

    def __init__(self, task: Task, action: str) -> None:
        self.task = task
        super().__init__(f"Task {task.id} is {task.status}; it cannot be {action}.")


class NotHeld(Conflict):
    """This agent does not hold the task, or not in this attempt. Stop working on it."""


def transition(task: Task, now: int, event: str | None, detail: str | None = None, **values: object) -> Transition:
    """A transition that sets `values` and has an event of type `event`, if one is given.

    It takes place at `now`, but always after the previous transition: a request can arrive before another one and take
    effect after it.
    """
    at = max(now, (task.updated_at or 0) + 1)
    after = task.model_copy(update={"updated_at": at, **values})
    task_event = event and TaskEvent(event, at, after.status, after.attempt, after.agent_id or task.agent_id, detail)
    return Transition(task, after, task_event or None)


def created_event(task: Task) -> TaskEvent:
    """a: the event that is stored in the transaction that accepts a task."""
    return TaskEvent("task.created", task.created_at or 0, "pending", 1, None)


def enqueue(task: Task, now: int) -> Transition:
    """b: the task becomes claimable. Raises WrongState."""
    if task.status != "pending":
        raise WrongState(task, "queued")
    return transition(task, now, "task.queued", status="queued", queued_at=now, due=now + MAX_QUEUE_TIME)


def claim(task: Task, agent_id: str, now: int) -> Transition:
    """c: an agent claims the task, with a lease. Raises WrongState."""
    if task.status != "queued":
        raise WrongState(task, "assigned")
    return transition(
        task, now, "task.assigned", status="assigned", agent_id=agent_id, claimed_at=now, due=now + CLAIM_LEASE
    )


def renew_claim(task: Task, now: int) -> Transition:
    """c: another poll of the agent renews the lease, up to ten minutes in total. Raises WrongState."""
    if task.status != "assigned":
        raise WrongState(task, "renewed")
    due = min(now + CLAIM_LEASE, (task.claimed_at or now) + MAX_CLAIM_TIME)
    return Transition(task, task.model_copy(update={"due": due}), None)


class Reporter(NamedTuple):
    """The caller of a report, and the attempt that the report is about.

    `agent_id` is None for a user's token, which may report for any agent. `attempt` is None if the report has none.
    """

    agent_id: str | None
    attempt: int | None


def check_holder(task: Task, reporter: Reporter, now: int) -> None:
    """Raise NotHeld unless the reporter holds the task in the given attempt and may still report on it."""
    check_holder_identity(task, reporter)
    if task.cancel_at is not None and now >= task.cancel_at + CANCEL_GRACE:
        raise NotHeld(f"Task {task.id} was cancelled, and the time to stop it has passed. Stop working on it.")


def check_holder_identity(task: Task, reporter: Reporter) -> None:
    """Raise NotHeld unless the reporter is the agent that holds the task, and means the present attempt.

    A user's token does not identify the agent. So after the first attempt, a report with it must name the attempt.
    """
    if reporter.agent_id is not None and task.agent_id != reporter.agent_id:
        raise NotHeld(f"Agent {reporter.agent_id} does not hold task {task.id}. Stop working on it.")
    if reporter.attempt is not None and task.attempt != reporter.attempt:
        raise NotHeld(
            f"Task {task.id} is in attempt {task.attempt}, not {reporter.attempt}. "
            f"Stop working on attempt {reporter.attempt}."
        )
    if reporter.agent_id is None and reporter.attempt is None and task.attempt > 1:
        raise NotHeld(f"Task {task.id} is in attempt {task.attempt}. Add the field `attempt` to the report.")


class ProgressUpdate(NamedTuple):
    """A progress report: the share of the work that is done (0 to 1), the present step, and details."""

    progress: float
    step: str | None
    details: str | None


def record_progress(task: Task, reporter: Reporter, update: ProgressUpdate, now: int) -> Transition:
    """d: the first report starts the task. Later reports update it. Raises WrongState, NotHeld."""
    if task.status not in ("assigned", "in_progress"):
        if task.is_open:
            raise WrongState(task, "started before an agent claims it")
        raise NotHeld(f"Task {task.id} is already {task.status}. Stop working on it.")
    check_holder(task, reporter, now)
    values: dict[str, object] = {"progress": update.progress}
    if update.step is not None:
        values["step"] = update.step
    if update.details is not None:
        values["details"] = update.details
    if task.status == "assigned":
        values |= {"status": "in_progress", "started_at": now, "due": now + task.timeout}
        return transition(task, now, "task.started", update.step, **values)
    new_step = update.step is not None and update.step != task.step
    return transition(task, now, "task.step" if new_step else None, update.step, **values)


class TaskResult(NamedTuple):
    """How a task ended: its status and, if it failed, the error. `digest` identifies the report.

    `size` is the size of what is stored of the report, in bytes. `log_end` is the size that the attempt's log will have
    in the end, in bytes. It is None if the agent did not report it.
    """

    status: Literal["completed", "failed"]
    error: str | None
    digest: str
    size: int = 0
    log_end: int | None = None


def finish(task: Task, reporter: Reporter, result: TaskResult, now: int) -> Transition:
    """d: the task ends as reported. A task that was not started is started and ended in one transition.

    A failure that is reported after a cancellation was requested ends the task as `cancelled`. Raises WrongState,
    NotHeld.
    """
    if not task.is_open:
        raise WrongState(task, result.status)
    if task.status not in ("assigned", "in_progress"):
        raise NotHeld(f"Task {task.id} is {task.status}. No agent holds it.")
    check_holder(task, reporter, now)
    values: dict[str, object] = {
        "status": result.status,
        "error": result.error,
        "report_digest": result.digest,
        "log_end": result.log_end,
    }
    if task.cancel_at is not None and result.status == "failed":
        return _end(task, now, result.error, result_bytes=result.size, **(values | {"status": "cancelled"}))
    if result.status == "completed":
        values["progress"] = 1
    if task.status == "assigned":
        values["started_at"] = now
    return _end(task, now, result.error, result_bytes=result.size, **values)


def is_same_report(task: Task, reporter: Reporter, result: TaskResult) -> bool:
    """Whether this report has already ended the task: the client sends it again because the response was lost."""
    return task.report_digest == result.digest and not task.is_open and reporter.agent_id in (None, task.agent_id)


def fail(task: Task, error: str, now: int) -> Transition:
    """The platform fails the task."""
    return _end(task, now, error, status="failed", error=error)


def _end(task: Task, now: int, detail: str | None, *, result_bytes: int = 0, **values: object) -> Transition:
    end = transition(task, now, f"task.{values['status']}", detail, completed_at=now, due=None, **values)
    return end._replace(event=end.event and end.event._replace(result_bytes=result_bytes))


def requeue(task: Task, reason: str, now: int) -> Transition:
    """e: a claim ends before the start. The task returns to the queue in the same attempt. Raises WrongState."""
    if task.status != "assigned":
        raise WrongState(task, "queued")
    due = (task.queued_at or task.created_at or now) + MAX_QUEUE_TIME
    return transition(task, now, "task.requeued", reason, status="queued", agent_id=None, claimed_at=None, due=due)


def cancel(task: Task, now: int) -> Transition | None:
    """g: before the start, the task is cancelled at once. While it runs, the agent is asked to stop within a minute.

    Returns None if the task is already cancelled, or if that was already requested. Raises WrongState if it has ended
    in another status.
    """
    if task.status == "cancelled" or task.cancel_at is not None:
        return None
    if not task.is_open:
        raise WrongState(task, "cancelled")
    if task.status != "in_progress":
        return _end(task, now, None, status="cancelled")
    due = min(task.due or now + CANCEL_GRACE, now + CANCEL_GRACE)
    return transition(task, now, "task.cancel_requested", cancel_at=now, due=due)


def as_retry(task: Task, new_id: str, submitted_by: str, now: int) -> Task:
    """A new task with the same work. Raises WrongState while the old one is open."""
    if task.is_open:
        raise WrongState(task, "retried before it has ended")
    return Task(
        owner=task.owner,
        id=new_id,
        status="pending",
        intent=task.intent,
        repo=task.repo,
        branch=task.branch,
        title=task.title,
        pinned_agent_id=task.pinned_agent_id,
        submitted_by=submitted_by,
        priority=task.priority,
        max_attempts=task.max_attempts,
        timeout=task.timeout,
        retry_of=task.id,
        request_digest=task.request_digest,
        created_at=now,
        updated_at=now,
        due=now + QUEUE_WITHIN,
    )


def lose(task: Task, reason: str, now: int) -> Transition:
    """f: the agent is lost while it runs the task. The next attempt is queued, or the task fails.

    If a cancellation was requested, the task is cancelled instead. Raises WrongState.
    """
    if task.status != "in_progress":
        raise WrongState(task, "lost")
    if task.cancel_at is not None:
        return _end(task, now, reason, status="cancelled")
    if task.attempt >= task.max_attempts:
        return _end(task, now, reason, status="failed", error=AGENT_LOST)
    return transition(
        task,
        now,
        "task.requeued",
        reason,
        status="queued",
        agent_id=None,
        claimed_at=None,
        started_at=None,
        attempt=task.attempt + 1,
        progress=0,
        step=None,
        details=None,
        log_bytes=0,
        earlier_log_bytes=task.earlier_log_bytes + task.log_bytes,
        log_closed=False,
        queued_at=now,
        due=now + MAX_QUEUE_TIME,
    )


def on_deadline(task: Task, now: int, outage: Outage | None = None) -> Transition | None:
    """The transition that the sweep makes when the task is due. None if it is not due.

    In every status except `pending`, the due time is a deadline. A pending task never fails here: that its message is
    late or lost is no fault of the task.
    """
    if task.due is None or now < _extended_deadline(task, task.due, outage):
        return None
    if task.cancel_at is not None:
        return _end(task, now, None, status="cancelled")
    match task.status:
        case "pending":
            return enqueue(task, now)
        case "assigned" if now < _end_of_queue_time(task, outage):
            return requeue(task, "The claim expired before the task was started", now)
        case "assigned":
            reason = f"No agent started the task within {MAX_QUEUE_TIME // HOUR} hours."
        case "queued":
            hours = f"within {MAX_QUEUE_TIME // HOUR} hours"
            reason = f"No agent claimed the task {hours}."
            if task.pinned_agent_id is not None:
                reason = f"The task is pinned to agent {task.pinned_agent_id}, which did not claim it {hours}."
        case _:
            reason = f"The task ran longer than its timeout of {task.timeout // SECOND} seconds."
    return fail(task, reason, now)


def _end_of_queue_time(task: Task, outage: Outage | None) -> int:
    """When the task has been queued in this attempt for as long as it may be, claims included."""
    queued_at = task.queued_at or task.created_at or 0
    end = queued_at + MAX_QUEUE_TIME
    return end if outage is None else outage.extend(queued_at, end)


def _extended_deadline(task: Task, due: int, outage: Outage | None) -> int:
    """A task's due time, extended by the platform's outage if the outage overlaps the time before it."""
    since = {
        "queued": task.queued_at,
        "assigned": due - CLAIM_LEASE,
        "in_progress": task.cancel_at or task.started_at,
    }
    if outage is None or task.status == "pending":  # making a task claimable is not a deadline
        return due
    return outage.extend(since[task.status] or task.created_at or 0, due)
