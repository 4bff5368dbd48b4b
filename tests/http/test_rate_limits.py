"""Rate limits: which calls share a limit, the response above the limit, and the size of the stored counts."""

import hashlib
import itertools
import json
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from infra.local.gateway import Gateway, Response
from tests.conftest import Clock
from tests.http.scenario import Agent, Scenario, failing, ok, refused, snapshot
from tests.support import aws_requests, moto_aws
from tests.support.client import Client

LOGIN = "/api/auth/pin/login"


def assert_limited_until_reset(call: Callable[[], Response], limit: int, clock: Clock) -> None:
    """Assert that the call is rate-limited and changes nothing, and that it succeeds after `Retry-After`."""
    before = snapshot()
    response = call()
    refused(response, 429, "Too many requests")
    reset = int(response.header("X-RateLimit-Reset") or 0)
    wait = int(response.header("Retry-After") or 0)
    assert response.header("X-RateLimit-Limit") == str(limit)
    assert response.header("X-RateLimit-Remaining") == "0"
    assert reset == (clock.now // 60_000 + 1) * 60
    assert 1 <= wait <= 60
    assert -2 <= wait - (reset - clock.now / 1_000) <= 2
    assert snapshot() == before
    clock.advance(wait)
    assert call().status != 429


def test_user_has_100_calls_a_minute_to_the_agents_api(
    scenario: Scenario, other: Scenario, fresh_minute: Clock
) -> None:
    agent = scenario.agent()
    for _ in range(33):
        refused(scenario.user.get("/api/agents/nobody"), 404)
        refused(scenario.user.post("/api/agents", {}), 400)
        refused(scenario.user.get("/api/agents?limit=0"), 400)
    assert other.get_agent(other.agent().id), "another user has separate limits"
    assert agent.poll().status == 200, "agents have separate limits"
    assert scenario.user.get("/api/tasks").status == 200, "the tasks API has a separate limit"
    assert_limited_until_reset(lambda: scenario.user.get("/api/agents"), 100, fresh_minute)


def test_user_acting_for_an_agent_is_counted_as_the_user(scenario: Scenario, agent: Agent, fresh_minute: Clock) -> None:
    by_user = agent.with_user_token(scenario.user)
    for _ in range(3):
        ok(by_user.poll())
    assert ok(by_user.heartbeat())
    assert scenario.user.get("/api/agents/agent-1").header("X-RateLimit-Remaining") == "95"
    assert agent.heartbeat().header("X-RateLimit-Remaining") == "9"


def test_agent_has_100_polls_a_minute(scenario: Scenario, fresh_minute: Clock) -> None:
    agent, another = scenario.agent(), scenario.agent("another")
    for _ in range(100):
        ok(agent.poll(limit=1))
    ok(another.poll())
    ok(agent.heartbeat())
    assert_limited_until_reset(agent.poll, 100, fresh_minute)


def test_agent_has_10_heartbeats_a_minute(scenario: Scenario, fresh_minute: Clock) -> None:
    agent, another = scenario.agent(), scenario.agent("another")
    for _ in range(10):
        ok(agent.heartbeat())
    ok(another.heartbeat())
    ok(agent.poll())
    assert_limited_until_reset(agent.heartbeat, 10, fresh_minute)


def test_rate_limited_heartbeat_has_no_effect(scenario: Scenario, fresh_minute: Clock) -> None:
    agent = scenario.agent()
    for _ in range(10):
        ok(agent.heartbeat(status="ready"))
    refused(agent.heartbeat(status="draining", version="2"), 429)
    assert scenario.get_agent(agent.id)["version"] == "1"
    scenario.queue_tasks("task-1")
    assert agent.claims() == ["task-1"]


# Logins.


def try_pin(client: Client, pin: str = "000000", email: str = "user@example.com") -> Response:
    return client.post(LOGIN, {"email": email, "pin": pin})


def test_login_response_matches_the_specification(user: Client, anonymous: Client) -> None:
    body = ok(try_pin(anonymous, "123456"))
    assert set(body) == {"success", "token", "user"}
    assert body["success"] is True
    assert set(body["user"]) == {"id", "email", "name"}
    assert (body["user"]["email"], body["user"]["name"]) == ("user@example.com", "John Doe")
    registered = anonymous.acting_as(body["token"]).post("/api/agents", {"agentId": "a", "name": "n", "version": "1"})
    assert ok(registered, 201)["agent"]["userId"] == body["user"]["id"]


def test_network_address_has_10_logins_a_minute(
    user: Client, anonymous: Client, gateway: Gateway, fresh_minute: Clock
) -> None:
    for count in range(10):
        refused(try_pin(anonymous, email=f"nobody-{count}@example.com"), 401)
    body = json.dumps({"email": "user@example.com", "pin": "123456"}).encode()
    json_type = ("Content-Type", "application/json")
    spoofed = gateway.call("POST", LOGIN, (json_type, ("X-Forwarded-For", "10.9.8.7")), body)
    refused(spoofed, 429)
    ok(gateway.call("POST", LOGIN, (json_type,), body, source_ip="192.0.2.7"))
    assert_limited_until_reset(lambda: try_pin(anonymous, "123456"), 10, fresh_minute)


def test_ipv6_site_has_50_logins_a_minute(
    user: Client, anonymous: Client, gateway: Gateway, fresh_minute: Clock
) -> None:
    """The headers have the limit of an address, and the calls that are left to it and to its site."""

    def log_in(network: int, number: int) -> Response:
        body = json.dumps({"email": f"{network}-{number}@example.com", "pin": "271828"}).encode()
        source_ip = f"2001:db8:1:{network:x}::{number:x}"
        return gateway.call("POST", LOGIN, (("Content-Type", "application/json"),), body, source_ip=source_ip)

    remaining = [
        [log_in(network, number).header("X-RateLimit-Remaining") for number in range(8)] for network in range(6)
    ]
    assert remaining == [[str(left) for left in range(9, 1, -1)]] * 6
    last = [log_in(6, number) for number in range(3)]
    assert [response.status for response in last] == [401, 401, 429]
    assert [response.header("X-RateLimit-Remaining") for response in last] == ["1", "0", "0"]
    assert {response.header("X-RateLimit-Limit") for response in last} == {"10"}
    refused(last[-1], 429, "Too many requests")


def test_account_is_locked_after_five_wrong_pins(user: Client, anonymous: Client, clock: Clock) -> None:
    for _ in range(5):
        refused(try_pin(anonymous), 401)
    locked = try_pin(anonymous, "123456")
    refused(locked, 429)
    assert 0 < int(locked.header("Retry-After") or 0) <= 15 * 60
    clock.advance(15 * 60 - 30)
    refused(try_pin(anonymous, "123456"), 429)
    clock.advance(60)
    ok(try_pin(anonymous, "123456"))


def test_locked_login_reports_the_remaining_time(user: Client, anonymous: Client, clock: Clock) -> None:
    for _ in range(5):
        try_pin(anonymous)
    clock.advance(10 * 60)
    response = try_pin(anonymous, "123456")
    refused(response, 429)
    wait = int(response.header("Retry-After") or 0)
    assert wait <= 5 * 60
    clock.advance(wait + 1)
    ok(try_pin(anonymous, "123456"))


def test_email_spelling_does_not_avoid_the_lock(user: Client, anonymous: Client) -> None:
    for email in ("user@example.com", "User@Example.com", "USER@EXAMPLE.COM", " user@example.com", "uSER@example.com "):
        refused(try_pin(anonymous, email=email), 401)
    refused(try_pin(anonymous, "123456"), 429)


def test_correct_pin_resets_the_failed_attempts(user: Client, anonymous: Client, clock: Clock) -> None:
    for _ in range(2):
        for _ in range(4):
            refused(try_pin(anonymous), 401)
        ok(try_pin(anonymous, "123456"))
        clock.advance(60)


def test_locked_account_does_not_lock_other_accounts(
    user: Client, make_user: Callable[..., Client], anonymous: Client
) -> None:
    make_user("other@example.com", "Jane Roe", "654321")
    for _ in range(6):
        try_pin(anonymous)
    ok(try_pin(anonymous, "654321", "other@example.com"))


def test_unknown_email_gets_the_same_responses_lock_and_work(
    user: Client, anonymous: Client, fresh_minute: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = 0
    real = hashlib.scrypt

    def count_runs(*args: Any, **kwargs: Any) -> bytes:
        nonlocal runs
        runs += 1
        return real(*args, **kwargs)

    monkeypatch.setattr(hashlib, "scrypt", count_runs)

    def attempt_logins(email: str) -> list[tuple[Any, ...]]:
        outcomes = []
        for _ in range(7):
            before = runs
            response = try_pin(anonymous, email=email)
            body = {name: value for name, value in response.json().items() if name != "timestamp"}
            outcomes.append((response.status, body, runs - before, sorted(name for name, _ in response.headers)))
        fresh_minute.advance(60)
        return outcomes

    assert attempt_logins("user@example.com") == attempt_logins("nobody@example.com")


def test_login_that_cannot_be_counted_is_rejected(user: Client, anonymous: Client) -> None:
    for operation in ("UpdateItem", "GetItem"):
        with failing(operation, EndpointConnectionError(endpoint_url="https://example.com")):
            refused(try_pin(anonymous, "123456"), 503)


# Concurrent calls.


def at_once(calls: Sequence[Callable[[], Response]]) -> Counter[int]:
    """Send all calls from 50 threads that start together. Returns the number of responses by status."""
    ready = threading.Barrier(50)

    def work(share: Sequence[Callable[[], Response]]) -> list[int]:
        ready.wait()
        return [call().status for call in share]

    with ThreadPoolExecutor(50) as threads:
        return Counter(
            status for done in threads.map(work, [calls[start::50] for start in range(50)]) for status in done
        )


def test_fifty_concurrent_callers_never_exceed_the_limit(scenario: Scenario, agent: Agent, fresh_minute: Clock) -> None:
    body = {"email": "nobody@example.com", "pin": "123456"}
    assert at_once([agent.heartbeat] * 100) == {200: 10, 429: 90}
    assert at_once([lambda: scenario.user.get("/api/agents/nobody")] * 200) == {404: 100, 429: 100}
    logins = at_once([lambda: scenario.user.acting_as(None).post(LOGIN, body)] * 100)
    assert (logins[401], logins[429]) == (5, 95), (
        "an account has five guesses from all callers; an address has ten calls"
    )


# Rejections from memory.


def test_caller_over_a_limit_costs_no_request_until_the_window_resets(scenario: Scenario, fresh_minute: Clock) -> None:
    agent = scenario.agent()
    task_id = scenario.start_task(agent)
    nobody = itertools.count()
    calls: dict[str, tuple[int, Callable[[], Response]]] = {
        "a heartbeat": (10, agent.heartbeat),
        "a poll": (100, agent.poll),
        "a user": (100, lambda: scenario.user.get("/api/agents")),
        "a login": (10, lambda: try_pin(scenario.user.acting_as(None), email=f"{next(nobody)}@example.com")),
    }
    for what, (limit, call) in calls.items():
        with aws_requests.recorded() as sent:
            responses = [call() for _ in range(limit + 1)]
        assert responses[-1].status == 429
        assert list(sent), what
        with aws_requests.recorded() as sent:
            for _ in range(3):
                response = call()
                refused(response, 429, "Too many requests")
                assert response.header("X-RateLimit-Remaining") == "0"
                assert int(response.header("Retry-After") or 0) >= 1
        assert not list(sent), what
    fresh_minute.advance(60)
    for what, (_, call) in calls.items():
        assert call().status != 429, what
    ok(agent.complete(task_id))


def test_rejection_from_memory_applies_only_to_the_same_token(scenario: Scenario, fresh_minute: Clock) -> None:
    agent = scenario.agent()
    for _ in range(11):
        agent.heartbeat()
    refused(agent.heartbeat(), 429)
    renewed = ok(scenario.user.post(f"/api/agents/{agent.id}/token"), 201)["token"]
    new = Agent(agent.id, scenario.user.acting_as(renewed))
    refused(new.heartbeat(), 429)  # the count of the agent is older than this token
    fresh_minute.advance(60)
    ok(new.heartbeat())
    refused(agent.heartbeat(), 401, "Agent token expired or invalid")


# Counts that cannot be written.


@pytest.mark.parametrize("code", ["ProvisionedThroughputExceededException", "InternalServerError"])
def test_api_continues_when_counts_cannot_be_written(scenario: Scenario, agent: Agent, code: str) -> None:
    task_id = scenario.start_task(agent)
    invalid = scenario.user.acting_as("garbage")
    with failing("UpdateItem", ClientError({"Error": {"Code": code, "Message": "no"}}, "UpdateItem")):
        for _ in range(3):
            assert ok(scenario.user.get("/api/agents"))["total"] == 1
            assert ok(scenario.user.get(f"/api/tasks/{task_id}"))["status"] == "in_progress"
            assert ok(agent.client.get(f"/api/tasks/{task_id}"))["status"] == "in_progress"
            assert ok(agent.poll())["commands"] == []
        # A submission is counted before it is stored, so that no limit is exceeded.
        refused(scenario.user.post("/api/tasks", {"intent": "i", "repo": "r", "naturalLanguage": "n"}), 503)
        refused(invalid.get("/api/agents"), 401)
        refused(agent.client.get("/api/tasks"), 403)
        refused(agent.heartbeat(), 503)  # a heartbeat is only this write


def test_revoked_token_is_rejected_when_counts_cannot_be_written(scenario: Scenario, agent: Agent) -> None:
    ok(scenario.user.post(f"/api/agents/{agent.id}/token"), 201)
    ended = scenario.user.login()
    ok(ended.post("/api/auth/logout"))
    removed = scenario.agent("agent-2")
    ok(scenario.user.delete("/api/agents/agent-2"))
    with failing("UpdateItem", EndpointConnectionError(endpoint_url="https://example.com")):
        refused(agent.poll(), 401)
        refused(removed.poll(), 401)
        refused(agent.client.get("/api/tasks/task-1"), 401)
        refused(ended.get("/api/agents"), 401)


def test_caller_over_the_limit_stays_rejected_during_an_outage(scenario: Scenario, fresh_minute: Clock) -> None:
    for _ in range(100):
        scenario.user.get("/api/agents/nobody")
    with failing("UpdateItem", EndpointConnectionError(endpoint_url="https://example.com")):
        refused(scenario.user.get("/api/agents"), 429)


# The size of the counts.


def largest_item(table: str) -> int:
    """The size of the largest item of a table, in characters of its JSON."""
    return max(len(json.dumps(row, default=str)) for row in moto_aws.rows(table))


@pytest.mark.parametrize("table", ["users", "agents", "logins"])
def test_counts_of_past_minutes_do_not_accumulate(
    scenario: Scenario, agent: Agent, anonymous: Client, clock: Clock, table: str
) -> None:
    calls: dict[str, list[Callable[[], Response]]] = {
        "users": [lambda: scenario.user.post("/api/agents", {}), lambda: scenario.user.post("/api/tasks", {})],
        "agents": [agent.heartbeat, agent.poll, lambda: agent.client.get("/api/tasks/nothing")],
        "logins": [lambda: try_pin(anonymous, email="nobody@example.com")],
    }
    sizes = []
    for _ in range(18):
        clock.advance(299)
        for call in calls[table]:
            assert call().status in (200, 400, 401, 404, 429)
        sizes.append(largest_item(table))
    assert max(sizes[12:]) <= max(sizes[:12]), sizes
