"""The HTTP client for webhooks. It connects only to addresses that it has checked.

A host name may resolve to another address right after a check. So each request resolves the name once, checks every
address, and connects to one of the checked addresses. The certificate is verified for the name. Redirects are not
followed, and proxies are not used. A timeout limits the whole request, so a receiver that sends a byte now and then
cannot extend it.
"""

import os
import queue
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import cache
from http.client import HTTPException
from typing import Any, NamedTuple

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, HTTPError

from chalicelib.core.settings import KB, VERSION
from chalicelib.webhooks import targets
from chalicelib.webhooks.targets import BadTarget, Target

LOOKUP_TIMEOUT = 3.0
CONNECT_TIMEOUT = 5.0
MAX_ADDRESSES = 4
"""How many addresses of a host are tried, one after the other."""

MAX_RESPONSE_BYTES = KB
"""How much of a response body is read and stored."""


class HostNotFound(Exception):
    """The host name does not exist."""


class LookupFailed(Exception):
    """The host name could not be resolved. A later try may succeed."""


class HttpResult(NamedTuple):
    """The result of a request. `status` is None without a response; `error` is None for a response with status 2xx."""

    ms: int
    """How long the request took, in milliseconds."""
    status: int | None = None
    error: str | None = None
    text: str = ""
    """The first MAX_RESPONSE_BYTES of the response body."""
    retry_after: str | None = None
    """The header Retry-After as it was received."""


