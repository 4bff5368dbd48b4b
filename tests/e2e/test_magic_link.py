"""A magic link over real HTTP. The local stage prints and stores the mail, and its link logs in once."""

import re

from tests.e2e.conftest import Platform


def mails(platform: Platform, to: str) -> list[str]:
    """The texts of the mails to an address."""
    stored = platform.client.get("/local/mail").json()["mail"]
    return [mail["text"] for mail in stored if mail["to"] == [to]]


def test_magic_link_logs_in_once(platform: Platform) -> None:
    requested = platform.client.post("/api/auth/magic-link", {"email": "mail@example.com"})
    assert requested.status == 202
    (text,) = mails(platform, "mail@example.com")
    assert text.strip() in platform.output, "the stage prints the mail"
    link = re.search(r"^(http://localhost:\d+)(/login/link)#(\S+)$", text, re.MULTILINE)
    assert link, text
    url, page, secret = link.groups()
    assert url == platform.url
    opened = platform.client.get(page)
    assert (opened.status, opened.header("Content-Type")) == (200, "text/html; charset=utf-8")
    used = platform.client.post("/api/auth/magic-link/verify", {"token": secret})
    assert used.status == 200
    logged_in = platform.client.acting_as(used.json()["token"])
    assert logged_in.get("/api/auth/me").json()["user"]["email"] == "mail@example.com"
    assert platform.client.post("/api/auth/magic-link/verify", {"token": secret}).status == 401
    assert secret in platform.output, "the user of a local stage reads the mail there"


def test_mail_of_the_local_stage_is_read_only(platform: Platform) -> None:
    assert platform.client.post("/local/mail", {}).status == 405
