"""Letters e and f of docs/states.md: agents that are replaced, paused, disconnected, removed or lost.

Their tasks are released or retried, and their late reports are fenced.
"""

from infra.local.event_poller import EventPoller
from tests.conftest import Clock
from tests.http.scene import Agent, Scene, ok, refused

REPLACEMENT = {"agentId": "agent-1", "name": "replacement", "version": "2", "replace": True}


def advance_silently(seconds: int, clock: Clock, poller: EventPoller) -> None:
    """Advance the clock in steps of a minute, and run the sweep after each. No agent checks in."""
    for _ in range(seconds // 60):
        clock.advance(60)
        poller.sweep()
    clock.advance(seconds % 60)
    poller.sweep()


def test_agent_silent_for_ten_minutes_loses_its_running_task(
    scene: Scene, agent: Agent, clock: Clock, poller: EventPoller
) -> None:
    task_id = scene.running(agent)
    advance_silently(9 * 60, clock, poller)
    assert scene.state(task_id) == "in_progress"
    advance_silently(4 * 60, clock, poller)
    found = scene.task(task_id)
    assert (found["status"], found["attempt"], found["agentId"]) == ("queued", 2, None)
    lost = agent
    for report in (lost.progress, lost.complete, lost.fail):
        refused(report(task_id, attempt=1), 409)
    second = scene.agent("agent-2")
    assert second.commands()[0]["attempt"] == 2
    ok(second.progress(task_id, attempt=2))
    for report in (lost.progress, lost.complete, lost.fail):
        refused(report(task_id), 409)
    ok(second.complete(task_id, attempt=2, summary="second"))
    refused(lost.complete(task_id, summary="first"), 409)
    assert (scene.task(task_id)["summary"], scene.task(task_id)["agentId"]) == ("second", "agent-2")


def test_report_of_an_earlier_attempt_by_the_same_agent_returns_409(
    scene: Scene, agent: Agent, clock: Clock, poller: EventPoller
) -> None:
    task_id = scene.running(agent)
    advance_silently(13 * 60, clock, poller)
    assert agent.commands()[0]["attempt"] == 2
    refused(agent.progress(task_id, attempt=1), 409)
    refused(agent.complete(task_id, attempt=1), 409)
    ok(agent.progress(task_id, attempt=2))
    assert ok(agent.complete(task_id, attempt=2))["status"] == "completed"


def test_losing_the_last_attempt_fails_the_task(scene: Scene, agent: Agent, clock: Clock, poller: EventPoller) -> None:
    task_id = scene.running(agent, maxAttempts=1)
    advance_silently(13 * 60, clock, poller)
    found = scene.task(task_id)
    assert (found["status"], found["error"]) == ("failed", "Agent lost")


def test_replaced_agent_loses_its_attempts_and_its_old_token(scene: Scene, agent: Agent) -> None:
    running, claimed = scene.running(agent, "running"), scene.claimed(agent, "claimed")
    replaced = ok(scene.user.post("/api/agents", REPLACEMENT), 201)
    assert (replaced["agent"]["name"], replaced["agent"]["holding"]) == ("replacement", [])
    refused(agent.beat(), 401, "Agent token expired or invalid")
    refused(agent.complete(running), 401, "Invalid or expired token")
    assert (scene.task(running)["attempt"], scene.task(claimed)["attempt"]) == (2, 1)
    replacement = Agent("agent-1", scene.user.acting_as(replaced["token"]))
    assert {command["task_id"]: command["attempt"] for command in replacement.commands()} == {running: 2, claimed: 1}


def test_replacing_an_unknown_agent_registers_it(scene: Scene) -> None:
    assert ok(scene.user.post("/api/agents", REPLACEMENT), 201)["agent"]["status"] == "active"


def test_removing_an_agent_revokes_its_token_and_releases_its_tasks(scene: Scene, agent: Agent) -> None:
    running, claimed = scene.running(agent, "running"), scene.claimed(agent, "claimed")
    ok(scene.user.delete("/api/agents/agent-1"))
    refused(agent.beat(), 401)
    refused(scene.user.get("/api/agents/agent-1"), 404, "Agent not found")
    refused(scene.user.delete("/api/agents/agent-1"), 404, "Agent not found")
    assert ok(scene.user.get("/api/agents"))["data"] == []
    assert (scene.task(running)["status"], scene.task(running)["attempt"]) == ("queued", 2)
    assert (scene.task(claimed)["status"], scene.task(claimed)["attempt"]) == ("queued", 1)
    assert scene.agent("agent-1").claims() != []


def test_tasks_pinned_to_a_removed_agent_fail(scene: Scene, agent: Agent, poller: EventPoller) -> None:
    scene.running(agent, "running", agentId="agent-1")
    scene.claimed(agent, "claimed", agentId="agent-1")
    scene.queued("waiting", agentId="agent-1")
    scene.submit("pending", agentId="agent-1")
    ok(scene.user.delete("/api/agents/agent-1"))
    poller.drain()
    for task_id in ("running", "claimed", "waiting", "pending"):
        assert (scene.state(task_id), scene.task(task_id)["error"]) == ("failed", "Agent removed"), task_id
    assert scene.agent("agent-1").claims() == []  # the same id can be registered again at once


def test_paused_agent_keeps_its_claims_and_gets_no_new_ones(scene: Scene, agent: Agent) -> None:
    task_id = scene.claimed(agent)
    found = ok(scene.user.patch("/api/agents/agent-1", {"paused": True, "note": "maintenance"}))
    assert (found["paused"], found["note"]) == (True, "maintenance")
    scene.queued("task-2")
    assert agent.claims() == [task_id]
    resumed = ok(scene.user.patch("/api/agents/agent-1", {"paused": False}))
    assert (resumed["paused"], resumed["note"]) == (False, None)
    assert agent.claims() == [task_id, "task-2"]


def test_agent_can_be_renamed(scene: Scene, agent: Agent) -> None:
    assert ok(scene.user.patch("/api/agents/agent-1", {"name": "  new name "}))["name"] == "new name"
    refused(scene.user.patch("/api/agents/agent-2", {"name": "x"}), 404, "Agent not found")
    refused(scene.user.patch("/api/agents/agent-1", {"name": " "}), 400)
    refused(agent.client.patch("/api/agents/agent-1", {"name": "x"}), 403)


def test_disconnected_agent_is_inactive_at_once_and_its_claims_are_released(scene: Scene, agent: Agent) -> None:
    task_id = scene.claimed(agent)
    assert ok(agent.beat(status="disconnected"))["status"] == "inactive"
    assert (scene.state(task_id), scene.task(task_id)["attempt"]) == ("queued", 1)
    assert scene.agent("agent-2").claims() == [task_id]
    assert ok(agent.beat(status="ready"))["status"] == "active"


def test_task_is_lost_after_two_heartbeats_without_it(scene: Scene, agent: Agent, clock: Clock) -> None:
    task_id = scene.running(agent)
    clock.advance(61)
    ok(agent.beat(taskIds=[]))
    assert scene.state(task_id) == "in_progress"
    clock.advance(10)
    ok(agent.beat(taskIds=["another"]))
    assert (scene.state(task_id), scene.task(task_id)["attempt"]) == ("queued", 2)


def test_heartbeat_soon_after_the_start_or_without_task_ids_loses_no_task(
    scene: Scene, agent: Agent, clock: Clock
) -> None:
    task_id = scene.running(agent)
    clock.advance(59)
    ok(agent.beat(taskIds=[]))
    clock.advance(10)
    ok(agent.beat(taskIds=[]))
    clock.advance(1)
    ok(agent.beat(taskIds=[]))  # a repetition after a lost response counts as the same heartbeat
    assert scene.state(task_id) == "in_progress"
    clock.advance(10)
    ok(agent.beat())  # a heartbeat without task ids resets the count
    ok(agent.beat(taskIds=[]))
    assert scene.state(task_id) == "in_progress"


def test_heartbeat_response_cancels_tasks_that_the_agent_does_not_hold(scene: Scene, agent: Agent) -> None:
    task_id = scene.running(agent)
    assert ok(agent.beat(taskIds=[task_id, "long-gone"]))["cancel"] == ["long-gone"]


def test_second_instance_of_an_active_agent_returns_409(scene: Scene, agent: Agent, clock: Clock) -> None:
    ok(agent.beat(instanceId="one"))
    refused(agent.beat(instanceId="two"), 409, "Conflict")
    ok(agent.beat(instanceId="one"))
    clock.advance(140)
    refused(agent.beat(instanceId="two"), 409)
    clock.advance(11)
    ok(agent.beat(instanceId="two"))
    refused(agent.beat(instanceId="one"), 409)


def test_token_rotated_by_the_user_is_revoked_at_once_and_keeps_the_tasks(scene: Scene, agent: Agent) -> None:
    task_id = scene.running(agent)
    token = ok(scene.user.post("/api/agents/agent-1/token"), 201)["token"]
    refused(agent.progress(task_id), 401, "Invalid or expired token")
    ok(Agent("agent-1", scene.user.acting_as(token)).complete(task_id))


def test_token_renewed_by_the_agent_is_valid_until_the_new_one_is_used(scene: Scene, agent: Agent) -> None:
    task_id = scene.running(agent)
    ok(agent.client.post("/api/agents/agent-1/token"), 201)  # this response is lost
    token = ok(agent.client.post("/api/agents/agent-1/token"), 201)["token"]
    ok(agent.progress(task_id))
    renewed = Agent("agent-1", scene.user.acting_as(token))
    ok(renewed.complete(task_id))
    refused(agent.beat(), 401, "Agent token expired or invalid")
    ok(renewed.beat())


def test_agent_cannot_renew_the_token_of_another_agent(scene: Scene, agent: Agent) -> None:
    scene.agent("agent-2")
    refused(agent.client.post("/api/agents/agent-2/token"), 404, "Agent not found")
