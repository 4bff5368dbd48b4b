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
from tests.http.scenario import Agent, Scenario
from tests.support.client import Client


@pytest.fixture
def scenario(user: Client, poller: EventPoller) -> Scenario:
    """The user user@example.com, without agents and tasks."""
    return Scenario(user, poller)


@pytest.fixture
def agent(scenario: Scenario) -> Agent:
    """The agent agent-1 of that user."""
    return scenario.agent()


@pytest.fixture
def other(make_user: Callable[..., Client], poller: EventPoller) -> Scenario:
    """Another user, who must never see or change data of the first one."""
    return Scenario(make_user("other@example.com", "Jane Roe"), poller)


class Log:
    """The log of the platform since the start of the test."""

    def __init__(self) -> None:
        self.stream = io.StringIO()

    @property
    def text(self) -> str:
        return self.stream.getvalue()

    @property
    def lines(self) -> list[dict[str, Any]]:
        """All lines, parsed. Every line must be a JSON object."""
        return [json.loads(line) for line in self.text.splitlines()]

    @property
    def requests(self) -> list[dict[str, Any]]:
        """The lines about requests."""
        return [line for line in self.lines if line["message"] == "request"]


@pytest.fixture
def log(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> Log:
    """Captures the log at the stream of its handler: after formatting, as an operator reads it."""
    log = Log()
    monkeypatch.setattr(log_module.handler, "stream", log.stream)
    return log


class Routes:
    """The routes of the app. They come from the app's own table, so a new route is tested without a change here."""

    BODIES: Mapping[str, Mapping[str, Any]] = MappingProxyType(
        {
            "/api/agents": {"agentId": "agent-9", "name": "n", "version": "1"},
            "/api/workflows/execute": {"taskId": "task-9", "intent": "fix-bug", "repo": "r", "naturalLanguage": "n"},
            "/api/webhooks": {"url": "http://localhost:9/"},
            "/api/tasks": {"intent": "i", "repo": "r", "naturalLanguage": "n"},
            "/api/tasks/{task_id}/progress": {"progress": 0.5},
            "/api/tasks/{task_id}/complete": {"success": True},
            "/api/tasks/{task_id}/fail": {"error": "e"},
            "/api/tasks/{task_id}/logs": {"offset": 0, "data": "text"},
            "/api/auth/pin/login": {"email": "user@example.com", "pin": "123456"},
            "/api/auth/pin": {"pin": "271828"},
            "/api/auth/magic-link": {"email": "user@example.com"},
            "/api/auth/magic-link/read": {"token": "x" * 43},
            "/api/auth/magic-link/verify": {"token": "x" * 43},
            "/api/auth/tokens": {"name": "a program"},
        }
    )

    def __init__(self, table: Mapping[str, Mapping[str, Any]]) -> None:
        """`table` has methods by path, without OPTIONS: chalicelib.http handles OPTIONS for every path."""
        self.table = {
            path: {method: methods[method] for method in methods if method != "OPTIONS"}
            for path, methods in table.items()
        }
        self.declared = {(route.method, route.path): route for route in route_specs(table)}
        # Logout comes last, because it ends the session that the other calls need.
        self.all = sorted(self.declared, key=lambda route: (route[1].endswith("/logout"), route))

    @property
    def guarded(self) -> list[tuple[str, str]]:
        """The routes that require a token, as (method, path)."""
        return [route for route in self.all if self.declared[route].access != "public"]

    @classmethod
    def body(cls, method: str, resource: str) -> Mapping[str, Any] | None:
        """A valid body of the route. `{}` if BODIES has none, and None for methods without a body."""
        return None if method in ("GET", "DELETE") else cls.BODIES.get(resource, {})

    @staticmethod
    def path(resource: str, *, agent: str = "agent-1", task_id: str = "task-1", rest: str = "x-1") -> str:
        """The path of a resource with its placeholders filled in. `rest` replaces all other placeholders."""
        filled = resource.replace("{agent_id}", agent).replace("{task_id}", task_id)
        return re.sub(r"\{\w+\}", rest, filled)


@pytest.fixture
def routes(gateway: Gateway) -> Routes:
    return Routes(gateway._app.routes)


@pytest.fixture
def fresh_minute(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock at the start of a minute. It only moves when a test advances it.

    So no rate limit window ends during a test, even on a slow machine.
    """
    clock.advance(60.5 - clock.now / 1_000 % 60)
    start, moved = clock.now, server_clock._shifted_ms
    monkeypatch.setattr(server_clock, "now", lambda: start + server_clock._shifted_ms - moved)
    return clock
