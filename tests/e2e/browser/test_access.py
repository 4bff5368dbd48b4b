"""Every page, in light and dark, on a desk and on a phone: axe-core finds nothing, and it fits the screen."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.browser.conftest import NARROW, SCHEMES, WIDE, Visitor
from tests.e2e.browser.furniture import Furnished
from tests.support.client import Client

Axe = Callable[[Page], list[str]]

FURNISHED = (
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
    "/dashboard/webhooks/{failing}",
    "/dashboard/account",
)
EMPTY = ("/dashboard", "/dashboard/tasks", "/dashboard/agents", "/dashboard/webhooks", "/dashboard/account")
NOWHERE = "/dashboard/nowhere"
OPEN = ("/dashboard/login", "/dashboard/login?reason=slack-team", "/login/link#secret", "/docs", NOWHERE)
MISSING = ("/dashboard/tasks/not-there", "/dashboard/agents/not-there", "/dashboard/webhooks/not-there")

DIALOGS = (
    ("/dashboard/tasks/{running}", ["Cancel task"]),
    ("/dashboard/agents/{agent}", ["Pause"]),
    ("/dashboard/agents/{agent}", ["Rename"]),
    ("/dashboard/agents/{spare}", ["Replace its token", "Replace the token"]),
    ("/dashboard/agents/{agent}", ["Remove"]),
    ("/dashboard/webhooks/{webhook}", ["Change"]),
    ("/dashboard/webhooks/{failing}", ["Replace its secret", "Replace the secret"]),
    ("/dashboard/webhooks/{webhook}", ["Remove"]),
    ("/dashboard/account", ["Log out everywhere"]),
)
"""What is asked, or shown once, over a page; and the buttons that lead there."""


@pytest.fixture
def axe(node_home: Path) -> Axe:
    """Looks a page over with axe-core, by every rule that is on by default: what it finds, which is to be nothing."""
    source = (node_home / "node_modules" / "axe-core" / "axe.min.js").read_text(encoding="utf-8")

    def look(page: Page) -> list[str]:
        if not page.evaluate("'axe' in window"):
            page.evaluate(source)
        found = page.evaluate("axe.run(document, { resultTypes: ['violations'] })")["violations"]
        return [f"{page.url}: {one['id']}: {node['html'][:200]}" for one in found for node in one["nodes"]]

    return look


def flaws(page: Page, axe: Axe) -> list[str]:
    """What is wrong with a page as it stands, in either colour scheme and at either size; colours do not depend on
    that, so on a phone light will do."""
    found = []
    for width, height in (WIDE, NARROW):
        page.set_viewport_size({"width": width, "height": height})
        if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
            found.append(f"{page.url} does not fit in {width} px")
        for scheme in SCHEMES if width == WIDE[0] else SCHEMES[:1]:
            page.emulate_media(color_scheme=scheme)
            found += [f"{scheme}, {width} px: {flaw}" for flaw in axe(page)]
    return found


def _address(template: str, furnished: Furnished) -> str:
    return template.format(**{name: value for name, value in vars(furnished).items() if isinstance(value, str)})


@pytest.mark.parametrize("path", FURNISHED)
def test_axe_finds_nothing_on_any_page_in_use(
    visitor: Callable[..., Visitor], furnished: Furnished, axe: Axe, path: str
) -> None:
    page = visitor(token=furnished.user.token).open(_address(path, furnished))
    for details in page.locator("main details > summary:visible").all():
        details.click()
    assert flaws(page, axe) == []


@pytest.mark.parametrize("path", EMPTY)
def test_axe_finds_nothing_where_there_is_nothing_yet(
    visitor: Callable[..., Visitor], by_mail: Callable[[str], Client], axe: Axe, path: str
) -> None:
    me = visitor(token=by_mail("newcomer@example.com").token)
    assert flaws(me.open(path), axe) == []


@pytest.mark.parametrize("path", OPEN)
def test_axe_finds_nothing_where_nobody_is_logged_in(visitor: Callable[..., Visitor], axe: Axe, path: str) -> None:
    me = visitor()
    if path == NOWHERE:
        me.watched.expect("404")
    assert flaws(me.open(path), axe) == []


@pytest.mark.parametrize("path", MISSING)
def test_axe_finds_nothing_where_what_is_asked_for_is_not_there(
    visitor: Callable[..., Visitor], furnished: Furnished, axe: Axe, path: str
) -> None:
    me = visitor(token=furnished.user.token)
    me.watched.expect("404")
    me.page.goto(f"{me.watched.url}{path}")
    expect(me.page.get_by_role("heading", name="There is no such")).to_be_visible()
    assert flaws(me.page, axe) == []


@pytest.mark.parametrize(("path", "buttons"), DIALOGS)
def test_axe_finds_nothing_in_any_dialog(
    visitor: Callable[..., Visitor], furnished: Furnished, axe: Axe, path: str, buttons: Sequence[str]
) -> None:
    page = visitor(token=furnished.user.token).open(_address(path, furnished))
    for name in buttons:
        page.get_by_role("button", name=name, exact=True).click()
    expect(page.get_by_role("dialog")).to_be_visible()
    assert flaws(page, axe) == []


def test_axe_finds_nothing_in_what_came_back_from_a_call_that_was_tried(
    visitor: Callable[..., Visitor], furnished: Furnished, axe: Axe
) -> None:
    page = visitor(token=furnished.user.token).open("/docs")
    for name in ("submit_task", "list_agents"):
        page.locator(f"#{name} > summary").click()
    page.get_by_role("button", name="Send GET").click()
    expect(page.get_by_label("The answer's body")).to_contain_text("Build Mac")
    assert flaws(page, axe) == []
