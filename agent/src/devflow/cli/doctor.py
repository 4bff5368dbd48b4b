"""`devflow agent doctor`: checks what an agent needs on this machine, and says why something does not work."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import click

from devflow import settings
from devflow.agent_state import AgentState
from devflow.cli.engine_options import engine_options, make_engine
from devflow.cli.invocation import Invocation, agent_name_option, json_option, pass_invocation
from devflow.cli.sandbox_options import describe_sandbox, sandbox_options
from devflow.control_group import find_delegated_group
from devflow.engines import Engine
from devflow.errors import DevFlowError, SettingsError
from devflow.pull_request import TOKEN_VARIABLES

OK, WARNING, FAILED = "ok", "warning", "failed"


@dataclass(frozen=True)
class Check:
    """One result: `status` is `ok`, `warning` or `failed`."""

    name: str
    status: str
    message: str


@click.command()
@agent_name_option
@engine_options
@sandbox_options
@json_option
@pass_invocation
def doctor(invocation: Invocation, /, agent_id: str, **options: Any) -> int:
    """Check what the agent needs on this machine.

    Takes the options of `devflow agent start` about engines and the sandbox. The exit status is 1 if a check failed.
    """
    checks = list(_check_all(invocation, agent_id, options))
    result = {"checks": [{"name": check.name, "status": check.status, "message": check.message} for check in checks]}
    invocation.print_result(result, "\n".join(f"{check.status:8} {check.name}: {check.message}" for check in checks))
    return int(any(check.status == FAILED for check in checks))


def _check_all(invocation: Invocation, agent_id: str, options: dict[str, Any]) -> Iterator[Check]:
    yield _check_git()
    yield _attempt("registration", lambda: _describe_registration(agent_id))
    engine = Engine("command", ["true"])
    if options["engine"] == "command" and not options["command"]:
        yield Check(
            "engine",
            WARNING,
            "No program was given, so none was checked. Try: --command 'claude -p --permission-mode bypassPermissions'",
        )
    else:
        try:
            engine = make_engine(options)
        except SettingsError as error:
            yield Check("engine", FAILED, str(error))
        else:
            yield _attempt("engine", lambda: _check_engine(engine))
    yield from _check_sandbox(options, engine, invocation)
    yield _check_limits()
    yield _check_user_token(invocation)
    yield _check_pull_requests()


def _attempt(name: str, check: Callable[[], str]) -> Check:
    try:
        return Check(name, OK, check())
    except DevFlowError as error:
        return Check(name, FAILED, str(error))


def _check_git() -> Check:
    if shutil.which("git") is None:
        return Check("git", FAILED, "git is not installed")
    completed = subprocess.run(["git", "--version"], capture_output=True, text=True, check=False)
    return Check("git", OK, completed.stdout.strip().removeprefix("git version "))


def _describe_registration(agent_id: str) -> str:
    registration = AgentState(settings.state_path(), agent_id).load_registration()
    return f"{registration.agent_id} at {registration.url}"


def _check_engine(engine: Engine) -> str:
    engine.check()
    return f"{engine.name} works" if engine.name == "copilot" else f"{shutil.which(engine.argv[0])}"


def _check_sandbox(options: dict[str, Any], engine: Engine, invocation: Invocation) -> Iterator[Check]:
    try:
        sandbox = replace(describe_sandbox(options, engine, invocation.config_path), enabled=True)
    except SettingsError as error:
        yield Check("sandbox", FAILED, str(error))
        return
    if options["sandbox"] == "none":
        yield Check("sandbox", WARNING, "Engines run without a sandbox, because of --sandbox none")
        return
    if problem := sandbox.find_problem():
        yield Check("sandbox", FAILED, f"{problem}. Without a sandbox: --sandbox none")
        return
    yield Check("sandbox", OK, f"{sandbox.program} works, network {sandbox.network}, profile {sandbox.profile.name}")
    if sandbox.network != "none" and (problem := replace(sandbox, network="none").find_problem()):
        yield Check("network", WARNING, f"--network none does not work here. {problem}")


def _check_limits() -> Check:
    group, reason = find_delegated_group()
    if group is None:
        return Check("limits", WARNING, f"memory and processes are measured twice a second, because {reason}")
    return Check("limits", OK, f"the kernel enforces memory and processes, in the control group {group}")


def _check_user_token(invocation: Invocation) -> Check:
    if invocation.config.get("token"):
        return Check(
            "user token",
            WARNING,
            f"{invocation.config_path} contains the token of a user, which can do more than the agent's. "
            "Try: devflow logout. Next time, register with: devflow agent register --registration-token-stdin",
        )
    return Check("user token", OK, "none is stored on this machine")


def _check_pull_requests() -> Check:
    if shutil.which("gh"):
        return Check("pull requests", OK, "with gh")
    if any(os.environ.get(name) for name in TOKEN_VARIABLES):
        return Check("pull requests", OK, "with GITHUB_TOKEN")
    return Check("pull requests", WARNING, "none: gh is not installed, and GITHUB_TOKEN is not set")
