"""Fixtures of the tests of the HTTP contract."""

import io
import json
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import pytest

from chalicelib.core import clock as server_clock
from chalicelib.core import log as log_module
from chalicelib.http import route_specs
from infra.local.event_poller import EventPoller
from infra.local.gateway import Gateway
from tests.conftest import Clock
from tests.http.scene import Agent, Scene
from tests.support.client import Client


@pytest.fixture
def scene(user: Client, poller: EventPoller) -> Scene:
    """user@example.com, with nothing yet."""
    return Scene(user, poller)


@pytest.fixture
def agent(scene: Scene) -> Agent:
    """That user's agent-1."""
    return scene.agent()


@pytest.fixture
def other(make_user: Callable[..., Client], poller: EventPoller) -> Scene:
    """Another user, who must never see or change anything of the first."""
    return Scene(make_user("other@example.com", "Jane Roe"), poller)


class Log:
    """What the platform has logged since the test began."""

    def __init__(self) -> None:
        self.stream = io.StringIO()

    @property
    def text(self) -> str:
        return self.stream.getvalue()

    @property
    def lines(self) -> list[dict[str, Any]]:
        """Every line, as the JSON object that it must be."""
        return [json.loads(line) for line in self.text.splitlines()]

    @property
    def requests(self) -> list[dict[str, Any]]:
        """The lines that tell of a request."""
        return [line for line in self.lines if line["message"] == "request"]


@pytest.fixture
def log(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> Log:
    """Catches the log where its handlers write it: after formatting, as an operator would read it."""
    log = Log()
    monkeypatch.setattr(log_module.handler, "stream", log.stream)
    return log


class Routes:
    """The app's own table of routes, so that a route added later is tested without being named here."""

    BODIES: Mapping[str, Mapping[str, Any]] = MappingProxyType(
        {
            "/api/agents": {"agentId": "agent-9", "name": "n", "version": "1"},
            "/api/workflows/execute": {"taskId": "task-9", "intent": "i", "repo": "r", "naturalLanguage": "n"},
            "/api/webhooks": {"url": "http://localhost:9/"},
            "/api/tasks": {"intent": "i", "repo": "r", "naturalLanguage": "n"},
            "/api/tasks/{task_id}/progress": {"progress": 0.5},
            "/api/tasks/{task_id}/complete": {"success": True},
            "/api/tasks/{task_id}/fail": {"error": "e"},
            "/api/tasks/{task_id}/logs": {"offset": 0, "data": "text"},
            "/api/auth/pin/login": {"email": "user@example.com", "pin": "123456"},
            "/api/auth/pin": {"pin": "123456"},
            "/api/auth/magic-link": {"email": "user@example.com"},
            "/api/auth/magic-link/verify": {"token": "x" * 43},
            "/api/auth/tokens": {"name": "a program"},
        }
    )

    def __init__(self, table: Mapping[str, Mapping[str, Any]]) -> None:
        """Methods by path, but for OPTIONS, which the app answers by itself."""
        self.table = {
            path: {method: methods[method] for method in methods if method != "OPTIONS"}
            for path, methods in table.items()
        }
        self.declared = {(route.method, route.path): route for route in route_specs(table)}
        # What ends its caller's session comes last, so that the others have one.
        self.all = sorted(self.declared, key=lambda route: (route[1].endswith("/logout"), route))

    @property
    def guarded(self) -> list[tuple[str, str]]:
        """Those that want a token."""
        return [route for route in self.all if self.declared[route].access != "public"]

    @classmethod
    def body(cls, method: str, resource: str) -> Mapping[str, Any] | None:
        """A body that the route takes (as far as it is known here), None for a method that has none."""
        return None if method in ("GET", "DELETE") else cls.BODIES.get(resource, {})

    @staticmethod
    def path(resource: str, *, agent: str = "agent-1", task: str = "task-1", rest: str = "x-1") -> str:
        """A resource with its captures filled in."""
        filled = resource.replace("{agent_id}", agent).replace("{task_id}", task)
        return re.sub(r"\{\w+\}", rest, filled)


@pytest.fixture
def routes(gateway: Gateway) -> Routes:
    return Routes(gateway._app.routes)


@pytest.fixture
def fresh_minute(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock at the beginning of a minute, where it stands still unless it is moved: however slow the machine is, no
    count of a minute is cut in two."""
    clock.advance(60.5 - clock.now / 1_000 % 60)
    start, moved = clock.now, server_clock._shifted_ms
    monkeypatch.setattr(server_clock, "now", lambda: start + server_clock._shifted_ms - moved)
    return clock
