"""A magic link over real HTTP: the local stage prints the mail and keeps it, and the link in it logs in once."""

import re

from tests.e2e.conftest import Platform


def mails(platform: Platform, to: str) -> list[str]:
    """The texts of what was mailed to an address."""
    kept = platform.client.get("/local/mail").json()["mail"]
    return [mail["text"] for mail in kept if mail["to"] == [to]]


def test_magic_link_logs_in_once(platform: Platform) -> None:
    asked = platform.client.post("/api/auth/magic-link", {"email": "mail@example.com"})
    assert asked.status == 202
    (text,) = mails(platform, "mail@example.com")
    assert text.strip() in platform.output, "it is printed"
    link = re.search(r"^(http://localhost:\d+)(/login/link)#(\S+)$", text, re.MULTILINE)
    assert link, text
    url, page, secret = link.groups()
    assert url == platform.url
    shown = platform.client.get(page)
    assert (shown.status, shown.header("Content-Type")) == (200, "text/html; charset=utf-8")
    used = platform.client.post("/api/auth/magic-link/verify", {"token": secret})
    assert used.status == 200
    logged_in = platform.client.acting_as(used.json()["token"])
    assert logged_in.get("/api/auth/me").json()["user"]["email"] == "mail@example.com"
    assert platform.client.post("/api/auth/magic-link/verify", {"token": secret}).status == 401
    assert secret in platform.output, "the operator of a local stage reads the mail there"


def test_mail_of_the_local_stage_is_read_only(platform: Platform) -> None:
    assert platform.client.post("/local/mail", {}).status == 405
