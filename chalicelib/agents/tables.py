"""The table `agents`: one item per agent, with its claims and the counts of its calls.

Indexes:

    live    (checkShard, checkAt)   agents that the sweep must check
    news    (newsShard, newsAt)     agents with unpublished status events
    fleet   (owner, agent)          the fields by which lists filter

With separate indexes, a heartbeat changes few index entries, and a list reads few attributes.
"""

from typing import Any

from pynamodb.attributes import BooleanAttribute, ListAttribute, MapAttribute, NumberAttribute, UnicodeAttribute
from pynamodb.indexes import GlobalSecondaryIndex, IncludeProjection, KeysOnlyProjection
from pynamodb.models import Model

from chalicelib import dynamodb
from chalicelib.agents.entities import Agent, Claim, ReportedTasks, StatusEvent
from chalicelib.core.settings import settings


class LiveIndex(GlobalSecondaryIndex["AgentRow"]):
    class Meta:
        index_name = "live"
        projection = IncludeProjection(["state"])

    check_shard = NumberAttribute(attr_name="checkShard", hash_key=True)
    check_at = NumberAttribute(attr_name="checkAt", range_key=True)


class UnpublishedIndex(GlobalSecondaryIndex["AgentRow"]):
    class Meta:
        index_name = "news"
        projection = KeysOnlyProjection()

    publish_shard = NumberAttribute(attr_name="newsShard", hash_key=True)
    publish_at = NumberAttribute(attr_name="newsAt", range_key=True)


class FleetIndex(GlobalSecondaryIndex["AgentRow"]):
    class Meta:
        index_name = "fleet"
        projection = IncludeProjection(["state", "capabilities"])

    owner = UnicodeAttribute(hash_key=True)
    agent_id = UnicodeAttribute(attr_name="agent", range_key=True)


@dynamodb.register_table
class AgentRow(Model):
    class Meta:
        table_name = settings.resource_name("agents")

    owner = UnicodeAttribute(hash_key=True)
    agent_id = UnicodeAttribute(attr_name="agent", range_key=True)
    name = UnicodeAttribute()
    version = UnicodeAttribute()
    platform = UnicodeAttribute(null=True)
    capabilities: ListAttribute[str] = ListAttribute()
    permitted_capabilities: Any = ListAttribute(attr_name="permitted", null=True)
    concurrency = NumberAttribute(null=True)
    state = UnicodeAttribute()
    reported_status = UnicodeAttribute(attr_name="reported", null=True)
    machine: Any = MapAttribute()
    ver = UnicodeAttribute()
    next_ver = UnicodeAttribute(attr_name="nextVer", null=True)
    instance: Any = MapAttribute(null=True)
    last_reported_tasks: Any = MapAttribute(attr_name="said", null=True)
    previous_reported_tasks: Any = MapAttribute(attr_name="saidBefore", null=True)
    earlier_process_id = UnicodeAttribute(attr_name="earlierProcess", null=True)
    paused = BooleanAttribute(null=True)
    note = UnicodeAttribute(null=True)
    repos: ListAttribute[str] = ListAttribute(null=True)
    submitters: ListAttribute[str] = ListAttribute(null=True)
    rules_version = UnicodeAttribute(attr_name="rulesVer", null=True)
    search_positions: Any = MapAttribute(attr_name="searched", null=True)
    registration = UnicodeAttribute(null=True)
    created_at = NumberAttribute(attr_name="createdAt")
    updated_at = NumberAttribute(attr_name="updatedAt")
    seen_at = NumberAttribute(attr_name="seenAt")
    worked_at = NumberAttribute(attr_name="workedAt")
    claims: Any = MapAttribute(attr_name="held")
    calls: Any = MapAttribute()
    pinned_at = NumberAttribute(attr_name="pinnedAt", null=True)
    pinned_until = NumberAttribute(attr_name="pinnedUntil", null=True)
    check_shard = NumberAttribute(attr_name="checkShard", null=True)
    check_at = NumberAttribute(attr_name="checkAt", null=True)
    status_events: Any = ListAttribute(attr_name="news", null=True)
    publish_shard = NumberAttribute(attr_name="newsShard", null=True)
    publish_at = NumberAttribute(attr_name="newsAt", null=True)

    live = LiveIndex()
    unpublished = UnpublishedIndex()
    fleet = FleetIndex()


def shard(owner: str, agent_id: str) -> int:
    """The shard of the sweep's indexes that an agent belongs to."""
    return dynamodb.shard(f"{owner}#{agent_id}")


def to_stored_event(event: StatusEvent) -> dict[str, Any]:
    return {"event": event.event, "at": event.at, "state": event.state, "seenAt": event.seen_at}


def _to_reported_tasks(value: dict[str, Any] | None) -> ReportedTasks | None:
    if value is None:
        return None
    return ReportedTasks.model_construct(at=value["at"], task_ids=value["tasks"], process_id=value.get("process"))


def to_agent(row: dynamodb.Row) -> Agent:
    return Agent.model_construct(
        owner=row["owner"],
        id=row["agent"],
        name=row["name"],
        version=row["version"],
        platform=row.get("platform"),
        capabilities=row["capabilities"],
        permitted_capabilities=row.get("permitted"),
        concurrency=row.get("concurrency"),
        state=row["state"],
        reported_status=row.get("reported"),
        machine=row["machine"],
        ver=row["ver"],
        registration=row.get("registration"),
        created_at=row["createdAt"],
        updated_at=row["updatedAt"],
        seen_at=row["seenAt"],
        worked_at=row["workedAt"],
        claims={
            task_id: Claim.model_construct(
                attempt=stored["attempt"],
                timeout=stored["timeout"],
                claimed_at=stored["claimedAt"],
                started_at=stored.get("startedAt"),
                cancel=stored.get("cancel", False),
                step=stored.get("step"),
            )
            for task_id, stored in row["held"].items()
        },
        pinned_at=row.get("pinnedAt"),
        pinned_until=row.get("pinnedUntil"),
        next_ver=row.get("nextVer"),
        paused=row.get("paused", False),
        note=row.get("note"),
        repos=row.get("repos", []),
        submitters=row.get("submitters", []),
        rules_version=row.get("rulesVer"),
        search_positions=row.get("searched", {}),
        last_reported_tasks=_to_reported_tasks(row.get("said")),
        previous_reported_tasks=_to_reported_tasks(row.get("saidBefore")),
        earlier_process_id=row.get("earlierProcess"),
        calls=row["calls"],
        status_events=[
            StatusEvent.model_construct(event=each["event"], at=each["at"], state=each["state"], seen_at=each["seenAt"])
            for each in row.get("news", [])
        ],
    )
