"""The headers of every response, and the log line of every request."""

import re
from collections.abc import Callable, Iterator

import pytest
from botocore.exceptions import ClientError

from chalicelib.http.responses import SECURITY_HEADERS
from infra.local.gateway import Response
from tests.conftest import Clock
from tests.http.conftest import Log, Routes
from tests.http.scenario import Agent, Scenario, epoch, failing, ok, refused
from tests.support.client import Client

RATE = ("X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset")
DENIED = ClientError({"Error": {"Code": "AccessDeniedException", "Message": "no"}}, "x")


def responses_of_every_kind(scenario: Scenario, agent: Agent) -> Iterator[tuple[int, Response]]:
    """A response of each status, with the status that it must have."""
    user, nobody = scenario.user, scenario.user.acting_as(None)
    yield 200, user.get("/api/agents")
    yield 200, agent.poll()
    yield 201, user.post("/api/agents", {"agentId": "a", "name": "n", "version": "1"})
    yield 202, user.post("/api/tasks", {"intent": "i", "repo": "r", "naturalLanguage": "n"})
    yield 400, user.post("/api/agents", {})
    yield 401, nobody.get("/api/tasks")
    yield 403, agent.client.get("/api/tasks")
    yield 404, user.get("/api/tasks/nothing")
    yield 404, nobody.get("/api/nothing")
    yield 405, user.delete("/api/workflows/execute")
    yield 409, user.post("/api/agents", {"agentId": "a", "name": "n", "version": "1"})
    yield 413, user.post("/api/agents", b"x" * 300_000)
    yield 415, user.post("/api/agents", b"{}", Content_Type="text/plain")
    with failing("TransactWriteItems", DENIED):
        yield 500, user.post("/api/tasks", {"intent": "i", "repo": "r", "naturalLanguage": "n"})
    for _ in range(10):
        agent.heartbeat()
    yield 429, agent.heartbeat()


def test_every_response_has_security_headers_and_no_api_response_is_cached(scenario: Scenario, agent: Agent) -> None:
    statuses = set()
    for status, response in [
        *responses_of_every_kind(scenario, agent),
        (200, scenario.user.get("/health")),
        (404, scenario.user.get("/")),
    ]:
        assert response.status == status, response
        statuses.add(status)
        assert response.header("X-Content-Type-Options") == "nosniff"
        assert response.header("X-Frame-Options") == "DENY"
        assert response.header("Referrer-Policy")
        assert "max-age=" in (response.header("Strict-Transport-Security") or "")
        assert "frame-ancestors 'none'" in (response.header("Content-Security-Policy") or "")
        assert response.header("Content-Type") == "application/json"
        assert response.header("X-Request-Id")
    assert len(statuses) == 13
    for _, response in responses_of_every_kind(scenario, scenario.agent("another")):
        assert response.header("Cache-Control") == "no-store"


def test_response_of_the_gateway_itself_has_security_headers(user: Client) -> None:
    response = user.post("/api/tasks", b"x" * (10 * 1024 * 1024 + 1))
    refused(response, 413, "Request too large")
    for name, value in SECURITY_HEADERS.items():
        assert response.header(name) == value
    assert response.header("X-Request-Id")
    assert response.header("Cache-Control") == "no-store"


def test_no_response_has_a_duplicate_or_malformed_header(scenario: Scenario, agent: Agent) -> None:
    for _, response in responses_of_every_kind(scenario, agent):
        names = [name.lower() for name, _ in response.headers]
        assert len(names) == len(set(names)), response
        assert all("\n" not in value and value.isascii() for _, value in response.headers)


# Request ids.


@pytest.mark.parametrize(
    "valid", ["0d0e7f5e-6a0d-4b52-a1c9-7c4c2d4d8a15", "f" * 32, "1-67891233-abcdef012345678912345678"]
)
def test_valid_request_id_is_used_in_response_and_log(scenario: Scenario, log: Log, valid: str) -> None:
    for response in (
        scenario.user.get("/api/agents", x_request_id=valid),
        scenario.user.get("/api/nothing", X_REQUEST_ID=valid),
        scenario.user.acting_as(None).post("/api/agents", {}, X_Request_Id=valid),
    ):
        assert response.header("X-Request-Id") == valid
    assert [line["requestId"] for line in log.requests] == [valid] * 3


@pytest.mark.parametrize(
    "invalid", ["", " ", "x" * 500, "a b c d e f g", "évidemment", "<script>alert(1)</script>", "a\nb: c\nd"]
)
def test_invalid_request_id_is_replaced(scenario: Scenario, log: Log, invalid: str) -> None:
    generated = {scenario.user.get("/health", X_Request_Id=invalid).header("X-Request-Id") or "" for _ in range(3)}
    assert len(generated) == 3
    assert all(re.fullmatch(r"[A-Za-z0-9-]{16,64}", each) for each in generated)
    assert {line["requestId"] for line in log.requests} == generated
    assert len(invalid) < 2 or invalid not in log.text


