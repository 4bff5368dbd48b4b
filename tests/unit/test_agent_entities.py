"""chalicelib/agents/entities.py: free slots, poll intervals, and tasks that heartbeats reveal as lost."""

from typing import Any

import pytest

from chalicelib.agents.entities import ReportedTasks
from chalicelib.core.settings import MINUTE, SECOND
from tests.support.builders import NOW, STARTED_AT, make_agent, make_claims


@pytest.mark.parametrize(
    ("claimed", "running", "concurrency", "limit", "free_slots"),
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
def test_free_slots_respect_the_limit_of_the_poll_and_the_concurrency(
    claimed: int, running: int, concurrency: int | None, limit: int, free_slots: int
) -> None:
    agent = make_agent(claims=make_claims(claimed, running), concurrency=concurrency)
    assert agent.free_slots(limit) == free_slots


@pytest.mark.parametrize(
    ("values", "may_claim"),
    [
        ({"reported_status": "ready"}, True),
        ({"reported_status": "busy"}, True),
        ({"reported_status": None}, True),
        ({"state": "error"}, True),
        ({"reported_status": "draining"}, False),
        ({"reported_status": "disconnected"}, True),  # a call shows that the agent is connected again
        ({"paused": True}, False),
    ],
)
def test_paused_or_draining_agent_has_no_free_slots(values: dict[str, Any], may_claim: bool) -> None:  # noqa: FBT001
    assert (make_agent(**values).free_slots(10) > 0) is may_claim


@pytest.mark.parametrize(
    ("idle_minutes", "interval"),
    [(0, 5_000), (9.9, 5_000), (10, 5_000), (12, 10_000), (14, 15_000), (20, 30_000), (21, 30_000), (100_000, 30_000)],
)
def test_poll_interval_grows_to_30_s_between_10_and_20_minutes_without_work(idle_minutes: float, interval: int) -> None:
    assert make_agent(worked_at=NOW - int(idle_minutes * MINUTE)).poll_interval(NOW) == interval


def test_agent_with_claims_polls_at_the_shortest_interval() -> None:
    assert make_agent(worked_at=0, claims=make_claims(0, 1)).poll_interval(NOW) == 5_000


@pytest.mark.parametrize(
    ("values", "chance", "looks"),
    [
        ({"pinned_at": NOW}, 0.999, True),
        ({"pinned_at": NOW - 24 * 60 * MINUTE, "pinned_until": NOW - 1}, 0.999, True),
        ({}, 0.0, False),
        ({"pinned_until": NOW}, 0.0, False),
        ({"pinned_until": NOW + 1}, 0.0, True),
        ({"pinned_until": NOW + 1}, 5 / 300 - 0.001, True),
        ({"pinned_until": NOW + 1}, 5 / 300, False),
        ({"pinned_until": NOW + 1, "worked_at": 0}, 30 / 300 - 0.001, True),
        ({"pinned_until": NOW + 1, "worked_at": 0}, 30 / 300, False),
    ],
)
def test_polls_look_for_pinned_tasks_always_at_first_and_then_by_chance(
    values: dict[str, Any],
    chance: float,
    looks: bool,  # noqa: FBT001
) -> None:
    assert make_agent(**values).looks_for_pinned_tasks(NOW, chance) is looks


def heartbeats(previous: float | None, last: float, *task_ids: str, earlier: tuple[str, ...] = ()) -> dict[str, Any]:
    """Fields of an agent after two heartbeats.

    `previous` and `last` are seconds since the start of the task `running-0`. The previous heartbeat lists `earlier`,
    and the last one lists `task_ids`. If `previous` is None, there was only one heartbeat.
    """
    previous_tasks = (
        None if previous is None else ReportedTasks(at=STARTED_AT + int(previous * SECOND), task_ids=list(earlier))
    )
    return {
        "last_reported_tasks": ReportedTasks(at=STARTED_AT + int(last * SECOND), task_ids=list(task_ids)),
        "previous_reported_tasks": previous_tasks,
    }


@pytest.mark.parametrize(
    ("reported", "is_missing"),
    [
        (heartbeats(61, 90), True),
        (heartbeats(100, 160), True),
        (heartbeats(60, 90), False),
        (heartbeats(30, 90), False),
        (heartbeats(61, 65.9), False),
        (heartbeats(61, 66), True),
        (heartbeats(61, 61), False),
        (heartbeats(None, 90), False),
        (heartbeats(61, 90, "running-0"), False),
        (heartbeats(61, 90, earlier=("running-0",)), False),
        (heartbeats(61, 90, "another"), True),
        ({}, False),
    ],
)
def test_task_is_missing_if_two_late_enough_heartbeats_do_not_list_it(
    reported: dict[str, Any],
    is_missing: bool,  # noqa: FBT001
) -> None:
    agent = make_agent(claims=make_claims(0, 1), **reported)
    assert agent.missing_tasks() == (["running-0"] if is_missing else [])


def test_heartbeats_need_not_list_a_claim_that_is_not_started() -> None:
    assert make_agent(claims=make_claims(1, 0), **heartbeats(61, 90)).missing_tasks() == []
