"""The rules of a task's log: who may append, where, and how much. No I/O."""

from chalicelib.core.errors import WrongOffset
from chalicelib.core.settings import KB, MINUTE
from chalicelib.tasks.entities import Task
from chalicelib.tasks.rules import NotHeld, Reporter, check_holder_identity

LOG_LIMIT = 4 * 1024 * KB
LOG_TRUNCATED_MARKER = "\n[the log is cut here: a task's log has at most 4 MB]\n"
LOG_GRACE = 10 * MINUTE
"""So long after the end the last holder may still send what it has of the log."""


def check_may_append(task: Task, by: Reporter, now: int) -> None:
    """Raises NotHeld unless the reporter may append to the log: the holder, and the last one for a while after."""
    if task.agent_id is None:
        raise NotHeld(f"Task {task.id} is {task.status}: nobody holds it.")
    check_holder_identity(task, by)
    if task.completed_at is not None and now - task.completed_at > LOG_GRACE:
        raise NotHeld(f"Task {task.id} ended more than {LOG_GRACE // MINUTE} minutes ago; its log is closed.")


def log_is_full(task: Task) -> bool:
    return task.earlier_log_bytes + task.log_bytes >= LOG_LIMIT


def new_part(task: Task, offset: int, data: str) -> str | None:
    """The part of a chunk that is new, as far as the log has room, with a marker where that ends.

    None where all of it is there already. Raises WrongOffset where it would leave a gap.
    """
    raw = data.encode()
    known = task.log_bytes - offset
    if known < 0:
        raise WrongOffset(task.log_bytes)
    if len(raw) <= known:
        return None
    try:
        raw[:known].decode()
    except UnicodeDecodeError:
        raise WrongOffset(task.log_bytes) from None
    fresh = raw[known:]
    room = LOG_LIMIT - task.earlier_log_bytes - task.log_bytes
    if len(fresh) <= room:
        return fresh.decode()
    return fresh[:room].decode(errors="ignore") + LOG_TRUNCATED_MARKER
