"""e, f: agents come anew, pause, drain, go and are lost; what they held is taken up again, and they are fenced."""

from infra.local.event_poller import EventPoller
from tests.conftest import Clock
from tests.http.scene import Agent, Scene, ok, refused

ANEW = {"agentId": "agent-1", "name": "anew", "version": "2", "replace": True}


def silent_for(seconds: int, clock: Clock, poller: EventPoller) -> None:
    """Let time pass a minute at a time, the sweep running as it does."""
    for _ in range(seconds // 60):
        clock.advance(60)
        poller.sweep()
    clock.advance(seconds % 60)
    poller.sweep()


def test_agent_silent_for_ten_minutes_loses_its_running_task(
    scene: Scene, agent: Agent, clock: Clock, poller: EventPoller
) -> None:
    task = scene.running(agent)
    silent_for(9 * 60, clock, poller)
    assert scene.state(task) == "in_progress"
    silent_for(4 * 60, clock, poller)
    found = scene.task(task)
    assert (found["status"], found["attempt"], found["agentId"]) == ("queued", 2, None)
    zombie = agent
    for report in (zombie.progress, zombie.complete, zombie.fail):
        refused(report(task, attempt=1), 409)
    second = scene.agent("agent-2")
    assert second.commands()[0]["attempt"] == 2
    ok(second.progress(task, attempt=2))
    for report in (zombie.progress, zombie.complete, zombie.fail):
        refused(report(task), 409)
    ok(second.complete(task, attempt=2, summary="second"))
    refused(zombie.complete(task, summary="first"), 409)
    assert (scene.task(task)["summary"], scene.task(task)["agentId"]) == ("second", "agent-2")


def test_report_of_an_earlier_attempt_by_the_same_agent_returns_409(
    scene: Scene, agent: Agent, clock: Clock, poller: EventPoller
) -> None:
    task = scene.running(agent)
    silent_for(13 * 60, clock, poller)
    assert agent.commands()[0]["attempt"] == 2
    refused(agent.progress(task, attempt=1), 409)
    refused(agent.complete(task, attempt=1), 409)
    ok(agent.progress(task, attempt=2))
    assert ok(agent.complete(task, attempt=2))["status"] == "completed"


def test_losing_the_last_attempt_fails_the_task(scene: Scene, agent: Agent, clock: Clock, poller: EventPoller) -> None:
    task = scene.running(agent, maxAttempts=1)
    silent_for(13 * 60, clock, poller)
    found = scene.task(task)
    assert (found["status"], found["error"]) == ("failed", "Agent lost")


def test_replaced_agent_loses_its_attempts_and_its_old_token(scene: Scene, agent: Agent) -> None:
    running, claimed = scene.running(agent, "running"), scene.claimed(agent, "claimed")
    anew = ok(scene.user.post("/api/agents", ANEW), 201)
    assert (anew["agent"]["name"], anew["agent"]["holding"]) == ("anew", [])
    refused(agent.beat(), 401, "Agent token expired or invalid")
    refused(agent.complete(running), 401, "Invalid or expired token")
    assert (scene.task(running)["attempt"], scene.task(claimed)["attempt"]) == (2, 1)
    fresh = Agent("agent-1", scene.user.acting_as(anew["token"]))
    assert {command["task_id"]: command["attempt"] for command in fresh.commands()} == {running: 2, claimed: 1}


def test_replacing_an_unknown_agent_registers_it(scene: Scene) -> None:
    assert ok(scene.user.post("/api/agents", ANEW), 201)["agent"]["status"] == "active"


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
    for task in ("running", "claimed", "waiting", "pending"):
        assert (scene.state(task), scene.task(task)["error"]) == ("failed", "Agent removed"), task
    assert scene.agent("agent-1").claims() == []  # the same id may come back at once


def test_paused_agent_keeps_its_claims_and_gets_no_new_ones(scene: Scene, agent: Agent) -> None:
    task = scene.claimed(agent)
    shown = ok(scene.user.patch("/api/agents/agent-1", {"paused": True, "note": "maintenance"}))
    assert (shown["paused"], shown["note"]) == (True, "maintenance")
    scene.queued("task-2")
    assert agent.claims() == [task]
    resumed = ok(scene.user.patch("/api/agents/agent-1", {"paused": False}))
    assert (resumed["paused"], resumed["note"]) == (False, None)
    assert agent.claims() == [task, "task-2"]


def test_agent_can_be_renamed(scene: Scene, agent: Agent) -> None:
    assert ok(scene.user.patch("/api/agents/agent-1", {"name": "  new name "}))["name"] == "new name"
    refused(scene.user.patch("/api/agents/agent-2", {"name": "x"}), 404, "Agent not found")
    refused(scene.user.patch("/api/agents/agent-1", {"name": " "}), 400)
    refused(agent.client.patch("/api/agents/agent-1", {"name": "x"}), 403)


def test_disconnected_agent_is_inactive_at_once_and_its_claims_are_released(scene: Scene, agent: Agent) -> None:
    task = scene.claimed(agent)
    assert ok(agent.beat(status="disconnected"))["status"] == "inactive"
    assert (scene.state(task), scene.task(task)["attempt"]) == ("queued", 1)
    assert scene.agent("agent-2").claims() == [task]
    assert ok(agent.beat(status="ready"))["status"] == "active"


def test_task_is_lost_after_two_heartbeats_without_it(scene: Scene, agent: Agent, clock: Clock) -> None:
    task = scene.running(agent)
    clock.advance(61)
    ok(agent.beat(taskIds=[]))
    assert scene.state(task) == "in_progress"
    clock.advance(10)
    ok(agent.beat(taskIds=["another"]))
    assert (scene.state(task), scene.task(task)["attempt"]) == ("queued", 2)


def test_heartbeat_soon_after_the_start_or_without_task_ids_loses_no_task(
    scene: Scene, agent: Agent, clock: Clock
) -> None:
    task = scene.running(agent)
    clock.advance(59)
    ok(agent.beat(taskIds=[]))
    clock.advance(10)
    ok(agent.beat(taskIds=[]))
    clock.advance(1)
    ok(agent.beat(taskIds=[]))  # the same again, its answer lost: still one heartbeat
    assert scene.state(task) == "in_progress"
    clock.advance(10)
    ok(agent.beat())  # one that says nothing of tasks begins anew
    ok(agent.beat(taskIds=[]))
    assert scene.state(task) == "in_progress"


def test_heartbeat_response_cancels_tasks_that_the_agent_does_not_hold(scene: Scene, agent: Agent) -> None:
    task = scene.running(agent)
    assert ok(agent.beat(taskIds=[task, "long-gone"]))["cancel"] == ["long-gone"]


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
    task = scene.running(agent)
    token = ok(scene.user.post("/api/agents/agent-1/token"), 201)["token"]
    refused(agent.progress(task), 401, "Invalid or expired token")
    ok(Agent("agent-1", scene.user.acting_as(token)).complete(task))


def test_token_renewed_by_the_agent_is_valid_until_the_new_one_is_used(scene: Scene, agent: Agent) -> None:
    task = scene.running(agent)
    ok(agent.client.post("/api/agents/agent-1/token"), 201)  # its answer is lost
    token = ok(agent.client.post("/api/agents/agent-1/token"), 201)["token"]
    ok(agent.progress(task))
    renewed = Agent("agent-1", scene.user.acting_as(token))
    ok(renewed.complete(task))
    refused(agent.beat(), 401, "Agent token expired or invalid")
    ok(renewed.beat())


def test_agent_cannot_renew_the_token_of_another_agent(scene: Scene, agent: Agent) -> None:
    scene.agent("agent-2")
    refused(agent.client.post("/api/agents/agent-2/token"), 404, "Agent not found")
