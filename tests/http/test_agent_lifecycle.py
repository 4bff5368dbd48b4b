"""Letters e and f of docs/states.md: agents that are replaced, paused, disconnected, removed or lost.

Their tasks are released or retried, and their late reports are fenced.
"""

from infra.local.event_poller import EventPoller
from tests.conftest import Clock
from tests.http.scenario import Agent, Scenario, ok, refused

REPLACEMENT = {"agentId": "agent-1", "name": "replacement", "version": "2", "replace": True}


def advance_silently(seconds: int, clock: Clock, poller: EventPoller) -> None:
    """Advance the clock in steps of a minute, and run the sweep after each. No agent checks in."""
    for _ in range(seconds // 60):
        clock.advance(60)
        poller.sweep()
    clock.advance(seconds % 60)
    poller.sweep()


def test_agent_silent_for_ten_minutes_loses_its_running_task(
    scenario: Scenario, agent: Agent, clock: Clock, poller: EventPoller
) -> None:
    task_id = scenario.start_task(agent)
    advance_silently(9 * 60, clock, poller)
    assert scenario.task_status(task_id) == "in_progress"
    advance_silently(4 * 60, clock, poller)
    found = scenario.get_task(task_id)
    assert (found["status"], found["attempt"], found["agentId"]) == ("queued", 2, None)
    lost = agent
    for report in (lost.progress, lost.complete, lost.fail):
        refused(report(task_id, attempt=1), 409)
    second = scenario.agent("agent-2")
    assert second.commands()[0]["attempt"] == 2
    ok(second.progress(task_id, attempt=2))
    for report in (lost.progress, lost.complete, lost.fail):
        refused(report(task_id), 409)
    ok(second.complete(task_id, attempt=2, summary="second"))
    refused(lost.complete(task_id, summary="first"), 409)
    assert (scenario.get_task(task_id)["summary"], scenario.get_task(task_id)["agentId"]) == ("second", "agent-2")


def test_report_of_an_earlier_attempt_by_the_same_agent_returns_409(
    scenario: Scenario, agent: Agent, clock: Clock, poller: EventPoller
) -> None:
    task_id = scenario.start_task(agent)
    advance_silently(13 * 60, clock, poller)
    assert agent.commands()[0]["attempt"] == 2
    refused(agent.progress(task_id, attempt=1), 409)
    refused(agent.complete(task_id, attempt=1), 409)
    ok(agent.progress(task_id, attempt=2))
    assert ok(agent.complete(task_id, attempt=2))["status"] == "completed"


def test_losing_the_last_attempt_fails_the_task(
    scenario: Scenario, agent: Agent, clock: Clock, poller: EventPoller
) -> None:
    task_id = scenario.start_task(agent, maxAttempts=1)
    advance_silently(13 * 60, clock, poller)
    found = scenario.get_task(task_id)
    assert (found["status"], found["error"]) == ("failed", "Agent lost")


def test_replaced_agent_loses_its_attempts_and_its_old_token(scenario: Scenario, agent: Agent) -> None:
    running, claimed = scenario.start_task(agent, "running"), scenario.claim_task(agent, "claimed")
    replaced = ok(scenario.user.post("/api/agents", REPLACEMENT), 201)
    assert (replaced["agent"]["name"], replaced["agent"]["holding"]) == ("replacement", [])
    refused(agent.heartbeat(), 401, "Agent token expired or invalid")
    refused(agent.complete(running), 401, "Invalid or expired token")
    assert (scenario.get_task(running)["attempt"], scenario.get_task(claimed)["attempt"]) == (2, 1)
    replacement = Agent("agent-1", scenario.user.acting_as(replaced["token"]))
    assert {command["task_id"]: command["attempt"] for command in replacement.commands()} == {running: 2, claimed: 1}


def test_replacing_an_unknown_agent_registers_it(scenario: Scenario) -> None:
    assert ok(scenario.user.post("/api/agents", REPLACEMENT), 201)["agent"]["status"] == "active"


def test_removing_an_agent_revokes_its_token_and_releases_its_tasks(scenario: Scenario, agent: Agent) -> None:
    running, claimed = scenario.start_task(agent, "running"), scenario.claim_task(agent, "claimed")
    ok(scenario.user.delete("/api/agents/agent-1"))
    refused(agent.heartbeat(), 401)
    refused(scenario.user.get("/api/agents/agent-1"), 404, "Agent not found")
    refused(scenario.user.delete("/api/agents/agent-1"), 404, "Agent not found")
    assert ok(scenario.user.get("/api/agents"))["data"] == []
    assert (scenario.get_task(running)["status"], scenario.get_task(running)["attempt"]) == ("queued", 2)
    assert (scenario.get_task(claimed)["status"], scenario.get_task(claimed)["attempt"]) == ("queued", 1)
    assert scenario.agent("agent-1").claims() != []


def test_tasks_pinned_to_a_removed_agent_fail(scenario: Scenario, agent: Agent, poller: EventPoller) -> None:
    scenario.start_task(agent, "running", agentId="agent-1")
    scenario.claim_task(agent, "claimed", agentId="agent-1")
    scenario.queue_tasks("waiting", agentId="agent-1")
    scenario.submit("pending", agentId="agent-1")
    ok(scenario.user.delete("/api/agents/agent-1"))
    poller.drain()
    for task_id in ("running", "claimed", "waiting", "pending"):
        assert (scenario.task_status(task_id), scenario.get_task(task_id)["error"]) == ("failed", "Agent removed"), (
            task_id
        )
    assert scenario.agent("agent-1").claims() == []  # the same id can be registered again at once


def test_paused_agent_keeps_its_claims_and_gets_no_new_ones(scenario: Scenario, agent: Agent) -> None:
    task_id = scenario.claim_task(agent)
    found = ok(scenario.user.patch("/api/agents/agent-1", {"paused": True, "note": "maintenance"}))
    assert (found["paused"], found["note"]) == (True, "maintenance")
    scenario.queue_tasks("task-2")
    assert agent.claims() == [task_id]
    resumed = ok(scenario.user.patch("/api/agents/agent-1", {"paused": False}))
    assert (resumed["paused"], resumed["note"]) == (False, None)
    assert agent.claims() == [task_id, "task-2"]


def test_agent_can_be_renamed(scenario: Scenario, agent: Agent) -> None:
    assert ok(scenario.user.patch("/api/agents/agent-1", {"name": "  new name "}))["name"] == "new name"
    refused(scenario.user.patch("/api/agents/agent-2", {"name": "x"}), 404, "Agent not found")
    refused(scenario.user.patch("/api/agents/agent-1", {"name": " "}), 400)
    refused(agent.client.patch("/api/agents/agent-1", {"name": "x"}), 403)


def test_disconnected_agent_is_inactive_at_once_and_its_claims_are_released(scenario: Scenario, agent: Agent) -> None:
    task_id = scenario.claim_task(agent)
    assert ok(agent.heartbeat(status="disconnected"))["status"] == "inactive"
    assert (scenario.task_status(task_id), scenario.get_task(task_id)["attempt"]) == ("queued", 1)
    assert scenario.agent("agent-2").claims() == [task_id]
    assert ok(agent.heartbeat(status="ready"))["status"] == "active"


def test_task_is_lost_after_two_heartbeats_without_it(scenario: Scenario, agent: Agent, clock: Clock) -> None:
    task_id = scenario.start_task(agent)
    clock.advance(61)
    ok(agent.heartbeat(taskIds=[]))
    assert scenario.task_status(task_id) == "in_progress"
    clock.advance(10)
    ok(agent.heartbeat(taskIds=["another"]))
    assert (scenario.task_status(task_id), scenario.get_task(task_id)["attempt"]) == ("queued", 2)


def test_heartbeat_soon_after_the_start_or_without_task_ids_loses_no_task(
    scenario: Scenario, agent: Agent, clock: Clock
) -> None:
    task_id = scenario.start_task(agent)
    clock.advance(59)
    ok(agent.heartbeat(taskIds=[]))
    clock.advance(10)
    ok(agent.heartbeat(taskIds=[]))
    clock.advance(1)
    ok(agent.heartbeat(taskIds=[]))  # a repetition after a lost response counts as the same heartbeat
    assert scenario.task_status(task_id) == "in_progress"
    clock.advance(10)
    ok(agent.heartbeat())  # a heartbeat without task ids resets the count
    ok(agent.heartbeat(taskIds=[]))
    assert scenario.task_status(task_id) == "in_progress"


def test_task_of_a_killed_process_is_lost_with_the_first_heartbeat_of_the_next_one(
    scenario: Scenario, agent: Agent, clock: Clock
) -> None:
    first, kept = scenario.start_task(agent, "task-1"), scenario.start_task(agent, "task-2")
    ok(agent.heartbeat(taskIds=[first, kept], processId="one", instanceId="same"))
    clock.advance(1)
    ok(agent.heartbeat(taskIds=[kept], processId="two", instanceId="same"))
    assert (scenario.task_status(first), scenario.get_task(first)["attempt"]) == ("queued", 2)
    assert scenario.task_status(kept) == "in_progress"
    assert agent.claims() == [first]
    ok(agent.progress(first))
    ok(agent.heartbeat(taskIds=[kept], processId="two", instanceId="same"))  # composed before the start
    assert scenario.task_status(first) == "in_progress"


def test_late_heartbeat_of_an_ended_process_loses_no_task_of_the_next_one(
    scenario: Scenario, agent: Agent, clock: Clock
) -> None:
    ok(agent.heartbeat(taskIds=[], processId="one"))
    clock.advance(20)
    ok(agent.heartbeat(taskIds=[], processId="two"))
    task_id = scenario.start_task(agent)
    ok(agent.heartbeat(taskIds=[], processId="one"))  # it was sent before the crash
    assert scenario.task_status(task_id) == "in_progress"
    ok(agent.heartbeat(taskIds=[task_id], processId="two"))
    assert scenario.task_status(task_id) == "in_progress"
    ok(agent.heartbeat(taskIds=[], processId="three"))
    assert scenario.task_status(task_id) == "queued"


def test_first_heartbeat_with_a_process_id_loses_no_task_if_no_earlier_one_listed_tasks(
    scenario: Scenario, agent: Agent
) -> None:
    task_id = scenario.start_task(agent)
    ok(agent.heartbeat())
    ok(agent.heartbeat(taskIds=[], processId="one"))
    assert scenario.task_status(task_id) == "in_progress"


def test_heartbeat_response_cancels_tasks_that_the_agent_does_not_hold(scenario: Scenario, agent: Agent) -> None:
    task_id = scenario.start_task(agent)
    assert ok(agent.heartbeat(taskIds=[task_id, "long-gone"]))["cancel"] == ["long-gone"]


def test_second_instance_of_an_active_agent_returns_409(scenario: Scenario, agent: Agent, clock: Clock) -> None:
    ok(agent.heartbeat(instanceId="one"))
    refused(agent.heartbeat(instanceId="two"), 409, "Conflict")
    ok(agent.heartbeat(instanceId="one"))
    clock.advance(140)
    refused(agent.heartbeat(instanceId="two"), 409)
    clock.advance(11)
    ok(agent.heartbeat(instanceId="two"))
    refused(agent.heartbeat(instanceId="one"), 409)


def test_killed_agent_that_keeps_its_instance_id_continues_at_once(
    scenario: Scenario, agent: Agent, clock: Clock
) -> None:
    """It sent no `disconnected`. Another process is still rejected, also right after the restart."""
    ok(agent.heartbeat(instanceId="one", status="busy"))
    scenario.start_task(agent)
    scenario.queue_tasks("task-2")
    for pause in (0, 1, 149, 400):
        clock.advance(pause)
        if pause < 150:
            refused(agent.heartbeat(instanceId="two"), 409)
        assert ok(agent.heartbeat(instanceId="one", status="ready", taskIds=[]))["status"] == "active"
        refused(agent.heartbeat(instanceId="two"), 409)
    commands = [(command["task_id"], command["attempt"]) for command in agent.commands()]
    assert commands == [("task-1", 2), ("task-2", 1)], "it no longer ran task-1"
    ok(agent.client.post("/api/agents/agent-1/token", {"instanceId": "one"}), 201)


def test_token_rotated_by_the_user_is_revoked_at_once_and_keeps_the_tasks(scenario: Scenario, agent: Agent) -> None:
    task_id = scenario.start_task(agent)
    token = ok(scenario.user.post("/api/agents/agent-1/token"), 201)["token"]
    refused(agent.progress(task_id), 401, "Invalid or expired token")
    ok(Agent("agent-1", scenario.user.acting_as(token)).complete(task_id))


def test_token_renewed_by_the_agent_is_valid_until_the_new_one_is_used(scenario: Scenario, agent: Agent) -> None:
    task_id = scenario.start_task(agent)
    ok(agent.client.post("/api/agents/agent-1/token"), 201)  # this response is lost
    token = ok(agent.client.post("/api/agents/agent-1/token"), 201)["token"]
    ok(agent.progress(task_id))
    renewed = Agent("agent-1", scenario.user.acting_as(token))
    ok(renewed.complete(task_id))
    refused(agent.heartbeat(), 401, "Agent token expired or invalid")
    ok(renewed.heartbeat())


def test_agent_cannot_renew_the_token_of_another_agent(scenario: Scenario, agent: Agent) -> None:
    scenario.agent("agent-2")
    refused(agent.client.post("/api/agents/agent-2/token"), 404, "Agent not found")
