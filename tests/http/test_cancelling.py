"""g: a cancelled task stops, and stays stopped. And what was ended can be done again."""

import pytest

from infra.local.event_poller import EventPoller
from tests.conftest import Clock
from tests.http.scene import Agent, Scene, ok, refused


def test_before_the_start_cancelling_is_at_once(scene: Scene, agent: Agent) -> None:
    scene.submit("pending")
    assert ok(scene.user.post("/api/tasks/pending/cancel")) == {
        "success": True,
        "taskId": "pending",
        "status": "cancelled",
        "cancelRequested": False,
    }
    scene.queued("queued")
    ok(scene.user.post("/api/tasks/queued/cancel"))
    scene.claimed(agent, "assigned")
    ok(scene.user.post("/api/tasks/assigned/cancel"))
    scene.poller.drain()
    assert [scene.state(task) for task in ("pending", "queued", "assigned")] == ["cancelled"] * 3
    assert agent.claims() == []
    refused(agent.progress("assigned"), 409, "Conflict")
    assert scene.shown()["holding"] == []


def test_while_it_runs_every_answer_to_the_agent_asks_it_to_stop(scene: Scene, agent: Agent) -> None:
    task = scene.running(agent)
    answer = ok(scene.user.post(f"/api/tasks/{task}/cancel"))
    assert (answer["status"], answer["cancelRequested"]) == ("in_progress", True)
    assert ok(agent.progress(task))["cancelRequested"] is True
    assert ok(agent.beat())["cancel"] == [task]
    assert scene.task()["cancelRequested"] is True


def test_within_the_grace_a_complete_wins(scene: Scene, agent: Agent, clock: Clock) -> None:
    task = scene.running(agent)
    ok(scene.user.post(f"/api/tasks/{task}/cancel"))
    clock.advance(59)
    assert ok(agent.complete(task))["status"] == "completed"
    assert scene.state() == "completed"


def test_within_the_grace_a_fail_becomes_cancelled(scene: Scene, agent: Agent) -> None:
    task = scene.running(agent)
    ok(scene.user.post(f"/api/tasks/{task}/cancel"))
    assert ok(agent.fail(task, "stopped"))["status"] == "cancelled"
    assert ok(agent.fail(task, "stopped"))["status"] == "cancelled"
    assert scene.events()[-2:] == ["cancel_requested", "cancelled"]


@pytest.mark.parametrize("report", ["complete", "fail", "progress"])
def test_after_the_grace_the_agent_is_fenced_even_before_the_sweep_comes(
    scene: Scene, agent: Agent, clock: Clock, poller: EventPoller, report: str
) -> None:
    task = scene.running(agent)
    ok(scene.user.post(f"/api/tasks/{task}/cancel"))
    clock.advance(60)
    refused(getattr(agent, report)(task), 409)
    poller.sweep()
    assert scene.state() == "cancelled"
    assert scene.shown()["holding"] == []
    refused(getattr(agent, report)(task), 409)


def test_cancelling_twice_is_cancelling_once(scene: Scene, agent: Agent, clock: Clock) -> None:
    task = scene.running(agent)
    ok(scene.user.post(f"/api/tasks/{task}/cancel"))
    clock.advance(30)
    ok(scene.user.post(f"/api/tasks/{task}/cancel"))
    clock.advance(31)
    refused(agent.complete(task), 409)
    assert scene.events().count("cancel_requested") == 1


def test_what_has_ended_otherwise_cannot_be_cancelled(scene: Scene, agent: Agent) -> None:
    task = scene.running(agent)
    ok(agent.complete(task))
    refused(scene.user.post(f"/api/tasks/{task}/cancel"), 409, "Conflict")


def test_a_task_to_be_cancelled_is_not_tried_again_when_its_agent_is_lost(
    scene: Scene, agent: Agent, clock: Clock, poller: EventPoller
) -> None:
    task = scene.running(agent)
    ok(scene.user.post(f"/api/tasks/{task}/cancel"))
    ok(scene.user.post("/api/agents", {"agentId": "agent-1", "name": "n", "version": "2", "replace": True}), 201)
    assert scene.state(task) == "cancelled"


def test_an_agents_token_cancels_and_retries_nothing(scene: Scene, agent: Agent) -> None:
    scene.queued()
    refused(agent.client.post("/api/tasks/task-1/cancel"), 403)
    refused(agent.client.post("/api/tasks/task-1/retry"), 403)


@pytest.mark.parametrize("verb", ["cancel", "retry"])
def test_another_users_task_is_not_there(scene: Scene, other: Scene, verb: str) -> None:
    scene.queued()
    refused(other.user.post(f"/api/tasks/task-1/{verb}"), 404, "Task not found")


def test_a_retry_is_the_same_work_as_a_new_task_and_sent_twice_it_is_one(scene: Scene, agent: Agent) -> None:
    task = scene.running(agent, context={"issueId": "1"}, priority=7)
    refused(scene.user.post(f"/api/tasks/{task}/retry"), 409, "Conflict")
    ok(agent.fail(task))
    again = ok(scene.user.post(f"/api/tasks/{task}/retry"), 202)["taskId"]
    assert ok(scene.user.post(f"/api/tasks/{task}/retry"), 202)["taskId"] == again
    scene.poller.drain()
    old, new = scene.task(task), scene.task(again)
    assert new["retryOf"] == task
    assert new["status"] == "queued"
    assert new["attempt"] == 1
    same = ("intent", "repo", "branch", "description", "context", "priority", "timeoutSeconds", "maxAttempts")
    assert {name: new[name] for name in same} == {name: old[name] for name in same}
    assert agent.claims() == [again]
    assert len(ok(scene.user.get("/api/tasks"))["data"]) == 2
