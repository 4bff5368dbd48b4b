"""What users do with webhooks crosses with itself, and with the deliveries that are under way."""

from typing import Any

from infra.local.event_poller import EventPoller
from tests.conftest import Clock
from tests.http import hooks
from tests.http.hooks import Hook, Queue
from tests.http.scene import Scene, ok, refused
from tests.service import faults, invariants
from tests.support import receivers
from tests.support.handlers import Handlers
from tests.support.receivers import Receiver, status

ROTATE = faults.about("-webhooks", "secrets")


def secrets() -> list[str]:
    (row,) = [row for row in invariants.rows("webhooks") if "secrets" in row]
    return [each["value"] for each in row["secrets"]]


def test_two_rotations_at_once_are_two_and_no_secret_is_lost(hook: Hook) -> None:
    others: list[str] = []
    with faults.meanwhile("UpdateItem", lambda: others.append(hook.rotate()), when=ROTATE):
        mine = hook.rotate()
    assert secrets() == [mine, *others, hook.secret]


def test_a_rotation_whose_answer_is_lost_on_the_way_from_aws_happens_once(hook: Hook) -> None:
    with faults.answer_lost("UpdateItem", when=ROTATE):
        mine = hook.rotate()
    assert secrets() == [mine, hook.secret]


def test_a_rotation_that_others_are_always_in_the_way_of_says_try_again(hook: Hook) -> None:
    with faults.meanwhile("UpdateItem", lambda: hook.change(description="x"), times=9, when=ROTATE):
        refused(hook.user.post(f"{hook.path}/rotate-secret"), 503)
    assert secrets() == [hook.secret]


def test_a_webhook_removed_while_it_is_changed_is_not_there(hook: Hook) -> None:
    changing = faults.about("-webhooks", "description")
    with faults.meanwhile("UpdateItem", lambda: ok(hook.user.delete(hook.path)), when=changing):
        refused(hook.user.patch(hook.path, {"description": "x"}), 404, "Webhook not found")
    assert [row["sk"] for row in invariants.rows("webhooks")] == ["~"]


def test_two_who_remove_a_webhook_at_once_both_succeed_and_it_is_counted_once(hook: Hook) -> None:
    with faults.meanwhile("TransactWriteItems", lambda: ok(hook.user.delete(hook.path))):
        ok(hook.user.delete(hook.path))
    invariants.hold()


def test_what_is_under_way_is_not_sent_again_by_hand(
    receiver: Receiver, hook: Hook, queue: Queue, poller: EventPoller
) -> None:
    receiver.usual = receivers.hangs
    delivery = hook.test()
    (message,) = queue.take()
    with receivers.meanwhile(lambda: Handlers(poller._app).batch("deliver_webhooks", message)):
        receiver.wait(1)
        hook.redeliver(delivery)
        assert queue.take() == []
        receiver.let_go.set()
    assert (hook.delivery()["status"], len(receiver.got)) == ("delivered", 1)


def test_what_arrives_while_it_is_sent_again_by_hand_is_sent_again(
    receiver: Receiver, hook: Hook, queue: Queue
) -> None:
    delivery = hook.test()
    with faults.meanwhile("UpdateItem", queue.deliver, when=faults.about("-webhooks", delivery)):
        hook.redeliver(delivery)
    queue.deliver()
    assert [got.id for got in receiver.got] == [delivery] * 2
    assert hook.delivery()["status"] == "delivered"


def test_sending_again_what_others_are_always_at_says_try_again(hook: Hook, queue: Queue, scene: Scene) -> None:
    delivery = hook.test()
    path = f"{hook.path}/deliveries/{delivery}/redeliver"

    def nudge() -> None:
        """Somebody else gives it another time."""
        hooks.set_next_at(hooks.next_at() - 1)

    with faults.meanwhile("UpdateItem", nudge, times=9, when=faults.about("-webhooks", "dueShard")):
        refused(scene.user.post(path), 503)


def test_a_delivery_whose_endpoint_is_removed_while_it_is_sent_leaves_nothing_behind(
    receiver: Receiver, hook: Hook, queue: Queue
) -> None:
    def removed(handler: Any) -> None:
        ok(hook.user.delete(hook.path))
        status(500)(handler)

    receiver.then(removed)
    hook.test()
    queue.deliver()
    queue.pass_to(hooks.next_at() + 60_000)
    assert [row["sk"] for row in invariants.rows("webhooks")] == ["~"]


def test_what_the_sweeps_index_still_shows_though_it_was_looked_after_is_passed_over(
    receiver: Receiver, hook: Hook, queue: Queue, clock: Clock
) -> None:
    hook.test()
    clock.advance(61)
    with faults.meanwhile("UpdateItem", queue.deliver, when=faults.about("-webhooks", "dueAt")):
        queue.sweep()
    assert queue.take() == []
    assert len(receiver.got) == 1


def test_a_delivery_whose_webhook_went_in_the_same_moment_is_left_to_whoever_took_it(
    hook: Hook, queue: Queue, poller: EventPoller
) -> None:
    """Its lease ran out, another took it, and both find the endpoint gone."""
    hook.test()
    (message,) = queue.take()
    ok(hook.user.delete(hook.path))
    handlers = Handlers(poller._app)
    with faults.refused("TransactWriteItems", "InternalServerError", status=500, times=99):
        assert handlers.batch("deliver_webhooks", message) == ["message-0"]
    assert handlers.batch("deliver_webhooks", message) == []
    (row,) = hooks.rows()
    assert row["claim"]
    queue.pass_to(int(row["nextAt"]))
    assert hooks.rows() == []
