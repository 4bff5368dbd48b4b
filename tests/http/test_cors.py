"""CORS: pages of configured origins may call the API with a token. Pages of other origins can read no response."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from chalice.deploy.swagger import TemplatedSwaggerGenerator

from chalicelib.core.settings import settings
from chalicelib.http import cors
from infra.local.gateway import Response
from tests.http.conftest import Routes
from tests.http.scenario import Agent, Scenario, failing, ok, refused
from tests.http.test_headers import DENIED
from tests.support import aws_requests
from tests.support.client import Client

CONFIGURED = ["https://app.example.com", "http://localhost:5173"]
OTHER_ORIGINS = [
    "https://evil.example.com",
    "https://app.example.com.evil.com",
    "https://evilapp.example.com",
    "null",
    "*",
    "http://app.example.com",
    "https://app.example.com:1",
    "https://App.example.com",
    "x",
    "",
]


@pytest.fixture
def configured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Configures two origins."""
    monkeypatch.setattr(cors, "settings", replace(settings, cors_origins=frozenset(CONFIGURED)))


def preflight(client: Client, path: str, origin: str | None, method: str = "POST") -> Response:
    """The request that a browser sends before a cross-origin request. It has no token."""
    headers = {"Access-Control-Request-Method": method, "Access-Control-Request-Headers": "authorization,content-type"}
    return client.send("OPTIONS", path, **headers, **({} if origin is None else {"Origin": origin}))


def cors_headers(response: Response) -> list[str]:
    return [name for name, _ in response.headers if name.startswith("Access-Control")]


@pytest.mark.parametrize("origin", CONFIGURED)
def test_preflight_of_a_configured_origin_allows_every_route(
    configured: None, anonymous: Client, routes: Routes, origin: str
) -> None:
    with aws_requests.recorded() as sent:
        for path, methods in routes.table.items():
            response = preflight(anonymous, routes.path(path), origin)
            assert (response.status, response.body) == (204, b""), path
            assert response.header("Access-Control-Allow-Origin") == origin
            assert response.header("Access-Control-Allow-Methods") == ", ".join(sorted(methods))
            allowed = (response.header("Access-Control-Allow-Headers") or "").split(", ")
            assert set(allowed) == {"Authorization", "Content-Type", "Idempotency-Key", "X-Request-Id"}
            assert int(response.header("Access-Control-Max-Age") or 0) > 600
            assert response.header("X-Content-Type-Options") == "nosniff"
    assert not list(sent), "a preflight sends no request to AWS"


@pytest.mark.parametrize("origin", OTHER_ORIGINS)
def test_preflight_of_another_origin_is_rejected(
    configured: None, anonymous: Client, routes: Routes, origin: str
) -> None:
    for path in routes.table:
        response = preflight(anonymous, routes.path(path), origin)
        refused(response, 405)
        assert cors_headers(response) == []


def test_options_without_a_preflight_returns_405(configured: None, anonymous: Client, routes: Routes) -> None:
    for path, methods in routes.table.items():
        for response in (
            anonymous.send("OPTIONS", routes.path(path)),
            anonymous.send("OPTIONS", routes.path(path), Origin=CONFIGURED[0]),
            preflight(anonymous, routes.path(path), None),
        ):
            refused(response, 405, "Method not allowed")
            assert response.header("Allow") == ", ".join(sorted(methods))
    refused(preflight(anonymous, "/api/nothing", CONFIGURED[0]), 404)


def responses_of_many_kinds(scenario: Scenario, agent: Agent, origin: str) -> Iterator[tuple[int, Response]]:
    user = scenario.user
    yield 200, user.get("/api/agents", Origin=origin)
    yield 202, user.post("/api/tasks", {"intent": "i", "repo": "r", "naturalLanguage": "n"}, Origin=origin)
    yield 400, user.post("/api/agents", {}, Origin=origin)
    yield 401, user.acting_as(None).get("/api/agents", Origin=origin)
    yield 403, agent.client.get("/api/agents", Origin=origin)
    yield 404, user.get("/api/tasks/nothing", Origin=origin)
    yield 404, user.get("/api/nothing", Origin=origin)
    yield 405, user.delete("/api/tasks", Origin=origin)
    with failing("TransactWriteItems", DENIED):
        yield 500, user.post("/api/tasks", {"intent": "i", "repo": "r", "naturalLanguage": "n"}, Origin=origin)
    for _ in range(11):
        response = agent.client.post(f"/api/agents/{agent.id}/heartbeat", {}, Origin=origin)
    yield 429, response


def test_configured_origin_can_read_every_response_and_its_headers(
    configured: None, scenario: Scenario, agent: Agent
) -> None:
    for status, response in responses_of_many_kinds(scenario, agent, CONFIGURED[1]):
        assert (response.status, response.header("Access-Control-Allow-Origin")) == (status, CONFIGURED[1])
        assert response.header("Vary") == "Origin"
        exposed = set((response.header("Access-Control-Expose-Headers") or "").split(", "))
        own = {name for name, _ in response.headers if name.startswith("X-R") or name == "Retry-After"}
        assert own <= exposed
        assert response.header("Access-Control-Allow-Credentials") is None


def test_another_origin_can_read_no_response(configured: None, scenario: Scenario, agent: Agent) -> None:
    for status, response in responses_of_many_kinds(scenario, agent, OTHER_ORIGINS[0]):
        assert (response.status, cors_headers(response), response.header("Vary")) == (status, [], "Origin")


def test_no_origin_is_allowed_by_default(scenario: Scenario, agent: Agent) -> None:
    refused(preflight(scenario.user, "/api/tasks", CONFIGURED[0]), 405)
    for _, response in responses_of_many_kinds(scenario, agent, CONFIGURED[0]):
        assert (cors_headers(response), response.header("Vary")) == ([], None)


def test_configured_origin_cannot_authenticate_with_a_cookie(configured: None, user: Client) -> None:
    browser = user.acting_as(None)
    cookie = f"__Host-devflow-session={user.token}"
    ok(browser.get("/api/agents", Cookie=cookie, Sec_Fetch_Site="same-origin"))
    for method, body in (("GET", None), ("POST", {})):
        refused(browser.send(method, "/api/agents", body, Cookie=cookie, Origin=CONFIGURED[0]), 401)


def test_api_gateway_passes_every_options_request_to_the_function() -> None:
    from app import app  # noqa: PLC0415  # its clients must not be built before moto is active

    deployed = TemplatedSwaggerGenerator().generate_swagger(app)
    for path, methods in deployed["paths"].items():
        integrations = {method: each["x-amazon-apigateway-integration"]["type"] for method, each in methods.items()}
        assert integrations["options"] == "aws_proxy", path
        assert set(integrations.values()) == {"aws_proxy"}
