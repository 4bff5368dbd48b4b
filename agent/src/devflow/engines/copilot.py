"""The `copilot` engine: GitHub's Copilot CLI, which copilot_runner.py drives through its SDK in a separate process.

The SDK takes a second to load and 70 MB of memory, and the CLI is another process. Neither is part of the agent's own.
"""

import importlib.util
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import devflow
from devflow.engines import Engine
from devflow.environment import build_child_environment
from devflow.errors import TaskFailedError
from devflow.redaction import redact

RUNNER_MODULE = "devflow.engines.copilot_runner"
PERMISSION_KINDS = ("shell", "url", "mcp", "memory")
"""The permissions that an operator may grant, apart from files in the clone. See `copilot_permissions`."""
_CHECK_SECONDS = 120.0
_FAILED = "Copilot SDK connection failed"
"""The message that the specification requires."""


@dataclass(frozen=True)
class CopilotOptions:
    """The operator's choices."""

    cli_path: str | None = None
    """The CLI to run. Default: the CLI of the SDK."""
    model: str | None = None
    provider_url: str | None = None
    """The URL of an OpenAI-compatible provider. Default: GitHub. Its key is in `DEVFLOW_COPILOT_API_KEY`."""
    allowed_kinds: tuple[str, ...] = ()


def make_copilot_engine(options: CopilotOptions) -> Engine:
    variables = {
        "DEVFLOW_COPILOT_CLI": options.cli_path,
        "DEVFLOW_COPILOT_MODEL": options.model,
        "DEVFLOW_COPILOT_PROVIDER": options.provider_url,
        "DEVFLOW_COPILOT_ALLOW": ",".join(options.allowed_kinds),
        "DEVFLOW_COPILOT_API_KEY": os.environ.get("DEVFLOW_COPILOT_API_KEY"),
    }
    env = {name: value for name, value in variables.items() if value}
    package = Path(devflow.__file__).resolve().parents[1]
    if not package.is_relative_to(sys.prefix):  # a checkout, which is not installed
        env["PYTHONPATH"] = str(package)
    programs = (package / "devflow", *([Path(options.cli_path)] if options.cli_path else []))
    # -P: without it, Python imports modules from the current directory, which is the clone.
    argv = [sys.executable, "-P", "-u", "-m", RUNNER_MODULE]

    def check() -> None:
        if importlib.util.find_spec("copilot") is None:
            raise TaskFailedError(
                "github-copilot-sdk is not installed. Try, in a checkout of DevFlow: pip install './agent[copilot]'"
            )
        try:
            completed = subprocess.run(
                [*argv, "--check"], env=build_child_environment() | env, capture_output=True, text=True,
                errors="replace", stdin=subprocess.DEVNULL, timeout=_CHECK_SECONDS, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise TaskFailedError(f"{_FAILED}: no response within {_CHECK_SECONDS:.0f} s") from None
        if completed.returncode != 0:
            raise TaskFailedError(f"{_FAILED}: {redact(completed.stdout.strip()[-1_000:])}".rstrip(": "))

    return Engine("copilot", argv, env, programs, check)
