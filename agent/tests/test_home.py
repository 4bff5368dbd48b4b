"""What an agent has on its machine, and that only one process is it."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from agent.tests.support.clocks import Jumping
from agent.tests.support.standin import Answer, refusal
from devflow.client import Client
from devflow.credentials import Credentials
from devflow.errors import AlreadyRunningError, ExposedError, NotLoggedInError, SettingsError
from devflow.home import Home, Registration
from devflow.redact import redacted

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from agent.tests.support.standin import Platform

DAY = 24 * 3600.0


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "state", "build-1")


def registered(home: Home, url: str = "http://a.example", issued: float = 0.0) -> Registration:
    registration = Registration(url, "build-1", "secret-token", issued, 2)
    home.register(registration)
    return registration


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../a", ".hidden", "a b", "x" * 129, "a\n"])
def test_a_name_that_could_lead_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(SettingsError):
        Home(tmp_path, name)


def test_this_machines_name_is_one(tmp_path: Path) -> None:
    Home(tmp_path, Home.default_name())


def test_a_registration_is_kept_for_this_user_alone_and_its_token_is_a_secret(home: Home) -> None:
    registration = registered(home)

    path = home.directory / "registration.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(home.directory.stat().st_mode) == 0o700
    assert home.registration() == registration
    assert redacted("secret-token") == "***"
    path.chmod(0o644)
    with pytest.raises(ExposedError):
        home.registration()


def test_one_that_is_not_registered_or_not_readable_says_what_to_do(home: Home) -> None:
    with pytest.raises(NotLoggedInError, match="devflow agent register --name build-1"):
        home.registration()
    registered(home)
    path = home.directory / "registration.json"
    for text in ("{", "[]", '{"url": "a"}'):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(SettingsError, match="--replace"):
            home.registration()


def test_one_process_at_a_time_is_the_agent(home: Home) -> None:
    code = (
        "import sys; from pathlib import Path; from devflow.home import Home\n"
        "with Home(Path(sys.argv[1]), 'build-1').lock(): print('locked', flush=True); sys.stdin.read()"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(home.directory.parent.parent)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert other.stdin is not None
    assert other.stdout is not None
    with other, other.stdin, other.stdout:
        assert other.stdout.readline() == b"locked\n"
        assert home.running() == other.pid
        with pytest.raises(AlreadyRunningError, match=f"process {other.pid}") as raised, home.lock():
            pass
        assert raised.value.exit_code == 5
        other.kill()
    other.wait()
    assert home.running() is None, "a process that died holds nothing"
    with home.lock():
        assert home.running() == os.getpid()


def test_it_is_the_same_instance_after_a_restart_and_another_one_elsewhere(home: Home, tmp_path: Path) -> None:
    assert home.instance() == Home(tmp_path / "state", "build-1").instance()
    assert home.instance() != Home(tmp_path / "other", "build-1").instance()


def test_a_token_is_old_after_its_time_and_where_the_clock_was_put_back(home: Home) -> None:
    clock = Jumping()
    registered(home, issued=clock.wall())
    credentials = Credentials(home, clock)

    assert not credentials.old(20 * DAY)
    clock.epoch += 20 * DAY
    assert credentials.old(20 * DAY)
    clock.epoch -= 30 * DAY
    assert credentials.old(20 * DAY)


def test_a_new_token_is_on_disk_before_it_is_used(home: Home, standin: Callable[..., Platform]) -> None:
    platform = standin(lambda _: Answer(201, {"success": True, "agent": {}, "token": "new-secret"}))
    registered(home, platform.url)
    clock = Jumping()
    credentials = Credentials(home, clock)

    credentials.renew(Client(platform.url, credentials.token))

    assert platform.paths() == ["POST /api/agents/build-1/token"]
    assert credentials.token() == home.registration().token == "new-secret"
    assert home.registration().issued == clock.wall()
    assert not credentials.reload(), "it is the one that is on disk"


def test_a_renewal_that_is_refused_changes_nothing(home: Home, standin: Callable[..., Platform]) -> None:
    platform = standin(lambda _: refusal(401))
    registered(home, platform.url)
    credentials = Credentials(home, Jumping())

    with pytest.raises(NotLoggedInError):
        credentials.renew(Client(platform.url, credentials.token))
    assert home.registration().token == "secret-token"


def test_a_token_that_somebody_else_renewed_is_taken_up(home: Home) -> None:
    registered(home)
    credentials = Credentials(home, Jumping())
    home.register(Registration("http://a.example", "build-1", "by-hand", 0.0))

    assert credentials.reload()
    assert credentials.token() == "by-hand"


def test_forgetting_leaves_nothing(home: Home) -> None:
    registered(home)
    home.instance()

    home.forget()

    assert not home.directory.exists()
