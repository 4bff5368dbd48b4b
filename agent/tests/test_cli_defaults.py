"""What commands do without further options: the config file, the intent of a task, and where progress is shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from agent.tests.support.fake_platform import FakeResponse
from devflow import settings
from devflow.cli import follow
from devflow.private_files import write_private

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.tests.support.command_result import CommandResult
    from agent.tests.support.fake_platform import FakePlatform, ReceivedRequest

TASK: dict[str, Any] = {
    "id": "task-1", "status": "completed", "attempt": 1, "progress": 1.0, "currentStep": "Testing",
    "agentId": "build-1", "error": None, "details": None, "summary": "Fixed", "output": None, "prUrl": None,
    "resultFiles": None, "startedAt": "2025-01-24T00:00:00Z", "updatedAt": "2025-01-24T00:00:03Z",
}  # fmt: skip
RUN = ("run", "Fix the login", "--repo", "https://a.example/r")


def respond(request: ReceivedRequest) -> FakeResponse:
    """Respond as the platform does about a task that has completed."""
    if request.method == "POST":
        return FakeResponse(202, {"taskId": "task-1", "status": "pending"})
    if "/events" in request.path:
        return FakeResponse(200, {"data": [], "hasMore": False, "nextCursor": None})
    if "/logs" in request.path:
        data = "a line of the log\n" if "offset=0" in request.path else ""
        return FakeResponse(200, {"data": data, "nextOffset": 18, "complete": True, "truncated": False})
    return FakeResponse(200, TASK)


@pytest.mark.parametrize("text", ["url = ", "not a setting", "[section", "a = 1\na = 2"])
@pytest.mark.parametrize("command", [("tasks",), ("agent", "status"), ("login", "--token-stdin"), RUN])
def test_config_file_that_is_not_toml_exits_2_and_is_named(
    devflow: Callable[..., CommandResult], command: tuple[str, ...], text: str
) -> None:
    write_private(settings.config_path(), text)

    result = devflow(*command)

    assert (result.status, result.out) == (2, "")
    assert f"{settings.config_path()} is not valid TOML" in result.err
    assert "Traceback" not in result.err


def test_run_without_an_intent_submits_fix_bug(
    devflow: Callable[..., CommandResult], logged_in: Callable[..., FakePlatform]
) -> None:
    platform = logged_in(respond)
    assert devflow(*RUN, "--detach").status == 0
    assert [body["intent"] for body in platform.bodies("/execute")] == ["fix-bug"]


def test_progress_bar_is_on_standard_error_and_the_result_on_standard_output(
    devflow: Callable[..., CommandResult], logged_in: Callable[..., FakePlatform], monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that `devflow run ... > result.txt` has the result alone."""
    logged_in(respond)
    monkeypatch.setattr(follow, "is_interactive", lambda: True)

    result = devflow(*RUN)

    assert result.status == 0, result.err
    assert "Fixed" in result.out
    for text in ("a line of the log", "100%", "Testing"):
        assert text in result.err
        assert text not in result.out
