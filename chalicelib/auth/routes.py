"""POST /api/auth/pin/login."""

from chalice.app import Blueprint

from chalicelib.auth import service
from chalicelib.auth.model import LoggedIn, PinLogin
from chalicelib.auth.service import WrongPin
from chalicelib.http import Answer, Call, route
from chalicelib.ratelimit import LOGIN
from chalicelib.settings import settings

blueprint = Blueprint(__name__)

if settings.pin_login:  # on prod the address does not exist

    @route(
        blueprint, "POST", "/api/auth/pin/login", "nobody", LOGIN, body=PinLogin, answer=LoggedIn, raises=(WrongPin,)
    )
    def pin_login(call: Call) -> Answer:
        """Log in with email and PIN."""
        return Answer(service.pin_login(call.body(PinLogin), call.address, call.now))
