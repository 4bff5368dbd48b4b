"""Requests to Slack during a sign-in: the id token for a code, and Slack's keys. Imported at the first sign-in.

Slack may be down or slow, or may return anything. Each wait is limited, and so is the whole request, because API
Gateway ends a request after 29 s. Slack's responses are not logged, except the codes of its errors: a response may
contain tokens.
"""

import json
import logging
import queue
import re
import threading
from collections.abc import Callable
from typing import Any, TypeVar

import urllib3

from chalicelib.auth.keys import SlackCredentials
from chalicelib.core import deadline
from chalicelib.core.errors import Unavailable
from chalicelib.core.settings import settings

STEP_TIMEOUT = 4
"""The timeout, in seconds, of one step of a request to Slack: connecting, and each read."""

REQUEST_TIMEOUT = 9
"""The timeout, in seconds, of a whole request to Slack."""

MAX_RESPONSE_BYTES = 64 * 1024

T = TypeVar("T")
_silenced_logger = logging.getLogger("devflow.slack_sdk")
_silenced_logger.setLevel(logging.CRITICAL + 1)


class CodeRefused(Exception):
    """Slack rejected the code: it is unknown, used or expired."""


def fetch_id_token(code: str, redirect_uri: str, client: SlackCredentials) -> str:
    """The id token for an authorization code.

    Raises CodeRefused, and Unavailable where Slack cannot be reached or its response is not valid.
    """
    from slack_sdk.errors import SlackApiError  # noqa: PLC0415  # importing it takes 0.1 s, so only a sign-in does
    from slack_sdk.web import WebClient  # noqa: PLC0415

    api = WebClient(
        base_url=f"{settings.slack_url}/api/", timeout=STEP_TIMEOUT, retry_handlers=[], logger=_silenced_logger
    )

    def exchange_code() -> Any:
        try:
            response = api.openid_connect_token(
                client_id=client.id,
                client_secret=client.secret,
                code=code,
                redirect_uri=redirect_uri,
                grant_type="authorization_code",
            )
        except SlackApiError as error:
            raise _to_error(error.response.data) from None
        return response.get("id_token")

    token = _with_deadline(exchange_code)
    if not isinstance(token, str):
        raise Unavailable("Slack's response has no id token.")
    return token


def _to_error(response: Any) -> Exception:
    code = str(response.get("error")) if isinstance(response, dict) else ""
    if code in ("invalid_code", "code_already_used", "code_expired"):
        return CodeRefused()
    is_error_code = re.fullmatch(r"[a-z_]{1,50}", code)
    return Unavailable(f"Slack returned the error {code}." if is_error_code else "Slack's response is not valid.")


def fetch_keys() -> Any:
    """Slack's JWK Set. Raises Unavailable."""

    def request_keys() -> Any:
        response = urllib3.request(
            "GET",
            f"{settings.slack_url}/openid/connect/keys",
            timeout=urllib3.Timeout(connect=STEP_TIMEOUT, read=STEP_TIMEOUT),
            retries=False,
            redirect=False,
            preload_content=False,
        )
        try:
            if response.status != 200:  # noqa: PLR2004
                raise Unavailable("Slack did not return its keys.")
            return json.loads(response.read(MAX_RESPONSE_BYTES))
        finally:
            response.close()

    return _with_deadline(request_keys)


def _with_deadline(send: Callable[[], T]) -> T:
    """Call `send`, and return its result within REQUEST_TIMEOUT and before the deadline of the request.

    Raises its CodeRefused and Unavailable. Every other error, and a timeout, is raised as Unavailable.

    The call runs in its own thread, which is abandoned after the timeout. A socket's timeout restarts with every byte,
    so a server that sends a byte now and then could block a call forever.
    """
    done: queue.SimpleQueue[tuple[bool, Any]] = queue.SimpleQueue()

    def run() -> None:
        try:
            done.put((True, send()))
        except Exception as error:  # noqa: BLE001  # passed to the caller's thread, which raises or translates it
            done.put((False, error))

    threading.Thread(target=run, name="slack", daemon=True).start()
    try:
        succeeded, result = done.get(timeout=max(0.0, min(REQUEST_TIMEOUT, deadline.remaining())))
    except queue.Empty:
        raise Unavailable("Slack did not respond in time.") from None
    if succeeded:
        response: T = result
        return response
    if isinstance(result, (CodeRefused, Unavailable)):
        raise result
    raise Unavailable(f"Slack cannot be reached, or its response is not valid ({type(result).__name__}).") from None
