"""AgentState and Credentials: files of an agent, its lock and its token."""

from __future__ import annotations

import json
import os
import shutil
import socket
import stat
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from agent.tests.support.fake_clock import FakeClock
from agent.tests.support.fake_platform import FakeResponse, make_error
from devflow import agent_state
from devflow.agent_state import AgentState, Registration
from devflow.api_client import ApiClient
from devflow.credentials import Credentials
from devflow.errors import AlreadyRunningError, InsecureFileError, NotLoggedInError, SettingsError
from devflow.private_files import write_private
from devflow.redaction import redact

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from agent.tests.support.fake_platform import FakePlatform

DAY = 24 * 3600.0


@pytest.fixture
def state(tmp_path: Path) -> AgentState:
    return AgentState(tmp_path / "state", "build-1")


def registered(state: AgentState, url: str = "http://a.example", issued: float = 0.0) -> Registration:
    registration = Registration(url, "build-1", "secret-token", issued, 2)
    state.save_registration(registration)
    return registration


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../a", ".hidden", "a b", "x" * 129, "a\n"])
def test_name_that_could_escape_the_directory_is_rejected(tmp_path: Path, name: str) -> None:
    with pytest.raises(SettingsError):
        AgentState(tmp_path, name)


def test_default_name_is_a_valid_name(tmp_path: Path) -> None:
    AgentState(tmp_path, AgentState.default_name())


def test_registration_is_private_and_its_token_is_a_secret(state: AgentState) -> None:
    registration = registered(state)

    path = state.directory / "registration.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(state.directory.stat().st_mode) == 0o700
    assert state.load_registration() == registration
    assert redact("secret-token") == "***"
    path.chmod(0o644)
    with pytest.raises(InsecureFileError):
        state.load_registration()


def test_names_in_the_registration_file_do_not_change(state: AgentState) -> None:
    stored = {
        "url": "http://a.example", "agent": "build-1", "token": "secret-token", "issued": 5.0, "concurrency": 2,
        "capabilities": ["fix-bug"],
    }  # fmt: skip
    path = state.directory / "registration.json"
    write_private(path, json.dumps(stored))

    registration = state.load_registration()
    state.save_registration(registration)

    assert registration == Registration("http://a.example", "build-1", "secret-token", 5.0, 2, ("fix-bug",))
    assert json.loads(path.read_text(encoding="utf-8")) == stored


def test_missing_or_broken_registration_says_what_to_do(state: AgentState) -> None:
    with pytest.raises(NotLoggedInError, match="devflow agent register --name build-1"):
        state.load_registration()
    registered(state)
    path = state.directory / "registration.json"
    for text in ("{", "[]", '{"url": "a"}'):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(SettingsError, match="--replace"):
            state.load_registration()


