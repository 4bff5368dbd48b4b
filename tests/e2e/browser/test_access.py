"""Every page, in light and dark, wide and narrow: axe-core finds no violation, and the page fits the screen."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.browser.conftest import NARROW, SCHEMES, WIDE, Visitor
from tests.e2e.browser.sample_data import SampleData
from tests.support.client import Client

Axe = Callable[[Page], list[str]]

PAGES_WITH_DATA = (
    "/dashboard",
    "/dashboard/tasks",
    "/dashboard/tasks?status=pending",
    "/dashboard/tasks/{completed}",
    "/dashboard/tasks/{failed}",
    "/dashboard/tasks/{running}",
    "/dashboard/tasks/{queued}",
    "/dashboard/new",
    "/dashboard/agents",
    "/dashboard/agents/{agent}",
    "/dashboard/webhooks",
    "/dashboard/webhooks/{webhook}",
    "/dashboard/webhooks/{failing_webhook}",
    "/dashboard/account",
)
EMPTY = ("/dashboard", "/dashboard/tasks", "/dashboard/agents", "/dashboard/webhooks", "/dashboard/account")
UNKNOWN_PAGE = "/dashboard/nowhere"
PUBLIC = ("/dashboard/login", "/dashboard/login?reason=slack-team", "/login/link#secret", "/docs", UNKNOWN_PAGE)
MISSING = ("/dashboard/tasks/not-there", "/dashboard/agents/not-there", "/dashboard/webhooks/not-there")

DIALOGS = (
    ("/dashboard/tasks/{running}", ["Cancel task"]),
    ("/dashboard/agents/{agent}", ["Pause"]),
    ("/dashboard/agents/{agent}", ["Rename"]),
    ("/dashboard/agents/{paused_agent}", ["Rotate token", "Rotate the token"]),
    ("/dashboard/agents/{agent}", ["Remove"]),
    ("/dashboard/agents", ["Register a machine", "Create the token"]),
    ("/dashboard/webhooks/{webhook}", ["Edit"]),
    ("/dashboard/webhooks/{failing_webhook}", ["Rotate secret", "Rotate the secret"]),
    ("/dashboard/webhooks/{webhook}", ["Remove"]),
    ("/dashboard/account", ["Log out everywhere"]),
)
"""Every dialog: its page, and the buttons that open it."""


@pytest.fixture
def axe(node_home: Path) -> Axe:
    """Checks a page with axe-core, by every rule that is on by default, and returns the violations."""
    source = (node_home / "node_modules" / "axe-core" / "axe.min.js").read_text(encoding="utf-8")

    def check(page: Page) -> list[str]:
        if not page.evaluate("'axe' in window"):
            page.evaluate(source)
        found = page.evaluate("axe.run(document, { resultTypes: ['violations'] })")["violations"]
        return [f"{page.url}: {one['id']}: {node['html'][:200]}" for one in found for node in one["nodes"]]

    return check


def violations(page: Page, axe: Axe) -> list[str]:
    """The violations of a page, wide in both colour schemes, and narrow in one: colours do not depend on the width."""
    found = []
    for width, height in (WIDE, NARROW):
        page.set_viewport_size({"width": width, "height": height})
        if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
            found.append(f"{page.url} does not fit in {width} px")
        for scheme in SCHEMES if width == WIDE[0] else SCHEMES[:1]:
            page.emulate_media(color_scheme=scheme)
            found += [f"{scheme}, {width} px: {one}" for one in axe(page)]
    return found


def _address(template: str, sample_data: SampleData) -> str:
    return template.format(**{name: value for name, value in vars(sample_data).items() if isinstance(value, str)})


@pytest.mark.parametrize("path", PAGES_WITH_DATA)
def test_pages_with_data_are_accessible(
    visitor: Callable[..., Visitor], sample_data: SampleData, axe: Axe, path: str
) -> None:
    page = visitor(token=sample_data.user.token).open(_address(path, sample_data))
    for details in page.locator("main details > summary:visible").all():
        details.click()
    assert violations(page, axe) == []


@pytest.mark.parametrize("path", EMPTY)
def test_empty_pages_are_accessible(
    visitor: Callable[..., Visitor], user_by_mail: Callable[[str], Client], axe: Axe, path: str
) -> None:
    me = visitor(token=user_by_mail("newcomer@example.com").token)
    assert violations(me.open(path), axe) == []


@pytest.mark.parametrize("path", PUBLIC)
def test_public_pages_are_accessible(visitor: Callable[..., Visitor], axe: Axe, path: str) -> None:
    me = visitor()
    if path == UNKNOWN_PAGE:
        me.monitor.expect("404")
    assert violations(me.open(path), axe) == []


@pytest.mark.parametrize("path", MISSING)
def test_pages_of_missing_resources_are_accessible(
    visitor: Callable[..., Visitor], sample_data: SampleData, axe: Axe, path: str
) -> None:
    me = visitor(token=sample_data.user.token)
    me.monitor.expect("404")
    me.page.goto(f"{me.monitor.url}{path}")
    expect(me.page.get_by_role("heading", name="does not exist")).to_be_visible()
    assert violations(me.page, axe) == []


@pytest.mark.parametrize(("path", "buttons"), DIALOGS)
def test_dialogs_are_accessible(
    visitor: Callable[..., Visitor], sample_data: SampleData, axe: Axe, path: str, buttons: Sequence[str]
) -> None:
    page = visitor(token=sample_data.user.token).open(_address(path, sample_data))
    for name in buttons:
        page.get_by_role("button", name=name, exact=True).click()
    expect(page.get_by_role("dialog")).to_be_visible()
    assert violations(page, axe) == []


def test_response_of_a_tried_operation_is_accessible(
    visitor: Callable[..., Visitor], sample_data: SampleData, axe: Axe
) -> None:
    page = visitor(token=sample_data.user.token).open("/docs")
    for name in ("submit_task", "list_agents"):
        page.locator(f"#{name} > summary").click()
    page.get_by_role("button", name="Send GET").click()
    expect(page.get_by_label("Response body")).to_contain_text("Build Mac")
    assert violations(page, axe) == []
