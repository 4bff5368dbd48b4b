"""The measured calls of users and their programs, and the rare calls of agents. See budget_calls.py."""

from typing import Any

from chalicelib.dashboard import pages
from infra.local.gateway import Response
from tests.http.budget_world import WORK, Agent, Call, World, call
from tests.http.webhook_helpers import WebhookClient, create_webhook
from tests.support.client import Client

WEBHOOK_URL = "http://localhost:9/"
"""The URL of webhooks that receive no deliveries."""


@call("show an agent")
def _show_agent(world: World) -> Call:
    world.agent()
    return lambda: world.user.get("/api/agents/agent-1")


@call("register an agent")
def _register(world: World) -> Call:
    return world.agent


def _registration_token(world: World) -> dict[str, Any]:
    created = world.user.post("/api/agents/registration-tokens", {"uses": 2})
    assert created.status == 201, created
    body: dict[str, Any] = created.json()
    return body


@call("register an agent with a registration token")
def _register_with_a_token(world: World) -> Call:
    machine = world.user.acting_as(_registration_token(world)["token"])
    return lambda: machine.post("/api/agents", {"agentId": "agent-1", "name": "agent-1", "version": "1.0.0"})


@call("make a registration token")
def _make_registration_token(world: World) -> Call:
    return lambda: world.user.post("/api/agents/registration-tokens", {"uses": 2})


@call("page of registration tokens")
def _list_registration_tokens(world: World) -> Call:
    _registration_token(world)
    return lambda: world.user.get("/api/agents/registration-tokens")


@call("revoke a registration token")
def _revoke_registration_token(world: World) -> Call:
    token_id = _registration_token(world)["registrationToken"]["id"]
    return lambda: world.user.delete(f"/api/agents/registration-tokens/{token_id}")


@call("rename an agent")
def _rename(world: World) -> Call:
    world.agent()
    return lambda: world.user.patch("/api/agents/agent-1", {"name": "another"})


@call("remove an agent")
def _remove(world: World) -> Call:
    world.agent()
    world.poller.drain()
    return lambda: world.user.delete("/api/agents/agent-1")


@call("remove an agent that runs a task")
def _remove_a_busy_agent(world: World) -> Call:
    world.start_task(world.agent())
    world.poller.drain()
    return lambda: world.user.delete("/api/agents/agent-1")


@call("new token for an agent")
def _rotate(world: World) -> Call:
    world.agent()
    return lambda: world.user.post("/api/agents/agent-1/token")


@call("new token, asked for by its agent")
def _renew(world: World) -> Call:
    agent = world.agent()
    return lambda: agent.client.post("/api/agents/agent-1/token")


@call("submit without an id")
def _submit_without_an_id(world: World) -> Call:
    return lambda: world.user.post("/api/tasks", {"intent": "fix-bug", **WORK})


@call("show a task")
def _show_task(world: World) -> Call:
    task_id = world.start_task(world.agent())
    return lambda: world.user.get(f"/api/tasks/{task_id}")


@call("show a task to its agent")
def _show_task_to_its_agent(world: World) -> Call:
    agent = world.agent()
    task_id = world.start_task(agent)
    return lambda: agent.client.get(f"/api/tasks/{task_id}")


@call("cancel a task that waits")
def _cancel(world: World) -> Call:
    task_id = world.queue_tasks()
    return lambda: world.user.post(f"/api/tasks/{task_id}/cancel")


@call("cancel a task that runs")
def _cancel_a_running_task(world: World) -> Call:
    task_id = world.start_task(world.agent())
    return lambda: world.user.post(f"/api/tasks/{task_id}/cancel")


@call("retry a task")
def _retry(world: World) -> Call:
    agent = world.agent()
    task_id = world.start_task(agent)
    agent.fail(task_id)
    return lambda: world.user.post(f"/api/tasks/{task_id}/retry")


def _task_with_log(world: World) -> tuple[Agent, str]:
    """An agent, and the id of its running task with 1 KB of log."""
    agent = world.agent()
    task_id = world.start_task(agent)
    agent.client.post(f"/api/tasks/{task_id}/logs", {"offset": 0, "data": "x" * 1_000})
    return agent, task_id


@call("1 KB more of a log")
def _log(world: World) -> Call:
    agent, task_id = _task_with_log(world)
    return lambda: agent.client.post(f"/api/tasks/{task_id}/logs", {"offset": 1_000, "data": "x" * 1_000})


@call("read a log")
def _read_log(world: World) -> Call:
    _, task_id = _task_with_log(world)
    return lambda: world.user.get(f"/api/tasks/{task_id}/logs")


@call("statistics")
def _stats(world: World) -> Call:
    world.some_tasks()
    return lambda: world.user.get("/api/stats")


@call("make a webhook")
def _make_webhook(world: World) -> Call:
    return lambda: world.user.post("/api/webhooks", {"url": WEBHOOK_URL})


def _with_a_webhook(act: Any) -> Any:
    """Prepare a call about an existing webhook."""

    def prepare(world: World) -> Call:
        webhook = create_webhook(world.user, WEBHOOK_URL)
        return lambda: act(world.user, webhook)

    return prepare


@call("page of webhooks")
@_with_a_webhook
def _list_webhooks(user: Client, webhook: WebhookClient) -> Response:
    return user.get("/api/webhooks")


@call("show a webhook")
@_with_a_webhook
def _show_webhook(user: Client, webhook: WebhookClient) -> Response:
    return user.get(webhook.path)


@call("change a webhook")
@_with_a_webhook
def _change_webhook(user: Client, webhook: WebhookClient) -> Response:
    return user.patch(webhook.path, {"url": f"{WEBHOOK_URL}other"})


@call("remove a webhook")
@_with_a_webhook
def _remove_webhook(user: Client, webhook: WebhookClient) -> Response:
    return user.delete(webhook.path)


@call("new secret for a webhook")
@_with_a_webhook
def _rotate_secret(user: Client, webhook: WebhookClient) -> Response:
    return user.post(f"{webhook.path}/rotate-secret")


@call("test a webhook")
@_with_a_webhook
def _test_webhook(user: Client, webhook: WebhookClient) -> Response:
    return user.post(f"{webhook.path}/test")


@call("page of deliveries")
def _list_deliveries(world: World) -> Call:
    webhook = create_webhook(world.user, WEBHOOK_URL)
    for _ in range(3):
        webhook.test()
    return lambda: world.user.get(f"{webhook.path}/deliveries", {"limit": 2})


@call("redeliver")
def _redeliver(world: World) -> Call:
    webhook = create_webhook(world.user, WEBHOOK_URL)
    delivery = webhook.test()
    return lambda: world.user.post(f"{webhook.path}/deliveries/{delivery}/redeliver")


@call("health")
def _health(world: World) -> Call:
    return lambda: world.user.acting_as(None).get("/health")


def _without_a_token(path: str) -> Any:
    return lambda world: lambda: world.user.acting_as(None).get(path)


call("OpenAPI document")(_without_a_token("/api/openapi.json"))
call("dashboard, the overview")(_without_a_token("/dashboard"))
call("dashboard, a list")(_without_a_token("/dashboard/tasks"))
call("dashboard, a task")(_without_a_token("/dashboard/tasks/task-1"))
call("API reference")(_without_a_token("/docs"))


call("dashboard, a file")(_without_a_token(f"/dashboard/static/{pages.version()}/api.js"))
