"""`devflow agent start`: runs the agent of this machine until a signal ends it."""

import json
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from queue import SimpleQueue
from typing import Any

import click

from devflow import git_url, settings
from devflow.agent_host import DEFAULT_PORT, AgentHost, HostConfig
from devflow.agent_state import AgentState
from devflow.agent_worker import AgentWorker, WorkerConfig
from devflow.cli.engine_options import engine_options, make_engine
from devflow.cli.invocation import Invocation, agent_name_option, json_option, pass_invocation, setting_option
from devflow.cli.sandbox_options import read_sandbox, sandbox_options
from devflow.clock import Clock
from devflow.control_group import ControlGroups, find_delegated_group
from devflow.credentials import Credentials
from devflow.intervals import Intervals
from devflow.job_runner import JobContext
from devflow.orphans import adopt_orphans
from devflow.outbox import Outbox
from devflow.process_memory import make_undumpable
from devflow.redaction import add_secret, redact
from devflow.resource_limits import allow_open_files
from devflow.terminal import to_one_line

_MAX_MESSAGE = 4_000
"""Characters of a line of the agent's log."""


@click.command()
@agent_name_option
@engine_options
@setting_option(
    "--concurrency",
    type=click.IntRange(1, 20),
    help="The number of tasks that run at the same time. [default: as registered]",
)
@setting_option(
    "--capability",
    "capabilities",
    multiple=True,
    metavar="INTENT",
    help="An intent that the agent accepts. Can be repeated. [default: as registered]",
)
@sandbox_options
@setting_option("--keep", is_flag=True, help="Keep the workspaces of failed tasks.")
@setting_option("--depth", type=click.IntRange(1), help="The number of commits to clone. [default: all]")
@setting_option(
    "--allow-repo",
    "allow_repos",
    multiple=True,
    metavar="PATTERN",
    help="Accept only these repositories, for example https://github.com/acme/*. Can be repeated.",
)
@setting_option(
    "--allow-private-hosts",
    is_flag=True,
    help="Accept repositories at private addresses, and let names of --allow-host have one. Repositories that "
    "--allow-repo names are accepted in any case.",
)
@setting_option(
    "--allow-protocol",
    "allow_protocols",
    multiple=True,
    type=click.Choice(["https", "ssh", "http", "git", "file"]),
    default=git_url.DEFAULT_PROTOCOLS,
    show_default=True,
    help="A protocol that git may use. Can be repeated.",
)
@setting_option("--no-pull-request", is_flag=True, help="Push the branch without opening a pull request.")
@setting_option("--host", is_flag=True, help="Serve POST /api/workflows/execute on loopback as well.")
@setting_option(
    "--host-port",
    type=click.IntRange(0, 65_535),
    default=DEFAULT_PORT,
    show_default=True,
    help="The port of the agent host.",
)
@setting_option("--pace", default="", hidden=True)
@json_option
@pass_invocation
def start(invocation: Invocation, /, agent_id: str, **options: Any) -> int:
    """Run the agent until a signal ends it.

    After the first SIGTERM or Ctrl-C, the agent finishes its running tasks and ends. After the second one, it ends at
    once.
    """
    state, intervals = AgentState(settings.state_path(), agent_id), Intervals.parse(options["pace"])
    credentials = Credentials(state, Clock())
    patterns = [git_url.RepoPattern.parse(text) for text in options["allow_repos"]]
    engine = make_engine(options)
    group, _ = find_delegated_group()
    groups = ControlGroups(group) if group else None
    sandbox = replace(read_sandbox(options, engine, invocation.config_path), groups=groups)
    engine.check()

    def make_job_context(worker: AgentWorker) -> JobContext:
        return JobContext(
            directory=state.directory,
            engine=engine,
            client=worker.client,
            outbox=Outbox(state.directory / "outbox"),
            send_result=worker.send_result,
            log=worker.log,
            on_unauthorized=worker.handle_unauthorized,
            intervals=intervals,
            clock=worker.clock,
            allowed_protocols=options["allow_protocols"],
            allowed_repos=patterns,
            allow_private_hosts=options["allow_private_hosts"],
            clone_depth=options["depth"],
            sandbox=sandbox,
            keep_failed=options["keep"],
            open_pull_requests=not options["no_pull_request"],
        )

    registration = credentials.registration
    config = WorkerConfig(options["concurrency"] or registration.concurrency, options["capabilities"], intervals)
    worker = AgentWorker(state, credentials, config, make_job_context, _make_logger(invocation))
    worker.log(sandbox.description)
    _protect_secrets(invocation, worker.log)
    allow_open_files()
    adopt_orphans()
    with ExitStack() as cleanup:
        if options["host"]:
            with state.lock():
                pass  # report "already running" first: the same agent also has the port
            accepted = options["capabilities"] or registration.capabilities
            host_config = HostConfig(
                registration.agent_id,
                registration.url,
                credentials.token,
                engine,
                worker.poll_now,
                accepted,
                worker.wait_for_first_heartbeat,
            )
            host = AgentHost(host_config, options["host_port"])
            host.start()
            cleanup.callback(host.stop)
            worker.log(f"the agent host listens on http://127.0.0.1:{host.port}")
        return _run_until_signalled(worker)


def _protect_secrets(invocation: Invocation, log: Callable[[str], None]) -> None:
    """Keep other processes of the user from reading this one's memory, and warn of a stored token of the user."""
    make_undumpable()
    if token := invocation.config.get("token"):
        add_secret(str(token))
        log(
            f"warning: {invocation.config_path} contains the token of a user, which can do more than the agent's. "
            "Try: devflow logout. Next time, register with: devflow agent register --registration-token-stdin"
        )


def _run_until_signalled(worker: AgentWorker) -> int:
    """Run the agent and return the exit status. Raises the error that ended the agent."""
    inbox: SimpleQueue[int | BaseException | None] = SimpleQueue()
    # SimpleQueue.put is reentrant, so that a signal handler may call it at any time.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda number, _frame: inbox.put(number))

    def run_worker() -> None:
        try:
            worker.run()
        except BaseException as error:  # noqa: BLE001  # raised again on the main thread
            inbox.put(error)
        else:
            inbox.put(None)

    thread = threading.Thread(target=run_worker, name="worker", daemon=True)
    thread.start()
    signals = 0
    while isinstance(item := inbox.get(), int):
        signals += 1
        if signals == 1:
            worker.log("finishing the running tasks; send the signal again to end at once")
            worker.drain()
        else:
            worker.stop_now()
            thread.join(10.0)
            return 1
    if item is not None:
        raise item
    return 0


def _make_logger(invocation: Invocation) -> Callable[[str], None]:
    """Return a function that prints a line of the agent's log on standard output."""

    def log(text: str) -> None:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        # One line for each message: a task's id or a repository's name must not forge another one.
        text = redact(to_one_line(text, _MAX_MESSAGE))
        if invocation.json:
            click.echo(json.dumps({"timestamp": now, "message": text}))
        else:
            click.echo(f"{now} {text}")
        sys.stdout.flush()

    return log
