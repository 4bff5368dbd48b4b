"""Engines do the work of a task. An engine is a program that runs in the task's clone and prints its progress.

The Copilot engine is a program as well, although its work is done by a library. So the agent starts, reads and ends all
engines in the same way, and no engine's code runs in the agent's process.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Engine:
    """How to run an engine."""

    name: str
    argv: list[str]
    env: dict[str, str] = field(default_factory=dict)
    """Added to the engine's environment and the task's variables."""
    programs: tuple[Path, ...] = ()
    """What the engine runs or reads besides `argv`: a sandbox shows it."""
    check: Callable[[], None] = lambda: None
    """Checks whether the engine can run on this machine now. Raises TaskFailedError with a message for people."""
