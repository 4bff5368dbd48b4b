"""The work of the hot calls on a plain boto3 client, by hand: the same requests, conditions and rows as DevFlow's.

What it knows of rows it says itself, for it must not lean on what it is compared with. `bench/check.py` holds it to
the very answers, rows and requests of the product.
"""

import hashlib
import json
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import boto3
from botocore.exceptions import ClientError

from tests.support.environment import KEY, STAGE

MINUTE = 60_000
INACTIVE_AFTER = 150_000
SHARDS = 4
LIMITS = {"h": 10, "c": 100, "t": 1_000}
"""Calls a minute: heartbeats, polls, tasks."""

AGENTS, TASKS, USERS = (f"devflow-{STAGE}-{table}" for table in ("agents", "tasks", "users"))
KEYS = {"key-test": KEY}

Item = dict[str, Any]
client = boto3.client("dynamodb")


class Refused(Exception):
    """An answer that is no success."""

    def __init__(self, status: int, title: str, message: str = "") -> None:
        self.status, self.title, self.message = status, title, message or title
        super().__init__(self.message)


@dataclass(frozen=True)
class Caller:
    kind: str
    owner: str
    subject: str
    ver: str
    mark: str
    """What logging out would leave of it."""


@dataclass(frozen=True)
class Quota:
    limit: int
    remaining: int
    reset: int

    @property
    def headers(self) -> dict[str, str]:
        return {
            "X-RateLimit-Limit": str(self.limit),
            "X-RateLimit-Remaining": str(self.remaining),
            "X-RateLimit-Reset": str(self.reset),
        }


def now() -> int:
    """Epoch milliseconds."""
    return int(time.time() * 1_000)


