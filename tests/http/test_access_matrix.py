"""Every route with every kind of token: which callers are admitted, and that a rejected call changes nothing.

The routes come from the app's own table. A new route needs an example of its body in `Routes.BODIES`, and an id for
each placeholder of its path here. Its access rule and its responses must match its declaration.
"""

import hmac
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import boto3
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from chalicelib.core import errors
from chalicelib.http import RouteSpec, status_for
from infra.local.gateway import Response
from tests.conftest import Clock
from tests.http.conftest import Routes
from tests.http.scenario import Agent, Scenario, ok, refused, snapshot
from tests.http.test_tokens import OTHER_KEY, VALID_HEADER, claims_of, encoded, signed
from tests.http.webhook_helpers import WebhookClient, create_webhook
from tests.support import moto_aws
from tests.support.client import Client

DAY = 24 * 3_600
USER_ROUTES = ("user", "session", "registration")
"""The kinds of routes that need the token of a user, or one that acts for a user. An agent's token gets 403."""


@dataclass(frozen=True)
class Stage:
    """Two users.

    john has agent-1, which runs task-1; agent-2; task-2, which has ended; another session; a personal token; a webhook
    with a delivery.
    jane has an agent.
    """

    john: Scenario
    jane: Scenario
    agent: Agent
    sibling: Agent
    janes: Agent
    session: str
    personal: dict[str, Any]
    webhook: WebhookClient
    delivery: str
    routes: Routes
    registration: dict[str, Any]
    """A registration token of john's."""

    @property
    def installer(self) -> Client:
        """A program that has the registration token only."""
        return self.john.user.acting_as(self.registration["token"])

    def call(self, route: RouteSpec, client: Client) -> Response:
        """Call the route with the ids of john's resources."""
        ids = {
            "agent_id": "agent-1",
            "task_id": "task-1",
            "session_id": self.session,
            "token_id": self.personal["id"],
            "webhook_id": self.webhook.id,
            "delivery_id": self.delivery,
            "registration_token_id": self.registration["registrationToken"]["id"],
        }
        if route.path.endswith("/retry"):
            ids["task_id"] = "task-2"  # this task has ended
        path = route.path.format(**ids)
        return client.send(route.method, path, self.routes.body(route.method, route.path))


@pytest.fixture
def stage(scenario: Scenario, other: Scenario, routes: Routes, fresh_minute: Clock) -> Stage:
    agent, sibling = scenario.agent(), scenario.agent("agent-2")
    scenario.start_task(agent)
    ok(agent.complete(scenario.start_task(agent, "task-2")))
    session = claims_of(scenario.log_in_again().token)["sid"]
    personal = ok(scenario.user.post("/api/auth/tokens", {"name": "a program"}), 201)
    janes = other.agent("janes")
    webhook = create_webhook(scenario.user, "http://localhost:9/")
    delivery = webhook.test()
    scenario.poller.drain()
    registration = ok(scenario.user.post("/api/agents/registration-tokens", {"uses": 9}), 201)
    fresh_minute.advance(60)  # the calls above must not count on the rate limits
    return Stage(scenario, other, agent, sibling, janes, session, personal, webhook, delivery, routes, registration)


def guarded(stage: Stage) -> list[RouteSpec]:
    """All routes that require a token."""
    return [stage.routes.declared[route] for route in stage.routes.guarded]


def test_every_route_accepts_its_example_body(routes: Routes) -> None:
    for route in routes.declared.values():
        if route.body is not None:
            route.body.model_validate(routes.body(route.method, route.path), strict=True)


def test_permitted_caller_gets_the_declared_status(stage: Stage) -> None:
    """Without this test, the tests of rejected callers would prove nothing."""
    program = stage.john.user.acting_as(stage.personal["token"])
    permitted: dict[str, list[Client]] = {
        "user": [stage.john.user, program],
        "session": [stage.john.user],
        "registration": [stage.john.user, program, stage.installer],
        "agent": [stage.john.user, program, stage.agent.client],
        "authenticated": [stage.john.user, program, stage.agent.client],
    }
    before = moto_aws.Snapshot()
    for route in guarded(stage):
        for client in permitted[route.access]:
            response = stage.call(route, client)
            assert response.status == route.status, (route.method, route.path, response)
            before.restore()


# Invalid tokens: 401 on every route.


