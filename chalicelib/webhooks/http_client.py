"""One request to a webhook: resolved once, checked, and sent to the address that was checked. The only HTTP client.

A name could lead elsewhere the moment after it was checked, so it is resolved once for each request, every address
that it leads to is checked, and the connection goes to one of those, while the certificate is checked for the name.
No redirect is followed and no proxy used. The time that all of it may take is limited as a whole: a receiver that
sends a byte now and then is cut off, too.
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
"""How many addresses of a name are tried, one after the other."""

MAX_RESPONSE_BYTES = KB
"""How much of an answer is read and kept."""


class HostNotFound(Exception):
    """The name leads nowhere."""


class LookupFailed(Exception):
    """Where the name leads cannot be said right now."""


class HttpResult(NamedTuple):
    """What came of a request. `status` is None where no answer came; `error` is None for an answer of 2xx."""

    ms: int
    status: int | None = None
    error: str | None = None
    text: str = ""
    """The beginning of the answer's body."""
    retry_after: str | None = None
    """That header, as it came."""


def resolve(host: str, port: int, seconds: float) -> list[str]:
    """Every address that a host has, as the system sees it. Raises NoSuchName, LookupFailed.

    The system's own resolver knows no timeout, so it is asked in a thread that nobody waits for for longer.
    """
    response: queue.Queue[Any] = queue.Queue(1)

    def ask() -> None:
        try:
            response.put(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except OSError as error:
            response.put(error)

    threading.Thread(target=ask, daemon=True).start()
    try:
        found = response.get(timeout=max(0.0, seconds))
    except queue.Empty:
        raise LookupFailed from None
    if isinstance(found, socket.gaierror) and found.errno in (socket.EAI_NONAME, getattr(socket, "EAI_NODATA", -5)):
        raise HostNotFound
    if isinstance(found, OSError):
        raise LookupFailed
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def post_webhook(url: str, headers: Mapping[str, str], body: bytes, *, seconds: float, local: bool) -> HttpResult:
    """Send a webhook, in so many seconds. Whatever the receiver does, this only tells of it."""
    began = time.monotonic()
    ends = began + seconds
    status, retry_after, text, error = None, None, b"", None
    try:
        target = targets.parse_target(url, local=local)
        addresses = resolve(target.host, target.port, min(LOOKUP_TIMEOUT, seconds))
        targets.check_addresses(addresses, local=local)
        with _connect(target, addresses, ends) as connection:
            connection.request("POST", target.path, body, _headers(target, headers), preload_content=False)
            response = connection.getresponse()
            status, retry_after = response.status, response.headers.get("Retry-After")
            error = _status_error(status)
            while len(text) < MAX_RESPONSE_BYTES and (
                piece := response.read(MAX_RESPONSE_BYTES - len(text), decode_content=False)
            ):
                text += piece
            if connection.cancelled:  # which looks like the end of an answer that does not say how long it is
                raise TimeoutError
    except BadTarget as refused:
        error = refused.message
    except HostNotFound:
        error = "The name of its host leads nowhere."
    except LookupFailed:
        error = "The name of its host could not be resolved."
    except ssl.SSLCertVerificationError as failure:
        error = f"Its certificate is not valid: {failure.verify_message}"
    except (HTTPError, HTTPException, OSError, ValueError) as failure:
        error = _describe_failure(failure, status, over=time.monotonic() >= ends, seconds=seconds)
    ms = round((time.monotonic() - began) * 1_000)
    return HttpResult(ms, status, error, text[:MAX_RESPONSE_BYTES].decode(errors="replace"), retry_after)


def _status_error(status: int) -> str | None:
    if 200 <= status < 300:  # noqa: PLR2004
        return None
    if 300 <= status < 400:  # noqa: PLR2004
        return f"It answered {status}: redirects are not followed."
    return f"It answered {status}."


def _describe_failure(failure: Exception, status: int | None, *, over: bool, seconds: float) -> str:
    cause: BaseException | None = failure
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"Its certificate is not valid: {cause.verify_message}"
        cause = cause.__cause__ or cause.__context__
    if not over and isinstance(failure, ConnectTimeoutError):  # which is also what a refused one is to urllib3
        return "No connection could be made."
    if over or isinstance(failure, TimeoutError | urllib3.exceptions.TimeoutError):
        return f"It did not answer within {seconds:g} s."
    if isinstance(failure, ssl.SSLError | urllib3.exceptions.SSLError):
        return "No secure connection could be made."
    return "The connection ended before the answer did." if status else "The connection ended without an answer."


def _headers(target: Target, headers: Mapping[str, str]) -> dict[str, str]:
    own = {
        "Host": target.host_header,
        "User-Agent": f"DevFlow-Webhooks/{VERSION}",
        "Content-Type": "application/json",
        "Accept-Encoding": "identity",
        "Connection": "close",
    }
    return own | dict(headers)


class _CancellableConnection:
    """A connection that somebody else can end, whatever it is at: by way of another descriptor of its socket."""

    handle: socket.socket | None = None
    cancelled = False

    def _new_conn(self) -> socket.socket:
        made: socket.socket = super()._new_conn()  # type: ignore[misc]
        self.handle = socket.socket(fileno=os.dup(made.fileno()))
        return made

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
def _connect(target: Target, addresses: list[str], ends: float) -> Iterator[Any]:
    """A connection to the first of these addresses that takes one; it is cut off at `ends`."""
    for at, address in enumerate(addresses[:MAX_ADDRESSES], 1):
        connection = _new_connection(target, address, max(0.001, ends - time.monotonic()))
        timer = threading.Timer(max(0.0, ends - time.monotonic()), connection.cancel)
        timer.daemon = True
        timer.start()
        try:
            try:
                connection.connect()
            except (HTTPError, OSError):
                if connection.handle is not None or at == min(len(addresses), MAX_ADDRESSES):
                    raise  # it was reached, or was the last
                continue
            connection.timeout = max(0.001, ends - time.monotonic())
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
    """The certificates that the system trusts (OpenSSL's SSL_CERT_FILE names others)."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def signature_headers(identity: str, secrets: list[str], body: str, sequence: int, now: int) -> dict[str, str]:
    """The headers of a webhook, by the specification of Standard Webhooks: one signature for each secret."""
    from standardwebhooks import Webhook  # noqa: PLC0415  # loaded where webhooks are delivered, and nowhere else

    at = datetime.fromtimestamp(now // 1_000, UTC)
    return {
        "webhook-id": identity,
        "webhook-timestamp": str(now // 1_000),
        "webhook-signature": " ".join(Webhook(secret).sign(identity, at, body) for secret in secrets),
        "devflow-sequence": str(sequence),
    }
