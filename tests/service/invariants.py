"""The invariants of the stored rows, which must hold at any moment (docs/states.md). Reads moto's memory."""

import re
from collections import defaultdict
from collections.abc import Collection
from typing import Any

from chalicelib.core.settings import DAY, settings
from chalicelib.dynamodb import marshalling
from chalicelib.tasks.rules import longest_life
from chalicelib.tasks.tables import LOG_DAYS
from tests.support import moto_aws

OPEN_STATUSES = {"pending", "queued", "assigned", "in_progress"}
ASSIGNED_STATUSES = {"assigned", "in_progress"}
STATUSES_BEFORE: dict[str, Collection[str | None]] = {
    "task.created": {None},
    "task.queued": {"pending"},
    "task.assigned": {"queued"},
    "task.started": {"assigned"},
    "task.step": {"in_progress"},
    "task.cancel_requested": {"in_progress"},
    "task.requeued": ASSIGNED_STATUSES,
    "task.completed": ASSIGNED_STATUSES,
    "task.failed": OPEN_STATUSES,
    "task.cancelled": OPEN_STATUSES,
}
"""The statuses in which each event may happen. This reveals lost and duplicate events of a timeline."""

Rows = list[dict[str, Any]]


def rows(table: str) -> Rows:
    return [marshalling.decode(row) for row in moto_aws.rows(table)]


def usage() -> dict[str, dict[str, int]]:
    """What each owner has used: the sums of the rows that count it. Tasks and bytes are those of the last day."""
    counted: defaultdict[str, Rows] = defaultdict(list)
    for row in rows("tasks"):
        if row["sk"] == "U":
            counted[row["pk"].split("#")[1]].append(row)
    sums = {}
    for owner, shards in counted.items():
        today = max(row.get("day", 0) for row in shards)
        of_today = [row for row in shards if row.get("day") == today]
        sums[owner] = {
            "open": sum(row["open"] for row in shards),
            "tasks": sum(row["tasks"] for row in of_today),
            "bytes": sum(row["bytes"] for row in of_today),
        }
    return sums


def heads() -> Rows:
    return [row for row in rows("tasks") if row["sk"] == "H"]


def open_heads() -> Rows:
    return [head for head in heads() if head["status"] in OPEN_STATUSES]


def check() -> None:
    """Raise AssertionError with the row if an invariant is violated."""
    tasks, agents = rows("tasks"), rows("agents")
    parts: defaultdict[str, Rows] = defaultdict(list)
    for row in sorted(tasks, key=lambda row: str(row["sk"])):
        parts[row["pk"]].append(row)
    all_heads = [row for row in tasks if row["sk"] == "H"]
    events = [row for row in tasks if row["sk"].startswith("E#")]
    for head in all_heads:
        _check_head(head)
        _check_timeline(head, parts[head["pk"]])
        _check_expiry(head, parts[head["pk"]])
    for event in events:
        assert ("dueAt" in event) == ("dueShard" in event) != ("expiresAt" in event), event
    _check_claims(all_heads, agents)
    _check_agents(agents)
    _check_counts(all_heads, agents)
    _check_webhooks(rows("webhooks"))


def _check_head(head: dict[str, Any]) -> None:
    is_open = head["status"] in OPEN_STATUSES
    assert ("dueAt" in head) == ("dueShard" in head) == is_open, head
    assert ("expiresAt" in head) != is_open, head
    assert ("completedAt" in head) != is_open, head
    assert ("queue" in head) == ("queueOrder" in head) == (head["status"] == "queued"), head
    assert ("agent" in head) or head["status"] not in ASSIGNED_STATUSES, head
    assert ("agent" not in head) or head["status"] not in ("pending", "queued"), head
    assert 1 <= head["attempt"] <= head["maxAttempts"], head
    assert _without_partition(head["ownerStatus"], in_partition=is_open) == f"{head['owner']}#{head['status']}", head
    queue = head["owner"] if head.get("pin") is None else f"{head['owner']}@{head['pin']}"
    assert _without_partition(head.get("queue", queue), in_partition="pin" not in head) == queue, head


