"""The API reference: every operation is there to read and to try."""

import re
import uuid
from collections.abc import Callable

from playwright.sync_api import Locator, Page, expect

from tests.e2e.browser.conftest import Visitor
from tests.e2e.browser.sample_data import SampleData
from tests.e2e.conftest import Platform
from tests.support.client import Client


def expand(page: Page, name: str) -> Locator:
    """Expand an operation."""
    operation = page.locator(f"#{name}")
    operation.locator("summary").first.click()
    return operation


def test_every_operation_is_listed_and_found_by_its_words(visitor: Callable[..., Visitor], stage: Platform) -> None:
    paths = stage.client.get("/api/openapi.json").json()["paths"]
    expected = {
        operation["operationId"]: (method.upper(), path)
        for path, item in paths.items()
        for method, operation in item.items()
        if method != "parameters" and path.startswith(("/api/", "/health"))
    }
    page = visitor().open("/docs")
    listed = {
        str(one.get_attribute("id")): (one.locator(".method").inner_text(), one.locator("code").first.inner_text())
        for one in page.locator(".operation").all()
    }
    assert listed == expected
    assert len(expected) > 40  # the document has routes

    page.get_by_label("Search").fill("cancel task")
    expect(page.locator(".operation:visible")).to_have_count(1)
    expect(page.locator(".operation:visible")).to_contain_text("/api/tasks/{task_id}/cancel")
    page.get_by_label("Search").fill("")
    page.get_by_role("navigation", name="Operations").get_by_role("link", name="List your agents").click()
    expect(page.locator("#list_agents").get_by_role("heading", name="Try it")).to_be_visible()
    assert page.url.endswith("#list_agents")


def test_operation_is_tried_with_the_session(visitor: Callable[..., Visitor], sample_data: SampleData) -> None:
    page = visitor(token=sample_data.user.token).open("/docs")
    listing = expand(page, "list_agents")
    listing.get_by_label("limit", exact=True).fill("1")
    listing.get_by_label("status", exact=True).select_option("active")
    listing.get_by_role("button", name="Send GET").click()
    expect(listing.get_by_role("status")).to_contain_text(re.compile(r"200 in \d+ ms"))
    expect(listing.get_by_label("Response headers")).to_contain_text("x-ratelimit-remaining")
    expect(listing.get_by_label("Response body")).to_contain_text('"hasMore": true')
    listing.get_by_text("As a curl command").click()
    expect(listing.get_by_label("The curl command")).to_contain_text(
        f"'{page.url.removesuffix('/docs')}/api/agents?limit=1&status=active'"
    )

    reading = expand(page, "get_task")
    reading.get_by_label("task_id").fill(sample_data.completed)
    reading.get_by_role("button", name="Send GET").click()
    expect(reading.get_by_label("Response body")).to_contain_text('"status": "completed"')


def test_example_body_is_sent_once_per_idempotency_key(
    visitor: Callable[..., Visitor], user_by_mail: Callable[[str], Client]
) -> None:
    user = user_by_mail(f"{uuid.uuid4().hex}@example.com")
    page = visitor(token=user.token).open("/docs")
    submitting = expand(page, "submit_task")
    expect(submitting.get_by_label("Body")).to_have_value(re.compile('"naturalLanguage": "Fix the null pointer'))
    submitting.get_by_label("Idempotency-Key").fill("once")
    for _ in range(2):
        with page.expect_response("**/api/tasks"):
            submitting.get_by_role("button", name="Send POST").click()
    expect(submitting.get_by_role("status")).to_contain_text("202")
    expect(submitting.get_by_label("Response body")).to_contain_text('"accepted": true')
    assert user.get("/api/tasks").json()["total"] == 1


def test_operation_is_tried_with_a_token_of_another_user(
    visitor: Callable[..., Visitor], sample_data: SampleData, user_by_mail: Callable[[str], Client]
) -> None:
    other = user_by_mail(f"{uuid.uuid4().hex}@example.com")
    for me in (visitor(), visitor(token=sample_data.user.token)):
        page = me.open("/docs")
        operation = expand(page, "me")
        operation.get_by_label("Token").fill(str(other.token))
        operation.get_by_role("button", name="Send GET").click()
        expect(operation.get_by_label("Response body")).to_contain_text(other.get("/api/auth/me").json()["user"]["id"])
        assert str(other.token) not in page.locator("main").inner_text(), "not even in the curl command"


def test_error_response_has_the_common_shape(visitor: Callable[..., Visitor], sample_data: SampleData) -> None:
    me = visitor(token=sample_data.user.token)
    me.monitor.expect("40[14]|400")
    page = me.open("/docs")
    registering = expand(page, "register_agent")
    registering.get_by_label("Body").fill("{}")
    registering.get_by_role("button", name="Send POST").click()
    answer = registering.get_by_label("Response body")
    for part in ('"error": "Missing required fields"', '"message":', '"statusCode": 400', '"timestamp":', '"details":'):
        expect(answer).to_contain_text(part)
    documented = registering.locator(".response", has_text="Missing required fields")
    documented.locator("summary").first.click()
    expect(documented.locator("dt")).to_contain_text(
        ["error required", "message", "statusCode", "timestamp", "details"]
    )

    reading = expand(page, "get_task")
    reading.get_by_label("task_id").fill("not-there")
    reading.get_by_role("button", name="Send GET").click()
    expect(reading.get_by_label("Response body")).to_contain_text('"error": "Task not found"')

    operation = expand(page, "me")
    operation.get_by_label("Token").fill("of.nobody.s")
    operation.get_by_role("button", name="Send GET").click()
    expect(operation.get_by_label("Response body")).to_contain_text('"error": "Invalid or expired token"')


def test_request_without_a_response_can_be_sent_again(visitor: Callable[..., Visitor], sample_data: SampleData) -> None:
    me = visitor(token=sample_data.user.token)
    me.monitor.expect("ERR_INTERNET_DISCONNECTED")
    page = me.open("/docs")
    figures = expand(page, "get_stats")
    me.context.set_offline(offline=True)
    figures.get_by_role("button", name="Send GET").click()
    expect(figures.get_by_role("status")).to_contain_text("DevFlow is unreachable.")
    me.context.set_offline(offline=False)
    figures.get_by_role("button", name="Send GET").click()
    expect(figures.get_by_label("Response body")).to_contain_text('"queueDepth"')
