"""The rules of a task's log: who may append, where, and how much. No I/O."""

from chalicelib.errors import WrongOffset
from chalicelib.settings import KB, MINUTE
from chalicelib.tasks.model import NotHeld, Reporter, check_identity
from chalicelib.tasks.task import Task

LOG_LIMIT = 4 * 1024 * KB
LOG_CUT = "\n[the log is cut here: a task's log has at most 4 MB]\n"
LOG_FLUSH = 10 * MINUTE
"""So long after the end the last holder may still send what it has of the log."""


def check_logger(task: Task, by: Reporter, now: int) -> None:
    """Raises NotHeld unless the reporter may append to the log: the holder, and the last one for a while after."""
    if task.agent is None:
        raise NotHeld(f"Task {task.id} is {task.status}: nobody holds it.")
    check_identity(task, by)
    if task.completed_at is not None and now - task.completed_at > LOG_FLUSH:
        raise NotHeld(f"Task {task.id} ended more than {LOG_FLUSH // MINUTE} minutes ago; its log is closed.")


def log_is_full(task: Task) -> bool:
    return task.logged_before + task.logged >= LOG_LIMIT


def log_room(task: Task, offset: int, data: str) -> str | None:
    """The part of a chunk that is new, as far as the log has room, with a marker where that ends.

    None where all of it is there already. Raises WrongOffset where it would leave a gap.
    """
    raw = data.encode()
    known = task.logged - offset
    if known < 0:
        raise WrongOffset(task.logged)
    if len(raw) <= known:
        return None
    try:
        raw[:known].decode()
    except UnicodeDecodeError:
        raise WrongOffset(task.logged) from None
    fresh = raw[known:]
    room = LOG_LIMIT - task.logged_before - task.logged
    if len(fresh) <= room:
        return fresh.decode()
    return fresh[:room].decode(errors="ignore") + LOG_CUT
