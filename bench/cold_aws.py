"""DynamoDB and Secrets Manager with one answer to each request, on loopback and at once: what a cold start is measured
against."""

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
    answers: dict[str, bytes]

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        operation = self.headers["X-Amz-Target"].rpartition(".")[2]
        body = self.answers.get(f"{operation} {asked.get('TableName')}") or self.answers[operation]
        self.send_response(400 if b"__type" in body else 200)
        self.send_header("Content-Type", "application/x-amz-json-1.0")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("x-amz-crc32", str(zlib.crc32(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Silent."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A function that was stopped breaks its connection off."""


@contextmanager
def answering(answers: dict[str, Any]) -> Iterator[str]:
    """The endpoint of an AWS that answers an operation, or one on a certain table (`UpdateItem devflow-dev-tasks`),
    with this; with an error where it has a `__type`."""
    handler = type(
        "_Answering", (_Handler,), {"answers": {name: json.dumps(each).encode() for name, each in answers.items()}}
    )
    server = _Server(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
