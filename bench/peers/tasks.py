"""Progress of a task, and a page of a user's tasks."""

import base64
import hashlib
import hmac
import json
from typing import Any

from bench.peers.work import KEYS, TASKS, Caller, Item, Quota, Refused, admit, batch, client, iso, mark, sign

CURSOR_KEY = hashlib.sha256(b"devflow cursor" + next(iter(KEYS.values()))).digest()


def progress(caller: Caller, task: str, report: dict[str, Any], at: int) -> tuple[dict[str, Any], Quota]:
    """A report on a task that runs, with a step that its agent's row knows; what is new would be a transaction."""
    agent, quota = sign(caller, caller.subject, "t", at)
    hold = agent["held"].get(task)
    if hold is None or "startedAt" not in hold or report.get("attempt") not in (None, hold["attempt"]):
        raise Refused(409, "Conflict")
    step = report.get("step")
    if step is not None and mark(step)[:8] != hold.get("step"):
        raise Refused(501, "Not measured")
    sets = ["progress = :progress", "updatedAt = :now"]
    values: Item = {
        ":progress": {"N": repr(round(report["progress"], 4))},
        ":now": {"N": str(at)},
        ":running": {"S": "in_progress"},
        ":agent": {"S": caller.subject},
        ":attempt": {"N": str(hold["attempt"])},
    }
    if report.get("details") is not None:
        sets.append("details = :details")
        values[":details"] = {"S": report["details"]}
    try:
        answer = client.update_item(
            TableName=TASKS,
            Key={"pk": {"S": f"{caller.owner}#{task}"}, "sk": {"S": "H"}},
            UpdateExpression=f"SET {', '.join(sets)}",
            ConditionExpression="#status = :running AND #agent = :agent AND attempt = :attempt"
            " AND attribute_not_exists(cancelAt)",
            ExpressionAttributeNames={"#status": "status", "#agent": "agent"},
            ExpressionAttributeValues=values,
            ReturnValues="ALL_NEW",
            ReturnValuesOnConditionCheckFailure="ALL_OLD",
        )
    except client.exceptions.ConditionalCheckFailedException:
        raise Refused(409, "Conflict") from None
    cancel = "cancelAt" in answer["Attributes"]
    return {"success": True, "taskId": task, "message": "Progress updated", "cancelRequested": cancel}, quota


def list_tasks(caller: Caller, limit: int, at: int) -> tuple[dict[str, Any], Quota]:
    """The first page of a user's tasks, newest first."""
    quota = admit(caller, at)
    found = client.query(
        TableName=TASKS,
        IndexName="recent",
        KeyConditionExpression="#owner = :owner",
        ExpressionAttributeNames={"#owner": "owner"},
        ExpressionAttributeValues={":owner": {"S": caller.owner}},
        Limit=max(1_000, limit) + 1,
        ScanIndexForward=False,
    )
    items = found["Items"]
    shown = items[:limit]
    heads = {
        row["pk"]: row for row in batch([{"pk": each["pk"], "sk": each["sk"]} for each in shown], consistent=False)
    }
    rows = [heads[each["pk"]["S"]] for each in shown if each["pk"]["S"] in heads]
    rows = [row for row in rows if row.get("expiresAt", at) * 1_000 > at]
    counted = 1_001 if "LastEvaluatedKey" in found else len(items)
    start = None
    if len(items) > limit:
        start = {name: shown[-1][name] for name in ("pk", "sk", "owner", "createdAt")}
    answer: dict[str, Any] = {
        "data": [_shown(row) for row in rows],
        "total": min(counted, 1_000),
        "limit": limit,
        "offset": 0,
        "hasMore": start is not None,
        "nextCursor": None if start is None else _cursor(f"tasks|{caller.owner}|{{}}", start, counted, len(shown)),
    }
    if counted > 1_000:
        answer["totalCapped"] = True
    return answer, quota


def _shown(row: dict[str, Any]) -> dict[str, Any]:
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
        "createdAt": iso(row["createdAt"]),
        "startedAt": None if started is None else iso(started),
        "completedAt": None if completed is None else iso(completed),
        "error": row.get("error"),
        "details": row.get("details"),
        "priority": row["priority"],
        "timeoutSeconds": row["timeout"] // 1_000,
        "attempt": row["attempt"],
        "maxAttempts": row["maxAttempts"],
        "cancelRequested": "cancelAt" in row,
        "retryOf": row.get("retryOf"),
        "updatedAt": iso(row["updatedAt"]),
    }


def _cursor(scope: str, start: Item, total: int, offset: int) -> str:
    text = json.dumps([start, total, offset], separators=(",", ":")).encode()
    seal = hmac.digest(CURSOR_KEY, scope.encode() + b"\0" + text, "sha256")[:16]
    return base64.urlsafe_b64encode(seal + text).decode().rstrip("=")
