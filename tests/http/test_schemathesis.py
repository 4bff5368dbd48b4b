"""schemathesis generates requests from the app's own OpenAPI document, and compares every response with the document.

All of its checks run:
- no 5xx;
- status, headers, content type and body match the document;
- requests that the schema allows are accepted, and others are rejected;
- calls without a token and unknown methods are rejected;
- removed resources are gone, and no user reads data of another.

The requests are sent over real HTTP to the app in this process.
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
from tests.http.scenario import Scenario
from tests.support.client import Client

CONFIG = """
# No cache, and no failure because the machine is slow.
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

# These operations redirect browsers for every input.
[[operations]]
include-operation-id = ["start_slack", "finish_slack"]
checks.positive_data_acceptance.expected-statuses = ["302"]

# A schema cannot express whether a PIN is easy to guess. Such PINs return 400.
[[operations]]
include-name = "POST /api/auth/pin"
checks.positive_data_acceptance.expected-statuses = ["2xx", "400", "401", "403", "404", "409", "429"]

# A schema cannot express which intents the agent accepts to which a task is pinned. Others return 400.
[[operations]]
include-operation-id = ["submit_task", "execute_workflow", "retry_task"]
checks.positive_data_acceptance.expected-statuses = ["2xx", "400", "401", "403", "404", "409", "429"]

# A schema cannot express what is a pattern of repositories. Other strings return 400.
[[operations]]
include-operation-id = ["register_agent", "patch_agent", "create_registration_token"]
checks.positive_data_acceptance.expected-statuses = ["2xx", "400", "401", "403", "404", "409", "429"]

# A schema cannot express whether the host of a webhook is allowed. Other hosts return 400.
[[operations]]
include-operation-id = "create_webhook"
checks.positive_data_acceptance.expected-statuses = ["2xx", "400", "401", "403", "404", "409"]

[[operations]]
include-operation-id = "change_webhook"
checks.positive_data_acceptance.expected-statuses = ["2xx", "400", "401", "403", "404", "409"]

# A schema cannot express where a log ends. A chunk at another offset returns 416.
[[operations]]
include-operation-id = "append_log"
checks.positive_data_acceptance.expected-statuses = ["2xx", "401", "403", "404", "409", "416", "429"]
"""

REPEATABLE = """
# The same requests in every run: values of responses, such as random ids, are not used.
generation.deterministic = true
phases.coverage.extra-data-sources.responses = false
phases.fuzzing.extra-data-sources.responses = false
phases.fuzzing.error-feedback.enabled = false
"""

FRAMING = ("Content-Length", "Transfer-Encoding", "Connection", "Expect", "Host")


@pytest.fixture
def hooks(user: Client, make_user: Callable[..., Client]) -> Iterator[None]:
    """Adapts generated requests to rules that a schema cannot express.

    - A generated cursor is never valid, so requests that must be valid have none.
    - A logout revokes the token of the run, so it uses another token.
    - Headers for the framing of HTTP are removed, because the server could not find the end of the request.
    """

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
    """The app over real HTTP, without rate limits."""
    monkeypatch.setattr(rate_limits, "settings", replace(settings, rate_limits=False))
    server = HttpServer(0)
    server.start(gateway)
    yield f"http://127.0.0.1:{server.port}"
    server.stop()


@pytest.fixture
def run(
    url: str, scenario: Scenario, other: Scenario, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., str]:
    """Runs schemathesis for two users, neither of which may read the other's data.

    The first user has agents, and tasks in three states.
    """
    scenario.agent("agent-2")
    scenario.start_task(scenario.agent())
    scenario.queue_tasks("task-2")
    scenario.submit("task-3")
    users = {
        name: {"name": "Authorization", "value": f"Bearer {each.user.token}"}
        for name, each in (("john", scenario), ("jane", other))
    }
    auth = {"auth": [{"name": name, "fixedHeaders": [header]} for name, header in users.items()]}
    (tmp_path / "users.json").write_text(json.dumps(auth))
    peers = 'auth.wfc = {path = "users.json", user = "john", peers = ["john", "jane"]}\n'
    monkeypatch.chdir(tmp_path)

    def run(config: str, *arguments: str) -> str:
        (tmp_path / "schemathesis.toml").write_text(peers + config + CONFIG)
        command_line = ["run", f"{url}/api/openapi.json", "--url", url, "--checks", "all", "--no-color"]
        result = CliRunner().invoke(command, [*command_line, *arguments])
        assert result.exit_code == 0, result.output
        return result.output

    return run


@pytest.mark.timeout(900)
@pytest.mark.parametrize("phase", ["coverage", "fuzzing", "stateful"])
def test_generated_requests_get_responses_that_match_the_document(run: Callable[..., str], phase: str) -> None:
    run(REPEATABLE, "--phases", phase, "--max-examples", "25")


@pytest.mark.long
@pytest.mark.parametrize("seed", [20250124])
def test_500_generated_requests_for_each_operation_match_the_document(run: Callable[..., str], seed: int) -> None:
    """Other requests than above, also with ids from earlier responses."""
    print(run("", "--max-examples", "500", "--seed", str(seed)))
