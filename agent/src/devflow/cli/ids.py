"""Ids as they are given on the command line."""

import re

from devflow.errors import SettingsError
from devflow.terminal import to_one_line

_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")


def task_path(task_id: str) -> str:
    """The address of a task. SettingsError where it can be the id of none."""
    return f"/api/tasks/{check_id(task_id, 'a task')}"


def webhook_path(webhook_id: str) -> str:
    """The address of a webhook. SettingsError where it can be the id of none."""
    return f"/api/webhooks/{check_id(webhook_id, 'a webhook')}"


def check_id(given: str, what: str) -> str:
    """An id, which goes into an address as it is. SettingsError where it can be the id of nothing."""
    if not _ID.fullmatch(given) or given in (".", ".."):
        raise SettingsError(f"{to_one_line(given)!r} is no id of {what}")
    return given
