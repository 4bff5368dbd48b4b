"""The platform's API over HTTP. One client may be shared by all threads."""

import json
import re
import urllib.request
from collections.abc import Callable
from typing import Any, NoReturn
from urllib.parse import urlsplit

import stamina
import urllib3
from urllib3.exceptions import HTTPError, ProtocolError

from devflow import __version__
from devflow.clock import Clock
from devflow.errors import NotLoggedInError, RequestRejectedError, SettingsError, UnavailableError
from devflow.redaction import redact

Json = dict[str, Any]

CONNECT_SECONDS = 5.0
READ_SECONDS = 35.0
"""API Gateway gives up after 29 s and says so."""
RETRY_SECONDS = 30.0
"""How long `ask` sends again before it gives up."""
_MAX_WAIT_SECONDS = 5.0
_LIBRARY_PREFIX = re.compile(r"^<[^>]*>: |^HTTPS?Connection(?:Pool)?\([^)]*\): |\[Errno -?\d+\] ")
_TOKEN = re.compile(r"[!-~]+")
"""What a header can carry of what may be a token: RFC 6750, section 2.1, and whatever else is visible ASCII."""
_UNAUTHORIZED, _TOO_MANY, _BROKEN = 401, 429, 500


class ApiResponse(Json):
    """A JSON object from the platform. Where a member is missing that the platform always sends, somebody else
    answered: UnavailableError."""

    def __init__(self, content: Json, url: str) -> None:
        super().__init__(content)
        self._url = url

    def __missing__(self, name: str) -> NoReturn:
        raise _unexpected_response(self._url, f"without {name!r}")


def _unexpected_response(url: str, how: str) -> UnavailableError:
    return UnavailableError(f"{url} does not answer as DevFlow does ({how}): is the address right?", not_devflow=True)


class ApiClient:
    """Calls with a token and JSON bodies.

    `token` may be a function, which is asked before each call: an agent's token changes while it runs.
    `heard` is called after each call that the platform took for this client's own, with the time before it was sent.
    """

    def __init__(
        self,
        url: str,
        token: str | Callable[[], str] | None = None,
        *,
        on_response: Callable[[float], None] = lambda _at: None,
        clock: Clock | None = None,
        timeout: urllib3.Timeout | None = None,
    ) -> None:
        self.url = validate_url(url)
        self._token = token
        self._on_response = on_response
        self._clock = clock or Clock()
        self._timeout = timeout or urllib3.Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS)
        self._pool = _make_pool(self.url)

    def send(self, method: str, path: str, body: Json | None = None, **headers: str) -> Json:
        """One request, once.

        A header's name is a keyword with underscores for dashes. Raises UnavailableError where the same request may be
        sent again, NotLoggedInError on 401, RefusedError on every other 4xx.
        """
        sent = {"Accept": "application/json", "User-Agent": f"devflow/{__version__}"}
        token = self._token() if callable(self._token) else self._token
        if token:
            if not _TOKEN.fullmatch(token):  # http.client would show it whole in its error
                raise SettingsError("The token is not one: it has characters in it that no token has")
            sent["Authorization"] = f"Bearer {token}"
        content, at = None, self._clock.now()
        if body is not None:
            content, sent["Content-Type"] = json.dumps(body).encode(), "application/json"
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            answer = self._pool.request(
                method,
                self.url + path,
                body=content,
                headers=sent,
                timeout=self._timeout,
                redirect=False,
                retries=False,
            )
        except HTTPError as error:
            raise UnavailableError(f"{self.url} cannot be reached: {_describe(error)}") from None
        if answer.status == _UNAUTHORIZED and callable(self._token) and self._token() != token:
            return self.send(method, path, body, **headers)  # it was renewed while this was under way
        read = self._read(answer)
        self._on_response(at)
        if isinstance(read, RequestRejectedError):
            raise read
        return read

    def send_with_retries(self, method: str, path: str, body: Json | None = None, **headers: str) -> Json:
        """The same, sent again for half a minute while the platform cannot answer: each call has one effect."""
        for attempt in stamina.retry_context(
            on=_should_retry, attempts=None, timeout=RETRY_SECONDS, wait_initial=0.5, wait_max=_MAX_WAIT_SECONDS
        ):
            with attempt:
                return self.send(method, path, body, **headers)
        raise AssertionError("either answered or raised")

    def _read(self, answer: urllib3.BaseHTTPResponse) -> Json | RequestRejectedError:
        parsed = parse_json_object(answer.data)
        if answer.status in (200, 201, 202) and parsed is not None:
            return ApiResponse(parsed, self.url)
        if answer.status == _TOO_MANY or answer.status >= _BROKEN:
            told = (parsed or {}).get("message") or f"HTTP {answer.status}"
            raise UnavailableError(f"{self.url} cannot answer now: {told}", _parse_retry_after(answer.headers.get("Retry-After")))
        if parsed is None or "error" not in parsed:
            # A proxy's page, or another program at this address: nothing that DevFlow would say.
            raise _unexpected_response(self.url, f"HTTP {answer.status}")
        refusal = RequestRejectedError(
            answer.status,
            str(parsed["error"]),
            str(parsed.get("message") or ""),
            tuple(map(str, parsed.get("details") or ())),
            answer.headers.get("X-Request-Id", ""),
        )
        if answer.status == _UNAUTHORIZED:
            raise NotLoggedInError(str(refusal))
        return refusal


def validate_url(url: str) -> str:
    """The address without a trailing slash. Raises SettingsError where it is none."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise SettingsError(f"{redact(url)!r} is no address of a platform; it looks like https://devflow.example.com")
    if parts.username is not None:
        raise SettingsError("The platform's address must have no user or password in it; it knows tokens")
    return url.rstrip("/")


def _make_pool(url: str) -> urllib3.PoolManager:
    parts = urlsplit(url)
    proxy = urllib.request.getproxies().get(parts.scheme)
    if proxy and not urllib.request.proxy_bypass(parts.netloc):
        return urllib3.ProxyManager(proxy, maxsize=8)
    return urllib3.PoolManager(maxsize=8)


def _should_retry(error: Exception) -> bool | float:
    """Whether to send again after this error, or after how many seconds."""
    if not isinstance(error, UnavailableError) or error.not_devflow:
        return False
    if error.retry_after is None:
        return True
    return error.retry_after if error.retry_after <= RETRY_SECONDS else False


def _describe(error: HTTPError) -> str:
    cause = getattr(error, "reason", error)
    if isinstance(cause, ProtocolError) and cause.args:
        cause = cause.args[-1]  # what is around it is a tuple
    return redact(_LIBRARY_PREFIX.sub("", str(cause)))


def _parse_retry_after(header: str | None) -> float | None:
    return float(header) if header and header.isascii() and header.isdecimal() else None


def drop_none(values: Json) -> Json:
    """What was given: the values that are not None."""
    return {name: value for name, value in values.items() if value is not None}


def parse_json_object(content: bytes | str) -> Json | None:
    """The JSON object that a text is; None where it is none."""
    try:
        parsed: Any = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return parsed if isinstance(parsed, dict) else None
