"""Stands in for Slack over real HTTP: its sign-in page, its token endpoint, and the keys that it signs with.

As https://docs.slack.dev/authentication/sign-in-with-slack says. It is honest and strict until a test says otherwise.
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
"""What is done with a request instead of answering it as Slack does."""


def jwk(key: RSAPrivateKey, kid: str) -> dict[str, str]:
    """A public key as RFC 7517 has it."""
    numbers = key.public_key().public_numbers()

    def encoded(number: int) -> str:
        raw = number.to_bytes((number.bit_length() + 7) // 8, "big")
        return base64.urlsafe_b64encode(raw).decode().rstrip("=")

    return {"kty": "RSA", "use": "sig", "alg": "RS256", "kid": kid, "n": encoded(numbers.n), "e": encoded(numbers.e)}


@dataclass
class Slack:
    """What a test may bend, and what happened."""

    clock: Callable[[], float]
    """Slack's own time, in epoch seconds."""
    url: str = ""
    denies: bool = False
    """Whether the person at the sign-in page says no."""
    claims: dict[str, Any] = field(default_factory=dict)
    """What an id token says otherwise; None leaves a claim out."""
    key: RSAPrivateKey = _KEY
    kid: str = "key-of-slack"
    sign: Callable[[dict[str, Any]], str] | None = None
    """Makes the id token of its claims, instead of the honest way."""
    answer: dict[str, Any] = field(default_factory=dict)
    """What the token endpoint says otherwise."""
    behaves: dict[str, Behaviour] = field(default_factory=dict)
    """By path."""
    asked: list[str] = field(default_factory=list)
    """The paths of all requests, in order."""
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    """What each code that was given out and not used yet belongs to."""

    @property
    def keys(self) -> dict[str, Any]:
        return {"keys": [jwk(self.key, self.kid)]}

    def sign_with_another_key(self) -> None:
        self.sign = lambda said: jwt.encode(said, _OTHER_KEY, "RS256", headers={"kid": self.kid})

    def change_keys(self) -> None:
        self.key, self.kid = _OTHER_KEY, "another-key-of-slack"

    def id_token(self, client: str, nonce: str) -> str:
        now = int(self.clock())
        said = {
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
        said = {name: value for name, value in said.items() if value is not None}
        if self.sign is not None:
            return self.sign(said)
        return jwt.encode(said, self.key, "RS256", headers={"kid": self.kid})


class _Handler(BaseHTTPRequestHandler):
    slack: Slack
    stopping: threading.Event

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        if self._bent(path):
            return
        if path == KEYS:
            self.send(json.dumps(self.slack.keys))
        elif path == AUTHORIZE:
            self._authorize({name: values[0] for name, values in parse_qs(query, strict_parsing=True).items()})
        else:
            self.send("no such page", status=404)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        if self._bent(self.path):
            return
        form = {name: values[0] for name, values in parse_qs(body, strict_parsing=True).items()}
        basic = base64.b64encode(f"{CLIENT_ID}:{CLIENT_SECRET}".encode()).decode()
        known = self.slack.codes.pop(form.get("code", ""), None)
        if self.headers["Authorization"] != f"Basic {basic}":
            answer: dict[str, Any] = {"ok": False, "error": "bad_client_secret"}
        elif known is None:
            answer = {"ok": False, "error": "invalid_code"}
        elif form["redirect_uri"] != known["redirect_uri"] or form["grant_type"] != "authorization_code":
            answer = {"ok": False, "error": "bad_redirect_uri"}
        else:
            token = self.slack.id_token(known["client_id"], known["nonce"])
            answer = {"ok": True, "access_token": "xoxp-1", "token_type": "Bearer", "id_token": token}
        self.send(json.dumps(answer | self.slack.answer))

    def _authorize(self, asked: dict[str, str]) -> None:
        assert asked["response_type"] == "code"
        assert "openid" in asked["scope"].split()
        assert asked["client_id"] == CLIENT_ID
        assert len(asked["state"]) >= 43
        assert len(asked["nonce"]) >= 43
        if self.slack.denies:
            said = {"error": "access_denied", "state": asked["state"]}
        else:
            code = secrets.token_urlsafe(16)
            self.slack.codes[code] = asked
            said = {"code": code, "state": asked["state"]}
        self.send("", status=302, location=f"{asked['redirect_uri']}?{urlencode(said)}")

    def _bent(self, path: str) -> bool:
        self.slack.asked.append(path)
        behaviour = self.slack.behaves.get(path)
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
        """Nobody reads it."""


def says(body: str | bytes, *, status: int = 200, kind: str = "application/json") -> Behaviour:
    """Answers this, whatever was asked."""
    return lambda handler: handler.send(body, status=status, kind=kind)


def hangs_up(handler: _Handler) -> None:
    handler.close_connection = True


def never_answers(handler: _Handler) -> None:
    """Takes the request, and is silent until the test is over."""
    handler.stopping.wait()
    handler.close_connection = True


def trickles(handler: _Handler) -> None:
    """Sends a byte now and then, and never comes to an end."""
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
    """Slack, on a port of its own."""
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
    """Path and query of an address."""
    parts = urlsplit(address)
    return parts.path + (f"?{parts.query}" if parts.query else "")
