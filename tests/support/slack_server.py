"""A fake Slack over real HTTP: its sign-in page, its token endpoint and its signing keys.

It implements https://docs.slack.dev/authentication/sign-in-with-slack correctly and strictly. Tests can change parts of
its behaviour.
"""

import base64
import json
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key

CLIENT_ID, CLIENT_SECRET = "1234567890.0987654321", "the client's secret"
TOKEN, KEYS, AUTHORIZE = "/api/openid.connect.token", "/openid/connect/keys", "/openid/connect/authorize"

_KEY = generate_private_key(65_537, 2_048)
_OTHER_KEY = generate_private_key(65_537, 2_048)

Behaviour = Callable[["_Handler"], None]
"""Handles a request instead of the normal behaviour."""


def jwk(key: RSAPrivateKey, kid: str) -> dict[str, str]:
    """A public key as a JSON Web Key (RFC 7517)."""
    numbers = key.public_key().public_numbers()

    def encoded(number: int) -> str:
        raw = number.to_bytes((number.bit_length() + 7) // 8, "big")
        return base64.urlsafe_b64encode(raw).decode().rstrip("=")

    return {"kty": "RSA", "use": "sig", "alg": "RS256", "kid": kid, "n": encoded(numbers.n), "e": encoded(numbers.e)}


@dataclass
class Slack:
    """The settings that a test may change, and the recorded requests."""

    clock: Callable[[], float]
    """Slack's time, in epoch seconds."""
    url: str = ""
    denies: bool = False
    """Whether the person at the sign-in page declines."""
    claims: dict[str, Any] = field(default_factory=dict)
    """Claims of the id token that replace the defaults. None removes a claim."""
    key: RSAPrivateKey = _KEY
    kid: str = "key-of-slack"
    sign: Callable[[dict[str, Any]], str] | None = None
    """Signs the claims of an id token, instead of the correct signature."""
    token_response: dict[str, Any] = field(default_factory=dict)
    """Fields of the token endpoint's response that replace the defaults."""
    behaviours: dict[str, Behaviour] = field(default_factory=dict)
    """Changed behaviours, by path."""
    requested_paths: list[str] = field(default_factory=list)
    """The paths of all requests, in order."""
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    """The sign-in request of each code that has been issued and not used yet."""

    @property
    def keys(self) -> dict[str, Any]:
        return {"keys": [jwk(self.key, self.kid)]}

    def sign_with_another_key(self) -> None:
        self.sign = lambda claims: jwt.encode(claims, _OTHER_KEY, "RS256", headers={"kid": self.kid})

    def change_keys(self) -> None:
        self.key, self.kid = _OTHER_KEY, "another-key-of-slack"

    def id_token(self, client: str, nonce: str) -> str:
        now = int(self.clock())
        claims = {
            "iss": self.url,
            "sub": "U0R7MFMJM",
            "aud": client,
            "exp": now + 300,
            "iat": now,
            "auth_time": now,
            "nonce": nonce,
            "at_hash": "tUbyWGvZZb7mGaIMTH0iTQ",
            "https://slack.com/team_id": "T0R7GR8RJ",
            "https://slack.com/user_id": "U0R7MFMJM",
            "email": "krane@example.com",
            "email_verified": True,
            "name": "Krane",
        } | self.claims
        claims = {name: value for name, value in claims.items() if value is not None}
        if self.sign is not None:
            return self.sign(claims)
        return jwt.encode(claims, self.key, "RS256", headers={"kid": self.kid})


class _Handler(BaseHTTPRequestHandler):
    slack: Slack
    stopping: threading.Event

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        if self._has_changed_behaviour(path):
            return
        if path == KEYS:
            self.send(json.dumps(self.slack.keys))
        elif path == AUTHORIZE:
            self._authorize({name: values[0] for name, values in parse_qs(query, strict_parsing=True).items()})
        else:
            self.send("no such page", status=404)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        if self._has_changed_behaviour(self.path):
            return
        form = {name: values[0] for name, values in parse_qs(body, strict_parsing=True).items()}
        basic = base64.b64encode(f"{CLIENT_ID}:{CLIENT_SECRET}".encode()).decode()
        known = self.slack.codes.pop(form.get("code", ""), None)
        if self.headers["Authorization"] != f"Basic {basic}":
            response: dict[str, Any] = {"ok": False, "error": "bad_client_secret"}
        elif known is None:
            response = {"ok": False, "error": "invalid_code"}
        elif form["redirect_uri"] != known["redirect_uri"] or form["grant_type"] != "authorization_code":
            response = {"ok": False, "error": "bad_redirect_uri"}
        else:
            token = self.slack.id_token(known["client_id"], known["nonce"])
            response = {"ok": True, "access_token": "xoxp-1", "token_type": "Bearer", "id_token": token}
        self.send(json.dumps(response | self.slack.token_response))

    def _authorize(self, query: dict[str, str]) -> None:
        assert query["response_type"] == "code"
        assert "openid" in query["scope"].split()
        assert query["client_id"] == CLIENT_ID
        assert len(query["state"]) >= 43
        assert len(query["nonce"]) >= 43
        if self.slack.denies:
            result = {"error": "access_denied", "state": query["state"]}
        else:
            code = secrets.token_urlsafe(16)
            self.slack.codes[code] = query
            result = {"code": code, "state": query["state"]}
        self.send("", status=302, location=f"{query['redirect_uri']}?{urlencode(result)}")

    def _has_changed_behaviour(self, path: str) -> bool:
        """Record a request, and handle it if a test has changed the behaviour of its path."""
        self.slack.requested_paths.append(path)
        behaviour = self.slack.behaviours.get(path)
        if behaviour is not None:
            behaviour(self)
        return behaviour is not None

    def send(self, body: str | bytes, *, status: int = 200, location: str = "", kind: str = "application/json") -> None:
        raw = body.encode() if isinstance(body, str) else body
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(raw)))
        if location:
            self.send_header("Location", location)
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # named by http.server
        """Log nothing."""


def says(body: str | bytes, *, status: int = 200, kind: str = "application/json") -> Behaviour:
    """Responds with this body to every request."""
    return lambda handler: handler.send(body, status=status, kind=kind)


def hangs_up(handler: _Handler) -> None:
    handler.close_connection = True


def never_answers(handler: _Handler) -> None:
    """Reads the request and does not respond until the test ends."""
    handler.stopping.wait()
    handler.close_connection = True


def trickles(handler: _Handler) -> None:
    """Sends a body one byte at a time, without an end."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000000")
    handler.end_headers()
    while not handler.stopping.wait(0.05):
        try:
            handler.wfile.write(b" ")
            handler.wfile.flush()
        except OSError:
            break
    handler.close_connection = True


@contextmanager
def running(clock: Callable[[], float]) -> Iterator[Slack]:
    """Run the fake Slack on a free port."""
    slack, stopping = Slack(clock), threading.Event()
    handler = type("Handler", (_Handler,), {"slack": slack, "stopping": stopping})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    slack.url = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield slack
    finally:
        stopping.set()
        server.shutdown()
        server.server_close()


def path_of(address: str) -> str:
    """Path and query of a URL."""
    parts = urlsplit(address)
    return parts.path + (f"?{parts.query}" if parts.query else "")
