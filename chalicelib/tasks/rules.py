"""Tasks: their shape and the rules of their life. No I/O; time is an argument (epoch milliseconds).

Every function that changes a task returns a `Change`: the task before, the task after and the event that tells it.
The store writes a change on the condition that the task still is as it was `before`, so a rule may also be applied
to what a task is *expected* to be (`expected`), without reading it first: where the expectation was wrong, the write
fails, the task comes back as it stands, and the same rule is applied to that.

The letters are those of docs/states.md.
"""

from typing import Literal, NamedTuple

from chalicelib.core.errors import Conflict
from chalicelib.core.outage import Outage
from chalicelib.core.settings import HOUR, MINUTE, SECOND
from chalicelib.tasks.entities import Task, TaskEvent, Transition

RESEND_AFTER = MINUTE
MAX_SENDS = 5
PUBLISH_WITHIN = 2 * MINUTE
"""So long after it was written the sweep sends an event that is still unsent; a lost message is sent again before."""
MAX_QUEUE_TIME = 24 * HOUR
CLAIM_LEASE = 60 * SECOND
MAX_CLAIM_TIME = 10 * MINUTE
CANCEL_GRACE = 60 * SECOND


def transition(task: Task, now: int, event: str | None, detail: str | None = None, **values: object) -> Transition:
    """A change at `now`, or right after the last one: a call that came in before it may have its effect after it."""
    at = max(now, (task.updated_at or 0) + 1)
    after = task.model_copy(update={"updated_at": at, **values})
    told = event and TaskEvent(event, at, after.status, after.attempt, after.agent_id or task.agent_id, detail)
    return Transition(task, after, told or None)


AGENT_LOST = "Agent lost"


class WrongState(Conflict):
    """The task is not in a state in which that is possible."""

    def __init__(self, task: Task, action: str) -> None:
        self.task = task
        super().__init__(f"Task {task.id} is {task.status}; it cannot be {action}.")


class NotHeld(Conflict):
    """This agent does not hold the task, or not this attempt of it: stop working on it."""


def created_event(task: Task) -> TaskEvent:
    """a: the event that the transaction tells which accepts a task."""
    return TaskEvent("task.created", task.created_at or 0, "pending", 1, None)


def enqueue(task: Task, now: int) -> Transition:
    """b: it becomes claimable."""
    if task.status != "pending":
        raise WrongState(task, "queued")
    return transition(task, now, "task.queued", status="queued", queued_at=now, due=now + MAX_QUEUE_TIME)


def claim(task: Task, agent_id: str, now: int) -> Transition:
    """c: an agent takes it, on a lease."""
    if task.status != "queued":
        raise WrongState(task, "assigned")
    return transition(
        task, now, "task.assigned", status="assigned", agent_id=agent_id, claimed_at=now, due=now + CLAIM_LEASE
    )


def renew_claim(task: Task, now: int) -> Transition:
    """c: the agent polled again, so its claim holds for another lease, up to ten minutes in all."""
    if task.status != "assigned":
        raise WrongState(task, "renewed")
    due = min(now + CLAIM_LEASE, (task.claimed_at or now) + MAX_CLAIM_TIME)
    return Transition(task, task.model_copy(update={"due": due}), None)


class Reporter(NamedTuple):
    """Who reports, and on which attempt. `agent` is None for a user's token, which can stand for any holder."""

    agent_id: str | None
    attempt: int | None


def check_holder(task: Task, by: Reporter, now: int) -> None:
    """Raises NotHeld unless the reporter holds the task, in the attempt that it says, and may still report on it."""
    check_holder_identity(task, by)
    if task.cancel_at is not None and now >= task.cancel_at + CANCEL_GRACE:
        raise NotHeld(f"Task {task.id} was cancelled, and the time to wind it up is over: stop working on it.")


def check_holder_identity(task: Task, by: Reporter) -> None:
    """A user's token cannot be told from another holder of it: past the first attempt, it must say which it means."""
    if by.agent_id is not None and task.agent_id != by.agent_id:
        raise NotHeld(f"Task {task.id} is not held by agent {by.agent_id}: stop working on it.")
    if by.attempt is not None and task.attempt != by.attempt:
        raise NotHeld(f"Task {task.id} is in attempt {task.attempt}, not {by.attempt}: stop working on that one.")
    if by.agent_id is None and by.attempt is None and task.attempt > 1:
        raise NotHeld(f"Task {task.id} is in attempt {task.attempt}; a report must say which attempt it is about.")


class ProgressUpdate(NamedTuple):
    """A progress report: how far (0 to 1), and what is being done."""

    progress: float
    step: str | None
    details: str | None


def record_progress(task: Task, by: Reporter, report: ProgressUpdate, now: int) -> Transition:
    """d, for the first report; after that, the same state with news."""
    if task.status not in ("assigned", "in_progress"):
        raise WrongState(task, "in progress") if task.is_open else NotHeld(f"Task {task.id} is {task.status} already.")
    check_holder(task, by, now)
    news: dict[str, object] = {"progress": report.progress}
    if report.step is not None:
        news["step"] = report.step
    if report.details is not None:
        news["details"] = report.details
    if task.status == "assigned":
        news |= {"status": "in_progress", "started_at": now, "due": now + task.timeout}
        return transition(task, now, "task.started", report.step, **news)
    new_step = report.step is not None and report.step != task.step
    return transition(task, now, "task.step" if new_step else None, report.step, **news)


