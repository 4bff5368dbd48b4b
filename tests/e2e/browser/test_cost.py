"""The requests that an open page makes, against the figures in docs/dashboard.md.

The browser's clock is moved, so that minutes take moments. The requests go to a real local stage.
"""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page

from tests.e2e.browser.conftest import Visitor
from tests.e2e.browser.sample_data import SampleData, add_webhook, register, report, work
from tests.e2e.conftest import Platform
from tests.support.webhook_receiver import Receiver

DOCUMENT = Path(__file__).parents[3] / "docs" / "dashboard.md"

PAUSES = [  # busy, hidden for, idle for, failures in a row: seconds until the next refresh
    (True, 0, 0, 0, 3),
    (False, 0, 0, 0, 15),
    (True, 0, 599, 0, 3),
    (True, 0, 600, 0, 30),
    (False, 0, 600, 0, 30),
    (True, 1, 0, 0, 60),
    (False, 3_599, 0, 0, 60),
    (True, 3_600, 0, 0, None),
    (False, 0, 0, 1, 6),
    (True, 0, 0, 2, 12),
    (False, 0, 0, 9, 60),
]


def test_refresh_interval_grows_when_nobody_uses_the_page(visitor: Callable[..., Visitor]) -> None:
    page = visitor().open("/dashboard/login")
    module = page.evaluate("document.querySelector('script[src]').src").rpartition("/")[0]
    for busy, hidden, idle, failures, seconds in PAUSES:
        given = {"busy": busy, "hiddenFor": hidden * 1_000, "idleFor": idle * 1_000, "failures": failures}
        interval = page.evaluate(f"""async (given) => {{
          const wait = (await import("{module}/polling.js")).refreshInterval(given);
          return wait === Infinity ? null : wait / 1000;
        }}""", given)  # fmt: skip
        assert interval == seconds, given


PAGES = {
    "overview": "/dashboard",
    "tasks": "/dashboard/tasks",
    "one task": "/dashboard/tasks/{task}",
    "agents": "/dashboard/agents",
    "one agent": "/dashboard/agents/{agent}",
    "webhooks": "/dashboard/webhooks",
    "one webhook": "/dashboard/webhooks/{webhook}",
    "account": "/dashboard/account",
    "new task": "/dashboard/new",
    "API": "/docs",
}
SECOND, MINUTE, HOUR = 1_000, 60_000, 3_600_000

TEST_HOOKS = """
let visibility = "visible", pending = 0;
Object.defineProperty(document, "visibilityState", { get: () => visibility });
Object.defineProperty(document, "hidden", { get: () => visibility === "hidden" });
window.hide = () => { visibility = "hidden"; document.dispatchEvent(new Event("visibilitychange")); };
const counted = (of, name) => {
  const real = of[name];
  of[name] = async function (...given) {
    pending += 1;
    try { return await real.apply(this, given); } finally { pending -= 1; }
  };
};
counted(window, "fetch");
counted(Response.prototype, "json");
window.quiet = async () => {
  do await new Promise((next) => {
    const { port1, port2 } = new MessageChannel();  // timers are the test's
    port1.onmessage = next;
    port2.postMessage(0);
  }); while (pending);
};
"""
"""Lets a test hide the page, and wait for pending responses. Headless Chromium never hides a page."""


class OpenPage:
    """An open page whose clock the test moves."""

    def __init__(self, me: Visitor, path: str) -> None:
        self.me = me
        me.context.add_init_script(TEST_HOOKS)
        me.page.clock.install()
        self.page: Page = me.open(path)
        self._quiet()
        self.page.clock.pause_at(self.page.evaluate("Date.now()") / SECOND + 60)  # however slow this machine is
        self._quiet()

    def advance(self, milliseconds: int, step: int = 3 * SECOND) -> None:
        """Move the clock in steps that are no longer than the page's refresh interval."""
        for _ in range(milliseconds // step):
            self.page.clock.run_for(step)
            self._quiet()

    def requests_per_minute(self, milliseconds: int, step: int = 3 * SECOND) -> float:
        """The requests that it makes per minute, over this time."""
        before = len(self.me.requests())
        self.advance(milliseconds, step)
        return (len(self.me.requests()) - before) * MINUTE / milliseconds

    def skip(self, milliseconds: int) -> None:
        """Move the clock at once. Requests of the minute after that are not counted."""
        self.page.clock.fast_forward(milliseconds)
        self._quiet()
        self.advance(MINUTE, 30 * SECOND)

    def hide(self) -> None:
        """Hide the page, as another tab in front does."""
        self.page.evaluate("hide()")
        self.advance(MINUTE, 30 * SECOND)

    def _quiet(self) -> None:
        self.page.evaluate("quiet()")


def documented(page: str, *columns: int) -> list[float]:
    """The requests per minute of a page in these columns of docs/dashboard.md."""
    text = DOCUMENT.read_text(encoding="utf-8")
    (figures,) = re.findall(rf"^\| {page} \| ([\d| .]+) \|$", text, re.MULTILINE)
    return [float(figures.split(" | ")[column]) for column in columns]


BUSY, CALM, IDLE, HIDDEN = range(4)
"""The columns of that table."""


@pytest.mark.parametrize("name", PAGES)
def test_requests_of_a_busy_page_are_as_documented(
    visitor: Callable[..., Visitor], sample_data: SampleData, name: str
) -> None:
    address = PAGES[name].format(task=sample_data.running, agent=sample_data.agent, webhook=sample_data.webhook)
    page = OpenPage(visitor(token=sample_data.user.token), address)
    busy = page.requests_per_minute(MINUTE)
    page.skip(10 * MINUTE)
    idle = page.requests_per_minute(2 * MINUTE, 30 * SECOND)
    page.hide()
    hidden = page.requests_per_minute(4 * MINUTE, 30 * SECOND)
    assert [busy, idle, hidden] == documented(name, BUSY, IDLE, HIDDEN)
    page.skip(HOUR)
    assert page.requests_per_minute(5 * MINUTE, 30 * SECOND) == 0


def test_requests_of_a_calm_page_are_as_documented(
    visitor: Callable[..., Visitor], fresh_platform: Callable[..., Platform], receiver: Receiver
) -> None:
    stage = fresh_platform()
    user = stage.client.login()
    agent = register(user, "build-mac", "Build Mac", "darwin", "fix-bug")
    webhook = add_webhook(user, receiver.url, "The team's chat", "*")
    task = work(user, agent, "build-mac", "fix-bug", "Fix the null pointer in the login flow")
    report(agent, task, "complete", success=True)
    for name, path in PAGES.items():
        address = path.format(task=task, agent="build-mac", webhook=webhook)
        page = OpenPage(visitor(token=user.token, url=stage.url), address)
        assert [page.requests_per_minute(MINUTE)] == documented(name, CALM), name

    stage.advance(601)  # until then the agent may send more of the log
    ended = OpenPage(visitor(token=user.token, url=stage.url), f"/dashboard/tasks/{task}")
    assert ended.requests_per_minute(10 * MINUTE, 30 * SECOND) == 0
    assert ended.page.locator("#live").inner_text() == "Final. This page no longer refreshes."
