"""The table `tasks`: its rows and indexes, and the conversion between tasks and rows.

Each task has one partition (`owner#task`) with several rows, so that its parts can be written and read separately:

    H               the head: the state and everything that lists contain, under 2 KB
    B               the body: the submitted description and context, up to 250 KB
    R               the result
    E#time#...      an event of the timeline
    L#attempt#at    a chunk of the log

The table also has SHARDS rows for each owner (`~open#owner#shard`), which count the owner's usage.

Heads have the keys of the indexes: `recent`, `by_status`, `by_agent` and `by_intent` for lists, `queue` for the tasks
that agents may claim, and `due` for the rows that the sweep must process. The index `due` also contains each event
until it is published. Until then the event does not expire. `partitions` has the keys of `by_status` and `queue`.

The rows of a task expire together, some days after its end. A row that is written before the end cannot know the end,
so it expires as if the task ended as late as possible (`rules.longest_life`). Readers check the head only.
"""

from operator import attrgetter
from typing import Any

from pynamodb.attributes import BooleanAttribute, NumberAttribute, UnicodeAttribute
from pynamodb.indexes import GlobalSecondaryIndex, IncludeProjection, KeysOnlyProjection
from pynamodb.models import Model

from chalicelib import dynamodb
from chalicelib.core.settings import DAY, settings
from chalicelib.tasks import partitions
from chalicelib.tasks.entities import MAX_PRIORITY, Task

TASKS_TABLE = settings.resource_name("tasks")
LOG_DAYS = 30
"""How many days a log can be read after the end of its task, unless the stage's retention is shorter."""
HEAD, BODY, RESULT, EVENT, LOG = "H", "B", "R", "E#", "L#"
USAGE = "U"


class RecentTasksIndex(GlobalSecondaryIndex["HeadRow"]):
    class Meta:
        index_name = "recent"
        projection = KeysOnlyProjection()

    owner = UnicodeAttribute(hash_key=True)
    created_at = NumberAttribute(attr_name="createdAt", range_key=True)


class TaskStatusIndex(GlobalSecondaryIndex["HeadRow"]):
    class Meta:
        index_name = "by_status"
        projection = IncludeProjection(["ownerAgent", "intent"])

    owner_status = UnicodeAttribute(attr_name="ownerStatus", hash_key=True)
    created_at = NumberAttribute(attr_name="createdAt", range_key=True)


class TaskAgentIndex(GlobalSecondaryIndex["HeadRow"]):
    class Meta:
        index_name = "by_agent"
        projection = IncludeProjection(["intent"])

    owner_agent = UnicodeAttribute(attr_name="ownerAgent", hash_key=True)
    created_at = NumberAttribute(attr_name="createdAt", range_key=True)


class TaskIntentIndex(GlobalSecondaryIndex["HeadRow"]):
    class Meta:
        index_name = "by_intent"
        projection = KeysOnlyProjection()

    owner_intent = UnicodeAttribute(attr_name="ownerIntent", hash_key=True)
    created_at = NumberAttribute(attr_name="createdAt", range_key=True)


class TaskQueueIndex(GlobalSecondaryIndex["HeadRow"]):
    class Meta:
        index_name = "queue"
        projection = IncludeProjection(["attempt", "timeout", "updatedAt"])

    queue = UnicodeAttribute(hash_key=True)
    queue_order = UnicodeAttribute(attr_name="queueOrder", range_key=True)


class TaskDueIndex(GlobalSecondaryIndex["HeadRow"]):
    class Meta:
        index_name = "due"
        projection = IncludeProjection(["status"])

    due_shard = NumberAttribute(attr_name="dueShard", hash_key=True)
    due_at = NumberAttribute(attr_name="dueAt", range_key=True)


