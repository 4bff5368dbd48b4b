"""The open tasks of a team in several partitions: lists, counts, polls, and changes of the number of partitions."""

from collections.abc import Callable
from typing import Any

import pytest

from chalicelib.core import clock as server_clock
from chalicelib.tasks import restricted_search
from infra.local.gateway import Response
from tests.conftest import Clock, SetPartitions
from tests.http.scenario import Agent, Scenario, ok
from tests.http.test_pagination import list_ids, page
from tests.service import invariants
from tests.support import aws_requests

TASKS = [f"task-{number}" for number in range(14)]


def keys(name: str) -> set[str]:
    """The values of an attribute of all heads."""
    return {head[name] for head in invariants.heads() if name in head}


@pytest.fixture
def pairs(scenario: Scenario, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Scenario:
    """Queued tasks of two intents. Always two of them were submitted in the same millisecond."""
    start = clock.now
    for number, task_id in enumerate(TASKS):
        monkeypatch.setattr(server_clock, "now", lambda at=start + number // 2: at)
        scenario.submit(task_id, intent="odd" if number % 2 else "even")
    scenario.run_workflows()
    return scenario


def newest_first(ids: list[str]) -> bool:
    ages = [TASKS.index(task_id) // 2 for task_id in ids]
    return ages == sorted(ages, reverse=True)


def test_list_of_an_open_status_has_every_task_once(
    set_partitions: SetPartitions, request: pytest.FixtureRequest
) -> None:
    set_partitions(3)
    scenario: Scenario = request.getfixturevalue("pairs")
    owner = scenario.user_id()
    assert keys("ownerStatus") == {f"{owner}#queued", f"{owner}#queued#1", f"{owner}#queued#2"}
    assert keys("queue") == {owner, f"{owner}#1", f"{owner}#2"}
    for limit in (2, 5):
        ids = list_ids(scenario.user, "/api/tasks", {"status": "queued", "limit": limit})
        assert sorted(ids) == sorted(TASKS)
        assert newest_first(ids)
    for intent, first in (("even", 0), ("odd", 1)):
        query = {"status": "queued", "intent": intent, "limit": 2}
        assert list_ids(scenario.user, "/api/tasks", query) == TASKS[first::2][::-1]
    assert page(scenario.user, "/api/tasks", {"status": "queued"})["total"] == len(TASKS)


def test_cursors_stay_valid_when_the_number_changes(pairs: Scenario, set_partitions: SetPartitions) -> None:
    """The tasks are in the first partition. Lists continue from one partition in several, and the reverse."""
    for numbers in ((1, 4), (4, 1), (8, 2), (1, 8)):
        listed: list[str] = []
        query: dict[str, Any] = {"status": "queued", "limit": 3}
        for turn in range(9):
            set_partitions(numbers[turn % 2])
            response = page(pairs.user, "/api/tasks", query)
            listed += [task["id"] for task in response["data"]]
            if not response["hasMore"]:
                break
            query["cursor"] = response["nextCursor"]
        assert sorted(listed) == sorted(TASKS)
        assert newest_first(listed)


def test_cursor_with_tasks_of_the_same_time_continues_in_one_partition(
    set_partitions: SetPartitions, request: pytest.FixtureRequest
) -> None:
    """After the number was lowered, a list has the tasks of the partitions that are left, without an error."""
    set_partitions(8)
    scenario: Scenario = request.getfixturevalue("pairs")
    cursors = [
        page(scenario.user, "/api/tasks", {"status": "queued", "limit": limit})["nextCursor"]
        for limit in range(1, 8, 2)
    ]
    set_partitions(1)
    left = {head["task"] for head in invariants.heads() if head["ownerStatus"].endswith("#queued")}
    for limit, cursor in zip(range(1, 8, 2), cursors, strict=True):
        rest = page(scenario.user, "/api/tasks", {"status": "queued", "limit": 100, "cursor": cursor})["data"]
        ids = [task["id"] for task in rest]
        assert set(ids) <= left
        assert newest_first(ids)
        assert len(set(ids)) == len(ids) <= len(TASKS) - limit + 1


def test_page_with_a_filter_stops_where_a_partition_was_not_examined(
    scenario: Scenario, set_partitions: SetPartitions, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page examines few rows of each partition here, so pages are short although others follow."""
    monkeypatch.setattr("chalicelib.tasks.list_store.MIN_ROWS_EXAMINED", 2)
    set_partitions(3)
    for number in range(16):
        clock.advance(0.001)
        scenario.submit(f"task-{number}", intent="rare" if number % 5 == 0 else "frequent")
    query = {"status": "pending", "intent": "rare", "limit": 1}
    first = page(scenario.user, "/api/tasks", query)
    listed, cursor, pages = [task["id"] for task in first["data"]], first["nextCursor"], 1
    while cursor is not None:
        response = page(scenario.user, "/api/tasks", query | {"cursor": cursor})
        listed, cursor, pages = listed + [task["id"] for task in response["data"]], response["nextCursor"], pages + 1
    assert listed == ["task-15", "task-10", "task-5", "task-0"]
    assert pages > 4


def test_each_further_partition_costs_one_request(
    scenario: Scenario, agent: Agent, set_partitions: SetPartitions
) -> None:
    scenario.queue_tasks("pinned", agentId="agent-1")
    agent.poll()
    calls: dict[str, Callable[[], Response]] = {
        "poll": lambda: agent.poll(limit=2),
        "list": lambda: scenario.user.get("/api/tasks?status=pending"),
        "ended": lambda: scenario.user.get("/api/tasks?status=completed"),
        "all": lambda: scenario.user.get("/api/tasks"),
    }
    found = {}
    for number in (1, 4):
        set_partitions(number)
        for name, call in calls.items():
            with aws_requests.recorded() as sent:
                ok(call())
            found[name, number] = len(sent)
    assert {name: found[name, 4] - found[name, 1] for name, _ in found} == {"poll": 3, "list": 3, "ended": 0, "all": 0}


def test_agent_with_rules_finds_its_tasks_in_every_partition(
    scenario: Scenario, set_partitions: SetPartitions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pages are small, so a poll does not read the whole queue, and the next one continues in each partition."""
    monkeypatch.setattr(restricted_search, "PAGE_SIZE", 1)
    set_partitions(3)
    agent = scenario.agent(repos=["https://example.com/acme/*"])
    scenario.queue_tasks(*(f"no-{number}" for number in range(9)), repo="https://example.com/other/r")
    admitted = [f"yes-{number}" for number in range(6)]
    scenario.queue_tasks(*admitted, repo="https://example.com/acme/r")
    assert len(keys("queue")) == 3
    claimed = [sorted(agent.claims(limit=100)) for _ in range(9)]
    assert claimed[0] != admitted
    assert claimed[-1] == admitted


def test_tasks_stay_claimable_and_listed_when_the_number_is_raised(
    scenario: Scenario, set_partitions: SetPartitions, fresh_minute: Clock
) -> None:
    """Tasks keep their keys until their status changes. The keys of later statuses are in the new partitions."""
    agent = scenario.agent()
    for number, partitions in ((0, 1), (4, 3), (8, 8)):
        set_partitions(partitions)
        scenario.queue_tasks(*(f"task-{each}" for each in range(number, number + 4)))
        fresh_minute.advance(1)
        query = {"status": "queued", "limit": 3}
        assert len(list_ids(scenario.user, "/api/tasks", query)) == number + 4
        stats = ok(scenario.user.get("/api/stats"))
        assert (stats["queueDepth"], stats["oldestQueuedSeconds"]) == (number + 4, number // 4 + 1)
    claimed = [int(task_id.removeprefix("task-")) for task_id in agent.claims(limit=20)]
    assert sorted(claimed) == list(range(12))
    assert [each // 4 for each in claimed] == [0] * 4 + [1] * 4 + [2] * 4, "the oldest first"
    for number in range(12):
        ok(agent.progress(f"task-{number}"))
    assert len(list_ids(scenario.user, "/api/tasks", {"status": "in_progress", "limit": 5})) == 12
    assert page(scenario.user, "/api/tasks", {"status": "queued"})["total"] == 0
    invariants.check()
    for number in range(12):
        ok(agent.complete(f"task-{number}"))
    assert keys("ownerStatus") == {f"{scenario.user_id()}#completed"}
    assert keys("queue") == set()
