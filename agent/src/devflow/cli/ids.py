"""Ids as they are given on the command line."""

import re

from devflow.errors import SettingsError
from devflow.terminal import one_line

_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")


def task_path(task: str) -> str:
    """The address of a task. SettingsError where it can be the id of none."""
    return f"/api/tasks/{safe_id(task, 'a task')}"


def webhook_path(webhook: str) -> str:
    """The address of a webhook. SettingsError where it can be the id of none."""
    return f"/api/webhooks/{safe_id(webhook, 'a webhook')}"


def safe_id(given: str, what: str) -> str:
    """An id, which goes into an address as it is. SettingsError where it can be the id of nothing."""
    if not _ID.fullmatch(given) or given in (".", ".."):
        raise SettingsError(f"{one_line(given)!r} is no id of {what}")
    return given
