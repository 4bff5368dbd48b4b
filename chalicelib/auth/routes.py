"""POST /api/auth/pin/login."""

from chalice.app import Blueprint

from chalicelib.auth import service
from chalicelib.auth.model import PinLogin
from chalicelib.http import Answer, Call, route
from chalicelib.settings import settings

blueprint = Blueprint(__name__)

if settings.pin_login:  # on prod the address does not exist

    @route(blueprint, "POST", "/api/auth/pin/login")
    def pin_login(call: Call) -> Answer:
        return Answer(service.pin_login(call.body(PinLogin), call.address, call.now))
