"""What Copilot may do on its own: read and write in the task's clone, and what the agent's operator has allowed."""

import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

ALL_KINDS = "all"


def find_denial_reason(request: Any, root: Path, allowed: Collection[str]) -> str | None:
    """Why a request of the SDK (`PermissionRequest…`) is refused; None where it is granted.

    Reading and writing is granted inside `root`, links followed. Of the other kinds (`shell`, `url`, `mcp`, `memory`,
    ...) those in `allowed` are. Never granted, as there is nobody to ask: what an administrator wants a person to
    approve, and what is to leave a sandbox.
    """
    if getattr(request, "managed_approval_required", None) or getattr(request, "request_sandbox_bypass", None):
        return "There is no person here who could approve this."
    if request.kind in ("read", "write"):
        path = request.path if request.kind == "read" else request.file_name
        return None if _inside(path, root) else f"{path} is outside of the repository."
    if request.kind in allowed or ALL_KINDS in allowed:
        return None
    return f"{request.kind} is not allowed on this machine. Do without it."


def _inside(path: str, root: Path) -> bool:
    try:
        return Path(os.path.realpath(root / path)).is_relative_to(os.path.realpath(root))
    except (OSError, ValueError):  # no path at all
        return False
