"""A task's log. Each attempt has its own: agents append chunks at an offset, and readers read from any offset.

Offsets are bytes of UTF-8 from the beginning of the attempt's log.
"""

from chalicelib import dynamodb
from chalicelib.auth.tokens import Caller
from chalicelib.core.errors import TaskNotFound
from chalicelib.core.settings import KB
from chalicelib.core.text import fit_response, split_chunks
from chalicelib.core.timestamps import iso_or_none
from chalicelib.tasks import (
    history_store,
    log_rules,
    quota_rules,
    quotas,
    reports,
    requests,
    responses,
    store,
    tables,
)
from chalicelib.tasks.entities import Task
from chalicelib.tasks.lifecycle import ConcurrentChanges
from chalicelib.tasks.rules import Reporter

MAX_ROW_BYTES = 256 * KB
"""How many bytes of a log one row stores at most."""

_MAX_TRIES = 4


def append_log(caller: Caller, task_id: str, request: requests.LogChunk, now: int) -> responses.AppendLogResponse:
    """Append a chunk to the log of the present attempt. A chunk that is already stored is a success.

    Raises TaskNotFound; NotHeld if the caller does not hold the task (the last holder may append for ten minutes after
    the end); WrongOffset, with the expected offset, if the chunk does not continue the log; ConcurrentChanges.
    """
    reports.admit_reporter(caller, now)
    reporter = Reporter(caller.subject if caller.is_agent else None, request.attempt)
    for _ in range(_MAX_TRIES):
        task = reports.load_task(caller.owner, task_id, now)
        log_rules.check_may_append(task, reporter, now)
        if log_rules.log_is_full(task):
            end = request.offset + len(request.data.encode())
            return responses.AppendLogResponse(task_id=task_id, next_offset=end, truncated=True)
        text = log_rules.new_part(task, request.offset, request.data)
        if text is None:
            return responses.AppendLogResponse(task_id=task_id, next_offset=task.log_bytes, truncated=False)
        log_rules.check_is_not_final(task, now)
        after = _append_counted(task, text, now)
        if after is not None:
            full = log_rules.log_is_full(after)
            end = request.offset + len(request.data.encode()) if after.log_closed else after.log_bytes
            return responses.AppendLogResponse(task_id=task_id, next_offset=end, truncated=full)
    raise ConcurrentChanges


def append_final_log(caller: Caller, task_id: str, text: str, now: int) -> None:
    """Append the text that came with a report of failure. A repeated report does not append it twice."""
    for _ in range(_MAX_TRIES):
        task = reports.load_task(caller.owner, task_id, now)
        if task.final_log_appended or log_rules.log_is_full(task) or not text:
            return
        new_text = log_rules.new_part(task, task.log_bytes, text)
        if new_text is None or _append_counted(task, new_text, now, final=True) is not None:
            return
    raise ConcurrentChanges


def _append_counted(task: Task, text: str, now: int, *, final: bool = False) -> Task | None:
    """Write text at the end of a log. If the owner's quota of bytes is used up, the log is cut there instead.

    The bytes are counted when the log crosses a boundary, so a small chunk rarely needs a further request. None if the
    log has grown in the meantime.
    """
    after = _appended(task, text, final=final)
    size = quota_rules.counted_log_bytes(after) - quota_rules.counted_log_bytes(task)
    if size and not quotas.count_bytes(task.owner, task.id, size, now):
        text = log_rules.LOG_QUOTA_MARKER
        after = _appended(task, text, final=final).model_copy(update={"log_closed": True})
    return _save_text(task, after, text, now)


def _appended(task: Task, text: str, *, final: bool) -> Task:
    return task.model_copy(update={"log_bytes": task.log_bytes + len(text.encode()), "final_log_appended": final})


def _save_text(task: Task, after: Task, text: str, now: int) -> Task | None:
    """Write text at the end of a log. None if the log has grown in the meantime."""
    try:
        dynamodb.transact_write(*history_store.append_log_items(task, after, split_chunks(text, MAX_ROW_BYTES), now))
    except dynamodb.TransactionCancelled:
        return None
    return after


def read_log(caller: Caller, task_id: str, query: requests.LogQuery, now: int) -> responses.LogResponse:
    """The log of an attempt from an offset. The latest attempt if none is given. Raises TaskNotFound.

    The part that one response contains is limited in bytes, in requests to DynamoDB, and by what Lambda can return.
    """
    reports.admit_reporter(caller, now)
    task = store.load_task(caller.owner, task_id, now)
    if task is None or (caller.is_agent and task.agent_id != caller.subject):
        raise TaskNotFound
    attempt = query.attempt or task.attempt
    if log_rules.log_has_expired(task, tables.log_retention(), now):
        part = history_store.LogPart("", query.offset, reaches_end=True)
    else:
        part = history_store.read_log(task, attempt, query.offset, query.limit)
    text = fit_response(part.text)
    reaches_end = part.reaches_end and text == part.text
    is_final = attempt < task.attempt or log_rules.log_is_final(task, now)
    return responses.LogResponse(
        task_id=task_id,
        attempt=attempt,
        offset=part.offset,
        data=text,
        next_offset=part.offset + len(text.encode()),
        complete=is_final and reaches_end,
        truncated=log_rules.log_is_full(task),
        open_until=iso_or_none(None if is_final else log_rules.log_open_until(task, now)),
    )
