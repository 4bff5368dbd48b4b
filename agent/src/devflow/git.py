"""Runs git for an agent: no shell, no prompts, no hooks, only allowed protocols, and no secrets in arguments."""

import os
import subprocess
from collections.abc import Collection, Mapping
from pathlib import Path

from devflow.cancel_token import CancelToken
from devflow.environment import build_child_environment
from devflow.errors import JobCancelledError, TaskFailedError
from devflow.git_url import GitUrl
from devflow.program import Program, run_program
from devflow.redaction import redact

LOCAL_SECONDS = 600.0
"""The timeout of commands that use only this machine."""
_MAX_OUTPUT = 4_000
"""Characters of git's output that go into a report."""
_SETTINGS = {
    "advice.detachedHead": "false",
    "commit.gpgSign": "false",  # no person is here to unlock a key
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
"""A credential helper that reads the environment. Other users can see arguments, but not the environment."""


class Git:
    """Runs git in one clone, which may not exist yet."""

    def __init__(
        self,
        directory: Path,
        origin: GitUrl,
        protocols: Collection[str],
        cancel_token: CancelToken,
        tokens: Mapping[str, str],
    ) -> None:
        """`tokens` are the tokens for https, by host name."""
        self.directory, self.origin = directory, origin
        self._cancel_token = cancel_token
        self._env = _build_environment(origin, protocols, tokens)

    def run(self, *arguments: str, stdin: str | None = None) -> str:
        """Run a command that uses only this machine. Returns its output. Raises TaskFailedError if it fails."""
        completed = self._run_local(arguments, stdin)
        if completed.returncode != 0:
            raise TaskFailedError(f"git {arguments[0]} failed", redact(_decode(completed.stderr)[-_MAX_OUTPUT:]))
        return _decode(completed.stdout)

    def succeeds(self, *arguments: str) -> bool:
        """Run a command that uses only this machine. Returns whether its exit status is 0."""
        return self._run_local(arguments, None).returncode == 0

    def run_remote(self, failure_message: str, *arguments: str, cwd: Path | None = None) -> None:
        """Run a command that talks to another machine and may take long. A cancelled job ends it.

        Raises TaskFailedError with `failure_message` if it fails, and JobCancelledError if the job was cancelled.
        """
        output: list[str] = []
        program = Program(["git", *self._directory_options(cwd), *arguments], cwd or self.directory, self._env)
        status = run_program(program, self._cancel_token, output.append)
        if self._cancel_token:
            raise JobCancelledError(self._cancel_token.message)
        if status != 0:
            raise TaskFailedError(failure_message, redact("\n".join(output)[-_MAX_OUTPUT:]))

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
        # Explicit options, so that no file that the engine put into the workspace can select another repository.
        return [] if cwd else [f"--git-dir={self.directory / '.git'}", f"--work-tree={self.directory}"]


def _build_environment(origin: GitUrl, protocols: Collection[str], tokens: Mapping[str, str]) -> dict[str, str]:
    settings = list(_SETTINGS.items())
    secrets = {}
    password = origin.password or (tokens.get(origin.host, "") if origin.protocol == "https" else "")
    if password and origin.protocol in ("http", "https"):
        scheme, _, rest = origin.url.partition("://")
        helper = f"credential.{scheme}://{rest.partition('/')[0]}.helper"
        # A password in the repository's URL takes precedence over stored credentials: the empty value clears helpers.
        settings += [(helper, "")] if origin.password else []
        settings += [(helper, _CREDENTIAL_HELPER)]
        secrets = {"DEVFLOW_GIT_USER": origin.user or "x-access-token", "DEVFLOW_GIT_PASSWORD": password}
    count = os.environ.get("GIT_CONFIG_COUNT", "")
    first = int(count) if count.isdecimal() else 0
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
    return build_child_environment() | ssh | fixed | numbered | secrets


def _decode(content: bytes) -> str:
    return content.decode("utf-8", "surrogateescape")
