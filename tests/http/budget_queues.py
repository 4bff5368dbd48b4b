"""The messages of the queues that are measured, each a batch of one; see budget_calls.py."""

from tests.http.budget_world import Call, World, call
from tests.http.hooks import make
from tests.support.receivers import Receiver, status


@call("message of the workflow queue")
def _submitted(world: World) -> Call:
    world.submit()
    return world.handled("run_workflows", world.messages("workflow"))


@call("message of the workflow queue, sent twice")
def _submitted_twice(world: World) -> Call:
    world.submit()
    waiting = world.messages("workflow")
    world.handled("run_workflows", waiting)()
    return world.handled("run_workflows", waiting)


@call("event of a task, nobody listens")
def _event(world: World) -> Call:
    world.claimed(world.agent())
    world.messages("events")
    world.user.post("/api/tasks/task-1/cancel")
    return world.handled("announce_events", world.messages("events"))


@call("event of a task, a webhook listens")
def _event_that_is_listened_to(world: World) -> Call:
    _listening(world)
    return _event(world)


@call("an agent came, nobody listens")
def _came(world: World) -> Call:
    world.agent()
    return world.handled("announce_events", world.messages("events"))


@call("an agent came, a webhook listens")
def _came_and_was_listened_to(world: World) -> Call:
    _listening(world)
    return _came(world)


@call("delivery of a webhook")
def _delivery(world: World) -> Call:
    _listening(world)
    return _due(world)


@call("delivery of a webhook that is refused")
def _refused_delivery(world: World) -> Call:
    _listening(world).then(status(500))
    return _due(world)


def _listening(world: World) -> Receiver:
    """A webhook of this user, and who receives it."""
    receiver = world.ends.enter_context(Receiver())
    make(world.user, receiver.url)
    return receiver


def _due(world: World) -> Call:
    (hook,) = world.user.get("/api/webhooks").json()["data"]
    world.user.post(f"/api/webhooks/{hook['id']}/test")
    return world.handled("deliver_webhooks", world.messages("webhooks"))
