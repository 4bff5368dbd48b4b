"""The options that choose an engine: `devflow agent start` and `devflow agent doctor`."""

from typing import Any

import click

from devflow.cli.invocation import CommandFunction, setting_option
from devflow.engines import Engine
from devflow.engines.command import make_command_engine
from devflow.engines.copilot import PERMISSION_KINDS, CopilotOptions, make_copilot_engine
from devflow.engines.copilot_permissions import ALL_KINDS

ENGINES = ("command", "copilot")


def engine_options(command: CommandFunction) -> CommandFunction:
    """Add the options of engines. `make_engine` reads them."""
    for add in reversed(_OPTIONS):
        command = add(command)
    return command


def make_engine(options: dict[str, Any]) -> Engine:
    """Make the engine of the options. Raises SettingsError."""
    if options["engine"] == "copilot":
        return make_copilot_engine(
            CopilotOptions(
                options["copilot_cli"],
                options["copilot_model"],
                options["copilot_provider"],
                tuple(options["copilot_allow"]),
            )
        )
    return make_command_engine(options["command"] or "")


_OPTIONS = (
    setting_option(
        "--engine", type=click.Choice(ENGINES), default="command", show_default=True, help="What does the work."
    ),
    setting_option(
        "--command",
        metavar="PROGRAM",
        help="The program of the engine `command`, for example 'claude -p --permission-mode bypassPermissions'.",
    ),
    setting_option("--copilot-cli", metavar="PATH", help="The CLI of the engine `copilot`. [default: the SDK's own]"),
    setting_option("--copilot-model", metavar="NAME", help="The model of the engine `copilot`."),
    setting_option(
        "--copilot-provider",
        metavar="ADDRESS",
        help="The URL of an OpenAI-compatible provider. Its key is in DEVFLOW_COPILOT_API_KEY.",
    ),
    setting_option(
        "--copilot-allow",
        multiple=True,
        type=click.Choice([*PERMISSION_KINDS, ALL_KINDS]),
        help="What Copilot may use besides files in the clone. Can be repeated.",
    ),
)
