"""What must hold of the stored rows at any moment, whatever has happened (docs/states.md). Read from moto's memory."""

from collections import defaultdict
from collections.abc import Collection
from typing import Any

from chalicelib.dynamodb import marshalling
from tests.support import moto_aws

OPEN = {"pending", "queued", "assigned", "in_progress"}
HELD = {"assigned", "in_progress"}
FROM: dict[str, Collection[str | None]] = {
    "task.created": {None},
    "task.queued": {"pending"},
    "task.assigned": {"queued"},
    "task.started": {"assigned"},
    "task.step": {"in_progress"},
    "task.cancel_requested": {"in_progress"},
    "task.requeued": HELD,
    "task.completed": HELD,
    "task.failed": OPEN,
    "task.cancelled": OPEN,
}
"""The states that each event may follow: a lost event shows as a leap, a doubled one as a standstill."""

Rows = list[dict[str, Any]]


def rows(table: str) -> Rows:
    return [marshalling.decode(row) for row in moto_aws.rows(table)]


def heads() -> Rows:
    return [row for row in rows("tasks") if row["sk"] == "H"]


def open_heads() -> Rows:
    return [head for head in heads() if head["status"] in OPEN]


def hold() -> None:
    """Raise AssertionError, naming the row, where one of them does not hold."""
    tasks, agents = rows("tasks"), rows("agents")
    parts: defaultdict[str, Rows] = defaultdict(list)
    for row in sorted(tasks, key=lambda row: str(row["sk"])):
        parts[row["pk"]].append(row)
    all_heads = [row for row in tasks if row["sk"] == "H"]
    events = [row for row in tasks if row["sk"].startswith("E#")]
    for head in all_heads:
        _head(head)
        _timeline(head, parts[head["pk"]])
    for event in events:
        assert ("dueAt" in event) == ("dueShard" in event) != ("expiresAt" in event), event
    _holds(all_heads, agents)
    _watched(agents)
    _counted(all_heads, events, agents)
    _delivered(rows("webhooks"))


def _head(head: dict[str, Any]) -> None:
    is_open = head["status"] in OPEN
    assert ("dueAt" in head) == ("dueShard" in head) == is_open, head
    assert ("expiresAt" in head) != is_open, head
    assert ("completedAt" in head) != is_open, head
    assert ("queue" in head) == ("queueOrder" in head) == (head["status"] == "queued"), head
    assert ("agent" in head) or head["status"] not in HELD, head
    assert ("agent" not in head) or head["status"] not in ("pending", "queued"), head
    assert 1 <= head["attempt"] <= head["maxAttempts"], head
    assert head["ownerStatus"] == f"{head['owner']}#{head['status']}", head


def _timeline(head: dict[str, Any], parts: Rows) -> None:
    events = [part for part in parts if part["sk"].startswith("E#")]
    assert _follows(None, events, head["status"]), (head["status"], [event["type"] for event in events])


def _follows(status: str | None, events: Rows, end: str) -> bool:
    """Whether the events lead from one status to the other. Those of requests that crossed may stand in the order in
    which the requests came in, and not in that of their effects."""
    if not events:
        return status == end
    return any(
        _follows(event["status"], events[:at] + events[at + 1 :], end)
        for at, event in enumerate(events)
        if status in FROM[event["type"]]
    )


def _holds(all_heads: Rows, agents: Rows) -> None:
    """That an agent holds a task stands on both, and both say the same."""
    by_task, by_agent = {}, {}
    for head in all_heads:
        if head["status"] in HELD:
            by_task[head["owner"], head["agent"], head["task"]] = _held(head, "cancelAt" in head)
    for agent in agents:
        for task, held in agent["held"].items():
            by_agent[agent["owner"], agent["agent"], task] = _held(held, held.get("cancel", False))
    there = {(agent["owner"], agent["agent"]) for agent in agents}
    assert {key: hold for key, hold in by_task.items() if key[:2] in there} == by_agent


def _held(row: dict[str, Any], cancel: bool) -> tuple[Any, ...]:  # noqa: FBT001
    return row["attempt"], row.get("startedAt"), cancel


def _watched(agents: Rows) -> None:
    """The sweep will find every agent that may fall silent, runs something, or is to go."""
    for agent in agents:
        runs = any("startedAt" in held for held in agent["held"].values())
        assert "checkAt" in agent or (agent["state"] == "inactive" and not agent["held"]), agent
        assert ("checkAt" in agent) == ("checkShard" in agent), agent
        assert not runs or "checkAt" in agent, agent
        assert ("news" in agent) == ("newsAt" in agent) == ("newsShard" in agent), agent
        assert agent.get("news") != [], agent


def _delivered(webhooks: Rows) -> None:
    """The sweep will find every delivery that has not ended; those that have expire. A user's webhooks are counted."""
    endpoints: defaultdict[str, int] = defaultdict(int)
    for row in webhooks:
        if row["sk"].startswith("W#"):
            endpoints[row["pk"]] += 1
            assert row["enabled"] == ("disabledAt" not in row) == ("disabledBecause" not in row), row
            assert ("failingSince" in row) == ("failedAt" in row), row
        elif row["sk"].startswith("D#"):
            pending = row["status"] == "pending"
            assert ("dueAt" in row) == ("dueShard" in row) == ("nextAt" in row) == pending, row
            assert ("expiresAt" in row) == ("endedAt" in row) != pending, row
            assert pending or "claim" not in row, row
            assert not pending or row["dueAt"] >= row["nextAt"], row
            assert ("error" in row) == (row["status"] == "failed"), row
    counts = {row["pk"]: row["endpoints"] for row in webhooks if row["sk"] == "~"}
    assert {owner: many for owner, many in counts.items() if many} == dict(endpoints)


def _counted(all_heads: Rows, events: Rows, all_agents: Rows) -> None:
    """A user's counts are right; that of open tasks once every event is announced."""
    agents: defaultdict[str, int] = defaultdict(int)
    tasks: defaultdict[str, int] = defaultdict(int)
    for agent in all_agents:
        agents[agent["owner"]] += 1
    for head in all_heads:
        tasks[head["owner"]] += head["status"] in OPEN
    unsent = {row["pk"].partition("#")[0] for row in events if "dueAt" in row}
    for user in rows("users"):
        assert user["agents"] == agents[user["owner"]], user
        assert user["openTasks"] == tasks[user["owner"]] or user["owner"] in unsent, user
