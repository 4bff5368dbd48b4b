"""`devflow`: the root of the commands, and the handling of their errors."""

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
from devflow.cli.invocation import Invocation, pass_invocation
from devflow.cli.login import login, logout
from devflow.cli.run import run
from devflow.cli.sessions import sessions
from devflow.cli.tasks import tasks
from devflow.cli.webhooks import webhooks
from devflow.errors import DevFlowError, SettingsError
from devflow.redaction import add_environment_secrets, redact
from devflow.terminal import strip_controls

INTERRUPTED = 130
"""The exit status that shells use: 128 and the number of SIGINT."""
_CONFIG_NAMES = {"agent_id": "agent"}
"""The names of options in the config file, if they differ from the names of the commands' parameters."""


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
    Exit status: 0 success, 1 failure, 2 wrong usage, 4 not logged in, 5 an agent of this name is already running,
    130 interrupted.
    """
    invocation.config_path = config or settings.config_path()
    invocation.config = settings.load_config(invocation.config_path)
    known = {"token"} | _collect_option_names(root)
    if unknown := sorted(set(invocation.config) - known):
        message = f"{invocation.config_path} contains unknown settings: {', '.join(unknown)}"
        raise SettingsError(f"{message}. Known settings: {', '.join(sorted(known))}")
    context.default_map = _build_default_map(root, invocation.config)


for _command in (login, logout, sessions, run, tasks, agent, webhooks, completion):
    root.add_command(_command)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one command and exit with its status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    invocation = Invocation()
    invocation.json = "--json" in arguments  # so that errors in the options are reported in JSON as well
    add_environment_secrets()
    stamina.instrumentation.set_on_retry_hooks([lambda details: _print_retry(invocation, details)])
    logging.getLogger("urllib3").setLevel(logging.ERROR)
    try:
        status = root.main(arguments, prog_name="devflow", obj=invocation, standalone_mode=False)
    except click.ClickException as error:
        _exit_with_error(invocation, error.format_message(), error.exit_code, usage=error)
    except DevFlowError as error:
        _exit_with_error(invocation, str(error), error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        _exit_with_error(invocation, "Interrupted", INTERRUPTED)
    except BrokenPipeError:
        sys.stderr.close()  # the reader of the output has closed the pipe
        sys.exit(1)
    sys.exit(status if isinstance(status, int) else 0)


def _exit_with_error(
    invocation: Invocation, message: str, status: int, usage: click.ClickException | None = None
) -> NoReturn:
    message = redact(strip_controls(message))
    if invocation.json:
        click.echo(json.dumps({"error": message, "exitCode": status}), err=True)
    elif usage is not None:
        usage.show()
    else:
        click.echo(f"devflow: {message}", err=True)
    sys.exit(status)


def _print_retry(invocation: Invocation, details: stamina.instrumentation.RetryDetails) -> None:
    invocation.print_note(f"{details.caused_by}; retrying in {details.wait_for:.0f} s")


def _config_name(option: click.Option) -> str:
    name = option.name or ""
    return _CONFIG_NAMES.get(name, name)


def _collect_option_names(command: click.Command) -> set[str]:
    """Return the names that the config file may contain: those of all options of the command and its subcommands."""
    names = {_config_name(option) for option in command.params if isinstance(option, click.Option)}
    for child in command.commands.values() if isinstance(command, click.Group) else ():
        names |= _collect_option_names(child)
    return names


def _build_default_map(command: click.Command, config: dict[str, Any]) -> dict[str, Any]:
    """Return the defaults of a command and its subcommands in click's nested form. The config file is flat."""
    options = [option for option in command.params if isinstance(option, click.Option)]
    defaults = {option.name or "": config[_config_name(option)] for option in options if _config_name(option) in config}
    for name, child in command.commands.items() if isinstance(command, click.Group) else ():
        defaults[name] = _build_default_map(child, config)
    return defaults
