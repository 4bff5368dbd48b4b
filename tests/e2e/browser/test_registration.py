"""Registering a machine: the dashboard creates a registration token and displays it once."""

from collections.abc import Callable

from playwright.sync_api import expect

from tests.e2e.browser.conftest import Visitor
from tests.support.client import Client


def test_machine_registers_with_the_token_that_the_dashboard_displays_once(
    visitor: Callable[..., Visitor], user_by_mail: Callable[[str], Client]
) -> None:
    user = user_by_mail("machines@example.com")
    page = visitor(token=user.token).open("/dashboard/agents")
    page.get_by_role("button", name="Register a machine").click()
    page.get_by_label("Number of agents").fill("3")
    page.get_by_label("Valid for").select_option("1 day")
    page.get_by_role("button", name="Create the token").click()

    dialog = page.get_by_role("dialog", name="Registration token")
    secret = dialog.get_by_role("group", name="The registration token")
    expect(secret).to_be_visible()
    token = secret.inner_text().strip()
    commands = dialog.get_by_role("group", name="Commands for the machine").inner_text()
    assert "devflow agent register --url http://localhost:" in commands
    assert "--registration-token-stdin" in commands
    assert token not in commands, "commands stay in the history of the shell"
    for _ in range(3):
        page.keyboard.press("Escape")
        expect(dialog).to_be_visible()
    assert token not in page.content().replace(dialog.inner_html(), "")

    (stored,) = user.get("/api/agents/registration-tokens").json()["data"]
    assert (stored["uses"], stored["used"]) == (3, 0)
    body = {"agentId": "machine-1", "name": "Build machine", "version": "1"}
    assert user.acting_as(token).post("/api/agents", body).status == 201
    dialog.get_by_role("button", name="I have copied it").click()
    expect(dialog).to_be_hidden()
    expect(page.get_by_role("link", name="Build machine")).to_be_visible()
    assert token not in page.content()
