"""Pages of other origins: those that a setting names may call with a token, all others are left without an answer."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from chalice.deploy.swagger import TemplatedSwaggerGenerator

from chalicelib.core.settings import settings
from chalicelib.http import cors
from infra.local.gateway import Response
from tests.http.conftest import Routes
from tests.http.scene import Agent, Scene, failing, ok, refused
from tests.http.test_headers import DENIED
from tests.support import wire
from tests.support.client import Client

NAMED = ["https://app.example.com", "http://localhost:5173"]
UNNAMED = ["https://evil.example.com", "https://app.example.com.evil.com", "https://evilapp.example.com", "null", "*",
           "http://app.example.com", "https://app.example.com:1", "https://App.example.com", "x", ""]  # fmt: skip


@pytest.fixture
def named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two origins are named in the settings."""
    monkeypatch.setattr(cors, "settings", replace(settings, cors_origins=frozenset(NAMED)))


def preflight(client: Client, path: str, origin: str | None, method: str = "POST") -> Response:
    """What a browser asks before a page's request goes out: without a token."""
    headers = {"Access-Control-Request-Method": method, "Access-Control-Request-Headers": "authorization,content-type"}
    return client.send("OPTIONS", path, **headers, **({} if origin is None else {"Origin": origin}))


def about_origins(answer: Response) -> list[str]:
    return [name for name, _ in answer.headers if name.startswith("Access-Control")]


@pytest.mark.parametrize("origin", NAMED)
def test_preflight_of_a_configured_origin_allows_every_route(
    named: None, anonymous: Client, routes: Routes, origin: str
) -> None:
    with wire.recorded() as sent:
        for path, methods in routes.table.items():
            answer = preflight(anonymous, routes.path(path), origin)
            assert (answer.status, answer.body) == (204, b""), path
            assert answer.header("Access-Control-Allow-Origin") == origin
            assert answer.header("Access-Control-Allow-Methods") == ", ".join(sorted(methods))
            allowed = (answer.header("Access-Control-Allow-Headers") or "").split(", ")
            assert set(allowed) == {"Authorization", "Content-Type", "Idempotency-Key", "X-Request-Id"}
            assert int(answer.header("Access-Control-Max-Age") or 0) > 600
            assert answer.header("X-Content-Type-Options") == "nosniff"
    assert not list(sent), "asking costs nothing"


@pytest.mark.parametrize("origin", UNNAMED)
def test_preflight_of_another_origin_is_rejected(named: None, anonymous: Client, routes: Routes, origin: str) -> None:
    for path in routes.table:
        answer = preflight(anonymous, routes.path(path), origin)
        refused(answer, 405)
        assert about_origins(answer) == []


def test_options_without_a_preflight_returns_405(named: None, anonymous: Client, routes: Routes) -> None:
    for path, methods in routes.table.items():
        for answer in (
            anonymous.send("OPTIONS", routes.path(path)),
            anonymous.send("OPTIONS", routes.path(path), Origin=NAMED[0]),
            preflight(anonymous, routes.path(path), None),
        ):
            refused(answer, 405, "Method not allowed")
            assert answer.header("Allow") == ", ".join(sorted(methods))
    refused(preflight(anonymous, "/api/nothing", NAMED[0]), 404)


def of_many_kinds(scene: Scene, agent: Agent, origin: str) -> Iterator[tuple[int, Response]]:
    user = scene.user
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
        answer = agent.client.post(f"/api/agents/{agent.id}/heartbeat", {}, Origin=origin)
    yield 429, answer


def test_configured_origin_can_read_every_response_and_its_headers(named: None, scene: Scene, agent: Agent) -> None:
    for status, answer in of_many_kinds(scene, agent, NAMED[1]):
        assert (answer.status, answer.header("Access-Control-Allow-Origin")) == (status, NAMED[1])
        assert answer.header("Vary") == "Origin"
        exposed = set((answer.header("Access-Control-Expose-Headers") or "").split(", "))
        own = {name for name, _ in answer.headers if name.startswith("X-R") or name == "Retry-After"}
        assert own <= exposed
        assert answer.header("Access-Control-Allow-Credentials") is None


def test_another_origin_can_read_no_response(named: None, scene: Scene, agent: Agent) -> None:
    for status, answer in of_many_kinds(scene, agent, UNNAMED[0]):
        assert (answer.status, about_origins(answer), answer.header("Vary")) == (status, [], "Origin")


def test_no_origin_is_allowed_by_default(scene: Scene, agent: Agent) -> None:
    refused(preflight(scene.user, "/api/tasks", NAMED[0]), 405)
    for _, answer in of_many_kinds(scene, agent, NAMED[0]):
        assert (about_origins(answer), answer.header("Vary")) == ([], None)


def test_configured_origin_cannot_authenticate_with_a_cookie(named: None, user: Client) -> None:
    browser = user.acting_as(None)
    cookie = f"__Host-devflow-session={user.token}"
    ok(browser.get("/api/agents", Cookie=cookie, Sec_Fetch_Site="same-origin"))
    for method, body in (("GET", None), ("POST", {})):
        refused(browser.send(method, "/api/agents", body, Cookie=cookie, Origin=NAMED[0]), 401)


def test_api_gateway_passes_every_options_request_to_the_function() -> None:
    from app import app  # noqa: PLC0415  # its clients must not be built before moto stands in

    deployed = TemplatedSwaggerGenerator().generate_swagger(app)
    for path, methods in deployed["paths"].items():
        integrations = {method: told["x-amazon-apigateway-integration"]["type"] for method, told in methods.items()}
        assert integrations["options"] == "aws_proxy", path
        assert set(integrations.values()) == {"aws_proxy"}
