"""Pages work by keyboard, offline for a while, with a wrong clock, with long logs, and load little."""

import re
import shlex
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import click
import pytest
from playwright.sync_api import Locator, Page, Route, expect

from devflow.cli.invocation import Invocation
from devflow.cli.main import root as devflow
from tests.e2e.browser.conftest import Visitor
from tests.e2e.browser.sample_data import SampleData, add_webhook, register, report, work
from tests.e2e.conftest import Platform
from tests.support.client import Client
from tests.support.webhook_receiver import Receiver


def assert_valid_command(line: str) -> None:
    """Raises click's UsageError, or KeyError, unless the `devflow` command line accepts this line."""
    program, *rest = shlex.split(line)
    assert program == "devflow"
    command: click.Command = devflow
    while isinstance(command, click.Group):
        command = command.commands[rest.pop(0)]
    command.make_context(program, rest, obj=Invocation())


def test_empty_pages_name_valid_commands(
    visitor: Callable[..., Visitor], user_by_mail: Callable[[str], Client], stage: Platform, receiver: Receiver
) -> None:
    newcomer = user_by_mail("newcomer@example.com")
    about = {"agentId": "new-agent", "name": "New agent", "version": "1", "capabilities": ["fix-bug"]}
    owner = user_by_mail("owner@example.com")
    assert owner.post("/api/agents", about).status == 201
    hook = add_webhook(owner, receiver.url, "", "task.failed")
    commands: dict[str, list[str]] = {}
    for user, path in (
        (newcomer, "/dashboard"),
        (newcomer, "/dashboard/tasks"),
        (newcomer, "/dashboard/agents"),
        (newcomer, "/dashboard/webhooks"),
        (newcomer, "/dashboard/account"),
        (owner, "/dashboard/agents/new-agent"),
        (owner, f"/dashboard/webhooks/{hook}"),
    ):
        page = visitor(token=user.token).open(path)
        commands[path] = [
            line for text in page.locator(".copyable pre:visible").all_inner_texts() for line in text.splitlines()
        ]
        for line in commands[path]:
            assert_valid_command(line)
    login = f"devflow login --url {stage.url}"
    run = "devflow run 'Fix the null pointer in the login flow' --repo . --intent fix-bug"
    start = ["devflow agent register", "devflow agent start --command 'claude -p --permission-mode bypassPermissions'"]
    assert list(commands.values()) == [
        [login, run, login, *start],
        [login, run],
        [login, *start],
        [login, "devflow webhooks add https://example.com/devflow --event task.completed --event task.failed"],
        [login],
        [f"{run} --agent new-agent"],
        [f"devflow webhooks test {hook}"],
    ]


def test_copy_button_copies_the_command(visitor: Callable[..., Visitor], user_by_mail: Callable[[str], Client]) -> None:
    me = visitor(token=user_by_mail("newcomer@example.com").token, permissions=["clipboard-read", "clipboard-write"])
    page = me.open("/dashboard/tasks")
    page.get_by_role("button", name="Copy: Submit a task").click()
    expect(page.get_by_role("status").filter(has_text="Copied")).to_be_attached()
    assert "devflow run 'Fix the null pointer" in page.evaluate("navigator.clipboard.readText()")


def test_monitor_notices_every_kind_of_problem(visitor: Callable[..., Visitor]) -> None:
    """The monitor that every test of these pages uses."""
    me = visitor()
    page = me.open("/dashboard/login")
    assert me.monitor.problems == []
    for wrong in (
        "document.body.append(Object.assign(document.createElement('style'), { textContent: 'b { color: red }' }))",
        "document.body.setAttribute('style', 'color: red')",
        "try { document.body.innerHTML = '<b>x</b>' } catch { }",
        "fetch('http://elsewhere.example/').catch(() => null)",
        "console.warn('not nice')",
        "setTimeout(() => { throw new Error('uncaught') })",
    ):
        with page.expect_event("console" if "throw" not in wrong else "pageerror"):
            page.evaluate(f"() => {{ {wrong} }}")
        assert me.monitor.problems, wrong
        me.monitor.problems.clear()


