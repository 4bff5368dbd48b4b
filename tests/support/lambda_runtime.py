"""Runs a deployment package as Lambda does: under AWS's own runtime client, in a separate process.

    with Function(directory, "app.app", environment) as function:
        response = function.invoke(event)

This module is a fake Runtime API (https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html). The process can
import the unpacked package, AWS's client (awslambdaric, which Lambda provides beside the package) and Python's
standard library. It cannot import the packages that are installed for the tests.
"""

import json
import os
import platform
import queue
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from infra.deploy.dependencies import installed, selected
from infra.local.lambda_context import ACCOUNT, REGION

ROOT = Path(__file__).parents[2]
VERSION = "/2018-06-01/runtime"
TIMEOUT_SECONDS = 60
"""Limit for an invocation. It is generous, because the machine of the tests may be busy."""


class FunctionFailed(AssertionError):
    """The function raised an error, or its process ended. The message is the error or the log."""


@dataclass
class _Invocation:
    id: str
    body: bytes


class _Api(ThreadingHTTPServer):
    """The Runtime API of one function."""

    daemon_threads = True

    def __init__(self, arn: str, timeout: float) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.arn, self.function_timeout = arn, timeout
        self.waiting: queue.SimpleQueue[_Invocation | None] = queue.SimpleQueue()
        self.responses: queue.SimpleQueue[tuple[bool, bytes]] = queue.SimpleQueue()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore errors: a function that is stopped aborts its connection."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 65_536  # sends headers and body in one packet: the client waits 40 ms for a second one
    server: _Api

    def do_GET(self) -> None:
        """Handle GET /runtime/invocation/next, which blocks until there is an event."""
        invocation = self.server.waiting.get()
        if invocation is None:
            self.close_connection = True
            return
        deadline = int((time.time() + self.server.function_timeout) * 1_000)
        headers = {
            "Lambda-Runtime-Aws-Request-Id": invocation.id,
            "Lambda-Runtime-Deadline-Ms": str(deadline),
            "Lambda-Runtime-Invoked-Function-Arn": self.server.arn,
            "Content-Type": "application/json",
        }
        self._respond(200, invocation.body, headers)

    def do_POST(self) -> None:
        """Handle POST …/response, …/error, and /runtime/init/error."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self._respond(202, b'{"status":"OK"}', {})
        self.server.responses.put((self.path.endswith("/response"), body))

    def _respond(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Log nothing."""


class Function:
    """One execution environment of a function. It starts immediately and ends with the block."""

    def __init__(
        self,
        package: Path,
        handler: str,
        environment: Mapping[str, str],
        *,
        name: str = "function",
        timeout: float = 30,
    ) -> None:
        self._api = _Api(f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{name}", timeout)
        threading.Thread(target=self._api.serve_forever, daemon=True).start()
        # A file and not a pipe: output that was written before a response can be read when the response arrives.
        self._output = tempfile.TemporaryFile()  # noqa: SIM115  # closed by `stop`
        env = environment_of(package, environment, handler, name, self._api.server_port)
        self.spawned = time.perf_counter()
        """When its process was started, by `time.perf_counter` of this process."""
        self._process = subprocess.Popen(
            [sys.executable, "-S", "-m", "awslambdaric", handler],
            cwd=package,
            env=env,
            stdout=self._output,
            stderr=subprocess.STDOUT,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def log(self) -> list[str]:
        """The lines that it has written so far."""
        descriptor = self._output.fileno()  # the process shares its position, which must not be moved
        return os.pread(descriptor, os.fstat(descriptor).st_size, 0).decode(errors="replace").splitlines()

    @property
    def cpu(self) -> float:
        """Seconds of CPU time that all its threads have used so far."""
        tasks = Path(f"/proc/{self._process.pid}/task").iterdir()
        return sum(int((task / "schedstat").read_text(encoding="ascii").split()[0]) for task in tasks) / 1e9

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()
        self._output.close()
        self._api.waiting.put(None)
        self._api.shutdown()
        self._api.server_close()

    def invoke(self, event: Any) -> Any:
        """Invoke the function with an event and return its response. Raises FunctionFailed."""
        self._api.waiting.put(_Invocation(str(uuid.uuid4()), json.dumps(event).encode()))
        until = time.monotonic() + TIMEOUT_SECONDS
        while True:
            try:
                succeeded, body = self._api.responses.get(timeout=1)
                break
            except queue.Empty:
                if self._process.poll() is not None or time.monotonic() > until:
                    raise FunctionFailed("\n".join(self.log)) from None
        if not succeeded:
            raise FunctionFailed(body.decode())
        return json.loads(body)


def environment_of(package: Path, own: Mapping[str, str], handler: str, name: str, port: int) -> dict[str, str]:
    """The variables that Lambda sets, and the function's own variables.

    See https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html.
    """
    return {
        "_HANDLER": handler,
        "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{port}",
        "AWS_LAMBDA_FUNCTION_NAME": name,
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "1024",
        "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{name}",
        "AWS_LAMBDA_LOG_STREAM_NAME": "2025/01/24/[$LATEST]1",
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ACCESS_KEY_ID": name,
        "AWS_SECRET_ACCESS_KEY": "local",
        "AWS_EXECUTION_ENV": f"AWS_Lambda_python{sys.version_info.major}.{sys.version_info.minor}",
        "LAMBDA_TASK_ROOT": str(package),
        "LANG": "en_US.UTF-8",
        "TZ": ":UTC",
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "PYTHONPATH": f"{package}:{runtime_client()}",
        "PYTHONDONTWRITEBYTECODE": "1",  # Lambda's file system is read-only
        **own,
    }


def runtime_client() -> Path:
    """A directory with AWS's runtime client, in the version of requirements-dev.lock."""
    lock = (ROOT / "requirements-dev.lock").read_text(encoding="utf-8")
    return installed(ROOT, selected(lock, "awslambdaric"), machine()).resolve()


def machine() -> str:
    """Lambda's name of this machine's processor architecture."""
    return {"x86_64": "x86_64", "AMD64": "x86_64", "aarch64": "arm64", "arm64": "arm64"}[platform.machine()]
