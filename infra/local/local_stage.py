"""The endpoints of the local stage itself. They are not part of the app, and no deployed stage has them.

`/local/clock` returns the stage's clock (GET) and moves it forward (POST). `/local/mail` returns the mails that the
stage has sent.

Both exist only on a stage that is not public, and only for programs of this machine, see `access`.

The clock moves in steps of at most one minute. After each step the scheduled handlers run and the queues are emptied.
So when the response arrives, everything that is due in that time has happened, in order.
"""

import json
from typing import Any

from chalicelib.core import clock
from chalicelib.core.timestamps import iso
from infra.local.access import Access, check_content_type
from infra.local.event_poller import EventPoller
from infra.local.gateway import Gateway, Headers, Response, error_response
from infra.local.mail_catcher import PATH as MAIL_PATH
from infra.local.mail_catcher import MailCatcher

CLOCK_PATH = "/local/clock"
_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
STEP_SECONDS = 60
MAX_SECONDS = 7 * 24 * 3600
"""A week, which is ten thousand scheduled runs. On a small machine a day of them takes one or two minutes, and a week a
quarter of an hour."""


class LocalStage:
    """The gateway, with the stage's own endpoints in front of it. Wakes the poller after a request that can send
    messages. Refuses the requests that `access` does not allow."""

    def __init__(self, gateway: Gateway, poller: EventPoller, mail_catcher: MailCatcher, access: Access) -> None:
        self._gateway = gateway
        self._poller = poller
        self._mail_catcher = mail_catcher
        self._access = access

    def call(
        self, method: str, target: str, headers: Headers = (), body: bytes = b"", *, source_ip: str = "127.0.0.1"
    ) -> Response:
        refused = self._access.check_host(headers)
        if refused is not None:
            return refused
        path = target.partition("?")[0]
        if path in (CLOCK_PATH, MAIL_PATH) and not self._access.is_public:
            return self._access.check_origin(headers) or self._call_own(path, method, headers, body)
        response = self._gateway.call(method, target, headers, body, source_ip=source_ip)
        if method not in _SAFE_METHODS:
            self._poller.wake()
        return response

    def _call_own(self, path: str, method: str, headers: Headers, body: bytes) -> Response:
        """Handle a request to an endpoint of the stage itself."""
        if method in _SAFE_METHODS:
            return _clock_response() if path == CLOCK_PATH else self._mail_catcher.list_mails()
        if path == CLOCK_PATH and method == "POST":
            return check_content_type(headers) or self._advance(body)
        allowed = "GET and POST" if path == CLOCK_PATH else "GET"
        return error_response(405, "Method not allowed", f"This path allows only {allowed}.")

    def _advance(self, body: bytes) -> Response:
        seconds = _requested_seconds(body)
        if seconds is None:
            return error_response(
                400,
                "Invalid request",
                f'The clock only moves forward. Send {{"advanceSeconds": n}} with n above 0 and at most {MAX_SECONDS}.',
            )
        with self._poller.paused():
            while seconds > 0:
                step = min(seconds, STEP_SECONDS)
                clock.shift(step)
                seconds -= step
                self._poller.sweep()
                self._poller.drain()
        return _clock_response()


def _requested_seconds(body: bytes) -> float | None:
    """The number of seconds in a request, or None if the request is not valid."""
    try:
        seconds: Any = json.loads(body)["advanceSeconds"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds <= MAX_SECONDS:
        return None
    return seconds


def _clock_response() -> Response:
    body = {"shiftedSeconds": clock.offset_seconds(), "now": iso(clock.now())}
    return Response(200, (("Content-Type", "application/json"),), json.dumps(body).encode())
