"""app.py: a function imports what it needs at the start. The API imports every other feature on its first request.

Each test runs the app in its own process, as Lambda does.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from infra.local.gateway import Gateway
from tests.support.environment import outside

ROOT = Path(__file__).parents[2]

PRINT_MODULES_AT_START = """
import sys
from tests.support import environment
environment.prepare()
import app
print(*sorted(name for name in sys.modules if name.startswith("chalicelib.")))
"""

PRINT_MODULES_OF_WORK = """
import json, sys
from contextlib import suppress
from types import SimpleNamespace
from tests.support import environment
environment.prepare()
import app
from chalicelib.core.errors import Unavailable
before = set(sys.modules)
function, event = json.load(sys.stdin)
with suppress(Unavailable):  # AWS is unreachable, and a handler with work calls it first
    getattr(app, function)(event, SimpleNamespace(get_remaining_time_in_millis=lambda: 60_000))
print(*sorted(name for name in set(sys.modules) - before if name.startswith("chalicelib.")))
"""

PRINT_ERRORS_OF_FAILED_IMPORT = """
from chalicelib import dynamodb

def print_status(address):
    answer = request("GET", address)
    print_json(address, answer["statusCode"], json.loads(answer["body"])["error"])

class FailOnce:
    def __init__(self, function):
        self.function, self.has_failed = function, False
    def __call__(self, *arguments):
        result = self.function(*arguments)
        if not self.has_failed:
            self.has_failed = True
            raise MemoryError
        return result

dynamodb.register_table = FailOnce(dynamodb.register_table)
for _ in range(2):
    print_status("/api/webhooks")
    print_status("/api/tasks")
"""

DEFINE_REQUEST = """
import json, sys
from tests.support import environment
environment.prepare()
from app import app

def request(method, address):
    context = {"resourcePath": address, "httpMethod": method}
    event = {"requestContext": context, "path": address, "headers": {}, "multiValueHeaders": {}, "body": None,
             "queryStringParameters": None, "multiValueQueryStringParameters": None, "pathParameters": {},
             "stageVariables": None, "isBase64Encoded": False}
    return app(event, None)

def print_json(*values):
    print(json.dumps(values), flush=True)
"""

PRINT_METHODS = """
import os
from chalicelib.dynamodb.client import connection

def in_a_fork(function):
    if child := os.fork():
        assert os.waitpid(child, 0)[1] == 0
    else:
        function()
        os._exit(0)

def print_methods(address):
    print_json(address, json.loads(request("TRACE", address)["body"])["message"])

def print_health():
    before = sorted(connection._tables)
    print_json(before, request("GET", "/health")["statusCode"], sorted(connection._tables))

addresses = json.load(sys.stdin)
for address in addresses:
    in_a_fork(lambda: print_methods(address))
in_a_fork(print_health)
in_a_fork(lambda: print_json(request("GET", "/api/openapi.json")["body"]))
for address in addresses:
    print_methods(address)
"""


def _run_in_lambda(handler: str | None, code: str, stdin: str = "") -> list[str]:
    """Run a program with this handler in Lambda's variable `_HANDLER`, without AWS. Returns its lines of output."""
    lambdas = {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"} | ({} if handler is None else {"_HANDLER": handler})
    command = [sys.executable, "-c", code]
    ran = subprocess.run(
        command, cwd=ROOT, env=outside() | lambdas, input=stdin, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    return [line for line in ran.stdout.splitlines() if not line.startswith("{")]  # lines of the log begin with a brace


def _imported(handler: str | None) -> set[str]:
    """Features of which a module is imported at the start (`tasks`), and their modules of routes (`tasks.routes`)."""
    (line,) = _run_in_lambda(handler, PRINT_MODULES_AT_START)
    names = [name.removeprefix("chalicelib.").split(".") for name in line.split()]
    found = {name[0] for name in names if len(name) > 1 and name[1] != "concurrency"}
    return {*found, *(".".join(name) for name in names if name[-1].endswith("routes"))} - SHARED


TABLES = [f"devflow-local-{name}" for name in ("agents", "credentials", "logins", "tasks", "users", "webhooks")]
SHARED = {"aws", "core", "dynamodb", "http"}
"""Packages that every function imports."""

TASKS = {"agents", "auth", "tasks"}


@pytest.mark.parametrize(
    ("handler", "expected"),
    [
        ("app.app", TASKS | {"orchestration", "tasks.routes", "orchestration.agent_routes"}),
        ("app.run_workflows", TASKS | {"orchestration"}),
        ("app.announce_events", TASKS | {"orchestration", "webhooks"}),
        ("app.deliver_webhooks", {"webhooks"}),
        ("app.sweep", TASKS | {"orchestration", "webhooks"}),
        ("app.sweep_backlog", TASKS | {"orchestration", "webhooks"}),
    ],
)
def test_function_imports_only_the_features_it_uses(handler: str, expected: set[str]) -> None:
    assert _imported(handler) == expected


NO_MESSAGES: dict[str, Any] = {"Records": []}
SCHEDULED = json.loads((ROOT / "tests" / "fixtures" / "events" / "schedule.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("function", "event"),
    [
        ("run_workflows", NO_MESSAGES),
        ("announce_events", NO_MESSAGES),
        ("deliver_webhooks", NO_MESSAGES),
        ("sweep", SCHEDULED),
        ("sweep_backlog", NO_MESSAGES),
    ],
)
def test_handler_imports_nothing_after_the_start(function: str, event: Any) -> None:
    assert _run_in_lambda(f"app.{function}", PRINT_MODULES_OF_WORK, json.dumps([function, event])) == [""]


def test_failed_import_breaks_only_its_own_routes_and_is_retried() -> None:
    assert [json.loads(line) for line in _run_in_lambda("app.app", DEFINE_REQUEST + PRINT_ERRORS_OF_FAILED_IMPORT)] == [
        ["/api/webhooks", 500, "Internal error"],
        ["/api/tasks", 401, "Invalid or expired token"],
        ["/api/webhooks", 401, "Invalid or expired token"],
        ["/api/tasks", 401, "Invalid or expired token"],
    ]


@pytest.mark.parametrize("handler", [None, "somewhere.else"])
def test_unknown_handler_imports_all_features_at_the_start(handler: str | None) -> None:
    routes = {f"{path.parent.name}.{path.stem}" for path in (ROOT / "chalicelib").glob("*/*routes.py")}
    assert _imported(handler) == {name.partition(".")[0] for name in routes} | {"agents"} | routes


def test_lazily_imported_routes_behave_like_the_full_app(
    gateway: Gateway,
) -> None:
    routes: Any = gateway._app.routes
    printed = [
        json.loads(line)
        for line in _run_in_lambda("app.app", DEFINE_REQUEST + PRINT_METHODS, json.dumps(sorted(routes)))
    ]
    in_forks, (before, status, after), (document,), in_turn = (
        printed[: len(routes)], printed[len(routes)], printed[len(routes) + 1], printed[len(routes) + 2 :]
    )  # fmt: skip
    methods = {path: sorted(method for method in routes[path] if method != "OPTIONS") for path in routes}
    expected = {
        path: f"This address supports only these methods: {', '.join(allowed)}." for path, allowed in methods.items()
    }
    assert dict(in_forks) == expected
    assert dict(in_turn) == expected
    assert status == 503, "AWS is unreachable"
    assert after == TABLES
    assert len(before) < len(after)
    assert json.loads(document) == gateway.call("GET", "/api/openapi.json").json()
