"""`devflow webhooks`: add, list, show, change, rotate, test, redeliver and remove webhooks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from agent.tests.support.fake_platform import FakeResponse

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.tests.support.command_result import CommandResult
    from agent.tests.support.fake_platform import FakePlatform, ReceivedRequest

WEBHOOK = {
    "id": "webhook-1", "url": "https://a.example/hook", "events": ["task.failed"], "enabled": True,
    "description": "mine",
}  # fmt: skip
DELIVERY: dict[str, Any] = {
    "id": "delivery-1", "event": "task.failed", "status": "delivered", "attempts": [{}, {}],
    "createdAt": "2025-01-24T00:00:00Z", "error": None,
}  # fmt: skip


def respond(request: ReceivedRequest) -> FakeResponse:
    if request.path.endswith(("/api/webhooks", "/rotate-secret")):
        return FakeResponse(201, {"webhook": WEBHOOK, "secret": "whsec_1"})
    if request.path.endswith("/test"):
        return FakeResponse(202, {"deliveryId": "delivery-1"})
    if "/deliveries?" in request.path:
        return FakeResponse(200, {"data": [DELIVERY]})
    if "/api/webhooks?" in request.path:
        return FakeResponse(200, {"data": [WEBHOOK]})
    return FakeResponse(200, WEBHOOK)


@pytest.fixture
def platform(logged_in: Callable[..., FakePlatform]) -> FakePlatform:
    return logged_in(respond)


@pytest.mark.parametrize("command", [("add", "https://a.example/hook"), ("rotate", "webhook-1")])
def test_new_secret_is_printed_and_the_request_has_an_idempotency_key(
    devflow: Callable[..., CommandResult], platform: FakePlatform, command: tuple[str, ...]
) -> None:
    result = devflow("webhooks", *command)

    assert result.out == (
        "webhook-1 sends events to https://a.example/hook.\nIts secret, which is printed only once: whsec_1\n"
    )
    assert platform.requests[0].headers["Idempotency-Key"]


def test_add_sends_only_the_given_options(devflow: Callable[..., CommandResult], platform: FakePlatform) -> None:
    devflow("webhooks", "add", "https://a.example/hook")
    devflow("webhooks", "add", "https://a.example/hook", "--event", "task.failed", "--description", "mine")

    assert [request.body for request in platform.requests] == [
        {"url": "https://a.example/hook"},
        {"url": "https://a.example/hook", "events": ["task.failed"], "description": "mine"},
    ]


def test_change_sends_only_the_given_options(devflow: Callable[..., CommandResult], platform: FakePlatform) -> None:
    assert devflow("webhooks", "change", "webhook-1", "--disable").status == 0

    assert platform.paths() == ["PATCH /api/webhooks/webhook-1"]
    assert platform.requests[0].body == {"enabled": False}


def test_webhooks_and_deliveries_are_listed_in_one_line_each(
    devflow: Callable[..., CommandResult], platform: FakePlatform
) -> None:
    assert devflow("webhooks", "list").out.splitlines() == [
        "WEBHOOK\tADDRESS\tEVENTS\tENABLED\tDESCRIPTION",
        "webhook-1\thttps://a.example/hook\ttask.failed\tyes\tmine",
    ]
    assert devflow("webhooks", "deliveries", "webhook-1", "--event", "task.failed").out.splitlines() == [
        "DELIVERY\tEVENT\tSTATUS\tATTEMPTS\tCREATED\tERROR",
        "delivery-1\ttask.failed\tdelivered\t2\t2025-01-24T00:00:00Z\t-",
    ]
    assert platform.paths()[1] == "GET /api/webhooks/webhook-1/deliveries?event=task.failed&limit=20"


def test_webhook_is_shown_tested_redelivered_and_removed(
    devflow: Callable[..., CommandResult], platform: FakePlatform
) -> None:
    assert devflow("webhooks", "show", "webhook-1", "--json").json == WEBHOOK
    assert devflow("webhooks", "test", "webhook-1").out.startswith("Sent delivery-1.")
    assert devflow("webhooks", "redeliver", "webhook-1", "delivery-1").out == "delivery-1 is sent again.\n"
    assert devflow("webhooks", "remove", "webhook-1").out == "Removed webhook-1.\n"

    assert platform.paths() == [
        "GET /api/webhooks/webhook-1",
        "POST /api/webhooks/webhook-1/test",
        "POST /api/webhooks/webhook-1/deliveries/delivery-1/redeliver",
        "DELETE /api/webhooks/webhook-1",
    ]


@pytest.mark.parametrize("arguments", [("show", "../agents"), ("redeliver", "webhook-1", ".."), ("remove", "")])
def test_invalid_id_is_rejected_without_a_request(
    devflow: Callable[..., CommandResult], platform: FakePlatform, arguments: tuple[str, ...]
) -> None:
    result = devflow("webhooks", *arguments)

    assert (result.status, "is not a valid" in result.err) == (2, True)
    assert platform.requests == []
