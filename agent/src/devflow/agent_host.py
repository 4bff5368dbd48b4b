"""The agent host: an HTTP server on loopback that starts workflows on this machine.

It serves `POST /api/workflows/execute` of the specification. It submits the task to the platform, restricted to this
agent, and the agent polls at once. So the task has the same life cycle as every other task, and the platform decides
who may submit it.
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
from devflow.errors import (
    DevFlowError,
    NotLoggedInError,
    RequestRejectedError,
    SettingsError,
    TaskFailedError,
    UnavailableError,
)

DEFAULT_PORT = 3001
"""The port of the specification."""
EXECUTE_PATH = "/api/workflows/execute"
MAX_BODY_BYTES = 256 * 1024
"""The size limit of a request, the same as the platform's."""
_REQUEST_TIMEOUT_SECONDS = 15.0
_MAX_CONNECTIONS = 32
"""Every program of this machine can connect, engines with the network `host` among them."""
_FIRST_HEARTBEAT_SECONDS = 10.0
_REQUIRED = ("taskId", "intent", "repo", "naturalLanguage")
_FORWARDED = (*_REQUIRED, "branch", "context", "priority", "timeoutSeconds", "maxAttempts")
_FORBIDDEN = 403


@dataclass(frozen=True)
class HostConfig:
    """What the host needs to know of its agent."""

    agent_id: str
    url: str
    """The platform's URL."""
    token: Callable[[], str]
    """Returns the agent's own token."""
    engine: Engine
    poll_now: Callable[[], None]
    """Makes the agent poll at once."""
    capabilities: Collection[str] = ()
    """The intents that this agent accepts. If empty, the host accepts every intent."""
    wait_for_first_heartbeat: Callable[[float], object] = lambda _seconds: True
    """Waits at most this number of seconds until the platform knows these intents, which it checks too."""


class HostError(Exception):
    """An error response with the fields of docs/protocol.md, "Errors"."""

    def __init__(self, status: int, error: str, message: str, details: Collection[str] = ()) -> None:
        super().__init__(message)
        self.status, self.error, self.details = status, error, list(details)


class AgentHost:
    """Listens on 127.0.0.1 between `start` and `stop`."""

    def __init__(self, config: HostConfig, port: int = DEFAULT_PORT) -> None:
        """Raises SettingsError if the port is not available."""
        try:
            self._server = _Server(config, port)
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

    def __init__(self, config: HostConfig, port: int) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.config = config
        names = ("localhost", "127.0.0.1")
        self.hosts = {f"{name}:{self.server_port}" for name in names}
        self._slots = threading.BoundedSemaphore(_MAX_CONNECTIONS)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Handle a connection on a thread of its own. One that exceeds the limit is closed."""
        if not self._slots.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:  # no thread could be started
            self._slots.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._slots.release()


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    server_version, sys_version = f"devflow/{__version__}", ""
    timeout = _REQUEST_TIMEOUT_SECONDS
    wbufsize = 65_536

    def respond(self) -> None:
        """Handle one request, then close the connection: the rest of a rejected body may still be on the way."""
        self.close_connection = True
        try:
            status, body = self._route()
        except HostError as error:
            status, body = error.status, _error_body(error)
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

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = respond  # noqa: N815  # http.server's names

    def _route(self) -> tuple[int, Json]:
        # This check comes first. It stops a web page whose own host name resolves to this machine (DNS rebinding).
        if self.headers.get("Host", "").lower() not in self.server.hosts:
            raise HostError(403, "Insufficient permissions", "Send the request to localhost or 127.0.0.1.")
        if self.headers.get("Origin") is not None:
            raise HostError(403, "Insufficient permissions", "Web pages cannot use the agent host.")
        path = self.path.partition("?")[0]
        if path == "/health" and self.command == "GET":
            return 200, {"status": "ok", "version": __version__, "agentId": self.server.config.agent_id}
        if path != EXECUTE_PATH:
            raise HostError(404, "Not found", "This address does not exist.")
        if self.command != "POST":
            raise HostError(405, "Method not allowed", "Allowed methods: POST.")
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
            raise HostError(413, "Request too large", f"The limit is {MAX_BODY_BYTES} bytes.")
        try:
            parsed: Any = json.loads(self.rfile.read(int(length)))
        except (OSError, ValueError, RecursionError):
            raise HostError(400, "Invalid JSON", "The body is not valid JSON.") from None
        if not isinstance(parsed, dict):
            raise HostError(400, "Invalid request", "The body must be a JSON object.")
        return parsed

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # named by http.server
        """Log nothing: the agent logs each task that it starts."""


def submit_workflow(config: HostConfig, token: str, body: Json) -> Json:
    """Submit a workflow for this agent and return the response body. Raises HostError.

    The token is this agent's own token or a token of the agent's user. The platform checks it.
    """
    _authorize(config, token)
    if missing := [name for name in _REQUIRED if not isinstance(body.get(name), str) or not body[name].strip()]:
        raise HostError(400, "Missing required fields", "Some fields are missing; see details.", missing)
    if config.capabilities and body["intent"] not in config.capabilities:
        accepted = ", ".join(sorted(config.capabilities))
        raise HostError(400, "Invalid request", f"This agent accepts only these intents: {accepted}.")
    try:
        config.engine.check()
        config.wait_for_first_heartbeat(_FIRST_HEARTBEAT_SECONDS)
        forwarded = {name: body[name] for name in _FORWARDED if body.get(name) is not None}
        response = ApiClient(config.url, token).send("POST", EXECUTE_PATH, forwarded | {"agentId": config.agent_id})
    except (TaskFailedError, UnavailableError) as error:
        raise HostError(500, "Failed to execute workflow", str(error)) from None
    except (RequestRejectedError, NotLoggedInError) as error:
        raise _to_host_error(error) from None
    config.poll_now()
    return {"accepted": True, "taskId": response["taskId"]}


def _authorize(config: HostConfig, token: str) -> None:
    """Accept this agent's own token, or a token whose user may see this agent. Runs before anything else."""
    if secrets.compare_digest(token.encode(), config.token().encode()):
        return
    try:
        ApiClient(config.url, token).send("GET", f"/api/agents/{config.agent_id}")
    except RequestRejectedError as error:
        # The platform also responds 404 for agents of other users.
        raise HostError(
            _FORBIDDEN, "Insufficient permissions", "This agent does not belong to the token's user."
        ) from error
    except NotLoggedInError as error:
        raise _to_host_error(error) from None
    except UnavailableError as error:
        raise HostError(500, "Failed to execute workflow", str(error)) from None


def _to_host_error(error: DevFlowError) -> HostError:
    if isinstance(error, RequestRejectedError):
        return HostError(error.status, error.title, error.message, error.details)
    return HostError(401, "Invalid or expired token", "The platform does not accept this token.")


def _error_body(error: HostError) -> Json:
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    body = {"error": error.error, "message": str(error), "statusCode": error.status, "timestamp": now}
    return body | ({"details": error.details} if error.details else {})
