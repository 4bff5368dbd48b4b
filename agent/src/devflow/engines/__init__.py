"""What does the work: a program that runs in the task's clone, and tells how far it is.

Every engine is such a program, also the one behind which a library stands. So all of them are fed, listened to and
ended in the same way, and nothing of them stays in the agent's process.
"""

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Engine:
    """How to run one."""

    name: str
    argv: list[str]
    env: dict[str, str] = field(default_factory=dict)
    """Besides the environment of the agent and that of the task."""
    check: Callable[[], None] = lambda: None
    """Raises WorkError with a reason for people where it cannot work on this machine now."""
