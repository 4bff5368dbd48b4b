"""Deliveries from the message to the receiver: the schedule, with a moved clock and real receivers."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from chalicelib.core.settings import settings
from chalicelib.webhooks import rules
from chalicelib.webhooks.concurrency import SLOTS
from infra.local.event_poller import EventPoller
from tests.conftest import Clock
from tests.http.scenario import Scenario, ok
from tests.http.webhook_helpers import (
    WebhookClient,
    WebhookQueue,
    create_webhook,
    delivery_rows,
    is_signed_with,
    next_attempt_at,
    wait_until,
)
from tests.service import faults, invariants
from tests.support import aws_requests, webhook_receiver
from tests.support.certificates import Authority
from tests.support.handlers import Handlers
from tests.support.webhook_receiver import Receiver, Responder, status

SECOND, MINUTE, HOUR, DAY = 1_000, 60_000, 3_600_000, 86_400_000
PAUSES = [5 * SECOND, 5 * MINUTE, 30 * MINUTE, 2 * HOUR, 5 * HOUR, 10 * HOUR, 10 * HOUR]
TIMEOUT = 300
"""Milliseconds after which these tests abort a request without a response."""


pytestmark = pytest.mark.usefixtures("frozen_time")


def down(handler: Any) -> None:
    raise AssertionError("the receiver does not listen")


FAILURES: dict[str, tuple[Responder, int | None, str]] = {
    "down": (down, None, "DevFlow could not connect to the receiver."),
    "500": (status(500, b"out of order"), 500, "The receiver returned 500."),
    "404": (status(404), 404, "The receiver returned 404."),
    "302": (status(302, Location="http://127.0.0.1/"), 302, "The receiver returned 302. Redirects are not followed."),
    "429": (status(429), 429, "The receiver returned 429."),
    "too slow": (webhook_receiver.hangs, None, f"The receiver did not respond within {TIMEOUT / 1_000} s."),
    "cut in the middle": (webhook_receiver.truncated, 200, "The connection ended before the response was complete."),
}


@pytest.mark.parametrize("what", FAILURES)
def test_failing_webhook_is_attempted_eight_times_with_one_id(
    what: str,
    receiver: Receiver,
    hook: WebhookClient,
    queue: WebhookQueue,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The endpoint stays enabled. Only a 410 response or five days of failures disable it."""
    responder, code, error = FAILURES[what]
    if what == "too slow":  # shorter than in production; the other receivers need the normal timeout
        monkeypatch.setattr("chalicelib.webhooks.delivery.settings", replace(settings, webhook_timeout=TIMEOUT))
    receiver.default_responder = responder
    if responder is down:
        receiver.stop()
    assert fail_every_attempt(hook, queue, clock) == (code, error)
    assert len({request.id for request in receiver.received}) == (0 if responder is down else 1)
    assert len(receiver.received) == (0 if responder is down else 8)
    assert all(is_signed_with(request, hook.secret) for request in receiver.received)
    if responder is down:
        receiver.start()


def test_receiver_with_an_untrusted_certificate_gets_nothing(
    scenario: Scenario, queue: WebhookQueue, clock: Clock, tmp_path: Path
) -> None:
    with Receiver(certificate=Authority(tmp_path).certificate("localhost")) as receiver:
        code, error = fail_every_attempt(create_webhook(scenario.user, receiver.url), queue, clock)
        assert code is None
        assert error.startswith("The certificate is not valid: ")
        assert receiver.connections >= 8
        assert receiver.received == []


def fail_every_attempt(hook: WebhookClient, queue: WebhookQueue, clock: Clock) -> tuple[int | None, str]:
    """Deliver a test through the complete schedule and check the time of each attempt.

    Returns the status and the error of the attempts, which must all be equal.
    """
    hook.test()
    queue.deliver()
    for count, pause in enumerate(PAUSES, 1):
        attempts, next_at = hook.delivery()["attempts"], next_attempt_at()
        assert len(attempts) == count
        ended = delivery_rows()[0]["attempts"][-1]["at"] + attempts[-1]["latencyMs"]
        assert pause <= next_at - ended <= pause * 1.1 + 1
        queue.advance_to(next_at - 2 * SECOND)
        assert len(hook.delivery()["attempts"]) == count, "no attempt before its time"
        queue.advance_to(next_at + (MINUTE if pause < 15 * MINUTE else 0))
    delivery = hook.delivery()
    ((code, error),) = {(each["status"], each["error"]) for each in delivery["attempts"]}
    assert (delivery["status"], delivery["nextAttemptAt"]) == ("failed", None)
    assert delivery["error"] == f"All 8 attempts failed. Last error: {error}"
    assert len(delivery["attempts"]) == 8
    assert hook.get()["enabled"]
    queue.advance_to(clock.now + DAY)
    assert len(hook.delivery()["attempts"]) == 8, "no further attempts"
    return code, error


