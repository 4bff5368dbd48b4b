"""Deeds that are about webhooks: what users do with them, and the messages and scheduled runs that deliver them."""

from collections.abc import Callable
from functools import cache

from chalicelib.core import clock as server_clock
from chalicelib.webhooks.rules import DELIVERY_LEASE
from infra.local.gateway import Response
from tests.http.hooks import Hook, make
from tests.service import invariants
from tests.service.deeds import Deed, Stage, State, delivered, lose_messages, nothing, swept
from tests.support.receivers import Receiver


def webhooks() -> State:
    """Which there are, and what is on its way to them, or was."""
    rows = invariants.rows("webhooks")
    return {
        "webhooks": ["enabled" if row["enabled"] else "disabled" for row in rows if row["sk"].startswith("W#")],
        "deliveries": sorted(row["event"] for row in rows if row["sk"].startswith("D#")),
    }


def arrived() -> State:
    """What became of each delivery."""
    return {"deliveries": [row["status"] for row in invariants.rows("webhooks") if row["sk"].startswith("D#")]}


def untold() -> State:
    return {"news": [row["news"] for row in invariants.rows("agents") if "news" in row]}


@cache
def receiver() -> Receiver:
    """Takes what webhooks these deeds send, for as long as the tests run."""
    return Receiver()


def _has_a_webhook(stage: Stage) -> Hook:
    return make(stage.scene.user, receiver().url)


def _tested(stage: Stage) -> None:
    """A webhook that is due."""
    _has_a_webhook(stage).test()


def _tested_in_vain(stage: Stage) -> None:
    _tested(stage)
    lose_messages()


def _delivered(stage: Stage) -> None:
    _tested(stage)
    stage.scene.poller.drain()


def _webhook() -> str:
    """The id of the only webhook, as stored; of one that is gone where there is none."""
    stored = [str(row["sk"]) for row in invariants.rows("webhooks") if str(row["sk"]).startswith("W#")]
    return stored[0].removeprefix("W#") if stored else "webhook-gone"


def _redeliver(stage: Stage) -> Response:
    (delivery,) = [str(row["sk"]) for row in invariants.rows("webhooks") if str(row["sk"]).startswith("D#")]
    path = f"/api/webhooks/{_webhook()}/deliveries/{delivery.removeprefix('D#')}/redeliver"
    return stage.scene.user.post(path)


def later(stage: Stage, seconds: float, act: Callable[[Stage], Response]) -> Response:
    """What was left half done is taken up after a while, and not at once."""
    server_clock.shift(seconds)
    return act(stage)


WEBHOOK_DEEDS = {
    "make a webhook": Deed(
        nothing,
        lambda it: it.scene.user.post("/api/webhooks", {"url": "http://localhost:9/"}, Idempotency_Key="key-1"),
        webhooks,
        {"webhooks": ["enabled"], "deliveries": []},
    ),
    "disable a webhook": Deed(
        _has_a_webhook,
        lambda it: it.scene.user.patch(f"/api/webhooks/{_webhook()}", {"enabled": False}),
        webhooks,
        {"webhooks": ["disabled"], "deliveries": []},
    ),
    "remove a webhook": Deed(
        _has_a_webhook,
        lambda it: it.scene.user.delete(f"/api/webhooks/{_webhook()}"),
        webhooks,
        {"webhooks": [], "deliveries": []},
        also=(404,),
    ),
    "rotate a secret": Deed(
        _has_a_webhook,
        lambda it: it.scene.user.post(f"/api/webhooks/{_webhook()}/rotate-secret", Idempotency_Key="key-1"),
        lambda: {"secrets": [len(row["secrets"]) for row in invariants.rows("webhooks") if "secrets" in row]},
        {"secrets": [2]},
    ),
    "send a webhook again": Deed(
        _delivered,
        _redeliver,
        lambda: {"tries": [row["tries"] < 2 for row in invariants.rows("webhooks") if "tries" in row]},
        {"tries": [True]},
    ),
}

WEBHOOK_EVENTS = {
    "a message of the queue of events that a webhook is told of": Deed(
        lambda it: (_has_a_webhook(it), it.scene.queued()),
        lambda it: delivered(it, "announce_events", "task-1"),
        webhooks,
        {"webhooks": ["enabled"], "deliveries": ["task.created"]},
    ),
    "a message that says that an agent came": Deed(
        lambda it: (_has_a_webhook(it), it.scene.agent("agent-2")),
        lambda it: delivered(it, "announce_events", "agent-2"),
        lambda: webhooks() | untold(),
        {"webhooks": ["enabled"], "deliveries": ["agent.active"], "news": []},
    ),
    "a sweep that finds an agent's coming untold": Deed(
        lambda it: (_has_a_webhook(it), it.scene.agent("agent-2"), lose_messages()),
        lambda it: later(it, 61, swept),
        lambda: webhooks() | untold(),
        {"webhooks": ["enabled"], "deliveries": ["agent.active"], "news": []},
    ),
    "a message of the queue of webhooks": Deed(
        _tested,
        lambda it: later(it, DELIVERY_LEASE / 1_000, lambda it: delivered(it, "deliver_webhooks")),
        arrived,
        {"deliveries": ["delivered"]},
    ),
    "a sweep that finds a delivery due": Deed(
        _tested_in_vain,
        lambda it: later(it, 61, swept),
        arrived,
        {"deliveries": ["delivered"]},
    ),
}
