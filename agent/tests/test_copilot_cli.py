"""The `copilot` engine with the real Copilot CLI, which npm installs, and a fake model on loopback."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from agent.tests.support.fake_platform import FakeResponse
from agent.tests.support.processes import processes_in
from agent.tests.test_copilot import Scenario, accept, git
from devflow.cancel_token import CancelReason

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from agent.tests.support.fake_platform import FakePlatform, ReceivedRequest

VERSION = "1.0.102"
CACHE = Path(__file__).parents[2] / ".cache" / f"copilot-{VERSION}"
SECONDS = 120

pytestmark = [pytest.mark.long, pytest.mark.timeout(4 * SECONDS)]


@pytest.fixture(scope="session")
def cli() -> Path:
    """Return the path of the CLI. Skips the test if npm cannot install it."""
    result = CACHE / "node_modules" / ".bin" / "copilot"
    if not result.exists():
        npm = shutil.which("npm")
        if npm is None:
            pytest.skip("npm is not installed")
        CACHE.mkdir(parents=True, exist_ok=True)
        completed = subprocess.run(
            [npm, "install", "--prefix", str(CACHE), "--no-audit", "--no-fund", f"@github/copilot@{VERSION}"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if completed.returncode != 0:
            pytest.skip(f"npm cannot install the Copilot CLI: {completed.stderr[-300:]}")
    return result


class Model:
    """A model that sends prepared responses, and then blocks until it is released."""

    def __init__(self) -> None:
        self.responses: list[Any] = []
        self.blocked, self.released = threading.Event(), threading.Event()

    def __call__(self, request: ReceivedRequest) -> FakeResponse:
        if not request.path.endswith("/chat/completions"):
            return FakeResponse(404, {})
        if not self.responses:
            self.blocked.set()
            self.released.wait(SECONDS)
            return FakeResponse(500, {})
        message_or_call = self.responses.pop(0)
        message: dict[str, Any] = {
            "role": "assistant",
            "content": message_or_call if isinstance(message_or_call, str) else None,
        }
        if not isinstance(message_or_call, str):
            name, arguments = message_or_call
            call = {"name": name, "arguments": json.dumps(arguments)}
            message["tool_calls"] = [{"id": f"call-{len(self.responses)}", "type": "function", "function": call}]
        reason = "stop" if isinstance(message_or_call, str) else "tool_calls"
        choice = {"index": 0, "message": message, "finish_reason": reason}
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        body = {
            "id": "1",
            "object": "chat.completion",
            "created": 1,
            "model": "gpt-5",
            "choices": [choice],
            "usage": usage,
        }
        return FakeResponse(200, body)


@pytest.fixture
def model() -> Iterator[Model]:
    model = Model()
    yield model
    model.released.set()


@pytest.fixture
def scenario(
    start_platform: Callable[..., FakePlatform], model: Model, cli: Path, tmp_path: Path, machine: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Scenario:  # fmt: skip
    monkeypatch.setenv("DEVFLOW_COPILOT_API_KEY", "key-of-the-model")
    scenario = Scenario(start_platform(accept), tmp_path)
    scenario.options = replace(scenario.options, cli_path=str(cli), provider_url=f"{start_platform(model).url}/v1")
    return scenario


def test_real_cli_changes_files_reports_steps_and_is_denied_outside(
    scenario: Scenario, model: Model, tmp_path: Path
) -> None:
    repo = scenario.directory / "agent" / "work" / "task-1-attempt-1" / "repo"
    model.responses = [
        ("edit", {"path": str(repo / "login.py"), "old_str": "bug", "new_str": "fixed"}),
        ("create", {"path": str(tmp_path / "outside.py"), "file_text": "escaped"}),
        ("bash", {"command": f"touch {tmp_path}/ran", "description": "Run it", "initial_wait": 30}),
        "I looked around.\n\nFixed the login.",
    ]

    report = scenario.run("Fix the login")

    assert (report["kind"], report.get("summary")) == ("complete", "Fixed the login."), report
    assert git("show", "devflow/task-1-attempt-1:login.py", cwd=scenario.origin) == "fixed"
    assert report["resultFiles"]["files"] == ["login.py"]
    assert not (tmp_path / "outside.py").exists()
    assert not (tmp_path / "ran").exists()
    log = scenario.log()
    assert "outside.py is outside of the repository." in log
    assert "shell is not allowed on this machine" in log
    assert len({body["step"] for body in scenario.platform.bodies("/progress")}) > 5
    assert "key-of-the-model" not in log + json.dumps(report)


def test_cancel_stops_the_real_cli_and_all_its_processes(scenario: Scenario, model: Model) -> None:
    job = scenario.job("Fix the login")
    running = threading.Thread(target=job.run)
    running.start()
    assert model.blocked.wait(SECONDS)
    work = scenario.directory / "agent" / "work"
    assert len(processes_in(work)) >= 2

    job.cancel_token.cancel(CancelReason.USER_REQUEST, "Cancelled")
    running.join(SECONDS)

    assert not running.is_alive()
    assert processes_in(work) == []
    (result,) = scenario.sent_results
    assert (result.kind, result.body["error"]) == ("fail", "Cancelled")


def test_crash_of_the_real_cli_fails_the_task_with_a_clear_error(scenario: Scenario, model: Model) -> None:
    job = scenario.job("Fix the login")
    running = threading.Thread(target=job.run)
    running.start()
    assert model.blocked.wait(SECONDS)
    for process in processes_in(scenario.directory / "agent" / "work"):
        arguments = Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0")
        if b"--headless" in arguments:
            subprocess.run(["kill", "-KILL", str(process)], check=False)
    running.join(SECONDS)

    assert not running.is_alive()
    (result,) = scenario.sent_results
    assert result.kind == "fail"
    assert str(result.body["error"]).startswith("Copilot SDK connection failed: ")
