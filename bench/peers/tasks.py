"""A progress report on a task, and the list of a user's tasks."""

import base64
import hashlib
import hmac
import json
from typing import Any

from bench.peers.common import (
    KEYS,
    TASKS,
    ApiError,
    Caller,
    Item,
    Result,
    authorize_user,
    batch_get,
    client,
    format_time,
    hash_text,
    record_check_in,
)

CURSOR_KEY = hashlib.sha256(b"devflow cursor" + next(iter(KEYS.values()))).digest()


def report_progress(caller: Caller, task_id: str, report: dict[str, Any], at: int) -> Result:
    """Record a report on a running task, whose step is that of the report before.

    A new step needs a transaction, which is not measured.
    """
    agent, rate_limit = record_check_in(caller, caller.subject, "t", at)
    claim = agent["held"].get(task_id)
    if claim is None or "startedAt" not in claim or report.get("attempt") not in (None, claim["attempt"]):
        raise ApiError(409, "Conflict")
    step = report.get("step")
    if step is not None and hash_text(step)[:8] != claim.get("step"):
        raise ApiError(501, "Not measured")
    sets = ["progress = :progress", "updatedAt = :now"]
    values: Item = {
        ":progress": {"N": repr(round(report["progress"], 4))},
        ":now": {"N": str(at)},
        ":running": {"S": "in_progress"},
        ":agent": {"S": caller.subject},
        ":attempt": {"N": str(claim["attempt"])},
    }
    if report.get("details") is not None:
        sets.append("details = :details")
        values[":details"] = {"S": report["details"]}
    try:
        response = client.update_item(
            TableName=TASKS,
            Key={"pk": {"S": f"{caller.owner}#{task_id}"}, "sk": {"S": "H"}},
            UpdateExpression=f"SET {', '.join(sets)}",
            ConditionExpression="#status = :running AND #agent = :agent AND attempt = :attempt"
            " AND attribute_not_exists(cancelAt)",
            ExpressionAttributeNames={"#status": "status", "#agent": "agent"},
            ExpressionAttributeValues=values,
            ReturnValues="ALL_NEW",
            ReturnValuesOnConditionCheckFailure="ALL_OLD",
        )
    except client.exceptions.ConditionalCheckFailedException:
        raise ApiError(409, "Conflict") from None
    cancel = "cancelAt" in response["Attributes"]
    return {"success": True, "taskId": task_id, "message": "Progress updated", "cancelRequested": cancel}, rate_limit


def list_tasks(caller: Caller, limit: int, at: int) -> Result:
    """The first page of a user's tasks, newest first."""
    rate_limit = authorize_user(caller, at)
    response = client.query(
        TableName=TASKS,
        IndexName="recent",
        KeyConditionExpression="#owner = :owner",
        ExpressionAttributeNames={"#owner": "owner"},
        ExpressionAttributeValues={":owner": {"S": caller.owner}},
        Limit=max(1_000, limit) + 1,
        ScanIndexForward=False,
    )
    items = response["Items"]
    page = items[:limit]
    heads = {
        row["pk"]: row for row in batch_get([{"pk": item["pk"], "sk": item["sk"]} for item in page], consistent=False)
    }
    rows = [heads[item["pk"]["S"]] for item in page if item["pk"]["S"] in heads]
    rows = [row for row in rows if row.get("expiresAt", at) * 1_000 > at]
    counted = 1_001 if "LastEvaluatedKey" in response else len(items)
    start = None
    if len(items) > limit:
        start = {name: page[-1][name] for name in ("pk", "sk", "owner", "createdAt")}
    body: dict[str, Any] = {
        "data": [_to_response(row) for row in rows],
        "total": min(counted, 1_000),
        "limit": limit,
        "offset": 0,
        "hasMore": start is not None,
        "nextCursor": None if start is None else _seal_cursor(f"tasks|{caller.owner}|{{}}", start, counted, len(page)),
    }
    if counted > 1_000:
        body["totalCapped"] = True
    return body, rate_limit


def _to_response(row: dict[str, Any]) -> dict[str, Any]:
    started, completed = row.get("startedAt"), row.get("completedAt")
    return {
        "id": row["task"],
        "userId": row["owner"],
        "agentId": row.get("agent") or row.get("pin"),
        "intent": row["intent"],
        "repo": row["repo"],
        "branch": row.get("branch"),
        "description": row["title"],
        "status": row["status"],
        "progress": row["progress"],
        "currentStep": row.get("step"),
        "createdAt": format_time(row["createdAt"]),
        "startedAt": None if started is None else format_time(started),
        "completedAt": None if completed is None else format_time(completed),
        "error": row.get("error"),
        "details": row.get("details"),
        "priority": row["priority"],
        "timeoutSeconds": row["timeout"] // 1_000,
        "attempt": row["attempt"],
        "maxAttempts": row["maxAttempts"],
        "cancelRequested": "cancelAt" in row,
        "retryOf": row.get("retryOf"),
        "updatedAt": format_time(row["updatedAt"]),
    }


def _seal_cursor(scope: str, start: Item, total: int, offset: int) -> str:
    text = json.dumps([start, total, offset], separators=(",", ":")).encode()
    signature = hmac.digest(CURSOR_KEY, scope.encode() + b"\0" + text, "sha256")[:16]
    return base64.urlsafe_b64encode(signature + text).decode().rstrip("=")