@pytest.mark.parametrize("failures", [1, 4, 7])
def test_receiver_that_was_down_gets_the_webhook_later(
    failures: int, receiver: Receiver, hook: WebhookClient, queue: WebhookQueue
) -> None:
    receiver.stop()
    hook.test()
    queue.deliver()
    for _ in range(failures - 1):
        queue.advance_to(next_attempt_at() + MINUTE)
    assert hook.get()["failingSince"] is not None
    receiver.start()
    queue.advance_to(next_attempt_at() + MINUTE)
    delivery = hook.delivery()
    assert (delivery["status"], len(delivery["attempts"])) == ("delivered", failures + 1)
    assert (delivery["attempts"][-1]["status"], delivery["attempts"][-1]["error"]) == (204, None)
    assert [request.id for request in receiver.received] == [delivery["id"]]
    assert hook.get()["failingSince"] is None


def test_first_kilobyte_of_an_endless_response_is_stored(
    receiver: Receiver, hook: WebhookClient, queue: WebhookQueue
) -> None:
    receiver.respond_next(webhook_receiver.endless)
    hook.test()
    queue.deliver()
    delivery = hook.delivery()
    assert (delivery["status"], delivery["attempts"][0]["answer"]) == ("delivered", "x" * 1_024)


@pytest.mark.parametrize("code", [429, 503])
def test_retry_after_delays_all_deliveries_to_the_endpoint(
    code: int, receiver: Receiver, hook: WebhookClient, queue: WebhookQueue, clock: Clock
) -> None:
    receiver.respond_next(status(code, Retry_After="1800"))
    first = hook.test()
    queue.deliver()
    start = clock.now
    assert next_attempt_at() == start + hook.delivery()["attempts"][0]["latencyMs"] + 1_800 * SECOND
    second = hook.test()
    queue.deliver()
    queue.advance_to(start + 1_780 * SECOND)
    assert len(receiver.received) == 1
    assert sorted(len(delivery["attempts"]) for delivery in hook.deliveries()) == [0, 1], "waiting uses no attempt"
    queue.advance_to(start + 1_860 * SECOND)
    queue.advance_to(clock.now + MINUTE)  # a receiver that has failed gets one request at a time
    assert sorted(request.id for request in receiver.received[1:]) == sorted([first, second])
    assert {delivery["status"] for delivery in hook.deliveries()} == {"delivered"}


def test_endpoint_that_returns_410_is_disabled_with_the_reason(
    receiver: Receiver, hook: WebhookClient, queue: WebhookQueue
) -> None:
    receiver.respond_next(status(410))
    hook.test()
    hook.test()
    queue.deliver()
    webhook = hook.get()
    assert (webhook["enabled"], webhook["disabledReason"]) == (False, "The receiver returned 410 (Gone).")
    assert "failed" in {delivery["status"] for delivery in hook.deliveries()}
    queue.advance_to(0)
    assert {delivery["status"] for delivery in hook.deliveries()} <= {"failed", "delivered"}


def test_five_days_of_failures_disable_a_webhook_until_it_is_enabled(
    scenario: Scenario, receiver: Receiver, hook: WebhookClient, queue: WebhookQueue, clock: Clock
) -> None:
    receiver.default_responder = status(500)
    start = clock.now
    while clock.now < start + 5 * DAY:
        hook.test()
        queue.deliver()
        assert hook.get()["enabled"]
        queue.take_all()  # drop the retries, so that only new deliveries are attempted
        clock.advance(20 * 3_600 + 1)
    hook.test()
    queue.deliver()
    webhook = hook.get()
    assert webhook["enabled"] is False
    assert webhook["disabledReason"].startswith("Every attempt has failed for five days, since ")
    assert webhook["disabledAt"] is not None
    receiver.default_responder = status(204)
    assert hook.update(enabled=True)["failingSince"] is None
    queue.take_all()
    clock.advance(1)
    hook.test()
    queue.deliver()
    assert hook.deliveries()[0]["status"] == "delivered"


