"""Every error of the specification, and calls about resources that do not exist or belong to somebody else."""

from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from infra.local.gateway import Gateway
from infra.local.gateway import _response as as_response
from infra.local.lambda_context import Context
from tests.conftest import Clock
from tests.http.conftest import Routes
from tests.http.scenario import Agent, Scenario, failing, ok, refused, snapshot
from tests.support.client import Client

USER_ROUTES = [
    ("POST", "/api/agents"),
    ("GET", "/api/agents"),
    ("GET", "/api/agents/agent-1"),
    ("POST", "/api/tasks"),
    ("GET", "/api/tasks"),
    ("GET", "/api/tasks/task-1/events"),
]
AGENT_ROUTES = [("GET", "/api/agents/{}/commands"), ("POST", "/api/agents/{}/heartbeat")]
TASK_ROUTES = [
    ("GET", "/api/tasks/{}", None),
    ("GET", "/api/tasks/{}/events", None),
    ("POST", "/api/tasks/{}/progress", {"progress": 0.5}),
    ("POST", "/api/tasks/{}/complete", {"success": True}),
    ("POST", "/api/tasks/{}/fail", {"error": "It broke"}),
]
INVALID_IDS = ["a%20b", "..%2F..", "%00", "a%0A", "%F0%9F%92%A9", "%FF", "a%23b", "~", "x" * 129, "x" * 9_000]


# The examples of the specification.


def test_registration_without_required_fields_names_them(user: Client) -> None:
    body = refused(user.post("/api/agents", {}), 400, "Missing required fields")
    assert body["details"] == ["agentId", "name", "version"]


def test_registration_without_a_valid_token_returns_401(anonymous: Client) -> None:
    assert "details" not in refused(anonymous.post("/api/agents", {}), 401, "Invalid or expired token")


def test_registering_an_id_twice_returns_409(scenario: Scenario, agent: Agent) -> None:
    before = snapshot()
    repeated = scenario.user.post("/api/agents", {"agentId": agent.id, "name": "another", "version": "2"})
    refused(repeated, 409, "Agent with this ID already exists for user")
    assert snapshot() == before


@pytest.mark.parametrize(("method", "path"), AGENT_ROUTES)
def test_agent_routes_have_their_own_title_for_401(anonymous: Client, method: str, path: str) -> None:
    for caller in (anonymous, anonymous.acting_as("garbage")):
        refused(caller.send(method, path.format("agent-1")), 401, "Agent token expired or invalid")


@pytest.mark.parametrize(("method", "path"), AGENT_ROUTES)
def test_unknown_agent_returns_404(scenario: Scenario, agent: Agent, method: str, path: str) -> None:
    for caller in (scenario.user, agent.client):
        refused(caller.send(method, path.format("agent-2")), 404, "Agent not found")


def test_progress_out_of_range_returns_400_and_starts_no_task(scenario: Scenario, agent: Agent) -> None:
    task_id = scenario.claim_task(agent)
    before = snapshot()
    for progress in (-0.0001, 1.0001, -1, 2, 1e308, -1e308, 10**30):
        refused(agent.progress(task_id, progress), 400, "Progress must be between 0 and 1")
    assert snapshot() == before


@pytest.mark.parametrize(("method", "path", "body"), TASK_ROUTES)
def test_unknown_task_returns_404(
    scenario: Scenario, agent: Agent, method: str, path: str, body: dict[str, Any] | None
) -> None:
    refused(scenario.user.send(method, path.format("task-9"), body), 404, "Task not found")
    if not path.endswith("events"):
        refused(agent.client.send(method, path.format("task-9"), body), 404, "Task not found")


def test_execution_without_required_fields_names_them(user: Client) -> None:
    body = refused(user.post("/api/workflows/execute", {}), 400, "Missing required fields")
    assert body["details"] == ["taskId", "intent", "repo", "naturalLanguage"]


