"""Attacks through sockets, variables and descriptors of the user."""

from __future__ import annotations

import os

from agent.tests.support.hostile.tools import FACTS, attack, connect


@attack
def use_docker() -> bool:
    return connect(FACTS["docker"])


@attack
def use_ssh_agent() -> bool:
    return connect(FACTS["ssh_agent"])


@attack
def use_session_bus() -> bool:
    return connect(FACTS["bus"])


@attack
def use_abstract_socket() -> bool:
    return connect("\0" + FACTS["unique"])


@attack
def use_x11_display() -> bool:
    return "DISPLAY" in os.environ or "XAUTHORITY" in os.environ or "WAYLAND_DISPLAY" in os.environ


@attack
def use_variables_of_user() -> bool:
    names = ("SSH_AUTH_SOCK", "DBUS_SESSION_BUS_ADDRESS", "GITHUB_TOKEN", "AWS_SECRET_ACCESS_KEY", "NPM_TOKEN",
             "DEVFLOW_TOKEN", "DEVFLOW_STATE", "DEVFLOW_CONFIG", "LD_PRELOAD", "PYTHONSTARTUP")  # fmt: skip
    return any(name in os.environ for name in names)


@attack
def use_terminal_of_agent() -> bool:
    """TIOCSTI types into the terminal that a process belongs to."""
    os.close(os.open("/dev/tty", os.O_RDWR))
    return True


@attack
def keep_descriptors_of_agent() -> bool:
    """It succeeds if more was open at the beginning than standard input, output and error."""
    return any(number > 2 for number in FACTS["descriptors"])
