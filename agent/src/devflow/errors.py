"""What can go wrong, as one tree, each with the exit status that it gives a command.

DevFlowError             1
+-- SettingsError        2   a flag, a variable or the config file cannot be meant
|   +-- ExposedError     2   a file with secrets in it that others can read
+-- NotLoggedInError     4   no token, or one that is not accepted (any more)
+-- AlreadyRunningError  5   an agent of this name lives already
+-- RefusedError         1   the platform will not do it: an answer 4xx
+-- UnavailableError     1   no answer, 429 or 5xx: the same request may be sent again
+-- WorkError            1   a task cannot be done: becomes the error of that task
+-- DroppedError         1   a task is not this agent's any more: no report, no push
"""

from dataclasses import dataclass


class DevFlowError(Exception):
    """Something went wrong."""

    exit_code = 1

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (self.__doc__ or "").partition("\n")[0])


class SettingsError(DevFlowError):
    """A setting cannot be meant."""

    exit_code = 2


class InsecureFileError(SettingsError):
    """A file with secrets in it can be read by others."""


class NotLoggedInError(DevFlowError):
    """Not logged in. Try: devflow login"""

    exit_code = 4


class AlreadyRunningError(DevFlowError):
    """An agent of this name is already running."""

    exit_code = 5


@dataclass
class RequestRejectedError(DevFlowError):
    """The platform refused a request; its answer is in the shape of docs/protocol.md, "Errors"."""

    status: int
    title: str
    message: str
    details: tuple[str, ...] = ()
    request_id: str = ""
    """The platform's, to find the call in its log."""

    def __str__(self) -> str:
        more = f" ({'; '.join(self.details)})" if self.details else ""
        return f"{self.title}: {self.message}{more}" if self.message else f"{self.title}{more}"


@dataclass
class UnavailableError(DevFlowError):
    """The platform could not be asked, or not now."""

    reason: str
    retry_after: float | None = None
    """Seconds that it asks to be left alone."""
    not_devflow: bool = False
    """Whatever answered does not look like a platform: a proxy on the way, or the wrong address."""

    def __str__(self) -> str:
        return self.reason


class TaskFailedError(DevFlowError):
    """The task cannot be done. `details` and the message become those of the report."""

    def __init__(self, message: str, details: str = "") -> None:
        super().__init__(message)
        self.details = details


class JobCancelledError(DevFlowError):
    """The task is not this agent's any more."""
