"""Invalid tokens of every variety on every route, and the lifetime of tokens.

test_access_matrix.py has one invalid token of each kind.
"""

import base64
import hmac
import json
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import boto3
import jwt
import pytest

from chalicelib.auth import keys
from chalicelib.core.settings import settings
from tests.conftest import Clock
from tests.http.conftest import Routes
from tests.http.scenario import Agent, Scenario, ok, refused, snapshot
from tests.support import aws_requests
from tests.support.client import Client
from tests.support.environment import KEY

DAY = 24 * 3_600
OTHER_KEY = b"another key, which is as long as a key has to be"
AGENT_ROUTES = {"/api/agents/{agent_id}/commands", "/api/agents/{agent_id}/heartbeat"}


def claims_of(token: str | None) -> dict[str, Any]:
    claims: dict[str, Any] = jwt.decode(token or "", options={"verify_signature": False})
    return claims


def encoded(part: object) -> str:
    raw = part if isinstance(part, bytes) else json.dumps(part).encode()
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def signed(header: object, claims: object, key: bytes = KEY) -> str:
    """A token of three parts, signed with HMAC-SHA256 independently of its header."""
    text = f"{encoded(header)}.{encoded(claims)}"
    return f"{text}.{encoded(hmac.digest(key, text.encode(), 'sha256'))}"


VALID_HEADER = {"alg": "HS256", "typ": "JWT", "kid": "key-test"}


def forged_headers(claims: dict[str, Any], valid: str) -> Iterator[tuple[str, str]]:
    """Tokens with valid claims and an invalid header or signature, by description."""
    alg: Any
    for alg in ["none", "None", "NONE", "nOnE", ""]:
        unsigned = f"{encoded(VALID_HEADER | {'alg': alg})}.{encoded(claims)}"
        yield f"alg {alg!r} without a signature", f"{unsigned}."
        yield f"alg {alg!r} with the valid signature", f"{unsigned}.{valid.rpartition('.')[2]}"
    for alg in ["RS256", "ES256", "HS384", "HS512", "PS256", "hs256", None, 256, ["HS256"]]:
        yield f"alg {alg!r} over an HMAC", signed(VALID_HEADER | {"alg": alg}, claims)
    yield (
        "HS512 with a valid signature",
        jwt.encode(claims, KEY.ljust(64, b"."), algorithm="HS512", headers={"kid": "key-test"}),
    )
    yield "a key of another stage", signed(VALID_HEADER, claims, OTHER_KEY)
    yield "an empty key", signed(VALID_HEADER, claims, b"")
    own_key = {"kty": "oct", "k": encoded(OTHER_KEY)}
    yield "a key in the header", signed(VALID_HEADER | {"jwk": own_key}, claims, OTHER_KEY)
    yield "a URL of a key in the header", signed(VALID_HEADER | {"jku": "http://127.0.0.1:9/"}, claims, OTHER_KEY)
    yield "no kid", signed({"alg": "HS256"}, claims)
    for kid in ("unknown", "", "../../dev/null", "key-test\0", "KEY-TEST", "current", None, 1, ["key-test"], True):
        yield f"kid {kid!r}", signed(VALID_HEADER | {"kid": kid}, claims)
    yield "an unknown critical extension", signed(VALID_HEADER | {"crit": ["exp2"], "exp2": 1}, claims)
    yield "a header that is a list", signed([VALID_HEADER], claims)
    yield "a header that is no JSON", signed(b"{", claims)
    yield "a header that is no text", signed(b"\xff\xfe", claims)
    yield "a header nested 2,900 deep", f"{encoded(b'[' * 2_900)}.e30.x"


