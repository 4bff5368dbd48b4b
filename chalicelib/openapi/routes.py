"""GET /api/openapi.json."""

from functools import cache
from typing import Any, cast

from chalice.app import Blueprint
from pydantic import RootModel

from chalicelib.http import App, Request, Response, route, route_specs

blueprint = Blueprint(__name__)


class Document(RootModel[dict[str, Any]]):
    """An OpenAPI 3.1 document."""


@route(blueprint, "GET", "/api/openapi.json", "public", response=Document)
def get_openapi(request: Request) -> Response:
    """Read the OpenAPI document of this API."""
    del request
    return Response(_document())


@cache
def _document() -> Document:
    from chalicelib.openapi.document import build  # noqa: PLC0415  # only this route needs it

    app = cast("App", blueprint.current_app)
    app.load_all()
    return Document(build(route_specs(app.routes)))