def test_workflow_that_cannot_be_stored_returns_500_and_is_not_accepted(scenario: Scenario) -> None:
    denied = ClientError({"Error": {"Code": "AccessDeniedException", "Message": "secret"}}, "TransactWriteItems")
    before = snapshot()
    with failing("TransactWriteItems", denied):
        response = scenario.user.post(
            "/api/workflows/execute", {"taskId": "t", "intent": "i", "repo": "r", "naturalLanguage": "n"}
        )
    body = refused(response, 500, "Failed to execute workflow")
    assert "secret" not in body["message"]
    assert snapshot() == before


def test_unreachable_database_returns_503_with_retry_after(scenario: Scenario, agent: Agent) -> None:
    out_of_reach = EndpointConnectionError(endpoint_url="https://secret.example.com")
    for operation in ("UpdateItem", "GetItem", "TransactWriteItems", "BatchGetItem", "Query"):
        with failing(operation, out_of_reach):
            for response in (
                agent.poll(),
                agent.heartbeat(),
                agent.complete("task-1"),
                scenario.user.get("/api/agents"),
                scenario.user.get("/api/agents/agent-1"),
                scenario.user.get("/api/tasks"),
                scenario.user.get("/api/tasks/task-1"),
            ):
                if response.status >= 500:
                    refused(response, 503)
                    assert int(response.header("Retry-After") or 0) >= 1
                    assert b"secret" not in response.body


def test_wrong_pin_returns_401(user: Client, anonymous: Client) -> None:
    for email, pin in (("user@example.com", "654321"), ("nobody@example.com", "123456")):
        refused(anonymous.post("/api/auth/pin/login", {"email": email, "pin": pin}), 401)


# Paths and methods that do not exist.


@pytest.mark.parametrize(
    "path",
    ["/", "/api", "/api/", "/api/nothing", "/API/agents", "/api/agents/a/b/c", "//api/agents", "/api/agents/../tasks",
     "/api/tasks//progress", "/%00", "/favicon.ico", "/api/agents/agent-1/commands/1", "/%F0%9F%92%A9", "/x" * 5_000,
     "/api/{agent_id}", "/api/nothing?x=/api/agents", "/.env", "/api/auth"],
)  # fmt: skip
def test_unknown_path_returns_404_for_every_method(anonymous: Client, path: str) -> None:
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
        refused(anonymous.send(method, path), 404, "Not found")


def test_unsupported_method_returns_405_with_the_allowed_methods(user: Client, routes: Routes) -> None:
    for resource, methods in routes.table.items():
        for method in {"GET", "POST", "PUT", "PATCH", "DELETE"} - set(methods):
            path = routes.path(resource)
            if any(other != resource and method in routes.table[other] for other in _overlapping(routes, resource)):
                continue
            response = user.send(method, path)
            refused(response, 405, "Method not allowed")
            assert response.header("Allow") == ", ".join(sorted(methods)), path


def _overlapping(routes: Routes, resource: str) -> list[str]:
    """Other resources that match a path of this one, such as `/a/{id}` and `/a/list`."""
    parts = resource.split("/")
    return [
        other
        for other in routes.table
        if len(other.split("/")) == len(parts)
        and all(a == b or "{" in a + b for a, b in zip(other.split("/"), parts, strict=True))
    ]


# Resources of another user or agent.


def test_agent_token_on_user_routes_returns_403(scenario: Scenario, agent: Agent) -> None:
    scenario.start_task(agent)
    before = snapshot()
    for method, path in USER_ROUTES:
        refused(agent.client.send(method, path, {} if method == "POST" else None), 403, "Insufficient permissions")
    assert snapshot() == before


def test_agents_of_another_user_return_404(scenario: Scenario, other: Scenario) -> None:
    own_agent, other_agent = scenario.agent("mine"), other.agent("theirs")
    before = snapshot()
    for method, path in [*AGENT_ROUTES, ("GET", "/api/agents/{}")]:
        refused(scenario.user.send(method, path.format(other_agent.id)), 404, "Agent not found")
    for method, path in AGENT_ROUTES:
        refused(own_agent.client.send(method, path.format(other_agent.id)), 404, "Agent not found")
    assert ok(scenario.user.get("/api/agents"))["total"] == 1
    assert snapshot() == before


