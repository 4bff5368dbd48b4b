"""Lists: every item once by cursor and by offset, correct totals, and cursors that are valid for one list only."""

import json
from itertools import product
from typing import Any

import pytest

from chalicelib.core import clock as server_clock
from tests.conftest import Clock
from tests.http.scenario import Agent, Scenario, ok, refused
from tests.support.client import Client

SHAPE = {"data", "total", "limit", "offset", "hasMore", "nextCursor"}


def page(client: Client, path: str, query: dict[str, Any]) -> dict[str, Any]:
    """Read one page of a list, and check that it has the shape of the contract."""
    response: dict[str, Any] = ok(client.get(path, query))
    assert set(response) - {"totalCapped"} == SHAPE | ({"agents"} if path == "/api/agents" else set())
    assert response.get("totalCapped", True) is True
    assert response["limit"] == query.get("limit", 20)
    assert len(response["data"]) <= response["limit"]
    assert response["hasMore"] is (response["nextCursor"] is not None)
    if path == "/api/agents":
        assert response["agents"] == response["data"]
    return response


def by_cursor(client: Client, path: str, query: dict[str, Any]) -> list[dict[str, Any]]:
    """All items of a list. Each page is read with the cursor of the page before."""
    response = page(client, path, query)
    total: int = response["total"]
    items: list[dict[str, Any]] = response["data"]
    assert response["offset"] == 0
    while response["hasMore"]:
        response = page(client, path, query | {"cursor": response["nextCursor"]})
        assert (response["total"], response["offset"]) == (total, len(items))
        items += response["data"]
    return items


def by_offset(client: Client, path: str, query: dict[str, Any]) -> list[dict[str, Any]]:
    """All items of a list. Each page is read with its offset."""
    items: list[dict[str, Any]] = []
    more = True
    while more:
        response = page(client, path, query | {"offset": len(items)})
        assert response["offset"] == len(items)
        items += response["data"]
        more = response["hasMore"]
    assert response["total"] == len(items)
    return items


def list_ids(client: Client, path: str, query: dict[str, Any]) -> list[str]:
    """The ids of all items of a list. They must be the same by cursor and by offset."""
    listings = [by_cursor(client, path, query), by_offset(client, path, query)]
    assert listings[0] == listings[1]
    return [item["id"] for item in listings[0]]


# Agents.

FLEET = {
    "agent-1": ("active", ["fix-bug"]),
    "agent-2": ("active", ["fix-bug", "feature"]),
    "agent-3": ("active", []),
    "agent-4": ("error", ["feature"]),
    "agent-5": ("inactive", ["feature", "explain"]),
    "agent-6": ("inactive", ["fix-bug"]),
}


@pytest.fixture
def fleet(scenario: Scenario, other: Scenario, clock: Clock) -> Scenario:
    """A user with the agents of FLEET. Another user has an agent, too."""
    other.agent("agent-0", capabilities=["fix-bug"])
    agents = {
        agent: scenario.agent(agent, capabilities=capabilities) for agent, (_, capabilities) in reversed(FLEET.items())
    }
    clock.advance(300)
    scenario.poller.sweep()
    for agent, (status, _) in FLEET.items():
        if status != "inactive":
            ok(agents[agent].heartbeat(status="error" if status == "error" else "ready"))
    return scenario


def test_every_agent_is_listed_once_with_every_limit(fleet: Scenario) -> None:
    for limit in (2, 6):
        assert sorted(list_ids(fleet.user, "/api/agents", {"limit": limit})) == list(FLEET), limit


def test_agents_are_filtered_by_status_and_capability(fleet: Scenario) -> None:
    for status, capability in product([None, "active", "inactive"], [None, "fix-bug", "feature"]):
        query = {"limit": 1 if status == "active" else 6, "status": status, "capability": capability}
        expected = [
            agent
            for agent, (state, capabilities) in FLEET.items()
            if status in (None, state) and (capability is None or capability in capabilities)
        ]
        filters = {name: value for name, value in query.items() if value is not None}
        assert sorted(list_ids(fleet.user, "/api/agents", filters)) == expected, filters


def test_listed_agent_matches_the_specification(fleet: Scenario) -> None:
    found = ok(fleet.user.get("/api/agents?status=error"))["agents"][0]
    assert {"id", "name", "status", "version", "platform", "capabilities", "lastHeartbeat", "createdAt"} <= set(found)
    assert found == fleet.get_agent("agent-4")
    assert "token" not in json.dumps(found)


def test_empty_list_has_the_usual_fields(user: Client) -> None:
    for path in ("/api/agents", "/api/tasks"):
        response = page(user, path, {})
        assert response["data"] == []
        assert (response["total"], response["offset"], response["hasMore"], response["nextCursor"]) == (
            0,
            0,
            False,
            None,
        )


# Tasks.


Tasks = dict[str, tuple[str, str | None, str]]


