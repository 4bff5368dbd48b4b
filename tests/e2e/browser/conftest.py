"""Real Chromium, driven by Playwright, against a real local stage over HTTP.

Whatever a page does under these fixtures, it may not log an error, break its content security policy, or ask anybody
but its own platform; a test that opens a page finds out at its end.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Response, expect, sync_playwright

from tests.e2e.browser.furniture import Furnished, alive, furnish, receives
from tests.e2e.conftest import Platform
from tests.support.client import Client
from tests.support.receivers import Receiver

SECONDS = 60
"""How long anything may take that a test waits for: the machine may be busy."""

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking", "--disable-sync"]
"""No sandbox: containers mostly run as root, where Chromium has none; what it opens here is ours. The others keep it
from asking anybody else."""

WIDE, NARROW = (1200, 860), (390, 844)

Scheme = Literal["light", "dark"]
SCHEMES: tuple[Scheme, ...] = ("light", "dark")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--pictures", type=Path, metavar="DIRECTORY", help="where to keep the pictures for the documents")


def chromium_path() -> str | None:
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    path = chromium_path()
    if path is None:
        pytest.skip("Chromium is not installed (on Debian: apt-get install chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS, timeout=SECONDS * 1_000)
        expect.set_options(timeout=SECONDS * 1_000)
        yield browser
        browser.close()


@dataclass
class Watched:
    """What a page must not do, as far as it did; and what it asked for."""

    url: str
    complaints: list[str] = field(default_factory=list)
    asked: list[tuple[str, str]] = field(default_factory=list)
    """Method and path of every request."""
    expected: re.Pattern[str] | None = None
    """Of the errors that Chromium logs by itself, those that a test brings about on purpose."""
    elsewhere: str | None = None
    """Where a link that the test follows leads to."""

    def expect(self, pattern: str) -> None:
        self.expected = re.compile(pattern)

    def leads_to(self, url: str) -> None:
        self.elsewhere = url

    def watch(self, page: Page) -> None:
        page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        page.on("console", lambda message: self._logged(message.type, message.text))
        page.on("response", self._answered)
        page.on("request", lambda request: self._requested(request.method, request.url))

    def _logged(self, kind: str, text: str) -> None:
        if kind in ("error", "warning") and not (self.expected and self.expected.search(text)):
            self.complaints.append(f"{kind}: {text}")

    def _requested(self, method: str, url: str) -> None:
        if url.startswith(f"{self.url}/"):
            self.asked.append((method, url.removeprefix(self.url)))
        elif not url.startswith(("data:", "blob:", *filter(None, [self.elsewhere]))):
            self.complaints.append(f"asked {url}")

    def _answered(self, response: Response) -> None:
        if response.status >= 500:
            self.complaints.append(f"{response.status} from {response.url}")


VIOLATIONS = """
addEventListener("securitypolicyviolation", (event) =>
  console.error(`policy: ${event.effectiveDirective} ${event.blockedURI} ${event.sourceFile}:${event.lineNumber}`));
