"""The measured messages of the queues, each as a batch of one message. See budget_calls.py."""

from chalicelib.core.settings import MINUTE
from chalicelib.dynamodb import shard
from chalicelib.tasks.tables import partition_key
from tests.http.budget_world import Call, World, call
from tests.http.webhook_helpers import create_webhook
from tests.support.webhook_receiver import Receiver, status


@call("message of the workflow queue")
def _submitted(world: World) -> Call:
    world.submit()
    return world.handle_batch("run_workflows", world.messages("workflow"))


@call("message of the workflow queue, sent twice")
def _submitted_twice(world: World) -> Call:
    world.submit()
    messages = world.messages("workflow")
    world.handle_batch("run_workflows", messages)()
    return world.handle_batch("run_workflows", messages)


@call("event of a task, nobody listens")
def _event(world: World) -> Call:
    world.submit()
    world.handle_batch("run_workflows", world.messages("workflow"))()
    return world.handle_batch("announce_events", world.messages("events"))


@call("event of a task, a webhook listens")
def _event_with_a_webhook(world: World) -> Call:
    _create_webhook(world)
    return _event(world)


@call("end of a task, nobody listens")
def _end(world: World) -> Call:
    world.claim_task(world.agent())
    world.messages("events")
    world.user.post("/api/tasks/task-1/cancel")
    return world.handle_batch("announce_events", world.messages("events"))


@call("end of a task, a webhook listens")
def _end_with_a_webhook(world: World) -> Call:
    _create_webhook(world)
    return _end(world)


@call("an agent came, nobody listens")
def _agent_became_active(world: World) -> Call:
    world.agent()
    return world.handle_batch("announce_events", world.messages("events"))


@call("an agent came, a webhook listens")
def _agent_became_active_with_a_webhook(world: World) -> Call:
    _create_webhook(world)
    return _agent_became_active(world)


@call("delivery of a webhook")
def _delivery(world: World) -> Call:
    _create_webhook(world)
    return _test_delivery(world)


@call("delivery of a webhook that is refused")
def _refused_delivery(world: World) -> Call:
    _create_webhook(world).respond_next(status(500))
    return _test_delivery(world)


@call("message of the sweep queue, 1 claim ran out")
def _backlog(world: World) -> Call:
    agent = world.agent()
    world.claim_task(agent)
    world.poller.sweep()
    world.clock.advance(61)
    agent.heartbeat()
    message = {"kind": "tasks", "shard": task_shard(world), "until": world.clock.now + MINUTE}
    return world.handle_batch("sweep_backlog", [message])


def task_shard(world: World) -> int:
    """The shard of the only task."""
    return shard(partition_key(world.owner, f"task-{world.submitted}"))


def _create_webhook(world: World) -> Receiver:
    """Create a webhook that selects all events. Returns its receiver."""
    receiver = world.cleanup.enter_context(Receiver())
    create_webhook(world.user, receiver.url)
    return receiver


def _test_delivery(world: World) -> Call:
    (webhook,) = world.user.get("/api/webhooks").json()["data"]
    world.user.post(f"/api/webhooks/{webhook['id']}/test")
    return world.handle_batch("deliver_webhooks", world.messages("webhooks"))
