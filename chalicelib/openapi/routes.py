"""GET /api/openapi.json."""

from functools import cache
from typing import Any, cast

from chalice.app import Blueprint
from pydantic import RootModel

from chalicelib.http import Answer, App, Call, declared_by, route

blueprint = Blueprint(__name__)


class Document(RootModel[dict[str, Any]]):
    """An OpenAPI 3.1 document."""


@route(blueprint, "GET", "/api/openapi.json", "nobody", answer=Document)
def get_openapi(call: Call) -> Answer:
    """Describe every route, status and error of this API."""
    del call
    return Answer(_document())


@cache
def _document() -> Document:
    from chalicelib.openapi.document import build  # noqa: PLC0415  # no other route needs it

    app = cast("App", blueprint.current_app)
    app.load_all()
    return Document(build(declared_by(app.routes)))