"""


class Visitor:
    """A browser profile of its own: cookies, size, light or dark."""

    def __init__(self, context: BrowserContext, watched: Watched) -> None:
        self.context = context
        self.watched = watched
        context.set_default_timeout(SECONDS * 1_000)
        context.add_init_script(VIOLATIONS)
        context.on("page", watched.watch)
        self.page = context.new_page()

    def open(self, path: str) -> Page:
        """Go to a page of the platform, and wait until it shows what it is about."""
        self.page.goto(f"{self.watched.url}{path}")
        self.settled()
        return self.page

    def settled(self) -> None:
        """Wait until the page has got what it shows at first."""
        name = self.page.locator("html").get_attribute("data-page")
        if name in POLLING:
            expect(self.page.locator("#live")).to_have_attribute("data-looks", ANY)
        elif name == "docs":
            expect(self.page.locator(".operation")).not_to_have_count(0)

    def looks(self) -> int:
        """How often the page has looked at the API so far."""
        return int(self.page.locator("#live").get_attribute("data-looks") or 0)

    def asked(self) -> list[str]:
        """What was asked of the API so far: "GET /api/tasks/{id}"."""
        return [
            f"{method} {re.sub(r'(task|agent)-[^/?]+', '{id}', path.partition('?')[0])}"
            for method, path in self.watched.asked
            if path.startswith("/api/")
        ]

    def log_in(self, email: str = "user@example.com", pin: str = "123456") -> None:
        """By the form of the login page."""
        self.page.get_by_label("Email").fill(email)
        self.page.get_by_label("PIN, six digits").fill(pin)
        self.page.get_by_role("button", name="Log in", exact=True).click()


ANY = re.compile(r"\d")
POLLING = ("account", "agent", "agents", "overview", "task", "tasks", "webhook", "webhooks")


@pytest.fixture(scope="session")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """The local stage that the browser visits. Its clock is the true one: what runs on it goes on running."""
    started = Platform(tmp_path_factory.mktemp("stage") / "log")
    yield started
    started.stop()


@pytest.fixture
def visitor(chromium: Browser, stage: Platform) -> Iterator[Callable[..., Visitor]]:
    """Makes browser profiles: `visitor(token="...")` is logged in; held to good behaviour at the end."""
    with ExitStack() as ending:
        visitors: list[Visitor] = []

        def make(
            *,
            token: str | None = None,
            scheme: Scheme = "light",
            size: tuple[int, int] = WIDE,
            url: str = stage.url,
            **options: Any,
        ) -> Visitor:
            context = chromium.new_context(
                viewport={"width": size[0], "height": size[1]}, color_scheme=scheme, locale="en-US", **options
            )
            ending.callback(context.close)
            if token is not None:
                context.add_cookies([session(url, token)])
            visitors.append(Visitor(context, Watched(url)))
            return visitors[-1]

        yield make
        complaints = [complaint for each in visitors for complaint in each.watched.complaints]
    assert not complaints


def session(url: str, token: str) -> Any:
    """The cookie that a login leaves behind."""
    return {
        "name": "__Host-devflow-session",
        "value": token,
        "url": url.replace("http:", "https:"),
        "httpOnly": True,
        "secure": True,
        "sameSite": "Lax",
    }


@pytest.fixture
def user(stage: Platform) -> Client:
    """A client of the API with the token of user@example.com."""
    return stage.client.login()


@pytest.fixture(scope="session")
def by_mail(stage: Platform) -> Callable[[str], Client]:
    """Makes users: `by_mail("somebody@example.com")` has logged in by a link from a mail; once, for an address is sent
    so many of them and no more."""

    @cache
    def make(email: str) -> Client:
        assert stage.client.post("/api/auth/magic-link", {"email": email}).status == 202
        secret = re.search(r"#(\S+)", mails(stage, email)[-1])
        assert secret
        used = stage.client.post("/api/auth/magic-link/verify", {"token": secret[1]})
        return stage.client.acting_as(used.json()["token"])

    return make


@pytest.fixture
def pictures(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Where pictures of pages go: nowhere that lasts, unless `make screenshots` says so."""
    kept: Path = request.config.getoption("--pictures", default=None) or tmp_path
    return kept


def mails(stage: Platform, to: str) -> list[str]:
    """The texts of what was mailed to an address."""
    kept = stage.client.get("/local/mail").json()["mail"]
    return [mail["text"] for mail in kept if mail["to"] == [to]]


@pytest.fixture(scope="session")
def furnished(by_mail: Callable[[str], Client]) -> Iterator[Furnished]:
    """A user with something of everything, which no test changes."""
    with Receiver() as receiver:
        receiver.chooses = receives
        made = furnish(by_mail("jane.doe@example.com"), receiver)
        with alive(made):
            yield made


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Where a test's webhooks go, over real HTTP."""
    with Receiver() as receiver:
        yield receiver


@dataclass
class Agent:
    """A real agent: a process of its own, which works off tasks step by step as the test lets it."""

    id: str
    name: str
    process: "subprocess.Popen[bytes]"
    gates: Path
    log: Path

    def let(self, gate: str) -> None:
        """Let it go on to the next step: `started`, `half`, `done`."""
        (self.gates / gate).touch()

    def said(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")


@pytest.fixture
def start_agent(stage: Platform, tmp_path: Path) -> Iterator[Callable[..., Agent]]:
    """Starts agents: `start_agent(user, "build-mac", "fix-bug")`; all of them end with the test."""
    with ExitStack() as ending:

        def start(user: Client, agent_id: str, *capabilities: str) -> Agent:
            gates = tmp_path / agent_id
            gates.mkdir()
            log = tmp_path / f"{agent_id}.log"
            options = [option for one in capabilities for option in ("--capability", one)]
            with log.open("wb") as output:
                process = subprocess.Popen(
                    [sys.executable, str(Path(__file__).with_name("gated_agent.py")), "--url", stage.url,
                     "--agent-id", agent_id, *options],
                    env=os.environ | {"DEVFLOW_TOKEN": str(user.token), "GATES": str(gates)},
                    stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                )  # fmt: skip
            ending.callback(process.wait)
            ending.callback(process.send_signal, signal.SIGKILL)
            agent = Agent(agent_id, agent_id, process, gates, log)
            end = time.monotonic() + SECONDS
            while "polling" not in agent.said():
                assert process.poll() is None, agent.said()
                assert time.monotonic() < end, agent.said()
                time.sleep(0.05)
            return agent

        yield start
