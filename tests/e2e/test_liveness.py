"""An agent that becomes silent, and the release of its claims. The clock is moved, not slept.

The tests move the clock of the shared platform, which only moves forward. No test depends on another one.
"""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.e2e.conftest import Platform
    from tests.support.client import Client


class Agent:
    """A registered agent that a test controls."""

    def __init__(self, user: Client, intent: str) -> None:
        self.id = f"agent-{uuid.uuid4()}"
        body = {"agentId": self.id, "name": "my agent", "version": "0.2.0", "capabilities": [intent]}
        response = user.post("/api/agents", body)
        assert response.status == 201, response
        self.client = user.acting_as(response.json()["token"])

    def poll(self) -> list[str]:
        """Poll, and return the ids of the claimed tasks."""
        response = self.client.get(f"/api/agents/{self.id}/commands")
        assert response.status == 200, response
        return [command["task_id"] for command in response.json()["commands"]]


def submit(platform: Platform, user: Client, intent: str) -> str:
    """Submit a task and return its id. The task is claimable when this returns."""
    task = f"task-{uuid.uuid4()}"
    body = {"taskId": task, "intent": intent, "repo": "https://github.com/user/repo", "naturalLanguage": "Anything"}
    assert user.post("/api/workflows/execute", body).status == 202
    platform.advance(0.001)
    assert user.get(f"/api/tasks/{task}").json()["status"] == "queued"
    return task


def test_silent_agent_becomes_inactive_loses_its_claims_and_returns(platform: Platform) -> None:
    user = platform.client.login()
    intent = f"silent-{uuid.uuid4()}"
    silent, other = Agent(user, intent), Agent(user, intent)
    task = submit(platform, user, intent)
    assert silent.poll() == [task]
    assert other.poll() == []

    platform.advance(300)

    assert user.get(f"/api/agents/{silent.id}").json()["status"] == "inactive"
    inactive = user.get("/api/agents", {"status": "inactive"}).json()
    assert silent.id in {agent["id"] for agent in inactive["agents"]}
    waiting = user.get(f"/api/tasks/{task}").json()
    assert (waiting["status"], waiting["agentId"], waiting["attempt"]) == ("queued", None, 1)

    assert other.poll() == [task]
    late = silent.client.post(f"/api/tasks/{task}/progress", {"status": "in_progress", "progress": 0.5, "attempt": 1})
    assert late.status == 409, late
    assert user.get(f"/api/tasks/{task}").json()["agentId"] == other.id

    response = silent.client.post(f"/api/agents/{silent.id}/heartbeat", {"status": "ready"})
    assert (response.status, response.json()["status"]) == (200, "active")
    assert user.get(f"/api/agents/{silent.id}").json()["status"] == "active"
    done = other.client.post(f"/api/tasks/{task}/complete", {"success": True, "attempt": 1})
    assert done.status == 200, done


def test_polls_renew_a_claim_for_at_most_ten_minutes(
    platform: Platform,
) -> None:
    user = platform.client.login()
    intent = f"lease-{uuid.uuid4()}"
    agent = Agent(user, intent)
    task = submit(platform, user, intent)

    assert agent.poll() == [task]
    for _ in range(11):
        platform.advance(50)
        assert agent.poll() == [task]
    assert [event["status"] for event in events(user, task)] == ["pending", "queued", "assigned"]
    platform.advance(60)

    assert user.get(f"/api/tasks/{task}").json()["status"] == "queued"
    assert agent.poll() == [task], "the agent claims it again"
    assert [event["status"] for event in events(user, task)] == ["pending", "queued", "assigned", "queued", "assigned"]


def events(user: Client, task: str) -> list[dict[str, str]]:
    response = user.get(f"/api/tasks/{task}/events")
    assert response.status == 200, response
    found: list[dict[str, str]] = response.json()["data"]
    return found


def test_clock_of_the_local_stage_only_moves_forward(platform: Platform) -> None:
    before = platform.client.get("/local/clock").json()

    after = platform.advance(120).json()

    assert after["shiftedSeconds"] - before["shiftedSeconds"] == 120
    moved = datetime.fromisoformat(after["now"]) - datetime.fromisoformat(before["now"])
    assert 120 <= moved.total_seconds() < 180
    bodies: list[Any] = [{"advanceSeconds": -60}, {"advanceSeconds": 0}, {"advanceSeconds": "60"}, {}, []]
    for invalid in bodies:
        response = platform.client.post("/local/clock", invalid)
        assert response.status == 400, (invalid, response)
        assert set(response.json()) == {"error", "message", "statusCode", "timestamp"}
    assert platform.client.get("/local/clock").json()["shiftedSeconds"] == after["shiftedSeconds"]