def test_endpoint_changed_during_a_410_response_is_not_disabled(
    receiver: Receiver, hook: WebhookClient, queue: WebhookQueue
) -> None:
    def change_and_return_410(handler: Any) -> None:
        hook.update(url=f"{receiver.url}&new")
        status(410)(handler)

    receiver.respond_next(change_and_return_410)
    hook.test()
    queue.deliver()
    assert hook.get()["enabled"]
    assert not invariants.rows("webhooks")[-1].get("lanes")


# Messages.


def test_repeated_early_or_late_message_delivers_once(
    receiver: Receiver, hook: WebhookClient, queue: WebhookQueue, poller: EventPoller
) -> None:
    hook.test()
    (message,) = queue.take_all()
    handlers = Handlers(poller._app)
    assert handlers.batch("deliver_webhooks", message, message, message) == []
    assert handlers.batch("deliver_webhooks", message) == []
    assert len(receiver.received) == 1
    receiver.respond_next(status(500))
    hook.test()
    (message,) = queue.take_all()
    for _ in range(3):
        assert handlers.batch("deliver_webhooks", message) == []
    assert len(receiver.received) == 2, "the second attempt is not due yet"


def test_message_for_a_missing_delivery_or_unknown_message_is_acknowledged(poller: EventPoller) -> None:
    handlers = Handlers(poller._app)
    missing = {"owner": "user-1", "webhook": "webhook-1", "delivery": "msg_1"}
    assert handlers.batch("deliver_webhooks", missing, {"owner": "user-1"}, "hello", {}) == []


def test_failed_message_is_reported_and_the_others_are_delivered(
    receiver: Receiver, hook: WebhookClient, queue: WebhookQueue, poller: EventPoller, clock: Clock, no_pauses: None
) -> None:
    failing, *_ = [hook.test() for _ in range(3)]
    messages = sorted(queue.take_all(), key=lambda message: message["delivery"] != failing)
    with faults.refused("UpdateItem", "InternalServerError", status=500, times=99, when=faults.about(failing)):
        assert Handlers(poller._app).batch("deliver_webhooks", *messages) == ["message-0"]
    assert len(receiver.received) == 2
    queue.advance_to(clock.now + 2 * MINUTE)
    assert sorted(request.id for request in receiver.received) == sorted(message["delivery"] for message in messages)


def test_message_that_was_not_sent_is_sent_by_the_sweep(
    receiver: Receiver, hook: WebhookClient, queue: WebhookQueue, clock: Clock
) -> None:
    with faults.refused("SendMessage", "ServiceUnavailable", status=503, times=99):
        hook.test()
    assert queue.take_all() == []
    queue.advance_to(clock.now + 61 * SECOND)
    assert len(receiver.received) == 1


def test_delivery_of_a_killed_process_is_sent_again(
    receiver: Receiver, hook: WebhookClient, queue: WebhookQueue, clock: Clock
) -> None:
    hook.test()
    with faults.killed_after_write(2), pytest.raises(faults.ProcessKilled):
        queue.deliver()
    assert receiver.received == []
    queue.advance_to(clock.now + 30 * SECOND)
    assert receiver.received == [], "the process may still be sending"
    queue.advance_to(clock.now + rules.DELIVERY_LEASE)
    assert len(receiver.received) == 1


def test_sweep_sends_a_message_at_growing_intervals_of_at_most_an_hour_until_it_is_handled(
    receiver: Receiver, hook: WebhookClient, queue: WebhookQueue, clock: Clock
) -> None:
    hook.test()
    queue.take_all()
    sent = []
    for minute in range(1, 5 * 60):
        clock.advance(60)
        queue.sweep()
        queue.sweep()
        sent += [minute] * len(queue.take_all())
    assert sent == [1, 3, 7, 15, 31, 63, 123, 183, 243]
    queue.advance_to(clock.now + 3600 * SECOND)
    assert len(receiver.received) == 1


