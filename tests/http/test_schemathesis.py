"""schemathesis makes requests up from the app's own OpenAPI document, and holds every answer against it.

All of its checks: no 5xx; status, headers, content type and body as the document says; what the schema allows is
taken, what it does not is refused; no token, no answer; unknown methods; what was removed is gone; nothing of one user
is read by another. Over real HTTP, into the app in this process.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from click.testing import CliRunner
from schemathesis.cli import schemathesis as command
from schemathesis.hooks import unregister_all

from chalicelib.core.settings import settings
from chalicelib.http import rate_limits
from infra.local.gateway import Gateway
from infra.local.http_server import HttpServer
from tests.http.scene import Scene
from tests.support.client import Client

CONFIG = """
# Nothing is left behind, and nobody gives up because the machine is slow.
suppress-health-check = ["all"]
request-timeout = 300
cache.enabled = false
continue-on-failure = true

[dictionaries]
webhooks.values = ["webhook-1", "webhook-2"]
agents.values = ["agent-1", "agent-2"]
tasks.values = ["task-1", "task-2", "task-3"]

[parameters]
"path.agent_id" = {dictionary = "agents", probability = 0.4}
"path.task_id" = {dictionary = "tasks", probability = 0.4}
"path.webhook_id" = {dictionary = "webhooks", probability = 0.4}

# Browsers are sent on, whatever they bring.
[[operations]]
include-operation-id = ["start_slack", "finish_slack"]
checks.positive_data_acceptance.expected-statuses = ["302"]

# Where the name of a host leads, and whether a webhook may go there, no schema can know: elsewhere is a 400.
[[operations]]
include-operation-id = "create_webhook"
checks.positive_data_acceptance.expected-statuses = ["2xx", "400", "401", "403", "404", "409"]

[[operations]]
include-operation-id = "change_webhook"
checks.positive_data_acceptance.expected-statuses = ["2xx", "400", "401", "403", "404", "409"]

# Where a log ends no schema can know: a piece that does not fit is a 416.
[[operations]]
include-operation-id = "append_log"
checks.positive_data_acceptance.expected-statuses = ["2xx", "401", "403", "404", "409", "416", "429"]
"""

REPEATABLE = """
# The same requests every time: nothing that an answer said, such as an id by chance, is made use of.
generation.deterministic = true
phases.coverage.extra-data-sources.responses = false
phases.fuzzing.extra-data-sources.responses = false
phases.fuzzing.error-feedback.enabled = false
"""

FRAMING = ("Content-Length", "Transfer-Encoding", "Connection", "Expect", "Host")


@pytest.fixture
def hooks(user: Client, make_user: Callable[..., Client]) -> Iterator[None]:
    """What no schema can say: which texts are cursors (where one is made up that is to be good, it is left out), that a
    token is good until somebody logs out with it (so they do that with another), and that some headers are HTTP's own:
    a server that cannot read where a request ends has no route to ask."""

    def before_call(context: schemathesis.HookContext, case: schemathesis.Case[Any], kwargs: dict[str, Any]) -> None:
        for name in FRAMING:
            case.headers.pop(name, None)
        if case.query and "cursor" in case.query and case.meta is not None and case.meta.generation.mode.is_positive:
            del case.query["cursor"]
        if (
            case.operation.label == "POST /api/auth/logout"
            and case.headers.get("Authorization") == f"Bearer {user.token}"
        ):
            case.headers["Authorization"] = f"Bearer {make_user('jack@example.com').token}"

    schemathesis.hook(before_call)
    yield
    unregister_all()


@pytest.fixture
def url(gateway: Gateway, hooks: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The app over real HTTP, without limits on the number of calls."""
    monkeypatch.setattr(rate_limits, "settings", replace(settings, rate_limits=False))
    server = HttpServer(0)
    server.start(gateway)
    yield f"http://127.0.0.1:{server.port}"
    server.stop()


@pytest.fixture
def run(url: str, scene: Scene, other: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Two users who must not see each other's things; the first has agents, and tasks in three states."""
    scene.agent("agent-2")
    scene.running(scene.agent())
    scene.queued("task-2")
    scene.submit("task-3")
    users = {
        name: {"name": "Authorization", "value": f"Bearer {each.user.token}"}
        for name, each in (("john", scene), ("jane", other))
    }
    auth = {"auth": [{"name": name, "fixedHeaders": [header]} for name, header in users.items()]}
    (tmp_path / "users.json").write_text(json.dumps(auth))
    peers = 'auth.wfc = {path = "users.json", user = "john", peers = ["john", "jane"]}\n'
    monkeypatch.chdir(tmp_path)

    def run(config: str, *arguments: str) -> str:
        (tmp_path / "schemathesis.toml").write_text(peers + config + CONFIG)
        usual = ["run", f"{url}/api/openapi.json", "--url", url, "--checks", "all", "--no-color"]
        ran = CliRunner().invoke(command, [*usual, *arguments])
        assert ran.exit_code == 0, ran.output
        return ran.output

    return run


@pytest.mark.timeout(900)
@pytest.mark.parametrize("phase", ["coverage", "fuzzing", "stateful"])
def test_generated_requests_get_responses_that_match_the_document(run: Callable[..., str], phase: str) -> None:
    run(REPEATABLE, "--phases", phase, "--max-examples", "25")


@pytest.mark.long
@pytest.mark.parametrize("seed", [20250124])
def test_500_generated_requests_for_each_operation_match_the_document(run: Callable[..., str], seed: int) -> None:
    """Others than the above, and with ids that the answers before named."""
    print(run("", "--max-examples", "500", "--seed", str(seed)))
