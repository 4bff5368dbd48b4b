"""Text of others is displayed as text, and another user's data is not displayed at all."""

import re
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from infra.local.gateway import Response
from tests.e2e.browser.conftest import Visitor
from tests.e2e.browser.sample_data import add_webhook, wait_for_attempt
from tests.e2e.conftest import Platform
from tests.support.client import Client
from tests.support.webhook_receiver import Receiver, status

SCRIPT = "<img src=x onerror=\"window.hit='img'\"><script>window.hit='script'</script><svg onload=window.hit='svg'>"
CONTROLS = "user\u202egpj.exe\u2066\u200f\u0007"
"""Reads as `userexe.jpg` if its controls are applied: an override, an isolate, a mark, and a bell."""
VISIBLE_CONTROLS = "userU+202Egpj.exeU+2066U+200FU+0007"
HOSTILE = f"{SCRIPT} {{{{7*7}}}} ${{7*7}} &lt;b&gt; {CONTROLS}"
DISPLAYED = f"{SCRIPT} {{{{7*7}}}} ${{7*7}} &lt;b&gt; {VISIBLE_CONTROLS}"

IN_ADDRESS = "\"><img/src=x/onerror=window.hit='address'><script>window.hit='address'</script>"
"""An attack that is a valid webhook address: without a space."""


class HostileData:
    """A user's agent, task, webhook and token, in which every text is as hostile as the API accepts."""

    def __init__(self, user: Client, receiver: Receiver, pr_url: str = "javascript:window.hit='link'") -> None:
        receiver.default_responder = status(500, HOSTILE.encode())
        self.webhook = add_webhook(user, f"{receiver.url}&{IN_ADDRESS}", HOSTILE[:200], "*")
        assert user.post(f"/api/webhooks/{self.webhook}/test").status == 202
        assert user.post("/api/auth/tokens", {"name": HOSTILE[:100]}).status == 201
        self.agent = f"agent-{uuid.uuid4().hex[:8]}"
        intent = f"hostile-{uuid.uuid4().hex[:8]}"
        about = {"agentId": self.agent, "name": HOSTILE[:100], "version": "<b>1</b>\u202e", "platform": "<i>x</i>"}
        made = user.post("/api/agents", about | {"capabilities": [intent]})
        assert made.status == 201, made
        agent = user.acting_as(made.json()["token"])
        work = {
            "intent": intent,
            "repo": f"javascript:{HOSTILE}",
            "branch": HOSTILE[:255],
            "context": {HOSTILE: HOSTILE},
        }
        self.task = user.post("/api/tasks", work | {"naturalLanguage": HOSTILE}).json()["taskId"]
        while not agent.get(f"/api/agents/{self.agent}/commands").json()["commands"]:
            pass  # its message has not arrived
        self._agent = agent
        assert self.report("progress", progress=0.5, step=HOSTILE[:200], details=HOSTILE).status == 200
        assert self.report("logs", data=HOSTILE + "\n", offset=0).status == 200
        self.end = {
            "success": True,
            "summary": HOSTILE,
            "output": HOSTILE,
            "prUrl": pr_url,
            "resultFiles": {HOSTILE: [HOSTILE]},
        }
        user.patch(f"/api/agents/{self.agent}", {"paused": True, "note": HOSTILE})
        wait_for_attempt(user, self.webhook)

    def report(self, what: str, **body: Any) -> Response:
        return self._agent.post(f"/api/tasks/{self.task}/{what}", body)


def assert_nothing_ran(page: Page) -> None:
    assert page.evaluate("window.hit") is None
    assert page.locator("main :is(script, svg, iframe, object, embed, style)").count() == 0
    assert page.locator("main img").count() == 0
    assert not re.search(
        "[\u202a-\u202e\u2066-\u2069\u200e\u200f\u0007]", page.locator("body").inner_text() + page.title()
    )


