"""A stand-in for DynamoDB and Secrets Manager that cold starts are measured against. It listens on loopback, gives a
fixed response to each operation, and responds without delay."""

import json
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 65_536
    bodies: dict[str, bytes]

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        operation = self.headers["X-Amz-Target"].rpartition(".")[2]
        body = self.bodies.get(f"{operation} {request.get('TableName')}") or self.bodies[operation]
        self.send_response(400 if b"__type" in body else 200)
        self.send_header("Content-Type", "application/x-amz-json-1.0")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("x-amz-crc32", str(zlib.crc32(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Log nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore the error: a function that is stopped closes its connection without notice."""


@contextmanager
def serve(responses: dict[str, Any]) -> Iterator[str]:
    """Serve these responses. Yields the endpoint.

    `responses`: the body by operation, or by operation and table (`UpdateItem devflow-dev-tasks`). A body with a
    `__type` is sent as an error.
    """
    handler = type(
        "_FixedResponses",
        (_Handler,),
        {"bodies": {name: json.dumps(each).encode() for name, each in responses.items()}},
    )
    server = _Server(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