def test_only_one_process_at_a_time_runs_the_agent(state: AgentState) -> None:
    code = (
        "import sys; from pathlib import Path; from devflow.agent_state import AgentState\n"
        "with AgentState(Path(sys.argv[1]), 'build-1').lock(): print('locked', flush=True); sys.stdin.read()"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(state.directory.parent.parent)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert other.stdin is not None
    assert other.stdout is not None
    with other, other.stdin, other.stdout:
        assert other.stdout.readline() == b"locked\n"
        assert state.find_running_pid() == other.pid
        with pytest.raises(AlreadyRunningError, match=f"process {other.pid}") as raised, state.lock():
            pass
        assert raised.value.exit_code == 5
        other.kill()
    other.wait()
    assert state.find_running_pid() is None, "the lock of a dead process is free"
    with state.lock():
        assert state.find_running_pid() == os.getpid()


def test_instance_id_survives_a_restart_and_differs_elsewhere(state: AgentState, tmp_path: Path) -> None:
    assert state.load_instance_id() == AgentState(tmp_path / "state", "build-1").load_instance_id()
    assert state.load_instance_id() != AgentState(tmp_path / "other", "build-1").load_instance_id()


def test_instance_id_survives_a_new_host_name(state: AgentState, monkeypatch: pytest.MonkeyPatch) -> None:
    """A laptop in another network and a new container have one. Otherwise the platform would reject the heartbeats."""
    before = state.load_instance_id()
    monkeypatch.setattr(socket, "gethostname", lambda: "another-name")
    assert state.load_instance_id() == before


def test_copy_of_the_directory_has_another_instance_id(state: AgentState, tmp_path: Path) -> None:
    """The platform must notice if both run."""
    original = state.load_instance_id()
    shutil.copytree(tmp_path / "state", tmp_path / "copy")
    copied = AgentState(tmp_path / "copy", "build-1").load_instance_id()
    assert copied != original
    assert AgentState(tmp_path / "copy", "build-1").load_instance_id() == copied
    assert state.load_instance_id() == original
    (tmp_path / "state").rename(tmp_path / "moved")
    assert AgentState(tmp_path / "moved", "build-1").load_instance_id() == original


def test_directory_on_another_machine_has_another_instance_id(
    state: AgentState, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cloned disk has the same files in the same places, and a machine id of its own."""
    original = state.load_instance_id()
    machine_id = tmp_path / "machine-id"
    machine_id.write_text("0123456789abcdef\n", encoding="ascii")
    monkeypatch.setattr(agent_state, "_MACHINE_ID", machine_id)
    assert state.load_instance_id() != original
    assert state.load_instance_id() == state.load_instance_id()


def test_instance_id_of_an_earlier_version_is_kept(state: AgentState) -> None:
    write_private(state.directory / "instance", "0123456789abcdef0123456789abcdef")
    assert state.load_instance_id() == state.load_instance_id() == "0123456789abcdef0123456789abcdef"


def test_token_is_old_after_its_age_and_after_the_clock_was_set_back(state: AgentState) -> None:
    clock = FakeClock()
    registered(state, issued=clock.epoch_seconds())
    credentials = Credentials(state, clock)

    assert not credentials.is_older_than(20 * DAY)
    clock.epoch += 20 * DAY
    assert credentials.is_older_than(20 * DAY)
    clock.epoch -= 30 * DAY
    assert credentials.is_older_than(20 * DAY)


def test_new_token_is_on_disk_before_it_is_used(state: AgentState, start_platform: Callable[..., FakePlatform]) -> None:
    platform = start_platform(lambda _: FakeResponse(201, {"success": True, "agent": {}, "token": "new-secret"}))
    registered(state, platform.url)
    clock = FakeClock()
    credentials = Credentials(state, clock)

    credentials.renew(ApiClient(platform.url, credentials.token))

    assert platform.paths() == ["POST /api/agents/build-1/token"]
    assert platform.bodies("/token") == [{"instanceId": state.load_instance_id()}]
    assert credentials.token() == state.load_registration().token == "new-secret"
    assert state.load_registration().issued_at == clock.epoch_seconds()
    assert not credentials.reload(), "the token on disk is the same"


def test_previous_token_is_kept_until_the_renewed_one_was_used(
    state: AgentState, start_platform: Callable[..., FakePlatform]
) -> None:
    """The platform ends a renewed token that is not used in time, for example because the machine was off."""
    platform = start_platform(lambda _: FakeResponse(201, {"success": True, "agent": {}, "token": "new-secret"}))
    registered(state, platform.url)
    Credentials(state, FakeClock()).renew(ApiClient(platform.url, "secret-token"))

    credentials = Credentials(state, FakeClock())
    assert credentials.token() == "new-secret"
    assert credentials.fall_back()
    assert credentials.token() == state.load_registration().token == "secret-token"
    assert credentials.is_older_than(20 * DAY), "the token is renewed again"
    assert not credentials.fall_back()

    credentials.renew(ApiClient(platform.url, credentials.token))
    credentials.confirm()
    credentials.confirm()
    assert not credentials.fall_back()
    assert credentials.token() == state.load_registration().token == "new-secret"
    assert "previous" not in (state.directory / "registration.json").read_text(encoding="utf-8")


def test_token_that_a_user_replaced_has_no_previous_one(
    state: AgentState, start_platform: Callable[..., FakePlatform]
) -> None:
    platform = start_platform(lambda _: FakeResponse(201, {"success": True, "agent": {}, "token": "new-secret"}))
    registered(state, platform.url)
    credentials = Credentials(state, FakeClock())

    credentials.replace(ApiClient(platform.url, "user-token"))

    assert credentials.token() == "new-secret"
    assert not credentials.fall_back()


def test_rejected_renewal_changes_nothing(state: AgentState, start_platform: Callable[..., FakePlatform]) -> None:
    platform = start_platform(lambda _: make_error(401))
    registered(state, platform.url)
    credentials = Credentials(state, FakeClock())

    with pytest.raises(NotLoggedInError):
        credentials.renew(ApiClient(platform.url, credentials.token))
    assert state.load_registration().token == "secret-token"


def test_token_renewed_by_another_process_is_loaded(state: AgentState) -> None:
    registered(state)
    credentials = Credentials(state, FakeClock())
    state.save_registration(Registration("http://a.example", "build-1", "by-hand", 0.0))

    assert credentials.reload()
    assert credentials.token() == "by-hand"


def test_delete_removes_all_files(state: AgentState) -> None:
    registered(state)
    state.load_instance_id()

    state.delete()

    assert not state.directory.exists()
