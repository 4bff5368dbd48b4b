"""`devflow agent start`: run the agent of this machine until it is told to end."""

import json
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from queue import SimpleQueue
from typing import Any

import click

from devflow import addresses, settings
from devflow.cli.context import Invocation, in_json, named, pass_invocation, setting
from devflow.clock import Clock
from devflow.credentials import Credentials
from devflow.engines import Engine, command, copilot
from devflow.engines.copilot import KINDS, Choices
from devflow.engines.copilot_permissions import EVERYTHING
from devflow.home import Home
from devflow.host import PORT, Desk, Host
from devflow.job import Means
from devflow.loop import Loop, Settings
from devflow.outbox import Outbox
from devflow.pace import Pace
from devflow.redact import redacted

ENGINES = ("command", "copilot")


@click.command()
@named
@setting("--engine", type=click.Choice(ENGINES), default="command", show_default=True, help="What does the work.")
@setting("--command", metavar="PROGRAM", help="Of the engine `command`: 'claude -p', say.")
@setting("--copilot-cli", metavar="PATH", help="Of the engine `copilot`. [default: the SDK's own]")
@setting("--copilot-model", metavar="NAME", help="Of the engine `copilot`.")
@setting("--copilot-provider", metavar="ADDRESS", help="OpenAI-compatible; key in DEVFLOW_COPILOT_API_KEY.")
@setting("--copilot-allow", multiple=True, type=click.Choice([*KINDS, EVERYTHING]), help="Besides files in the clone.")
@setting("--concurrency", type=click.IntRange(1, 20), help="Tasks at a time. [default: as registered]")
@setting("--capability", "capabilities", multiple=True, metavar="INTENT", help="Instead of those registered.")
@setting("--keep", is_flag=True, help="Keep the workspaces of tasks that failed.")
@setting("--depth", type=click.IntRange(1), help="Clone so many commits. [default: all]")
@setting("--allow-repo", "allow_repos", multiple=True, metavar="PATTERN", help="Work on these only; * is anything.")
@setting(
    "--allow-protocol",
    "allow_protocols",
    multiple=True,
    type=click.Choice(["https", "ssh", "http", "git", "file"]),
    default=addresses.PROTOCOLS,
    show_default=True,
    help="What repositories may be reached by.",
)
@setting("--no-pull-request", is_flag=True, help="Push the branch, no more.")
@setting("--host", is_flag=True, help="Take tasks on loopback as well: POST /api/workflows/execute.")
@setting("--host-port", type=click.IntRange(0, 65_535), default=PORT, show_default=True, help="Where the host listens.")
@setting("--pace", default="", hidden=True)
@in_json
@pass_invocation
def start(invocation: Invocation, /, agent: str, **chosen: Any) -> int:
    """Run the agent until it is told to end.

    The first TERM or Ctrl-C lets it finish what it does, the second ends it at once.
    """
    home, pace = Home(settings.state_path(), agent), Pace.of(chosen["pace"])
    credentials = Credentials(home, Clock())
    engine = _engine(chosen)
    engine.check()

    def equip(loop: Loop) -> Means:
        return Means(
            directory=home.directory,
            engine=engine,
            client=loop.client,
            outbox=Outbox(home.directory / "outbox"),
            deliver=loop.deliver,
            say=loop.say,
            unauthorized=loop.unauthorized,
            pace=pace,
            clock=loop.clock,
            protocols=chosen["allow_protocols"],
            patterns=chosen["allow_repos"],
            depth=chosen["depth"],
            keep=chosen["keep"],
            pull_requests=not chosen["no_pull_request"],
        )

    concurrency = chosen["concurrency"] or credentials.registration.concurrency
    how = Settings(concurrency, chosen["capabilities"], pace)
    loop = Loop(home, credentials, how, equip, _teller(invocation))
    with ExitStack() as ending:
        if chosen["host"]:
            with home.lock():
                pass  # that it is running already is said before that its port is taken
            registered = credentials.registration
            takes = chosen["capabilities"] or registered.capabilities
            desk = Desk(registered.agent, registered.url, credentials.token, engine, loop.hurry, takes)
            host = Host(desk, chosen["host_port"])
            host.start()
            ending.callback(host.stop)
            loop.say(f"the agent host listens on http://127.0.0.1:{host.port}")
        return _until_told(loop)


def _engine(chosen: dict[str, Any]) -> Engine:
    if chosen["engine"] == "copilot":
        allow = tuple(chosen["copilot_allow"])
        return copilot.engine(
            Choices(chosen["copilot_cli"], chosen["copilot_model"], chosen["copilot_provider"], allow)
        )
    return command.engine(chosen["command"] or "")


def _until_told(loop: Loop) -> int:
    """Run the agent; its exit status. Raises what made it end by itself."""
    told: SimpleQueue[int | BaseException | None] = SimpleQueue()
    # Its `put` may be called in a handler, whatever the main thread is doing at the time.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda number, _frame: told.put(number))

    def serve() -> None:
        try:
            loop.run()
        except BaseException as error:  # noqa: BLE001  # raised again where it is seen
            told.put(error)
        else:
            told.put(None)

    thread = threading.Thread(target=serve, name="loop", daemon=True)
    thread.start()
    signals = 0
    while isinstance(end := told.get(), int):
        signals += 1
        if signals == 1:
            loop.say("finishing what runs; told once more, it ends at once")
            loop.drain()
        else:
            loop.halt()
            thread.join(10.0)
            return 1
    if end is not None:
        raise end
    return 0


def _teller(invocation: Invocation) -> Callable[[str], None]:
    """Lines of the agent's own log, on standard output."""

    def say(text: str) -> None:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        text = redacted(text)
        if invocation.json:
            click.echo(json.dumps({"timestamp": now, "message": text}))
        else:
            click.echo(f"{now} {text}")
        sys.stdout.flush()

    return say
