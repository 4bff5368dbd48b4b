"""The `command` engine: any program. It gets the task as JSON on standard input and in its environment."""

import shlex
import shutil

from devflow.engines import Engine
from devflow.errors import SettingsError, TaskFailedError


def make_command_engine(command: str) -> Engine:
    """Make an engine of a command line, which is split like a shell does but runs without a shell.

    Raises SettingsError if the command line is empty or cannot be split.
    """
    try:
        argv = shlex.split(command)
    except ValueError as error:
        raise SettingsError(f"The command {command!r} cannot be split into words: {error}") from None
    if not argv:
        raise SettingsError(
            "The engine `command` needs a program, such as --command 'claude -p --permission-mode bypassPermissions'"
        )

    def check() -> None:
        if shutil.which(argv[0]) is None:
            raise TaskFailedError(f"{argv[0]} is not installed on this machine")

    return Engine("command", argv, check=check)