def test_sweep_does_not_postpone_a_delivery_that_another_process_has_claimed(
    receiver: Receiver, hook: WebhookClient, queue: WebhookQueue, clock: Clock
) -> None:
    hook.test()
    clock.advance(2 * 3600)
    with faults.interleaved("UpdateItem", queue.deliver, when=faults.about("-webhooks", "dueAt")) as fault:
        queue.sweep()
    assert fault.affected
    assert queue.take_all() == []
    assert [row["status"] for row in delivery_rows()] == ["delivered"]


def test_delivery_costs_four_requests(receiver: Receiver, hook: WebhookClient, queue: WebhookQueue) -> None:
    """Lease the delivery, take a slot of the endpoint, record the attempt, release the slot."""
    hook.test()
    with aws_requests.recorded() as sent:
        queue.deliver()
    assert [request.operation for request in sent] == ["UpdateItem"] * 4


# Concurrent deliveries.


def test_concurrent_requests_to_one_endpoint_are_limited_and_retried(
    receiver: Receiver, hook: WebhookClient, queue: WebhookQueue, poller: EventPoller
) -> None:
    """Two concurrent batches to an endpoint that does not respond. It gets only as many requests as it has slots."""
    receiver.default_responder = webhook_receiver.hangs
    for _ in range(20):
        hook.test()
    messages = queue.take_all()
    handlers = Handlers(poller._app)
    with webhook_receiver.in_background(lambda: handlers.batch("deliver_webhooks", *messages[:10])) as first:
        receiver.wait(SLOTS)
        wait_until(lambda: deferred() == 10 - SLOTS)
        assert handlers.batch("deliver_webhooks", *messages[10:]) == []
        assert (len(receiver.received), deferred()) == (SLOTS, 20 - SLOTS)
        assert [row["tries"] for row in delivery_rows()] == [0] * 20
        receiver.default_responder = status(204)
        receiver.released.set()
    assert first == [[]]
    for _ in range(20):
        waiting = [row["nextAt"] for row in delivery_rows() if row["status"] == "pending"]
        if not waiting:
            break
        queue.advance_to(max(waiting) + MINUTE)
    assert {delivery["status"] for delivery in hook.deliveries()} == {"delivered"}
    assert len(receiver.received) == 20


def deferred() -> int:
    """The number of deliveries that have been deferred because no slot was free."""
    return sum(row["deferrals"] > 0 for row in delivery_rows())


def test_failing_endpoint_gets_one_request_at_a_time(
    receiver: Receiver, hook: WebhookClient, queue: WebhookQueue, poller: EventPoller
) -> None:
    receiver.respond_next(status(500))
    hook.test()
    queue.deliver()
    queue.take_all()
    receiver.default_responder = webhook_receiver.hangs
    for _ in range(10):
        hook.test()
    messages = queue.take_all()
    with webhook_receiver.in_background(lambda: Handlers(poller._app).batch("deliver_webhooks", *messages)):
        receiver.wait(2)
        wait_until(lambda: deferred() == 9)
        assert len(receiver.received) == 2
        receiver.released.set()


def test_endpoint_that_does_not_respond_delays_no_other(
    scenario: Scenario, receiver: Receiver, hook: WebhookClient, queue: WebhookQueue, poller: EventPoller
) -> None:
    """Neither in the same batch nor in later ones, while the first delivery waits for its response."""
    receiver.default_responder = webhook_receiver.hangs
    with Receiver() as fast_receiver:
        fast_hooks = [create_webhook(scenario.user, fast_receiver.url) for _ in range(3)]
        hook.test()
        for fast_hook in fast_hooks:
            for _ in range(3):
                fast_hook.test()
        first = queue.take_all()
        for fast_hook in fast_hooks:
            for _ in range(3):
                fast_hook.test()
        second = queue.take_all()
        handlers = Handlers(poller._app)
        with webhook_receiver.in_background(lambda: handlers.batch("deliver_webhooks", *first)):
            fast_receiver.wait(9)
            for message in second:
                assert handlers.batch("deliver_webhooks", message) == []
            assert len(fast_receiver.received) == 18
            assert not receiver.released.is_set()
            receiver.released.set()
    assert ok(scenario.user.get(f"{hook.path}/deliveries"))["data"][0]["status"] == "delivered"