@dynamodb.register_table
class HeadRow(Model):
    class Meta:
        table_name = TASKS_TABLE

    pk = UnicodeAttribute(hash_key=True)
    sk = UnicodeAttribute(range_key=True, default_for_new=HEAD)
    owner = UnicodeAttribute()
    task_id = UnicodeAttribute(attr_name="task")
    status = UnicodeAttribute()
    intent = UnicodeAttribute()
    repo = UnicodeAttribute()
    branch = UnicodeAttribute(null=True)
    title = UnicodeAttribute()
    agent_id = UnicodeAttribute(attr_name="agent", null=True)
    pinned_agent_id = UnicodeAttribute(attr_name="pin", null=True)
    submitted_by = UnicodeAttribute(attr_name="submitter", null=True)
    priority = NumberAttribute()
    attempt = NumberAttribute()
    max_attempts = NumberAttribute(attr_name="maxAttempts")
    timeout = NumberAttribute()
    progress = NumberAttribute()
    step = UnicodeAttribute(null=True)
    details = UnicodeAttribute(null=True)
    error = UnicodeAttribute(null=True)
    cancel_at = NumberAttribute(attr_name="cancelAt", null=True)
    retry_of = UnicodeAttribute(attr_name="retryOf", null=True)
    request_digest = UnicodeAttribute(attr_name="digest")
    report_digest = UnicodeAttribute(attr_name="report", null=True)
    sends = NumberAttribute()
    log_bytes = NumberAttribute(attr_name="logged", null=True)
    final_log_appended = BooleanAttribute(attr_name="lastLog", null=True)
    log_closed = BooleanAttribute(attr_name="logClosed", null=True)
    earlier_log_bytes = NumberAttribute(attr_name="loggedBefore", null=True)
    log_end = NumberAttribute(attr_name="logEnd", null=True)
    created_at = NumberAttribute(attr_name="createdAt")
    updated_at = NumberAttribute(attr_name="updatedAt")
    queued_at = NumberAttribute(attr_name="queuedAt", null=True)
    claimed_at = NumberAttribute(attr_name="claimedAt", null=True)
    started_at = NumberAttribute(attr_name="startedAt", null=True)
    completed_at = NumberAttribute(attr_name="completedAt", null=True)
    owner_status = UnicodeAttribute(attr_name="ownerStatus")
    owner_agent = UnicodeAttribute(attr_name="ownerAgent", null=True)
    owner_intent = UnicodeAttribute(attr_name="ownerIntent")
    queue = UnicodeAttribute(null=True)
    queue_order = UnicodeAttribute(attr_name="queueOrder", null=True)
    due_shard = NumberAttribute(attr_name="dueShard", null=True)
    due_at = NumberAttribute(attr_name="dueAt", null=True)
    expires_at = NumberAttribute(attr_name="expiresAt", null=True)

    recent = RecentTasksIndex()
    by_status = TaskStatusIndex()
    by_agent = TaskAgentIndex()
    by_intent = TaskIntentIndex()
    claimable = TaskQueueIndex()
    due = TaskDueIndex()


class BodyRow(Model):
    class Meta:
        table_name = TASKS_TABLE

    pk = UnicodeAttribute(hash_key=True)
    sk = UnicodeAttribute(range_key=True, default_for_new=BODY)
    description = UnicodeAttribute()
    context = UnicodeAttribute(null=True)
    expires_at = NumberAttribute(attr_name="expiresAt")


class ResultRow(Model):
    class Meta:
        table_name = TASKS_TABLE

    pk = UnicodeAttribute(hash_key=True)
    sk = UnicodeAttribute(range_key=True, default_for_new=RESULT)
    summary = UnicodeAttribute(null=True)
    output = UnicodeAttribute(null=True)
    pr_url = UnicodeAttribute(attr_name="prUrl", null=True)
    result_files = UnicodeAttribute(attr_name="resultFiles", null=True)
    error = UnicodeAttribute(null=True)
    details = UnicodeAttribute(null=True)
    expires_at = NumberAttribute(attr_name="expiresAt")


class EventRow(Model):
    class Meta:
        table_name = TASKS_TABLE

    pk = UnicodeAttribute(hash_key=True)
    sk = UnicodeAttribute(range_key=True)
    type = UnicodeAttribute()
    at = NumberAttribute()
    status = UnicodeAttribute()
    attempt = NumberAttribute()
    agent_id = UnicodeAttribute(attr_name="agent", null=True)
    detail = UnicodeAttribute(null=True)
    result_bytes = NumberAttribute(attr_name="bytes", null=True)
    due_shard = NumberAttribute(attr_name="dueShard", null=True)
    due_at = NumberAttribute(attr_name="dueAt", null=True)
    expires_at = NumberAttribute(attr_name="expiresAt", null=True)


