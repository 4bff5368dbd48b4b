"""GET /health: whether the platform can do its work."""

from chalice.app import Blueprint

from chalicelib import db
from chalicelib.auth.keys import keyring
from chalicelib.http import Answer, Call, route
from chalicelib.settings import VERSION, settings

blueprint = Blueprint(__name__)


@route(blueprint, "GET", "/health")
def health(call: Call) -> Answer:
    """200 when the tables answer and the signing keys can be read; else 503, in the error contract's shape."""
    keyring(call.now)
    db.reachable()
    return Answer({"status": "ok", "version": VERSION, "stage": settings.stage})
