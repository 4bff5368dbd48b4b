"""An agent that goes silent, and what becomes of it and of what it had claimed. The clock is moved, not slept.

It is the shared platform's clock: it only moves forward, and no test relies on what another one left behind.
"""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.e2e.conftest import Platform
    from tests.support.client import Client


class Agent:
    """A registered agent, as a test plays it."""

    def __init__(self, user: Client, intent: str) -> None:
        self.id = f"agent-{uuid.uuid4()}"
        about = {"agentId": self.id, "name": "my agent", "version": "0.2.0", "capabilities": [intent]}
        answer = user.post("/api/agents", about)
        assert answer.status == 201, answer
        self.client = user.acting_as(answer.json()["token"])

    def poll(self) -> list[str]:
        """The ids of its claims."""
        answer = self.client.get(f"/api/agents/{self.id}/commands")
        assert answer.status == 200, answer
        return [command["task_id"] for command in answer.json()["commands"]]


def submit(platform: Platform, user: Client, intent: str) -> str:
    """A new task's id; it is claimable when this returns."""
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

    answer = silent.client.post(f"/api/agents/{silent.id}/heartbeat", {"status": "ready"})
    assert (answer.status, answer.json()["status"]) == (200, "active")
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
    assert agent.poll() == [task], "claimed anew"
    assert [event["status"] for event in events(user, task)] == ["pending", "queued", "assigned", "queued", "assigned"]


def events(user: Client, task: str) -> list[dict[str, str]]:
    answer = user.get(f"/api/tasks/{task}/events")
    assert answer.status == 200, answer
    told: list[dict[str, str]] = answer.json()["data"]
    return told


def test_clock_of_the_local_stage_only_moves_forward(platform: Platform) -> None:
    before = platform.client.get("/local/clock").json()

    after = platform.advance(120).json()

    assert after["shiftedSeconds"] - before["shiftedSeconds"] == 120
    moved = datetime.fromisoformat(after["now"]) - datetime.fromisoformat(before["now"])
    assert 120 <= moved.total_seconds() < 180
    bodies: list[Any] = [{"advanceSeconds": -60}, {"advanceSeconds": 0}, {"advanceSeconds": "60"}, {}, []]
    for refused in bodies:
        answer = platform.client.post("/local/clock", refused)
        assert answer.status == 400, (refused, answer)
        assert set(answer.json()) == {"error", "message", "statusCode", "timestamp"}
    assert platform.client.get("/local/clock").json()["shiftedSeconds"] == after["shiftedSeconds"]
