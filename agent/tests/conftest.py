"""Fixtures of the agent's tests, which neither read nor write files of the user. e2e/ has tests with real processes."""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
import stamina

from agent.tests.support.command_result import CommandResult
from agent.tests.support.fake_platform import FakePlatform, FakeResponse, ReceivedRequest
from devflow import redaction, settings
from devflow.cli import main

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty home directory with a git identity. The environment has no tokens."""
    home = tmp_path / "home"
    home.mkdir()
    for name in list(os.environ):
        if name.startswith(("DEVFLOW_", "XDG_", "GIT_", "GH_", "GITHUB_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(home))
    (home / ".gitconfig").write_text(
        "[user]\nname = Somebody\nemail = somebody@example.com\n[init]\ndefaultBranch = main\n", encoding="utf-8"
    )
    return home


@pytest.fixture(autouse=True)
def no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget the secrets of other tests."""
    monkeypatch.setattr(redaction, "_secrets", set())


@pytest.fixture
def start_platform() -> Iterator[Callable[..., FakePlatform]]:
    """Return a function that starts a fake platform: `start_platform(lambda request: FakeResponse(200, {}))`."""
    with ExitStack() as cleanup:

        def start(respond: Callable[[ReceivedRequest], FakeResponse], port: int = 0) -> FakePlatform:
            started = FakePlatform(respond, port)
            cleanup.callback(started.end)
            return started

        yield start


@pytest.fixture
def no_retry_delays() -> Iterator[None]:
    with stamina.set_testing(True, attempts=3):  # `True` is positional, as in stamina's documentation
        yield


@pytest.fixture
def devflow(capsys: pytest.CaptureFixture[str], no_retry_delays: None) -> Callable[..., CommandResult]:
    """Return a function that runs `devflow` in this process: `devflow("tasks", "list")`."""

    def run(*arguments: str) -> CommandResult:
        capsys.readouterr()
        with pytest.raises(SystemExit) as exited:
            main(arguments)
        assert isinstance(exited.value.code, int)
        return CommandResult(exited.value.code, *capsys.readouterr())

    return run


@pytest.fixture
def logged_in(start_platform: Callable[..., FakePlatform]) -> Callable[..., FakePlatform]:
    """Return a function that starts a fake platform, and stores its URL and a token in the config file."""

    def start(respond: Callable[[ReceivedRequest], FakeResponse]) -> FakePlatform:
        platform = start_platform(respond)
        settings.update_config(settings.config_path(), url=platform.url, token="user-token")
        return platform

    return start