def malformed(valid: str) -> Iterator[tuple[str, str]]:
    """Malformed tokens that were made from a valid one, by description."""
    header, payload, signature = valid.split(".")
    changed = encoded(claims_of(valid) | {"own": "user-1", "sub": "user-1"})
    yield "changed claims under the old signature", f"{header}.{changed}.{signature}"
    yield "no signature", f"{header}.{payload}."
    yield "half a signature", f"{header}.{payload}.{signature[:20]}"
    yield "two parts", f"{header}.{payload}"
    yield "four parts", f"{valid}.{signature}"
    yield "one part", "garbage"
    yield "dots", "..."
    yield "too long", valid + "x" * 5_000
    yield "100 KB", "x" * 100_000
    yield "NUL", valid + "\0"
    yield "not ASCII", "é" + valid
    yield "emoji", "🔑.🔑.🔑"
    yield "in quotes", f'"{valid}"'
    yield "two of them", f"{valid} {valid}"
    yield "empty", ""


WRONG_CLAIMS: list[tuple[str, dict[str, Any]]] = [
    ("another audience", {"aud": "devflow-prod"}),
    ("no audience", {"aud": None}),
    ("another issuer", {"iss": "evil"}),
    ("no issuer", {"iss": None}),
    ("no expiry", {"exp": None}),
    ("an expiry that is a word", {"exp": "never"}),
    ("an expiry that is a list", {"exp": [1]}),
    ("expired in 1970", {"exp": 1}),
    ("expired before 1970", {"exp": -1}),
    ("no time of issue", {"iat": None}),
    ("no subject", {"sub": None}),
    ("a subject that is a number", {"sub": 5}),
    ("no owner", {"own": None}),
    ("no kind", {"typ": None}),
    ("an unknown kind", {"typ": "admin"}),
    ("a kind that is a list", {"typ": ["user"]}),
    ("no version", {"ver": None}),
    ("no id of its own", {"jti": None}),
]


def wrong_claims(claims: dict[str, Any], valid: str) -> Iterator[tuple[str, str]]:
    """Tokens with a valid signature and invalid claims, by description."""
    for what, change in WRONG_CLAIMS:
        changed = {name: value for name, value in (claims | change).items() if value is not None}
        yield what, signed(VALID_HEADER, changed)
    yield "claims that are a list", signed(VALID_HEADER, [claims])
    yield "claims that are no JSON", signed(VALID_HEADER, b"{")
    yield "claims nested 2,800 deep", signed(VALID_HEADER, b"[" * 2_800)


def refused_everywhere(client: Client, routes: Routes, what: str) -> None:
    """Assert that every guarded route returns 401 with its title of the specification, and changes nothing."""
    before = snapshot()
    for method, resource in routes.guarded:
        response = client.send(method, routes.path(resource), None if method == "GET" else {})
        title = "Agent token expired or invalid" if resource in AGENT_ROUTES else "Invalid or expired token"
        assert (response.status, response.json().get("error")) == (401, title), (what, method, resource, response)
        refused(response, 401)
        assert response.header("WWW-Authenticate") is None, "API Gateway renames it"
    assert snapshot() == before


@pytest.mark.parametrize("forge", [forged_headers, wrong_claims])
@pytest.mark.parametrize("kind", ["user", "agent"])
def test_forged_token_returns_401_on_every_route(
    scenario: Scenario, agent: Agent, routes: Routes, kind: str, forge: Callable[..., Iterator[tuple[str, str]]]
) -> None:
    scenario.start_task(agent)
    valid = (scenario.user if kind == "user" else agent.client).token or ""
    for what, token in forge(claims_of(valid), valid):
        refused_everywhere(scenario.user.acting_as(token), routes, what)


def test_malformed_token_returns_401_on_every_route(scenario: Scenario, agent: Agent, routes: Routes) -> None:
    scenario.start_task(agent)
    for what, token in malformed(agent.client.token or ""):
        refused_everywhere(agent.client.acting_as(token), routes, what)


@pytest.mark.parametrize("authorization", ["", "Bearer", "Bearer ", "Basic dXNlcjpwYXNz", "Token {}", "{}", "Bearer{}"])
def test_missing_bearer_token_returns_401_on_every_route(user: Client, routes: Routes, authorization: str) -> None:
    before = snapshot()
    for method, resource in routes.guarded:
        response = user.acting_as(None).send(
            method,
            routes.path(resource),
            None if method == "GET" else {},
            Authorization=authorization.format(user.token),
        )
        refused(response, 401)
    refused_everywhere(user.acting_as(None), routes, "no header")
    assert snapshot() == before