def resolve(host: str, port: int, seconds: float) -> list[str]:
    """Resolve a host with the system's resolver, within `seconds`. Returns its addresses, without duplicates.

    The resolver has no timeout, so it runs in a thread, which is abandoned after the timeout. Raises HostNotFound and
    LookupFailed.
    """
    results: queue.Queue[Any] = queue.Queue(1)

    def look_up() -> None:
        try:
            results.put(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except OSError as error:
            results.put(error)

    threading.Thread(target=look_up, daemon=True).start()
    try:
        result = results.get(timeout=max(0.0, seconds))
    except queue.Empty:
        raise LookupFailed from None
    if isinstance(result, socket.gaierror) and result.errno in (socket.EAI_NONAME, getattr(socket, "EAI_NODATA", -5)):
        raise HostNotFound
    if isinstance(result, OSError):
        raise LookupFailed
    return list(dict.fromkeys(str(address[0]) for *_, address in result))


def post_webhook(url: str, headers: Mapping[str, str], body: bytes, *, seconds: float, local: bool) -> HttpResult:
    """Send a webhook, within `seconds`. Errors are returned in the result and never raised.

    `local` allows loopback addresses and plain HTTP to them.
    """
    started = time.monotonic()
    deadline = started + seconds
    status, retry_after, text, error = None, None, b"", None
    try:
        target = targets.parse_target(url, local=local)
        addresses = resolve(target.host, target.port, min(LOOKUP_TIMEOUT, seconds))
        targets.check_addresses(addresses, local=local)
        with _connect(target, addresses, deadline) as connection:
            connection.request("POST", target.path, body, _headers(target, headers), preload_content=False)
            response = connection.getresponse()
            status, retry_after = response.status, response.headers.get("Retry-After")
            error = _status_error(status)
            while len(text) < MAX_RESPONSE_BYTES and (
                chunk := response.read(MAX_RESPONSE_BYTES - len(text), decode_content=False)
            ):
                text += chunk
            if connection.cancelled:  # without Content-Length, a cancelled response looks like a complete one
                raise TimeoutError
    except BadTarget as refused:
        error = refused.message
    except HostNotFound:
        error = "The host name does not exist."
    except LookupFailed:
        error = "The host name could not be resolved."
    except ssl.SSLCertVerificationError as failure:
        error = f"The certificate is not valid: {failure.verify_message}"
    except (HTTPError, HTTPException, OSError, ValueError) as failure:
        error = _describe_failure(failure, status, timed_out=time.monotonic() >= deadline, seconds=seconds)
    ms = round((time.monotonic() - started) * 1_000)
    return HttpResult(ms, status, error, text[:MAX_RESPONSE_BYTES].decode(errors="replace"), retry_after)


def _status_error(status: int) -> str | None:
    if 200 <= status < 300:  # noqa: PLR2004
        return None
    if 300 <= status < 400:  # noqa: PLR2004
        return f"The receiver returned {status}. Redirects are not followed."
    return f"The receiver returned {status}."


def _describe_failure(failure: Exception, status: int | None, *, timed_out: bool, seconds: float) -> str:
    cause: BaseException | None = failure
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"The certificate is not valid: {cause.verify_message}"
        cause = cause.__cause__ or cause.__context__
    if not timed_out and isinstance(failure, ConnectTimeoutError):  # urllib3 raises it for a refused connection too
        return "DevFlow could not connect to the receiver."
    if timed_out or isinstance(failure, TimeoutError | urllib3.exceptions.TimeoutError):
        return f"The receiver did not respond within {seconds:g} s."
    if isinstance(failure, ssl.SSLError | urllib3.exceptions.SSLError):
        return "The TLS handshake with the receiver failed."
    if status:
        return "The connection ended before the response was complete."
    return "The connection ended without a response."


def _headers(target: Target, headers: Mapping[str, str]) -> dict[str, str]:
    standard = {
        "Host": target.host_header,
        "User-Agent": f"DevFlow-Webhooks/{VERSION}",
        "Content-Type": "application/json",
        "Accept-Encoding": "identity",
        "Connection": "close",
    }
    return standard | dict(headers)


class _CancellableConnection:
    """A connection that another thread can end at any time, with a second descriptor of its socket."""

    handle: socket.socket | None = None
    cancelled = False

    def _new_conn(self) -> socket.socket:
        connected: socket.socket = super()._new_conn()  # type: ignore[misc]
        self.handle = socket.socket(fileno=os.dup(connected.fileno()))
        return connected

    def cancel(self) -> None:
        self.cancelled = True
        if self.handle is not None:
            with suppress(OSError):
                self.handle.shutdown(socket.SHUT_RDWR)

    def end(self) -> None:
        self.close()  # type: ignore[attr-defined]
        if self.handle is not None:
            self.handle.close()


class _HttpConnection(_CancellableConnection, HTTPConnection):
    pass


class _HttpsConnection(_CancellableConnection, HTTPSConnection):
    pass


@contextmanager
def _connect(target: Target, addresses: list[str], deadline: float) -> Iterator[Any]:
    """A connection to the first of these addresses that accepts one. It is cancelled at `deadline` (monotonic time)."""
    for number, address in enumerate(addresses[:MAX_ADDRESSES], 1):
        connection = _new_connection(target, address, max(0.001, deadline - time.monotonic()))
        timer = threading.Timer(max(0.0, deadline - time.monotonic()), connection.cancel)
        timer.daemon = True
        timer.start()
        try:
            try:
                connection.connect()
            except (HTTPError, OSError):
                if connection.handle is not None or number == min(len(addresses), MAX_ADDRESSES):
                    raise  # this address was reached, or was the last one to try
                continue
            connection.timeout = max(0.001, deadline - time.monotonic())
            connection.sock.settimeout(connection.timeout)
            yield connection
            return
        finally:
            timer.cancel()
            connection.end()


def _new_connection(target: Target, address: str, seconds: float) -> Any:
    timeout = min(CONNECT_TIMEOUT, seconds)
    if not target.is_https:
        return _HttpConnection(address, target.port, timeout=timeout)
    return _HttpsConnection(
        address, target.port, timeout=timeout, server_hostname=target.host, ssl_context=_tls_context()
    )


@cache
def _tls_context() -> ssl.SSLContext:
    """TLS 1.2 or newer, with the certificate authorities of the system (or those of OpenSSL's SSL_CERT_FILE)."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def signature_headers(delivery_id: str, secrets: list[str], body: str, sequence: int, now: int) -> dict[str, str]:
    """The headers of a webhook as the Standard Webhooks specification defines them: one signature for each secret.

    The header devflow-sequence is an addition of DevFlow.
    """
    from standardwebhooks import Webhook  # noqa: PLC0415  # only deliveries need it

    at = datetime.fromtimestamp(now // 1_000, UTC)
    return {
        "webhook-id": delivery_id,
        "webhook-timestamp": str(now // 1_000),
        "webhook-signature": " ".join(Webhook(secret).sign(delivery_id, at, body) for secret in secrets),
        "devflow-sequence": str(sequence),
    }
