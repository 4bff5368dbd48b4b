"""The program of the `copilot` engine: does one task with the Copilot SDK. `--check` tests whether the CLI responds.

It sends progress events like any engine (docs/agent.md, "Report progress and results"). Its exit status is 0 or 1.
"""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from copilot import CopilotClient, RuntimeConnection
from copilot.rpc import PermissionDecisionApproveOnce, PermissionDecisionReject
from copilot.session import PermissionRequestResult, ProviderConfig
from copilot.session_events import (
    AssistantIntentData,
    AssistantMessageData,
    SessionErrorData,
    SessionEvent,
    SessionIdleData,
    ToolExecutionCompleteData,
    ToolExecutionStartData,
)

from devflow.engines.copilot_permissions import find_denial_reason
from devflow.environment import build_child_environment
from devflow.program_output import MARKER_VARIABLE, PROTOCOL_PREFIX
from devflow.terminal import to_one_line

PING_SECONDS = 1.0
"""Between checks that the CLI is running: the SDK does not notify its sessions when the CLI ends."""
_REMAINING_PER_TOOL = 0.9
"""The progress is an estimate: each tool call leaves this part of the remaining work."""
_INSTRUCTIONS = {
    "fix-bug": "Fix this bug in the repository in the current directory. Add a test for it where the tests are.",
    "feature": "Implement this feature in the repository in the current directory. Add tests where the tests are.",
    "explain": "Answer this about the repository in the current directory. Change nothing.",
    "review-pr": "Review this pull request of the repository in the current directory. Change nothing.",
}
_RULES = (
    "Do not commit or push: that happens afterwards. Nobody can answer questions. End with a summary of one sentence."
)


class SessionTracker:
    """Collects the result of one session from its events."""

    def __init__(self, send_event: Callable[[dict[str, Any]], None], print_line: Callable[[str], None]) -> None:
        self._send_event, self._print_line = send_event, print_line
        self._remaining = 1.0
        self.done = asyncio.Event()
        self.last_message = ""
        """The last message of the assistant."""
        self.error = ""

    def handle_event(self, event: SessionEvent) -> None:
        """Handle an event. Events of sub-agents become steps and log lines, but never end the session."""
        match event.data:
            case AssistantIntentData() as data:
                self._report_step(data.intent)
            case ToolExecutionStartData() as data:
                self._remaining *= _REMAINING_PER_TOOL
                self._report_step(data.tool_title or data.tool_name, _describe_arguments(data.arguments))
            case ToolExecutionCompleteData() as data:
                if not data.success:
                    self._print_line(f"The tool failed: {data.error.message if data.error else 'no reason was given'}")
            case AssistantMessageData() as data if data.content:
                self._print_line(data.content)
                if not event.agent_id:
                    self.last_message = data.content
            case SessionErrorData() as data if not event.agent_id:
                self.error = data.message
                self.done.set()
            case SessionIdleData() if not event.agent_id:
                self.done.set()

    def _report_step(self, step: str, details: str = "") -> None:
        progress = round(1 - self._remaining, 3)
        self._send_event({"step": to_one_line(step, 200), "progress": progress, "details": details})
        self._print_line(f"> {step} {details}".rstrip())


async def run_task(task: dict[str, Any]) -> int:
    """Do the task. Returns the exit status."""
    root, allowed = Path.cwd(), (os.environ.get("DEVFLOW_COPILOT_ALLOW") or "").split(",")

    def decide(request: Any, _invocation: Any) -> PermissionRequestResult:
        if (reason := find_denial_reason(request, root, allowed)) is None:
            return PermissionDecisionApproveOnce()
        print_line(f"Denied: {reason}")
        return PermissionDecisionReject(feedback=reason)

    tracker = SessionTracker(send_event, print_line)
    async with connect() as copilot:
        session = await copilot.create_session(
            on_permission_request=decide,
            on_event=tracker.handle_event,
            model=os.environ.get("DEVFLOW_COPILOT_MODEL"),
            provider=read_provider(),
            client_name="devflow",
            working_directory=str(root),
            # Hooks and servers that the repository configures must not run.
            enable_config_discovery=False,
            enable_file_hooks=False,
        )
        await session.send(build_prompt(task))
        await wait_until_done(tracker.done, copilot)
    if tracker.error:
        send_event({"error": tracker.error})
        return 1
    summary = tracker.last_message.strip().rpartition("\n\n")[2]
    send_event({"summary": summary, "output": tracker.last_message})
    return 0


