"""Fixtures of the tests of the services: the whole platform in process, with faults where AWS begins."""

from collections.abc import Callable, Iterator

import pytest

from infra.local.pump import Pump
from tests.http.scene import Agent, Scene
from tests.service import invariants
from tests.support.client import Client


@pytest.fixture
def scene(user: Client, pump: Pump) -> Iterator[Scene]:
    """user@example.com, with nothing yet. What must hold of the stored rows is looked at in the end."""
    yield Scene(user, pump)
    invariants.hold()


@pytest.fixture
def agent(scene: Scene) -> Agent:
    """That user's agent-1."""
    return scene.agent()


@pytest.fixture
def other(make_user: Callable[..., Client], pump: Pump) -> Scene:
    """Another user."""
    return Scene(make_user("other@example.com", "Jane Roe"), pump)


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tries follow one another without a pause."""
    monkeypatch.setattr("time.sleep", lambda seconds: None)
