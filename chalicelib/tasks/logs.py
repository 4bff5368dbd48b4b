"""A task's log: chunks appended at an offset in UTF-8 bytes, per attempt, and read from any offset while it grows."""

from chalicelib import db, texts
from chalicelib.auth.tokens import Caller
from chalicelib.errors import TaskNotFound
from chalicelib.settings import KB
from chalicelib.tasks import journal, logmodel, reports, shapes, store, views
from chalicelib.tasks.model import Reporter
from chalicelib.tasks.task import Task
from chalicelib.tasks.upkeep import Contested

CHUNK = 256 * KB
"""How much of a log one row carries."""

_TRIES = 4


def append(caller: Caller, task_id: str, request: shapes.LogChunk, now: int) -> views.Appended:
    """Append a chunk where the log of this attempt ends. A chunk that is there already is a success.

    Raises TaskNotFound; NotHeld for whoever does not hold the task (the last holder may still write for ten minutes
    after the end); LogGap, with the offset wanted, for a chunk that does not fit.
    """
    reports.admitted(caller, now)
    by = Reporter(caller.subject if caller.is_agent else None, request.attempt)
    for _ in range(_TRIES):
        task = reports.load(caller.owner, task_id, now)
        logmodel.check_logger(task, by, now)
        if logmodel.log_is_full(task):
            end = request.offset + len(request.data.encode())
            return views.Appended(task_id=task_id, next_offset=end, truncated=True)
        text = logmodel.log_room(task, request.offset, request.data)
        if text is None:
            return views.Appended(task_id=task_id, next_offset=task.logged, truncated=False)
        after = _written(task, text, now)
        if after is not None:
            return views.Appended(task_id=task_id, next_offset=after.logged, truncated=logmodel.log_is_full(after))
    raise Contested


def append_last(caller: Caller, task_id: str, text: str, now: int) -> None:
    """The log that came with a report of failure: behind what was sent before, once."""
    for _ in range(_TRIES):
        task = reports.load(caller.owner, task_id, now)
        if task.last_log or logmodel.log_is_full(task) or not text:
            return
        fitting = logmodel.log_room(task, task.logged, text)
        if fitting is None or _written(task, fitting, now, last=True) is not None:
            return
    raise Contested


def _written(task: Task, text: str, now: int, *, last: bool = False) -> Task | None:
    """Write text at the end of a log; None where it had grown meanwhile."""
    after = task.model_copy(update={"logged": task.logged + len(text.encode()), "last_log": last})
    try:
        db.write(*journal.append_log(task, after, texts.chunks(text, CHUNK), now))
    except db.Cancelled:
        return None
    return after


def read(caller: Caller, task_id: str, query: shapes.LogQuery, now: int) -> views.LogReply:
    """The log of an attempt (the latest, if none is named) from an offset on. Raises TaskNotFound."""
    reports.admitted(caller, now)
    task = store.load(caller.owner, task_id, now)
    if task is None or (caller.is_agent and task.agent != caller.subject):
        raise TaskNotFound
    attempt = query.attempt or task.attempt
    text, end = journal.read_log(task, attempt, query.offset, query.limit, now)
    return views.LogReply(
        task_id=task_id,
        attempt=attempt,
        offset=query.offset,
        data=text,
        next_offset=end,
        complete=not task.is_open and (attempt != task.attempt or end >= task.logged),
        truncated=logmodel.log_is_full(task),
    )
