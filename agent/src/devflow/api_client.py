"""A client of the platform's HTTP API."""

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
"""API Gateway ends a request after 29 s and sends a response that says so."""
RETRY_SECONDS = 30.0
"""How long `send_with_retries` keeps retrying."""
_MAX_WAIT_SECONDS = 5.0
_LIBRARY_PREFIX = re.compile(r"^<[^>]*>: |^HTTPS?Connection(?:Pool)?\([^)]*\): |\[Errno -?\d+\] ")
_TOKEN = re.compile(r"[!-~]+")
"""The tokens of RFC 6750, section 2.1, and all other visible ASCII characters: what a header can carry."""
_UNAUTHORIZED, _TOO_MANY, _SERVER_ERROR = 401, 429, 500


class ApiResponse(Json):
    """The JSON object of a response. Reading a missing member raises UnavailableError.

    The platform always sends the members that its callers read. If one is missing, another program has responded.
    """

    def __init__(self, content: Json, url: str) -> None:
        super().__init__(content)
        self._url = url

    def __missing__(self, name: str) -> NoReturn:
        raise _unexpected_response(self._url, f"{name!r} is missing")


def _unexpected_response(url: str, reason: str) -> UnavailableError:
    return UnavailableError(
        f"The response from {url} does not come from DevFlow ({reason}). Check the URL.", not_devflow=True
    )


class ApiClient:
    """Sends requests with a token and JSON bodies. All threads may share one client.

    `token` may be a function, which is called before each request, because an agent's token changes while it runs.
    `on_response` is called after each request that the platform accepted as this client's, with the time at which the
    request was sent. A response that means "not authenticated" or "unavailable" does not count.
    """

    def __init__(
        self,
        url: str,
        token: str | Callable[[], str] | None = None,
        *,
        on_response: Callable[[float], None] = lambda _sent_at: None,
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
        """Send a request once, without retries.

        Keywords are headers, with underscores in place of dashes. Raises UnavailableError if the same request may be
        sent again, NotLoggedInError on 401, and RequestRejectedError on every other 4xx.
        """
        all_headers = {"Accept": "application/json", "User-Agent": f"devflow/{__version__}"}
        token = self._token() if callable(self._token) else self._token
        if token:
            if not _TOKEN.fullmatch(token):  # the error of http.client would contain the whole token
                raise SettingsError("The token is not valid: it contains characters that no token has")
            all_headers["Authorization"] = f"Bearer {token}"
        content, sent_at = None, self._clock.now()
        if body is not None:
            content, all_headers["Content-Type"] = json.dumps(body).encode(), "application/json"
        all_headers |= {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            response = self._pool.request(
                method,
                self.url + path,
                body=content,
                headers=all_headers,
                timeout=self._timeout,
                redirect=False,
                retries=False,
            )
        except HTTPError as error:
            raise UnavailableError(f"{self.url} cannot be reached: {_describe(error)}") from None
        if response.status == _UNAUTHORIZED and callable(self._token) and self._token() != token:
            return self.send(method, path, body, **headers)  # the token was renewed while the request was under way
        result = self._read(response)
        self._on_response(sent_at)
        if isinstance(result, RequestRejectedError):
            raise result
        return result

    def send_with_retries(self, method: str, path: str, body: Json | None = None, **headers: str) -> Json:
        """Send a request, and retry for half a minute while the platform is unavailable.

        Only for requests that have one effect however often they are sent. Raises the errors of `send`.
        """
        for attempt in stamina.retry_context(
            on=_should_retry, attempts=None, timeout=RETRY_SECONDS, wait_initial=0.5, wait_max=_MAX_WAIT_SECONDS
        ):
            with attempt:
                return self.send(method, path, body, **headers)
        raise AssertionError("retry_context either returns or raises")

    def _read(self, response: urllib3.BaseHTTPResponse) -> Json | RequestRejectedError:
        parsed = parse_json_object(response.data)
        if response.status in (200, 201, 202) and parsed is not None:
            return ApiResponse(parsed, self.url)
        if response.status == _TOO_MANY or response.status >= _SERVER_ERROR:
            message = (parsed or {}).get("message") or f"HTTP {response.status}"
            retry_after = _parse_retry_after(response.headers.get("Retry-After"))
            raise UnavailableError(f"{self.url} is unavailable: {message}", retry_after)
        if parsed is None or "error" not in parsed:
            # The page of a proxy, or another program at this URL. DevFlow's errors have this member.
            raise _unexpected_response(self.url, f"HTTP {response.status}")
        rejection = RequestRejectedError(
            response.status,
            str(parsed["error"]),
            str(parsed.get("message") or ""),
            tuple(map(str, parsed.get("details") or ())),
            response.headers.get("X-Request-Id", ""),
        )
        if response.status == _UNAUTHORIZED:
            raise NotLoggedInError(str(rejection))
        return rejection


def validate_url(url: str) -> str:
    """Return the platform's URL without a trailing slash. Raises SettingsError if it is not valid."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise SettingsError(
            f"{redact(url)!r} is not the URL of a platform. A valid URL looks like https://devflow.example.com"
        )
    if parts.username is not None:
        raise SettingsError("The platform's URL must not contain a user or a password. Log in to get a token instead")
    return url.rstrip("/")


def _make_pool(url: str) -> urllib3.PoolManager:
    parts = urlsplit(url)
    proxy = urllib.request.getproxies().get(parts.scheme)
    if proxy and not urllib.request.proxy_bypass(parts.netloc):
        return urllib3.ProxyManager(proxy, maxsize=8)
    return urllib3.PoolManager(maxsize=8)


def _should_retry(error: Exception) -> bool | float:
    """Return whether to retry after this error, or the seconds after which to retry."""
    if not isinstance(error, UnavailableError) or error.not_devflow:
        return False
    if error.retry_after is None:
        return True
    return error.retry_after if error.retry_after <= RETRY_SECONDS else False


def _describe(error: HTTPError) -> str:
    cause = getattr(error, "reason", error)
    if isinstance(cause, ProtocolError) and cause.args:
        cause = cause.args[-1]  # the other arguments are for programmers
    return redact(_LIBRARY_PREFIX.sub("", str(cause)))


def _parse_retry_after(header: str | None) -> float | None:
    return float(header) if header and header.isascii() and header.isdecimal() else None


def drop_none(values: Json) -> Json:
    """Return the values that are not None."""
    return {name: value for name, value in values.items() if value is not None}


def parse_json_object(content: bytes | str) -> Json | None:
    """Parse a JSON object. Returns None if the content is not one."""
    try:
        parsed: Any = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return parsed if isinstance(parsed, dict) else None
