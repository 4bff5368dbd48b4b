"""A heartbeat: store what the agent reports, and return the tasks that it must cancel."""

from typing import Any

from bench.peers.common import Caller, Item, Result, compute_poll_interval, record_check_in


def record_heartbeat(caller: Caller, agent_id: str, body: dict[str, Any], at: int) -> Result:
    """`body`: the validated body, with the names of the API."""
    sets: list[str] = []
    removes: list[str] = []
    names: dict[str, str] = {}
    values: Item = {}
    figures = {
        name: {"N": repr(round(float(body[name]), 3))}
        for name in ("uptime", "taskCount", "memoryUsage", "cpuUsage")
        if body.get(name) is not None
    }
    if figures:
        sets.append("machine = :machine")
        values[":machine"] = {"M": figures}
    status = body.get("status")
    if status is not None:
        sets.append("reported = :reported")
        values[":reported"] = {"S": status}
    for name, tag in (("version", "S"), ("concurrency", "N")):
        if body.get(name) is not None:
            sets.append(f"#{name} = :{name}")
            names[f"#{name}"] = name
            values[f":{name}"] = {tag: str(body[name])}
    if body.get("capabilities") is not None:
        sets.append("capabilities = :capabilities")
        values[":capabilities"] = {"L": [{"S": capability} for capability in body["capabilities"]]}
    if body.get("taskIds") is None:
        removes += ["said", "saidBefore"]
    else:
        sets += ["saidBefore = if_not_exists(said, :never)", "said = :said"]
        values[":never"] = {"M": {"at": {"N": "0"}, "tasks": {"L": []}}}
        running = [{"S": task_id} for task_id in body["taskIds"]]
        values[":said"] = {"M": {"at": {"N": str(at)}, "tasks": {"L": running}}}
    state = None
    if status is not None:
        state = {"disconnected": "inactive", "error": "error"}.get(status, "active")
    item, rate_limit = record_check_in(caller, agent_id, "h", at, state, sets, removes, names, values)
    return {
        "success": True,
        "nextPollInterval": compute_poll_interval(item, at),
        "status": item["state"],
        "cancel": sorted(
            {task_id for task_id, claim in item["held"].items() if claim.get("cancel")}
            | {task_id for task_id in item.get("said", {}).get("tasks", ()) if task_id not in item["held"]}
        ),
    }, rate_limit
