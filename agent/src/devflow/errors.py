"""The errors of the agent and the command line, as one tree. Each has the exit status that it gives a command.

DevFlowError                1
+-- SettingsError           2   a flag, a variable or the config file is not valid
|   +-- InsecureFileError   2   a file that contains secrets can be read or changed by other users
+-- NotLoggedInError        4   there is no token, or the platform does not accept it (any more)
+-- AlreadyRunningError     5   an agent with this name is already running
+-- RequestRejectedError    1   the platform rejected a request: a 4xx response
+-- UnavailableError        1   no response, 429 or 5xx: the same request may be sent again
+-- TaskFailedError         1   a task cannot be done: the message becomes the error of the task
+-- JobCancelledError       1   a job was cancelled: nothing is pushed
"""

from dataclasses import dataclass


class DevFlowError(Exception):
    """Something went wrong."""

    exit_code = 1

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (self.__doc__ or "").partition("\n")[0])


class SettingsError(DevFlowError):
    """A setting is not valid."""

    exit_code = 2


class InsecureFileError(SettingsError):
    """A file that contains secrets can be read or changed by other users."""


class NotLoggedInError(DevFlowError):
    """Not logged in. Try: devflow login"""

    exit_code = 4


class AlreadyRunningError(DevFlowError):
    """An agent of this name is already running."""

    exit_code = 5


@dataclass
class RequestRejectedError(DevFlowError):
    """The platform rejected a request. The response has the fields of docs/protocol.md, "Errors"."""

    status: int
    title: str
    message: str
    details: tuple[str, ...] = ()
    request_id: str = ""
    """The platform's id of the request, which finds it in the platform's log."""

    def __str__(self) -> str:
        more = f" ({'; '.join(self.details)})" if self.details else ""
        return f"{self.title}: {self.message}{more}" if self.message else f"{self.title}{more}"


@dataclass
class UnavailableError(DevFlowError):
    """The platform cannot be reached, or cannot respond now."""

    reason: str
    retry_after: float | None = None
    """The seconds that the platform asks the client to wait."""
    not_devflow: bool = False
    """The response does not come from DevFlow: a proxy sent it, or the URL is wrong."""

    def __str__(self) -> str:
        return self.reason


class TaskFailedError(DevFlowError):
    """The task cannot be done. The message and `details` become those of the report."""

    def __init__(self, message: str, details: str = "") -> None:
        super().__init__(message)
        self.details = details


class JobCancelledError(DevFlowError):
    """The job was cancelled. Its cancel token has the reason."""
