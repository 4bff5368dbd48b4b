"""/api/webhooks: what users can do with their webhooks, and which callers are rejected."""

import socket
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from chalicelib.core.settings import settings
from tests.conftest import Clock
from tests.http.scenario import Agent, Scenario, ok, refused, snapshot
from tests.http.webhook_helpers import WebhookClient, WebhookQueue, create_webhook, is_signed_with, publish_events
from tests.support import moto_aws, webhook_receiver
from tests.support.fake_dns import FakeDns, connection_attempts, resolving
from tests.support.webhook_receiver import Receiver, status

URL = "http://localhost:9/hooks"
"""Nothing listens at this address. The tests that use it deliver nothing."""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@pytest.fixture
def queue(scenario: Scenario, clock: Clock) -> WebhookQueue:
    return WebhookQueue(scenario.poller, clock)


def test_webhook_secret_is_returned_only_at_creation(scenario: Scenario) -> None:
    body = {"url": URL, "events": ["task.created", "task.completed"], "description": "The team's chat"}
    created = ok(scenario.user.post("/api/webhooks", body), 201)
    webhook = created["webhook"]
    assert created["success"] is True
    assert created["secret"].startswith("whsec_")
    assert webhook == body | {
        "id": webhook["id"],
        "enabled": True,
        "disabledAt": None,
        "disabledReason": None,
        "failingSince": None,
        "oldSecretsUntil": None,
        "createdAt": webhook["createdAt"],
        "updatedAt": webhook["createdAt"],
    }
    for response in (scenario.user.get(f"/api/webhooks/{webhook['id']}"), scenario.user.get("/api/webhooks")):
        assert created["secret"].encode() not in response.body
    assert ok(scenario.user.get(f"/api/webhooks/{webhook['id']}")) == webhook
    assert ok(scenario.user.get("/api/webhooks"))["data"] == [webhook]


def test_webhook_selects_all_events_by_default(scenario: Scenario) -> None:
    created = ok(scenario.user.post("/api/webhooks", {"url": URL}), 201)
    assert created["webhook"]["events"] == ["*"]
    named = {"url": URL, "events": ["task.failed", "task.failed", "agent.inactive"]}
    assert ok(scenario.user.post("/api/webhooks", named), 201)["webhook"]["events"] == ["task.failed", "agent.inactive"]
    assert ok(scenario.user.post("/api/webhooks", named | {"events": ["task.failed", "*"]}), 201)["webhook"][
        "events"
    ] == ["*"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"events": []}, {"events": ["task.step"]}, {"events": ["webhook.test"]}, {"events": "task.created"},
        {"description": "x" * 201}, {"url": 5}, {"url": "x" * 2_049}, {"events": [None]}, {"url": "nonsense"},
    ],
)  # fmt: skip
def test_invalid_request_creates_and_changes_no_webhook(scenario: Scenario, wrong: dict[str, Any]) -> None:
    webhook = create_webhook(scenario.user, URL)
    before = snapshot()
    refused(scenario.user.post("/api/webhooks", {"url": URL} | wrong), 400, "Invalid request")
    refused(scenario.user.patch(webhook.path, wrong), 400, "Invalid request")
    assert {**snapshot(), "users": before["users"]} == before


def test_webhook_requires_a_url(scenario: Scenario) -> None:
    assert refused(scenario.user.post("/api/webhooks", {}), 400, "Missing required fields")["details"] == ["url"]


def test_idempotency_key_returns_the_same_webhook_for_ten_minutes(scenario: Scenario, clock: Clock) -> None:
    created = ok(scenario.user.post("/api/webhooks", {"url": URL}, Idempotency_Key="key-1"), 201)
    clock.advance(590)
    assert ok(scenario.user.post("/api/webhooks", {"url": URL}, Idempotency_Key="key-1"), 201) == created
    refused(scenario.user.post("/api/webhooks", {"url": f"{URL}/2"}, Idempotency_Key="key-1"), 409, "Conflict")
    assert ok(scenario.user.get("/api/webhooks"))["total"] == 1
    clock.advance(20)
    later = ok(scenario.user.post("/api/webhooks", {"url": URL}, Idempotency_Key="key-1"), 201)
    assert later["webhook"]["id"] != created["webhook"]["id"]
    assert later["secret"] != created["secret"]


