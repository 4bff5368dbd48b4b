"""GET /health: whether the platform works."""

from typing import cast

from chalice.app import Blueprint

from chalicelib import dynamodb
from chalicelib.auth.keys import keyring
from chalicelib.core.errors import Unavailable
from chalicelib.core.models import OutputModel
from chalicelib.core.settings import SECOND, VERSION, settings
from chalicelib.http import App, Request, Response, route

blueprint = Blueprint(__name__)

CACHE_TIME = 5 * SECOND
"""How long a successful check is valid. Everyone may call this route as often as they like."""


FAILURE_CACHE_TIME = 2 * SECOND
"""How long a failed check is valid. A check of tables that do not respond takes time, and occupies a container."""


class _LastCheck:
    """The times of the last successful and the last failed check of this container."""

    succeeded_at = -CACHE_TIME
    failed_at = -FAILURE_CACHE_TIME


_last_check = _LastCheck()


class Health(OutputModel):
    status: str = "ok"
    version: str = VERSION
    stage: str = settings.stage


@route(blueprint, "GET", "/health", "public", response=Health)
def health(request: Request) -> Response:
    """Check whether the platform works.

    Responds with 200 if the tables and the signing keys can be read, otherwise with the error 503. The tables are read
    even while other requests to them fail at once, so the response is that of the tables and not of this container.
    """
    if not 0 <= request.now - _last_check.succeeded_at < CACHE_TIME:
        if 0 <= request.now - _last_check.failed_at < FAILURE_CACHE_TIME:
            raise Unavailable
        app = cast("App", blueprint.current_app)
        app.load_all()  # registers the tables of all features, and fails if a feature cannot be imported
        keyring(request.now)
        try:
            dynamodb.check_tables()
        except Unavailable:
            _last_check.failed_at = request.now
            raise
        _last_check.succeeded_at = request.now
    return Response(Health())
