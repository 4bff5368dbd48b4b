"""Lambda's side of a function: runs a package under AWS's own runtime client, in a process of its own.

    with Function(directory, "app.app", environment) as function:
        answer = function.invoke(event)

Stands in for the Runtime API (https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html). The process sees the
unpacked package, AWS's client (awslambdaric, as Lambda has it beside the package) and Python's own library; nothing of
what is installed for the tests.
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
PATIENCE = 60
"""Seconds that a function may take, here where many things share two processors."""


class FunctionFailed(AssertionError):
    """The function raised, or its process ended; the message is what it said."""


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
        self.answers: queue.SimpleQueue[tuple[bool, bytes]] = queue.SimpleQueue()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A function that was stopped breaks its connection off."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 65_536  # headers and body in one packet: the client waits 40 ms for the second one
    server: _Api

    def do_GET(self) -> None:
        """GET /runtime/invocation/next: blocks until there is an event."""
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
        self._answer(200, invocation.body, headers)

    def do_POST(self) -> None:
        """POST …/response, …/error, and /runtime/init/error."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self._answer(202, b'{"status":"OK"}', {})
        self.server.answers.put((self.path.endswith("/response"), body))

    def _answer(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Silent."""


class Function:
    """One execution environment of a function; it starts at once and ends with the block."""

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
        # No pipe: what was written before an answer is there when that comes.
        self._output = tempfile.TemporaryFile()  # noqa: SIM115  # closed by `stop`
        env = environment_of(package, environment, handler, name, self._api.server_port)
        self.spawned = time.perf_counter()
        """When its process was started, by this process's clock."""
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
        """What it wrote so far, line by line."""
        descriptor = self._output.fileno()  # whose position is the process's: it is not to be moved
        return os.pread(descriptor, os.fstat(descriptor).st_size, 0).decode(errors="replace").splitlines()

    @property
    def cpu(self) -> float:
        """Seconds of CPU that it has used so far, by all its threads."""
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
        """What the function answers to an event. Raises FunctionFailed."""
        self._api.waiting.put(_Invocation(str(uuid.uuid4()), json.dumps(event).encode()))
        until = time.monotonic() + PATIENCE
        while True:
            try:
                fine, body = self._api.answers.get(timeout=1)
                break
            except queue.Empty:
                if self._process.poll() is not None or time.monotonic() > until:
                    raise FunctionFailed("\n".join(self.log)) from None
        if not fine:
            raise FunctionFailed(body.decode())
        return json.loads(body)


def environment_of(package: Path, own: Mapping[str, str], handler: str, name: str, port: int) -> dict[str, str]:
    """What Lambda sets (https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html), and its own."""
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
    """This machine's processor, as Lambda calls it."""
    return {"x86_64": "x86_64", "AMD64": "x86_64", "aarch64": "arm64", "arm64": "arm64"}[platform.machine()]
