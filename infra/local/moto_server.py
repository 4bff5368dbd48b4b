"""Replaces AWS: a moto server on loopback. local_aws.py runs it as `python -m infra.local.moto_server`.

Prints its port once it listens. It ends when its standard input is closed. That happens whenever the parent process
ends, so no server is left running.
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

from infra.local.access import loopback_only_wsgi
from infra.local.moto_tuning import tune


class _Handler(MotoRequestHandler):
    """Keeps connections open, and sends small writes at once (no Nagle's algorithm)."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 65_536

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Log nothing: a line for each request to a table would hide the stage's own log."""


def _end_with_parent() -> None:
    while os.read(sys.stdin.fileno(), 1024):
        pass
    os._exit(0)


def serve(app: Any) -> None:
    """Serve until standard input is closed. Ignores signals, which a terminal sends to the whole process group.

    Requests of browsers are refused. Moto itself allows pages of every origin to read its responses.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    for name in ("moto", "werkzeug"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", "Tried to parse AWS::SecretsManager::Secret")  # the local stage has its own keys
    tune()
    server = make_server("127.0.0.1", 0, loopback_only_wsgi(app), threaded=True, request_handler=_Handler)
    server.daemon_threads = True  # type: ignore[attr-defined]  # it is a ThreadingMixIn when threaded
    print(server.port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    serve(DomainDispatcherApplication(create_backend_app))
