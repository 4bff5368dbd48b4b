"""The agent host: runs a workflow on this machine for whoever asks on loopback, and reports through the platform.

`POST /api/workflows/execute` of the spec. The task is submitted to the platform for this agent alone, which then polls
at once; so it has the same life as every other task, and the platform's word on who may submit counts here as well.
"""

import json
import secrets
import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from devflow import __version__
from devflow.api_client import ApiClient, Json
from devflow.engines import Engine
from devflow.errors import DevFlowError, NotLoggedInError, RequestRejectedError, SettingsError, UnavailableError, TaskFailedError

DEFAULT_PORT = 3001
"""The spec's."""
EXECUTE_PATH = "/api/workflows/execute"
MAX_BODY_BYTES = 256 * 1024
"""Of a request, as on the platform."""
_REQUEST_TIMEOUT_SECONDS = 15.0
"""In which a request has to arrive."""
_REQUIRED = ("taskId", "intent", "repo", "naturalLanguage")
_FORWARDED = (*_REQUIRED, "branch", "context", "priority", "timeoutSeconds", "maxAttempts")
_FORBIDDEN = 403


@dataclass(frozen=True)
class HostConfig:
    """What the host works with."""

    agent_id: str
    url: str
    token: Callable[[], str]
    """The agent's own."""
    engine: Engine
    poll_now: Callable[[], None]
    """Makes the agent poll at once."""
    capabilities: Collection[str] = ()
    """What this agent takes on; anything, as far as is known here, when empty."""


class HostError(Exception):
    """An answer in the contract's shape."""

    def __init__(self, status: int, error: str, message: str, details: Collection[str] = ()) -> None:
        super().__init__(message)
        self.status, self.error, self.details = status, error, list(details)


class AgentHost:
    """Listens on 127.0.0.1, from `start` to `stop`."""

    def __init__(self, desk: HostConfig, port: int = DEFAULT_PORT) -> None:
        """Raises SettingsError where the port cannot be had."""
        try:
            self._server = _Server(desk, port)
        except OSError as error:
            raise SettingsError(f"The agent host cannot listen on port {port}: {error.strerror}") from None
        self.port: int = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, name="host", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, desk: HostConfig, port: int) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.config = desk
        names = ("localhost", "127.0.0.1")
        self.hosts = {f"{name}:{self.server_port}" for name in names}


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    server_version, sys_version = f"devflow/{__version__}", ""
    timeout = _REQUEST_TIMEOUT_SECONDS
    wbufsize = 65_536

    def respond(self) -> None:
        """Answer one request; the connection ends with it, for what is left of a body that was refused is unknown."""
        self.close_connection = True
        try:
            status, body = self._route()
        except HostError as refusal:
            status, body = refusal.status, _error_body(refusal)
        content = json.dumps(body).encode()
        self.send_response(status)
        for name, value in {
            "Content-Type": "application/json",
            "Content-Length": str(len(content)),
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
            "Connection": "close",
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = respond  # noqa: N815  # named so there

    def _route(self) -> tuple[int, Json]:
        # First of all: a page in a browser that has a name of its own resolved to this machine gets no further.
        if self.headers.get("Host", "").lower() not in self.server.hosts:
            raise HostError(403, "Insufficient permissions", "This host answers to its own name on loopback only.")
        if self.headers.get("Origin") is not None:
            raise HostError(403, "Insufficient permissions", "This host is not for pages in a browser.")
        path = self.path.partition("?")[0]
        if path == "/health" and self.command == "GET":
            return 200, {"status": "ok", "version": __version__, "agentId": self.server.config.agent_id}
        if path != EXECUTE_PATH:
            raise HostError(404, "Not found", "Nothing is at this address.")
        if self.command != "POST":
            raise HostError(405, "Method not allowed", "Allowed here: POST.")
        return 202, submit_workflow(self.server.config, self._token(), self._body())

    def _token(self) -> str:
        scheme, _, token = self.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise HostError(401, "Invalid or expired token", "Send a token: Authorization: Bearer …")
        return token.strip()

    def _body(self) -> Json:
        if self.headers.get_content_type() != "application/json":
            raise HostError(415, "Unsupported content type", "Send JSON, with Content-Type: application/json.")
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdecimal()):
            raise HostError(400, "Invalid request", "Content-Length is missing.")
        if int(length) > MAX_BODY_BYTES:
            raise HostError(413, "Request too large", f"At most {MAX_BODY_BYTES} bytes.")
        try:
            parsed: Any = json.loads(self.rfile.read(int(length)))
        except (OSError, ValueError, RecursionError):
            raise HostError(400, "Invalid JSON", "The body is no JSON.") from None
        if not isinstance(parsed, dict):
            raise HostError(400, "Invalid request", "The body has to be an object.")
        return parsed

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # named by http.server
        """Nothing: a task that was accepted shows in the agent's log."""


def submit_workflow(desk: HostConfig, token: str, asked: Json) -> Json:
    """Have a workflow run by this agent. Raises RefusalError.

    The token is this agent's own, or that of its user; the platform says whether it is.
    """
    _authorize(desk, token)
    if missing := [name for name in _REQUIRED if not isinstance(asked.get(name), str) or not asked[name].strip()]:
        raise HostError(400, "Missing required fields", "Some fields are missing; see details.", missing)
    if desk.capabilities and asked["intent"] not in desk.capabilities:
        takes = ", ".join(sorted(desk.capabilities))
        raise HostError(400, "Invalid request", f"This agent takes {takes} only.")
    try:
        desk.engine.check()
        body = {name: asked[name] for name in _FORWARDED if asked.get(name) is not None}
        answer = ApiClient(desk.url, token).send("POST", EXECUTE_PATH, body | {"agentId": desk.agent_id})
    except (TaskFailedError, UnavailableError) as error:
        raise HostError(500, "Failed to execute workflow", str(error)) from None
    except (RequestRejectedError, NotLoggedInError) as error:
        raise _to_host_error(error) from None
    desk.poll_now()
    return {"accepted": True, "taskId": answer["taskId"]}


def _authorize(desk: HostConfig, token: str) -> None:
    """Before anything is tried on somebody's word: this agent's own token, or one that may see this agent."""
    if secrets.compare_digest(token.encode(), desk.token().encode()):
        return
    try:
        ApiClient(desk.url, token).send("GET", f"/api/agents/{desk.agent_id}")
    except RequestRejectedError as error:
        # Not there, to the platform, is also what belongs to somebody else.
        raise HostError(_FORBIDDEN, "Insufficient permissions", "This agent is not of this token's user.") from error
    except NotLoggedInError as error:
        raise _to_host_error(error) from None
    except UnavailableError as error:
        raise HostError(500, "Failed to execute workflow", str(error)) from None


def _to_host_error(error: DevFlowError) -> HostError:
    if isinstance(error, RequestRejectedError):
        return HostError(error.status, error.title, error.message, error.details)
    return HostError(401, "Invalid or expired token", "The platform does not accept this token.")


def _error_body(refusal: HostError) -> Json:
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    told = {"error": refusal.error, "message": str(refusal), "statusCode": refusal.status, "timestamp": now}
    return told | ({"details": refusal.details} if refusal.details else {})
