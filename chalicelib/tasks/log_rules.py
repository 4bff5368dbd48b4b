"""The rules of a task's log: who may append, at which offset, and how much is stored. No I/O."""

from chalicelib.core.errors import WrongOffset
from chalicelib.core.settings import KB, MINUTE
from chalicelib.tasks.entities import Task
from chalicelib.tasks.rules import NotHeld, Reporter, check_holder_identity

LOG_LIMIT = 4 * 1024 * KB
"""The maximum size of a task's log in bytes of UTF-8, all attempts together."""
LOG_TRUNCATED_MARKER = "\n[the log is cut here: a task's log has at most 4 MB]\n"
LOG_QUOTA_MARKER = "\n[the log is cut here: the quota of bytes of this day is used up]\n"
LOG_GRACE = 10 * MINUTE
"""How long after the end of the task the last holder may still append to the log."""


def check_may_append(task: Task, reporter: Reporter, now: int) -> None:
    """Raise NotHeld unless the reporter may append: the holder, and for ten minutes after the end the last holder."""
    if task.agent_id is None:
        raise NotHeld(f"Task {task.id} is {task.status}. No agent holds it.")
    check_holder_identity(task, reporter)
    if task.completed_at is not None and now - task.completed_at > LOG_GRACE:
        raise NotHeld(f"Task {task.id} ended more than {LOG_GRACE // MINUTE} minutes ago. Its log is closed.")


def log_is_final(task: Task, now: int) -> bool:
    """Whether the log of the latest attempt can no longer grow.

    The log of an ended task is closed once it has the size that its agent reported at the end, or the text that came
    with the report of failure. If its agent reported neither, or the rest never arrives, it is closed ten minutes after
    the end. A log that is full, or that no agent can append to, is closed at the end.
    """
    if task.completed_at is None:
        return False
    if task.agent_id is None or task.final_log_appended or log_is_full(task):
        return True
    has_all = task.log_end is not None and task.log_bytes >= task.log_end
    return has_all or now - task.completed_at > LOG_GRACE


def check_is_not_final(task: Task, now: int) -> None:
    """Raise NotHeld if the log of an ended task has all that its agent announced at the end."""
    if log_is_final(task, now):
        raise NotHeld(f"Task {task.id} has ended with a log of {task.log_bytes} bytes. Its log is closed.")


def log_open_until(task: Task, now: int) -> int | None:
    """Until when the log of an ended task may still grow. None while the task is open, and once the log is closed."""
    return None if task.completed_at is None or log_is_final(task, now) else task.completed_at + LOG_GRACE


def log_has_expired(task: Task, retention: int, now: int) -> bool:
    """Whether the log can no longer be read, `retention` milliseconds after the end of the task.

    The whole log expires at once. Its rows are deleted later, in any order.
    """
    return task.completed_at is not None and now >= task.completed_at + retention


def log_is_full(task: Task) -> bool:
    """Whether nothing more is stored: the log has its maximum size, or was cut at the quota of a day."""
    return task.log_closed or task.earlier_log_bytes + task.log_bytes >= LOG_LIMIT


def new_part(task: Task, offset: int, data: str) -> str | None:
    """The part of a chunk that is not stored yet. It is cut, with a marker, where the log reaches its limit.

    Returns None if the whole chunk is already stored. Raises WrongOffset if the chunk would leave a gap, or if the
    part to store would begin within a character.
    """
    chunk = data.encode()
    stored = task.log_bytes - offset
    if stored < 0:
        raise WrongOffset(task.log_bytes)
    if len(chunk) <= stored:
        return None
    try:
        chunk[:stored].decode()
    except UnicodeDecodeError:
        raise WrongOffset(task.log_bytes) from None
    new = chunk[stored:]
    room = LOG_LIMIT - task.earlier_log_bytes - task.log_bytes
    if len(new) <= room:
        return new.decode()
    return new[:room].decode(errors="ignore") + LOG_TRUNCATED_MARKER