def invalid_tokens(user: Client, agent: Client, kind: str) -> list[str | None]:
    """Invalid tokens of one kind, made from valid ones."""
    secret = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = secret.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    tokens: list[str | None] = []
    for valid in (user.token or "", agent.token or ""):
        claims = claims_of(valid)
        header, payload, _ = valid.split(".")
        each: dict[str, list[str | None]] = {
            "no token": [None],
            "garbage": ["garbage", valid[:-1], f"{valid}.{valid}", payload],
            "expired": [signed(VALID_HEADER, claims | {"exp": claims["iat"] - 60})],
            "wrong signature": [signed(VALID_HEADER, claims, OTHER_KEY), f"{header}.{payload}.{encoded(b'x' * 32)}"],
            "alg none": [f"{encoded(VALID_HEADER | {'alg': alg})}.{encoded(claims)}." for alg in ("none", "NONE")],
            "RS and HS confused": [
                jwt.encode(claims, secret, algorithm="RS256", headers={"kid": VALID_HEADER["kid"]}),
                _signed_with(public, VALID_HEADER, claims),
                _signed_with(public, VALID_HEADER | {"alg": "RS256"}, claims),
                signed(VALID_HEADER | {"alg": "RS256"}, claims),
            ],
            "wrong audience": [signed(VALID_HEADER, claims | {"aud": aud}) for aud in ("devflow-prod", ["x"], "")],
        }
        tokens += each[kind]
    return tokens


def _signed_with(key: bytes, header: dict[str, Any], claims: dict[str, Any]) -> str:
    """An HS256 token signed with a public key. A library that confuses RS256 and HS256 would accept it."""
    text = f"{encoded(header)}.{encoded(claims)}"
    return f"{text}.{encoded(hmac.digest(key, text.encode(), 'sha256'))}"


KINDS = ["no token", "garbage", "expired", "wrong signature", "alg none", "RS and HS confused", "wrong audience"]


@pytest.mark.parametrize("kind", KINDS)
def test_invalid_token_returns_401_on_every_route(stage: Stage, kind: str) -> None:
    before = snapshot()
    for token in invalid_tokens(stage.john.user, stage.agent.client, kind):
        for route in guarded(stage):
            _unauthenticated(stage.call(route, stage.john.user.acting_as(token)), route)
    assert snapshot() == before


def _unauthenticated(response: Response, route: RouteSpec) -> None:
    assert response.status == 401, (route.method, route.path, response)
    own_title = errors.AgentTokenInvalid in route.raises
    refused(response, 401, (errors.AgentTokenInvalid if own_title else errors.Unauthenticated).title)


def _rotate(stage: Stage) -> Client:
    ok(stage.john.user.post("/api/agents/agent-1/token"), 201)
    return stage.agent.client


def _rotate_before_first_use(stage: Stage) -> Client:
    """The agent has renewed its token and not used the new one, when the user revokes the tokens of the agent."""
    renewed = ok(stage.agent.client.post("/api/agents/agent-1/token"), 201)["token"]
    ok(stage.john.user.post("/api/agents/agent-1/token"), 201)
    return stage.agent.client.acting_as(renewed)


def _replace(stage: Stage) -> Client:
    """The user registers the agent again. Its renewed token was in use."""
    renewed = stage.agent.client.acting_as(ok(stage.agent.client.post("/api/agents/agent-1/token"), 201)["token"])
    ok(renewed.post("/api/agents/agent-1/heartbeat"))
    body = {"agentId": "agent-1", "name": "n", "version": "1", "replace": True}
    ok(stage.john.user.post("/api/agents", body), 201)
    return renewed


def _renew_again(stage: Stage) -> Client:
    """The agent has renewed its token twice, and the first new token was never used."""
    renewed = ok(stage.agent.client.post("/api/agents/agent-1/token"), 201)["token"]
    ok(stage.agent.client.post("/api/agents/agent-1/token"), 201)
    return stage.agent.client.acting_as(renewed)


def _remove(stage: Stage) -> Client:
    ok(stage.john.user.delete("/api/agents/agent-2"))
    return stage.sibling.client


def _log_out(stage: Stage) -> Client:
    ok(stage.john.user.post("/api/auth/logout"))
    return stage.john.user


def _log_out_everywhere(stage: Stage) -> Client:
    ok(stage.john.user.login().post("/api/auth/logout", {"everywhere": True}))
    return stage.john.user


def _revoke(stage: Stage) -> Client:
    ok(stage.john.user.delete(f"/api/auth/tokens/{stage.personal['id']}"))
    return stage.john.user.acting_as(stage.personal["token"])


