"""A client of the API, built on the standard library. It calls over HTTP or calls the in-process gateway directly."""

import http.client
import json
import threading
from collections.abc import Mapping
from typing import Any, Protocol
from urllib.parse import urlencode, urlsplit

from infra.local.gateway import Headers, Response


class Transport(Protocol):
    """Carries a request to the API: `infra.local.gateway.Gateway` or `Http`."""

    def call(self, method: str, target: str, headers: Headers = (), body: bytes = b"") -> Response: ...


class Http:
    """Real HTTP, with one persistent connection per thread."""

    def __init__(self, url: str, *, timeout: float = 30) -> None:
        parts = urlsplit(url)
        self._address = (parts.hostname or "", parts.port or 80)
        self._timeout = timeout
        self._local = threading.local()
        self._opened: list[http.client.HTTPConnection] = []

    def call(self, method: str, target: str, headers: Headers = (), body: bytes = b"") -> Response:
        is_reused = hasattr(self._local, "connection")
        try:
            return self._exchange(self._connection(), method, target, headers, body)
        except (BrokenPipeError, ConnectionResetError):
            self.close()
            if not is_reused:
                raise
            return self.call(method, target, headers, body)  # the server had closed the idle connection
        except Exception:
            self.close()
            raise

    def close(self) -> None:
        """Close this thread's connection."""
        if hasattr(self._local, "connection"):
            self._local.connection.close()
            del self._local.connection

    def close_all(self) -> None:
        """Close the connections of all threads. No thread may be using its connection."""
        for connection in self._opened:
            connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        if not hasattr(self._local, "connection"):
            self._local.connection = http.client.HTTPConnection(*self._address, timeout=self._timeout)
            self._opened.append(self._local.connection)
        connection: http.client.HTTPConnection = self._local.connection
        return connection

    @staticmethod
    def _exchange(
        connection: http.client.HTTPConnection, method: str, target: str, headers: Headers, body: bytes
    ) -> Response:
        names = {name.lower() for name, _ in headers}
        connection.putrequest(method, target, skip_host="host" in names, skip_accept_encoding=True)
        for name, value in headers:
            connection.putheader(name, value)
        if (body or method in ("POST", "PUT", "PATCH")) and not names & {"content-length", "transfer-encoding"}:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body or None)
        response = connection.getresponse()
        return Response(response.status, tuple(response.getheaders()), response.read())


class Client:
    """Calls the API with a token and JSON bodies: `client.post("/api/tasks", {...}).json()`."""

    def __init__(self, transport: Transport, token: str | None = None) -> None:
        self.transport = transport
        self.token = token

    def acting_as(self, token: str | None) -> "Client":
        """The same client with another token, or without one."""
        return Client(self.transport, token)

    def get(self, path: str, query: Mapping[str, Any] | None = None, **headers: str) -> Response:
        return self.send("GET", path + (f"?{urlencode(query, doseq=True)}" if query else ""), **headers)

    def post(self, path: str, body: Any = None, **headers: str) -> Response:
        return self.send("POST", path, body, **headers)

    def patch(self, path: str, body: Any = None, **headers: str) -> Response:
        return self.send("PATCH", path, body, **headers)

    def delete(self, path: str, **headers: str) -> Response:
        return self.send("DELETE", path, **headers)

    def send(self, method: str, path: str, body: Any = None, **headers: str) -> Response:
        """Send a request.

        A `body` of bytes is sent unchanged, None sends no body, and anything else is sent as JSON.
        The keyword `Idempotency_Key="..."` sets the header `Idempotency-Key`. It replaces a default header.
        """
        content = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        sent = {"Content-Type": "application/json"} if body is not None else {}
        if self.token is not None:
            sent["Authorization"] = f"Bearer {self.token}"
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        return self.transport.call(method, path, sent.items(), content)

    def login(self, email: str = "user@example.com", pin: str = "123456") -> "Client":
        """Log in with a PIN and return a client with the user's token. Raises AssertionError if the login fails."""
        response = self.post("/api/auth/pin/login", {"email": email, "pin": pin})
        assert response.status == 200, response
        return self.acting_as(response.json()["token"])
