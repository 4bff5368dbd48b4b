"""chalicelib/agents/rules.py: room for work, intervals, silence, and what heartbeats give away."""

from typing import Any

import pytest
from pydantic import ValidationError

from chalicelib.agents import rules, schemas
from chalicelib.agents.entities import Agent, Claim, ReportedTasks
from chalicelib.agents.schemas import HeartbeatRequest, RegisterAgentRequest, UpdateAgentRequest
from chalicelib.core.outage import Outage
from chalicelib.core.settings import MINUTE, SECOND

NOW = 1_763_938_000_000
STARTED = NOW - 10 * MINUTE


def held(*, started: bool = False, cancel: bool = False) -> Claim:
    return Claim(attempt=1, timeout=1, claimed_at=STARTED, started_at=STARTED if started else None, cancel=cancel)


def agent(**values: Any) -> Agent:
    given: dict[str, Any] = {
        "owner": "user-1",
        "id": "agent-1",
        "name": "my agent",
        "version": "0.2.0",
        "platform": "linux",
        "capabilities": ["fix-bug"],
        "concurrency": None,
        "state": "active",
        "ver": "v1",
        "created_at": STARTED,
        "updated_at": STARTED,
        "seen_at": NOW,
        "worked_at": STARTED,
    }
    return Agent(**(given | values))


def holding(claimed: int, running: int) -> dict[str, Claim]:
    claims = {f"claimed-{number}": held() for number in range(claimed)}
    return claims | {f"running-{number}": held(started=True) for number in range(running)}


@pytest.mark.parametrize(
    ("claimed", "running", "concurrency", "limit", "room"),
    [
        (0, 0, None, 10, 10),
        (0, 0, None, 100, 20),
        (0, 0, 1, 10, 1),
        (1, 0, 1, 10, 0),
        (0, 1, 1, 10, 0),
        (1, 1, 3, 10, 1),
        (3, 0, None, 10, 7),
        (0, 3, None, 10, 10),
        (0, 15, None, 10, 5),
        (10, 0, None, 10, 0),
        (12, 0, None, 10, 0),
        (0, 20, None, 10, 0),
        (3, 0, 2, 10, 0),
    ],
)
def test_room_is_what_the_poll_asks_for_less_claims_and_never_more_than_the_agent_can_hold(
    claimed: int, running: int, concurrency: int | None, limit: int, room: int
) -> None:
    assert agent(claims=holding(claimed, running), concurrency=concurrency).free_slots(limit) == room


@pytest.mark.parametrize(
    ("values", "claims"),
    [
        ({"reported_status": "ready"}, True),
        ({"reported_status": "busy"}, True),
        ({"reported_status": None}, True),
        ({"state": "error"}, True),
        ({"reported_status": "draining"}, False),
        ({"reported_status": "disconnected"}, True),  # it calls, so it is back
        ({"paused": True}, False),
    ],
)
def test_a_pause_and_a_drain_mean_no_new_claims(values: dict[str, Any], claims: bool) -> None:  # noqa: FBT001
    assert (agent(**values).free_slots(10) > 0) is claims


@pytest.mark.parametrize(
    ("idle_minutes", "interval"),
    [(0, 5_000), (9.9, 5_000), (10, 5_000), (12, 10_000), (14, 15_000), (20, 30_000), (21, 30_000), (100_000, 30_000)],
)
def test_the_poll_interval_grows_from_5_to_30_seconds_after_ten_minutes_without_work(
    idle_minutes: float, interval: int
) -> None:
    assert agent(worked_at=NOW - int(idle_minutes * MINUTE)).poll_interval(NOW) == interval


def test_whoever_holds_work_polls_at_full_speed() -> None:
    assert agent(worked_at=0, claims=holding(0, 1)).poll_interval(NOW) == 5_000


def test_the_sweep_looks_150_to_270_seconds_after_the_last_sign_of_life() -> None:
    """A minute of coarseness and a minute between two sweeps come on top of the 150 s."""
    for second in range(120):
        seen = NOW // MINUTE * MINUTE + second * SECOND
        due = rules.check_at(seen)
        assert 150 * SECOND < due - seen <= 210 * SECOND
        assert rules.assess_liveness(agent(seen_at=seen), due) == "inactive"


def test_heartbeats_within_a_minute_do_not_move_the_agent_in_the_index() -> None:
    minute = NOW // MINUTE * MINUTE
    assert len({rules.check_at(minute + second * SECOND) for second in range(60)}) == 1


@pytest.mark.parametrize(
    ("silence", "excused", "verdict"),
    [
        (0, 0, "alive"),
        (149, 0, "alive"),
        (150, 0, "inactive"),
        (599, 0, "inactive"),
        (600, 0, "lost"),
        (600, 1, "inactive"),
        (600, 451, "alive"),
        (4_200, 3_600, "lost"),
        (4_199, 3_600, "inactive"),
    ],
)
def test_silence_makes_inactive_after_150_seconds_and_lost_after_ten_minutes(
    silence: int, excused: int, verdict: str
) -> None:
    seen = NOW - silence * SECOND
    outage = Outage(seen, seen + excused * SECOND)
    assert rules.assess_liveness(agent(seen_at=seen), NOW, outage) == verdict


