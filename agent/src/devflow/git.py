"""git as an agent uses it: no shell, no prompts, no hooks, only protocols that were allowed, no secret in arguments."""

import os
import subprocess
from collections.abc import Collection, Mapping
from pathlib import Path

from devflow import environment
from devflow.git_url import GitUrl
from devflow.errors import JobCancelledError, TaskFailedError
from devflow.program import Program, run_program
from devflow.redaction import redact
from devflow.cancel_token import CancelToken

LOCAL_SECONDS = 600.0
"""For what happens on this machine alone."""
_MAX_OUTPUT = 4_000
"""Characters of what git says that go into a report."""
_SETTINGS = {
    "advice.detachedHead": "false",
    "commit.gpgSign": "false",  # there is nobody to unlock a key
    "core.fsmonitor": "false",
    "core.hooksPath": "/dev/null",
    "core.quotePath": "false",
    "fetch.recurseSubmodules": "false",
    "gc.auto": "0",
    "push.gpgSign": "false",
    "push.recurseSubmodules": "no",
    "submodule.recurse": "false",
}
_CREDENTIAL_HELPER = (
    '!f() { test "$1" = get && printf "username=%s\\npassword=%s\\n" "$DEVFLOW_GIT_USER" "$DEVFLOW_GIT_PASSWORD"; }; f'
)
"""A credential helper that reads the environment: arguments are everybody's to see, the environment is not."""


class Git:
    """Runs git in one clone, which need not be there yet."""

    def __init__(
        self, directory: Path, origin: GitUrl, protocols: Collection[str], stop: CancelToken, tokens: Mapping[str, str]
    ) -> None:
        """`tokens`: for hosts that are reached by https, by their name."""
        self.directory, self.origin = directory, origin
        self._cancel_token = stop
        self._env = _build_environment(origin, protocols, tokens)

    def run(self, *arguments: str, stdin: str | None = None) -> str:
        """What git prints. Raises WorkError where it refuses."""
        done = self._run_local(arguments, stdin)
        if done.returncode != 0:
            raise TaskFailedError(f"git {arguments[0]} failed", redact(_decode(done.stderr)[-_MAX_OUTPUT:]))
        return _decode(done.stdout)

    def succeeds(self, *arguments: str) -> bool:
        """Whether git says yes, by its exit status."""
        return self._run_local(arguments, None).returncode == 0

    def run_remote(self, what: str, *arguments: str, cwd: Path | None = None) -> None:
        """The same with another machine, which may take long: ends when the work is to stop.

        Raises WorkError with `what` ("Repository clone failed") where it fails, DroppedError where it was stopped.
        """
        told: list[str] = []
        program = Program(["git", *self._directory_options(cwd), *arguments], cwd or self.directory, self._env)
        status = run_program(program, self._cancel_token, told.append)
        if self._cancel_token:
            raise JobCancelledError(self._cancel_token.message)
        if status != 0:
            raise TaskFailedError(what, redact("\n".join(told)[-_MAX_OUTPUT:]))

    def _run_local(self, arguments: tuple[str, ...], stdin: str | None) -> "subprocess.CompletedProcess[bytes]":
        return subprocess.run(
            ["git", *self._directory_options(None), *arguments],
            cwd=self.directory,
            env=self._env,
            input=(stdin or "").encode("utf-8", "surrogateescape"),
            capture_output=True,
            timeout=LOCAL_SECONDS,
            check=False,
        )

    def _directory_options(self, cwd: Path | None) -> list[str]:
        # Named, so that nothing that was put into the workspace meanwhile decides which repository is meant.
        return [] if cwd else [f"--git-dir={self.directory / '.git'}", f"--work-tree={self.directory}"]


def _build_environment(origin: GitUrl, protocols: Collection[str], tokens: Mapping[str, str]) -> dict[str, str]:
    settings = list(_SETTINGS.items())
    secret = {}
    password = origin.password or (tokens.get(origin.host, "") if origin.protocol == "https" else "")
    if password and origin.protocol in ("http", "https"):
        scheme, _, rest = origin.url.partition("://")
        helper = f"credential.{scheme}://{rest.partition('/')[0]}.helper"
        settings += [(helper, "")] if origin.password else []  # what came with the address goes before what is stored
        settings += [(helper, _CREDENTIAL_HELPER)]
        secret = {"DEVFLOW_GIT_USER": origin.user or "x-access-token", "DEVFLOW_GIT_PASSWORD": password}
    given = os.environ.get("GIT_CONFIG_COUNT", "")
    first = int(given) if given.isdecimal() else 0
    numbered = {"GIT_CONFIG_COUNT": str(first + len(settings))}
    for number, (name, value) in enumerate(settings, start=first):
        numbered |= {f"GIT_CONFIG_KEY_{number}": name, f"GIT_CONFIG_VALUE_{number}": value}
    fixed = {
        "GIT_ALLOW_PROTOCOL": ":".join(protocols),
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "true",
        "SSH_ASKPASS": "true",
        "LC_ALL": "C.UTF-8",
    }
    ssh = (
        {} if "GIT_SSH_COMMAND" in os.environ or "GIT_SSH" in os.environ else {"GIT_SSH_COMMAND": "ssh -oBatchMode=yes"}
    )
    return environment.build_child_environment() | ssh | fixed | numbered | secret


def _decode(content: bytes) -> str:
    return content.decode("utf-8", "surrogateescape")
