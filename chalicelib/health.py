"""GET /health: whether the platform works."""

from typing import cast

from chalice.app import Blueprint

from chalicelib import dynamodb
from chalicelib.auth.keys import keyring
from chalicelib.core.models import OutputModel
from chalicelib.core.settings import SECOND, VERSION, settings
from chalicelib.http import App, Request, Response, route

blueprint = Blueprint(__name__)

CACHE_TIME = 5 * SECOND
"""How long a successful check is valid. Everyone may call this route as often as they like."""


class _LastSuccess:
    """The time of the last successful check of this container."""

    at = -CACHE_TIME


_last_success = _LastSuccess()


class Health(OutputModel):
    status: str = "ok"
    version: str = VERSION
    stage: str = settings.stage


@route(blueprint, "GET", "/health", "public", response=Health)
def health(request: Request) -> Response:
    """Check whether the platform works.

    Responds with 200 if the tables and the signing keys can be read, otherwise with the error 503.
    """
    if not 0 <= request.now - _last_success.at < CACHE_TIME:
        app = cast("App", blueprint.current_app)
        app.load_all()  # registers the tables of all features, and fails if a feature cannot be imported
        keyring(request.now)
        dynamodb.check_tables()
        _last_success.at = request.now
    return Response(Health())