class LogRow(Model):
    class Meta:
        table_name = TASKS_TABLE

    pk = UnicodeAttribute(hash_key=True)
    sk = UnicodeAttribute(range_key=True)
    text = UnicodeAttribute()
    at = NumberAttribute()
    expires_at = NumberAttribute(attr_name="expiresAt")


class UsageRow(Model):
    class Meta:
        table_name = TASKS_TABLE

    pk = UnicodeAttribute(hash_key=True)
    sk = UnicodeAttribute(range_key=True, default_for_new=USAGE)
    open = NumberAttribute()
    day = NumberAttribute(null=True)
    tasks = NumberAttribute(null=True)
    bytes = NumberAttribute(null=True)
    recounted_at = NumberAttribute(attr_name="recountedAt", null=True)
    counted_at = NumberAttribute(attr_name="countedAt", null=True)
    write_id = UnicodeAttribute(attr_name="writeId")
    expires_at = NumberAttribute(attr_name="expiresAt")


STORED_NAMES = {name: attribute.attr_name for name, attribute in HeadRow.get_attributes().items()}
"""The stored name of each attribute of a head, by the model's name."""

_UNCONVERTED_FIELDS = sorted(set(Task.model_fields) & set(STORED_NAMES))
"""The fields of a task that are stored as they are. The other attributes of a head are derived from them."""

_unconverted_values = attrgetter(*_UNCONVERTED_FIELDS)
_UNCONVERTED_STORED = tuple((name, STORED_NAMES[name]) for name in _UNCONVERTED_FIELDS)


def partition_key(owner: str, task_id: str) -> str:
    return f"{owner}#{task_id}"


def usage_key(owner: str, shard: int) -> str:
    return f"~open#{owner}#{shard:02d}"


def expiry(ended_at: int) -> int:
    """When the rows of a task that ends at this time expire, in epoch seconds as DynamoDB's TTL requires."""
    return (ended_at + settings.retention_days * DAY) // 1_000


def log_retention() -> int:
    """How long a log is kept after the end of its task, in milliseconds. Logs take the most space."""
    return min(LOG_DAYS, settings.retention_days) * DAY


def log_expiry(ended_at: int) -> int:
    """When the rows of the log of a task that ends at this time expire, in epoch seconds."""
    return (ended_at + log_retention()) // 1_000


def queue_order(task: Task) -> str:
    """The sort key of the queue: by intent, then the highest priority first, then the oldest first."""
    return f"{task.intent}#{MAX_PRIORITY - task.priority:03d}#{task.created_at or 0:013d}"


def head_values(task: Task) -> dict[str, Any]:
    """A task as the attributes of a head, including the derived ones. None means that the attribute is absent.

    Every stored task has an intent and a time of creation. An expectation may lack them, but no transition of an
    expectation changes an attribute that is derived from them.
    """
    is_waiting = task.status == "queued" and task.intent is not None
    agent_id = task.agent_id or task.pinned_agent_id
    return dict(zip(_UNCONVERTED_FIELDS, _unconverted_values(task), strict=True)) | {
        "task_id": task.id,
        "sends": 1,  # only version 0.1.0 reads it: how often it has sent the message of a pending task
        "owner_status": partitions.status_key(task.owner, task.id, task.status),
        "owner_agent": None if agent_id is None else f"{task.owner}#{agent_id}",
        "owner_intent": f"{task.owner}#{task.intent}",
        "queue": partitions.queue_key(task.owner, task.id, task.pinned_agent_id) if is_waiting else None,
        "queue_order": queue_order(task) if is_waiting else None,
        "due_shard": None if task.due is None else dynamodb.shard(partition_key(task.owner, task.id)),
        "due_at": task.due,
        "expires_at": None if task.is_open else expiry(task.completed_at or 0),
    }


def to_task(row: dynamodb.Row) -> Task:
    values = {name: row[stored] for name, stored in _UNCONVERTED_STORED if stored in row}
    return Task.model_construct(id=row["task"], due=row.get("dueAt"), **values)


def head_item(task: Task) -> dynamodb.Item:
    return dynamodb.item(HeadRow, pk=partition_key(task.owner, task.id), sk=HEAD)
