"""`devflow`: the root of the commands, and what becomes of their errors."""

import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import click
import stamina.instrumentation

from devflow import __version__, settings
from devflow.cli.agent import agent
from devflow.cli.completion import completion
from devflow.cli.context import Invocation, pass_invocation
from devflow.cli.login import login, logout
from devflow.cli.run import run
from devflow.cli.tasks import tasks
from devflow.cli.webhooks import webhooks
from devflow.errors import DevFlowError, SettingsError
from devflow.redact import hide_environment, redacted
from devflow.terminal import plain

INTERRUPTED = 130
"""As a shell has it: 128 and the number of SIGINT."""


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="devflow")
@click.option(
    "--config", type=click.Path(path_type=Path, dir_okay=False), envvar="DEVFLOW_CONFIG", help="The config file."
)
@click.pass_context
@pass_invocation
def root(invocation: Invocation, context: click.Context, config: Path | None) -> None:
    """Submit coding tasks to DevFlow, and run the agents that do them.

    Settings come from flags, then DEVFLOW_* variables, then the config file, then defaults.
    Exit status: 0 done, 1 failed, 2 wrong usage, 4 not logged in, 5 an agent of this name is already running,
    130 interrupted.
    """
    invocation.config = config or settings.config_path()
    invocation.configured = settings.load(invocation.config)
    known = {"token"} | _names(root)
    if unknown := sorted(set(invocation.configured) - known):
        told = f"{invocation.config} has settings that are not known: {', '.join(unknown)}"
        raise SettingsError(f"{told}. Known are: {', '.join(sorted(known))}")
    context.default_map = _spread(root, invocation.configured)


for _command in (login, logout, run, tasks, agent, webhooks, completion):
    root.add_command(_command)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one command and exit with its status."""
    given = sys.argv[1:] if arguments is None else arguments
    invocation = Invocation()
    invocation.json = "--json" in given  # so that what goes wrong before a command is found is told in JSON, too
    hide_environment()
    stamina.instrumentation.set_on_retry_hooks([lambda details: _say_retry(invocation, details)])
    logging.getLogger("urllib3").setLevel(logging.ERROR)
    try:
        status = root.main(given, prog_name="devflow", obj=invocation, standalone_mode=False)
    except click.ClickException as error:
        _fail(invocation, error.format_message(), error.exit_code, usage=error)
    except DevFlowError as error:
        _fail(invocation, str(error), error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        _fail(invocation, "Interrupted", INTERRUPTED)
    except BrokenPipeError:
        sys.stderr.close()  # whoever read the output has seen enough
        sys.exit(1)
    sys.exit(status if isinstance(status, int) else 0)


def _fail(invocation: Invocation, message: str, status: int, usage: click.ClickException | None = None) -> NoReturn:
    message = redacted(plain(message))
    if invocation.json:
        click.echo(json.dumps({"error": message, "exitCode": status}), err=True)
    elif usage is not None:
        usage.show()
    else:
        click.echo(f"devflow: {message}", err=True)
    sys.exit(status)


def _say_retry(invocation: Invocation, details: stamina.instrumentation.RetryDetails) -> None:
    invocation.note(f"{details.caused_by}; again in {details.wait_for:.0f} s")


def _names(command: click.Command) -> set[str]:
    """The names of all options below a command: what may stand in the config file."""
    names = {option.name or "" for option in command.params if isinstance(option, click.Option)}
    for child in command.commands.values() if isinstance(command, click.Group) else ():
        names |= _names(child)
    return names


def _spread(command: click.Command, flat: dict[str, Any]) -> dict[str, Any]:
    """Defaults for all commands below this one, as click wants them: the config file is flat."""
    options = {option.name for option in command.params if isinstance(option, click.Option)}
    spread = {name: value for name, value in flat.items() if name in options}
    for name, child in command.commands.items() if isinstance(command, click.Group) else ():
        spread[name] = _spread(child, flat)
    return spread
