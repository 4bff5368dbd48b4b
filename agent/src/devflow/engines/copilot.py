"""The engine `copilot`: GitHub's Copilot CLI by way of its SDK, in a process of its own (copilot_runner.py).

The SDK takes a second to load and 70 MB, and the CLI it drives is another process: none of it is in the agent's own.
"""

import importlib.util
import os
import subprocess
import sys
from dataclasses import dataclass

from devflow import environment
from devflow.engines import Engine
from devflow.errors import TaskFailedError
from devflow.redaction import redact

RUNNER_MODULE = "devflow.engines.copilot_runner"
PERMISSION_KINDS = ("shell", "url", "mcp", "memory")
"""What an operator may allow besides reading and writing in the clone; see `copilot_permissions`."""
_CHECK_SECONDS = 120.0
_FAILED = "Copilot SDK connection failed"
"""As the spec has it."""


@dataclass(frozen=True)
class CopilotOptions:
    """What its operator has chosen."""

    cli_path: str | None = None
    """The CLI to run; the SDK's own when left out."""
    model: str | None = None
    provider_url: str | None = None
    """Address of an OpenAI-compatible provider, whose key is in `DEVFLOW_COPILOT_API_KEY`. GitHub when left out."""
    allowed_kinds: tuple[str, ...] = ()


def make_copilot_engine(choices: CopilotOptions) -> Engine:
    """Any engine's program: it is fed, heard and ended like every other."""
    given = {
        "DEVFLOW_COPILOT_CLI": choices.cli_path,
        "DEVFLOW_COPILOT_MODEL": choices.model,
        "DEVFLOW_COPILOT_PROVIDER": choices.provider_url,
        "DEVFLOW_COPILOT_ALLOW": ",".join(choices.allowed_kinds),
        "DEVFLOW_COPILOT_API_KEY": os.environ.get("DEVFLOW_COPILOT_API_KEY"),
    }
    env = {name: value for name, value in given.items() if value}
    argv = [sys.executable, "-u", "-m", RUNNER_MODULE]

    def check() -> None:
        if importlib.util.find_spec("copilot") is None:
            raise TaskFailedError(
                "github-copilot-sdk is not installed. Try, in a checkout of DevFlow: pip install './agent[copilot]'"
            )
        try:
            done = subprocess.run(
                [*argv, "--check"], env=environment.build_child_environment() | env, capture_output=True, text=True, errors="replace",
                stdin=subprocess.DEVNULL, timeout=_CHECK_SECONDS, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise TaskFailedError(f"{_FAILED}: it does not answer") from None
        if done.returncode != 0:
            raise TaskFailedError(f"{_FAILED}: {redact(done.stdout.strip()[-1_000:])}".rstrip(": "))

    return Engine("copilot", argv, env, check)
