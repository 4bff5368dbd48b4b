"""The address of a webhook at the time of a delivery. No internal address is ever connected to.

The address may differ from the one at the creation of the webhook.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import boto3
import pytest

from chalicelib.core.settings import settings
from chalicelib.webhooks import http_client
from infra.local.event_poller import EventPoller
from tests.conftest import Clock
from tests.http.scenario import Scenario
from tests.http.test_webhooks import HOSTILE
from tests.http.webhook_helpers import WebhookClient, WebhookQueue, create_webhook
from tests.service import invariants
from tests.support import webhook_receiver
from tests.support.certificates import Authority
from tests.support.fake_dns import FakeDns, connection_attempts, resolving
from tests.support.webhook_receiver import Receiver, status

NAME = "hooks.example.com"
INSIDE = ["127.0.0.1", "::1", "169.254.169.254", "10.0.0.1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "fd00:ec2::254"]
PUBLIC = "93.184.216.34"


@pytest.fixture
def deployed_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a deployed stage, webhooks must not call this machine."""
    for module in ("service", "delivery"):
        monkeypatch.setattr(f"chalicelib.webhooks.{module}.settings", replace(settings, stage="dev"))


@pytest.fixture
def names() -> Iterator[FakeDns]:
    with resolving({NAME: [[PUBLIC]]}) as names:
        yield names


@pytest.fixture
def queue(poller: EventPoller, clock: Clock) -> WebhookQueue:
    return WebhookQueue(poller, clock)


def store_url(url: str) -> None:
    """Change the stored URL of the only webhook, without the checks of the API."""
    (row,) = [row for row in invariants.rows("webhooks") if row["sk"].startswith("W#")]
    boto3.client("dynamodb").update_item(
        TableName="devflow-local-webhooks",
        Key={"pk": {"S": row["pk"]}, "sk": {"S": row["sk"]}},
        UpdateExpression="SET #url = :url",
        ExpressionAttributeNames={"#url": "url"},
        ExpressionAttributeValues={":url": {"S": url}},
    )


@pytest.fixture
def hook(scenario: Scenario, names: FakeDns, deployed_stage: None) -> WebhookClient:
    return create_webhook(scenario.user, f"https://{NAME}:8443/")


def attempt_delivery(hook: WebhookClient, queue: WebhookQueue) -> dict[str, Any]:
    """Deliver a test of the webhook now, and return the attempt."""
    queue.take_all()  # drop the retries of earlier attempts
    hook.test()
    queue.deliver()
    attempt: dict[str, Any] = hook.deliveries(limit=1)[0]["attempts"][-1]
    assert attempt["status"] is None
    return attempt


def test_stored_webhook_url_with_an_internal_address_is_never_called(
    hook: WebhookClient, names: FakeDns, queue: WebhookQueue, clock: Clock
) -> None:
    names.set("localtest.example.com", ["127.0.0.1"])
    names.set("metadata.example.com", ["169.254.169.254"])
    names.set("two.example.com", [PUBLIC, "10.0.0.1"])
    names.set("six.example.com", ["2606:4700::1111", "::ffff:127.0.0.1"])
    with (
        webhook_receiver.forbidden_listener("127.0.0.1") as (port, clients),
        webhook_receiver.forbidden_listener("::1") as (_, clients6),
        connection_attempts() as attempts,
    ):
        for hostile in HOSTILE:
            store_url(hostile.replace("{port}", str(port)))
            clock.advance(10)
            assert attempt_delivery(hook, queue)["error"] is not None, hostile
    assert (clients, clients6, attempts) == ([], [], [])


@pytest.mark.parametrize("inside", INSIDE)
def test_name_that_resolves_to_an_internal_address_later_is_not_called(
    hook: WebhookClient, names: FakeDns, queue: WebhookQueue, inside: str
) -> None:
    for addresses in ([inside], [PUBLIC, inside], [inside, PUBLIC]):
        names.set(NAME, addresses)
        with connection_attempts() as attempts:
            error = attempt_delivery(hook, queue)["error"]
        assert error == "The URL must lead only to public internet addresses. One of its addresses is not public."
        assert attempts == []


def test_delivery_connects_to_the_address_that_it_has_checked(
    scenario: Scenario, queue: WebhookQueue, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the local stage, which may call this machine. The name is resolved once; a second lookup would differ."""
    authority = Authority(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.bundle))
    http_client._tls_context.cache_clear()
    with (
        Receiver(host=NAME, certificate=authority.certificate(NAME)) as receiver,
        resolving({NAME: [["127.0.0.1"]]}) as names,
    ):
        hook = create_webhook(scenario.user, receiver.url)
        hook.test()
        names.lookups.clear()
        names.set(NAME, ["127.0.0.1"], ["169.254.169.254"])
        with connection_attempts() as attempts:
            queue.deliver()
        assert names.lookups == [NAME]
        assert [address[:2] for address in attempts] == [("127.0.0.1", receiver.port)]
        assert hook.delivery()["status"] == "delivered"
    http_client._tls_context.cache_clear()


@pytest.mark.parametrize(
    "location", ["http://127.0.0.1:{port}/", "http://169.254.169.254/latest/meta-data/", "//[::1]:{port}/", "/inside"]
)
def test_redirect_to_an_internal_address_is_not_followed(
    scenario: Scenario, queue: WebhookQueue, location: str
) -> None:
    with (
        Receiver() as receiver,
        webhook_receiver.forbidden_listener("127.0.0.1") as (port, clients),
    ):
        receiver.respond_next(status(307, Location=location.replace("{port}", str(port))))
        hook = create_webhook(scenario.user, receiver.url.replace("localhost", "127.0.0.1"))
        hook.test()
        with connection_attempts() as attempts:
            queue.deliver()
        assert attempts == [("127.0.0.1", receiver.port)]
        assert (len(receiver.received), clients) == (1, [])
        assert hook.delivery()["attempts"][0]["error"] == "The receiver returned 307. Redirects are not followed."


def test_proxy_of_the_environment_is_ignored(
    scenario: Scenario, queue: WebhookQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Receiver() as receiver, webhook_receiver.forbidden_listener("127.0.0.1") as (port, clients):
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{port}")
        hook = create_webhook(scenario.user, receiver.url)
        hook.test()
        queue.deliver()
        assert (hook.delivery()["status"], clients) == ("delivered", [])
