"""A task's log: chunks appended at an offset in UTF-8 bytes, per attempt, and read from any offset while it grows."""

from chalicelib import dynamodb
from chalicelib.auth.tokens import Caller
from chalicelib.core.errors import TaskNotFound
from chalicelib.core.settings import KB
from chalicelib.core.text import split_chunks
from chalicelib.tasks import history_store, log_rules, reports, requests, responses, store
from chalicelib.tasks.entities import Task
from chalicelib.tasks.lifecycle import ConcurrentChanges
from chalicelib.tasks.rules import Reporter

MAX_ROW_BYTES = 256 * KB
"""How much of a log one row carries."""

_MAX_TRIES = 4


def append_log(caller: Caller, task_id: str, request: requests.LogChunk, now: int) -> responses.AppendLogResponse:
    """Append a chunk where the log of this attempt ends. A chunk that is there already is a success.

    Raises TaskNotFound; NotHeld for whoever does not hold the task (the last holder may still write for ten minutes
    after the end); LogGap, with the offset wanted, for a chunk that does not fit.
    """
    reports.admit_reporter(caller, now)
    by = Reporter(caller.subject if caller.is_agent else None, request.attempt)
    for _ in range(_MAX_TRIES):
        task = reports.load_task(caller.owner, task_id, now)
        log_rules.check_may_append(task, by, now)
        if log_rules.log_is_full(task):
            end = request.offset + len(request.data.encode())
            return responses.AppendLogResponse(task_id=task_id, next_offset=end, truncated=True)
        text = log_rules.new_part(task, request.offset, request.data)
        if text is None:
            return responses.AppendLogResponse(task_id=task_id, next_offset=task.log_bytes, truncated=False)
        after = _append_text(task, text, now)
        if after is not None:
            return responses.AppendLogResponse(
                task_id=task_id, next_offset=after.log_bytes, truncated=log_rules.log_is_full(after)
            )
    raise ConcurrentChanges


def append_final_log(caller: Caller, task_id: str, text: str, now: int) -> None:
    """The log that came with a report of failure: behind what was sent before, once."""
    for _ in range(_MAX_TRIES):
        task = reports.load_task(caller.owner, task_id, now)
        if task.final_log_appended or log_rules.log_is_full(task) or not text:
            return
        fitting = log_rules.new_part(task, task.log_bytes, text)
        if fitting is None or _append_text(task, fitting, now, final=True) is not None:
            return
    raise ConcurrentChanges


def _append_text(task: Task, text: str, now: int, *, final: bool = False) -> Task | None:
    """Write text at the end of a log; None where it had grown meanwhile."""
    after = task.model_copy(update={"log_bytes": task.log_bytes + len(text.encode()), "final_log_appended": final})
    try:
        dynamodb.transact_write(*history_store.append_log_items(task, after, split_chunks(text, MAX_ROW_BYTES), now))
    except dynamodb.TransactionCancelled:
        return None
    return after


def read_log(caller: Caller, task_id: str, query: requests.LogQuery, now: int) -> responses.LogResponse:
    """The log of an attempt (the latest, if none is named) from an offset on. Raises TaskNotFound."""
    reports.admit_reporter(caller, now)
    task = store.load_task(caller.owner, task_id, now)
    if task is None or (caller.is_agent and task.agent_id != caller.subject):
        raise TaskNotFound
    attempt = query.attempt or task.attempt
    text, end = history_store.read_log(task, attempt, query.offset, query.limit, now)
    return responses.LogResponse(
        task_id=task_id,
        attempt=attempt,
        offset=query.offset,
        data=text,
        next_offset=end,
        complete=not task.is_open and (attempt != task.attempt or end >= task.log_bytes),
        truncated=log_rules.log_is_full(task),
    )
