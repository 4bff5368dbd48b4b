"""app.py: a function imports what it does when it starts, and everything else when it is first asked for. Each in a
process of its own, as in Lambda."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from infra.local.gateway import Gateway
from tests.support.environment import outside

ROOT = Path(__file__).parents[2]

STARTED = """
import sys
from tests.support import environment
environment.prepare()
import app
print(*sorted(name for name in sys.modules if name.startswith("chalicelib.")))
"""

WORKED = """
import json, sys
from contextlib import suppress
from types import SimpleNamespace
from tests.support import environment
environment.prepare()
import app
from chalicelib.core.errors import Unavailable
before = set(sys.modules)
function, event = json.load(sys.stdin)
with suppress(Unavailable):  # AWS, which is asked first where there is something to do
    getattr(app, function)(event, SimpleNamespace(get_remaining_time_in_millis=lambda: 60_000))
print(*sorted(name for name in set(sys.modules) - before if name.startswith("chalicelib.")))
"""

BROKEN = """
from chalicelib import dynamodb

def tell_status(address):
    answer = ask("GET", address)
    tell(address, answer["statusCode"], json.loads(answer["body"])["error"])

class Once:
    def __init__(self, act):
        self.act, self.done = act, False
    def __call__(self, *arguments):
        made = self.act(*arguments)
        if not self.done:
            self.done = True
            raise MemoryError
        return made

dynamodb.register_table = Once(dynamodb.register_table)
for _ in range(2):
    tell_status("/api/webhooks")
    tell_status("/api/tasks")
"""

ASKING = """
import json, sys
from tests.support import environment
environment.prepare()
from app import app

def ask(method, address):
    asked = {"resourcePath": address, "httpMethod": method}
    event = {"requestContext": asked, "path": address, "headers": {}, "multiValueHeaders": {}, "body": None,
             "queryStringParameters": None, "multiValueQueryStringParameters": None, "pathParameters": {},
             "stageVariables": None, "isBase64Encoded": False}
    return app(event, None)

def tell(*what):
    print(json.dumps(what), flush=True)
"""

ASKED = """
import os
from chalicelib.dynamodb.client import connection

def in_a_copy(act):
    if child := os.fork():
        assert os.waitpid(child, 0)[1] == 0
    else:
        act()
        os._exit(0)

def tell_methods(address):
    tell(address, json.loads(ask("TRACE", address)["body"])["message"])

def tell_health():
    before = sorted(connection._tables)
    tell(before, ask("GET", "/health")["statusCode"], sorted(connection._tables))

addresses = json.load(sys.stdin)
for address in addresses:
    in_a_copy(lambda: tell_methods(address))
in_a_copy(tell_health)
in_a_copy(lambda: tell(ask("GET", "/api/openapi.json")["body"]))
for address in addresses:
    tell_methods(address)
"""


def _in_a_lambda(handler: str | None, code: str, given: str = "") -> list[str]:
    """What a program prints where Lambda's own variable names this handler; AWS is out of reach."""
    lambdas = {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"} | ({} if handler is None else {"_HANDLER": handler})
    command = [sys.executable, "-c", code]
    ran = subprocess.run(
        command, cwd=ROOT, env=outside() | lambdas, input=given, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    return [line for line in ran.stdout.splitlines() if not line.startswith("{")]  # which the log's lines do


def _loaded(handler: str | None) -> set[str]:
    """Features, of which more is loaded than their names, and modules of routes, as `tasks` and `tasks.routes`."""
    (line,) = _in_a_lambda(handler, STARTED)
    names = [name.removeprefix("chalicelib.").split(".") for name in line.split()]
    found = {name[0] for name in names if len(name) > 1 and name[1] != "concurrency"}
    return {*found, *(".".join(name) for name in names if name[-1].endswith("routes"))} - SHARED


TABLES = [f"devflow-local-{name}" for name in ("agents", "logins", "tasks", "users", "webhooks")]
SHARED = {"aws", "core", "dynamodb", "http"}
"""Packages that every function loads."""

TASKS = {"agents", "auth", "tasks"}


@pytest.mark.parametrize(
    ("handler", "loaded"),
    [
        ("app.app", TASKS | {"orchestration", "tasks.routes", "orchestration.agent_routes"}),
        ("app.run_workflows", TASKS | {"orchestration"}),
        ("app.announce_events", TASKS | {"orchestration", "webhooks"}),
        ("app.deliver_webhooks", {"webhooks"}),
        ("app.sweep", TASKS | {"orchestration", "webhooks"}),
    ],
)
def test_function_imports_only_the_features_it_uses(handler: str, loaded: set[str]) -> None:
    assert _loaded(handler) == loaded


NO_MESSAGES: dict[str, Any] = {"Records": []}
SCHEDULED = json.loads((ROOT / "tests" / "fixtures" / "events" / "schedule.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("function", "event"),
    [
        ("run_workflows", NO_MESSAGES),
        ("announce_events", NO_MESSAGES),
        ("deliver_webhooks", NO_MESSAGES),
        ("sweep", SCHEDULED),
    ],
)
def test_handler_imports_nothing_after_the_start(function: str, event: Any) -> None:
    assert _in_a_lambda(f"app.{function}", WORKED, json.dumps([function, event])) == [""]


def test_failed_import_breaks_only_its_own_routes_and_is_retried() -> None:
    assert [json.loads(line) for line in _in_a_lambda("app.app", ASKING + BROKEN)] == [
        ["/api/webhooks", 500, "Internal error"],
        ["/api/tasks", 401, "Invalid or expired token"],
        ["/api/webhooks", 401, "Invalid or expired token"],
        ["/api/tasks", 401, "Invalid or expired token"],
    ]


@pytest.mark.parametrize("handler", [None, "somewhere.else"])
def test_unknown_handler_imports_all_features_at_the_start(handler: str | None) -> None:
    routes = {f"{path.parent.name}.{path.stem}" for path in (ROOT / "chalicelib").glob("*/*routes.py")}
    assert _loaded(handler) == {name.partition(".")[0] for name in routes} | {"agents"} | routes


def test_lazily_imported_routes_behave_like_the_full_app(
    gateway: Gateway,
) -> None:
    routes: Any = gateway._app.routes
    told = [json.loads(line) for line in _in_a_lambda("app.app", ASKING + ASKED, json.dumps(sorted(routes)))]
    alone, (before, status, after), (document,), in_turn = (
        told[: len(routes)], told[len(routes)], told[len(routes) + 1], told[len(routes) + 2 :]
    )  # fmt: skip
    methods = {path: sorted(method for method in routes[path] if method != "OPTIONS") for path in routes}
    expected = {
        path: f"This address supports only these methods: {', '.join(allowed)}." for path, allowed in methods.items()
    }
    assert dict(alone) == expected
    assert dict(in_turn) == expected
    assert status == 503, "no AWS is there"
    assert after == TABLES
    assert len(before) < len(after)
    assert json.loads(document) == gateway.call("GET", "/api/openapi.json").json()
