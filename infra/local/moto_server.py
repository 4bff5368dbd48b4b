"""Stands in for AWS: a moto server on loopback. Run by aws.py as a child process (`python -m infra.local.moto_server`).

Prints its port once it listens. Lives only as long as its standard input is open: the pipe closes when the parent
ends, however it ends, so no server is ever left behind.
"""

import logging
import os
import signal
import sys
import threading
import warnings
from typing import Any

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server

from infra.local.moto_tuning import tune


class _Handler(MotoRequestHandler):
    """Keeps connections open, and does not let small writes wait for each other's acknowledgement."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 65_536

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """A line for every request to a table would drown the stage's own log."""


def _end_with_parent() -> None:
    while os.read(sys.stdin.fileno(), 1024):
        pass
    os._exit(0)


def serve(app: Any) -> None:
    """Serve until standard input ends. Signals reach the whole process group: the parent's decision alone counts."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    for name in ("moto", "werkzeug"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", "Tried to parse AWS::SecretsManager::Secret")  # the local stage makes its own
    tune()
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=_Handler)
    server.daemon_threads = True  # type: ignore[attr-defined]  # it is a ThreadingMixIn when threaded
    print(server.port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    serve(DomainDispatcherApplication(create_backend_app))
