"""A poll: renew the claims of an agent, and claim further tasks as far as its concurrency permits."""

import json
import uuid
from typing import Any

from bench.peers.common import (
    AGENTS,
    MINUTE,
    TASKS,
    Caller,
    Item,
    Result,
    batch_get,
    client,
    compute_poll_interval,
    compute_shard,
    format_time,
    hash_text,
    record_check_in,
    unmarshal,
)

CLAIM_LEASE = MINUTE
MAX_CLAIM_AGE = 10 * MINUTE
RETENTION = 90 * 24 * 60 * MINUTE
LONGEST_LIFE = 38_982 * MINUTE  # ten attempts of 48 h 10 min, 2 minutes, and a week for outages
MAX_CONCURRENCY = 20
QUEUE_PAGE = 50


def poll(caller: Caller, agent_id: str, limit: int, at: int) -> Result:
    agent, rate_limit = record_check_in(caller, agent_id, "c", at)
    claims = {task_id: claim for task_id, claim in agent["held"].items() if "startedAt" not in claim}
    room = min(limit - len(claims), agent.get("concurrency", MAX_CONCURRENCY) - len(agent["held"]))
    if agent.get("paused") or agent.get("reported") == "draining":
        room = 0
    queued = _read_queue(caller.owner, sorted(agent["capabilities"]))[:room] if room > 0 else []
    claimed = _claim(caller.owner, agent_id, claims, queued, agent.get("concurrency", MAX_CONCURRENCY), at)
    commands = _read_commands(caller.owner, agent_id, claimed, limit)
    return {
        "commands": commands,
        "nextPollInterval": compute_poll_interval(agent | {"workedAt": at} if commands else agent, at),
    }, rate_limit


def _read_queue(owner: str, capabilities: list[str]) -> list[dict[str, Any]]:
    """The first tasks of the user's queue, highest priority first. No scenario has a queue longer than a page."""
    items = client.query(
        TableName=TASKS,
        IndexName="queue",
        KeyConditionExpression="queue = :queue AND queueOrder BETWEEN :first AND :last",
        ExpressionAttributeValues={
            ":queue": {"S": owner},
            ":first": {"S": f"{capabilities[0]}#"},
            ":last": {"S": f"{capabilities[-1]}#~"},
        },
        Limit=QUEUE_PAGE,
    )["Items"]
    waiting = []
    for item in items:
        intent, priority, created = item["queueOrder"]["S"].split("#")
        if intent in capabilities:
            waiting.append((priority, created, unmarshal(item)))
    waiting.sort(key=lambda each: each[:2])
    return [item for _, _, item in waiting]


def _claim(
    owner: str, agent_id: str, claims: dict[str, Any], queued: list[dict[str, Any]], concurrency: int, at: int
) -> list[str]:
    """Renew the agent's claims and claim the queued tasks, in one transaction. Returns the ids of all claimed tasks."""
    if not claims and not queued:
        return []
    transact_items: list[dict[str, Any]] = []
    new_ids = [item["pk"].partition("#")[2] for item in queued]
    if queued:
        new_claims = {f":claim{number}": _marshal_claim(item, at) for number, item in enumerate(queued)}
        transact_items.append(
            {
                "Update": {
                    "TableName": AGENTS,
                    "Key": {"owner": {"S": owner}, "agent": {"S": agent_id}},
                    "UpdateExpression": "SET workedAt = :now, "
                    + ", ".join(f"held.#task{number} = :claim{number}" for number in range(len(queued))),
                    "ConditionExpression": "#state IN (:active, :inactive, :error) AND size(held) <= :room",
                    "ExpressionAttributeNames": {
                        "#state": "state",
                        **{f"#task{number}": task_id for number, task_id in enumerate(new_ids)},
                    },
                    "ExpressionAttributeValues": {
                        ":active": {"S": "active"},
                        ":inactive": {"S": "inactive"},
                        ":error": {"S": "error"},
                        ":room": {"N": str(concurrency - len(queued))},
                        ":now": {"N": str(at)},
                        **new_claims,
                    },
                    "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
                }
            }
        )
    for task_id, claim in claims.items():
        transact_items.append(_renew(owner, agent_id, task_id, claim, at))
    for item in queued:
        transact_items += _claim_task(owner, agent_id, item, at)
    try:
        client.transact_write_items(TransactItems=transact_items, ClientRequestToken=uuid.uuid4().hex)
    except client.exceptions.TransactionCanceledException:
        return list(claims)  # another agent was faster; the next poll claims what is left
    return [*claims, *new_ids]


