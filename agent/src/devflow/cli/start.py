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

from devflow import git_url, settings
from devflow.cli.invocation import Invocation, json_option, agent_name_option, pass_invocation, setting_option
from devflow.clock import Clock
from devflow.credentials import Credentials
from devflow.engines import Engine, command, copilot
from devflow.engines.copilot import PERMISSION_KINDS, CopilotOptions
from devflow.engines.copilot_permissions import ALL_KINDS
from devflow.agent_state import AgentState
from devflow.agent_host import DEFAULT_PORT, HostConfig, AgentHost
from devflow.job_runner import JobContext
from devflow.agent_worker import AgentWorker, WorkerConfig
from devflow.outbox import Outbox
from devflow.intervals import Intervals
from devflow.redaction import redact

ENGINES = ("command", "copilot")


@click.command()
@agent_name_option
@setting_option("--engine", type=click.Choice(ENGINES), default="command", show_default=True, help="What does the work.")
@setting_option("--command", metavar="PROGRAM", help="Of the engine `command`: 'claude -p', say.")
@setting_option("--copilot-cli", metavar="PATH", help="Of the engine `copilot`. [default: the SDK's own]")
@setting_option("--copilot-model", metavar="NAME", help="Of the engine `copilot`.")
@setting_option("--copilot-provider", metavar="ADDRESS", help="OpenAI-compatible; key in DEVFLOW_COPILOT_API_KEY.")
@setting_option("--copilot-allow", multiple=True, type=click.Choice([*PERMISSION_KINDS, ALL_KINDS]), help="Besides files in the clone.")
@setting_option("--concurrency", type=click.IntRange(1, 20), help="Tasks at a time. [default: as registered]")
@setting_option("--capability", "capabilities", multiple=True, metavar="INTENT", help="Instead of those registered.")
@setting_option("--keep", is_flag=True, help="Keep the workspaces of tasks that failed.")
@setting_option("--depth", type=click.IntRange(1), help="Clone so many commits. [default: all]")
@setting_option("--allow-repo", "allow_repos", multiple=True, metavar="PATTERN", help="Work on these only; * is anything.")
@setting_option(
    "--allow-protocol",
    "allow_protocols",
    multiple=True,
    type=click.Choice(["https", "ssh", "http", "git", "file"]),
    default=git_url.DEFAULT_PROTOCOLS,
    show_default=True,
    help="What repositories may be reached by.",
)
@setting_option("--no-pull-request", is_flag=True, help="Push the branch, no more.")
@setting_option("--host", is_flag=True, help="Take tasks on loopback as well: POST /api/workflows/execute.")
@setting_option("--host-port", type=click.IntRange(0, 65_535), default=DEFAULT_PORT, show_default=True, help="Where the host listens.")
@setting_option("--pace", default="", hidden=True)
@json_option
@pass_invocation
def start(invocation: Invocation, /, agent: str, **chosen: Any) -> int:
    """Run the agent until it is told to end.

    The first TERM or Ctrl-C lets it finish what it does, the second ends it at once.
    """
    home, pace = AgentState(settings.state_path(), agent), Intervals.parse(chosen["pace"])
    credentials = Credentials(home, Clock())
    engine = _make_engine(chosen)
    engine.check()

    def equip(loop: AgentWorker) -> JobContext:
        return JobContext(
            directory=home.directory,
            engine=engine,
            client=loop.client,
            outbox=Outbox(home.directory / "outbox"),
            send_result=loop.send_result,
            log=loop.log,
            on_unauthorized=loop.handle_unauthorized,
            intervals=pace,
            clock=loop.clock,
            allowed_protocols=chosen["allow_protocols"],
            allowed_repos=chosen["allow_repos"],
            clone_depth=chosen["depth"],
            keep_failed=chosen["keep"],
            open_pull_requests=not chosen["no_pull_request"],
        )

    concurrency = chosen["concurrency"] or credentials.registration.concurrency
    how = WorkerConfig(concurrency, chosen["capabilities"], pace)
    loop = AgentWorker(home, credentials, how, equip, _make_logger(invocation))
    with ExitStack() as ending:
        if chosen["host"]:
            with home.lock():
                pass  # that it is running already is said before that its port is taken
            registered = credentials.registration
            takes = chosen["capabilities"] or registered.capabilities
            desk = HostConfig(registered.agent_id, registered.url, credentials.token, engine, loop.poll_now, takes)
            host = AgentHost(desk, chosen["host_port"])
            host.start()
            ending.callback(host.stop)
            loop.log(f"the agent host listens on http://127.0.0.1:{host.port}")
        return _run_until_signalled(loop)


def _make_engine(chosen: dict[str, Any]) -> Engine:
    if chosen["engine"] == "copilot":
        allow = tuple(chosen["copilot_allow"])
        return copilot.make_copilot_engine(
            CopilotOptions(chosen["copilot_cli"], chosen["copilot_model"], chosen["copilot_provider"], allow)
        )
    return command.make_command_engine(chosen["command"] or "")


def _run_until_signalled(loop: AgentWorker) -> int:
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
            loop.log("finishing what runs; told once more, it ends at once")
            loop.drain()
        else:
            loop.stop_now()
            thread.join(10.0)
            return 1
    if end is not None:
        raise end
    return 0


def _make_logger(invocation: Invocation) -> Callable[[str], None]:
    """Lines of the agent's own log, on standard output."""

    def say(text: str) -> None:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        text = redact(text)
        if invocation.json:
            click.echo(json.dumps({"timestamp": now, "message": text}))
        else:
            click.echo(f"{now} {text}")
        sys.stdout.flush()

    return say
