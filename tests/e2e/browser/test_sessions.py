"""Every login method, and what a page does when the session ends."""

import re
import time
import uuid
from collections.abc import Callable

from playwright.sync_api import expect

from tests.e2e.browser.conftest import Visitor, mails
from tests.e2e.conftest import Platform
from tests.support import slack_server

HOUR = 3_600
OTHER_BROWSER = "This link was not requested in this browser."
REPLACED = "You are logged in here as"


def test_expired_session_leads_to_login_and_back(
    visitor: Callable[..., Visitor], fresh_platform: Callable[..., Platform]
) -> None:
    stage = fresh_platform(DEVFLOW_SESSION_HOURS="1")
    me = visitor(url=stage.url)
    me.monitor.expect("401")  # Chromium logs the response
    page = me.page
    page.goto(f"{stage.url}/dashboard/tasks?status=failed")
    me.log_in()
    expect(page.get_by_text("No tasks match these filters.")).to_be_visible()
    written = me.context.new_page()
    written.goto(f"{stage.url}/dashboard/new")
    written.get_by_label("What should the agent do?").fill("Written before the session ended")
    written.get_by_label("Repository").fill("https://github.com/user/repo")

    stage.advance(HOUR + 60)
    written.get_by_role("button", name="Submit").click()
    for left in (written, page):  # one when its form is submitted, the other at its next refresh
        expect(left.get_by_text("Your session has ended. Log in again to continue.")).to_be_visible()

    me.log_in()
    page.wait_for_url("**/dashboard/tasks?status=failed")
    expect(page.get_by_label("Status")).to_have_value("failed")
    expect(page.get_by_text("No tasks match these filters.")).to_be_visible()

    me.page = written
    me.log_in()
    written.wait_for_url("**/dashboard/new")
    expect(written.get_by_label("What should the agent do?")).to_have_value("Written before the session ended")
    written.get_by_role("button", name="Submit").click()
    expect(written.get_by_role("heading", level=1)).to_have_text("Written before the session ended")


def test_magic_link_logs_in_once(visitor: Callable[..., Visitor], stage: Platform) -> None:
    email = f"{uuid.uuid4().hex}@example.com"
    me = visitor()
    me.monitor.expect("401")
    page = me.open("/dashboard/login")
    page.get_by_label("Email").fill(email)
    page.get_by_role("button", name="Email me a link").click()
    expect(page.get_by_text("you will receive an email with a link")).to_be_visible()
    link = re.search(r"http\S+", mails(stage, email)[-1])
    assert link

    page.goto(link[0])
    log_in = page.get_by_role("button", name=re.compile("Log in"))
    expect(log_in).to_have_text(f"Log in as {email}")
    expect(page.locator("#state")).to_contain_text(email)
    expect(page.get_by_text(OTHER_BROWSER)).to_be_hidden()
    expect(page.get_by_text(REPLACED)).to_be_hidden()
    log_in.click()
    page.wait_for_url("**/dashboard")
    expect(page.get_by_role("link", name=email.partition("@")[0])).to_be_visible()
    expect(page.get_by_text("No agents are registered yet.")).to_be_visible()

    page.goto(link[0])
    expect(page.locator("#state")).to_contain_text("used")
    expect(log_in).to_be_hidden()

    # A link of another account, which somebody else has requested and sent.
    attacker = f"{uuid.uuid4().hex}@attacker.example"
    stage.client.post("/api/auth/magic-link", {"email": attacker})
    sent = re.search(r"http\S+", mails(stage, attacker)[-1])
    assert sent
    before = [cookie for cookie in me.context.cookies() if "session" in cookie["name"]]
    page.goto(sent[0])  # only the part after the # changes, so the page must notice it
    expect(log_in).to_have_text(f"Log in as {attacker}")
    expect(page.get_by_text(OTHER_BROWSER)).to_be_visible()
    expect(page.get_by_text(REPLACED)).to_contain_text(f"{email}. The new session will replace that one")
    assert [cookie for cookie in me.context.cookies() if "session" in cookie["name"]] == before
    assert [path for _, path in me.monitor.requests if sent[0].partition("#")[2] in path] == []

    log_in.click()
    page.wait_for_url("**/dashboard")
    expect(page.get_by_role("link", name=attacker.partition("@")[0])).to_be_visible()


def test_incomplete_magic_link_offers_the_login_page(visitor: Callable[..., Visitor]) -> None:
    page = visitor().open("/login/link")
    expect(page.locator("#state")).to_contain_text("This link is incomplete.")
    expect(page.get_by_role("button", name="Log in")).to_be_hidden()
    page.get_by_role("link", name="Go to the login page").click()
    page.wait_for_url("**/dashboard/login")


def test_slack_sign_in_succeeds_or_states_the_reason(
    visitor: Callable[..., Visitor], fresh_platform: Callable[..., Platform]
) -> None:
    with slack_server.running(time.time) as fake_slack:
        stage = fresh_platform(
            DEVFLOW_SLACK_URL=fake_slack.url,
            DEVFLOW_SLACK_CLIENT_ID=slack_server.CLIENT_ID,
            DEVFLOW_SLACK_CLIENT_SECRET=slack_server.CLIENT_SECRET,
        )
        me = visitor(url=stage.url)
        me.monitor.allow_host(fake_slack.url)
        page = me.open("/dashboard/login")
        fake_slack.denies = True
        page.get_by_role("link", name="Continue with Slack").click()
        expect(page.get_by_text("Slack sign-in was declined")).to_be_visible()
        assert page.url.startswith(f"{stage.url}/dashboard/login")

        fake_slack.denies = False
        fake_slack.claims = {"name": "Krane <script>window.hit=1</script>"}
        page.get_by_role("link", name="Continue with Slack").click()
        page.wait_for_url(f"{stage.url}/dashboard")
        expect(page.get_by_role("link", name="Krane <script>")).to_be_visible()
        assert page.evaluate("window.hit") is None
        (cookie,) = me.context.cookies()
        assert (cookie["name"], cookie["httpOnly"], cookie["secure"]) == ("__Host-devflow-session", True, True)
        assert page.evaluate("document.cookie") == ""
