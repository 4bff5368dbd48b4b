"""What a user does with the dashboard, from the login on, with a real agent."""

import re
import uuid
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.browser.conftest import Agent, Visitor
from tests.e2e.browser.sample_data import claim, register, report, work
from tests.e2e.browser.sample_data import submit as post
from tests.e2e.conftest import Platform
from tests.support.client import Client


@pytest.fixture
def intent() -> str:
    """An intent that only this test's agent supports."""
    return f"fix-{uuid.uuid4().hex[:8]}"


def submit(page: Page, intent: str, text: str) -> None:
    page.get_by_role("link", name="New task").click()
    page.get_by_label("What should the agent do?").fill(text)
    page.get_by_label("Intent").select_option(intent)
    page.get_by_label("Repository").fill("https://github.com/user/repo")
    page.get_by_role("button", name="Submit").click()
    page.wait_for_url("**/dashboard/tasks/task-*")


def test_user_logs_in_submits_a_task_and_watches_it_complete(
    visitor: Callable[..., Visitor], user: Client, start_agent: Callable[..., Agent], intent: str, stage: Platform
) -> None:
    agent = start_agent(user, f"agent-{intent}", intent)
    me = visitor()
    page = me.page
    page.goto(f"{stage.url}/dashboard/agents/{agent.id}")  # without a session: to the login page, then back here

    expect(page).to_have_title("Log in · DevFlow")
    me.monitor.expect("401")
    me.log_in(pin="654321")
    expect(page.get_by_text("The email address or the PIN is incorrect.")).to_be_visible()
    me.log_in()
    page.wait_for_url(f"**/dashboard/agents/{agent.id}")
    expect(page.get_by_role("heading", name=agent.id)).to_be_visible()

    submit(page, intent, "Fix the null pointer in the login flow")
    expect(page.get_by_role("heading", level=1)).to_have_text("Fix the null pointer in the login flow")
    status, bar = page.locator("#now .status"), page.get_by_role("progressbar")
    expect(status).to_have_text("Running")
    expect(page.locator("#now")).to_contain_text(f"by {agent.id}")
    expect(bar).to_have_attribute("value", "20")
    log = page.get_by_role("log")
    expect(log).to_have_text("Reading the code <b>now</b>\n")

    agent.open_gate("started")
    expect(bar).to_have_attribute("value", "65")
    expect(page.locator("#now")).to_contain_text("Running tests")
    expect(log).to_have_text("Reading the code <b>now</b>\nRunning tests <b>now</b>\n")

    agent.open_gate("half")
    agent.open_gate("done")
    expect(status).to_have_text("Completed")
    expect(page.get_by_text("Fixed the null pointer", exact=True)).to_be_visible()
    link = page.get_by_role("link", name="Pull request #456")
    expect(link).to_have_attribute("href", "https://github.com/user/repo/pull/456")
    expect(link).to_have_attribute("rel", "noopener noreferrer")
    events = [line.strip() for line in page.locator("#timeline strong").all_inner_texts()]
    assert events == ["Submitted", "Queued", "Claimed", "Started", "Completed"]
    expect(page.locator("#spoken")).to_have_text("Task status: Completed.")
    assert len([path for method, path in me.monitor.requests if "/dashboard/tasks/" in path]) == 1, "without a reload"


def test_running_task_is_cancelled_and_retried(
    visitor: Callable[..., Visitor], user: Client, start_agent: Callable[..., Agent], intent: str
) -> None:
    start_agent(user, f"agent-{intent}", intent)
    me = visitor(token=user.token)
    page = me.open("/dashboard")
    submit(page, intent, "Never mind")
    status = page.locator("#now .status")
    expect(status).to_have_text("Running")

    page.get_by_role("button", name="Cancel task").click()
    dialog = page.get_by_role("dialog", name="Cancel this task?")
    expect(dialog.get_by_role("button", name="Keep it")).to_be_focused()
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(status).to_have_text("Running")

    page.get_by_role("button", name="Cancel task").click()
    dialog.get_by_role("button", name="Cancel the task").click()
    expect(status).to_have_text("Cancelled")
    cancelled = page.url

    page.get_by_role("button", name="Retry").click()
    page.wait_for_url(lambda url: url != cancelled)
    expect(page.get_by_role("link", name=cancelled.rpartition("/")[2])).to_be_visible()
    expect(status).to_have_text("Running")