def test_every_log_line_of_a_request_has_its_id(scenario: Scenario, log: Log) -> None:
    with failing("TransactWriteItems", DENIED):
        response = scenario.user.post("/api/tasks", {"intent": "i", "repo": "r", "naturalLanguage": "n"})
    assert response.status == 500
    assert len(log.lines) > 1, "a server error is logged in addition to the request"
    assert {line["requestId"] for line in log.lines} == {response.header("X-Request-Id")}


# The log.


def test_request_is_logged_once_with_caller_route_status_and_duration(
    scenario: Scenario, agent: Agent, log: Log
) -> None:
    owner = scenario.get_agent(agent.id)["userId"]
    agent.poll(limit=5)
    scenario.user.get("/api/tasks/secret-task")
    scenario.user.acting_as("garbage").post("/api/agents", {})
    scenario.user.get("/no/such/path")
    scenario.user.delete("/api/agents")
    logged = [(line["method"], line["route"], line["status"], line.get("who") or "") for line in log.requests]
    assert logged == [
        ("GET", "/api/agents/{agent_id}", 200, owner),
        ("GET", "/api/agents/{agent_id}/commands", 200, agent.id),
        ("GET", "/api/tasks/{task_id}", 404, owner),
        ("POST", "/api/agents", 401, ""),
        ("GET", "unknown", 404, ""),
        ("DELETE", "/api/agents", 405, ""),
    ]
    for line in log.requests:
        assert type(line["ms"]) in (int, float)
        assert 0 <= line["ms"] < 60_000
        assert line["level"] == "INFO"
        assert line["timestamp"]
        assert line["requestId"]


def test_secrets_are_never_logged(scenario: Scenario, anonymous: Client, log: Log, clock: Clock) -> None:
    """Tokens, PINs and bodies are not in the log, whatever fails. They are not in stack traces either."""
    secret = "s3cr3t-4a7d1ed4"
    work = {
        "intent": "fix-bug",
        "repo": secret,
        "branch": secret,
        "naturalLanguage": secret,
        "context": {secret: secret},
    }
    agent = scenario.agent("agent-1", name=secret, version=secret, platform=secret)
    scenario.start_task(agent, "task-1", **work)
    login = {"email": f"{secret}@example.com", "pin": "271828"}
    calls: list[Callable[[], Response]] = [
        lambda: anonymous.post("/api/auth/pin/login", login),
        lambda: anonymous.post("/api/auth/pin/login", login | {"pin": secret}),
        lambda: scenario.user.post("/api/workflows/execute", work | {"taskId": "task-2"}),
        lambda: scenario.user.post("/api/tasks", work, Idempotency_Key=secret),
        lambda: scenario.user.post("/api/tasks", work | {"priority": secret}),
        lambda: scenario.user.post("/api/tasks", f'{{"{secret}": '.encode()),
        lambda: scenario.user.post("/api/agents", {"agentId": "agent-2", "name": secret, "version": "1"}),
        lambda: agent.heartbeat(status=secret, version=secret),
        lambda: agent.progress("task-1", 0.5, step=secret, details=secret),
        lambda: agent.fail("task-1", secret, details=secret, logs=secret),
        lambda: agent.fail("task-1", secret, details=secret, logs=secret),
        lambda: agent.complete("task-1", summary=secret, output=secret, resultFiles={secret: secret}),
        lambda: scenario.user.get("/api/tasks/task-1", {secret: secret}),
        lambda: scenario.user.acting_as(f"{secret}.{secret}.{secret}").get("/api/tasks"),
    ]
    for operation, error in (
        ("TransactWriteItems", DENIED),
        ("UpdateItem", RuntimeError("a bug")),
        ("SendMessage", DENIED),
    ):
        with failing(operation, error):
            for call in calls:
                call()
        clock.advance(60)
    scenario.poller.drain()
    scenario.poller.sweep()
    assert len(log.requests) > 40
    assert '"status":500' in log.text
    assert secret not in log.text
    assert "271828" not in log.text
    for token in (scenario.user.token, agent.client.token):
        for part in (token or "").split(".")[1:]:
            assert part not in log.text


def test_log_line_is_one_line_of_json_for_every_path(scenario: Scenario, log: Log) -> None:
    for path in ("/api/tasks/%0A%0D%22%5C", "/a\nb", '/"}{', "/\u2028", "/%00", "/api/agents/" + "x" * 5_000):
        scenario.user.get(path)
    assert len(log.lines) == len(log.requests) == 6
    assert len(log.text) < 6_000, "a long path does not fill the log"


