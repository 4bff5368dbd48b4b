"""The engine `command`: any program. It gets the task as JSON on its standard input, and in its environment."""

import shlex
import shutil

from devflow.engines import Engine
from devflow.errors import SettingsError, TaskFailedError


def make_command_engine(command: str) -> Engine:
    """`command` is split as a shell would, and run without one. Raises SettingsError where it cannot be."""
    try:
        argv = shlex.split(command)
    except ValueError as error:
        raise SettingsError(f"The command {command!r} cannot be split into words: {error}") from None
    if not argv:
        raise SettingsError("The engine `command` needs a program: --command 'claude -p'")

    def check() -> None:
        if shutil.which(argv[0]) is None:
            raise TaskFailedError(f"{argv[0]} is not installed on this machine")

    return Engine("command", argv, check=check)
