"""`devflow sessions`: list and end sessions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from agent.tests.support.fake_platform import FakeResponse

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.tests.support.command_result import CommandResult
    from agent.tests.support.fake_platform import FakePlatform, ReceivedRequest

SESSION: dict[str, Any] = {
    "id": "019e0f5a1c7-3d1f", "createdAt": "2025-01-24T00:00:00Z", "lastSeenAt": "2025-01-24T01:00:00Z",
    "expiresAt": "2025-02-23T00:00:00Z", "address": "192.0.2.7", "userAgent": "devflow/0.1.0", "current": True,
}  # fmt: skip
ENDED = "019e0f5a1c8-0000"


def respond(request: ReceivedRequest) -> FakeResponse:
    if request.method == "GET":
        return FakeResponse(200, {"data": [SESSION, SESSION | {"id": ENDED, "address": None, "current": False}]})
    if request.path.endswith(ENDED):
        error = {"error": "Session not found", "message": "You have no session with this id.", "statusCode": 404}
        return FakeResponse(404, error)
    return FakeResponse(200, {"success": True})


@pytest.fixture
def platform(logged_in: Callable[..., FakePlatform]) -> FakePlatform:
    return logged_in(respond)


def test_sessions_are_listed_in_one_line_each(devflow: Callable[..., CommandResult], platform: FakePlatform) -> None:
    assert devflow("sessions", "list", "--limit", "5").out.splitlines() == [
        "SESSION\tLOGGED IN\tLAST USED\tEXPIRES\tADDRESS\tPROGRAM\tTHIS SESSION",
        "019e0f5a1c7-3d1f\t2025-01-24T00:00:00Z\t2025-01-24T01:00:00Z\t2025-02-23T00:00:00Z\t192.0.2.7\tdevflow/0.1.0\tyes",
        "019e0f5a1c8-0000\t2025-01-24T00:00:00Z\t2025-01-24T01:00:00Z\t2025-02-23T00:00:00Z\t-\tdevflow/0.1.0\tno",
    ]
    assert platform.paths() == ["GET /api/auth/sessions?limit=5"]


def test_session_is_ended(devflow: Callable[..., CommandResult], platform: FakePlatform) -> None:
    assert devflow("sessions", "end", "019e0f5a1c7-3d1f").out == "Ended 019e0f5a1c7-3d1f.\n"
    assert platform.paths() == ["DELETE /api/auth/sessions/019e0f5a1c7-3d1f"]


def test_session_that_does_not_exist_fails(devflow: Callable[..., CommandResult], platform: FakePlatform) -> None:
    result = devflow("sessions", "end", ENDED)
    assert result.status == 1
    assert "You have no session with this id" in result.err


@pytest.mark.parametrize("session_id", ["../tokens/1", "a b", "..", ""])
def test_invalid_session_id_sends_no_request(
    devflow: Callable[..., CommandResult], platform: FakePlatform, session_id: str
) -> None:
    assert devflow("sessions", "end", session_id).status == 2
    assert platform.requests == []