@pytest.fixture
def tasks(scenario: Scenario, other: Scenario, clock: Clock) -> Tasks:
    """Tasks in many states, oldest first: id to (status, agent, intent). Another user has a task, too."""
    other.submit("task-0")
    one, two = scenario.agent("one", capabilities=["a", "b"]), scenario.agent("two", capabilities=["a", "b"])
    created: Tasks = {}

    def create(status: str, agent: Agent | None, intent: str) -> None:
        task_id = f"task-{9 - len(created)}"
        clock.advance(2)
        created[task_id] = (status, None if agent is None else agent.id, intent)
        pin = {} if agent is None else {"agentId": agent.id}
        if status == "pending":
            scenario.submit(task_id, intent=intent, **pin)
            return
        scenario.queue_tasks(task_id, intent=intent, **pin)
        if agent is None or status == "queued":
            return
        assert task_id in agent.claims()
        if status == "in_progress":
            ok(agent.progress(task_id))
        elif status == "completed":
            ok(agent.complete(task_id))
        elif status == "failed":
            ok(agent.fail(task_id))

    create("completed", one, "a")
    create("completed", two, "b")
    create("failed", one, "b")
    create("in_progress", one, "a")
    create("assigned", two, "a")
    create("queued", None, "c")
    create("completed", one, "b")
    create("pending", None, "a")
    return created


def fields_of(task_id: tuple[str | None, str | None, str | None]) -> dict[str, str | None]:
    return dict(zip(("status", "agentId", "intent"), task_id, strict=True))


def test_every_task_is_listed_once_with_the_newest_first(scenario: Scenario, tasks: Tasks) -> None:
    for limit in (3, 8):
        assert list_ids(scenario.user, "/api/tasks", {"limit": limit}) == list(reversed(tasks)), limit
    for listed in ok(scenario.user.get("/api/tasks"))["data"]:
        single = scenario.get_task(listed["id"])
        assert {name: single[name] for name in listed} == listed
        assert {name: listed[name] for name in ("status", "agentId", "intent")} == fields_of(tasks[listed["id"]])


@pytest.mark.usefixtures("one_or_three_partitions")
def test_tasks_are_filtered_by_status_agent_and_intent(scenario: Scenario, tasks: Tasks) -> None:
    for filters in product([None, "completed"], [None, "one"], [None, "b", "d"]):
        query: dict[str, Any] = {name: value for name, value in fields_of(filters).items() if value is not None}
        matching = [task for task, fields in tasks.items() if fields_of(fields) | query == fields_of(fields)]
        response = page(scenario.user, "/api/tasks", query)
        assert [task["id"] for task in response["data"]] == matching[::-1], query
        assert response["total"] == len(matching), query
        if len(matching) in (2, 3):
            assert list_ids(scenario.user, "/api/tasks", query | {"limit": 1}) == matching[::-1], query


