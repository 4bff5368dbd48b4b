"""The number of partitions of a team's open tasks is lowered: the sweep moves the tasks of the removed partitions."""

from collections import Counter
from typing import Any

import pytest

from chalicelib.core.errors import Unavailable
from chalicelib.core.settings import SECOND
from chalicelib.orchestration import due_work, store
from chalicelib.orchestration.sweep import MOVES_FOR
from tests.conftest import Clock, SetPartitions
from tests.events.conftest import bodies
from tests.http.scenario import Agent, Scenario, ok
from tests.service import faults, invariants
from tests.service.conftest import PassMinutes
from tests.support import aws_requests
from tests.support.handlers import Handlers, time_per_request

TASKS = [f"late-{number}" for number in range(12)]
"""Their ids are in all of four partitions."""


def sweep_row() -> dict[str, Any]:
    (row,) = [row for row in invariants.rows("tasks") if row["pk"] == "~sweep"]
    return row


def suffixes() -> Counter[str]:
    """The numbers of the partitions of all tasks, in both indexes."""
    keys = [head[name] for head in invariants.heads() for name in ("ownerStatus", "queue") if name in head]
    return Counter(key.rpartition("#")[2] for key in keys if key[-1].isdecimal() and key[-2] == "#")


@pytest.fixture
def spread(scenario: Scenario, handlers: Handlers, set_partitions: SetPartitions) -> Scenario:
    """Tasks in four partitions: eight are queued, and one each is pending, pinned, assigned and in progress."""
    set_partitions(4)
    handlers.sweep()
    agent = scenario.agent()
    scenario.start_task(agent, TASKS[0])
    scenario.claim_task(agent, TASKS[1])
    scenario.queue_tasks(TASKS[2], agentId=scenario.agent("another").id)
    scenario.queue_tasks(*TASKS[3:11])
    scenario.submit(TASKS[11])
    assert set(suffixes()) == {"1", "2", "3"}
    return scenario


def listed(scenario: Scenario) -> set[str]:
    """The ids in the lists of all open statuses."""
    found: set[str] = set()
    for status in invariants.OPEN_STATUSES:
        found |= {task["id"] for task in ok(scenario.user.get("/api/tasks", {"status": status, "limit": 100}))["data"]}
    return found


@pytest.mark.parametrize("number", [1, 2])
def test_sweep_moves_the_tasks_of_removed_partitions(
    spread: Scenario, handlers: Handlers, set_partitions: SetPartitions, number: int
) -> None:
    before = {head["task"]: {**head, "ownerStatus": "", "queue": ""} for head in invariants.heads()}
    set_partitions(number)
    assert listed(spread) < set(TASKS)
    handlers.sweep()
    assert listed(spread) == set(TASKS)
    assert set(suffixes()) == {str(each) for each in range(1, number)}
    after = {head["task"]: {**head, "ownerStatus": "", "queue": ""} for head in invariants.heads()}
    assert after == before, "nothing but the keys has changed"
    invariants.check()
    fresh = spread.agent("fresh")
    assert fresh.claims(limit=20) == TASKS[3:11]
    assert Agent("another", spread.user).claims() == [TASKS[2]]


def test_sweep_stops_looking_for_tasks_an_hour_after_the_last_one(
    spread: Scenario, handlers: Handlers, set_partitions: SetPartitions, clock: Clock, pass_minutes: PassMinutes
) -> None:
    """A function with the old setting may still put tasks into removed partitions."""
    set_partitions(1)
    handlers.sweep()
    assert sweep_row()["partitions"] == 4
    assert clock.now < sweep_row()["movesUntil"] <= clock.now + MOVES_FOR
    pass_minutes(50)
    set_partitions(4)
    spread.queue_tasks("work-1", "work-2", "work-3", "work-4")
    set_partitions(1)
    pass_minutes(1)
    assert {f"work-{number}" for number in range(1, 5)} <= listed(spread)
    for _ in range(2):
        pass_minutes(40)
        with aws_requests.recorded() as sent:
            handlers.sweep()
    assert "BatchGetItem" not in sent.operations
    assert sweep_row()["partitions"] == 1
    assert "movesUntil" not in sweep_row()


def test_number_that_is_raised_again_ends_the_moves(
    spread: Scenario, handlers: Handlers, set_partitions: SetPartitions
) -> None:
    set_partitions(2)
    handlers.sweep()
    assert sweep_row()["partitions"] == 4
    set_partitions(3)
    handlers.sweep()
    assert (sweep_row()["partitions"], "movesUntil" in sweep_row()) == (4, True), "tasks may be in the fourth one"
    for number in (4, 6):
        set_partitions(number)
        handlers.sweep()
        assert (sweep_row()["partitions"], "movesUntil" in sweep_row()) == (number, False)
    set_partitions(1)
    handlers.sweep()
    assert listed(spread) == set(TASKS)


def test_largest_number_is_kept_while_two_sweeps_have_different_ones(
    spread: Scenario, set_partitions: SetPartitions
) -> None:
    store.record_partitions(2)
    assert sweep_row()["partitions"] == 4
    store.finish_moves(3, 1)
    assert sweep_row()["partitions"] == 4


def test_task_whose_status_changes_meanwhile_is_not_moved(
    spread: Scenario, handlers: Handlers, set_partitions: SetPartitions
) -> None:
    """The transition has given it keys that are in use."""
    set_partitions(1)
    task_id = next(head["task"] for head in invariants.heads() if head.get("queue", "").endswith("#3"))

    def cancel() -> None:
        ok(spread.user.post(f"/api/tasks/{task_id}/cancel"))

    with faults.interleaved("UpdateItem", cancel, when=faults.about(task_id, "ownerStatus")) as moved:
        handlers.sweep()
    assert len(moved.affected) == 1
    assert spread.task_status(task_id) == "cancelled"
    assert suffixes() == {}


def test_moves_go_on_after_an_error(
    spread: Scenario, handlers: Handlers, set_partitions: SetPartitions, no_pauses: None
) -> None:
    set_partitions(1)
    with faults.refused("BatchGetItem", "InternalServerError", status=500, times=99), pytest.raises(Unavailable):
        handlers.sweep()
    assert listed(spread) < set(TASKS)
    handlers.sweep()
    assert listed(spread) == set(TASKS)


def test_many_moves_are_handed_out(spread: Scenario, handlers: Handlers, set_partitions: SetPartitions) -> None:
    set_partitions(1)
    with time_per_request(1_500, 50 * SECOND) as left:
        handlers.sweep(left)
    messages = [message for message in bodies("sweep") if message["kind"] == due_work.MOVES]
    assert len(messages) == 1
    assert handlers.batch("sweep_backlog", *messages) == []
    assert listed(spread) == set(TASKS)
    assert sweep_row()["partitions"] == 4, "the run does not know what other processes found"
