"""The slots of an endpoint: an attempt that has ended uses none, whatever happened to the endpoint meanwhile."""

from typing import Any

import pytest

from tests.http.webhook_helpers import WebhookClient, WebhookQueue, delivery_rows
from tests.service import invariants
from tests.support.webhook_receiver import Receiver, status

pytestmark = pytest.mark.usefixtures("frozen_time")


def used_slots() -> dict[str, int]:
    """The slots that are stored on the only endpoint."""
    (endpoint,) = [row for row in invariants.rows("webhooks") if row["sk"].startswith("W#")]
    slots: dict[str, int] = endpoint["lanes"]
    return slots


def test_endpoint_changed_during_a_delivery_has_no_used_slot_afterwards(
    receiver: Receiver, hook: WebhookClient, queue: WebhookQueue
) -> None:
    """The attempt would disable the endpoint, which its user has changed meanwhile."""
    during: list[dict[str, int]] = []

    def change_meanwhile(handler: Any) -> None:
        during.append(used_slots())
        hook.update(url=f"{receiver.url}&new")
        status(410)(handler)

    receiver.respond_next(change_meanwhile)
    hook.test()
    queue.deliver()
    assert [len(slots) for slots in during] == [1]
    assert used_slots() == {}
    assert hook.get()["enabled"]


def test_endpoint_disabled_by_an_attempt_has_no_used_slot(
    receiver: Receiver, hook: WebhookClient, queue: WebhookQueue
) -> None:
    receiver.respond_next(status(410))
    hook.test()
    queue.deliver()
    assert not hook.get()["enabled"]
    assert used_slots() == {}


def test_pause_of_one_second_that_a_receiver_requests_is_kept(
    receiver: Receiver, hook: WebhookClient, queue: WebhookQueue
) -> None:
    receiver.respond_next(status(429, Retry_After="1"))
    hook.test()
    queue.deliver()
    (endpoint,) = [row for row in invariants.rows("webhooks") if row["sk"].startswith("W#")]
    (delivery,) = delivery_rows()
    attempt = delivery["attempts"][-1]
    assert endpoint["notBefore"] == attempt["at"] + hook.delivery()["attempts"][-1]["latencyMs"] + 1_000
