"""Real Chromium, driven by Playwright, against a real local stage over HTTP.

A test fails at its end if one of its pages logged an error, violated its content security policy, or sent a request to
another host than its platform.
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

from tests.e2e.browser.sample_data import SampleData, create_sample_data, heartbeats, respond
from tests.e2e.conftest import Platform
from tests.support.client import Client
from tests.support.webhook_receiver import Receiver

SECONDS = 60
"""The longest that a test waits for anything: the machine may be busy."""

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking", "--disable-sync"]
"""No sandbox: containers mostly run as root, where Chromium has none, and the pages here are our own. The other flags
keep Chromium from sending requests of its own."""

WIDE, NARROW = (1200, 860), (390, 844)

Scheme = Literal["light", "dark"]
SCHEMES: tuple[Scheme, ...] = ("light", "dark")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--pictures", type=Path, metavar="DIRECTORY", help="where to save the screenshots for the documents"
    )


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
class PageMonitor:
    """Records the problems and the requests of a profile's pages."""

    url: str
    problems: list[str] = field(default_factory=list)
    requests: list[tuple[str, str]] = field(default_factory=list)
    """Method and path of every request."""
    expected: re.Pattern[str] | None = None
    """The errors that a test causes on purpose, which Chromium logs."""
    allowed_host: str | None = None
    """Another host that the test's pages may open."""

    def expect(self, pattern: str) -> None:
        """Allow log messages that match."""
        self.expected = re.compile(pattern)

    def allow_host(self, url: str) -> None:
        self.allowed_host = url

    def watch(self, page: Page) -> None:
        page.on("pageerror", lambda error: self.problems.append(f"error: {error}"))
        page.on("console", lambda message: self._on_log(message.type, message.text))
        page.on("response", self._on_response)
        page.on("request", lambda request: self._on_request(request.method, request.url))

    def _on_log(self, kind: str, text: str) -> None:
        if kind in ("error", "warning") and not (self.expected and self.expected.search(text)):
            self.problems.append(f"{kind}: {text}")

    def _on_request(self, method: str, url: str) -> None:
        if url.startswith(f"{self.url}/"):
            self.requests.append((method, url.removeprefix(self.url)))
        elif not url.startswith(("data:", "blob:", *filter(None, [self.allowed_host]))):
            self.problems.append(f"request to {url}")

    def _on_response(self, response: Response) -> None:
        if response.status >= 500:
            self.problems.append(f"{response.status} from {response.url}")


VIOLATIONS = """
addEventListener("securitypolicyviolation", (event) =>
  console.error(`policy: ${event.effectiveDirective} ${event.blockedURI} ${event.sourceFile}:${event.lineNumber}`));
"""


class Visitor:
    """A browser profile with its own cookies, window size and colour scheme."""

    def __init__(self, context: BrowserContext, monitor: PageMonitor) -> None:
        self.context = context
        self.monitor = monitor
        context.set_default_timeout(SECONDS * 1_000)
        context.add_init_script(VIOLATIONS)
        context.on("page", monitor.watch)
        self.page = context.new_page()

    def open(self, path: str) -> Page:
        """Open a page of the platform, and wait until its data is displayed."""
        self.page.goto(f"{self.monitor.url}{path}")
        self.wait_until_loaded()
        return self.page

    def wait_until_loaded(self) -> None:
        """Wait for the page's first refresh."""
        name = self.page.locator("html").get_attribute("data-page")
        if name in POLLING:
            expect(self.page.locator("#live")).to_have_attribute("data-refreshes", ANY)
        elif name == "docs":
            expect(self.page.locator(".operation")).not_to_have_count(0)

    def requests(self) -> list[str]:
        """The requests to the API so far: "GET /api/tasks/{id}"."""
        return [
            f"{method} {re.sub(r'(task|agent)-[^/?]+', '{id}', path.partition('?')[0])}"
            for method, path in self.monitor.requests
            if path.startswith("/api/")
        ]

    def log_in(self, email: str = "user@example.com", pin: str = "123456") -> None:
        """Log in with the form of the login page."""
        self.page.get_by_label("Email").fill(email)
        self.page.get_by_label("PIN (six digits)").fill(pin)
        self.page.get_by_role("button", name="Log in", exact=True).click()