def _delete_user(stage: Stage) -> Client:
    owner = claims_of(stage.john.user.token)["own"]
    boto3.client("dynamodb").delete_item(TableName="devflow-local-users", Key={"owner": {"S": owner}})
    return stage.john.user


@pytest.mark.parametrize("revoked", [_log_out, _log_out_everywhere, _revoke, _delete_user])
def test_revoked_user_token_returns_401_on_every_route(stage: Stage, revoked: Callable[[Stage], Client]) -> None:
    client = revoked(stage)
    before = snapshot()
    for route in guarded(stage):
        response = stage.call(route, client)
        if route.access == "session" and revoked is _revoke:
            refused(response, 403)  # a personal token is never sufficient here, so its row is not read
        else:
            _unauthenticated(response, route)
    assert snapshot() == before


@pytest.mark.parametrize("revoked", [_rotate, _rotate_before_first_use, _replace, _renew_again, _remove])
def test_revoked_agent_token_is_rejected_on_every_route(stage: Stage, revoked: Callable[[Stage], Client]) -> None:
    client = revoked(stage)
    agent = claims_of(client.token)["sub"]
    before = snapshot()
    for route in guarded(stage):
        response = stage.call(route, client)
        if route.access in USER_ROUTES:
            refused(response, 403)  # this kind of token is rejected before it is verified
        elif route.access == "agent" and agent != "agent-1":
            refused(response, 404, "Agent not found")
        else:
            _unauthenticated(response, route)
    assert snapshot() == before


def test_lapsed_agent_token_is_rejected_on_every_route(stage: Stage, clock: Clock) -> None:
    """The agent has renewed its token, and has not used the new one for an hour."""
    renewed = stage.agent.client.acting_as(ok(stage.agent.client.post("/api/agents/agent-1/token"), 201)["token"])
    clock.advance(3_601)
    before = snapshot()
    for route in guarded(stage):
        response = stage.call(route, renewed)
        if route.access in USER_ROUTES:
            refused(response, 403)
        else:
            _unauthenticated(response, route)
    assert snapshot() == before
    ok(stage.agent.heartbeat())


# Valid tokens on routes that do not admit them.


def test_agent_token_returns_403_on_every_user_route(stage: Stage) -> None:
    before = snapshot()
    for route in guarded(stage):
        if route.access in USER_ROUTES:
            refused(stage.call(route, stage.agent.client), 403, "Insufficient permissions")
    assert snapshot() == before


def test_registration_token_returns_403_on_every_other_route(stage: Stage) -> None:
    before = snapshot()
    for route in guarded(stage):
        if route.access != "registration":
            refused(stage.call(route, stage.installer), 403, "Insufficient permissions")
    assert snapshot() == before


def _revoke_registration(stage: Stage) -> None:
    ok(stage.john.user.delete(f"/api/agents/registration-tokens/{stage.registration['registrationToken']['id']}"))


@pytest.mark.parametrize("revoke", [_revoke_registration, _log_out_everywhere, _delete_user])
def test_revoked_registration_token_changes_nothing(stage: Stage, revoke: Callable[[Stage], Any]) -> None:
    revoke(stage)
    before = snapshot()
    for route in guarded(stage):
        refused(stage.call(route, stage.installer), 401 if route.access == "registration" else 403)
    assert snapshot() == before


def test_personal_token_returns_403_on_every_session_route(stage: Stage) -> None:
    before = snapshot()
    for route in guarded(stage):
        if route.access == "session":
            response = stage.call(route, stage.john.user.acting_as(stage.personal["token"]))
            refused(response, 403, "Insufficient permissions")
    assert snapshot() == before


def test_agent_cannot_reach_another_agent_of_the_same_user(stage: Stage) -> None:
    before = snapshot()
    for route in guarded(stage):
        if "{" not in route.path:
            continue  # the path names no resource of another agent
        response = stage.call(route, stage.sibling.client)
        if route.access in USER_ROUTES:
            refused(response, 403)
        elif route.access == "agent":
            refused(response, 404, "Agent not found")
        elif route.method == "GET":
            refused(response, 404, "Task not found")
        else:  # a report on a task of another agent changes nothing
            refused(response, 409)
    assert snapshot() == before


@pytest.mark.parametrize("whose", ["user", "agent"])
def test_resources_of_another_user_return_404_on_every_route(stage: Stage, whose: str) -> None:
    client = stage.jane.user if whose == "user" else stage.janes.client
    before = snapshot()
    for route in guarded(stage):
        if "{" not in route.path:
            continue
        response = stage.call(route, client)
        if whose == "agent" and route.access in USER_ROUTES:
            refused(response, 403)
        else:
            refused(response, 404)
            assert response.json()["error"] in {error.title for error in route.raises if status_for(error) == 404}
    assert snapshot() == before