def test_html_scripts_and_control_characters_are_displayed_as_text(
    visitor: Callable[..., Visitor], user_by_mail: Callable[[str], Client], receiver: Receiver
) -> None:
    user = user_by_mail(f"{uuid.uuid4().hex}@example.com")
    made = HostileData(user, receiver)
    me = visitor(token=user.token)
    for path in ("/dashboard", "/dashboard/tasks", "/dashboard/agents", "/dashboard/account", "/dashboard/webhooks"):
        page = me.open(path)
        expect(page.locator("main li", has_text=SCRIPT[:60]).first).to_be_visible()
        assert_nothing_ran(page)

    page = me.open(f"/dashboard/agents/{made.agent}")
    expect(page.get_by_role("heading", level=1)).to_contain_text(SCRIPT[:60])
    expect(page.locator("#now")).to_contain_text(DISPLAYED)
    expect(page.locator("#about")).to_contain_text("<b>1</b>U+202E")
    assert_nothing_ran(page)

    page = me.open(f"/dashboard/tasks/{made.task}")
    for box in ("#text", "#now", "#log", "#about"):
        expect(page.locator(box)).to_contain_text(DISPLAYED)
    assert page.locator("#about a").count() == 0, "a repository that is no web address is no link"
    assert_nothing_ran(page)

    assert made.report("complete", **made.end).status == 200
    expect(page.locator("#now .status")).to_have_text("Completed")
    expect(page.locator("#result")).to_contain_text(DISPLAYED)
    expect(page.locator("#result")).to_contain_text("javascript:window.hit='link'")
    assert page.locator("#result a").count() == 0, "nothing but http and https is ever a link"
    assert_nothing_ran(page)

    page = me.open(f"/dashboard/webhooks/{made.webhook}")
    expect(page.get_by_role("heading", level=1)).to_contain_text(IN_ADDRESS)
    expect(page.locator("#now")).to_contain_text(DISPLAYED)
    page.get_by_text("Attempts and payload").last.click()
    expect(page.get_by_label("Response body").last).to_contain_text(DISPLAYED)
    assert_nothing_ran(page)
    page.get_by_role("button", name="Edit").click()
    expect(page.get_by_role("dialog").get_by_label("Description")).to_have_value(HOSTILE[:200])
    assert_nothing_ran(page)

    page = me.open("/dashboard/new")
    page.get_by_text("More settings").click()
    expect(page.locator("#agent option", has_text=SCRIPT[:60]).first).to_be_attached()
    assert_nothing_ran(page)


@pytest.mark.parametrize(
    "address",
    ["data:text/html,<script>alert(1)</script>", "vbscript:x", " javascript:x", "https:///", "//evil.example", "x"],
)
def test_only_web_addresses_become_links(visitor: Callable[..., Visitor], stage: Platform, address: str) -> None:
    page = visitor().open("/dashboard/login")
    external_link = f"""async (address) => (await import("{_modules(page)}/dom.js")).externalLink(address).outerHTML"""
    assert page.evaluate(external_link, address).startswith("<span>")
    assert page.evaluate(external_link, "https://example.com/a?b").startswith(
        '<a href="https://example.com/a?b" rel="noopener'
    )


def _modules(page: Page) -> str:
    """The address of the page's scripts, without the name of a file."""
    address = page.evaluate("document.querySelector('script[src]').src")
    return str(address).rpartition("/")[0]


def test_terminal_sequences_are_removed_from_logs_across_chunks(
    visitor: Callable[..., Visitor],
) -> None:
    page = visitor().open("/dashboard/login")
    pieces = ["\x1b[1;32mgreen\x1b[0m\r\nnext \x1b]0;title\x07line\x1b[", "2K\rover"]
    read = f"""async (pieces) => {{
      const {{ stripControlSequences }} = await import("{_modules(page)}/log.js");
      let rest = "", whole = "";
      for (const piece of pieces) {{
        const got = stripControlSequences(rest + piece);
        rest = got.rest;
        whole += got.text;
      }}
      return [whole, rest];
    }}"""
    assert page.evaluate(read, pieces) == ["green\nnext line\nover", ""]


def test_user_cannot_see_another_users_data_at_any_address(
    visitor: Callable[..., Visitor],
    user: Client,
    stage: Platform,
    user_by_mail: Callable[[str], Client],
    receiver: Receiver,
) -> None:
    made = HostileData(user, receiver)
    stranger = user_by_mail(f"{uuid.uuid4().hex}@example.com")
    me = visitor(token=stranger.token)
    me.monitor.expect("404")  # Chromium logs the response
    for kind, name in (("tasks", made.task), ("agents", made.agent), ("webhooks", made.webhook)):
        me.page.goto(f"{stage.url}/dashboard/{kind}/{name}")
        expect(me.page.get_by_role("heading", level=1)).to_have_text(f"This {kind[:-1]} does not exist")
        foreign = me.page.locator("main").inner_text()
        me.page.goto(f"{stage.url}/dashboard/{kind}/not-there")
        expect(me.page.get_by_role("heading", level=1)).to_have_text(f"This {kind[:-1]} does not exist")
        assert me.page.locator("main").inner_text() == foreign, "its existence is not revealed"
    for path in (
        "",
        "/tasks",
        "/agents",
        f"/tasks?agentId={made.agent}",
        f"/tasks?status=in_progress&userId={user.token}",
        "/webhooks",
        "/account",
    ):
        page = me.open(f"/dashboard{path}")
        expect(page.locator("main")).to_contain_text(
            re.compile(
                "There are no (tasks|webhooks|personal tokens) yet|No agents are registered yet|No tasks match these"
            )
        )
        assert made.task not in page.content()
        assert "onerror" not in page.content()
