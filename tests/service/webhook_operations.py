"""Operations on webhooks: requests of users, and the messages and scheduled runs that deliver webhooks."""

from collections.abc import Callable
from functools import cache

from chalicelib.core import clock as server_clock
from chalicelib.webhooks.rules import DELIVERY_LEASE
from infra.local.gateway import Response
from tests.http.webhook_helpers import WebhookClient, create_webhook
from tests.service import invariants
from tests.service.operations import (
    Operation,
    OperationContext,
    State,
    handle_message,
    lose_messages,
    no_preparation,
    sweep,
)
from tests.support.webhook_receiver import Receiver


def webhook_state() -> State:
    """Whether each webhook is enabled, and the events of all deliveries."""
    rows = invariants.rows("webhooks")
    return {
        "webhooks": ["enabled" if row["enabled"] else "disabled" for row in rows if row["sk"].startswith("W#")],
        "deliveries": sorted(row["event"] for row in rows if row["sk"].startswith("D#")),
    }


def delivery_statuses() -> State:
    """The status of each delivery."""
    return {"deliveries": [row["status"] for row in invariants.rows("webhooks") if row["sk"].startswith("D#")]}


def unpublished_status_events() -> State:
    return {"news": [row["news"] for row in invariants.rows("agents") if "news" in row]}


@cache
def receiver() -> Receiver:
    """The receiver of the webhooks of these operations. It runs until the tests end."""
    return Receiver()


def _create_webhook(context: OperationContext) -> WebhookClient:
    return create_webhook(context.scenario.user, receiver().url)


def _test_webhook(context: OperationContext) -> None:
    """Create a webhook and request a test delivery, which is due now."""
    _create_webhook(context).test()


def _test_webhook_and_lose_message(context: OperationContext) -> None:
    _test_webhook(context)
    lose_messages()


def _deliver_test_webhook(context: OperationContext) -> None:
    _test_webhook(context)
    context.scenario.poller.drain()


def _webhook_id() -> str:
    """The stored id of the only webhook. An unknown id if there is no webhook."""
    stored = [str(row["sk"]) for row in invariants.rows("webhooks") if str(row["sk"]).startswith("W#")]
    return stored[0].removeprefix("W#") if stored else "webhook-gone"


def _redeliver(context: OperationContext) -> Response:
    (delivery,) = [str(row["sk"]) for row in invariants.rows("webhooks") if str(row["sk"]).startswith("D#")]
    path = f"/api/webhooks/{_webhook_id()}/deliveries/{delivery.removeprefix('D#')}/redeliver"
    return context.scenario.user.post(path)


def pass_time(seconds: float) -> bool:
    server_clock.shift(seconds)
    return True


def after(context: OperationContext, seconds: float, run: Callable[[OperationContext], Response]) -> Response:
    """Run an operation after some time: unfinished work is resumed later, not immediately."""
    server_clock.shift(seconds)
    return run(context)


WEBHOOK_OPERATIONS = {
    "create a webhook": Operation(
        no_preparation,
        lambda ctx: ctx.scenario.user.post("/api/webhooks", {"url": "http://localhost:9/"}, Idempotency_Key="key-1"),
        webhook_state,
        {"webhooks": ["enabled"], "deliveries": []},
    ),
    "disable a webhook": Operation(
        _create_webhook,
        lambda ctx: ctx.scenario.user.patch(f"/api/webhooks/{_webhook_id()}", {"enabled": False}),
        webhook_state,
        {"webhooks": ["disabled"], "deliveries": []},
    ),
    "remove a webhook": Operation(
        _create_webhook,
        lambda ctx: ctx.scenario.user.delete(f"/api/webhooks/{_webhook_id()}"),
        webhook_state,
        {"webhooks": [], "deliveries": []},
        repeat_statuses=(404,),
    ),
    "rotate a secret": Operation(
        _create_webhook,
        lambda ctx: ctx.scenario.user.post(f"/api/webhooks/{_webhook_id()}/rotate-secret", Idempotency_Key="key-1"),
        lambda: {"secrets": [len(row["secrets"]) for row in invariants.rows("webhooks") if "secrets" in row]},
        {"secrets": [2]},
    ),
    "redeliver a webhook": Operation(
        _deliver_test_webhook,
        _redeliver,
        lambda: {"tries": [row["tries"] < 2 for row in invariants.rows("webhooks") if "tries" in row]},
        {"tries": [True]},
    ),
}

WEBHOOK_EVENT_OPERATIONS = {
    "a message of the queue of events that a webhook selects": Operation(
        lambda ctx: (_create_webhook(ctx), ctx.scenario.queue_tasks()),
        lambda ctx: handle_message(ctx, "announce_events", "task-1"),
        webhook_state,
        {"webhooks": ["enabled"], "deliveries": ["task.created"]},
    ),
    "a message that an agent became active": Operation(
        lambda ctx: (_create_webhook(ctx), ctx.scenario.agent("agent-2")),
        lambda ctx: handle_message(ctx, "announce_events", "agent-2"),
        lambda: webhook_state() | unpublished_status_events(),
        {"webhooks": ["enabled"], "deliveries": ["agent.active"], "news": []},
    ),
    "a sweep that finds an unpublished status event": Operation(
        lambda ctx: (_create_webhook(ctx), ctx.scenario.agent("agent-2"), lose_messages(), pass_time(61)),
        sweep,
        lambda: webhook_state() | unpublished_status_events(),
        {"webhooks": ["enabled"], "deliveries": ["agent.active"], "news": []},
    ),
    "a message of the queue of webhooks": Operation(
        _test_webhook,
        lambda ctx: after(ctx, DELIVERY_LEASE / 1_000, lambda ctx: handle_message(ctx, "deliver_webhooks")),
        delivery_statuses,
        {"deliveries": ["delivered"]},
    ),
    "a sweep that finds a due delivery": Operation(
        _test_webhook_and_lose_message,
        lambda ctx: after(ctx, 61, sweep),
        delivery_statuses,
        {"deliveries": ["delivered"]},
    ),
}