def beats(before: float | None, now: float, *named: str, earlier: tuple[str, ...] = ()) -> dict[str, Any]:
    """Two heartbeats, so many seconds after the start of the task `running-0`; None: only one came so far."""
    said_before = None if before is None else ReportedTasks(at=STARTED + int(before * SECOND), task_ids=list(earlier))
    return {
        "last_reported_tasks": ReportedTasks(at=STARTED + int(now * SECOND), task_ids=list(named)),
        "previous_reported_tasks": said_before,
    }


@pytest.mark.parametrize(
    ("said", "lost"),
    [
        (beats(61, 90), True),
        (beats(100, 160), True),
        (beats(60, 90), False),
        (beats(30, 90), False),
        (beats(61, 65.9), False),
        (beats(61, 66), True),
        (beats(61, 61), False),
        (beats(None, 90), False),
        (beats(61, 90, "running-0"), False),
        (beats(61, 90, earlier=("running-0",)), False),
        (beats(61, 90, "another"), True),
        ({}, False),
    ],
)
def test_a_task_that_two_heartbeats_in_a_row_over_a_minute_after_its_start_do_not_name_is_lost(
    said: dict[str, Any],
    lost: bool,  # noqa: FBT001
) -> None:
    assert agent(claims=holding(0, 1), **said).missing_tasks() == (["running-0"] if lost else [])


def test_a_claim_that_was_not_started_need_not_be_named() -> None:
    assert agent(claims=holding(1, 0), **beats(61, 90)).missing_tasks() == []


def test_what_an_agent_says_it_runs_and_does_not_hold_it_has_to_stop() -> None:
    said = ReportedTasks(at=NOW, task_ids=["running-0", "gone"])
    stopping = {"running-0": held(started=True), "running-1": held(started=True, cancel=True)}
    beaten = schemas.to_heartbeat_response(agent(claims=stopping, last_reported_tasks=said), NOW)
    assert beaten.cancel == ["gone", "running-1"]
    assert beaten.next_poll_interval == 5_000
    assert beaten.status == "active"


def test_an_agent_that_does_not_say_what_it_runs_has_to_stop_what_was_cancelled() -> None:
    stopping = {"running-0": held(started=True), "running-1": held(started=True, cancel=True)}
    assert schemas.to_heartbeat_response(agent(claims=stopping), NOW).cancel == ["running-1"]


@pytest.mark.parametrize(
    ("status", "state"),
    [
        (None, None),  # as it was
        ("ready", "active"),
        ("busy", "active"),
        ("draining", "active"),
        ("error", "error"),
        ("disconnected", "inactive"),
    ],
)
def test_what_an_agent_says_of_itself_and_what_the_platform_makes_of_it(status: str | None, state: str | None) -> None:
    assert HeartbeatRequest.model_validate({"status": status}).state() == state


def test_a_heartbeat_may_be_empty() -> None:
    empty = HeartbeatRequest.model_validate({})
    assert empty.machine() == {}
    assert empty.task_ids is None


def test_the_machines_figures_are_kept_rounded_under_the_names_of_the_spec() -> None:
    said = {"uptime": 3600, "taskCount": 5, "memoryUsage": 256, "cpuUsage": 12.34567}
    assert HeartbeatRequest.model_validate(said).machine() == {
        "uptime": 3600.0,
        "taskCount": 5.0,
        "memoryUsage": 256.0,
        "cpuUsage": 12.346,
    }


@pytest.mark.parametrize(
    "wrong",
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
def test_a_heartbeat_that_cannot_be_meant_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        HeartbeatRequest.model_validate(wrong)


def registration(**values: Any) -> RegisterAgentRequest:
    return RegisterAgentRequest.model_validate({"agentId": "agent-1", "name": "my agent", "version": "0.2.0"} | values)


def test_a_registration_needs_an_id_a_name_and_a_version_and_can_do_everything_usual() -> None:
    request = registration()
    assert request.capabilities == ["fix-bug", "feature", "explain", "review-pr"]
    assert (request.platform, request.concurrency, request.replace) == (None, None, False)


def test_a_capability_named_twice_counts_once_and_the_order_stays() -> None:
    assert registration(capabilities=["b", "a", "b"]).capabilities == ["b", "a"]


def test_names_are_taken_without_the_space_around_them() -> None:
    assert registration(name="  my agent ", version=" 1 ").name == "my agent"


@pytest.mark.parametrize(
    "wrong",
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
def test_a_registration_that_cannot_be_meant_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        registration(**wrong)


def test_a_patch_may_say_nothing() -> None:
    assert UpdateAgentRequest.model_validate({"unknown": 1}).model_dump(exclude_unset=True) == {}


def test_an_agent_is_shown_as_the_spec_shows_it_without_its_secrets() -> None:
    shown = schemas.to_response(
        agent(claims=holding(1, 1), reported_status="busy", registration="hush", next_ver="hush", note="why")
    )
    said = shown.model_dump(by_alias=True)
    assert said["id"] == "agent-1"
    assert said["userId"] == "user-1"
    assert said["lastHeartbeat"] == "2025-11-23T22:46:40Z"
    assert said["holding"] == ["claimed-0", "running-0"]
    assert (said["status"], said["reportedStatus"], said["note"]) == ("active", "busy", "why")
    assert "hush" not in str(said)
    assert "v1" not in str(said)


def test_a_tombstone_is_never_shown_as_more_than_inactive() -> None:
    removed = agent(state="removed")
    assert schemas.to_response(removed).status == "inactive"
    assert schemas.to_heartbeat_response(removed, NOW).status == "inactive"