# The headers of the rate limits. test_rate_limits.py has the limits themselves.


def quota(response: Response) -> tuple[int, int, int]:
    limit, remaining, reset = (int(response.header(name) or -1) for name in RATE)
    return limit, remaining, reset


def test_rate_limited_responses_report_the_remaining_calls(scenario: Scenario, fresh_minute: Clock) -> None:
    agent = scenario.agent()
    scenario.queue_tasks("task-1")
    scenario.queue_tasks("task-2")
    body = {"agentId": "agent-1", "name": "n", "version": "1"}
    work = {"intent": "fix-bug", "repo": "r", "naturalLanguage": "n"}
    calls_by_limit: dict[tuple[int, str], list[Callable[[], Response]]] = {
        (100, "the user's agents API"): [
            lambda: scenario.user.get("/api/agents"),
            lambda: scenario.user.get("/api/agents/agent-1"),
            lambda: scenario.user.get("/api/agents/agent-9"),
            lambda: scenario.user.post("/api/agents", body),
            lambda: scenario.user.post("/api/agents", {}),
            lambda: scenario.user.get("/api/agents?limit=0"),
        ],
        (100, "commands"): [agent.poll, agent.poll, lambda: agent.poll(limit=2)],
        (10, "heartbeat"): [agent.heartbeat, agent.heartbeat, agent.heartbeat],
        (1_000, "the agent's tasks API"): [
            lambda: agent.progress("task-1", 0.1, step="one"),
            lambda: agent.progress("task-1", 0.2, step="one"),
            lambda: agent.progress("task-1", 0.3, step="two"),
            lambda: agent.client.get("/api/tasks/task-1"),
            lambda: agent.complete("task-1"),
            lambda: agent.complete("task-2"),
        ],
        (1_000, "the user's tasks API"): [
            lambda: scenario.user.get("/api/tasks"),
            lambda: scenario.user.get("/api/tasks/task-1"),
            lambda: scenario.user.get("/api/tasks/task-9"),
            lambda: scenario.user.post("/api/tasks", work),
            lambda: scenario.user.post("/api/tasks", {}),
            lambda: scenario.user.get("/api/tasks/task-1/events"),
        ],
    }
    for limit, calls in calls_by_limit.items():
        quotas = [quota(call()) for call in calls]
        first = quotas[0]
        assert first[0] == limit[0], limit
        assert first[1] < limit[0]
        assert [each[1] for each in quotas] == [first[1] - used for used in range(len(calls))], limit
        assert {each[2] for each in quotas} == {(fresh_minute.now // 60_000 + 1) * 60}, limit


def test_login_response_reports_the_remaining_calls(user: Client, anonymous: Client, fresh_minute: Clock) -> None:
    login = {"email": "user@example.com", "pin": "123456"}
    assert [quota(anonymous.post("/api/auth/pin/login", login))[:2] for _ in range(2)] == [(10, 9), (10, 8)]
    assert quota(anonymous.post("/api/auth/pin/login", login | {"pin": "000000"}))[:2] == (10, 7)


def test_responses_without_rate_limit_have_no_rate_limit_headers(scenario: Scenario, agent: Agent) -> None:
    agent.heartbeat()
    for response in (
        scenario.user.get("/health"),
        scenario.user.get("/nothing"),
        scenario.user.delete("/api/agents"),
        scenario.user.acting_as(None).get("/api/agents"),
        scenario.user.acting_as("garbage").get("/api/tasks"),
    ):
        assert [response.header(name) for name in RATE] == [None] * 3, response


def test_health_needs_no_token_and_returns_503_when_unhealthy(anonymous: Client, clock: Clock) -> None:
    assert ok(anonymous.get("/health"))["status"] == "ok"
    clock.advance(60)
    with failing("GetItem", DENIED):
        refused(anonymous.get("/health"), 503)


def test_timestamps_are_utc_in_whole_seconds(scenario: Scenario, clock: Clock) -> None:
    agent = scenario.agent()
    task_id = scenario.start_task(agent)
    ok(agent.complete(task_id))
    task = scenario.get_task(task_id)
    for instant in (task["createdAt"], task["startedAt"], task["completedAt"], task["updatedAt"]):
        assert abs(epoch(instant) - clock.now / 1_000) < 30
    for name in ("lastHeartbeat", "createdAt", "updatedAt"):
        assert abs(epoch(scenario.get_agent(agent.id)[name]) - clock.now / 1_000) < 30


def test_every_guarded_route_returns_401_without_a_token(routes: Routes, anonymous: Client) -> None:
    """Finds a route without a guard."""
    for method, resource in routes.guarded:
        assert anonymous.send(method, routes.path(resource), routes.body(method, resource)).status == 401, resource
