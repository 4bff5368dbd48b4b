"""The files of one agent on this machine: its registration and token, its lock, its results and its workspaces.

agents/NAME/registration.json    the platform's URL, the agent's id and its token; mode 0600
            instance             a random id, so that the platform takes a restart for the same instance, and the
                                 machine and directory for which it was made
            lock                 locked while the agent runs
            renewing             locked while the token is renewed
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
from dataclasses import dataclass
from pathlib import Path

from devflow.api_client import Json
from devflow.errors import AlreadyRunningError, NotLoggedInError, SettingsError
from devflow.private_files import make_private_directory, read_private, remove_tree, write_private
from devflow.redaction import add_secret

_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._:-]{0,127}")
_INSTANCE_FILE = "instance"
_MACHINE_ID = Path("/etc/machine-id")
"""The id of this machine on Linux with systemd (machine-id(5)). Other systems have none."""


@dataclass(frozen=True)
class Registration:
    """The result of registering an agent."""

    url: str
    agent_id: str
    """The agent's id on the platform."""
    token: str
    issued_at: float
    """When the token was issued, in seconds since 1970 by this machine's clock."""
    concurrency: int = 1
    capabilities: tuple[str, ...] = ()
    previous_token: str | None = None
    """The token that is still valid if the platform has ended `token`, because it was renewed and not used in time."""

    def to_json(self) -> Json:
        """Return the contents of registration.json. Its names do not change: installed agents have such files."""
        content = {
            "url": self.url, "agent": self.agent_id, "token": self.token, "issued": self.issued_at,
            "concurrency": self.concurrency, "capabilities": self.capabilities,
        }  # fmt: skip
        return content if self.previous_token is None else content | {"previous": self.previous_token}

    @classmethod
    def from_json(cls, stored: Json) -> "Registration":
        """Read the contents of registration.json. Raises KeyError or TypeError if they are not valid."""
        return cls(
            stored["url"], stored["agent"], stored["token"], stored["issued"],
            stored.get("concurrency", 1), tuple(stored.get("capabilities", ())), stored.get("previous"),
        )  # fmt: skip


class AgentState:
    """The directory of the agent with this name."""

    def __init__(self, state: Path, name: str) -> None:
        """`state` is the directory of all agents. Raises SettingsError if the name is not valid."""
        if not _NAME.fullmatch(name):
            raise SettingsError(
                f"{name!r} is not a valid agent name. Use up to 128 of the characters A-Z a-z 0-9 . _ : -, and do not "
                "begin with . or :"
            )
        self.name = name
        self.directory = state / "agents" / name

    @staticmethod
    def default_name() -> str:
        """Return this machine's name, without the characters that agent names cannot contain."""
        return re.sub(r"[^A-Za-z0-9._-]+", "-", socket.gethostname()).strip(".-")[:128] or "agent"

    def load_registration(self) -> Registration:
        """Raises NotLoggedInError if the agent is not registered here, SettingsError if the file is not valid."""
        text = read_private(self._path)
        if text is None:
            raise NotLoggedInError(
                f"{self.name} is not registered on this machine. Try: devflow agent register --name {self.name}"
            )
        try:
            registration = Registration.from_json(json.loads(text))
        except (ValueError, KeyError, TypeError):
            raise SettingsError(f"{self._path} cannot be read. Try: devflow agent register --replace") from None
        _add_secrets(registration)
        return registration

    def save_registration(self, registration: Registration) -> None:
        """Write the registration to disk. It replaces the previous one."""
        _add_secrets(registration)
        write_private(self._path, json.dumps(registration.to_json(), indent=2))

    def delete(self) -> None:
        """Delete all files of this agent, including unsent results."""
        remove_tree(self.directory)

    def load_instance_id(self) -> str:
        """Return the instance id, which is created on first use.

        It is the same for each process of this agent in this directory, and different everywhere else, also in a copy
        of the directory. Only one process at a time has the lock. So a process that starts after a crash need not wait
        until the platform considers the previous one inactive. The id does not depend on the host name, which can
        change while the agent runs.
        """
        path = self.directory / _INSTANCE_FILE
        instance_id, _, stored_place = (read_private(path) or "").partition("\n")
        place = self._identify_place()
        if not instance_id or stored_place not in ("", place):
            instance_id = uuid.uuid4().hex
        if stored_place != place:
            write_private(path, f"{instance_id}\n{place}")
        return instance_id

    def _identify_place(self) -> str:
        """Return a text that identifies the agent's directory and this machine. A copy of the directory differs."""
        machine_id = ""
        with suppress(OSError):
            machine_id = _MACHINE_ID.read_text(encoding="ascii", errors="replace").strip()
        return f"{machine_id}:{make_private_directory(self.directory).stat().st_ino}"

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Make sure that only one process runs this agent here. Raises AlreadyRunningError if another one does."""
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
        """Keep other processes from changing the token. A process with a rejected token waits here for the new one."""
        make_private_directory(self.directory)
        with (self.directory / "renewing").open("a", encoding="ascii") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def find_running_pid(self) -> int | None:
        """Return the id of the process that runs this agent here, or None."""
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


def _add_secrets(registration: Registration) -> None:
    for token in filter(None, (registration.token, registration.previous_token)):
        add_secret(token)
