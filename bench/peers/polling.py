"""A poll: renew the claims that an agent has, and claim what else it may."""

import json
import uuid
from typing import Any

from bench.peers.work import (
    AGENTS,
    MINUTE,
    TASKS,
    Caller,
    Item,
    Quota,
    batch,
    client,
    interval,
    iso,
    mark,
    plain,
    shard,
    sign,
)

LEASE = MINUTE
LONGEST_CLAIM = 10 * MINUTE
RETENTION = 90 * 24 * 60 * MINUTE
MOST_HELD = 20
QUEUE_PAGE = 50


def poll(caller: Caller, agent_id: str, limit: int, at: int) -> tuple[dict[str, Any], Quota]:
    agent, quota = sign(caller, agent_id, "c", at)
    held = {task: hold for task, hold in agent["held"].items() if "startedAt" not in hold}
    room = min(limit - len(held), agent.get("concurrency", MOST_HELD) - len(agent["held"]))
    if agent.get("paused") or agent.get("reported") == "draining":
        room = 0
    chosen = _queued(caller.owner, sorted(agent["capabilities"]))[:room] if room > 0 else []
    claimed = _claim(caller.owner, agent_id, held, chosen, agent.get("concurrency", MOST_HELD), at)
    commands = _commands(caller.owner, agent_id, claimed, limit)
    return {
        "commands": commands,
        "nextPollInterval": interval(agent | {"workedAt": at} if commands else agent, at),
    }, quota


def _queued(owner: str, able: list[str]) -> list[dict[str, Any]]:
    """The head of the user's queue; none of these scenarios has one longer than a page."""
    found = client.query(
        TableName=TASKS,
        IndexName="queue",
        KeyConditionExpression="queue = :queue AND queueOrder BETWEEN :first AND :last",
        ExpressionAttributeValues={
            ":queue": {"S": owner},
            ":first": {"S": f"{able[0]}#"},
            ":last": {"S": f"{able[-1]}#~"},
        },
        Limit=QUEUE_PAGE,
    )["Items"]
    waiting = []
    for item in found:
        intent, priority, created = item["queueOrder"]["S"].split("#")
        if intent in able:
            waiting.append((priority, created, plain(item)))
    waiting.sort(key=lambda each: each[:2])
    return [item for _, _, item in waiting]


def _claim(owner: str, agent: str, held: dict[str, Any], chosen: list[dict[str, Any]], most: int, at: int) -> list[str]:
    """Renew the claims that the agent has and take the chosen tasks, in one transaction."""
    if not held and not chosen:
        return []
    parts: list[dict[str, Any]] = []
    taken = [item["pk"].partition("#")[2] for item in chosen]
    if chosen:
        holds = {f":hold{number}": _hold(item, at) for number, item in enumerate(chosen)}
        parts.append(
            {
                "Update": {
                    "TableName": AGENTS,
                    "Key": {"owner": {"S": owner}, "agent": {"S": agent}},
                    "UpdateExpression": "SET workedAt = :now, "
                    + ", ".join(f"held.#task{number} = :hold{number}" for number in range(len(chosen))),
                    "ConditionExpression": "#state IN (:active, :inactive, :error) AND size(held) <= :most",
                    "ExpressionAttributeNames": {
                        "#state": "state",
                        **{f"#task{number}": task for number, task in enumerate(taken)},
                    },
                    "ExpressionAttributeValues": {
                        ":active": {"S": "active"},
                        ":inactive": {"S": "inactive"},
                        ":error": {"S": "error"},
                        ":most": {"N": str(most - len(chosen))},
                        ":now": {"N": str(at)},
                        **holds,
                    },
                    "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
                }
            }
        )
    for task, hold in held.items():
        parts.append(_renewal(owner, agent, task, hold, at))
    for item in chosen:
        parts += _claiming(owner, agent, item, at)
    try:
        client.transact_write_items(TransactItems=parts, ClientRequestToken=uuid.uuid4().hex)
    except client.exceptions.TransactionCanceledException:
        return list(held)  # another was quicker; what is left comes with the next poll
    return [*held, *taken]


def _hold(item: dict[str, Any], at: int) -> Item:
    return {
        "M": {
            "attempt": {"N": str(item["attempt"])},
            "timeout": {"N": str(item["timeout"])},
            "claimedAt": {"N": str(at)},
        }
    }