def test_number_of_webhooks_for_each_user_is_limited(scenario: Scenario, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chalicelib.webhooks.service.settings", replace(settings, webhooks_per_user=2))
    first, _ = create_webhook(scenario.user, URL), create_webhook(scenario.user, URL)
    assert "limit of webhooks" in refused(scenario.user.post("/api/webhooks", {"url": URL}), 409, "Conflict")["message"]
    assert ok(scenario.user.delete(first.path)) == {"success": True, "webhookId": first.id}
    create_webhook(scenario.user, URL)
    refused(scenario.user.post("/api/webhooks", {"url": URL}), 409)


def test_webhooks_are_listed_in_pages(scenario: Scenario) -> None:
    webhook_ids = sorted(create_webhook(scenario.user, URL).id for _ in range(5))
    first = ok(scenario.user.get("/api/webhooks", {"limit": 3}))
    assert (first["total"], first["hasMore"]) == (5, True)
    second = ok(scenario.user.get("/api/webhooks", {"limit": 3, "cursor": first["nextCursor"]}))
    assert [each["id"] for each in first["data"] + second["data"]] == webhook_ids


def test_patch_changes_only_the_given_fields(scenario: Scenario) -> None:
    webhook = create_webhook(scenario.user, URL)
    changed = webhook.update(url=f"{URL}/2", events=["task.failed"])
    assert (changed["url"], changed["events"], changed["description"]) == (f"{URL}/2", ["task.failed"], None)
    changed = webhook.update(description="Chat")
    assert (changed["url"], changed["events"], changed["description"]) == (f"{URL}/2", ["task.failed"], "Chat")
    assert webhook.get() == changed


def test_user_can_disable_and_enable_a_webhook(scenario: Scenario, receiver: Receiver, queue: WebhookQueue) -> None:
    webhook = create_webhook(scenario.user, receiver.url)
    disabled = webhook.update(enabled=False)
    assert (disabled["enabled"], disabled["disabledReason"]) == (False, "You disabled the webhook.")
    assert disabled["disabledAt"] is not None
    refused(scenario.user.post(f"{webhook.path}/test"), 409, "Conflict")
    scenario.queue_tasks()
    publish_events(scenario)
    assert webhook.deliveries() == []
    enabled = webhook.update(enabled=True)
    assert (enabled["enabled"], enabled["disabledReason"], enabled["disabledAt"]) == (True, None, None)
    webhook.test()
    queue.deliver()
    assert [got.event for got in receiver.received] == ["webhook.test"]


def test_pending_delivery_fails_when_its_webhook_is_disabled(
    scenario: Scenario, receiver: Receiver, queue: WebhookQueue
) -> None:
    webhook = create_webhook(scenario.user, receiver.url)
    delivery = webhook.test()
    webhook.update(enabled=False)
    queue.deliver()
    failed = webhook.delivery()
    assert (failed["status"], failed["error"], failed["attempts"]) == ("failed", "The webhook is disabled.", [])
    refused(scenario.user.post(f"{webhook.path}/deliveries/{delivery}/redeliver"), 409)
    webhook.update(enabled=True)
    webhook.redeliver(delivery)
    queue.deliver()
    assert [got.id for got in receiver.received] == [delivery]


def test_removing_a_webhook_deletes_its_deliveries(scenario: Scenario, receiver: Receiver, queue: WebhookQueue) -> None:
    webhook = create_webhook(scenario.user, receiver.url)
    webhook.test()
    ok(scenario.user.delete(webhook.path))
    for response in (
        scenario.user.get(webhook.path),
        scenario.user.delete(webhook.path),
        scenario.user.patch(webhook.path, {"description": "x"}),
        scenario.user.post(f"{webhook.path}/test"),
        scenario.user.post(f"{webhook.path}/rotate-secret"),
        scenario.user.get(f"{webhook.path}/deliveries"),
        scenario.user.post(f"{webhook.path}/deliveries/msg_1/redeliver"),
    ):
        refused(response, 404, "Webhook not found")
    queue.deliver()
    assert receiver.received == []
    assert [row for row in moto_aws.rows("webhooks") if row["sk"]["S"] != "~"] == []


def test_test_event_ignores_the_event_filter(scenario: Scenario, receiver: Receiver, queue: WebhookQueue) -> None:
    webhook = create_webhook(scenario.user, receiver.url, "task.failed")
    delivery = webhook.test()
    queue.deliver()
    (got,) = receiver.received
    owner = scenario.user_id()
    assert got.json() == {"event": "webhook.test", "data": {"webhookId": webhook.id, "userId": owner}}
    assert (got.id, is_signed_with(got, webhook.secret)) == (delivery, True)


def test_deliveries_are_listed_newest_first_with_all_attempts(
    scenario: Scenario, receiver: Receiver, queue: WebhookQueue, clock: Clock
) -> None:
    webhook = create_webhook(scenario.user, receiver.url)
    receiver.respond_next(status(500, b"no" * 1_000))
    first = webhook.test()
    queue.deliver()
    clock.advance(6)
    queue.deliver()
    second = webhook.test()
    newest, oldest = webhook.deliveries()
    assert (newest["id"], newest["status"], newest["attempts"]) == (second, "pending", [])
    failed, succeeded = oldest["attempts"]
    assert (failed["status"], failed["error"], failed["answer"]) == (500, "The receiver returned 500.", "no" * 512)
    assert (succeeded["status"], succeeded["error"], succeeded["answer"]) == (204, None, "")
    assert all(type(each["latencyMs"]) is int and each["timestamp"].endswith("Z") for each in oldest["attempts"])
    assert oldest == {
        "id": first,
        "webhookId": webhook.id,
        "event": "webhook.test",
        "status": "delivered",
        "error": None,
        "sequence": int(receiver.received[0].headers["devflow-sequence"]),
        "createdAt": oldest["createdAt"],
        "nextAttemptAt": None,
        "endedAt": oldest["endedAt"],
        "attempts": [failed, succeeded],
        "payload": receiver.received[0].json(),
    }


def test_deliveries_are_filtered_and_listed_in_pages(
    scenario: Scenario, receiver: Receiver, queue: WebhookQueue
) -> None:
    webhook = create_webhook(scenario.user, receiver.url)
    receiver.default_responder = status(410)
    tests = [webhook.test() for _ in range(3)]
    queue.deliver()
    assert {each["status"] for each in webhook.deliveries()} == {"failed"}
    assert len(webhook.deliveries(status="failed", event="webhook.test")) == 3
    assert webhook.deliveries(status="pending") == webhook.deliveries(event="task.created") == []
    page = ok(scenario.user.get(f"{webhook.path}/deliveries", {"limit": 2}))
    rest = ok(scenario.user.get(f"{webhook.path}/deliveries", {"limit": 2, "cursor": page["nextCursor"]}))
    assert [each["id"] for each in page["data"] + rest["data"]] == sorted(tests, reverse=True)
    assert page["total"] == 3
    refused(scenario.user.get(f"{webhook.path}/deliveries", {"status": "lost"}), 400)
    other = create_webhook(scenario.user, receiver.url)
    refused(scenario.user.get(f"{other.path}/deliveries", {"limit": 2, "cursor": page["nextCursor"]}), 400)


def test_delivery_is_stored_for_thirty_days_after_its_end(
    scenario: Scenario, receiver: Receiver, queue: WebhookQueue, clock: Clock
) -> None:
    webhook = create_webhook(scenario.user, receiver.url)
    delivery = webhook.test()
    queue.deliver()
    clock.advance(30 * 86_400 - 60)
    user = scenario.log_in_again()
    assert [each["id"] for each in replace(webhook, user=user).deliveries()] == [delivery]
    clock.advance(120)
    user = scenario.log_in_again()
    assert replace(webhook, user=user).deliveries() == []
    refused(user.post(f"{webhook.path}/deliveries/{delivery}/redeliver"), 404, "Delivery not found")


def test_unknown_delivery_cannot_be_redelivered(scenario: Scenario) -> None:
    webhook = create_webhook(scenario.user, URL)
    refused(scenario.user.post(f"{webhook.path}/deliveries/msg_1/redeliver"), 404, "Delivery not found")


# Access.


def every_call(webhook: WebhookClient, delivery: str) -> list[tuple[str, str, Any]]:
    return [
        ("GET", webhook.path, None),
        ("PATCH", webhook.path, {"description": "x"}),
        ("DELETE", webhook.path, None),
        ("POST", f"{webhook.path}/rotate-secret", None),
        ("POST", f"{webhook.path}/test", None),
        ("GET", f"{webhook.path}/deliveries", None),
        ("POST", f"{webhook.path}/deliveries/{delivery}/redeliver", None),
    ]


def test_agent_token_returns_403_on_every_webhook_route(scenario: Scenario, agent: Agent) -> None:
    webhook = create_webhook(scenario.user, URL)
    calls = [
        ("POST", "/api/webhooks", {"url": URL}),
        ("GET", "/api/webhooks", None),
        *every_call(webhook, webhook.test()),
    ]
    before = snapshot()
    for method, path, body in calls:
        refused(agent.client.send(method, path, body), 403, "Insufficient permissions")
    assert snapshot() == before


def test_webhook_of_another_user_returns_404(scenario: Scenario, other: Scenario) -> None:
    webhook = create_webhook(scenario.user, URL)
    calls = every_call(webhook, webhook.test())
    before = snapshot()
    for method, path, body in calls:
        refused(other.user.send(method, path, body), 404, "Webhook not found")
    assert ok(other.user.get("/api/webhooks"))["data"] == []
    own = create_webhook(other.user, URL)
    ((_, row),) = [(row["pk"], row) for row in moto_aws.rows("webhooks") if row["sk"]["S"].startswith("D#")]
    foreign = row["sk"]["S"].removeprefix("D#")
    refused(other.user.post(f"{own.path}/deliveries/{foreign}/redeliver"), 404, "Delivery not found")
    assert {**snapshot(), "users": before["users"], "webhooks": before["webhooks"]} == before


def test_webhook_calls_have_their_own_rate_limit(scenario: Scenario, fresh_minute: Clock) -> None:
    response = scenario.user.get("/api/webhooks")
    assert (response.header("X-RateLimit-Limit"), response.header("X-RateLimit-Remaining")) == ("100", "99")
    for _ in range(99):
        ok(scenario.user.get("/api/webhooks"))
    refused(scenario.user.get("/api/webhooks"), 429)
    ok(scenario.user.get("/api/agents"))


# Allowed addresses at creation. tests/events/test_webhook_targets.py has the checks at delivery.

HOSTILE = [
    "https://127.0.0.1:{port}/", "https://localhost:{port}/", "https://LOCALHOST:{port}/", "http://localhost:{port}/",
    "https://localhost.:{port}/", "https://api.localhost:{port}/", "https://127.1:{port}/", "https://127.0.1:{port}/",
    "https://2130706433:{port}/", "https://0x7f000001:{port}/", "https://0x7f.0.0.1:{port}/",
    "https://0177.0.0.1:{port}/", "https://017700000001:{port}/", "https://0:{port}/", "https://0.0.0.0:{port}/",
    "https://127.255.255.254:{port}/", "https://[::1]:{port}/", "https://[::]:{port}/",
    "https://[0:0:0:0:0:0:0:1]:{port}/", "https://[::ffff:127.0.0.1]:{port}/", "https://[::ffff:7f00:1]:{port}/",
    "https://[::127.0.0.1]:{port}/", "https://[64:ff9b::127.0.0.1]:{port}/", "https://[64:ff9b::a9fe:a9fe]/",
    "https://[64:ff9b:1::7f00:1]:{port}/", "https://[2002:7f00:1::]:{port}/", "https://[2001:0:7f00:1::]:{port}/",
    "https://[fe80::1]:{port}/", "https://[fe80::1%25lo]:{port}/", "https://[fd00:ec2::254]/", "https://[fec0::1]/",
    "https://[ff02::1]/", "https://169.254.169.254/latest/meta-data/", "https://169.254.170.2/v2/credentials",
    "https://10.0.0.1/", "https://172.16.0.1/", "https://192.168.1.1/", "https://100.64.0.1/", "https://198.18.0.1/",
    "https://224.0.0.1/", "https://255.255.255.255/", "https://192.0.0.192/",
    "https://hooks.example.com@127.0.0.1:{port}/", "https://hooks.example.com:pw@127.0.0.1:{port}/",
    "https://127.0.0.1:{port}\\@hooks.example.com/", "https://hooks.example.com#@127.0.0.1:{port}/",
    "https://127.0.0.1:{port}#.hooks.example.com/", "https://127.0.0.1%2f@hooks.example.com/",
    "https://①②⑦.0.0.1:{port}/", "https://127。0。0。1:{port}/", "https://ⓛocalhost:{port}/",
    "https:127.0.0.1:{port}/", "https:///127.0.0.1:{port}/", "//127.0.0.1:{port}/", "http://hooks.example.com/",
    "file:///etc/passwd", "gopher://127.0.0.1:{port}/_", "https://hooks.example.com:{port}\r\nX: y/", "javascript:0",
    "https://localtest.example.com:{port}/", "https://metadata.example.com/", "https://two.example.com:{port}/",
    "https://six.example.com:{port}/", "https://nobody.example.com/",
]  # fmt: skip


@pytest.fixture
def names() -> Iterator[FakeDns]:
    with resolving() as names:
        names.set("localtest.example.com", ["127.0.0.1"])
        names.set("metadata.example.com", ["169.254.169.254"])
        names.set("two.example.com", ["93.184.216.34", "10.0.0.1"])
        names.set("six.example.com", ["2606:4700::1111", "::ffff:127.0.0.1"])
        names.set("hooks.example.com", ["93.184.216.34", "2606:4700::1111"])
        yield names


@pytest.fixture
def deployed_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings of a deployed stage, on which this machine is no allowed address."""
    for module in ("service", "delivery"):
        monkeypatch.setattr(f"chalicelib.webhooks.{module}.settings", replace(settings, stage="dev"))


def test_internal_address_is_rejected_without_a_connection(
    scenario: Scenario, names: FakeDns, clock: Clock, deployed_stage: None
) -> None:
    assert len(HOSTILE) >= 30
    webhook = ok(scenario.user.post("/api/webhooks", {"url": "https://hooks.example.com/"}), 201)["webhook"]
    before = snapshot()
    with (
        webhook_receiver.forbidden_listener("127.0.0.1") as (port, connections_v4),
        webhook_receiver.forbidden_listener("::1") as (_, connections_v6),
        connection_attempts() as attempts,
    ):
        for number, hostile in enumerate(HOSTILE):
            if not number % 40:
                clock.advance(60)
            url = hostile.replace("{port}", str(port))
            refused(scenario.user.post("/api/webhooks", {"url": url}), 400, "Invalid request")
            refused(scenario.user.patch(f"/api/webhooks/{webhook['id']}", {"url": url}), 400, "Invalid request")
    assert (connections_v4, connections_v6, attempts) == ([], [], [])
    assert {**snapshot(), "users": before["users"]} == before


def test_temporarily_unresolvable_host_is_accepted(scenario: Scenario, names: FakeDns, deployed_stage: None) -> None:
    names.set("hooks.example.com", socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"))
    ok(scenario.user.post("/api/webhooks", {"url": "https://hooks.example.com/"}), 201)


# Rotation.


def test_rotated_webhook_signs_with_both_secrets_for_a_day(
    scenario: Scenario, receiver: Receiver, queue: WebhookQueue, clock: Clock
) -> None:
    webhook = create_webhook(scenario.user, receiver.url)
    response = ok(scenario.user.post(f"{webhook.path}/rotate-secret"))
    new = response["secret"]
    assert new != webhook.secret
    assert response["webhook"]["oldSecretsUntil"] is not None
    webhook.test()
    queue.deliver()
    clock.advance(86_401)
    webhook.test()
    queue.deliver()
    both, one = receiver.received
    assert [is_signed_with(both, secret) for secret in (new, webhook.secret)] == [True, True]
    assert len(both.headers["webhook-signature"].split(" ")) == 2
    assert [is_signed_with(one, secret) for secret in (new, webhook.secret)] == [True, False]
    assert webhook.get()["oldSecretsUntil"] is None


def test_idempotency_key_rotates_the_secret_once(scenario: Scenario) -> None:
    webhook = create_webhook(scenario.user, URL)
    responses = [ok(scenario.user.post(f"{webhook.path}/rotate-secret", Idempotency_Key="key-1")) for _ in range(2)]
    assert responses[0]["secret"] == responses[1]["secret"] != webhook.secret
    assert (
        ok(scenario.user.post(f"{webhook.path}/rotate-secret", Idempotency_Key="key-2"))["secret"]
        != responses[0]["secret"]
    )


def test_changing_url_or_enabling_resets_the_failure_period(
    scenario: Scenario, receiver: Receiver, queue: WebhookQueue, clock: Clock
) -> None:
    webhook = create_webhook(scenario.user, receiver.url)
    receiver.respond_next(status(500), status(500))
    for change in ({"url": f"{receiver.url}&again"}, {"enabled": True}):
        clock.advance(60)
        webhook.test()
        queue.deliver()
        assert webhook.get()["failingSince"] is not None
        assert webhook.update(**change)["failingSince"] is None


def test_redelivery_sends_the_same_id_and_body(
    scenario: Scenario, receiver: Receiver, queue: WebhookQueue, clock: Clock
) -> None:
    webhook = create_webhook(scenario.user, receiver.url)
    delivery = webhook.test()
    queue.deliver()
    clock.advance(3_600)
    webhook.redeliver(delivery)
    assert webhook.delivery()["status"] == "pending"
    queue.deliver()
    first, second = receiver.received
    assert (first.id, first.body) == (second.id, second.body)
    assert first.headers["webhook-timestamp"] != second.headers["webhook-timestamp"]
    assert len(webhook.delivery()["attempts"]) == 2
    assert webhook.delivery()["status"] == "delivered"


def test_redelivery_sends_a_waiting_delivery_at_once(
    scenario: Scenario, receiver: Receiver, queue: WebhookQueue
) -> None:
    webhook = create_webhook(scenario.user, receiver.url)
    receiver.respond_next(status(503, Retry_After="3600"))
    delivery = webhook.test()
    queue.deliver()
    assert queue.take_all() == []
    webhook.update(enabled=True)  # this also ends the pause that `Retry-After` requested
    webhook.redeliver(delivery)
    queue.deliver()
    assert webhook.delivery()["status"] == "delivered"