def test_authorization_scheme_is_case_insensitive(user: Client) -> None:
    for scheme in ("bearer", "BEARER", "Bearer "):
        ok(user.acting_as(None).get("/api/agents", Authorization=f"{scheme} {user.token}"))


def test_user_token_is_valid_for_30_days_and_30_seconds_of_leeway(user: Client, clock: Clock) -> None:
    clock.advance(30 * DAY - 5)
    ok(user.get("/api/agents"))
    clock.advance(30)
    ok(user.get("/api/agents"))
    clock.advance(30)
    refused(user.get("/api/agents"), 401, "Invalid or expired token")


def test_agent_token_is_valid_for_30_days_and_30_seconds_of_leeway(agent: Agent, clock: Clock) -> None:
    clock.advance(30 * DAY + 20)
    assert agent.claims() == []
    clock.advance(30)
    refused(agent.poll(), 401, "Agent token expired or invalid")
    refused(agent.heartbeat(), 401, "Agent token expired or invalid")


@pytest.mark.parametrize("kind", ["user", "agent"])
def test_expired_token_returns_401_on_every_route(
    scenario: Scenario, agent: Agent, routes: Routes, clock: Clock, kind: str
) -> None:
    scenario.start_task(agent)
    clock.advance(31 * DAY)
    refused_everywhere(scenario.user if kind == "user" else agent.client, routes, f"an expired token of {kind}")


def test_token_has_exactly_the_documented_claims(scenario: Scenario, agent: Agent, clock: Clock) -> None:
    for token, kind in ((scenario.user.token, "user"), (agent.client.token, "agent")):
        claims = claims_of(token)
        session = {"sid"} if kind == "user" else set()
        assert set(claims) == {"iss", "aud", "sub", "own", "typ", "ver", "jti", "iat", "exp"} | session
        assert (claims["typ"], claims["exp"] - claims["iat"]) == (kind, 30 * DAY)
        assert abs(claims["iat"] - clock.now / 1_000) < 60
        assert jwt.get_unverified_header(token or "") == VALID_HEADER
    owner = claims_of(scenario.user.token)["sub"]
    assert claims_of(agent.client.token)["sub"] == agent.id
    assert claims_of(agent.client.token)["own"] == owner == claims_of(scenario.user.token)["own"]


def test_replaced_token_is_revoked_at_once(scenario: Scenario) -> None:
    body = {"agentId": "agent-1", "name": "n", "version": "1"}
    first = ok(scenario.user.post("/api/agents", body, Idempotency_Key="k"), 201)["token"]
    old = Agent("agent-1", scenario.user.acting_as(first))
    ok(old.heartbeat())
    second = ok(scenario.user.post("/api/agents", body, Idempotency_Key="k"), 201)["token"]
    before = snapshot()
    refused(old.poll(), 401, "Agent token expired or invalid")
    refused(old.heartbeat(), 401, "Agent token expired or invalid")
    refused(old.progress("task-1"), 401)
    refused(old.complete("task-1"), 401)
    refused(old.client.get("/api/tasks/task-1"), 401)
    assert snapshot() == before
    ok(Agent("agent-1", scenario.user.acting_as(second)).heartbeat())


def test_deployed_stage_verifies_tokens_with_the_keys_in_its_secret(
    user: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        keys, "settings", SimpleNamespace(local=False, local_secret=None, resource_name=settings.resource_name)
    )
    monkeypatch.setattr(keys, "_cached", None)
    client = boto3.client("secretsmanager")
    # A test that created the resources of the template may have left a secret of this name.
    client.delete_secret(SecretId=settings.resource_name("secret"), ForceDeleteWithoutRecovery=True)
    secret = client.create_secret(Name=settings.resource_name("secret"), SecretString=settings.local_secret or "")[
        "ARN"
    ]
    try:
        with aws_requests.recorded() as sent:
            assert user.get("/api/tasks").status == 200
    finally:
        client.delete_secret(SecretId=secret, ForceDeleteWithoutRecovery=True)
    assert sent.operations[0] == "GetSecretValue"
