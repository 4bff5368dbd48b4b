"""What Copilot may do: read and write files in the task's clone, and what the agent's operator has allowed."""

import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

ALL_KINDS = "all"


def find_denial_reason(request: Any, root: Path, allowed: Collection[str]) -> str | None:
    """Return why a request of the SDK (`PermissionRequest…`) is denied, or None if it is granted.

    Reading and writing is granted inside `root`, after symbolic links are resolved. Writing into git directories is
    denied: their configuration names programs that git runs. Other kinds (`shell`, `url`, `mcp`,
    `memory` ...) are granted if they are in `allowed`. Two requests are always denied, because no person is here to
    approve them: those that an administrator has reserved for a person, and those that leave a sandbox.
    """
    if getattr(request, "managed_approval_required", None) or getattr(request, "request_sandbox_bypass", None):
        return "No person is here to approve this."
    if request.kind in ("read", "write"):
        path = request.path if request.kind == "read" else request.file_name
        inside = _path_inside(path, root)
        if inside is None:
            return f"{path} is outside of the repository."
        if request.kind == "write" and any(part.casefold() == ".git" for part in inside.parts):
            return f"{path} belongs to git. Do not change it."
        return None
    if request.kind in allowed or ALL_KINDS in allowed:
        return None
    return f"{request.kind} is not allowed on this machine. Continue without it."


def _path_inside(path: str, root: Path) -> Path | None:
    """Return the path relative to `root` after links are resolved, or None if it leads elsewhere."""
    try:
        return Path(os.path.realpath(root / path)).relative_to(os.path.realpath(root))
    except (OSError, ValueError):  # elsewhere, or not a valid path
        return None
