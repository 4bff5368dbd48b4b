"""Registration tokens: a machine registers agents of a user with one, within its limits, and can do nothing else."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import boto3
import pytest

from chalicelib.auth.rules import MAX_REGISTRATION_TOKENS
from infra.local.gateway import Gateway, Response
from tests.conftest import Clock
from tests.http.scenario import Agent, Scenario, epoch, ok, refused, snapshot
from tests.http.test_tokens import claims_of
from tests.support import moto_aws
from tests.support.client import Client

PATH = "/api/agents/registration-tokens"
HOUR, DAY = 3_600, 24 * 3_600


def create(client: Client, **body: Any) -> dict[str, Any]:
    created: dict[str, Any] = ok(client.post(PATH, body), 201)
    return created


def machine(user: Client, **body: Any) -> Client:
    """A machine that has a new registration token, and no other token."""
    return user.acting_as(create(user, **body)["token"])


def listed(client: Client) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = ok(client.get(PATH))["data"]
    return found


def register(client: Client, agent_id: str = "machine-1", key: str | None = None, **more: Any) -> Response:
    headers = {} if key is None else {"Idempotency_Key": key}
    return client.post("/api/agents", {"agentId": agent_id, "name": "n", "version": "1"} | more, **headers)


def registered(client: Client, response: Response) -> Agent:
    body = ok(response, 201)
    return Agent(body["agent"]["id"], client.acting_as(body["token"]))


# Creating, listing and removing them.


def test_token_is_returned_only_at_creation(user: Client) -> None:
    body = create(user, uses=3, expiresInSeconds=600, capabilities=["fix-bug"], repos=["github.com/acme/*"])
    assert set(body) == {"registrationToken", "token"}
    described = body["registrationToken"]
    assert set(described) == {"id", "uses", "used", "expiresAt", "capabilities", "repos", "createdAt"}
    assert (described["uses"], described["used"]) == (3, 0)
    assert (described["capabilities"], described["repos"]) == (["fix-bug"], ["github.com/acme/*"])
    assert epoch(described["expiresAt"]) - epoch(described["createdAt"]) == 600
    assert listed(user) == [described]
    stored = str([moto_aws.rows(table) for table in ("users", "credentials", "logins", "agents")])
    signature = body["token"].rpartition(".")[2]
    assert body["token"] not in stored
    assert signature not in stored


def test_token_without_options_registers_one_agent_within_an_hour(user: Client) -> None:
    described = create(user)["registrationToken"]
    assert (described["uses"], described["capabilities"], described["repos"]) == (1, None, None)
    assert epoch(described["expiresAt"]) - epoch(described["createdAt"]) == HOUR


@pytest.mark.parametrize(
    "body",
    [
        {"uses": 0}, {"uses": 1_001}, {"uses": "x"}, {"uses": None}, {"expiresInSeconds": 59},
        {"expiresInSeconds": 30 * DAY + 1}, {"capabilities": ["not valid"]}, {"capabilities": ["a"] * 33},
        {"repos": ["https://user:secret@github.com/acme/*"]}, {"repos": "*"},
    ],
    ids=str,
)  # fmt: skip
def test_token_outside_the_limits_is_rejected(user: Client, body: dict[str, Any]) -> None:
    refused(user.post(PATH, body), 400)
    assert listed(user) == []


def test_tokens_are_listed_newest_first_in_pages(user: Client, clock: Clock) -> None:
    created = []
    for uses in (1, 2, 3):
        created.append(create(user, uses=uses)["registrationToken"])
        clock.advance(1)
    page = ok(user.get(PATH, {"limit": 2}))
    assert (page["data"], page["hasMore"], page["total"]) == (created[:0:-1], True, 3)
    assert ok(user.get(PATH, {"cursor": page["nextCursor"]}))["data"] == created[:1]


def test_number_of_tokens_is_limited(user: Client, monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    monkeypatch.setattr("chalicelib.auth.rules.MAX_REGISTRATION_TOKENS", 2)
    assert MAX_REGISTRATION_TOKENS == 100
    create(user, expiresInSeconds=60)
    create(user)
    refused(user.post(PATH, {}), 409)
    clock.advance(61)
    create(user)


def test_repeated_creation_replaces_the_token_whose_response_was_lost(user: Client) -> None:
    lost, token = (ok(user.post(PATH, {"uses": 2}, Idempotency_Key="k"), 201) for _ in range(2))
    assert listed(user) == [token["registrationToken"]]
    refused(register(user.acting_as(lost["token"])), 401)
    ok(register(user.acting_as(token["token"])), 201)
    refused(user.post(PATH, {"uses": 3}, Idempotency_Key="k"), 409)


def test_tokens_of_another_user_are_neither_listed_nor_removed(scenario: Scenario, other: Scenario) -> None:
    token_id = create(scenario.user)["registrationToken"]["id"]
    assert listed(other.user) == []
    refused(other.user.delete(f"{PATH}/{token_id}"), 404, "Registration token not found")
    assert len(listed(scenario.user)) == 1


# Registering.


def test_machine_registers_an_agent_of_the_user_and_works_with_its_token(scenario: Scenario) -> None:
    owner = claims_of(scenario.user.token)["own"]
    installer = machine(scenario.user)
    body = ok(register(installer, capabilities=["fix-bug"]), 201)
    assert body["agent"]["userId"] == owner
    agent = Agent("machine-1", installer.acting_as(body["token"]))
    scenario.start_task(agent)
    assert [each["id"] for each in ok(scenario.user.get("/api/agents"))["data"]] == ["machine-1"]
    assert [each["used"] for each in listed(scenario.user)] == [1]


def test_used_up_token_registers_nothing_more(user: Client) -> None:
    installer = machine(user, uses=2)
    for number in (1, 2):
        ok(register(installer, f"machine-{number}"), 201)
    before = snapshot()
    assert "as many agents" in refused(register(installer, "machine-3"), 403)["message"]
    assert snapshot() == before
    ok(register(user, "machine-3"), 201)


def test_parallel_registrations_never_exceed_the_uses(user: Client, gateway: Gateway) -> None:
    token = create(user, uses=5)["token"]

    def attempt(number: int) -> int:
        body = f'{{"agentId": "machine-{number}", "name": "n", "version": "1"}}'.encode()
        headers = (("Content-Type", "application/json"), ("Authorization", f"Bearer {token}"))
        return gateway.call("POST", "/api/agents", headers, body, source_ip=f"192.0.2.{number}").status

    with ThreadPoolExecutor(16) as pool:
        statuses = list(pool.map(attempt, range(32)))
    assert sorted(statuses) == [201] * 5 + [403] * 27
    assert ok(user.get("/api/agents"))["total"] == 5
    assert [each["used"] for each in listed(user)] == [5]


def test_repeated_registration_does_not_use_the_token_twice(user: Client) -> None:
    installer = machine(user)
    lost = registered(installer, register(installer, key="k"))
    again = registered(installer, register(installer, key="k"))
    refused(lost.heartbeat(), 401)
    ok(again.heartbeat())
    assert [each["used"] for each in listed(user)] == [1]
    refused(register(installer, key="another"), 409)


def test_another_registration_token_cannot_repeat_a_registration(user: Client) -> None:
    """Whoever has another token, and knows the key and the body, does not get the agent."""
    agent = registered(user, register(machine(user), key="k"))
    refused(register(machine(user), key="k"), 409)
    refused(register(user, key="k"), 409)
    ok(agent.heartbeat())


def test_registration_token_replaces_no_agent(user: Client) -> None:
    agent = registered(user, register(user))
    installer = machine(user)
    assert "cannot replace" in refused(register(installer, replace=True), 409)["message"]
    refused(register(installer), 409)
    ok(agent.heartbeat())
    assert [each["used"] for each in listed(user)] == [0]
    ok(register(installer, "machine-2", replace=True), 201)


def test_agent_that_is_being_removed_is_registered_after_its_removal(scenario: Scenario) -> None:
    user, installer = scenario.user, machine(scenario.user, uses=2)
    registered(user, register(installer))
    scenario.poller.drain()
    ok(user.delete("/api/agents/machine-1"))
    response = register(installer)
    if response.status == 503:  # its row was still there, and this call has deleted it
        response = register(installer)
    ok(response, 201)
    assert [each["used"] for each in listed(user)] == [2]


def test_reserved_id_is_rejected(user: Client) -> None:
    refused(register(user, "registration-tokens"), 400)


# What limits an agent.


def test_agent_gets_at_most_the_capabilities_of_the_token(user: Client) -> None:
    installer = machine(user, uses=3, capabilities=["fix-bug", "explain"])
    before = snapshot()
    assert "'feature'" in refused(register(installer, capabilities=["fix-bug", "feature"]), 403)["message"]
    assert snapshot() == before
    assert ok(register(installer, "all"), 201)["agent"]["capabilities"] == ["fix-bug", "explain"]
    assert ok(register(installer, "one", capabilities=["explain"]), 201)["agent"]["capabilities"] == ["explain"]
    assert ok(register(installer, "none", capabilities=[]), 201)["agent"]["capabilities"] == []


def test_agent_cannot_extend_its_capabilities_later(user: Client) -> None:
    installer = machine(user, capabilities=["fix-bug", "explain"])
    agent = registered(installer, register(installer, capabilities=["fix-bug"]))
    refused(agent.heartbeat(capabilities=["fix-bug", "feature"]), 403)
    assert ok(user.get("/api/agents/machine-1"))["capabilities"] == ["fix-bug"]
    for allowed in (["explain"], ["fix-bug", "explain"], []):
        ok(agent.heartbeat(capabilities=allowed))
        assert ok(user.get("/api/agents/machine-1"))["capabilities"] == allowed
    ok(user.post("/api/agents/machine-1/heartbeat", {"capabilities": ["feature"]}))
    assert ok(user.get("/api/agents/machine-1"))["capabilities"] == ["feature"], "its user may"


def test_agent_gets_at_most_the_repositories_of_the_token(scenario: Scenario) -> None:
    patterns = ["https://github.com/acme/*", "github.com/other/web"]
    installer = machine(scenario.user, uses=3, repos=patterns)
    before = snapshot()
    for wider in (["*"], [*patterns, "github.com/acme/web"]):
        assert "patterns of repositories" in refused(register(installer, repos=wider), 403)["message"]
    assert snapshot() == before
    agent = registered(installer, register(installer))
    assert ok(register(installer, "absent", repos=None), 201)["agent"]["repos"] == patterns
    assert ok(register(installer, "one", repos=patterns[:1]), 201)["agent"]["repos"] == patterns[:1]
    assert ok(scenario.user.get("/api/agents/machine-1"))["repos"] == patterns
    for task_id, repo in (("foreign", "https://github.com/evil/web"), ("own", "https://github.com/acme/web")):
        scenario.submit(task_id, repo=repo)
    scenario.poller.drain()
    assert agent.claims() == ["own"]
    refused(agent.client.patch("/api/agents/machine-1", {"repos": None}), 403)


def test_token_with_an_empty_list_of_repositories_is_refused(user: Client) -> None:
    refused(user.post("/api/agents/registration-tokens", {"repos": []}), 400)
    assert listed(user) == []


def test_agent_without_a_limit_chooses_its_capabilities(user: Client) -> None:
    installer = machine(user)
    agent = registered(installer, register(installer))
    ok(agent.heartbeat(capabilities=["anything"]))


def test_agent_that_its_user_replaces_is_not_limited_any_more(user: Client) -> None:
    installer = machine(user, capabilities=["fix-bug"])
    registered(installer, register(installer))
    agent = registered(user, register(user, replace=True))
    ok(agent.heartbeat(capabilities=["feature"]))


# When a token ends.


def _revoke(user: Client, token_id: str, clock: Clock) -> None:
    ok(user.delete(f"{PATH}/{token_id}"))
    refused(user.delete(f"{PATH}/{token_id}"), 404)


def _log_out_everywhere(user: Client, token_id: str, clock: Clock) -> None:
    ok(user.post("/api/auth/logout", {"everywhere": True}))


def _remove_user(user: Client, token_id: str, clock: Clock) -> None:
    key = {"owner": {"S": claims_of(user.token)["own"]}}
    boto3.client("dynamodb").delete_item(TableName="devflow-local-users", Key=key)


def _expire(user: Client, token_id: str, clock: Clock) -> None:
    clock.advance(HOUR + 31)


def _expire_before_the_token(user: Client, token_id: str, clock: Clock) -> None:
    """The signed token has a leeway of 30 s; the row has none."""
    clock.advance(HOUR + 1)


@pytest.mark.parametrize("end", [_revoke, _log_out_everywhere, _remove_user, _expire, _expire_before_the_token])
def test_ended_token_registers_nothing(user: Client, clock: Clock, end: Any) -> None:
    created = create(user, uses=2)
    installer = user.acting_as(created["token"])
    ok(register(installer), 201)
    end(user, created["registrationToken"]["id"], clock)
    before = snapshot()
    for agent_id in ("machine-1", "machine-2"):
        refused(register(installer, agent_id), 401, "Invalid or expired token")
    assert snapshot() == before


def test_agents_outlive_the_token_that_registered_them(user: Client, clock: Clock) -> None:
    created = create(user)
    installer = user.acting_as(created["token"])
    agent = registered(installer, register(installer))
    ok(user.delete(f"{PATH}/{created['registrationToken']['id']}"))
    ok(agent.heartbeat())


def test_expired_token_is_not_listed_although_its_row_is_there(user: Client, clock: Clock) -> None:
    create(user)
    clock.advance(HOUR + 1)
    assert listed(user) == []
    (row,) = [row for row in moto_aws.rows("credentials") if row["sk"]["S"].startswith("R#")]
    assert int(row["expiresAt"]["N"]) < clock.now / 1_000, "DynamoDB deletes it some time after this"


# Rate limits.


def test_calls_of_a_token_are_limited(user: Client, gateway: Gateway, fresh_minute: Clock) -> None:
    token = create(user, uses=1_000)["token"]

    def attempt(number: int, with_token: str = token) -> Response:
        headers = (("Content-Type", "application/json"), ("Authorization", f"Bearer {with_token}"))
        return gateway.call("POST", "/api/agents", headers, b"{}", source_ip=f"198.51.{number}.1")

    assert {attempt(number).status for number in range(100)} == {400}
    response = attempt(100)
    refused(response, 429)
    assert response.header("X-RateLimit-Limit") == "100"
    assert attempt(101, create(user)["token"]).status == 400, "another token is not limited"
    fresh_minute.advance(60)
    assert attempt(102).status == 400


def test_registrations_from_a_network_address_are_limited(user: Client, fresh_minute: Clock) -> None:
    """Also those with many tokens."""
    tokens = [create(user, uses=1_000)["token"] for _ in range(3)]
    statuses = [user.acting_as(tokens[number % 3]).post("/api/agents", {}).status for number in range(101)]
    assert statuses == [400] * 100 + [429]
    refused(user.post("/api/agents", {}), 400)
