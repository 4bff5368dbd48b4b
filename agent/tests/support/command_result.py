"""The result of a command that runs in the test's process."""

from __future__ import annotations

import json
from typing import Any


class CommandResult:
    """The exit status and the output of a command."""

    def __init__(self, status: int, out: str, err: str) -> None:
        self.status, self.out, self.err = status, out, err

    @property
    def json(self) -> Any:
        return json.loads(self.out)
