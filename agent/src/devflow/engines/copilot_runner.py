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
from devflow.engines.copilot_permissions import refusal
from devflow.telling import MARK
from devflow.terminal import one_line

PING_SECONDS = 1.0
"""Between two looks at whether the CLI is still there: of its end the SDK's sessions hear nothing."""
_STEPS = 0.9
"""With each tool that was used, this much of the way is still left: how far it is nobody knows."""
_ASKED = {
    "fix-bug": "Fix this bug in the repository in the current directory. Add a test that shows it, where tests are.",
    "feature": "Implement this feature in the repository in the current directory, with tests where tests are.",
    "explain": "Answer this about the repository in the current directory. Change nothing.",
    "review-pr": "Review this pull request of the repository in the current directory. Change nothing.",
}
_RULES = (
    "Do not commit or push: that is done afterwards. Nobody can answer questions. End with a summary of a sentence."
)


class Work:
    """What comes of one session, event by event."""

    def __init__(self, tell: Callable[[dict[str, Any]], None], say: Callable[[str], None]) -> None:
        self._tell, self._say = tell, say
        self._left = 1.0
        self.done = asyncio.Event()
        self.answer = ""
        """The last message of the assistant."""
        self.error = ""

    def hear(self, event: SessionEvent) -> None:
        """Take in an event. Those of sub-agents are steps and log, and end nothing."""
        match event.data:
            case AssistantIntentData() as data:
                self._step(data.intent)
            case ToolExecutionStartData() as data:
                self._left *= _STEPS
                self._step(data.tool_title or data.tool_name, _shown(data.arguments))
            case ToolExecutionCompleteData() as data:
                if not data.success:
                    self._say(f"It failed: {data.error.message if data.error else 'nobody knows why'}")
            case AssistantMessageData() as data if data.content:
                self._say(data.content)
                if not event.agent_id:
                    self.answer = data.content
            case SessionErrorData() as data if not event.agent_id:
                self.error = data.message
                self.done.set()
            case SessionIdleData() if not event.agent_id:
                self.done.set()

    def _step(self, step: str, details: str = "") -> None:
        self._tell({"step": one_line(step, 200), "progress": round(1 - self._left, 3), "details": details})
        self._say(f"> {step} {details}".rstrip())


async def work(task: dict[str, Any]) -> int:
    """Do it; the exit status."""
    root, allowed = Path.cwd(), (os.environ.get("DEVFLOW_COPILOT_ALLOW") or "").split(",")

    def decide(request: Any, _invocation: Any) -> PermissionRequestResult:
        if (reason := refusal(request, root, allowed)) is None:
            return PermissionDecisionApproveOnce()
        say(f"Refused: {reason}")
        return PermissionDecisionReject(feedback=reason)

    heard = Work(tell, say)
    async with connected() as copilot:
        session = await copilot.create_session(
            on_permission_request=decide,
            on_event=heard.hear,
            model=os.environ.get("DEVFLOW_COPILOT_MODEL"),
            provider=provider(),
            client_name="devflow",
            working_directory=str(root),
            # What the repository brings along must not run by itself, nor bring servers in.
            enable_config_discovery=False,
            enable_file_hooks=False,
        )
        await session.send(prompt(task))
        await until(heard.done, copilot)
    if heard.error:
        tell({"error": heard.error})
        return 1
    tell({"summary": heard.answer.strip().rpartition("\n\n")[2], "output": heard.answer})
    return 0


async def until(done: asyncio.Event, copilot: CopilotClient) -> None:
    """Wait, while the CLI is there. Raises what the SDK raises when it is not."""
    while not done.is_set():
        with suppress(TimeoutError):
            await asyncio.wait_for(done.wait(), PING_SECONDS)
        if not done.is_set():
            await copilot.ping()


@asynccontextmanager
async def connected() -> AsyncIterator[CopilotClient]:
    """A client of the CLI that was chosen, in an environment without what is the agent's."""
    path = os.environ.get("DEVFLOW_COPILOT_CLI")
    connection = RuntimeConnection.for_stdio(path=path) if path else None
    copilot = CopilotClient(connection=connection, env=environment.base(), working_directory=str(Path.cwd()))
    try:
        await copilot.start()
        yield copilot
    finally:
        try:
            await copilot.stop()
        except Exception:  # noqa: BLE001  # what was done is done, however the CLI takes its leave
            await copilot.force_stop()


def provider() -> ProviderConfig | None:
    """An OpenAI-compatible provider instead of GitHub's, where one was chosen."""
    address = os.environ.get("DEVFLOW_COPILOT_PROVIDER")
    if not address:
        return None
    key = os.environ.get("DEVFLOW_COPILOT_API_KEY", "none")  # some local ones want none, and the SDK wants one
    return ProviderConfig(type="openai", wire_api="completions", base_url=address, api_key=key)


def prompt(task: dict[str, Any]) -> str:
    """What the model is asked. What the submitter wrote is marked as that."""
    asked = _ASKED.get(task["intent"], f"Do this ({task['intent']}) in the repository in the current directory.")
    context = f"\n\nContext: {json.dumps(task['context'])}" if task.get("context") else ""
    return f"{asked} {_RULES}\n\n<task>\n{task['description']}\n</task>{context}"


async def check() -> int:
    """Whether a CLI answers."""
    async with connected() as copilot:
        await copilot.ping()
    return 0


def tell(what: dict[str, Any]) -> None:
    print(MARK + json.dumps(what), flush=True)


def say(text: str) -> None:
    print(text, flush=True)


def _shown(arguments: Any) -> str:
    """Of a tool's arguments, what says most to a person."""
    if isinstance(arguments, dict):
        named = next((arguments[name] for name in ("command", "path", "file_name", "url") if arguments.get(name)), None)
        return one_line(str(named if named is not None else json.dumps(arguments)), 200)
    return one_line(str(arguments or ""), 200)


def main() -> int:
    checking = sys.argv[1:] == ["--check"]
    try:
        return asyncio.run(check() if checking else work(json.load(sys.stdin)))
    except Exception as error:  # noqa: BLE001  # whatever the SDK raises is why this could not be done
        reason = one_line(str(error) or type(error).__name__, 1_000)
        if checking:
            say(reason)
        else:
            tell({"error": f"Copilot SDK connection failed: {reason}"})
        return 1


if __name__ == "__main__":
    sys.exit(main())