def iso(instant: int) -> str:
    return datetime.fromtimestamp(instant // 1_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def denied(path: str) -> Refused:
    """A token that is not good; on two paths the spec has a title of its own for that."""
    agents = path.endswith(("/commands", "/heartbeat"))
    return Refused(401, "Agent token expired or invalid" if agents else "Invalid or expired token")


def caller_of(claims: dict[str, Any], at: int) -> Caller:
    """Who a verified token speaks for. Raises ValueError when it has expired."""
    if at >= claims["exp"] * 1_000 + 30_000:
        raise ValueError(claims["exp"])
    mark = f"{claims['jti'][:16]}:{claims['exp']}"
    return Caller(claims["typ"], claims["own"], claims["sub"], claims["ver"], mark)


def heartbeat(caller: Caller, agent: str, said: dict[str, Any], at: int) -> tuple[dict[str, Any], Quota]:
    """`said`: the checked body, camelCase."""
    sets: list[str] = []
    removes: list[str] = []
    names: dict[str, str] = {}
    values: Item = {}
    figures = {
        name: {"N": repr(round(float(said[name]), 3))}
        for name in ("uptime", "taskCount", "memoryUsage", "cpuUsage")
        if said.get(name) is not None
    }
    if figures:
        sets.append("machine = :machine")
        values[":machine"] = {"M": figures}
    status = said.get("status")
    if status is not None:
        sets.append("reported = :reported")
        values[":reported"] = {"S": status}
    for name, tag in (("version", "S"), ("concurrency", "N")):
        if said.get(name) is not None:
            sets.append(f"#{name} = :{name}")
            names[f"#{name}"] = name
            values[f":{name}"] = {tag: str(said[name])}
    if said.get("capabilities") is not None:
        sets.append("capabilities = :capabilities")
        values[":capabilities"] = {"L": [{"S": each} for each in said["capabilities"]]}
    if said.get("taskIds") is None:
        removes += ["said", "saidBefore"]
    else:
        sets += ["saidBefore = if_not_exists(said, :never)", "said = :said"]
        values[":never"] = {"M": {"at": {"N": "0"}, "tasks": {"L": []}}}
        running = [{"S": task} for task in said["taskIds"]]
        values[":said"] = {"M": {"at": {"N": str(at)}, "tasks": {"L": running}}}
    state = None
    if status is not None:
        state = {"disconnected": "inactive", "error": "error"}.get(status, "active")
    item, quota = sign(caller, agent, "h", at, state, sets, removes, names, values)
    return {
        "success": True,
        "nextPollInterval": interval(item, at),
        "status": item["state"],
        "cancel": sorted(
            {task for task, hold in item["held"].items() if hold.get("cancel")}
            | {task for task in item.get("said", {}).get("tasks", ()) if task not in item["held"]}
        ),
    }, quota


def sign(
    caller: Caller,
    agent: str,
    letter: str,
    at: int,
    state: str | None = None,
    sets: list[str] | None = None,
    removes: list[str] | None = None,
    names: dict[str, str] | None = None,
    values: Item | None = None,
) -> tuple[dict[str, Any], Quota]:
    """One write on the agent's item: its sign of life, the call counted, the token's version compared."""
    minute = at // MINUTE
    slot = f"{letter}{minute}"
    all_sets = [
        "seenAt = :now",
        "checkShard = :shard",
        "checkAt = :check",
        "calls.#slot = if_not_exists(calls.#slot, :zero) + :one",
        *(sets or ()),
    ]
    all_values = {
        ":now": {"N": str(at)},
        ":shard": {"N": str(shard(f"{caller.owner}#{agent}"))},
        ":check": {"N": str((minute + 1) * MINUTE + INACTIVE_AFTER)},
        ":zero": {"N": "0"},
        ":one": {"N": "1"},
        ":active": {"S": "active"},
        ":error": {"S": "error"},
        ":ver": {"S": caller.ver},
        ":limit": {"N": str(LIMITS[letter])},
        **(values or {}),
    }
    if state is not None:
        all_sets.append("#state = :state")
        all_values[":state"] = {"S": state}
    gone = {f"#gone{ago}": f"{letter}{minute - ago}" for ago in (1, 2, 3)}
    all_removes = [*[f"calls.{name}" for name in gone], *(removes or ())]
    try:
        answer = client.update_item(
            TableName=AGENTS,
            Key={"owner": {"S": caller.owner}, "agent": {"S": agent}},
            UpdateExpression=f"SET {', '.join(all_sets)} REMOVE {', '.join(all_removes)}",
            ConditionExpression="#state IN (:active, :error) AND ver = :ver"
            " AND (attribute_not_exists(calls.#slot) OR calls.#slot < :limit)",
            ExpressionAttributeNames={"#state": "state", "#slot": slot, **gone, **(names or {})},
            ExpressionAttributeValues=all_values,
            ReturnValues="ALL_NEW",
            ReturnValuesOnConditionCheckFailure="ALL_OLD",
        )
    except client.exceptions.ConditionalCheckFailedException as error:
        raise _refusal(error, caller, letter, slot) from None
    item = plain(answer["Attributes"])
    return item, quota_of(item, letter, slot, minute)


def _refusal(error: ClientError, caller: Caller, letter: str, slot: str) -> Refused:
    answer: Any = error.response
    stands = plain(answer.get("Item") or {})
    if stands.get("ver") != caller.ver or caller.mark in stands.get("ended", ()):
        return Refused(401, "Agent token expired or invalid" if letter in "hc" else "Invalid or expired token")
    if stands["calls"].get(slot, 0) >= LIMITS[letter]:
        return Refused(429, "Too many requests")
    return Refused(503, "Temporarily unavailable")


def quota_of(item: dict[str, Any], letter: str, slot: str, minute: int) -> Quota:
    return Quota(LIMITS[letter], max(0, LIMITS[letter] - item["calls"].get(slot, 0)), (minute + 1) * 60)


def admit(caller: Caller, at: int) -> Quota:
    """One write on the user's item: the call counted, the token's version compared."""
    minute = at // MINUTE
    slot = f"t{minute}"
    try:
        answer = client.update_item(
            TableName=USERS,
            Key={"owner": {"S": caller.owner}},
            UpdateExpression="SET calls.#slot = if_not_exists(calls.#slot, :zero) + :one"
            " REMOVE calls.#gone1, calls.#gone2, calls.#gone3",
            ConditionExpression="ver = :ver AND NOT contains(ended, :mark)"
            " AND (attribute_not_exists(calls.#slot) OR calls.#slot < :limit)",
            ExpressionAttributeNames={"#slot": slot, **{f"#gone{ago}": f"t{minute - ago}" for ago in (1, 2, 3)}},
            ExpressionAttributeValues={
                ":zero": {"N": "0"},
                ":one": {"N": "1"},
                ":ver": {"S": caller.ver},
                ":mark": {"S": caller.mark},
                ":limit": {"N": str(LIMITS["t"])},
            },
            ReturnValues="ALL_NEW",
            ReturnValuesOnConditionCheckFailure="ALL_OLD",
        )
    except client.exceptions.ConditionalCheckFailedException as error:
        raise _refusal(error, caller, "t", slot) from None
    return quota_of(plain(answer["Attributes"]), "t", slot, minute)


def batch(keys: list[Item], *, consistent: bool) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    wanted: dict[str, Any] = {TASKS: {"Keys": keys, "ConsistentRead": consistent}}
    while wanted:
        answer = client.batch_get_item(RequestItems=wanted)
        rows += [plain(item) for item in answer["Responses"].get(TASKS, [])]
        wanted = answer.get("UnprocessedKeys") or {}
    return rows


def interval(agent: dict[str, Any], at: int) -> int:
    idle = at - agent["workedAt"] - 600_000
    return 5_000 if agent["held"] else int(min(30_000, max(5_000, 5_000 + idle / 24)))


def shard(key: str) -> int:
    return int.from_bytes(hashlib.blake2s(key.encode()).digest()[:4]) % SHARDS


def mark(detail: str | None) -> str:
    return hashlib.sha256(json.dumps(detail, ensure_ascii=False).encode()).hexdigest()


def plain(item: Item) -> dict[str, Any]:
    """An item without DynamoDB's type tags. boto3's own deserializer takes four times as long."""
    return {name: _value(tagged) for name, tagged in item.items()}


def _value(tagged: Item) -> Any:
    ((tag, value),) = tagged.items()
    if tag == "S":
        return value
    if tag == "N":
        return int(value) if value.lstrip("-").isdigit() else float(value)
    if tag == "M":
        return plain(value)
    if tag == "L":
        return [_value(each) for each in value]
    return None if tag == "NULL" else value