def test_login_submitting_and_cancelling_work_by_keyboard(visitor: Callable[..., Visitor], stage: Platform) -> None:
    page = visitor().page
    page.goto(f"{stage.url}/dashboard/new")
    expect(page.get_by_label("Email")).to_be_visible()
    press(page, "Tab", until=page.get_by_label("Email"))
    page.keyboard.type("user@example.com")
    page.keyboard.press("Tab")
    page.keyboard.type("123456")
    page.keyboard.press("Enter")

    page.wait_for_url("**/dashboard/new")
    expect(page.locator("#intent option")).not_to_have_count(0)
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#main")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.get_by_label("What should the agent do?")).to_be_focused()
    page.keyboard.type("Written without a mouse")
    page.keyboard.press("Tab")
    page.keyboard.type("Other")
    expect(page.get_by_label("Custom name")).to_be_visible()
    page.keyboard.press("Tab")
    page.keyboard.type("by-keyboard")
    page.keyboard.press("Tab")
    page.keyboard.type("https://github.com/user/repo")
    page.keyboard.press("Enter")
    page.wait_for_url("**/dashboard/tasks/task-*")
    expect(page.get_by_role("heading", level=1)).to_have_text("Written without a mouse")
    task = stage.client.login().get(f"/api/tasks/{page.url.rpartition('/')[2]}").json()
    assert (task["intent"], task["repo"]) == ("by-keyboard", "https://github.com/user/repo")

    cancel = page.get_by_role("button", name="Cancel task")
    press(page, "Tab", until=cancel)
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Keep it")).to_be_focused()
    page.keyboard.press("Escape")
    expect(cancel).to_be_focused()
    page.keyboard.press("Enter")
    press(page, "Tab", until=page.get_by_role("button", name="Cancel the task"))
    page.keyboard.press("Enter")
    expect(page.locator("#now .status")).to_have_text("Cancelled")


def press(page: Page, key: str, *, until: Locator) -> None:
    """Press a key until this has the focus; at most as often as a page has focusable elements."""
    expect(until).to_be_visible()
    for _ in range(30):
        page.keyboard.press(key)
        if until.evaluate("(wanted) => document.activeElement === wanted"):
            return
    raise AssertionError(f"{key} does not lead to {until}")


def test_list_displays_loading_until_its_data_arrives(visitor: Callable[..., Visitor], sample_data: SampleData) -> None:
    me = visitor(token=sample_data.user.token)
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    me.page.route("**/api/tasks?**", hold)
    me.page.goto(f"{me.monitor.url}/dashboard/tasks")
    rows = me.page.locator("#tasks")
    expect(rows).to_be_empty()
    assert rows.evaluate("(list) => getComputedStyle(list, '::before').content") == '"Loading …"'
    while not held:
        me.page.evaluate("new Promise(requestAnimationFrame)")
    held.pop().continue_()
    expect(rows.get_by_role("listitem")).not_to_have_count(0)
    assert rows.evaluate("(list) => getComputedStyle(list, '::before').content") == "none"


def test_refresh_keeps_focus_and_selection(visitor: Callable[..., Visitor], sample_data: SampleData) -> None:
    me = visitor(token=sample_data.user.token)
    page = me.open("/dashboard")
    link = page.locator("#open").get_by_role("link", name="Let customers download")
    link.focus()
    page.evaluate("getSelection().selectAllChildren(document.querySelector('#open .step'))")
    before = len(me.monitor.requests)
    with page.expect_response(lambda answer: "/api/tasks" in answer.url and len(me.monitor.requests) > before):
        pass
    expect(link).to_be_focused()
    assert page.evaluate("String(getSelection())")


