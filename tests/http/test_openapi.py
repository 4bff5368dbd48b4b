"""GET /api/openapi.json describes exactly the routes in the app's own table."""

import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from chalicelib.http import RouteSpec
from tests.http.conftest import Routes
from tests.http.scenario import Scenario, ok
from tests.support.client import Client
from tests.support.declared_responses import declared_errors

Json = dict[str, Any]
QUOTA = {"X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset"}


@pytest.fixture
def document(anonymous: Client) -> Json:
    found: Json = ok(anonymous.get("/api/openapi.json"))
    return found


def resolve(document: Json, node: Json) -> Json:
    """The object that a reference points to. Other objects are returned unchanged."""
    while set(node) == {"$ref"}:
        *path, name = node["$ref"].removeprefix("#/").split("/")
        for part in path:
            node = node.get(part, document) if part != "components" else document["components"]
        node = node[name]
    return node


def operations(document: Json, routes: Routes) -> Iterator[tuple[RouteSpec, Json]]:
    for (method, path), route in routes.declared.items():
        yield route, document["paths"][path][method.lower()]


def test_document_is_valid(document: Json) -> None:
    assert document["openapi"] == "3.1.0"
    OpenAPIV31SpecValidator(document).validate()


def test_document_has_exactly_the_routes_of_the_app(document: Json, routes: Routes) -> None:
    described = {
        (method.upper(), path) for path, item in document["paths"].items() for method in item if method != "parameters"
    }
    assert described == set(routes.all)


def test_every_operation_has_a_summary_and_its_security_requirements(document: Json, routes: Routes) -> None:
    names = set()
    for route, operation in operations(document, routes):
        names.add(operation["operationId"])
        assert operation["summary"], f"{route.name} needs a docstring"
        tokens = {name for each in operation["security"] for name in each}
        assert ("agentToken" in tokens) == (route.access in ("agent", "authenticated")), route
        users = ("user", "registration", "agent", "authenticated")
        assert ("userToken" in tokens) == (route.access in users), route
        assert ("registrationToken" in tokens) == (route.access == "registration"), route
        assert ("sessionToken" in tokens) == (route.access == "session"), route
        assert ("browser" in tokens) == (route.access != "public"), route
        assert tokens <= set(document["components"]["securitySchemes"])
    assert len(names) == len(routes.all)


def test_document_has_exactly_the_declared_statuses_and_titles(document: Json, routes: Routes) -> None:
    for route, operation in operations(document, routes):
        responses = {int(status): resolve(document, response) for status, response in operation["responses"].items()}
        documented = {
            (status, title)
            for status, response in responses.items()
            if status != route.status
            for title in response["content"]["application/json"]["schema"]["properties"]["error"]["enum"]
        }
        assert documented == declared_errors(route), route
        media = "application/json" if route.response is not None else route.media_type
        assert list(responses[route.status].get("content", {})) == ([] if media is None else [media])


def test_document_has_every_response_header(document: Json, routes: Routes) -> None:
    for route, operation in operations(document, routes):
        for status, response in operation["responses"].items():
            headers = resolve(document, response)["headers"]
            always = {name for name, header in headers.items() if resolve(document, header).get("required")}
            assert "X-Request-Id" in always
            assert (always >= QUOTA) == (bool(route.rate_limits) and int(status) in (route.status, 429)), (
                route,
                status,
            )
            assert ("Retry-After" in always) == (status in ("429", "503")), (route, status)
            assert "WWW-Authenticate" not in headers, "API Gateway renames it"
            assert ("Upload-Offset" in always) == (status == "416"), (route, status)


def test_document_has_exactly_the_declared_parameters_and_bodies(document: Json, routes: Routes) -> None:
    for route, operation in operations(document, routes):
        own = [*operation.get("parameters", []), *document["paths"][route.path].get("parameters", [])]
        documented = {(each["in"], each["name"]) for each in own}
        query = [] if route.query is None else route.query.model_fields.values()
        expected = {("query", str(field.alias)) for field in query}
        expected |= {("path", name) for name in re.findall(r"\{(\w+)\}", route.path)}
        expected |= {("header", "Idempotency-Key")} if route.idempotency_key else set()
        assert documented == expected, route
        assert ("requestBody" in operation) == (route.body is not None)
        if route.body is not None:
            assert f"{route.max_body_bytes // 1_024} KB" in operation["requestBody"]["description"]


def test_schemas_enforce_the_limits_of_requests(document: Json) -> None:
    register = document["components"]["schemas"]["RegisterAgentRequest"]
    assert register["required"] == ["agentId", "name", "version"]
    is_valid = Draft202012Validator(register | {"components": document["components"]}).is_valid
    registration = {"agentId": "a", "name": "n", "version": "1"}
    assert is_valid(registration)
    assert is_valid(registration | {"unknown": 1})
    for change in (
        {"name": " "},
        {"name": "x" * 129},
        {"agentId": "a b"},
        {"concurrency": 21},
        {"capabilities": ["/"]},
    ):
        assert not is_valid(registration | change), change
    assert not Draft202012Validator(document["components"]["schemas"]["ProgressReport"]).is_valid({"progress": 1.01})


def test_response_has_all_fields_that_the_document_requires(document: Json, scenario: Scenario) -> None:
    scenario.agent()
    listing = document["components"]["schemas"]["AgentList"] | {"components": document["components"]}
    response = ok(scenario.user.get("/api/agents"))
    Draft202012Validator(listing).validate(response)
    assert set(listing["required"]) == set(response)
    assert set(document["components"]["schemas"]["AgentResponse"]["required"]) == set(response["data"][0])


def test_field_docstrings_become_descriptions(document: Json) -> None:
    schemas = document["components"]["schemas"]
    heartbeat = schemas["HeartbeatRequest"]["properties"]
    assert heartbeat["taskIds"]["description"] == "The ids of all tasks that the agent runs."
    assert "description" not in schemas["RegisterAgentResponse"]["properties"]["success"]


def test_server_url_resolves_to_the_address_of_the_document(document: Json) -> None:
    from urllib.parse import urljoin  # noqa: PLC0415

    (server,) = document["servers"]
    for base in ("http://localhost:3000/", "https://x.execute-api.eu-west-1.amazonaws.com/api/"):
        assert urljoin(f"{base}api/openapi.json", server["url"]) == base


def test_document_is_generated_on_the_first_request() -> None:
    code = (
        "import sys; from tests.support import environment; environment.prepare(); import app\n"
        "print(sorted(name for name in sys.modules if name.startswith('chalicelib.openapi')))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
    assert (ran.returncode, ran.stdout.strip()) == (
        0,
        "['chalicelib.openapi', 'chalicelib.openapi.routes']",
    ), ran
