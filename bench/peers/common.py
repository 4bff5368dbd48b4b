"""What all calls of the peers share: the boto3 client, callers, rate limits, and the conversion of rows.

The peers make the same requests as DevFlow, with the same conditions, and leave the same rows. They must not depend on
the code that they are compared with, so the layout of rows is written out here. The `check` of bench/implementation.py
compares their responses, requests and rows with DevFlow's.

Instants are epoch milliseconds.
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
"""Calls in a minute by kind of call: `h` heartbeats, `c` polls, `t` all others. Stored counters begin with the kind."""

AGENTS, TASKS, USERS, CREDENTIALS = (
    f"devflow-{STAGE}-{table}" for table in ("agents", "tasks", "users", "credentials")
)
KEYS = {"key-test": KEY}

Item = dict[str, Any]
client = boto3.client("dynamodb")


class ApiError(Exception):
    """An error response. `title` is its `error` field."""

    def __init__(self, status: int, title: str, message: str = "") -> None:
        self.status, self.title, self.message = status, title, message or title
        super().__init__(self.message)


@dataclass(frozen=True)
class Caller:
    kind: str
    owner: str
    subject: str
    token_version: str
    revocation_key: str
    """What the user's row stores of this token after logout."""
    session_id: str
    """Empty for an agent's token."""


@dataclass(frozen=True)
class RateLimitState:
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


Result = tuple[dict[str, Any], RateLimitState]
"""The body of a successful response, and the state that its headers report."""


def now() -> int:
    return int(time.time() * 1_000)


