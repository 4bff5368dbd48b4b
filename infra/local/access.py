"""Who may call the local stage.

The stage listens on loopback, but a page of any site can send requests there from the browser of a developer:

- directly, to `http://localhost:3000`. The browser then sends `Origin` or `Sec-Fetch-Site`, and lets the page read no
  response. The app protects its own routes against such requests. `Access` protects those of the stage itself;
- under the page's own host name, after its DNS server has returned 127.0.0.1 for it (DNS rebinding). For the browser,
  the stage then belongs to the page. Only the header `Host` shows the difference.

A stage is public if DEVFLOW_URL names another machine (a tunnel), or if it listens on an address that is not loopback.
Then it has no endpoints of its own, and its predefined user has a random PIN.
"""

import ipaddress
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from infra.local.gateway import Headers, Response, error_response
from infra.local.http_server import Application

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
_DEFAULT_PORTS = {"http": 80, "https": 443}
_MAX_SHOWN = 100
"""How many characters of a rejected host an error repeats."""


class Access:
    """The hosts at which a stage may be called, and who may call its own endpoints."""

    def __init__(self, url: str, addresses: Sequence[str] = ("127.0.0.1",)) -> None:
        """`url` is the value of DEVFLOW_URL, `addresses` are the IP addresses on which the stage listens."""
        self._url = urlsplit(url)
        self.is_public = self._url.hostname not in LOOPBACK_NAMES or not all(map(_is_loopback, addresses))
        """Whether others than the programs of this machine are meant to call the stage."""

    def check_host(self, headers: Headers) -> Response | None:
        """The error for a request whose `Host` is not one of the stage's; None if it is.

        Loopback names are accepted with every port, because a forwarded port is another one. A page cannot make a
        browser send a loopback name for any other host.
        """
        hosts = _values(headers, "host")
        if len(hosts) == 1 and self._is_own(hosts[0]):
            return None
        shown = ", ".join(hosts)[:_MAX_SHOWN] or "no host"
        return error_response(
            421,
            "Unknown host",
            f"The local stage was called as {shown!r}. It accepts localhost, 127.0.0.1, [::1] and the host of"
            " DEVFLOW_URL. If this is the address of your tunnel or proxy, restart the stage with"
            " DEVFLOW_URL=https://<that address>.",
        )

    def _is_own(self, host: str) -> bool:
        name, port = _parse_host(host)
        if name in LOOPBACK_NAMES:
            return True
        default = _DEFAULT_PORTS.get(self._url.scheme)
        return name is not None and name == self._url.hostname and (port or default) == (self._url.port or default)

    def check_origin(self, headers: Headers) -> Response | None:
        """The error for a request to `/local/*` that a page of another origin sent; None for any other request.

        `Host` must have been checked. Programs send neither Origin (RFC 6454) nor Sec-Fetch-Site
        (https://www.w3.org/TR/fetch-metadata/); every browser sends one of them, except to open an address.
        """
        own = {f"http://{host.lower()}" for host in _values(headers, "host")}
        sites = set(_values(headers, "sec-fetch-site"))
        if {origin.lower() for origin in _values(headers, "origin")} <= own and sites <= {"same-origin", "none"}:
            return None
        return error_response(
            403, "Other origin", "Pages of other origins cannot use /local/*. Call it from a program, such as curl."
        )


def check_content_type(headers: Headers) -> Response | None:
    """The error for a request that changes something and is not declared as JSON, as a form's never is."""
    types = [value.partition(";")[0].strip().lower() for value in _values(headers, "content-type")]
    if types == ["application/json"]:
        return None
    return error_response(
        415,
        "Unsupported content type",
        "The body must be JSON. Send it with the header Content-Type: application/json.",
    )


class LoopbackOnly:
    """An application that only programs of this machine may call, such as the stand-in for a service of AWS."""

    def __init__(self, application: Application) -> None:
        self._application = application

    def call(
        self, method: str, target: str, headers: Headers = (), body: bytes = b"", *, source_ip: str = "127.0.0.1"
    ) -> Response:
        if _is_from_page(_values(headers, "host"), _values(headers, "origin")):
            return Response(403, (("Content-Type", "text/plain"),), b"Pages cannot call this service.\n")
        return self._application.call(method, target, headers, body, source_ip=source_ip)


def loopback_only_wsgi(application: Callable[..., Iterable[bytes]]) -> Callable[..., Iterable[bytes]]:
    """`LoopbackOnly` for a WSGI application (PEP 3333)."""

    def guarded(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        origins = [environ["HTTP_ORIGIN"]] if "HTTP_ORIGIN" in environ else []
        if _is_from_page([environ.get("HTTP_HOST", "")], origins):
            start_response("403 Forbidden", [("Content-Type", "text/plain")])
            return [b"Pages cannot call this service.\n"]
        return application(environ, start_response)

    return guarded


def _is_from_page(hosts: Sequence[str], origins: Sequence[str]) -> bool:
    """Whether the page of a browser sent a request to a service that has no pages."""
    return bool(origins) or any(_parse_host(host)[0] not in LOOPBACK_NAMES for host in hosts)


def _values(headers: Headers, name: str) -> list[str]:
    return [value.strip() for key, value in headers if key.lower() == name]


def _parse_host(host: str) -> tuple[str | None, int | None]:
    """The name (in lower case, without brackets) and the port of a header `Host`. No name where it is not valid."""
    with suppress(ValueError):
        parts = urlsplit(f"//{host}")
        if parts.netloc == host and "@" not in host:
            return parts.hostname, parts.port
    return None, None


def _is_loopback(address: str) -> bool:
    return ipaddress.ip_address(address).is_loopback
