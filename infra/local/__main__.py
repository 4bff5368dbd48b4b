"""Runs the local stage until Ctrl-C or SIGTERM. `PORT` says where (3000; 0 for any free port)."""

import errno
import json
import os
import secrets
import signal
import sys
import threading
from contextlib import ExitStack, suppress

from infra.local import aws
from infra.local.banner import EMAIL, NAME, PIN, banner
from infra.local.postbox import Postbox
from infra.local.server import Server

STAGE = "local"
PORT = "3000"


class CannotRunError(Exception):
    """The stage cannot run; the message is for whoever started it."""


def listen(port: str) -> list[Server]:
    """On 127.0.0.1 and, where the machine has it, on ::1 as well: `localhost` may mean either."""
    if not (port.isascii() and port.isdigit()) or int(port) > 65_535:  # noqa: PLR2004
        raise CannotRunError(f"PORT must be a whole number from 0 to 65535, not {port!r}")
    try:
        servers = [Server(int(port))]
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise CannotRunError(f"port {port} is in use; choose another one, for example PORT=3100") from None
        raise CannotRunError(f"cannot listen on port {port}: {error.strerror}") from None
    with suppress(OSError):
        servers.append(Server(servers[0].port, "::1"))
    return servers


def prepare_environment(endpoint: str, url: str) -> None:
    """What the app reads while it is imported: the stage, its address, fresh signing keys, and AWS on loopback."""
    aws.point_at(endpoint)
    os.environ["DEVFLOW_STAGE"] = STAGE
    os.environ["DEVFLOW_MAIL_FROM"] = "DevFlow <devflow@localhost>"
    os.environ.setdefault("DEVFLOW_URL", url)  # what leads here from outside, a tunnel for example, is said by hand
    os.environ["DEVFLOW_LOCAL_SECRET"] = json.dumps(
        {
            "current": "key-local",
            "key-local": secrets.token_urlsafe(48),
            # To try Slack from here: an app of your own, whose redirect URL leads to this stage.
            "slackClientId": os.environ.get("DEVFLOW_SLACK_CLIENT_ID", ""),
            "slackClientSecret": os.environ.get("DEVFLOW_SLACK_CLIENT_SECRET", ""),
        }
    )


def run(port: str, stopping: threading.Event) -> None:
    """Build everything, say so, wait until `stopping` is set, and end everything in reverse order."""
    with ExitStack() as ending:
        servers = listen(port)
        moto = aws.MotoChild()
        ending.callback(moto.stop)
        url = f"http://localhost:{servers[0].port}"
        prepare_environment(moto.endpoint(), url)
        postbox, ses = Postbox(), Server(0)
        ending.callback(ses.stop)
        ses.start(postbox)
        os.environ["AWS_ENDPOINT_URL_SESV2"] = f"http://127.0.0.1:{ses.port}"
        aws.deploy_template(STAGE)

        # Only now: these read the environment, and the app's clients connect to where it points.
        from app import app  # noqa: PLC0415
        from chalicelib.auth.service import ensure_user  # noqa: PLC0415
        from chalicelib.core import clock  # noqa: PLC0415
        from infra.local.clock import LocalStage  # noqa: PLC0415
        from infra.local.gateway import Gateway  # noqa: PLC0415
        from infra.local.pump import Pump  # noqa: PLC0415

        ensure_user(EMAIL, NAME, PIN, clock.now())
        pump = Pump(app)
        pump.start()
        ending.callback(pump.stop)
        for server in servers:
            server.start(LocalStage(Gateway(app), pump, postbox))
            ending.callback(server.stop)
        print(banner(url), flush=True)

        moto_ended = threading.Event()
        threading.Thread(target=_watch, args=(moto, moto_ended, stopping), daemon=True).start()
        while not stopping.wait(0.5):  # a signal may be taken by another thread; this one must wake up to handle it
            pass
        if moto_ended.is_set():
            raise CannotRunError("the moto server ended by itself, and all data with it")


def _watch(moto: aws.MotoChild, *ended: threading.Event) -> None:
    moto.wait()
    for event in ended:
        event.set()


def main() -> int:
    """The exit status: 0 after Ctrl-C or SIGTERM, 1 with a line on standard error when it cannot run."""
    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: stopping.set())
    try:
        run(os.environ.get("PORT") or PORT, stopping)
    except CannotRunError as error:
        print(f"DevFlow cannot run: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