def _without_partition(key: str, *, in_partition: bool) -> str:
    """A key without the number of its partition."""
    return re.sub(r"#[1-7]$", "", key) if in_partition else key


def _check_expiry(head: dict[str, Any], parts: Rows) -> None:
    """No row but a chunk of the log expires before the head. No row expires while the task is open."""
    latest_end = head["createdAt"] + longest_life(head["maxAttempts"], head["timeout"])
    for part in parts:
        least = min(LOG_DAYS, settings.retention_days) if part["sk"].startswith("L#") else settings.retention_days
        end = head.get("completedAt", latest_end)
        assert part.get("expiresAt", end) >= (end + least * DAY) // 1_000 or "dueAt" in part, part


def _check_timeline(head: dict[str, Any], parts: Rows) -> None:
    events = [part for part in parts if part["sk"].startswith("E#")]
    assert _follows(None, events, head["status"]), (head["status"], [event["type"] for event in events])


def _follows(status: str | None, events: Rows, end: str) -> bool:
    """Whether the events lead from one status to the other.

    The events of concurrent requests may be in the order in which the requests arrived, not in the order of their
    effects.
    """
    if not events:
        return status == end
    return any(
        _follows(event["status"], events[:index] + events[index + 1 :], end)
        for index, event in enumerate(events)
        if status in STATUSES_BEFORE[event["type"]]
    )


def _check_claims(all_heads: Rows, agents: Rows) -> None:
    """Both the task's row and the agent's row store a claim, and they agree."""
    by_task, by_agent = {}, {}
    for head in all_heads:
        if head["status"] in ASSIGNED_STATUSES:
            by_task[head["owner"], head["agent"], head["task"]] = _claim(head, "cancelAt" in head)
    for agent in agents:
        for task, claim in agent["held"].items():
            by_agent[agent["owner"], agent["agent"], task] = _claim(claim, claim.get("cancel", False))
    existing = {(agent["owner"], agent["agent"]) for agent in agents}
    assert {key: claim for key, claim in by_task.items() if key[:2] in existing} == by_agent


def _claim(row: dict[str, Any], cancel: bool) -> tuple[Any, ...]:  # noqa: FBT001
    return row["attempt"], row.get("startedAt"), cancel


def _check_agents(agents: Rows) -> None:
    """The sweep's index contains every agent that may become silent, runs a task, or is being removed."""
    for agent in agents:
        runs = any("startedAt" in claim for claim in agent["held"].values())
        assert "checkAt" in agent or (agent["state"] == "inactive" and not agent["held"]), agent
        assert ("checkAt" in agent) == ("checkShard" in agent), agent
        assert not runs or "checkAt" in agent, agent
        assert ("news" in agent) == ("newsAt" in agent) == ("newsShard" in agent), agent
        assert agent.get("news") != [], agent


def _check_webhooks(webhooks: Rows) -> None:
    """The sweep's index contains every delivery that has not ended. Ended deliveries expire. Endpoint counts agree."""
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
    assert {owner: count for owner, count in counts.items() if count} == dict(endpoints)


def _check_counts(all_heads: Rows, all_agents: Rows) -> None:
    """The counts of a user are correct. The count of open tasks may be too high, until the next recount."""
    agents: defaultdict[str, int] = defaultdict(int)
    tasks: defaultdict[str, int] = defaultdict(int)
    for agent in all_agents:
        agents[agent["owner"]] += 1
    for head in all_heads:
        tasks[head["owner"]] += head["status"] in OPEN_STATUSES
    used = usage()
    for user in rows("users"):
        assert user["agents"] == agents[user["owner"]], user
    for owner, count in tasks.items():
        assert used[owner]["open"] >= count, (owner, count, used[owner])