def test_offline_page_says_so_and_recovers(visitor: Callable[..., Visitor], sample_data: SampleData) -> None:
    me = visitor(token=sample_data.user.token)
    me.monitor.expect("ERR_INTERNET_DISCONNECTED")
    page = me.open("/dashboard")
    live = page.locator("#live")
    me.context.set_offline(offline=True)
    expect(live).to_contain_text("DevFlow is unreachable. Check your network connection. Retrying in")
    me.context.set_offline(offline=False)
    expect(live).to_have_text("Up to date. Refreshes automatically.")


def test_times_use_the_platforms_clock_and_the_readers_time_zone(
    visitor: Callable[..., Visitor], sample_data: SampleData
) -> None:
    me = visitor(token=sample_data.user.token, timezone_id="Asia/Kolkata")
    me.page.clock.install(time=datetime.now(UTC) + timedelta(hours=7))
    page = me.open(f"/dashboard/tasks/{sample_data.completed}")
    submitted = page.locator("#about > dl > div", has_text="Submitted")
    expect(submitted.locator("time")).to_have_text(re.compile(r"^(just now|\d+ (sec|min)\. ago)$"))
    at = datetime.fromisoformat(sample_data.user.get(f"/api/tasks/{sample_data.completed}").json()["createdAt"])
    local = at + timedelta(hours=5, minutes=30)
    expect(submitted.locator(".exact")).to_contain_text(
        f"{local:%b} {local.day}, {local.year}, {local.hour % 12 or 12}:{local:%M:%S}"
    )


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/tasks",
        "/tasks/{completed}",
        "/new",
        "/agents",
        "/agents/{agent}",
        "/webhooks",
        "/webhooks/{webhook}",
        "/account",
        "/login",
        "../docs",
    ],
)
def test_first_load_is_small_over_the_wire(visitor: Callable[..., Visitor], sample_data: SampleData, path: str) -> None:
    """With headers and every file, for a browser without a cache, compressed as API Gateway does."""
    me = visitor(token=sample_data.user.token)
    seen: dict[str, int] = {}
    addresses: dict[str, str] = {}
    network = me.context.new_cdp_session(me.page)
    network.on(
        "Network.responseReceived",
        lambda event: addresses.update({event["requestId"]: event["response"]["url"]}),
    )
    network.on(
        "Network.loadingFinished",
        lambda event: seen.update({addresses[event["requestId"]]: event["encodedDataLength"]}),
    )
    network.send("Network.enable")
    page = me.open(f"/dashboard{path}".replace("/dashboard..", "").format(**vars(sample_data)))
    own = {url: size for url, size in seen.items() if "/api/" not in url}
    assert own[page.url] < 6_000
    assert sum(own.values()) < 60_000, own


def test_long_log_displays_its_end(
    visitor: Callable[..., Visitor], sample_data: SampleData, user_by_mail: Callable[[str], Client]
) -> None:
    user = user_by_mail("long.log@example.com")
    agent = register(user, "long-log", "Long log", "linux", "long")
    task = work(user, agent, "long-log", "long", "Talk a lot")
    report(agent, task, "progress", progress=0.1)
    text = "".join(f"line {number} of a long log\n" for number in range(30_000))
    report(agent, task, "logs", offset=0, data=text)
    me = visitor(token=user.token)
    page = me.open(f"/dashboard/tasks/{task}")
    log = page.get_by_role("log")
    expect(log).to_contain_text("line 29999 of")
    assert "line 0 of" not in log.inner_text()
    assert page.evaluate("document.getElementById('log').textContent.length") < 600_000
    expect(page.get_by_label("Follow")).to_be_checked()
    log.evaluate("(box) => box.scrollTo(0, 0)")
    expect(page.get_by_label("Follow")).not_to_be_checked()
    more = "the very last line\n"
    report(agent, task, "logs", offset=len(text), data=more)
    expect(log).to_contain_text(more.strip())
    assert log.evaluate("(box) => box.scrollTop") < 1_000, "the reader's position is kept"