def _marshal_claim(item: dict[str, Any], at: int) -> Item:
    return {
        "M": {
            "attempt": {"N": str(item["attempt"])},
            "timeout": {"N": str(item["timeout"])},
            "claimedAt": {"N": str(at)},
        }
    }


def _renew(owner: str, agent_id: str, task_id: str, claim: dict[str, Any], at: int) -> dict[str, Any]:
    pk = f"{owner}#{task_id}"
    return {
        "Update": {
            "TableName": TASKS,
            "Key": {"pk": {"S": pk}, "sk": {"S": "H"}},
            "UpdateExpression": "SET dueShard = :shard, dueAt = :due",
            "ConditionExpression": "#status = :assigned AND #agent = :agent AND attempt = :attempt"
            " AND attribute_not_exists(cancelAt)",
            "ExpressionAttributeNames": {"#status": "status", "#agent": "agent"},
            "ExpressionAttributeValues": {
                ":shard": {"N": str(compute_shard(pk))},
                ":due": {"N": str(min(at + CLAIM_LEASE, claim["claimedAt"] + MAX_CLAIM_AGE))},
                ":assigned": {"S": "assigned"},
                ":agent": {"S": agent_id},
                ":attempt": {"N": str(claim["attempt"])},
            },
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }
    }


def _claim_task(owner: str, agent_id: str, item: dict[str, Any], at: int) -> list[dict[str, Any]]:
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
            ":agent": {"S": agent_id},
            ":now": {"N": str(at)},
            ":assigned": {"S": "assigned"},
            ":queued": {"S": "queued"},
            ":updated": {"N": str(updated)},
            ":ownerStatus": {"S": f"{owner}#assigned"},
            ":ownerAgent": {"S": f"{owner}#{agent_id}"},
            ":shard": {"N": str(compute_shard(pk))},
            ":due": {"N": str(at + CLAIM_LEASE)},
            ":attempt": {"N": str(attempt)},
        },
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
    }
    event = {
        "pk": {"S": pk},
        "sk": {"S": f"E#{updated:013d}#2#{attempt:03d}#assigned#{hash_text(None)[:6]}"},
        "type": {"S": "task.assigned"},
        "at": {"N": str(updated)},
        "status": {"S": "assigned"},
        "attempt": {"N": str(attempt)},
        "agent": {"S": agent_id},
        "expiresAt": {"N": str((updated + LONGEST_LIFE + RETENTION) // 1_000)},
    }
    return [{"Update": update}, {"Put": {"TableName": TASKS, "Item": event}}]


def _read_commands(owner: str, agent_id: str, claimed: list[str], limit: int) -> list[dict[str, Any]]:
    if not claimed:
        return []
    keys = [{"pk": {"S": f"{owner}#{task_id}"}, "sk": {"S": sk}} for task_id in claimed for sk in ("H", "B")]
    rows = {(row["pk"], row["sk"]): row for row in batch_get(keys, consistent=True)}
    commands = []
    for task_id in claimed:
        pk = f"{owner}#{task_id}"
        head, body = rows.get((pk, "H")), rows.get((pk, "B"), {"description": ""})
        if head is None or head.get("agent") != agent_id or head["status"] != "assigned":
            continue
        command = {
            "task_id": task_id,
            "intent": head["intent"],
            "repo": head["repo"],
            "branch": head.get("branch"),
            "description": body["description"],
            "context": json.loads(body["context"]) if "context" in body else {},
            "created_at": format_time(head["createdAt"]),
            "attempt": head["attempt"],
            "timeoutSeconds": head["timeout"] // 1_000,
        }
        commands.append((-head["priority"], head["createdAt"], command))
    commands.sort(key=lambda each: each[:2])
    return [command for _, _, command in commands[:limit]]
