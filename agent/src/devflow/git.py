"""Runs git for an agent: no shell, no prompts, no hooks, only allowed protocols, and no secrets in arguments.

The git directory is the agent's own. The engine works in a clone of it and cannot write to it. So no git process of the
agent takes its configuration, its attributes, its hooks or its remotes from a file that the engine can change.
"""

import os
import resource
import subprocess
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path

from devflow.cancel_token import CancelToken
from devflow.environment import build_child_environment
from devflow.errors import JobCancelledError, TaskFailedError
from devflow.git_url import GitUrl
from devflow.program import Program, run_program
from devflow.redaction import is_secret_name, redact

LOCAL_SECONDS = 600.0
"""The timeout of commands that use only this machine."""
MEMORY = 8 * 1024**3
"""Bytes that one git process may allocate. A repository of a few KB can contain billions of files. Packs do not count:
git maps them."""
_HAS_PRLIMIT = hasattr(resource, "prlimit")
"""On Linux. macOS does not enforce the limit."""
_MAX_OUTPUT = 4_000
"""Characters of git's output that go into a report."""
_SETTINGS = {
    "advice.detachedHead": "false",
    "commit.gpgSign": "false",  # no person is here to unlock a key
    "core.attributesFile": "/dev/null",
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
    """Runs git with one git directory, which may not exist yet, and its working tree."""

    def __init__(
        self,
        git_directory: Path,
        work_tree: Path | None,
        origin: GitUrl,
        protocols: Collection[str],
        cancel_token: CancelToken,
        tokens: Mapping[str, str],
    ) -> None:
        """`tokens` are the tokens for https, by host name."""
        self.git_directory, self.work_tree, self.origin = git_directory, work_tree, origin
        self._cancel_token = cancel_token
        self._remote_env = _build_environment(origin, protocols, tokens)
        # These commands read files that the engine has written: no secret is in their environment.
        local = _build_environment(origin, (), {}, with_password=False)
        self._local_env = {name: value for name, value in local.items() if not is_secret_name(name)}

    def at(self, git_directory: Path) -> "Git":
        """Return another one for a git directory without a working tree. It has no secrets."""
        return Git(git_directory, None, GitUrl("", "file", "", ""), (), self._cancel_token, {})

    def run(self, *arguments: str, stdin: str | None = None, **env: str) -> str:
        """Run a command that uses only this machine. Returns its output. Raises TaskFailedError if it fails."""
        completed = self._run_local(arguments, stdin, env)
        if completed.returncode != 0:
            raise TaskFailedError(f"git {arguments[0]} failed", redact(_decode(completed.stderr)[-_MAX_OUTPUT:]))
        return _decode(completed.stdout)

    def succeeds(self, *arguments: str) -> bool:
        """Run a command that uses only this machine. Returns whether its exit status is 0."""
        return self._run_local(arguments, None, {}).returncode == 0

    def fetch_local(self, source: Path, refspec: str) -> None:
        """Fetch from another git directory of the agent, and check all objects. Raises TaskFailedError."""
        arguments = ("fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--", str(source), refspec)
        self.run("-c", "fetch.fsckObjects=true", "-c", "fetch.unpackLimit=1", *arguments, GIT_ALLOW_PROTOCOL="file")

    def run_remote(self, failure_message: str, *arguments: str, cwd: Path | None = None) -> None:
        """Run a command that talks to another machine and may take long. A cancelled job ends it.

        Raises TaskFailedError with `failure_message` if it fails, and JobCancelledError if the job was cancelled.
        """
        output: list[str] = []
        options = [] if cwd else [f"--git-dir={self.git_directory}"]
        limits = {"rlimits": {"RLIMIT_DATA": MEMORY}} if _HAS_PRLIMIT else {}
        program = Program(
            ["git", *options, *arguments], cwd or self.git_directory, self._remote_env, supervision=limits
        )
        status = run_program(program, self._cancel_token, output.append)
        if self._cancel_token:
            raise JobCancelledError(self._cancel_token.message)
        if status != 0:
            raise TaskFailedError(failure_message, redact("\n".join(output)[-_MAX_OUTPUT:]))

    def _run_local(
        self, arguments: tuple[str, ...], stdin: str | None, env: Mapping[str, str]
    ) -> "subprocess.CompletedProcess[bytes]":
        # Explicit options, so that no file in the working tree can select another repository.
        options = [f"--git-dir={self.git_directory}"]
        options += [f"--work-tree={self.work_tree}"] if self.work_tree else []
        command, pipe = ["git", *options, *arguments], subprocess.PIPE
        with subprocess.Popen(
            command, cwd=self.git_directory, env={**self._local_env, **env}, stdin=pipe, stdout=pipe, stderr=pipe
        ) as process:
            _limit_memory(process.pid)
            try:
                output = process.communicate((stdin or "").encode("utf-8", "surrogateescape"), LOCAL_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                raise TaskFailedError(f"git did not end within {LOCAL_SECONDS:.0f} s: {arguments[0]}") from None
            except BaseException:
                process.kill()
                raise
        return subprocess.CompletedProcess(command, process.returncode, *output)


def _limit_memory(pid: int) -> None:
    if _HAS_PRLIMIT:
        with suppress(ProcessLookupError, PermissionError, ValueError):  # it has ended, or it has a lower limit
            resource.prlimit(pid, resource.RLIMIT_DATA, (MEMORY, MEMORY))


def _build_environment(
    origin: GitUrl, protocols: Collection[str], tokens: Mapping[str, str], *, with_password: bool = True
) -> dict[str, str]:
    settings = list(_SETTINGS.items())
    secrets = {}
    password = origin.password or (tokens.get(origin.host, "") if origin.protocol == "https" else "")
    if with_password and password and origin.protocol in ("http", "https"):
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
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_LFS_SKIP_SMUDGE": "1",
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