def test_tasks_of_another_user_return_404(scenario: Scenario, other: Scenario) -> None:
    own_agent = scenario.agent("mine")
    task_id = other.start_task(other.agent("theirs"), "their-task")
    before = snapshot()
    for method, path, body in TASK_ROUTES:
        refused(scenario.user.send(method, path.format(task_id), body), 404, "Task not found")
        if not path.endswith("events"):
            refused(own_agent.client.send(method, path.format(task_id), body), 404, "Task not found")
    assert ok(scenario.user.get("/api/tasks"))["total"] == 0
    assert own_agent.claims() == []
    assert snapshot() == before


def test_agent_gets_404_for_another_agent_of_the_same_user(scenario: Scenario) -> None:
    one, two = scenario.agent("one"), scenario.agent("two")
    for method, path in AGENT_ROUTES:
        refused(one.client.send(method, path.format(two.id)), 404, "Agent not found")


def test_two_users_can_use_the_same_ids(scenario: Scenario, other: Scenario) -> None:
    own_agent, other_agent = scenario.agent("same"), other.agent("same")
    scenario.queue_tasks("task", naturalLanguage="mine")
    other.queue_tasks("task", naturalLanguage="theirs")
    assert [command["description"] for command in own_agent.commands()] == ["mine"]
    assert [command["description"] for command in other_agent.commands()] == ["theirs"]
    ok(own_agent.complete("task"))
    assert (scenario.task_status("task"), other.task_status("task")) == ("completed", "assigned")


def test_invalid_id_in_a_path_returns_404(scenario: Scenario, agent: Agent, clock: Clock) -> None:
    before = snapshot()
    for name in INVALID_IDS:
        clock.advance(60)  # the rate limits are not under test
        for method, path, body in TASK_ROUTES:
            refused(scenario.user.send(method, path.format(name), body), 404, "Task not found")
        for method, path in AGENT_ROUTES:
            refused(agent.client.send(method, path.format(name)), 404, "Agent not found")
        refused(scenario.user.get(f"/api/agents/{name}"), 404, "Agent not found")
    assert snapshot() == before


# Events that no HTTP client causes, but the console of API Gateway and other callers do.


@pytest.mark.parametrize("body", ["!!!", "abc", "é", "e30", "====", "\ud800"])
def test_body_with_invalid_base64_returns_400(scenario: Scenario, gateway: Gateway, body: str) -> None:
    event = _event(gateway, scenario.user, "POST", "/api/tasks", b"{}")
    before = snapshot()
    _assert_event_refused(gateway, event | {"body": body, "isBase64Encoded": True}, 400)
    assert snapshot() == before


def test_base64_body_is_decoded(scenario: Scenario, gateway: Gateway) -> None:
    event = _event(gateway, scenario.user, "POST", "/api/tasks", b"")
    response = gateway._app(event | {"body": "e30=", "isBase64Encoded": True}, Context("test"))
    assert (response["statusCode"], "Missing required fields" in response["body"]) == (400, True)


def test_event_without_headers_returns_401(scenario: Scenario, gateway: Gateway) -> None:
    event = _event(gateway, scenario.user, "POST", "/api/tasks", b"{}")
    _assert_event_refused(gateway, event | {"headers": None, "multiValueHeaders": None}, 401)


def _event(gateway: Gateway, user: Client, method: str, path: str, body: bytes) -> dict[str, Any]:
    headers = (("Authorization", f"Bearer {user.token}"), ("Content-Type", "application/json"))
    return gateway.event(method, path, headers, body, source_ip="127.0.0.1")


def _assert_event_refused(gateway: Gateway, event: dict[str, Any], status: int) -> None:
    refused(as_response(gateway._app(event, Context("test"))), status)