class TaskResult(NamedTuple):
    """How a task ended: `status`, and in `error` why, if it failed. `digest` tells one report from another."""

    status: Literal["completed", "failed"]
    error: str | None
    digest: str


def finish(task: Task, by: Reporter, result: TaskResult, now: int) -> Transition:
    """d, and c with d for a task that was never reported on: it ends as the agent says."""
    if not task.is_open:
        raise WrongState(task, result.status)
    if task.status not in ("assigned", "in_progress"):
        raise NotHeld(f"Task {task.id} is {task.status}: nobody holds it.")
    check_holder(task, by, now)
    if task.cancel_at is not None and result.status == "failed":
        return _end(task, now, result.error, status="cancelled", error=result.error, report_digest=result.digest)
    ended: dict[str, object] = {"status": result.status, "error": result.error, "report_digest": result.digest}
    if result.status == "completed":
        ended["progress"] = 1
    if task.status == "assigned":
        ended["started_at"] = now
    return _end(task, now, result.error, **ended)


def is_same_report(task: Task, by: Reporter, result: TaskResult) -> bool:
    """Whether the task ended by this very report, sent again because its answer was lost."""
    return task.report_digest == result.digest and not task.is_open and by.agent_id in (None, task.agent_id)


def fail(task: Task, error: str, now: int) -> Transition:
    """The platform itself ends it."""
    return _end(task, now, error, status="failed", error=error)


def _end(task: Task, now: int, detail: str | None, **values: object) -> Transition:
    return transition(task, now, f"task.{values['status']}", detail, completed_at=now, due=None, **values)


def requeue(task: Task, reason: str, now: int) -> Transition:
    """e: a claim ends before the start. Back in the queue, no attempt used up."""
    if task.status != "assigned":
        raise WrongState(task, "queued")
    due = (task.queued_at or task.created_at or now) + MAX_QUEUE_TIME
    return transition(task, now, "task.requeued", reason, status="queued", agent_id=None, claimed_at=None, due=due)


def cancel(task: Task, now: int) -> Transition | None:
    """g: at once before the start; while it runs, the agent is asked to stop and has a minute's grace.

    None where it is cancelled, or asked to, already. Raises WrongState where it ended otherwise.
    """
    if task.status == "cancelled" or task.cancel_at is not None:
        return None
    if not task.is_open:
        raise WrongState(task, "cancelled")
    if task.status != "in_progress":
        return _end(task, now, None, status="cancelled")
    due = min(task.due or now + CANCEL_GRACE, now + CANCEL_GRACE)
    return transition(task, now, "task.cancel_requested", cancel_at=now, due=due)


def as_retry(task: Task, new_id: str, now: int) -> Task:
    """The same work, as a new task. Raises WrongState while the old one is open."""
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
        priority=task.priority,
        max_attempts=task.max_attempts,
        timeout=task.timeout,
        retry_of=task.id,
        request_digest=task.request_digest,
        created_at=now,
        updated_at=now,
        due=now + RESEND_AFTER,
    )


def lose(task: Task, reason: str, now: int) -> Transition:
    """f: the agent is gone while it ran. The next attempt, or the end; what was to be cancelled, is."""
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
        queued_at=now,
        due=now + MAX_QUEUE_TIME,
    )


def on_deadline(task: Task, now: int, outage: Outage | None = None) -> Transition | None:
    """What the sweep does about a task: None if it is not due. In all but `pending`, a due time is a deadline."""
    if task.due is None or now < _extended_deadline(task, task.due, outage):
        return None
    if task.cancel_at is not None:
        return _end(task, now, None, status="cancelled")
    match task.status:
        case "pending" if task.sends < MAX_SENDS:
            return transition(task, now, None, sends=task.sends + 1, due=now + RESEND_AFTER)
        case "pending":
            return fail(task, f"The task could not be queued: its message was lost {task.sends} times.", now)
        case "assigned":
            return requeue(task, "The claim ran out before the task was started", now)
        case "queued":
            reason = f"No agent took the task within {MAX_QUEUE_TIME // HOUR} hours."
        case _:
            reason = f"The task ran longer than its {task.timeout // SECOND} seconds."
    return fail(task, reason, now)


def _extended_deadline(task: Task, due: int, outage: Outage | None) -> int:
    """A task's due time, moved by an outage of our own that fell into it."""
    since = {
        "queued": task.queued_at,
        "assigned": due - CLAIM_LEASE,
        "in_progress": task.cancel_at or task.started_at,
    }
    if outage is None or task.status == "pending":  # that a message is to be sent again is no deadline
        return due
    return outage.extend(since[task.status] or task.created_at or 0, due)
