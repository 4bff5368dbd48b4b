"""What is asked of Slack while somebody signs in: its id token for a code, and its keys. Loaded when that happens.

Slack may be down, slow, or answer anything; each wait is bounded, and so is all of it together, for API Gateway gives
up at 29 s. Nothing that Slack says goes to the log, but for the names of its errors: it may hold tokens.
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
from chalicelib.core.errors import Unavailable
from chalicelib.core.settings import settings

STEP_TIMEOUT = 4
"""Seconds that one step of a request to Slack may take: to connect, and each time until something comes."""

REQUEST_TIMEOUT = 9
"""Seconds that one request may take in all."""

MAX_RESPONSE_BYTES = 64 * 1024

T = TypeVar("T")
_silenced_logger = logging.getLogger("devflow.slack_sdk")
_silenced_logger.setLevel(logging.CRITICAL + 1)


class CodeRefused(Exception):
    """Slack does not take this code: made up, used, or too old."""


def fetch_id_token(code: str, redirect_uri: str, client: SlackCredentials) -> str:
    """The id token for a code. Raises CodeRefused, and Unavailable where Slack cannot be asked or makes no sense."""
    from slack_sdk.errors import SlackApiError  # noqa: PLC0415  # a tenth of a second, which no other call should wait
    from slack_sdk.web import WebClient  # noqa: PLC0415

    api = WebClient(
        base_url=f"{settings.slack_url}/api/", timeout=STEP_TIMEOUT, retry_handlers=[], logger=_silenced_logger
    )

    def ask() -> Any:
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

    token = _with_deadline(ask)
    if not isinstance(token, str):
        raise Unavailable("Slack's answer has no id token.")
    return token


def _to_error(answer: Any) -> Exception:
    said = str(answer.get("error")) if isinstance(answer, dict) else ""
    if said in ("invalid_code", "code_already_used", "code_expired"):
        return CodeRefused()
    return Unavailable(f"Slack says {said}." if re.fullmatch(r"[a-z_]{1,50}", said) else "Slack makes no sense.")


def fetch_keys() -> Any:
    """Slack's JWK Set. Raises Unavailable."""

    def ask() -> Any:
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
                raise Unavailable("Slack does not give its keys.")
            return json.loads(response.read(MAX_RESPONSE_BYTES))
        finally:
            response.close()

    return _with_deadline(ask)


def _with_deadline(ask: Callable[[], T]) -> T:
    """What `ask` gives, before the deadline. Whatever else it raises than what is named here is Slack's trouble.

    In a thread of its own, which is left behind where it takes longer: a timeout of a socket begins anew with every
    byte, so somebody who sends one now and then could hold a call for ever.
    """
    done: queue.SimpleQueue[tuple[bool, Any]] = queue.SimpleQueue()

    def run() -> None:
        try:
            done.put((True, ask()))
        except Exception as error:  # noqa: BLE001  # handed over, and raised or translated below
            done.put((False, error))

    threading.Thread(target=run, name="slack", daemon=True).start()
    try:
        succeeded, result = done.get(timeout=REQUEST_TIMEOUT)
    except queue.Empty:
        raise Unavailable("Slack takes too long to answer.") from None
    if succeeded:
        response: T = result
        return response
    if isinstance(result, (CodeRefused, Unavailable)):
        raise result
    raise Unavailable(f"Slack cannot be reached, or makes no sense ({type(result).__name__}).") from None
