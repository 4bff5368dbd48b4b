"""The API's documentation: every call is there to read, and to try."""

import re
import uuid
from collections.abc import Callable

from playwright.sync_api import Locator, Page, expect

from tests.e2e.browser.conftest import Visitor
from tests.e2e.browser.furniture import Furnished
from tests.e2e.conftest import Platform
from tests.support.client import Client


def opened(page: Page, name: str) -> Locator:
    """An operation, unfolded."""
    operation = page.locator(f"#{name}")
    operation.locator("summary").first.click()
    return operation


def test_every_operation_of_the_document_is_there_and_is_found_by_its_words(
    visitor: Callable[..., Visitor], stage: Platform
) -> None:
    paths = stage.client.get("/api/openapi.json").json()["paths"]
    known = {
        operation["operationId"]: (method.upper(), path)
        for path, item in paths.items()
        for method, operation in item.items()
        if method != "parameters" and path.startswith(("/api/", "/health"))
    }
    page = visitor().open("/docs")
    shown = {
        str(one.get_attribute("id")): (one.locator(".method").inner_text(), one.locator("code").first.inner_text())
        for one in page.locator(".operation").all()
    }
    assert shown == known
    assert len(known) > 40  # no document without routes

    page.get_by_label("Find").fill("cancel task")
    expect(page.locator(".operation:visible")).to_have_count(1)
    expect(page.locator(".operation:visible")).to_contain_text("/api/tasks/{task_id}/cancel")
    page.get_by_label("Find").fill("")
    page.get_by_role("navigation", name="Operations").get_by_role("link", name="List your agents").click()
    expect(page.locator("#list_agents").get_by_role("heading", name="Try it")).to_be_visible()
    assert page.url.endswith("#list_agents")


def test_a_call_is_tried_as_whoever_is_logged_in(visitor: Callable[..., Visitor], furnished: Furnished) -> None:
    page = visitor(token=furnished.user.token).open("/docs")
    listing = opened(page, "list_agents")
    listing.get_by_label("limit", exact=True).fill("1")
    listing.get_by_label("status", exact=True).select_option("active")
    listing.get_by_role("button", name="Send GET").click()
    expect(listing.get_by_role("status")).to_contain_text(re.compile(r"200 in \d+ ms"))
    expect(listing.get_by_label("The answer's headers")).to_contain_text("x-ratelimit-remaining")
    expect(listing.get_by_label("The answer's body")).to_contain_text('"hasMore": true')
    listing.get_by_text("The same for a shell").click()
    expect(listing.get_by_label("The same call for a shell")).to_contain_text(
        f"'{page.url.removesuffix('/docs')}/api/agents?limit=1&status=active'"
    )

    reading = opened(page, "get_task")
    reading.get_by_label("task_id").fill(furnished.completed)
    reading.get_by_role("button", name="Send GET").click()
    expect(reading.get_by_label("The answer's body")).to_contain_text('"status": "completed"')


def test_a_body_is_there_to_be_sent_and_the_same_key_sends_it_once(
    visitor: Callable[..., Visitor], by_mail: Callable[[str], Client]
) -> None:
    user = by_mail(f"{uuid.uuid4().hex}@example.com")
    page = visitor(token=user.token).open("/docs")
    submitting = opened(page, "submit_task")
    expect(submitting.get_by_label("Body")).to_have_value(re.compile('"naturalLanguage": "Fix the null pointer'))
    submitting.get_by_label("Idempotency-Key").fill("once")
    for _ in range(2):
        with page.expect_response("**/api/tasks"):
            submitting.get_by_role("button", name="Send POST").click()
    expect(submitting.get_by_role("status")).to_contain_text("202")
    expect(submitting.get_by_label("The answer's body")).to_contain_text('"accepted": true')
    assert user.get("/api/tasks").json()["total"] == 1


def test_a_call_is_tried_with_a_token_whoever_is_logged_in(
    visitor: Callable[..., Visitor], furnished: Furnished, by_mail: Callable[[str], Client]
) -> None:
    other = by_mail(f"{uuid.uuid4().hex}@example.com")
    for me in (visitor(), visitor(token=furnished.user.token)):
        page = me.open("/docs")
        whose = opened(page, "me")
        whose.get_by_label("Token").fill(str(other.token))
        whose.get_by_role("button", name="Send GET").click()
        expect(whose.get_by_label("The answer's body")).to_contain_text(other.get("/api/auth/me").json()["user"]["id"])
        assert str(other.token) not in page.locator("main").inner_text(), "not even in the call for a shell"


def test_an_error_shows_in_the_shape_that_every_error_has(
    visitor: Callable[..., Visitor], furnished: Furnished
) -> None:
    me = visitor(token=furnished.user.token)
    me.watched.expect("40[14]|400")
    page = me.open("/docs")
    registering = opened(page, "register_agent")
    registering.get_by_label("Body").fill("{}")
    registering.get_by_role("button", name="Send POST").click()
    answer = registering.get_by_label("The answer's body")
    for part in ('"error": "Missing required fields"', '"message":', '"statusCode": 400', '"timestamp":', '"details":'):
        expect(answer).to_contain_text(part)
    told = registering.locator(".answer", has_text="Missing required fields")
    told.locator("summary").first.click()
    expect(told.locator("dt")).to_contain_text(["error required", "message", "statusCode", "timestamp", "details"])

    reading = opened(page, "get_task")
    reading.get_by_label("task_id").fill("not-there")
    reading.get_by_role("button", name="Send GET").click()
    expect(reading.get_by_label("The answer's body")).to_contain_text('"error": "Task not found"')

    whose = opened(page, "me")
    whose.get_by_label("Token").fill("of.nobody.s")
    whose.get_by_role("button", name="Send GET").click()
    expect(whose.get_by_label("The answer's body")).to_contain_text('"error": "Invalid or expired token"')


def test_a_call_that_gets_no_answer_says_so_and_can_be_sent_again(
    visitor: Callable[..., Visitor], furnished: Furnished
) -> None:
    me = visitor(token=furnished.user.token)
    me.watched.expect("ERR_INTERNET_DISCONNECTED")
    page = me.open("/docs")
    figures = opened(page, "get_stats")
    me.context.set_offline(offline=True)
    figures.get_by_role("button", name="Send GET").click()
    expect(figures.get_by_role("status")).to_contain_text("DevFlow cannot be reached right now.")
    me.context.set_offline(offline=False)
    figures.get_by_role("button", name="Send GET").click()
    expect(figures.get_by_label("The answer's body")).to_contain_text('"queueDepth"')
