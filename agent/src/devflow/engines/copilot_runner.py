"""Does one task with the Copilot SDK: the program behind the engine `copilot`. `--check` says whether it could.

It tells the agent what happens as any program may (docs/agent.md, "Telling"), and ends with exit status 0 or 1.
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

from devflow import environment
from devflow.engines.copilot_permissions import find_denial_reason
from devflow.program_output import PROTOCOL_PREFIX
from devflow.terminal import to_one_line

PING_SECONDS = 1.0
"""Between two looks at whether the CLI is still there: of its end the SDK's sessions hear nothing."""
_REMAINING_PER_TOOL = 0.9
"""With each tool that was used, this much of the way is still left: how far it is nobody knows."""
_INSTRUCTIONS = {
    "fix-bug": "Fix this bug in the repository in the current directory. Add a test that shows it, where tests are.",
    "feature": "Implement this feature in the repository in the current directory, with tests where tests are.",
    "explain": "Answer this about the repository in the current directory. Change nothing.",
    "review-pr": "Review this pull request of the repository in the current directory. Change nothing.",
}
_RULES = (
    "Do not commit or push: that is done afterwards. Nobody can answer questions. End with a summary of a sentence."
)


class SessionTracker:
    """What comes of one session, event by event."""

    def __init__(self, send_event: Callable[[dict[str, Any]], None], print_line: Callable[[str], None]) -> None:
        self._send_event, self._print_line = send_event, print_line
        self._remaining = 1.0
        self.done = asyncio.Event()
        self.last_message = ""
        """The last message of the assistant."""
        self.error = ""

    def handle_event(self, event: SessionEvent) -> None:
        """Take in an event. Those of sub-agents are steps and log, and end nothing."""
        match event.data:
            case AssistantIntentData() as data:
                self._report_step(data.intent)
            case ToolExecutionStartData() as data:
                self._remaining *= _REMAINING_PER_TOOL
                self._report_step(data.tool_title or data.tool_name, _describe_arguments(data.arguments))
            case ToolExecutionCompleteData() as data:
                if not data.success:
                    self._print_line(f"It failed: {data.error.message if data.error else 'nobody knows why'}")
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
        self._send_event({"step": to_one_line(step, 200), "progress": round(1 - self._remaining, 3), "details": details})
        self._print_line(f"> {step} {details}".rstrip())


async def run_task(task: dict[str, Any]) -> int:
    """Do it; the exit status."""
    root, allowed = Path.cwd(), (os.environ.get("DEVFLOW_COPILOT_ALLOW") or "").split(",")

    def decide(request: Any, _invocation: Any) -> PermissionRequestResult:
        if (reason := find_denial_reason(request, root, allowed)) is None:
            return PermissionDecisionApproveOnce()
        print_line(f"Refused: {reason}")
        return PermissionDecisionReject(feedback=reason)

    heard = SessionTracker(send_event, print_line)
    async with connect() as copilot:
        session = await copilot.create_session(
            on_permission_request=decide,
            on_event=heard.handle_event,
            model=os.environ.get("DEVFLOW_COPILOT_MODEL"),
            provider=read_provider(),
            client_name="devflow",
            working_directory=str(root),
            # What the repository brings along must not run by itself, nor bring servers in.
            enable_config_discovery=False,
            enable_file_hooks=False,
        )
        await session.send(build_prompt(task))
        await wait_until_done(heard.done, copilot)
    if heard.error:
        send_event({"error": heard.error})
        return 1
    send_event({"summary": heard.last_message.strip().rpartition("\n\n")[2], "output": heard.last_message})
    return 0


async def wait_until_done(done: asyncio.Event, copilot: CopilotClient) -> None:
    """Wait, while the CLI is there. Raises what the SDK raises when it is not."""
    while not done.is_set():
        with suppress(TimeoutError):
            await asyncio.wait_for(done.wait(), PING_SECONDS)
        if not done.is_set():
            await copilot.ping()


@asynccontextmanager
async def connect() -> AsyncIterator[CopilotClient]:
    """A client of the CLI that was chosen, in an environment without what is the agent's."""
    path = os.environ.get("DEVFLOW_COPILOT_CLI")
    connection = RuntimeConnection.for_stdio(path=path) if path else None
    copilot = CopilotClient(connection=connection, env=environment.build_child_environment(), working_directory=str(Path.cwd()))
    try:
        await copilot.start()
        yield copilot
    finally:
        try:
            await copilot.stop()
        except Exception:  # noqa: BLE001  # what was done is done, however the CLI takes its leave
            await copilot.force_stop()


def read_provider() -> ProviderConfig | None:
    """An OpenAI-compatible provider instead of GitHub's, where one was chosen."""
    address = os.environ.get("DEVFLOW_COPILOT_PROVIDER")
    if not address:
        return None
    key = os.environ.get("DEVFLOW_COPILOT_API_KEY", "none")  # some local ones want none, and the SDK wants one
    return ProviderConfig(type="openai", wire_api="completions", base_url=address, api_key=key)


def build_prompt(task: dict[str, Any]) -> str:
    """What the model is asked. What the submitter wrote is marked as that."""
    asked = _INSTRUCTIONS.get(task["intent"], f"Do this ({task['intent']}) in the repository in the current directory.")
    context = f"\n\nContext: {json.dumps(task['context'])}" if task.get("context") else ""
    return f"{asked} {_RULES}\n\n<task>\n{task['description']}\n</task>{context}"


async def check_cli() -> int:
    """Whether a CLI answers."""
    async with connect() as copilot:
        await copilot.ping()
    return 0


def send_event(what: dict[str, Any]) -> None:
    print(PROTOCOL_PREFIX + json.dumps(what), flush=True)


def print_line(text: str) -> None:
    print(text, flush=True)


def _describe_arguments(arguments: Any) -> str:
    """Of a tool's arguments, what says most to a person."""
    if isinstance(arguments, dict):
        named = next((arguments[name] for name in ("command", "path", "file_name", "url") if arguments.get(name)), None)
        return to_one_line(str(named if named is not None else json.dumps(arguments)), 200)
    return to_one_line(str(arguments or ""), 200)


def main() -> int:
    checking = sys.argv[1:] == ["--check"]
    try:
        return asyncio.run(check_cli() if checking else run_task(json.load(sys.stdin)))
    except Exception as error:  # noqa: BLE001  # whatever the SDK raises is why this could not be done
        reason = to_one_line(str(error) or type(error).__name__, 1_000)
        if checking:
            print_line(reason)
        else:
            send_event({"error": f"Copilot SDK connection failed: {reason}"})
        return 1


if __name__ == "__main__":
    sys.exit(main())