async def wait_until_done(done: asyncio.Event, copilot: CopilotClient) -> None:
    """Wait for the end of the session. Raises the SDK's error if the CLI has ended."""
    while not done.is_set():
        with suppress(TimeoutError):
            await asyncio.wait_for(done.wait(), PING_SECONDS)
        if not done.is_set():
            await copilot.ping()


@asynccontextmanager
async def connect() -> AsyncIterator[CopilotClient]:
    """Start the chosen CLI, in an environment without the agent's variables, and connect to it."""
    path = os.environ.get("DEVFLOW_COPILOT_CLI")
    connection = RuntimeConnection.for_stdio(path=path) if path else None
    copilot = CopilotClient(connection=connection, env=build_child_environment(), working_directory=str(Path.cwd()))
    try:
        await copilot.start()
        yield copilot
    finally:
        try:
            await copilot.stop()
        except Exception:  # noqa: BLE001  # the work is done, so an error of the CLI's shutdown does not matter
            await copilot.force_stop()


def read_provider() -> ProviderConfig | None:
    """Return the OpenAI-compatible provider that replaces GitHub's, or None."""
    url = os.environ.get("DEVFLOW_COPILOT_PROVIDER")
    if not url:
        return None
    key = os.environ.get("DEVFLOW_COPILOT_API_KEY", "none")  # the SDK requires a key, but some local providers do not
    return ProviderConfig(type="openai", wire_api="completions", base_url=url, api_key=key)


def build_prompt(task: dict[str, Any]) -> str:
    """Return the prompt for the model. The submitter's text is marked, so that it is not taken for instructions."""
    instruction = _INSTRUCTIONS.get(
        task["intent"], f"Do this ({task['intent']}) in the repository in the current directory."
    )
    context = f"\n\nContext: {json.dumps(task['context'])}" if task.get("context") else ""
    return f"{instruction} {_RULES}\n\n<task>\n{task['description']}\n</task>{context}"


async def check_cli() -> int:
    """Check that the CLI responds. Returns the exit status."""
    async with connect() as copilot:
        await copilot.ping()
    return 0


def send_event(event: dict[str, Any]) -> None:
    """Send an event to the agent."""
    print(os.environ.get(MARKER_VARIABLE, PROTOCOL_PREFIX), json.dumps(event), flush=True)


def print_line(text: str) -> None:
    """Print a line for the log."""
    print(text, flush=True)


def _describe_arguments(arguments: Any) -> str:
    """Return the most informative argument of a tool call, in one line."""
    if isinstance(arguments, dict):
        named = next((arguments[name] for name in ("command", "path", "file_name", "url") if arguments.get(name)), None)
        return to_one_line(str(named if named is not None else json.dumps(arguments)), 200)
    return to_one_line(str(arguments or ""), 200)


def main() -> int:
    checking = sys.argv[1:] == ["--check"]
    try:
        return asyncio.run(check_cli() if checking else run_task(json.load(sys.stdin)))
    except Exception as error:  # noqa: BLE001  # any error of the SDK is the reason of the failure
        reason = to_one_line(str(error) or type(error).__name__, 1_000)
        if checking:
            print_line(reason)
        else:
            send_event({"error": f"Copilot SDK connection failed: {reason}"})
        return 1


if __name__ == "__main__":
    sys.exit(main())