def format_time(instant: int) -> str:
    return datetime.fromtimestamp(instant // 1_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def make_token_error(path: str) -> ApiError:
    """The error for an invalid token. The specification defines another title on two paths."""
    of_agent = path.endswith(("/commands", "/heartbeat"))
    return ApiError(401, "Agent token expired or invalid" if of_agent else "Invalid or expired token")


def make_caller(claims: dict[str, Any], at: int) -> Caller:
    """The caller that a verified token identifies. Raises ValueError if the token has expired."""
    if at >= claims["exp"] * 1_000 + 30_000:
        raise ValueError(claims["exp"])
    revocation_key = f"{claims['jti'][:16]}:{claims['exp']}"
    return Caller(claims["typ"], claims["own"], claims["sub"], claims["ver"], revocation_key, claims.get("sid", ""))


def record_check_in(
    caller: Caller,
    agent_id: str,
    kind: str,
    at: int,
    state: str | None = None,
    sets: list[str] | None = None,
    removes: list[str] | None = None,
    names: dict[str, str] | None = None,
    values: Item | None = None,
) -> tuple[dict[str, Any], RateLimitState]:
    """One write to the agent's item: record the check-in, count the call and compare the token's version.

    `kind`: a key of LIMITS. `sets`, `removes`, `names`, `values`: additions to the update. Returns the new item.
    """
    minute = at // MINUTE
    slot = f"{kind}{minute}"
    all_sets = [
        "seenAt = :now",
        "checkShard = :shard",
        "checkAt = :check",
        "calls.#slot = if_not_exists(calls.#slot, :zero) + :one",
        *(sets or ()),
    ]
    all_values = {
        ":now": {"N": str(at)},
        ":shard": {"N": str(compute_shard(f"{caller.owner}#{agent_id}"))},
        ":check": {"N": str(_compute_check_time(f"{caller.owner}#{agent_id}", at))},
        ":zero": {"N": "0"},
        ":one": {"N": "1"},
        ":active": {"S": "active"},
        ":error": {"S": "error"},
        ":ver": {"S": caller.token_version},
        ":limit": {"N": str(LIMITS[kind])},
        **(values or {}),
    }
    if state is not None:
        all_sets.append("#state = :state")
        all_values[":state"] = {"S": state}
    old_slots = {f"#old{ago}": f"{kind}{minute - ago}" for ago in (1, 2, 3)}
    all_removes = [*[f"calls.{name}" for name in old_slots], *(removes or ())]
    try:
        response = client.update_item(
            TableName=AGENTS,
            Key={"owner": {"S": caller.owner}, "agent": {"S": agent_id}},
            UpdateExpression=f"SET {', '.join(all_sets)} REMOVE {', '.join(all_removes)}",
            ConditionExpression="#state IN (:active, :error) AND ver = :ver"
            " AND (attribute_not_exists(calls.#slot) OR calls.#slot < :limit)",
            ExpressionAttributeNames={"#state": "state", "#slot": slot, **old_slots, **(names or {})},
            ExpressionAttributeValues=all_values,
            ReturnValues="ALL_NEW",
            ReturnValuesOnConditionCheckFailure="ALL_OLD",
        )
    except client.exceptions.ConditionalCheckFailedException as error:
        raise _to_api_error(error, caller, kind, slot) from None
    item = unmarshal(response["Attributes"])
    return item, _rate_limit_state(item, kind, slot, minute)


def _to_api_error(error: ClientError, caller: Caller, kind: str, slot: str) -> ApiError:
    """Why the condition of a check-in or of a user's call failed."""
    response: Any = error.response
    stored = unmarshal(response.get("Item") or {})
    if stored.get("ver") != caller.token_version or caller.revocation_key in stored.get("ended", ()):
        return ApiError(401, "Agent token expired or invalid" if kind in "hc" else "Invalid or expired token")
    if stored["calls"].get(slot, 0) >= LIMITS[kind]:
        return ApiError(429, "Too many requests")
    return ApiError(503, "Temporarily unavailable")


def _rate_limit_state(item: dict[str, Any], kind: str, slot: str, minute: int) -> RateLimitState:
    return RateLimitState(LIMITS[kind], max(0, LIMITS[kind] - item["calls"].get(slot, 0)), (minute + 1) * 60)


def authorize_user(caller: Caller, at: int) -> RateLimitState:
    """Read the session, then one write to the user's item: count the call and compare the token's version."""
    key = {"owner": {"S": caller.owner}, "sk": {"S": f"S#{caller.token_version}#{caller.session_id}"}}
    session = client.get_item(TableName=CREDENTIALS, Key=key, ConsistentRead=True)
    if "Item" not in session or "endedAt" in unmarshal(session["Item"]):
        raise ApiError(401, "Invalid or expired token")
    minute = at // MINUTE
    slot = f"t{minute}"
    try:
        response = client.update_item(
            TableName=USERS,
            Key={"owner": {"S": caller.owner}},
            UpdateExpression="SET calls.#slot = if_not_exists(calls.#slot, :zero) + :one"
            " REMOVE calls.#old1, calls.#old2, calls.#old3",
            ConditionExpression="ver = :ver AND NOT contains(ended, :revocationKey)"
            " AND (attribute_not_exists(calls.#slot) OR calls.#slot < :limit)",
            ExpressionAttributeNames={"#slot": slot, **{f"#old{ago}": f"t{minute - ago}" for ago in (1, 2, 3)}},
            ExpressionAttributeValues={
                ":zero": {"N": "0"},
                ":one": {"N": "1"},
                ":ver": {"S": caller.token_version},
                ":revocationKey": {"S": caller.revocation_key},
                ":limit": {"N": str(LIMITS["t"])},
            },
            ReturnValues="ALL_NEW",
            ReturnValuesOnConditionCheckFailure="ALL_OLD",
        )
    except client.exceptions.ConditionalCheckFailedException as error:
        raise _to_api_error(error, caller, "t", slot) from None
    return _rate_limit_state(unmarshal(response["Attributes"]), "t", slot, minute)


def batch_get(keys: list[Item], *, consistent: bool) -> list[dict[str, Any]]:
    """Rows of the table of tasks, in no particular order."""
    rows: list[dict[str, Any]] = []
    requested: dict[str, Any] = {TASKS: {"Keys": keys, "ConsistentRead": consistent}}
    while requested:
        response = client.batch_get_item(RequestItems=requested)
        rows += [unmarshal(item) for item in response["Responses"].get(TASKS, [])]
        requested = response.get("UnprocessedKeys") or {}
    return rows


def compute_poll_interval(agent: dict[str, Any], at: int) -> int:
    """Milliseconds until the agent is to poll again."""
    idle = at - agent["workedAt"] - 600_000
    return 5_000 if agent["held"] else int(min(30_000, max(5_000, 5_000 + idle / 24)))


def _compute_check_time(key: str, at: int) -> int:
    shift = int.from_bytes(hashlib.blake2s(key.encode()).digest()[4:8]) % MINUTE
    return ((at - shift) // MINUTE + 1) * MINUTE + shift + INACTIVE_AFTER


def compute_shard(key: str) -> int:
    return int.from_bytes(hashlib.blake2s(key.encode()).digest()[:4]) % SHARDS


def hash_text(text: str | None) -> str:
    return hashlib.sha256(json.dumps(text, ensure_ascii=False).encode()).hexdigest()


def unmarshal(item: Item) -> dict[str, Any]:
    """An item without DynamoDB's type tags. boto3's own deserializer takes four times as long."""
    return {name: _unmarshal_value(tagged) for name, tagged in item.items()}


def _unmarshal_value(tagged: Item) -> Any:
    ((tag, value),) = tagged.items()
    if tag == "S":
        return value
    if tag == "N":
        return int(value) if value.lstrip("-").isdigit() else float(value)
    if tag == "M":
        return unmarshal(value)
    if tag == "L":
        return [_unmarshal_value(each) for each in value]
    return None if tag == "NULL" else value
