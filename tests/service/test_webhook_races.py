"""Concurrent requests of users on webhooks, and their concurrency with deliveries in progress."""

from typing import Any

from infra.local.event_poller import EventPoller
from tests.conftest import Clock
from tests.http.scenario import Scenario, ok, refused
from tests.http.webhook_helpers import WebhookClient, WebhookQueue, delivery_rows, next_attempt_at, set_next_attempt_at
from tests.service import faults, invariants
from tests.support import webhook_receiver
from tests.support.handlers import Handlers
from tests.support.webhook_receiver import Receiver, status

ROTATE = faults.about("-webhooks", "secrets")


def secrets() -> list[str]:
    (row,) = [row for row in invariants.rows("webhooks") if "secrets" in row]
    return [each["value"] for each in row["secrets"]]


def test_concurrent_rotations_lose_no_secret(hook: WebhookClient) -> None:
    others: list[str] = []
    with faults.interleaved("UpdateItem", lambda: others.append(hook.rotate_secret()), when=ROTATE):
        secret = hook.rotate_secret()
    assert secrets() == [secret, *others, hook.secret]


def test_rotation_with_a_lost_response_happens_once(hook: WebhookClient) -> None:
    with faults.response_lost("UpdateItem", when=ROTATE):
        secret = hook.rotate_secret()
    assert secrets() == [secret, hook.secret]


def test_rotation_that_always_conflicts_returns_503(hook: WebhookClient) -> None:
    with faults.interleaved("UpdateItem", lambda: hook.update(description="x"), times=9, when=ROTATE):
        refused(hook.user.post(f"{hook.path}/rotate-secret"), 503)
    assert secrets() == [hook.secret]


def test_webhook_removed_during_a_change_stays_removed(hook: WebhookClient) -> None:
    changing = faults.about("-webhooks", "description")
    with faults.interleaved("UpdateItem", lambda: ok(hook.user.delete(hook.path)), when=changing):
        refused(hook.user.patch(hook.path, {"description": "x"}), 404, "Webhook not found")
    assert [row["sk"] for row in invariants.rows("webhooks")] == ["~"]


def test_concurrent_removals_of_a_webhook_succeed_and_count_once(hook: WebhookClient) -> None:
    with faults.interleaved("TransactWriteItems", lambda: ok(hook.user.delete(hook.path))):
        ok(hook.user.delete(hook.path))
    invariants.check()


def test_redelivery_does_not_repeat_a_delivery_in_progress(
    receiver: Receiver, hook: WebhookClient, queue: WebhookQueue, poller: EventPoller
) -> None:
    receiver.default_responder = webhook_receiver.hangs
    delivery = hook.test()
    (message,) = queue.take_all()
    with webhook_receiver.in_background(lambda: Handlers(poller._app).batch("deliver_webhooks", message)):
        receiver.wait(1)
        hook.redeliver(delivery)
        assert queue.take_all() == []
        receiver.released.set()
    assert (hook.delivery()["status"], len(receiver.received)) == ("delivered", 1)


def test_delivery_that_succeeds_during_redelivery_is_sent_again(
    receiver: Receiver, hook: WebhookClient, queue: WebhookQueue
) -> None:
    delivery = hook.test()
    with faults.interleaved("UpdateItem", queue.deliver, when=faults.about("-webhooks", delivery)):
        hook.redeliver(delivery)
    queue.deliver()
    assert [got.id for got in receiver.received] == [delivery] * 2
    assert hook.delivery()["status"] == "delivered"


def test_redelivery_that_always_conflicts_returns_503(
    hook: WebhookClient, queue: WebhookQueue, scenario: Scenario
) -> None:
    delivery = hook.test()
    path = f"{hook.path}/deliveries/{delivery}/redeliver"

    def nudge() -> None:
        """Another writer changes the time of the next attempt."""
        set_next_attempt_at(next_attempt_at() - 1)

    with faults.interleaved("UpdateItem", nudge, times=9, when=faults.about("-webhooks", "dueShard")):
        refused(scenario.user.post(path), 503)


def test_delivery_is_deleted_if_its_endpoint_is_removed_while_sending(
    receiver: Receiver, hook: WebhookClient, queue: WebhookQueue
) -> None:
    def remove_and_fail(handler: Any) -> None:
        ok(hook.user.delete(hook.path))
        status(500)(handler)

    receiver.respond_next(remove_and_fail)
    hook.test()
    queue.deliver()
    queue.advance_to(next_attempt_at() + 60_000)
    assert [row["sk"] for row in invariants.rows("webhooks")] == ["~"]


def test_sweep_skips_deliveries_that_changed_since_its_query(
    receiver: Receiver, hook: WebhookClient, queue: WebhookQueue, clock: Clock
) -> None:
    hook.test()
    clock.advance(61)
    with faults.interleaved("UpdateItem", queue.deliver, when=faults.about("-webhooks", "dueAt")):
        queue.sweep()
    assert queue.take_all() == []
    assert len(receiver.received) == 1


def test_delivery_of_a_removed_webhook_is_deleted_after_its_lease(
    hook: WebhookClient, queue: WebhookQueue, poller: EventPoller
) -> None:
    """The first handler fails to delete the delivery, so its lease remains. The second one leaves it alone."""
    hook.test()
    (message,) = queue.take_all()
    ok(hook.user.delete(hook.path))
    handlers = Handlers(poller._app)
    with faults.refused("TransactWriteItems", "InternalServerError", status=500, times=99):
        assert handlers.batch("deliver_webhooks", message) == ["message-0"]
    assert handlers.batch("deliver_webhooks", message) == []
    (row,) = delivery_rows()
    assert row["claim"]
    queue.advance_to(int(row["nextAt"]))
    assert delivery_rows() == []
