"""The options that decide what engines see of this machine: `devflow agent start` and `devflow agent doctor`."""

from pathlib import Path
from typing import Any

import click

from devflow import settings
from devflow.cli.invocation import CommandFunction, setting_option
from devflow.egress_proxy import HostPattern
from devflow.engine_profiles import PROFILES, find_profile
from devflow.engine_view import AllowedPath
from devflow.engines import Engine
from devflow.errors import SettingsError
from devflow.resource_limits import ResourceLimits
from devflow.sandbox import MODES, NETWORKS, Sandbox, make_sandbox

_OWN_DIRECTORY = "devflow"
"""The name of the directory that contains nothing but the config file, unless DEVFLOW_CONFIG names another one."""


def sandbox_options(command: CommandFunction) -> CommandFunction:
    """Add the options of the sandbox. `read_sandbox` reads them."""
    for add in reversed(_OPTIONS):
        command = add(command)
    return command


def describe_sandbox(options: dict[str, Any], engine: Engine, config_path: Path) -> Sandbox:
    """Return what the options ask for, without checking that it works. Raises SettingsError."""
    for name in options["pass_env"]:
        if name.startswith(("DEVFLOW_", "_DEVFLOW_")):
            raise SettingsError(f"--pass-env {name}: the agent's own variables are never passed to an engine")
    if options["allow_hosts"] and options["network"] != "proxy":
        raise SettingsError("--allow-host restricts engines only with --network proxy")
    profile = "copilot" if engine.name == "copilot" and options["profile"] == "auto" else options["profile"]
    own, private = [settings.state_path(), config_path], options.get("allow_private_hosts", False)
    if config_path.parent.name == _OWN_DIRECTORY:
        own.append(
            config_path.parent
        )  # a login replaces the file, and a mount on the old one does not cover the new one
    return Sandbox(
        network=options["network"],
        hosts=tuple(HostPattern.parse(text, private=private) for text in options["allow_hosts"]),
        allowed=tuple(AllowedPath.parse(text) for text in options["sandbox_allow"]),
        # Under all of their names: a part of the path may be a link.
        hidden=tuple(dict.fromkeys(name for path in own for name in (path.absolute(), path.resolve()))),
        profile=find_profile(profile, engine.argv),
        pass_names=tuple(options["pass_env"]),
        limits=ResourceLimits.parse(options["limits"]),
    )


def read_sandbox(options: dict[str, Any], engine: Engine, config_path: Path) -> Sandbox:
    """Return the sandbox for `engine`. Raises SettingsError if it does not work on this machine."""
    return make_sandbox(options["sandbox"], describe_sandbox(options, engine, config_path))


_OPTIONS = (
    setting_option(
        "--sandbox",
        type=click.Choice(MODES),
        default="auto",
        show_default=True,
        help="What confines engines. `auto` is bubblewrap, or sandbox-exec on macOS. The agent does not start without.",
    ),
    setting_option(
        "--sandbox-allow",
        multiple=True,
        metavar="PATH[:rw]",
        help="A file or directory that engines may read, or with :rw also change. Can be repeated.",
    ),
    setting_option(
        "--network",
        type=click.Choice(NETWORKS),
        default="host",
        show_default=True,
        help="The network of engines in the sandbox: that of this machine, none, or only the hosts of --allow-host.",
    ),
    setting_option(
        "--allow-host",
        "allow_hosts",
        multiple=True,
        metavar="HOST",
        help="With --network proxy: a host that engines may reach, or *.DOMAIN, or HOST:PORT. Can be repeated.",
    ),
    setting_option(
        "--pass-env",
        multiple=True,
        metavar="NAME",
        help="A variable of the environment that engines get. Can be repeated.",
    ),
    setting_option(
        "--profile",
        type=click.Choice(["auto", *PROFILES]),
        default="auto",
        show_default=True,
        help="Whose login and keys engines get. `auto` goes by the name of the program.",
    ),
    setting_option(
        "--limit",
        "limits",
        multiple=True,
        metavar="NAME=NUMBER",
        help="A limit for each task: memory, processes, file, files or disk, like memory=4G. Can be repeated.",
    ),
)
