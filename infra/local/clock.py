"""`/local/clock`: shows and moves the local stage's clock. `/local/mail`: what the stage has mailed. Neither is an
endpoint of the app; no deployed stage has them.

The clock moves in steps of a minute at most, with a scheduled run and an emptied workflow queue after each, so what
should have happened meanwhile has happened, in order, when the answer comes.
"""

import json
from typing import Any

from chalicelib.core import clock
from chalicelib.core.timestamps import iso
from infra.local.gateway import Gateway, Headers, Response, failure
from infra.local.postbox import PATH as MAIL
from infra.local.postbox import Postbox
from infra.local.pump import Pump

PATH = "/local/clock"
_READS = ("GET", "HEAD", "OPTIONS")
STEP_SECONDS = 60
MOST_SECONDS = 7 * 24 * 3600
"""A week: ten thousand scheduled runs. A day of them takes a minute or two on a small machine, a week a quarter of an
hour."""


class LocalStage:
    """The gateway with the stage's own endpoints before it; wakes the pump after what may have sent a message."""

    def __init__(self, gateway: Gateway, pump: Pump, postbox: Postbox) -> None:
        self._gateway = gateway
        self._pump = pump
        self._postbox = postbox

    def call(
        self, method: str, target: str, headers: Headers = (), body: bytes = b"", *, source_ip: str = "127.0.0.1"
    ) -> Response:
        path = target.partition("?")[0]
        if path == MAIL:
            return self._postbox.shown() if method in _READS else failure(405, "Method not allowed", "Allowed: GET.")
        if path != PATH:
            response = self._gateway.call(method, target, headers, body, source_ip=source_ip)
            if method not in _READS:
                self._pump.wake()
            return response
        if method == "POST":
            return self._advance(body)
        return _shown() if method in _READS else failure(405, "Method not allowed", "Allowed here: GET, POST.")

    def _advance(self, body: bytes) -> Response:
        seconds = _seconds(body)
        if seconds is None:
            return failure(
                400,
                "Invalid request",
                f'Send {{"advanceSeconds": n}}, n above 0 and at most {MOST_SECONDS}: the clock moves forward only.',
            )
        with self._pump.paused():
            while seconds > 0:
                step = min(seconds, STEP_SECONDS)
                clock.shift(step)
                seconds -= step
                self._pump.sweep()
                self._pump.drain()
        return _shown()


def _seconds(body: bytes) -> float | None:
    try:
        asked: Any = json.loads(body)["advanceSeconds"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    if isinstance(asked, bool) or not isinstance(asked, int | float) or not 0 < asked <= MOST_SECONDS:
        return None
    return asked


def _shown() -> Response:
    body = {"shiftedSeconds": clock.offset_seconds(), "now": iso(clock.now())}
    return Response(200, (("Content-Type", "application/json"),), json.dumps(body).encode())
