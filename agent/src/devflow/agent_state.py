"""What one agent has on this machine: its registration with its token, its lock, its results and workspaces.

agents/NAME/registration.json    the platform, the agent's id and its token; 0600
            instance             an id of this place, so that a restart is no second process to the platform
            lock                 held as long as the agent runs
            outbox/  work/  logs/  kept/
"""

import fcntl
import json
import os
import re
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from devflow.errors import AlreadyRunningError, NotLoggedInError, SettingsError
from devflow.private_files import make_private_directory, read_private, remove_tree, write_private
from devflow.redaction import add_secret

_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._:-]{0,127}")
_INSTANCE_FILE = "instance"


@dataclass(frozen=True)
class Registration:
    """What registering gave."""

    url: str
    agent_id: str
    """Its id on the platform."""
    token: str
    issued_at: float
    """When the token was given, in epoch seconds by this machine's clock."""
    concurrency: int = 1
    capabilities: tuple[str, ...] = ()


class AgentState:
    """The directory of the agent with this name."""

    def __init__(self, state: Path, name: str) -> None:
        """Raises SettingsError where this can be the name of none."""
        if not _NAME.fullmatch(name):
            raise SettingsError(f"{name!r} is no name of an agent: up to 128 of A-Z a-z 0-9 . _ : -, no dot in front")
        self.name = name
        self.directory = state / "agents" / name

    @staticmethod
    def default_name() -> str:
        """This machine's name, made fit."""
        return re.sub(r"[^A-Za-z0-9._-]+", "-", socket.gethostname()).strip(".-")[:128] or "agent"

    def load_registration(self) -> Registration:
        """Raises NotLoggedInError where it is not registered here, SettingsError where that cannot be read."""
        text = read_private(self._path)
        if text is None:
            raise NotLoggedInError(
                f"{self.name} is not registered here. Try: devflow agent register --name {self.name}"
            )
        try:
            found = Registration(**json.loads(text))
            found = replace(found, capabilities=tuple(found.capabilities))  # JSON knows lists only
        except (ValueError, TypeError):
            raise SettingsError(f"{self._path} cannot be read. Try: devflow agent register --replace") from None
        add_secret(found.token)
        return found

    def save_registration(self, registration: Registration) -> None:
        """Keep it, in the place of the one before."""
        add_secret(registration.token)
        write_private(self._path, json.dumps(asdict(registration), indent=2))

    def delete(self) -> None:
        """Remove everything of this agent, results that wait among it."""
        remove_tree(self.directory)

    def load_instance_id(self) -> str:
        """The same for every process of this agent in this place, and another one everywhere else.

        Only one process at a time holds the lock here; so one that comes after a crash needs not wait until the
        platform takes the one before for dead.
        """
        path = self.directory / _INSTANCE_FILE
        made = read_private(path)
        if made is None:
            made = uuid.uuid4().hex
            write_private(path, made)
        return f"{self.default_name()[:64]}-{made}"

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Be the one process of this agent here. Raises AlreadyRunningError where there is another one."""
        make_private_directory(self.directory)
        with (self.directory / "lock").open("a+", encoding="ascii") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise AlreadyRunningError(
                    f"{self.name} is already running (process {self._read_pid(file.name)})"
                ) from None
            file.truncate(0)
            file.write(f"{os.getpid()}\n")
            file.flush()
            yield
            file.truncate(0)

    @contextmanager
    def lock_token(self) -> Iterator[None]:
        """Keep others from changing the token: whoever finds that his is dead waits here for the new one."""
        make_private_directory(self.directory)
        with (self.directory / "renewing").open("a", encoding="ascii") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def find_running_pid(self) -> int | None:
        """The process that runs it here, if any."""
        path = self.directory / "lock"
        with suppress(FileNotFoundError), path.open("a+", encoding="ascii") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return self._read_pid(path)
        return None

    @property
    def _path(self) -> Path:
        return self.directory / "registration.json"

    @staticmethod
    def _read_pid(path: str | Path) -> int | None:
        text = Path(path).read_text(encoding="ascii").strip()
        return int(text) if text.isdecimal() else None
