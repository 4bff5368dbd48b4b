"""Runs the local stage until Ctrl-C or SIGTERM. The environment variable `PORT` sets the port (3000; 0 for any)."""

import errno
import json
import os
import secrets
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress

from infra.local import local_aws
from infra.local.access import Access, LoopbackOnly
from infra.local.banner import EMAIL, NAME, PIN, banner
from infra.local.http_server import HttpServer
from infra.local.mail_catcher import MailCatcher

STAGE = "local"
DEFAULT_PORT = "3000"


class CannotRunError(Exception):
    """The stage cannot run. The message, for the user, says why."""


def listen(port: str) -> list[HttpServer]:
    """Listen on 127.0.0.1 and, if the machine has it, on ::1 as well, because `localhost` can mean both.

    Raises CannotRunError if the port is not valid or not free.
    """
    if not (port.isascii() and port.isdigit()) or int(port) > 65_535:  # noqa: PLR2004
        raise CannotRunError(f"PORT must be a whole number from 0 to 65535, not {port!r}.")
    try:
        servers = [HttpServer(int(port))]
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise CannotRunError(f"port {port} is in use. Choose another one, for example PORT=3100.") from None
        raise CannotRunError(f"it cannot listen on port {port}: {error.strerror}.") from None
    with suppress(OSError):
        servers.append(HttpServer(servers[0].port, "::1"))
    return servers


def prepare_environment(endpoint: str, url: str) -> None:
    """Set what the app reads when it is imported: the stage, its URL, new signing keys, and AWS on loopback."""
    local_aws.set_aws_environment(endpoint)
    os.environ["DEVFLOW_STAGE"] = STAGE
    os.environ["DEVFLOW_MAIL_FROM"] = "DevFlow <devflow@localhost>"
    os.environ["DEVFLOW_URL"] = os.environ.get("DEVFLOW_URL") or url  # the user sets it to the URL of a tunnel
    os.environ["DEVFLOW_LOCAL_SECRET"] = json.dumps(
        {
            "current": "key-local",
            "key-local": secrets.token_urlsafe(48),
            # For trying Slack sign-in: a Slack app of your own, whose redirect URL leads to this stage.
            "slackClientId": os.environ.get("DEVFLOW_SLACK_CLIENT_ID", ""),
            "slackClientSecret": os.environ.get("DEVFLOW_SLACK_CLIENT_SECRET", ""),
        }
    )


def new_pin(is_common: Callable[[str], bool]) -> str:
    """A random PIN of six digits, for which `is_common` is false."""
    while is_common(pin := f"{secrets.randbelow(1_000_000):06}"):
        pass
    return pin


def run(port: str, stopping: threading.Event) -> None:
    """Start everything, print the banner, wait until `stopping` is set, and stop everything in reverse order.

    Raises CannotRunError if the port is not usable or the moto process ends early.
    """
    with ExitStack() as cleanup:
        servers = listen(port)
        moto = local_aws.MotoProcess()
        cleanup.callback(moto.stop)
        url = f"http://localhost:{servers[0].port}"
        prepare_environment(moto.endpoint(), url)
        mail_catcher, ses = MailCatcher(), HttpServer(0)
        cleanup.callback(ses.stop)
        ses.start(LoopbackOnly(mail_catcher))
        os.environ["AWS_ENDPOINT_URL_SESV2"] = f"http://127.0.0.1:{ses.port}"
        local_aws.deploy_template(STAGE)

        # These modules read the environment when they are imported, and the app's clients connect to its endpoint.
        from app import app  # noqa: PLC0415
        from chalicelib.auth.rules import is_common_pin  # noqa: PLC0415
        from chalicelib.auth.service import ensure_user  # noqa: PLC0415
        from chalicelib.core import clock  # noqa: PLC0415
        from infra.local.event_poller import EventPoller  # noqa: PLC0415
        from infra.local.gateway import Gateway  # noqa: PLC0415
        from infra.local.local_stage import LocalStage  # noqa: PLC0415

        access = Access(os.environ["DEVFLOW_URL"], [str(server.server_address[0]) for server in servers])
        pin = new_pin(is_common_pin) if access.is_public else PIN
        ensure_user(EMAIL, NAME, pin, clock.now())
        poller = EventPoller(app)
        poller.start()
        cleanup.callback(poller.stop)
        for server in servers:
            server.start(LocalStage(Gateway(app), poller, mail_catcher, access))
            cleanup.callback(server.stop)
        print(banner(url, pin, os.environ["DEVFLOW_URL"] if access.is_public else None), flush=True)

        moto_ended = threading.Event()
        threading.Thread(target=_set_when_ended, args=(moto, moto_ended, stopping), daemon=True).start()
        while not stopping.wait(0.5):  # this thread must run regularly to handle a signal that another one received
            pass
        if moto_ended.is_set():
            raise CannotRunError("the moto server ended unexpectedly, and all data is lost. Start the stage again.")


def _set_when_ended(moto: local_aws.MotoProcess, *events: threading.Event) -> None:
    moto.wait()
    for event in events:
        event.set()


def main() -> int:
    """The exit status: 0 after Ctrl-C or SIGTERM, or 1 with a line on standard error if the stage cannot run."""
    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: stopping.set())
    try:
        run(os.environ.get("PORT") or DEFAULT_PORT, stopping)
    except CannotRunError as error:
        print(f"DevFlow cannot run: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
