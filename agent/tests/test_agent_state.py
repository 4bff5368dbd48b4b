"""What an agent has on its machine, and that only one process is it."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from agent.tests.support.fake_clock import FakeClock
from agent.tests.support.fake_platform import FakeResponse, make_error
from devflow.agent_state import AgentState, Registration
from devflow.api_client import ApiClient
from devflow.credentials import Credentials
from devflow.errors import AlreadyRunningError, InsecureFileError, NotLoggedInError, SettingsError
from devflow.redaction import redact

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from agent.tests.support.fake_platform import FakePlatform

DAY = 24 * 3600.0


@pytest.fixture
def home(tmp_path: Path) -> AgentState:
    return AgentState(tmp_path / "state", "build-1")


def registered(home: AgentState, url: str = "http://a.example", issued: float = 0.0) -> Registration:
    registration = Registration(url, "build-1", "secret-token", issued, 2)
    home.save_registration(registration)
    return registration


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../a", ".hidden", "a b", "x" * 129, "a\n"])
def test_a_name_that_could_lead_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(SettingsError):
        AgentState(tmp_path, name)


def test_this_machines_name_is_one(tmp_path: Path) -> None:
    AgentState(tmp_path, AgentState.default_name())


def test_a_registration_is_kept_for_this_user_alone_and_its_token_is_a_secret(home: AgentState) -> None:
    registration = registered(home)

    path = home.directory / "registration.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(home.directory.stat().st_mode) == 0o700
    assert home.load_registration() == registration
    assert redact("secret-token") == "***"
    path.chmod(0o644)
    with pytest.raises(InsecureFileError):
        home.load_registration()


def test_one_that_is_not_registered_or_not_readable_says_what_to_do(home: AgentState) -> None:
    with pytest.raises(NotLoggedInError, match="devflow agent register --name build-1"):
        home.load_registration()
    registered(home)
    path = home.directory / "registration.json"
    for text in ("{", "[]", '{"url": "a"}'):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(SettingsError, match="--replace"):
            home.load_registration()


def test_one_process_at_a_time_is_the_agent(home: AgentState) -> None:
    code = (
        "import sys; from pathlib import Path; from devflow.agent_state import Home\n"
        "with Home(Path(sys.argv[1]), 'build-1').lock(): print('locked', flush=True); sys.stdin.read()"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(home.directory.parent.parent)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert other.stdin is not None
    assert other.stdout is not None
    with other, other.stdin, other.stdout:
        assert other.stdout.readline() == b"locked\n"
        assert home.find_running_pid() == other.pid
        with pytest.raises(AlreadyRunningError, match=f"process {other.pid}") as raised, home.lock():
            pass
        assert raised.value.exit_code == 5
        other.kill()
    other.wait()
    assert home.find_running_pid() is None, "a process that died holds nothing"
    with home.lock():
        assert home.find_running_pid() == os.getpid()


def test_it_is_the_same_instance_after_a_restart_and_another_one_elsewhere(home: AgentState, tmp_path: Path) -> None:
    assert home.load_instance_id() == AgentState(tmp_path / "state", "build-1").load_instance_id()
    assert home.load_instance_id() != AgentState(tmp_path / "other", "build-1").load_instance_id()


def test_a_token_is_old_after_its_time_and_where_the_clock_was_put_back(home: AgentState) -> None:
    clock = FakeClock()
    registered(home, issued=clock.wall())
    credentials = Credentials(home, clock)

    assert not credentials.is_older_than(20 * DAY)
    clock.epoch += 20 * DAY
    assert credentials.is_older_than(20 * DAY)
    clock.epoch -= 30 * DAY
    assert credentials.is_older_than(20 * DAY)


def test_a_new_token_is_on_disk_before_it_is_used(home: AgentState, standin: Callable[..., FakePlatform]) -> None:
    platform = standin(lambda _: FakeResponse(201, {"success": True, "agent": {}, "token": "new-secret"}))
    registered(home, platform.url)
    clock = FakeClock()
    credentials = Credentials(home, clock)

    credentials.renew(ApiClient(platform.url, credentials.token))

    assert platform.paths() == ["POST /api/agents/build-1/token"]
    assert credentials.token() == home.load_registration().token == "new-secret"
    assert home.load_registration().issued_at == clock.wall()
    assert not credentials.reload(), "it is the one that is on disk"


def test_a_renewal_that_is_refused_changes_nothing(home: AgentState, standin: Callable[..., FakePlatform]) -> None:
    platform = standin(lambda _: make_error(401))
    registered(home, platform.url)
    credentials = Credentials(home, FakeClock())

    with pytest.raises(NotLoggedInError):
        credentials.renew(ApiClient(platform.url, credentials.token))
    assert home.load_registration().token == "secret-token"


def test_a_token_that_somebody_else_renewed_is_taken_up(home: AgentState) -> None:
    registered(home)
    credentials = Credentials(home, FakeClock())
    home.save_registration(Registration("http://a.example", "build-1", "by-hand", 0.0))

    assert credentials.reload()
    assert credentials.token() == "by-hand"


def test_forgetting_leaves_nothing(home: AgentState) -> None:
    registered(home)
    home.load_instance_id()

    home.delete()

    assert not home.directory.exists()