def _renewal(owner: str, agent: str, task: str, hold: dict[str, Any], at: int) -> dict[str, Any]:
    pk = f"{owner}#{task}"
    return {
        "Update": {
            "TableName": TASKS,
            "Key": {"pk": {"S": pk}, "sk": {"S": "H"}},
            "UpdateExpression": "SET dueShard = :shard, dueAt = :due",
            "ConditionExpression": "#status = :assigned AND #agent = :agent AND attempt = :attempt"
            " AND attribute_not_exists(cancelAt)",
            "ExpressionAttributeNames": {"#status": "status", "#agent": "agent"},
            "ExpressionAttributeValues": {
                ":shard": {"N": str(shard(pk))},
                ":due": {"N": str(min(at + LEASE, hold["claimedAt"] + LONGEST_CLAIM))},
                ":assigned": {"S": "assigned"},
                ":agent": {"S": agent},
                ":attempt": {"N": str(hold["attempt"])},
            },
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }
    }


def _claiming(owner: str, agent: str, item: dict[str, Any], at: int) -> list[dict[str, Any]]:
    pk, attempt = item["pk"], item["attempt"]
    updated = max(at, item["updatedAt"] + 1)
    update = {
        "TableName": TASKS,
        "Key": {"pk": {"S": pk}, "sk": {"S": "H"}},
        "UpdateExpression": "SET #agent = :agent, claimedAt = :now, #status = :assigned, updatedAt = :updated,"
        " ownerStatus = :ownerStatus, ownerAgent = :ownerAgent, dueShard = :shard, dueAt = :due"
        " REMOVE #queue, queueOrder",
        "ConditionExpression": "#status = :queued AND attribute_not_exists(#agent) AND attempt = :attempt"
        " AND attribute_not_exists(cancelAt)",
        "ExpressionAttributeNames": {"#status": "status", "#agent": "agent", "#queue": "queue"},
        "ExpressionAttributeValues": {
            ":agent": {"S": agent},
            ":now": {"N": str(at)},
            ":assigned": {"S": "assigned"},
            ":queued": {"S": "queued"},
            ":updated": {"N": str(updated)},
            ":ownerStatus": {"S": f"{owner}#assigned"},
            ":ownerAgent": {"S": f"{owner}#{agent}"},
            ":shard": {"N": str(shard(pk))},
            ":due": {"N": str(at + LEASE)},
            ":attempt": {"N": str(attempt)},
        },
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
    }
    event = {
        "pk": {"S": pk},
        "sk": {"S": f"E#{updated:013d}#2#{attempt:03d}#assigned#{mark(None)[:6]}"},
        "type": {"S": "task.assigned"},
        "at": {"N": str(updated)},
        "status": {"S": "assigned"},
        "attempt": {"N": str(attempt)},
        "agent": {"S": agent},
        "expiresAt": {"N": str((updated + RETENTION) // 1_000)},
    }
    return [{"Update": update}, {"Put": {"TableName": TASKS, "Item": event}}]


def _commands(owner: str, agent: str, claimed: list[str], limit: int) -> list[dict[str, Any]]:
    if not claimed:
        return []
    keys = [{"pk": {"S": f"{owner}#{task}"}, "sk": {"S": part}} for task in claimed for part in ("H", "B")]
    rows = {(row["pk"], row["sk"]): row for row in batch(keys, consistent=True)}
    found = []
    for task in claimed:
        pk = f"{owner}#{task}"
        head, body = rows.get((pk, "H")), rows.get((pk, "B"), {"description": ""})
        if head is None or head.get("agent") != agent or head["status"] != "assigned":
            continue
        command = {
            "task_id": task,
            "intent": head["intent"],
            "repo": head["repo"],
            "branch": head.get("branch"),
            "description": body["description"],
            "context": json.loads(body["context"]) if "context" in body else {},
            "created_at": iso(head["createdAt"]),
            "attempt": head["attempt"],
            "timeoutSeconds": head["timeout"] // 1_000,
        }
        found.append((-head["priority"], head["createdAt"], command))
    found.sort(key=lambda each: each[:2])
    return [command for _, _, command in found[:limit]]
