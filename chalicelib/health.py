"""GET /health: whether the platform can do its work."""

from typing import cast

from chalice.app import Blueprint

from chalicelib import dynamodb
from chalicelib.auth.keys import keyring
from chalicelib.core.models import OutputModel
from chalicelib.core.settings import SECOND, VERSION, settings
from chalicelib.http import App, Request, Response, route

blueprint = Blueprint(__name__)

FRESH = 5 * SECOND


class _Well:
    """When this container last found everything well."""

    at = -FRESH


_well = _Well()


class Health(OutputModel):
    status: str = "ok"
    version: str = VERSION
    stage: str = settings.stage


@route(blueprint, "GET", "/health", "public", response=Health)
def health(request: Request) -> Response:
    """Check whether the platform can do its work.

    200 when the tables answer and the signing keys can be read; else 503, in the error contract's shape.
    """
    if not 0 <= request.now - _well.at < FRESH:  # anybody may ask, as often as they like
        app = cast("App", blueprint.current_app)
        app.load_all()  # a table is known when its feature is; and a feature that cannot be loaded is seen here
        keyring(request.now)
        dynamodb.check_tables()
        _well.at = request.now
    return Response(Health())
