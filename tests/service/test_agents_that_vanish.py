"""Agents that are removed while somebody else works with them, and what their rows leave behind."""

from typing import Any

import boto3
from moto.dynamodb.models import dynamodb_backends

from infra.local.event_poller import EventPoller
from infra.local.lambda_context import ACCOUNT, REGION
from tests.conftest import Clock
from tests.http.scenario import Agent, Scenario, ok, refused
from tests.service import faults, invariants
from tests.support.client import Client

about_agent = faults.about("agent-1")


def test_agent_that_vanishes_after_a_conflict_is_reported_as_a_conflict(scenario: Scenario, agent: Agent) -> None:
    """The registration finds the agent, and the row is gone when it is loaded. The client may retry."""
    body = {"agentId": "agent-1", "name": "new", "version": "2", "replace": True}
    vanish = faults.interleaved("GetItem", lambda: ok(scenario.user.delete("/api/agents/agent-1")), when=about_agent)
    with vanish as fault:
        refused(scenario.user.post("/api/agents", body), 409, "Agent with this ID already exists for user")
    assert fault.affected
    assert invariants.rows("agents") == []
    ok(scenario.user.post("/api/agents", body), 201)


def test_stale_claim_of_a_removed_agent_is_repaired(scenario: Scenario, agent: Agent) -> None:
    """The agent's row names a task that has ended. The row must not stay a tombstone for ever."""
    scenario.start_task(agent)
    row = invariants.rows("agents")[0]["held"]["task-1"]
    ok(agent.complete("task-1"))
    boto3.client("dynamodb").update_item(
        TableName="devflow-local-agents",
        Key={"owner": {"S": scenario.user_id()}, "agent": {"S": "agent-1"}},
        UpdateExpression="SET held.#task = :claim",
        ExpressionAttributeNames={"#task": "task-1"},
        ExpressionAttributeValues={":claim": {"M": {name: {"N": str(value)} for name, value in row.items()}}},
    )
    assert invariants.rows("agents")[0]["held"] == {"task-1": row}

    ok(scenario.user.delete("/api/agents/agent-1"))

    scenario.poller.drain()
    assert invariants.rows("agents") == []
    assert scenario.task_status() == "completed"


def test_rotating_a_token_moves_the_time_of_the_last_update(scenario: Scenario, agent: Agent, clock: Clock) -> None:
    before = scenario.get_agent()["updatedAt"]
    clock.advance(5)
    rotated = ok(scenario.user.post("/api/agents/agent-1/token"), 201)
    assert rotated["agent"]["updatedAt"] > before
    assert scenario.get_agent()["updatedAt"] == rotated["agent"]["updatedAt"]


def test_agent_that_vanishes_before_the_clean_up_of_old_counts(user: Client, poller: EventPoller, clock: Clock) -> None:
    """The check-in has been accepted by then, and the clean-up does not create the row again."""
    agent = Scenario(user, poller).agent()
    with faults.interleaved("UpdateItem", delete_agents, when=is_clean_up) as fault:
        for _ in range(12):
            if fault.affected:
                break
            ok(agent.poll())
            clock.advance(30 * 60)
    assert fault.affected
    assert invariants.rows("agents") == []
    refused(agent.poll(), 401)


def delete_agents() -> None:
    dynamodb_backends[ACCOUNT][REGION].tables["devflow-local-agents"].items.clear()


def is_clean_up(params: dict[str, Any]) -> bool:
    return str(params["UpdateExpression"]).startswith("REMOVE")
