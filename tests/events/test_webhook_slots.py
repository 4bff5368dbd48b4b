"""The slots of an endpoint: an attempt that has ended uses none, whatever happened to the endpoint meanwhile."""

from typing import Any

import pytest

from tests.http import hooks
from tests.http.hooks import Hook, Queue
from tests.service import invariants
from tests.support.receivers import Receiver, status

pytestmark = pytest.mark.usefixtures("still")


def used_slots() -> dict[str, int]:
    """The slots that are stored on the only endpoint."""
    (endpoint,) = [row for row in invariants.rows("webhooks") if row["sk"].startswith("W#")]
    slots: dict[str, int] = endpoint["lanes"]
    return slots


def test_endpoint_changed_during_a_delivery_has_no_used_slot_afterwards(
    receiver: Receiver, hook: Hook, queue: Queue
) -> None:
    """The attempt would disable the endpoint, which its user has changed meanwhile."""
    during: list[dict[str, int]] = []

    def change_meanwhile(handler: Any) -> None:
        during.append(used_slots())
        hook.change(url=f"{receiver.url}&new")
        status(410)(handler)

    receiver.then(change_meanwhile)
    hook.test()
    queue.deliver()
    assert [len(slots) for slots in during] == [1]
    assert used_slots() == {}
    assert hook.shown()["enabled"]


def test_endpoint_disabled_by_an_attempt_has_no_used_slot(receiver: Receiver, hook: Hook, queue: Queue) -> None:
    receiver.then(status(410))
    hook.test()
    queue.deliver()
    assert not hook.shown()["enabled"]
    assert used_slots() == {}


def test_pause_of_one_second_that_a_receiver_requests_is_kept(receiver: Receiver, hook: Hook, queue: Queue) -> None:
    receiver.then(status(429, Retry_After="1"))
    hook.test()
    queue.deliver()
    (endpoint,) = [row for row in invariants.rows("webhooks") if row["sk"].startswith("W#")]
    (delivery,) = hooks.rows()
    attempt = delivery["attempts"][-1]
    assert endpoint["notBefore"] == attempt["at"] + hook.delivery()["attempts"][-1]["latencyMs"] + 1_000
