"""GET /health: whether the platform can do its work."""

from typing import cast

from chalice.app import Blueprint

from chalicelib import db
from chalicelib.auth.keys import keyring
from chalicelib.http import Answer, App, Call, route
from chalicelib.settings import SECOND, VERSION, settings
from chalicelib.types import Reply

blueprint = Blueprint(__name__)

FRESH = 5 * SECOND


class _Well:
    """When this container last found everything well."""

    at = -FRESH


_well = _Well()


class Health(Reply):
    status: str = "ok"
    version: str = VERSION
    stage: str = settings.stage


@route(blueprint, "GET", "/health", "nobody", answer=Health)
def health(call: Call) -> Answer:
    """Whether the platform can do its work.

    200 when the tables answer and the signing keys can be read; else 503, in the error contract's shape.
    """
    if not 0 <= call.now - _well.at < FRESH:  # anybody may ask, as often as they like
        app = cast("App", blueprint.current_app)
        app.load_all()  # a table is known when its feature is; and a feature that cannot be loaded is seen here
        keyring(call.now)
        db.reachable()
        _well.at = call.now
    return Answer(Health())