def test_each_attempt_has_its_own_log_and_timeline(
    visitor: Callable[..., Visitor], user_by_mail: Callable[[str], Client], intent: str
) -> None:
    user = user_by_mail(f"{intent}@example.com")
    first = register(user, intent, "Build Mac", "darwin", intent)
    task = work(user, first, intent, intent, "Survive a crash")
    report(first, task, "progress", progress=0.3, step="Reading the code")
    report(first, task, "logs", offset=0, data="written before the crash\n")
    page = visitor(token=user.token).open(f"/dashboard/tasks/{task}")
    log, choice = page.get_by_role("log"), page.get_by_label("Attempt")
    expect(log).to_have_text("written before the crash\n")
    expect(choice).to_be_hidden()

    second = register(user, intent, "Build Mac", "darwin", intent, replace=True)  # its running tasks count as lost
    claim(second, intent, task)
    report(second, task, "progress", progress=0.1, step="Once more", attempt=2)
    report(second, task, "logs", offset=0, data="written after it\n", attempt=2)
    expect(log).to_have_text("written after it\n")
    expect(choice).to_have_value("2")
    expect(page.locator("#now")).to_contain_text("attempt 2 of at most 2")
    expect(page.locator("#timeline").get_by_role("heading")).to_contain_text(["Attempt 1", "Attempt 2"])
    choice.select_option("1")
    expect(log).to_have_text("written before the crash\n")


def test_show_more_extends_a_list_across_refreshes(
    visitor: Callable[..., Visitor], user_by_mail: Callable[[str], Client], intent: str
) -> None:
    user = user_by_mail(f"{intent}@example.com")
    for number in range(23):
        post(user, intent, f"Task number {number}")
    me = visitor(token=user.token)
    page = me.open("/dashboard/tasks")
    rows = page.locator("#tasks > li")
    expect(rows).to_have_count(20)
    expect(page.locator("#count")).to_have_text("23")
    page.get_by_role("button", name="Show more").click()
    expect(rows).to_have_count(23)
    expect(rows.last).to_contain_text("Task number 0")
    expect(page.get_by_role("button", name="Show more")).to_have_count(0)
    newest = post(user, intent, "One more")
    expect(page.locator(f"[data-key={newest}]")).to_be_visible()
    expect(rows).to_have_count(24)


def test_paused_agent_claims_nothing_until_it_is_resumed(
    visitor: Callable[..., Visitor], user: Client, start_agent: Callable[..., Agent], intent: str
) -> None:
    agent = start_agent(user, f"agent-{intent}", intent)
    me = visitor(token=user.token)
    page = me.open(f"/dashboard/agents/{agent.id}")
    state = page.locator("#now .status")
    expect(state).to_have_text("Ready")

    page.get_by_role("button", name="Pause").click()
    page.get_by_label("Note").fill("Out for repairs")
    page.get_by_role("dialog").get_by_role("button", name="Pause").click()
    expect(state).to_have_text("Paused")
    expect(page.locator("#now")).to_contain_text("Note: Out for repairs")

    submit(page, intent, "Wait for it")
    expect(page.locator("#now .status")).to_have_text("Queued")
    expect(page.locator("#now")).to_contain_text(f"claims tasks now. Paused: {agent.id}. Resume one")
    page.get_by_role("link", name="View agents").click()
    page.get_by_role("link", name=agent.id, exact=True).click()
    page.get_by_role("button", name="Resume").click()
    expect(state).to_have_text("Working")
    page.get_by_role("link", name="Wait for it").click()
    expect(page.locator("#now .status")).to_have_text("Running")


