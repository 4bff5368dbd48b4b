"""Fixtures of the agent's own tests: nothing of the user's machine is read or written. See e2e/ for real processes."""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from agent.tests.support.fake_platform import FakePlatform, FakeResponse, ReceivedRequest
from devflow import redaction

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of the test's own, without tokens and with a git that knows who commits; its directory."""
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
    """What one test takes for a secret is none in the next."""
    monkeypatch.setattr(redaction, "_secrets", set())


@pytest.fixture
def start_platform() -> Iterator[Callable[..., FakePlatform]]:
    """Starts a stand-in of the platform: `start_platform(lambda request: Answer(200, {}))`."""
    with ExitStack() as ending:

        def start(answer: Callable[[ReceivedRequest], FakeResponse], port: int = 0) -> FakePlatform:
            started = FakePlatform(answer, port)
            ending.callback(started.end)
            return started

        yield start
