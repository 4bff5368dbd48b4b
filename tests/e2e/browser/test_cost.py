"""What a page that stands open asks for, by how it is looked at: docs/dashboard.md has the figures, held here.

The browser's clock is moved, so that minutes take moments; what the pages ask for is asked of the real platform.
"""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page

from tests.e2e.browser.conftest import Visitor
from tests.e2e.browser.furniture import Furnished, register, report, tell, work
from tests.e2e.conftest import Platform
from tests.support.receivers import Receiver

DOCUMENT = Path(__file__).parents[3] / "docs" / "dashboard.md"

PAUSES = [  # busy, hidden for, untouched for, failures in a row: seconds until the next look
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


def test_a_page_looks_the_less_often_the_less_anybody_looks_at_it(visitor: Callable[..., Visitor]) -> None:
    page = visitor().open("/dashboard/login")
    module = page.evaluate("document.querySelector('script[src]').src").rpartition("/")[0]
    for busy, hidden, untouched, failures, seconds in PAUSES:
        given = {"busy": busy, "hiddenFor": hidden * 1_000, "untouchedFor": untouched * 1_000, "failures": failures}
        paused = page.evaluate(f"""async (given) => {{
          const wait = (await import("{module}/live.js")).pause(given);
          return wait === Infinity ? null : wait / 1000;
        }}""", given)  # fmt: skip
        assert paused == seconds, given


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

SHOWS = """
let shown = "visible", flying = 0;
Object.defineProperty(document, "visibilityState", { get: () => shown });
Object.defineProperty(document, "hidden", { get: () => shown === "hidden" });
window.hide = () => { shown = "hidden"; document.dispatchEvent(new Event("visibilitychange")); };
const counted = (of, name) => {
  const real = of[name];
  of[name] = async function (...given) {
    flying += 1;
    try { return await real.apply(this, given); } finally { flying -= 1; }
  };
};
counted(window, "fetch");
counted(Response.prototype, "json");
window.quiet = async () => {
  do await new Promise((next) => {
    const { port1, port2 } = new MessageChannel();  // timers are the test's
    port1.onmessage = next;
    port2.postMessage(0);
  }); while (flying);
};
"""
"""Lets a test hide the page, and know whether it waits for an answer. Headless Chromium hides no page by itself."""


class Open:
    """A page that stands open, and how its time passes."""

    def __init__(self, me: Visitor, path: str) -> None:
        self.me = me
        me.context.add_init_script(SHOWS)
        me.page.clock.install()
        self.page: Page = me.open(path)
        self._quiet()
        self.page.clock.pause_at(self.page.evaluate("Date.now()") / SECOND + 60)  # however slow this machine is
        self._quiet()

    def passes(self, milliseconds: int, step: int = 3 * SECOND) -> None:
        """So much time, in steps that no pause of a page is shorter than."""
        for _ in range(milliseconds // step):
            self.page.clock.run_for(step)
            self._quiet()

    def asks(self, milliseconds: int, step: int = 3 * SECOND) -> float:
        """How many requests it makes a minute."""
        before = len(self.me.asked())
        self.passes(milliseconds, step)
        return (len(self.me.asked()) - before) * MINUTE / milliseconds

    def sleeps(self, milliseconds: int) -> None:
        """So much time goes by at once; what it asks for in the minute after is not counted."""
        self.page.clock.fast_forward(milliseconds)
        self._quiet()
        self.passes(MINUTE, 30 * SECOND)

    def hides(self) -> None:
        """Another tab comes in front."""
        self.page.evaluate("hide()")
        self.passes(MINUTE, 30 * SECOND)

    def _quiet(self) -> None:
        self.page.evaluate("quiet()")


def documented(page: str, *columns: int) -> list[float]:
    """What docs/dashboard.md has of a page: requests a minute in these cases."""
    text = DOCUMENT.read_text(encoding="utf-8")
    (figures,) = re.findall(rf"^\| {page} \| ([\d| .]+) \|$", text, re.MULTILINE)
    return [float(figures.split(" | ")[column]) for column in columns]


BUSY, CALM, UNTOUCHED, HIDDEN = range(4)
"""The columns of that table."""


@pytest.mark.parametrize("name", PAGES)
def test_a_page_that_shows_something_running_asks_for_what_is_documented(
    visitor: Callable[..., Visitor], furnished: Furnished, name: str
) -> None:
    address = PAGES[name].format(task=furnished.running, agent=furnished.agent, webhook=furnished.webhook)
    page = Open(visitor(token=furnished.user.token), address)
    busy = page.asks(MINUTE)
    page.sleeps(10 * MINUTE)
    untouched = page.asks(2 * MINUTE, 30 * SECOND)
    page.hides()
    hidden = page.asks(4 * MINUTE, 30 * SECOND)
    assert [busy, untouched, hidden] == documented(name, BUSY, UNTOUCHED, HIDDEN)
    page.sleeps(HOUR)
    assert page.asks(5 * MINUTE, 30 * SECOND) == 0


def test_a_page_that_shows_nothing_running_asks_for_what_is_documented(
    visitor: Callable[..., Visitor], fresh_platform: Callable[..., Platform], receiver: Receiver
) -> None:
    stage = fresh_platform()
    user = stage.client.login()
    agent = register(user, "build-mac", "Build Mac", "darwin", "fix-bug")
    webhook = tell(user, receiver.url, "The team's chat", "*")
    task = work(user, agent, "build-mac", "fix-bug", "Fix the null pointer in the login flow")
    report(agent, task, "complete", success=True)
    for name, path in PAGES.items():
        address = path.format(task=task, agent="build-mac", webhook=webhook)
        page = Open(visitor(token=user.token, url=stage.url), address)
        assert [page.asks(MINUTE)] == documented(name, CALM), name

    stage.advance(601)  # until then an agent may send more of the log
    ended = Open(visitor(token=user.token, url=stage.url), f"/dashboard/tasks/{task}")
    assert ended.asks(10 * MINUTE, 30 * SECOND) == 0
    assert ended.page.locator("#live").inner_text() == "It has ended: nothing changes any more"
