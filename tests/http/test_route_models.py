"""Every route that responds with JSON declares the model of its response. The OpenAPI document is made from it."""

from chalicelib.core.models import OutputModel
from tests.http.conftest import Routes

REDIRECTS = {"/api/auth/slack", "/api/auth/slack/callback"}
"""The routes of the API that respond with a redirect, and with JSON only when they fail."""


def test_every_route_that_responds_with_json_declares_its_model(routes: Routes) -> None:
    for route in routes.declared.values():
        if route.media_type is None and route.path not in REDIRECTS:
            assert route.response is not None, route.name
            assert route.status in (200, 201, 202), route.name


def test_redirects_and_pages_declare_no_model(routes: Routes) -> None:
    without = {route.path for route in routes.declared.values() if route.response is None}
    assert without >= REDIRECTS
    assert {path for path in without - REDIRECTS if path.startswith("/api/")} == set()
    assert {route.status for route in routes.declared.values() if route.path in REDIRECTS} == {302}


def test_declared_models_are_models_of_responses(routes: Routes) -> None:
    for route in routes.declared.values():
        assert route.response is None or issubclass(route.response, OutputModel) or route.path.endswith(".json")
