"""Webhooks as a person looks after them, with a real receiver at the other end."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Locator, Page, expect
from standardwebhooks import Webhook

from tests.e2e.browser.conftest import Visitor
from tests.e2e.browser.furniture import submit, tell
from tests.support.client import Client
from tests.support.receivers import Receiver, status


@pytest.fixture
def owner(by_mail: Callable[[str], Client], request: pytest.FixtureRequest) -> Client:
    """A user to whom nothing happens but what the test does."""
    return by_mail(f"{request.node.name.replace('_', '-')[:60]}@example.com")


def delivery(page: Page, event: str) -> Locator:
    return page.locator("#deliveries > li", has=page.get_by_text(event, exact=True)).first


def test_a_webhook_is_added_its_deliveries_are_seen_arriving_and_one_is_sent_again(
    visitor: Callable[..., Visitor], owner: Client, receiver: Receiver
) -> None:
    me = visitor(token=owner.token)
    page = me.open("/dashboard/webhooks")
    expect(page.get_by_text("There are no webhooks yet.")).to_be_visible()
    page.get_by_label("Address").fill(receiver.url)
    page.get_by_label("Description").fill("The team's chat")
    page.get_by_label("everything").uncheck()
    for event in ("task.started", "task.cancelled", "agent.active", "agent.inactive"):
        page.get_by_label(event).uncheck()
    page.get_by_role("button", name="Add", exact=True).click()
    shown = page.get_by_role("dialog", name="The signing secret")
    secret = shown.get_by_role("group").inner_text()
    shown.get_by_role("button", name="I have it").click()
    page.wait_for_url("**/dashboard/webhooks/webhook-*")
    expect(page.locator("#now")).to_contain_text("is told task.created, task.completed, task.failed")
    expect(page.get_by_role("group", name="The same from a shell")).to_contain_text("devflow webhooks test webhook-")
    expect(page.get_by_text(secret)).to_have_count(0)

    page.get_by_role("button", name="Send a test").click()
    (test,) = receiver.wait(1)
    Webhook(secret).verify(test.body, test.headers)
    expect(delivery(page, "webhook.test")).to_contain_text("Delivered")

    receiver.then(status(500, b"<b>no</b>"), status(502, b"<i>still no</i>"))
    task = submit(owner, "nobody-does-this", "Anything")
    happened = delivery(page, "task.created")
    expect(happened).to_contain_text("2 attempts")
    expect(happened).to_contain_text("Pending")
    expect(page.locator("#now")).to_contain_text("Failing")
    happened.get_by_text("Attempts and payload").click()
    expect(happened.locator(".event")).to_contain_text(["500", "502"])
    expect(happened.get_by_label("What it answered")).to_have_text(["<b>no</b>", "<i>still no</i>"])
    expect(happened.get_by_label("Payload")).to_contain_text(task)

    happened.get_by_role("button", name="Deliver again").click()
    expect(happened).to_contain_text("Delivered")
    expect(happened.locator(".event")).to_contain_text(["500", "502", "204"])
    expect(page.locator("#now")).to_contain_text("Enabled")
    first, second, third = receiver.wait(4)[1:4]
    assert first.id == second.id == third.id
    assert third.event == "task.created"
    assert len([path for _, path in me.watched.asked if "/dashboard/webhooks/webhook-" in path]) == 1, (
        "without a reload"
    )

    page.get_by_label("Status").select_option("Failed")
    expect(page.get_by_text("No delivery is like that.")).to_be_visible()
    page.get_by_role("link", name="Show all").click()
    expect(delivery(page, "webhook.test")).to_be_visible()


def test_a_webhook_is_changed_gets_another_secret_is_disabled_and_removed(
    visitor: Callable[..., Visitor], owner: Client, receiver: Receiver
) -> None:
    hook = tell(owner, receiver.url, "", "*")
    page = visitor(token=owner.token).open(f"/dashboard/webhooks/{hook}")

    page.get_by_role("button", name="Change").click()
    dialog = page.get_by_role("dialog", name="Change the webhook")
    dialog.get_by_label("Description").fill("Release notes")
    dialog.get_by_label("everything").uncheck()
    for box in dialog.get_by_role("checkbox").all()[2:]:
        box.uncheck()
    dialog.get_by_role("button", name="Save").click()
    expect(page.locator("#now")).to_contain_text("is told task.created")
    expect(page.locator("#now")).to_contain_text("Release notes")
    assert owner.get(f"/api/webhooks/{hook}").json()["events"] == ["task.created"]

    page.get_by_role("button", name="Replace its secret").click()
    page.get_by_role("button", name="Replace the secret").click()
    shown = page.get_by_role("dialog", name="The new signing secret")
    secret = shown.get_by_role("group").inner_text()
    shown.get_by_role("button", name="I have it").click()
    expect(page.locator("#about")).to_contain_text("Old secret signs until")
    page.get_by_role("button", name="Send a test").click()
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


def test_what_the_platform_does_not_take_is_said_beside_the_form(
    visitor: Callable[..., Visitor], owner: Client
) -> None:
    me = visitor(token=owner.token)
    me.watched.expect("400")
    page = me.open("/dashboard/webhooks")
    page.get_by_label("Address").fill("http://192.168.1.1/hook")
    page.get_by_role("button", name="Add", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("must lead to the public internet alone")
    expect(page.get_by_label("Address")).to_have_value("http://192.168.1.1/hook")
    assert owner.get("/api/webhooks").json()["total"] == 0
