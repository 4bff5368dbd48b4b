"""Managing webhooks in the dashboard, with a real receiver."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Locator, Page, expect
from standardwebhooks import Webhook

from tests.e2e.browser.conftest import Visitor
from tests.e2e.browser.sample_data import add_webhook, submit
from tests.support.client import Client
from tests.support.webhook_receiver import Receiver, status


@pytest.fixture
def owner(user_by_mail: Callable[[str], Client], request: pytest.FixtureRequest) -> Client:
    """A user with no other activity than the test's."""
    return user_by_mail(f"{request.node.name.replace('_', '-')[:60]}@example.com")


def delivery(page: Page, event: str) -> Locator:
    return page.locator("#deliveries > li", has=page.get_by_text(event, exact=True)).first


def test_webhook_is_added_and_a_failed_delivery_is_redelivered(
    visitor: Callable[..., Visitor], owner: Client, receiver: Receiver
) -> None:
    me = visitor(token=owner.token)
    page = me.open("/dashboard/webhooks")
    expect(page.get_by_text("There are no webhooks yet.")).to_be_visible()
    page.get_by_label("URL").fill(receiver.url)
    page.get_by_label("Description").fill("The team's chat")
    page.get_by_label("All events").uncheck()
    for event in ("task.started", "task.cancelled", "agent.active", "agent.inactive"):
        page.get_by_label(event).uncheck()
    page.get_by_role("button", name="Add webhook").click()
    dialog = page.get_by_role("dialog", name="Signing secret")
    secret = dialog.get_by_role("group").inner_text()
    dialog.get_by_role("button", name="I have copied it").click()
    page.wait_for_url("**/dashboard/webhooks/webhook-*")
    expect(page.locator("#now")).to_contain_text("receives task.created, task.completed, task.failed")
    expect(page.get_by_role("group", name="Send a test event")).to_contain_text("devflow webhooks test webhook-")
    expect(page.get_by_text(secret)).to_have_count(0)

    page.get_by_role("button", name="Send test event").click()
    (test,) = receiver.wait(1)
    Webhook(secret).verify(test.body, test.headers)
    expect(delivery(page, "webhook.test")).to_contain_text("Delivered")

    receiver.respond_next(status(500, b"<b>no</b>"), status(502, b"<i>still no</i>"))
    task = submit(owner, "nobody-does-this", "Anything")
    failing = delivery(page, "task.created")
    expect(failing).to_contain_text("2 attempts")
    expect(failing).to_contain_text("Pending")
    expect(page.locator("#now")).to_contain_text("Failing")
    failing.get_by_text("Attempts and payload").click()
    expect(failing.locator(".event")).to_contain_text(["500", "502"])
    expect(failing.get_by_label("Response body")).to_have_text(["<b>no</b>", "<i>still no</i>"])
    expect(failing.get_by_label("Payload")).to_contain_text(task)

    failing.get_by_role("button", name="Redeliver").click()
    expect(failing).to_contain_text("Delivered")
    expect(failing.locator(".event")).to_contain_text(["500", "502", "204"])
    expect(page.locator("#now")).to_contain_text("Enabled")
    first, second, third = receiver.wait(4)[1:4]
    assert first.id == second.id == third.id
    assert third.event == "task.created"
    assert len([path for _, path in me.monitor.requests if "/dashboard/webhooks/webhook-" in path]) == 1, (
        "without a reload"
    )

    page.get_by_label("Status").select_option("Failed")
    expect(page.get_by_text("No deliveries match this filter.")).to_be_visible()
    page.get_by_role("link", name="Show all").click()
    expect(delivery(page, "webhook.test")).to_be_visible()


def test_webhook_is_edited_rotated_disabled_and_removed(
    visitor: Callable[..., Visitor], owner: Client, receiver: Receiver
) -> None:
    hook = add_webhook(owner, receiver.url, "", "*")
    page = visitor(token=owner.token).open(f"/dashboard/webhooks/{hook}")

    page.get_by_role("button", name="Edit").click()
    dialog = page.get_by_role("dialog", name="Edit webhook")
    dialog.get_by_label("Description").fill("Release notes")
    dialog.get_by_label("All events").uncheck()
    for box in dialog.get_by_role("checkbox").all()[2:]:
        box.uncheck()
    dialog.get_by_role("button", name="Save").click()
    expect(page.locator("#now")).to_contain_text("receives task.created")
    expect(page.locator("#now")).to_contain_text("Release notes")
    assert owner.get(f"/api/webhooks/{hook}").json()["events"] == ["task.created"]

    page.get_by_role("button", name="Rotate secret").click()
    page.get_by_role("button", name="Rotate the secret").click()
    dialog = page.get_by_role("dialog", name="New signing secret")
    secret = dialog.get_by_role("group").inner_text()
    dialog.get_by_role("button", name="I have copied it").click()
    expect(page.locator("#about")).to_contain_text("Old secret signs until")
    page.get_by_role("button", name="Send test event").click()
    (test,) = receiver.wait(1)
    Webhook(secret).verify(test.body, test.headers)

    page.get_by_role("button", name="Disable").click()
    expect(page.locator("#now")).to_contain_text("Disabled")
    page.get_by_role("button", name="Enable").click()
    expect(page.locator("#now")).to_contain_text("Enabled")

    page.get_by_role("button", name="Remove").click()
    page.get_by_role("button", name="Remove the webhook").click()
    page.wait_for_url("**/dashboard/webhooks")
    expect(page.get_by_text("There are no webhooks yet.")).to_be_visible()


def test_rejected_webhook_displays_the_error_beside_the_form(visitor: Callable[..., Visitor], owner: Client) -> None:
    me = visitor(token=owner.token)
    me.monitor.expect("400")
    page = me.open("/dashboard/webhooks")
    page.get_by_label("URL").fill("http://192.168.1.1/hook")
    page.get_by_role("button", name="Add webhook").click()
    expect(page.get_by_role("alert")).to_contain_text("must lead only to public internet addresses")
    expect(page.get_by_label("URL")).to_have_value("http://192.168.1.1/hook")
    assert owner.get("/api/webhooks").json()["total"] == 0