ANY = re.compile(r"\d")
POLLING = ("account", "agent", "agents", "overview", "task", "tasks", "webhook", "webhooks")


@pytest.fixture(scope="session")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """The local stage that the browser visits. Its clock runs normally, so tasks and agents go on between tests."""
    started = Platform(tmp_path_factory.mktemp("stage") / "log")
    yield started
    started.stop()


@pytest.fixture
def visitor(chromium: Browser, stage: Platform) -> Iterator[Callable[..., Visitor]]:
    """Creates browser profiles: `visitor(token="...")` is logged in. Asserts at the end that no page had a problem."""
    with ExitStack() as cleanup:
        visitors: list[Visitor] = []

        def create(
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
            cleanup.callback(context.close)
            if token is not None:
                context.add_cookies([session_cookie(url, token)])
            visitors.append(Visitor(context, PageMonitor(url)))
            return visitors[-1]

        yield create
        problems = [problem for each in visitors for problem in each.monitor.problems]
    assert not problems


def session_cookie(url: str, token: str) -> Any:
    """The session cookie that a login sets."""
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
def user_by_mail(stage: Platform) -> Callable[[str], Client]:
    """Creates users: `user_by_mail("somebody@example.com")` has logged in with a magic link. Each address logs in once,
    because the number of mails to an address is limited."""

    @cache
    def create(email: str) -> Client:
        assert stage.client.post("/api/auth/magic-link", {"email": email}).status == 202
        secret = re.search(r"#(\S+)", mails(stage, email)[-1])
        assert secret
        used = stage.client.post("/api/auth/magic-link/verify", {"token": secret[1]})
        return stage.client.acting_as(used.json()["token"])

    return create


@pytest.fixture
def pictures(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Where screenshots are saved: a temporary directory, unless `make screenshots` names another."""
    directory: Path = request.config.getoption("--pictures", default=None) or tmp_path
    return directory


def mails(stage: Platform, to: str) -> list[str]:
    """The texts of the mails to an address."""
    sent = stage.client.get("/local/mail").json()["mail"]
    return [mail["text"] for mail in sent if mail["to"] == [to]]


@pytest.fixture(scope="session")
def sample_data(user_by_mail: Callable[[str], Client]) -> Iterator[SampleData]:
    """A user with one of everything. No test changes it."""
    with Receiver() as receiver:
        receiver.choose_responder = respond
        data = create_sample_data(user_by_mail("jane.doe@example.com"), receiver)
        with heartbeats(data):
            yield data


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """The receiver of a test's webhooks, over real HTTP."""
    with Receiver() as receiver:
        yield receiver


@dataclass
class Agent:
    """A real agent: a separate process, which runs tasks step by step as the test opens its gates."""

    id: str
    name: str
    process: "subprocess.Popen[bytes]"
    gates: Path
    log: Path

    def open_gate(self, gate: str) -> None:
        """Let it continue to the next step: `started`, `half`, `done`."""
        (self.gates / gate).touch()

    def output(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")


@pytest.fixture
def start_agent(stage: Platform, tmp_path: Path) -> Iterator[Callable[..., Agent]]:
    """Starts agents: `start_agent(user, "build-mac", "fix-bug")`. All of them stop with the test."""
    with ExitStack() as cleanup:

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
            cleanup.callback(process.wait)
            cleanup.callback(process.send_signal, signal.SIGKILL)
            agent = Agent(agent_id, agent_id, process, gates, log)
            end = time.monotonic() + SECONDS
            while "polling" not in agent.output():
                assert process.poll() is None, agent.output()
                assert time.monotonic() < end, agent.output()
                time.sleep(0.05)
            return agent

        yield start
