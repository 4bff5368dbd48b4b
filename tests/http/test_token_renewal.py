"""Renewal of an agent's token by the agent: who may renew, what the owner learns, and what ends a renewed token."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.conftest import Clock
from tests.http.scenario import Agent, Scenario, ok, refused, snapshot
from tests.http.webhook_helpers import create_webhook
from tests.service import faults
from tests.support import moto_aws

HOUR = 3_600
RENEWAL = "/api/agents/agent-1/token"


def renew(agent: Agent, **body: Any) -> Agent:
    """Renew the token of agent-1. Returns the agent with the new token."""
    return Agent(agent.id, agent.client.acting_as(ok(agent.client.post(RENEWAL, body or None), 201)["token"]))


def published_events(scenario: Scenario) -> list[dict[str, Any]]:
    """Publish the events, and return the payloads of the only webhook, in the order of their sequence."""
    scenario.poller.drain()
    (webhook,) = ok(scenario.user.get("/api/webhooks"))["data"]
    found = ok(scenario.user.get(f"/api/webhooks/{webhook['id']}/deliveries", {"limit": 100}))["data"]
    assert len({each["sequence"] for each in found}) == len(found)
    return [each["payload"] for each in sorted(found, key=lambda each: int(each["sequence"]))]


# Only the active instance renews.


def test_stolen_token_cannot_be_renewed_while_its_agent_is_active(scenario: Scenario, agent: Agent) -> None:
    """A renewed token ends the old one at its first use. So a thief that could renew would evict the agent for ever."""
    ok(agent.heartbeat(instanceId="process-1"))
    thief = agent
    before = snapshot()
    for body in ({}, {"instanceId": None}, {"instanceId": "process-2"}):
        error = refused(thief.client.post(RENEWAL, body), 409, "Conflict")
        assert "active instance" in error["message"]
        assert "process-1" not in error["message"], "the id would help the thief"
    refused(thief.client.post(RENEWAL), 409)
    assert snapshot() == before
    renewed = renew(agent, instanceId="process-1")
    ok(renewed.heartbeat(instanceId="process-1"))
    refused(thief.poll(), 401)


@pytest.mark.parametrize("body", [None, {}, {"instanceId": "process-2"}])
def test_any_instance_may_renew_after_150_s_without_the_active_one(
    agent: Agent, clock: Clock, body: dict[str, str] | None
) -> None:
    ok(agent.heartbeat(instanceId="process-1"))
    clock.advance(149)
    refused(agent.client.post(RENEWAL, body), 409)
    clock.advance(2)
    ok(agent.client.post(RENEWAL, body), 201)


def test_renewal_keeps_its_instance_live(agent: Agent, clock: Clock) -> None:
    ok(agent.heartbeat(instanceId="process-1"))
    clock.advance(100)
    ok(agent.client.post(RENEWAL, {"instanceId": "process-1"}), 201)
    clock.advance(100)
    refused(agent.heartbeat(instanceId="process-2"), 409)


def test_agent_without_an_instance_id_renews_as_the_specification_allows(agent: Agent) -> None:
    ok(agent.heartbeat(status="ready"))
    renewed = renew(agent)
    ok(renewed.poll())
    refused(agent.poll(), 401)
    ok(renew(renewed).heartbeat())


def test_renewal_after_disconnecting_needs_no_instance(agent: Agent) -> None:
    ok(agent.heartbeat(instanceId="process-1"))
    ok(agent.heartbeat(instanceId="process-1", status="disconnected"))
    ok(renew(agent).poll())


def test_disconnecting_without_the_instance_id_does_not_free_the_agent(agent: Agent) -> None:
    """A thief could otherwise report `disconnected` first, and renew then."""
    ok(agent.heartbeat(instanceId="process-1"))
    ok(agent.heartbeat(status="disconnected"))
    refused(agent.client.post(RENEWAL), 409)
    refused(agent.heartbeat(instanceId="process-2", status="disconnected"), 409)


def test_instance_that_starts_during_a_renewal_wins(scenario: Scenario, agent: Agent) -> None:
    with faults.interleaved(
        "UpdateItem", lambda: ok(agent.heartbeat(instanceId="process-1")), when=faults.about("nextVer")
    ) as fault:
        refused(agent.client.post(RENEWAL), 409)
    assert fault.affected


@pytest.mark.parametrize("body", [{"instanceId": ""}, {"instanceId": "a b"}, {"instanceId": 5}, [], "x"])
def test_invalid_renewal_is_rejected_and_changes_nothing(scenario: Scenario, agent: Agent, body: Any) -> None:
    before = snapshot()
    refused(agent.client.post(RENEWAL, body), 400)
    refused(scenario.user.post(RENEWAL, body), 400)
    assert snapshot() == before


# What the owner learns.


def test_renewal_is_published_to_the_owner(scenario: Scenario, agent: Agent, clock: Clock) -> None:
    create_webhook(scenario.user, "http://localhost:9/", "agent.token_renewed")
    ok(scenario.user.post(RENEWAL), 201)
    refused(agent.client.post(RENEWAL), 401)
    assert published_events(scenario) == [], "the owner's own rotation and a rejected renewal are no renewals"
    agent = Agent("agent-1", scenario.user.acting_as(ok(scenario.user.post(RENEWAL), 201)["token"]))
    renew(agent)
    renewed = renew(agent)
    events = published_events(scenario)
    assert [each["event"] for each in events] == ["agent.token_renewed"] * 2
    (data,) = {tuple(each["data"]) for each in events}
    assert data == ("agentId", "userId", "name", "renewedAt")
    ok(renewed.poll())
    assert len(published_events(scenario)) == 2, "the first use is not another renewal"


def test_renewal_that_makes_the_agent_active_is_published_after_that(
    scenario: Scenario, agent: Agent, clock: Clock
) -> None:
    scenario.poller.drain()
    create_webhook(scenario.user, "http://localhost:9/", "agent.active", "agent.token_renewed")
    ok(agent.heartbeat(status="disconnected"))
    renew(agent)
    events = published_events(scenario)
    assert [each["event"] for each in events] == ["agent.active", "agent.token_renewed"]
    assert events[0]["data"]["changedAt"] == events[1]["data"]["renewedAt"]


def test_lost_message_of_a_renewal_is_sent_by_the_sweep(scenario: Scenario, agent: Agent, clock: Clock) -> None:
    create_webhook(scenario.user, "http://localhost:9/", "agent.token_renewed")
    scenario.poller.drain()
    with faults.refused("SendMessage", "ServiceUnavailable", status=503, times=9):
        renew(agent)
    assert moto_aws.messages("events") == []
    clock.advance(61)
    scenario.poller.sweep()
    assert [each["event"] for each in published_events(scenario)] == ["agent.token_renewed"]


# The owner's revocation wins.


def _rotate(scenario: Scenario) -> None:
    ok(scenario.user.post(RENEWAL), 201)


def _remove(scenario: Scenario) -> None:
    ok(scenario.user.delete("/api/agents/agent-1"))


def _replace(scenario: Scenario) -> None:
    body = {"agentId": "agent-1", "name": "n", "version": "1", "replace": True}
    ok(scenario.user.post("/api/agents", body), 201)


REVOCATIONS = [_rotate, _remove, _replace]


@pytest.mark.parametrize("revoke", REVOCATIONS)
def test_owners_revocation_ends_every_token(
    scenario: Scenario, agent: Agent, revoke: Callable[[Scenario], None]
) -> None:
    """The old token, a renewed one that is not used yet, and one that an earlier renewal replaced."""
    replaced = renew(agent)
    pending = renew(agent)
    revoke(scenario)
    for each in (agent, replaced, pending):
        refused(each.poll(), 401)
        refused(each.heartbeat(), 401)
        refused(each.client.post(RENEWAL), 401)
        refused(each.complete("task-1"), 401)


@pytest.mark.parametrize("revoke", REVOCATIONS)
def test_owners_revocation_during_a_renewal_ends_the_renewed_token(
    scenario: Scenario, agent: Agent, revoke: Callable[[Scenario], None]
) -> None:
    """The version of the token is compared in the write that stores the new one."""
    with faults.interleaved("UpdateItem", lambda: revoke(scenario), when=faults.about("nextVer")) as fault:
        refused(agent.client.post(RENEWAL), 401)
    assert fault.affected
    assert not [row for row in moto_aws.rows("agents") if "nextVer" in row]


@pytest.mark.parametrize("revoke", REVOCATIONS)
def test_owners_revocation_during_the_first_use_ends_the_renewed_token(
    scenario: Scenario, agent: Agent, revoke: Callable[[Scenario], None]
) -> None:
    renewed = renew(agent)
    # The first write expects the version of the old token. The second one makes the new token the valid one.
    with faults.interleaved("UpdateItem", lambda: revoke(scenario), when=faults.about("REMOVE", "nextVer")) as fault:
        refused(renewed.heartbeat(), 401)
    assert fault.affected
    refused(renewed.heartbeat(), 401)


def test_user_can_evict_a_thief_that_renewed_and_used_the_token(scenario: Scenario, agent: Agent) -> None:
    thief = renew(agent)
    ok(thief.poll())
    refused(agent.poll(), 401)
    token = ok(scenario.user.post(RENEWAL), 201)["token"]
    refused(thief.poll(), 401)
    refused(thief.client.post(RENEWAL), 401)
    ok(Agent("agent-1", scenario.user.acting_as(token)).poll())


# A renewed token that is never used.


def test_renewed_token_that_is_not_used_for_an_hour_lapses(scenario: Scenario, agent: Agent, clock: Clock) -> None:
    renewed = renew(agent)
    clock.advance(HOUR + 1)
    error = refused(renewed.poll(), 401, "Agent token expired or invalid")
    assert "not used within an hour" in error["message"]
    refused(renewed.heartbeat(), 401)
    refused(renewed.client.post(RENEWAL), 401)
    refused(renewed.complete("task-1"), 401, "Invalid or expired token")
    ok(agent.poll())
    again = renew(agent)
    ok(again.poll())


def test_renewed_token_that_is_used_within_the_hour_is_valid_for_30_days(agent: Agent, clock: Clock) -> None:
    renewed = renew(agent)
    clock.advance(HOUR - 5)
    ok(renewed.poll())
    clock.advance(30 * 24 * HOUR - HOUR)
    ok(renewed.poll())
    clock.advance(60)
    refused(renewed.poll(), 401)


def test_renewed_token_can_be_renewed_as_its_first_use(agent: Agent) -> None:
    first = renew(agent)
    second = renew(first)
    refused(agent.poll(), 401, "Agent token expired or invalid")
    ok(first.poll())
    ok(second.poll())
    refused(first.poll(), 401)


def test_renewal_that_cannot_be_stored_returns_503(scenario: Scenario, agent: Agent) -> None:
    with faults.refused("UpdateItem", "InternalServerError", status=500, times=99, when=faults.about("agent-1")):
        refused(agent.client.post(RENEWAL), 503)
    ok(agent.poll())
