"""Logging in, whatever the way, and what becomes of a page when the session ends."""

import re
import time
import uuid
from collections.abc import Callable

from playwright.sync_api import expect

from tests.e2e.browser.conftest import Visitor, mails
from tests.e2e.conftest import Platform
from tests.support import slack

HOUR = 3_600


def test_a_session_that_ends_asks_for_a_login_and_goes_on_where_one_was(
    visitor: Callable[..., Visitor], fresh_platform: Callable[..., Platform]
) -> None:
    stage = fresh_platform(DEVFLOW_SESSION_HOURS="1")
    me = visitor(url=stage.url)
    me.watched.expect("401")  # what Chromium itself says of an answer
    page = me.page
    page.goto(f"{stage.url}/dashboard/tasks?status=failed")
    me.log_in()
    expect(page.get_by_text("No task is like that.")).to_be_visible()
    written = me.context.new_page()
    written.goto(f"{stage.url}/dashboard/new")
    written.get_by_label("What is to be done?").fill("Written before the session ended")
    written.get_by_label("Repository").fill("https://github.com/user/repo")

    stage.advance(HOUR + 60)
    written.get_by_role("button", name="Submit").click()
    for left in (written, page):  # the one by what is asked of it, the other by its own next look at the API
        expect(left.get_by_text("Your session has ended. Log in again to go on.")).to_be_visible()

    me.log_in()
    page.wait_for_url("**/dashboard/tasks?status=failed")
    expect(page.get_by_label("Status")).to_have_value("failed")
    expect(page.get_by_text("No task is like that.")).to_be_visible()

    me.page = written
    me.log_in()
    written.wait_for_url("**/dashboard/new")
    expect(written.get_by_label("What is to be done?")).to_have_value("Written before the session ended")
    written.get_by_role("button", name="Submit").click()
    expect(written.get_by_role("heading", level=1)).to_have_text("Written before the session ended")


def test_a_link_from_a_mail_leads_to_the_dashboard(visitor: Callable[..., Visitor], stage: Platform) -> None:
    email = f"{uuid.uuid4().hex}@example.com"
    me = visitor()
    me.watched.expect("401")
    page = me.open("/dashboard/login")
    page.get_by_label("Email").fill(email)
    page.get_by_role("button", name="Email me a link").click()
    expect(page.get_by_text("a link is on its way")).to_be_visible()
    link = re.search(r"http\S+", mails(stage, email)[-1])
    assert link

    page.goto(link[0])
    page.get_by_role("button", name="Log in", exact=True).click()
    page.wait_for_url("**/dashboard")
    expect(page.get_by_role("link", name=email.partition("@")[0])).to_be_visible()
    expect(page.get_by_text("No agent is registered yet.")).to_be_visible()

    page.goto(link[0])
    page.get_by_role("button", name="Log in", exact=True).click()
    expect(page.get_by_role("status")).to_contain_text("used")
    expect(page.get_by_role("button", name="Log in", exact=True)).to_be_hidden()


def test_somebody_signs_in_with_slack_or_is_told_why_not(
    visitor: Callable[..., Visitor], fresh_platform: Callable[..., Platform]
) -> None:
    with slack.running(time.time) as stood_in:
        stage = fresh_platform(
            DEVFLOW_SLACK_URL=stood_in.url,
            DEVFLOW_SLACK_CLIENT_ID=slack.CLIENT_ID,
            DEVFLOW_SLACK_CLIENT_SECRET=slack.CLIENT_SECRET,
        )
        me = visitor(url=stage.url)
        me.watched.leads_to(stood_in.url)
        page = me.open("/dashboard/login")
        stood_in.denies = True
        page.get_by_role("link", name="Continue with Slack").click()
        expect(page.get_by_text("You did not allow it at Slack.")).to_be_visible()
        assert page.url.startswith(f"{stage.url}/dashboard/login")

        stood_in.denies = False
        stood_in.claims = {"name": "Krane <script>window.hit=1</script>"}
        page.get_by_role("link", name="Continue with Slack").click()
        page.wait_for_url(f"{stage.url}/dashboard")
        expect(page.get_by_role("link", name="Krane <script>")).to_be_visible()
        assert page.evaluate("window.hit") is None
        (cookie,) = me.context.cookies()
        assert (cookie["name"], cookie["httpOnly"], cookie["secure"]) == ("__Host-devflow-session", True, True)
        assert page.evaluate("document.cookie") == ""