@pytest.mark.usefixtures("one_or_three_partitions")
def test_tasks_created_in_the_same_millisecond_are_listed_once(
    scenario: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = server_clock.now()
    monkeypatch.setattr(server_clock, "now", lambda: now)
    for number in range(5):
        scenario.submit(f"task-{number}")
    for query in ({}, {"status": "pending"}, {"intent": "fix-bug"}):
        assert len(set(list_ids(scenario.user, "/api/tasks", query | {"limit": 2}))) == 5


def test_new_tasks_do_not_disturb_paging_by_cursor(scenario: Scenario, clock: Clock) -> None:
    for number in range(4):
        scenario.submit(f"task-{number}")
        clock.advance(1)
    first = page(scenario.user, "/api/tasks", {"limit": 2})
    scenario.submit("new")
    second = page(scenario.user, "/api/tasks", {"limit": 2, "cursor": first["nextCursor"]})
    assert [task["id"] for task in first["data"] + second["data"]] == ["task-3", "task-2", "task-1", "task-0"]
    assert not second["hasMore"]


def test_total_is_exact_up_to_1000_and_marked_as_capped_beyond(scenario: Scenario, clock: Clock) -> None:
    scenario.submit("oldest")
    clock.advance(1)
    scenario.submit("older")
    scenario.copy_task("older", [f"copy-{number}" for number in range(998)], keys_only=True)
    response = page(scenario.user, "/api/tasks", {"limit": 1, "offset": 998})
    assert ([task["id"] for task in response["data"]], response["total"], response["hasMore"]) == (
        ["older"],
        1_000,
        True,
    )
    assert "totalCapped" not in response
    assert not page(scenario.user, "/api/tasks", {"limit": 1, "cursor": response["nextCursor"]})["hasMore"]

    scenario.copy_task("older", ["copy-998"], age=1_000, keys_only=True)
    response = page(scenario.user, "/api/tasks", {"limit": 1, "offset": 999})
    assert (response["total"], response["totalCapped"], response["hasMore"]) == (1_000, True, True)
    for query in ({"cursor": response["nextCursor"]}, {"offset": 1_000}):
        last = page(scenario.user, "/api/tasks", {"limit": 5} | query)
        assert ([task["id"] for task in last["data"]], last["offset"], last["hasMore"]) == (["oldest"], 1_000, False)
        assert (last["total"], last["totalCapped"]) == (1_000, True)
    assert page(scenario.user, "/api/tasks", {"offset": 1_000, "status": "pending"})["totalCapped"] is True


# A task's events.


def test_events_are_listed_once_with_the_oldest_first(scenario: Scenario, agent: Agent, clock: Clock) -> None:
    task_id = scenario.claim_task(agent)
    for number in range(4):
        ok(agent.progress(task_id, number / 10, step=f"step {number}"))
    ok(agent.complete(task_id))
    path = f"/api/tasks/{task_id}/events"
    for limit in (3, 8):
        listings = [read(scenario.user, path, {"limit": limit}) for read in (by_cursor, by_offset)]
        assert listings[0] == listings[1]
        assert [event["type"].removeprefix("task.") for event in listings[0]] == [
            "created", "queued", "assigned", "started", "step", "step", "step", "completed",
        ]  # fmt: skip
        assert [event["timestamp"] for event in listings[0]] == sorted(event["timestamp"] for event in listings[0])


# Invalid queries.

INVALID_QUERIES: list[tuple[str, list[object]]] = [
    ("limit", [0, 101, -1, 1.5, "x", "1e1", 10**30, "NaN", "true"]),
    ("offset", [-1, 1_001, 1.5, "x", 10**30]),
]
INVALID_FILTERS: dict[str, list[tuple[str, list[object]]]] = {
    "/api/agents": [("status", ["ready", "ACTIVE", "x" * 5_000]), ("capability", ["a b", "x" * 500, "ü"])],
    "/api/tasks": [("status", ["done", "Queued"]), ("agentId", ["a b", "x" * 129]), ("intent", ["a b", "x" * 500])],
    "/api/tasks/task-1/events": [],
}


@pytest.mark.parametrize("path", INVALID_FILTERS)
def test_invalid_query_parameter_returns_400_and_is_named(scenario: Scenario, path: str) -> None:
    scenario.submit("task-1")
    for name, values in INVALID_QUERIES + INVALID_FILTERS[path]:
        for value in values:
            body = refused(scenario.user.get(path, {name: value}), 400)
            assert any(detail.startswith(f"{name}:") for detail in body["details"]), (name, value, body)


def test_poll_with_an_invalid_limit_claims_nothing(scenario: Scenario, agent: Agent) -> None:
    scenario.queue_tasks()
    for limit in (0, 101, -1, 1.5, "x", 10**30):
        assert refused(agent.poll(limit=limit), 400)["details"][0].startswith("limit:")
    assert scenario.task_status() == "queued"


def test_cursor_is_valid_only_for_its_user_list_and_filters(scenario: Scenario, other: Scenario) -> None:
    for each in (scenario, other):
        for number in range(3):
            each.agent(f"agent-{number}", capabilities=["fix-bug"])
            each.submit(f"task-{number}")
            each.run_workflows()
    queries: dict[str, list[dict[str, Any]]] = {
        "/api/agents": [
            {},
            {"status": "active"},
            {"capability": "fix-bug"},
            {"status": "active", "capability": "fix-bug"},
        ],
        "/api/tasks": [{}, {"status": "queued"}, {"intent": "fix-bug"}, {"status": "queued", "intent": "fix-bug"}],
        "/api/tasks/task-0/events": [{}],
        "/api/tasks/task-1/events": [{}],
    }
    lists = [(path, query) for path, some in queries.items() for query in some]
    cursors = [page(scenario.user, path, query | {"limit": 1})["nextCursor"] for path, query in lists]
    assert len(set(cursors)) == len(cursors)
    for own, (path, query) in enumerate(lists):
        assert page(scenario.user, path, query | {"cursor": cursors[own]})["offset"] == 1
        refused(other.user.get(path, query | {"cursor": cursors[own]}), 400)
        for distance in (1, 2, 4):
            foreign = (own + distance) % len(lists)
            assert scenario.user.get(path, query | {"cursor": cursors[foreign]}).status == 400, (
                path,
                query,
                lists[foreign],
            )


def test_cursor_can_be_used_with_another_limit(fleet: Scenario) -> None:
    first = page(fleet.user, "/api/agents", {"limit": 1})
    rest = page(fleet.user, "/api/agents", {"limit": 100, "cursor": first["nextCursor"]})
    assert [agent["id"] for agent in first["data"] + rest["data"]] == [agent["id"] for agent in list_agents(fleet)]


def list_agents(scenario: Scenario) -> list[dict[str, Any]]:
    return by_cursor(scenario.user, "/api/agents", {})


def test_modified_cursor_returns_400(scenario: Scenario) -> None:
    for number in range(3):
        scenario.submit(f"task-{number}")
    cursor = page(scenario.user, "/api/tasks", {"limit": 1})["nextCursor"]
    owner = scenario.get_task("task-0")["userId"]
    assert owner not in cursor
    changed = [
        cursor[:at] + ("A" if cursor[at] != "A" else "B") + cursor[at + 1 :] for at in range(0, len(cursor) - 2, 9)
    ]
    malformed = [
        "x",
        "0",
        "null",
        "{}",
        "é",
        "A" * 4_000,
        "=",
        "\0",
        cursor[:20],
        cursor[20:],
        cursor[::-1],
        cursor + cursor,
    ]
    for wrong in changed + malformed:
        refused(scenario.user.get("/api/tasks", {"cursor": wrong}), 400)
