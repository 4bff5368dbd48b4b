"""chalicelib/agents/schemas.py: which requests about agents are valid, and what the responses contain."""

from typing import Any

import pytest
from pydantic import ValidationError

from chalicelib.agents import schemas
from chalicelib.agents.entities import ReportedTasks
from chalicelib.agents.schemas import HeartbeatRequest, RegisterAgentRequest, UpdateAgentRequest
from tests.support.builders import NOW, make_agent, make_claim, make_claims

# Heartbeats.


def test_heartbeat_response_lists_unknown_and_cancelled_tasks_to_stop() -> None:
    reported = ReportedTasks(at=NOW, task_ids=["running-0", "unknown"])
    claims = {"running-0": make_claim(started=True), "running-1": make_claim(started=True, cancel=True)}
    response = schemas.to_heartbeat_response(make_agent(claims=claims, last_reported_tasks=reported), NOW)
    assert response.cancel == ["running-1", "unknown"]
    assert response.next_poll_interval == 5_000
    assert response.status == "active"


def test_heartbeat_response_without_reported_tasks_lists_cancelled_tasks() -> None:
    claims = {"running-0": make_claim(started=True), "running-1": make_claim(started=True, cancel=True)}
    assert schemas.to_heartbeat_response(make_agent(claims=claims), NOW).cancel == ["running-1"]


@pytest.mark.parametrize(
    ("status", "state"),
    [
        (None, None),  # unchanged
        ("ready", "active"),
        ("busy", "active"),
        ("draining", "active"),
        ("error", "error"),
        ("disconnected", "inactive"),
    ],
)
def test_reported_status_determines_the_state(status: str | None, state: str | None) -> None:
    assert HeartbeatRequest.model_validate({"status": status}).state() == state


def test_heartbeat_may_be_empty() -> None:
    empty = HeartbeatRequest.model_validate({})
    assert empty.machine() == {}
    assert empty.task_ids is None


def test_machine_metrics_are_rounded_and_have_the_names_of_the_specification() -> None:
    metrics = {"uptime": 3600, "taskCount": 5, "memoryUsage": 256, "cpuUsage": 12.34567}
    assert HeartbeatRequest.model_validate(metrics).machine() == {
        "uptime": 3600.0,
        "taskCount": 5.0,
        "memoryUsage": 256.0,
        "cpuUsage": 12.346,
    }


@pytest.mark.parametrize(
    "invalid",
    [
        {"uptime": -1},
        {"uptime": 1e16},
        {"uptime": "soon"},
        {"status": "x" * 33},
        {"status": 1},
        {"concurrency": 0},
        {"concurrency": 21},
        {"capabilities": ["not a word"]},
        {"capabilities": ["x"] * 33},
        {"capabilities": "fix-bug"},
        {"taskIds": ["not an id!"]},
        {"taskIds": ["x"] * 101},
        {"instanceId": ""},
        {"version": " "},
    ],
)
def test_invalid_heartbeat_is_rejected(invalid: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        HeartbeatRequest.model_validate(invalid)


# Registration and changes.


def register(**values: Any) -> RegisterAgentRequest:
    return RegisterAgentRequest.model_validate({"agentId": "agent-1", "name": "my agent", "version": "0.2.0"} | values)


def test_registration_has_the_documented_defaults() -> None:
    request = register()
    assert request.capabilities == ["fix-bug", "feature", "explain", "review-pr"]
    assert (request.platform, request.concurrency, request.replace) == (None, None, False)


def test_repeated_capabilities_count_once_in_their_order() -> None:
    assert register(capabilities=["b", "a", "b"]).capabilities == ["b", "a"]


def test_names_are_stored_without_surrounding_space() -> None:
    assert register(name="  my agent ", version=" 1 ").name == "my agent"


@pytest.mark.parametrize(
    "invalid",
    [
        {"agentId": ""},
        {"agentId": "a b"},
        {"agentId": "a/b"},
        {"agentId": "a#b"},
        {"agentId": "a@b"},
        {"agentId": "a" * 129},
        {"agentId": "agent\n"},
        {"agentId": 5},
        {"name": " "},
        {"name": "x" * 129},
        {"version": "x" * 65},
        {"platform": "x" * 65},
        {"concurrency": 0},
        {"concurrency": 21},
        {"capabilities": [""]},
        {"capabilities": ["x#y"]},
    ],
)
def test_invalid_registration_is_rejected(invalid: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        register(**invalid)


def test_update_may_be_empty() -> None:
    assert UpdateAgentRequest.model_validate({"unknown": 1}).model_dump(exclude_unset=True) == {}


# Responses.


def test_response_has_the_fields_of_the_specification_and_no_secrets() -> None:
    agent = make_agent(
        claims=make_claims(1, 1), reported_status="busy", registration="secret", next_ver="secret", note="why"
    )
    response = schemas.to_response(agent).model_dump(by_alias=True)
    assert response["id"] == "agent-1"
    assert response["userId"] == "user-1"
    assert response["lastHeartbeat"] == "2025-11-23T22:46:40Z"
    assert response["holding"] == ["claimed-0", "running-0"]
    assert (response["status"], response["reportedStatus"], response["note"]) == ("active", "busy", "why")
    assert "secret" not in str(response)
    assert "v1" not in str(response)


def test_tombstone_is_returned_as_inactive() -> None:
    removed = make_agent(state="removed")
    assert schemas.to_response(removed).status == "inactive"
    assert schemas.to_heartbeat_response(removed, NOW).status == "inactive"
