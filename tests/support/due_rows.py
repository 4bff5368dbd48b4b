"""Rows of every kind that a sweep finds, written directly into the tables. Through the API they would take minutes."""

from collections.abc import Iterator

from chalicelib.agents.rules import INACTIVE_AFTER
from chalicelib.core.settings import HOUR, MINUTE
from chalicelib.dynamodb import marshalling
from chalicelib.tasks import history_store
from chalicelib.tasks.entities import Task, TaskEvent
from chalicelib.webhooks import rules as webhook_rules
from chalicelib.webhooks import store as webhooks
from chalicelib.webhooks.entities import Endpoint, SigningSecret, WebhookEvent
from tests.long import load
from tests.support import moto_aws

KINDS = ("tasks", "agents", "deliveries", "events")


def due_rows(owner: str, many: int, now: int) -> Iterator[load.Row]:
    """As many due rows of each kind: queued tasks whose day is over and pending tasks without a message, silent agents,
    deliveries whose message is lost, and unpublished events."""
    for number in range(many):
        expired = number % 2 == 0
        rows = load.task_row(
            owner,
            f"due-{number:05d}",
            now - HOUR,
            status="queued" if expired else "pending",
            intent="fix-bug",
            due=now - MINUTE,
        )
        yield next(iter(rows))  # the head
    yield from load.agent_rows(owner, many, now - INACTIVE_AFTER - 2 * MINUTE)
    endpoint = Endpoint(
        owner=owner,
        id="webhook-1",
        url="http://localhost:9/",
        events=["agent.inactive"],
        secrets=[SigningSecret(value="whsec_1")],
        created_at=now,
        updated_at=now,
    )
    for number in range(many):
        event = WebhookEvent("task.created", f"task-{number}", now - HOUR, 0, {})
        delivery = webhook_rules.new_delivery(endpoint, event, "{}", now - 2 * MINUTE)
        yield from load.to_rows([webhooks.delivery_item(delivery)])
    for number in range(many):
        task = Task(owner=owner, id=f"ended-{number:05d}", status="completed", created_at=now - HOUR)
        published_late = TaskEvent("task.started", now - HOUR, "in_progress", 1, "agent-00000")
        yield from load.to_rows([history_store.event_item(task, published_late)])


def due(now: int) -> dict[tuple[str, int], int]:
    """The number of due rows by kind and shard, in moto's tables."""
    found: dict[tuple[str, int], int] = {}
    for table, shard, at, kind in (
        ("tasks", "dueShard", "dueAt", "tasks"),
        ("agents", "checkShard", "checkAt", "agents"),
        ("agents", "newsShard", "newsAt", "events"),
        ("webhooks", "dueShard", "dueAt", "deliveries"),
    ):
        for stored in moto_aws.rows(table):
            row = marshalling.decode(stored)
            if row.get(at, now + 1) <= now:
                key = "events" if str(row.get("sk")).startswith("E#") else kind, row[shard]
                found[key] = found.get(key, 0) + 1
    return found