def test_routes_without_ids_affect_only_the_callers_own_data(stage: Stage) -> None:
    owner = claims_of(stage.john.user.token)["own"]

    def rows_of_john() -> dict[str, list[str]]:
        return {table: sorted(row for row in rows if owner in row) for table, rows in snapshot().items()}

    before = rows_of_john()
    own = {
        owner,
        "agent-1",
        "agent-2",
        "task-1",
        "task-2",
        stage.personal["id"],
        stage.session,
        "user@example.com",
        "John Doe",
    }
    for route in guarded(stage):
        if "{" in route.path:
            continue
        for client in (stage.jane.user, stage.janes.client):
            response = stage.call(route, client)
            assert response.status in (route.status, 401, 403), (route.path, response)  # 401 after jane logged out
            body = response.body.decode().replace("taskId", "")
            assert not [name for name in own if f'"{name}"' in body], (route.path, response)
    assert rows_of_john() == before


# The headers of the rate limit.


def quota(response: Response) -> tuple[str | None, ...]:
    return tuple(response.header(f"X-RateLimit-{name}") for name in ("Limit", "Remaining", "Reset"))


def test_every_response_to_a_known_caller_has_the_headers_of_a_rate_limit(stage: Stage, clock: Clock) -> None:
    """Also 403 and 404. A 401 has none: its caller is not known."""
    program = stage.john.user.acting_as(stage.personal["token"])
    clients = {
        "user": stage.john.user, "program": program, "agent": stage.agent.client, "sibling": stage.sibling.client,
        "another user": stage.jane.user, "another agent": stage.janes.client,
    }  # fmt: skip
    before = moto_aws.Snapshot()
    statuses = set()
    for route in guarded(stage):
        limits = {str(rate_limit.limit) for rate_limit in route.rate_limits}
        for who, client in clients.items():
            response = stage.call(route, client)
            statuses.add(response.status)
            limit, remaining, reset = quota(response)
            assert limit in limits, (route.method, route.path, who, response)
            assert 0 <= int(remaining or -1) <= int(limit or 0), (route.method, route.path, who, response)
            assert reset == str((clock.now // 60_000 + 1) * 60)
            before.restore()
        refused(response := stage.call(route, stage.john.user.acting_as("garbage")), 401)
        assert quota(response) == (None, None, None), (route.method, route.path, response)
    assert {403, 404, 409} <= statuses


def test_call_that_is_rejected_for_its_caller_is_not_counted(stage: Stage) -> None:
    """Its headers have the quota that the caller has left, as far as this instance of the function knows."""
    program = stage.john.user.acting_as(stage.personal["token"])
    sibling = stage.sibling
    rejected: list[tuple[Callable[[], Response], Callable[[], Response], int]] = [
        (lambda: program.get("/api/auth/me"), lambda: program.get("/api/auth/tokens"), 100),
        (sibling.poll, lambda: Agent("agent-1", sibling.client).poll(), 100),
        (sibling.heartbeat, lambda: Agent("agent-1", sibling.client).heartbeat(), 10),
    ]
    for counted, reject, limit in rejected:
        assert quota(reject())[:2] == (str(limit), str(limit))
        assert quota(counted())[:2] == (str(limit), str(limit - 1))
        for _ in range(3):
            assert quota(reject())[:2] == (str(limit), str(limit - 1))
        assert quota(counted())[:2] == (str(limit), str(limit - 2))
    assert quota(sibling.client.get("/api/agents"))[:2] == ("100", "100"), "this limit counts users"
    assert quota(stage.john.user.get("/api/agents"))[:2] == ("100", "99")
    assert quota(sibling.client.get("/api/agents"))[:2] == ("100", "100")


# Public routes.


def test_public_route_ignores_tokens(stage: Stage) -> None:
    valid = stage.john.user.token or ""
    for route in stage.routes.declared.values():
        if route.access != "public":
            continue
        path = stage.routes.path(route.path)
        statuses = set()
        for token in (
            None,
            "garbage",
            signed(VALID_HEADER, claims_of(valid), OTHER_KEY),
            valid,
            stage.agent.client.token,
        ):
            response = stage.john.user.acting_as(token).send(
                route.method, path, stage.routes.body(route.method, route.path)
            )
            statuses.add(response.status)
        assert len(statuses) == 1, (route.path, statuses)