def test_agent_is_renamed_restricted_gets_a_new_token_and_is_removed(
    visitor: Callable[..., Visitor], user: Client, intent: str
) -> None:
    made = user.post(
        "/api/agents", {"agentId": intent, "name": intent, "version": "1", "capabilities": [intent]}
    ).json()
    old = user.acting_as(made["token"])
    me = visitor(token=user.token)
    page = me.open(f"/dashboard/agents/{intent}")

    page.get_by_role("button", name="Rename").click()
    page.get_by_role("textbox", name="Name").fill("Build server")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Build server")

    page.get_by_role("button", name="Edit rules").click()
    page.get_by_label("Repositories").fill("https://github.com/acme/*\n\n git@github.com:acme/*")
    page.get_by_role("button", name="Save").click()
    expect(page.locator("#about")).to_contain_text("git@github.com:acme/*")
    assert user.get(f"/api/agents/{intent}").json()["repos"] == ["https://github.com/acme/*", "git@github.com:acme/*"]
    page.get_by_role("button", name="Edit rules").click()
    page.get_by_label("Repositories").fill("")
    page.get_by_label("Submitters").fill("user-2")
    page.get_by_role("button", name="Save").click()
    expect(page.locator("#about")).to_contain_text("user-2")
    changed = user.get(f"/api/agents/{intent}").json()
    assert (changed["repos"], changed["submitters"]) == (None, ["user-2"])

    page.get_by_role("button", name="Rotate token").click()
    page.get_by_role("button", name="Rotate the token").click()
    dialog = page.get_by_role("dialog", name="New token")
    token = dialog.get_by_role("group", name="The agent's new token").inner_text()
    assert old.get(f"/api/agents/{intent}/commands").status == 401
    assert user.acting_as(token).get(f"/api/agents/{intent}/commands").status == 200
    dialog.get_by_role("button", name="I have copied it").click()
    expect(page.get_by_text(token)).to_have_count(0)

    page.get_by_role("button", name="Remove").click()
    page.get_by_role("button", name="Remove the agent").click()
    page.wait_for_url("**/dashboard/agents")
    assert user.get(f"/api/agents/{intent}").status == 404


def test_personal_token_is_created_used_and_revoked(visitor: Callable[..., Visitor], user: Client, intent: str) -> None:
    me = visitor(token=user.token)
    page = me.open("/dashboard/account")
    page.get_by_label("Purpose of the token").fill(f"shell {intent}")
    page.get_by_role("button", name="Create token").click()
    token = page.get_by_role("dialog").get_by_role("group", name="The new token").inner_text()
    assert user.acting_as(token).get("/api/tasks").status == 200
    page.get_by_role("button", name="I have copied it").click()

    page.get_by_role("button", name=f"Revoke shell {intent}").click()
    page.get_by_role("button", name="Revoke the token").click()
    expect(page.get_by_text(f"shell {intent}")).to_have_count(0)
    assert user.acting_as(token).get("/api/tasks").status == 401


def test_another_session_is_listed_and_ended(visitor: Callable[..., Visitor], stage: Platform, user: Client) -> None:
    other = stage.client.login()
    listed = other.get("/api/auth/sessions").json()["data"]
    (session,) = [each for each in listed if each["current"]]
    me = visitor(token=user.token)
    page = me.open("/dashboard/account")
    sessions = page.get_by_role("region", name="Sessions")
    expect(sessions.get_by_text("this session")).to_have_count(1)
    row = sessions.locator(f'[data-key="{session["id"]}"]')
    expect(row.get_by_text("from 127.0.0.1")).to_be_visible()

    row.get_by_role("button", name="End the session of").click()
    page.get_by_role("button", name="End the session", exact=True).click()
    expect(row).to_have_count(0)
    assert other.get("/api/auth/me").status == 401
    assert user.get("/api/auth/me").status == 200


def test_logout_ends_the_session(visitor: Callable[..., Visitor], stage: Platform) -> None:
    me = visitor()
    page = me.page
    page.goto(f"{stage.url}/dashboard/account")
    me.log_in()
    page.wait_for_url("**/dashboard/account")
    kept = me.context.cookies()[0]["value"]
    assert stage.client.acting_as(kept).get("/api/tasks").status == 200

    page.get_by_role("button", name="Log out", exact=True).click()
    expect(page.get_by_text("You are logged out.")).to_be_visible()
    assert not me.context.cookies()
    assert stage.client.acting_as(kept).get("/api/tasks").status == 401
    page.goto(f"{stage.url}/dashboard/tasks")
    expect(page).to_have_url(re.compile("/dashboard/login"))


@pytest.mark.parametrize(
    "next_page",
    ["https://evil.example/dashboard", "//evil.example", "javascript:alert(1)", "/api/tasks", "dashboard/../api/tasks"],
)
def test_login_leads_to_pages_of_this_platform_only(
    visitor: Callable[..., Visitor], stage: Platform, next_page: str
) -> None:
    me = visitor()
    me.page.goto(f"{stage.url}/dashboard/login?next={next_page}")
    me.log_in()
    me.page.wait_for_url(f"{stage.url}/dashboard")
