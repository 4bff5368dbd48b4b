"""Checks ids from the command line, and builds API paths of them."""

import re

from devflow.errors import SettingsError
from devflow.terminal import to_one_line

_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")


def task_path(task_id: str) -> str:
    """Return the API path of a task. Raises SettingsError if the id is not valid."""
    return f"/api/tasks/{check_id(task_id, 'task id')}"


def webhook_path(webhook_id: str) -> str:
    """Return the API path of a webhook. Raises SettingsError if the id is not valid."""
    return f"/api/webhooks/{check_id(webhook_id, 'webhook id')}"


def check_id(text: str, kind: str) -> str:
    """Return an id that is safe to use in a path. Raises SettingsError if it is not."""
    if not _ID.fullmatch(text) or text in (".", ".."):
        raise SettingsError(f"{to_one_line(text)!r} is not a valid {kind}")
    return text
