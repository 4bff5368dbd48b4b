"""Magic links: logging in by a mail, once, within ten minutes, for whoever reads the address and nobody else."""

import hashlib
import json
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from chalicelib.auth import magic_links
from chalicelib.aws import ses
from chalicelib.core.settings import settings
from infra.local.gateway import Gateway, Response
from tests.conftest import Clock
from tests.http.conftest import Log
from tests.http.scenario import failing, ok, refused, snapshot
from tests.support import moto_aws
from tests.support.client import Client

ASK, USE, CONFIRM = "/api/auth/magic-link", "/api/auth/magic-link/verify", "/login/link"
READ = "/api/auth/magic-link/read"
LINK = re.compile(r"^http://localhost:3000/login/link#([A-Za-z0-9_-]{43})$", re.MULTILINE)
HOME = "http://localhost:3000"


def ask(client: Client, email: str = "new@example.com") -> Response:
    return client.post(ASK, {"email": email})


def secret(client: Client, email: str = "new@example.com") -> str:
    """Ask for a link, and read what is behind its # in the mail that came."""
    before = len(moto_aws.mails())
    assert ok(ask(client, email), 202) == {"success": True}
    (sent,) = moto_aws.mails()[before:]
    assert sent.destinations == {"ToAddresses": [email.lower()]}
    found = LINK.search(sent.body)
    assert found, sent.body
    return found[1]


def use(client: Client, token: str) -> Response:
    return client.post(USE, {"token": token})


def test_a_link_logs_in_and_its_first_login_makes_the_user(anonymous: Client) -> None:
    body = ok(use(anonymous, secret(anonymous, "New.Person@example.com")))
    assert set(body) == {"success", "token", "user"}
    assert body["user"]["email"] == "new.person@example.com"
    assert body["user"]["name"] == "new.person"
    assert ok(anonymous.acting_as(body["token"]).get("/api/auth/me"))["user"] == body["user"]
    assert ok(use(anonymous, secret(anonymous, "new.person@example.com")))["user"] == body["user"]


def test_the_same_verified_address_is_the_same_user_however_they_log_in(user: Client, anonymous: Client) -> None:
    me = ok(user.get("/api/auth/me"))["user"]
    assert ok(use(anonymous, secret(anonymous, "user@example.com")))["user"] == me
    (row,) = moto_aws.rows("users")
    assert row["owner"]["S"] == me["id"]


def test_the_answer_is_the_same_for_an_address_that_is_known_and_one_that_is_not(
    user: Client, anonymous: Client
) -> None:
    known, unknown = ask(anonymous, "user@example.com"), ask(anonymous, "nobody@example.com")
    assert (known.status, known.body) == (unknown.status, unknown.body)
    assert [name for name, _ in known.headers] == [name for name, _ in unknown.headers]


def test_of_fifty_who_use_it_at_once_one_is_let_in(gateway: Gateway, anonymous: Client) -> None:
    token = secret(anonymous)
    body = json.dumps({"token": token}).encode()

    def attempt(number: int) -> int:
        source = f"192.0.2.{number}"  # or the limit of one network address would let ten of them try
        return gateway.call("POST", USE, (("Content-Type", "application/json"),), body, source_ip=source).status

    with ThreadPoolExecutor(16) as pool:
        statuses = list(pool.map(attempt, range(50)))
    assert sorted(statuses) == [200, *[401] * 49]
    assert len(moto_aws.rows("users")) == 1


def test_it_is_used_once(anonymous: Client) -> None:
    token = secret(anonymous)
    ok(use(anonymous, token))
    refused(use(anonymous, token), 401, "Invalid or expired link")


def test_opening_a_link_does_not_use_it_up(anonymous: Client) -> None:
    """Mail scanners open every link, with every method that changes nothing."""
    token = secret(anonymous)
    before = moto_aws.rows("logins"), snapshot()
    for method in ("GET", "HEAD"):
        for path in (CONFIRM, f"{CONFIRM}?token={token}", f"{CONFIRM}/{token}", USE, f"{USE}?token={token}", READ, ASK):
            anonymous.send(method, path)
    assert (moto_aws.rows("logins"), snapshot()) == before
    ok(use(anonymous, token))


def test_it_is_good_for_ten_minutes(anonymous: Client, clock: Clock) -> None:
    early, late = secret(anonymous, "one@example.com"), secret(anonymous, "two@example.com")
    clock.advance(10 * 60 - 5)
    ok(use(anonymous, early))
    clock.advance(10)
    refused(use(anonymous, late), 401, "Invalid or expired link")
    assert len(moto_aws.rows("users")) == 1, "whom a late link would have made"


def test_its_row_has_expired_by_itself_long_before_dynamodb_removes_it(anonymous: Client, clock: Clock) -> None:
    token = secret(anonymous)
    clock.advance(10 * 60)
    (row,) = [row for row in moto_aws.rows("logins") if row["login"]["S"].startswith("link#")]
    assert int(row["expiresAt"]["N"]) > clock.now / 1_000, "so it is still there"
    refused(use(anonymous, token), 401)


def test_nothing_in_the_tables_logs_anybody_in(anonymous: Client, gateway: Gateway) -> None:
    token = secret(anonymous)
    stored = json.dumps([moto_aws.rows(table) for table in ("users", "logins", "agents", "tasks")])
    assert token not in stored
    assert hashlib.sha256(token.encode()).hexdigest() in stored
    texts = set(re.findall(r"[A-Za-z0-9_-]{20,}", stored))
    assert texts
    for number, text in enumerate(sorted(texts)):
        body = json.dumps({"token": text[:43].ljust(43, "0")}).encode()
        source = f"198.51.100.{number}"
        answer = gateway.call("POST", USE, (("Content-Type", "application/json"),), body, source_ip=source)
        assert answer.status == 401


@pytest.mark.parametrize("token", ["", "x", "A" * 42, "A" * 44, "A" * 42 + "!", None, 5, "A" * 42 + "\n"])
def test_what_cannot_be_a_links_is_a_400(anonymous: Client, token: object) -> None:
    refused(anonymous.post(USE, {"token": token}), 400)


def test_what_is_behind_a_links_hash_is_a_401_when_it_is_not_ours(anonymous: Client) -> None:
    refused(use(anonymous, "A" * 43), 401, "Invalid or expired link")


@pytest.mark.parametrize(
    "email",
    [
        "new",
        "new@",
        "@example.com",
        "new@example",
        "new@example.com,other@example.com",
        "new@example.com\nBcc: other@example.com",
        "new@exam\u212aple.com",
        "mi\u212ae@example.com",
        "new @example.com",
        "<new@example.com>",
        "Some Body <new@example.com>",
        '"new"@example.com',
        "new@[192.0.2.1]",
        "a" * 65 + "@example.com",
        "",
        None,
    ],
)
def test_what_is_no_single_plain_address_is_sent_nothing(anonymous: Client, email: object) -> None:
    refused(anonymous.post(ASK, {"email": email}), 400)
    assert moto_aws.mails() == []


# The page that the link leads to.


def test_links_page_is_a_static_page_of_the_dashboard(anonymous: Client) -> None:
    """tests/http/test_dashboard.py has its policy and its files."""
    page = anonymous.get(CONFIRM)
    assert page.status == 200
    assert page.header("Content-Type") == "text/html; charset=utf-8"
    assert page.header("Referrer-Policy") == "no-referrer"
    assert page.header("Content-Security-Policy") == anonymous.get("/dashboard").header("Content-Security-Policy")
    assert len([name for name, _ in page.headers if name.lower() == "content-security-policy"]) == 1
    assert anonymous.get(f"{CONFIRM}?token={'A' * 43}").body == page.body


def test_confirming_on_the_links_page_logs_the_browser_in(anonymous: Client) -> None:
    token = secret(anonymous)
    answer = anonymous.post(USE, {"token": token}, Origin=HOME, Sec_Fetch_Site="same-origin")
    kept = (answer.header("Set-Cookie") or "").partition(";")[0]
    assert kept.startswith("__Host-devflow-session=")
    assert ok(anonymous.get("/api/auth/me", Cookie=kept))["user"]["email"] == "new@example.com"


def test_confirming_from_another_site_sets_no_session_cookie(anonymous: Client) -> None:
    answer = anonymous.post(USE, {"token": secret(anonymous)}, Origin="https://evil.example")
    assert answer.header("Set-Cookie") is None


# Which account a link opens, and which browser requested it.


def read(client: Client, token: str, **headers: str) -> dict[str, Any]:
    body: dict[str, Any] = ok(client.post(READ, {"token": token}, **headers))
    return body


def request_in_browser(client: Client, email: str, cookie: str | None = None) -> tuple[str, str]:
    """Request a link on the login page. Returns its token and the browser's cookie."""
    sent = {"Origin": HOME, "Sec_Fetch_Site": "same-origin"} | ({"Cookie": cookie} if cookie else {})
    response = client.post(ASK, {"email": email}, **sent)
    assert ok(response, 202) == {"success": True}
    header = response.header("Set-Cookie") or ""
    assert header.endswith("; Max-Age=600; Path=/; Secure; HttpOnly; SameSite=Lax")
    found = LINK.search(moto_aws.mails()[-1].body)
    assert found
    return found[1], header.partition(";")[0]


def test_reading_a_link_names_its_address_and_does_not_use_it(anonymous: Client, clock: Clock) -> None:
    token = secret(anonymous, "New.Person@example.com")
    for _ in range(3):
        link = read(anonymous, token)
        assert (link["email"], link["sameBrowser"]) == ("new.person@example.com", False)
    assert moto_aws.rows("users") == []
    expires = datetime.fromisoformat(link["expiresAt"]).timestamp()
    assert expires - clock.now / 1_000 == pytest.approx(600, abs=5)
    ok(use(anonymous, token))
    for path in (READ, USE):
        refused(anonymous.post(path, {"token": token}), 401, "Invalid or expired link")


def test_link_that_expired_or_never_existed_cannot_be_read(anonymous: Client, clock: Clock) -> None:
    token = secret(anonymous)
    refused(anonymous.post(READ, {"token": "A" * 43}), 401, "Invalid or expired link")
    clock.advance(10 * 60 + 1)
    refused(anonymous.post(READ, {"token": token}), 401, "Invalid or expired link")


def test_only_the_browser_that_requested_a_link_is_its_browser(anonymous: Client) -> None:
    first, cookie = request_in_browser(anonymous, "new@example.com")
    second, same = request_in_browser(anonymous, "new@example.com", cookie)
    assert same == cookie, "an older link of this browser stays one of its own"
    foreign, other = request_in_browser(anonymous, "attacker@example.com")
    assert other != cookie
    assert cookie.startswith("__Host-devflow-link=")
    for token in (first, second):
        assert read(anonymous, token, Cookie=cookie)["sameBrowser"] is True
        assert read(anonymous, token, Cookie=other)["sameBrowser"] is False
        assert read(anonymous, token)["sameBrowser"] is False
    assert read(anonymous, foreign, Cookie=cookie)["sameBrowser"] is False
    assert cookie.partition("=")[2] not in json.dumps(moto_aws.rows("logins")), "only its hash is stored"


@pytest.mark.parametrize("cookie", ["__Host-devflow-link=", "__Host-devflow-link=x", f"devflow-link={'A' * 43}"])
def test_browser_id_that_is_none_of_ours_is_replaced(anonymous: Client, cookie: str) -> None:
    token, given = request_in_browser(anonymous, "new@example.com", cookie)
    assert given != cookie
    assert read(anonymous, token, Cookie=cookie)["sameBrowser"] is False


def test_request_of_a_program_or_another_site_sets_no_browser_id(anonymous: Client) -> None:
    for headers in ({}, {"Origin": "https://attacker.example"}, {"Sec_Fetch_Site": "cross-site"}):
        assert ask_with(anonymous, headers).header("Set-Cookie") is None


def ask_with(client: Client, headers: dict[str, str]) -> Response:
    return client.post(ASK, {"email": "new@example.com"}, **headers)


def test_link_of_a_row_without_a_browser_can_be_read(anonymous: Client) -> None:
    """Version 0.1.0 stored links without it."""
    token, cookie = request_in_browser(anonymous, "new@example.com")
    client = boto3.client("dynamodb")
    key = {"login": {"S": f"link#{hashlib.sha256(token.encode()).hexdigest()}"}}
    client.update_item(TableName="devflow-local-logins", Key=key, UpdateExpression="REMOVE browser")
    assert read(anonymous, token, Cookie=cookie) == read(anonymous, token) | {"sameBrowser": False}
    ok(use(anonymous, token))


# Who is mailed, and how often.


def test_an_address_is_mailed_five_times_and_then_not_for_fifteen_minutes(
    gateway: Gateway, anonymous: Client, clock: Clock
) -> None:
    """Whoever asks, from wherever; and nobody is told."""

    def from_elsewhere(number: int, email: str = "new@example.com") -> Response:
        body = json.dumps({"email": email}).encode()
        return gateway.call("POST", ASK, (("Content-Type", "application/json"),), body, source_ip=f"192.0.2.{number}")

    answers = [from_elsewhere(number) for number in range(12)]
    assert {(answer.status, answer.body) for answer in answers} == {(202, b'{"success":true}')}
    assert len(moto_aws.mails()) == 5
    assert from_elsewhere(1, "other@example.com").status == 202
    assert len(moto_aws.mails()) == 6
    clock.advance(15 * 60 + 1)
    from_elsewhere(2)
    assert len(moto_aws.mails()) == 7


def test_the_mails_of_an_address_lock_no_pin(user: Client, anonymous: Client) -> None:
    for _ in range(6):
        ask(anonymous, "user@example.com")
    ok(anonymous.post("/api/auth/pin/login", {"email": "user@example.com", "pin": "123456"}))


@pytest.mark.parametrize("path", [ASK, USE])
def test_the_eleventh_in_a_minute_from_a_network_address_is_refused(
    anonymous: Client, fresh_minute: Clock, path: str
) -> None:
    for number in range(10):
        body = {"email": f"a{number}@example.com"} if path == ASK else {"token": f"{number:043d}"}
        assert anonymous.post(path, body).status == (202 if path == ASK else 401)
    sent = len(moto_aws.mails())
    answer = anonymous.post(path, {"email": "b@example.com", "token": "A" * 43})
    refused(answer, 429)
    assert answer.header("X-RateLimit-Limit") == "10"
    assert 1 <= int(answer.header("Retry-After") or 0) <= 60
    assert len(moto_aws.mails()) == sent


@pytest.mark.parametrize("path", [ASK, USE])
def test_without_the_store_of_its_limits_nobody_is_mailed_or_let_in(anonymous: Client, path: str) -> None:
    body = {"email": "new@example.com", "token": secret(anonymous)}
    sent = len(moto_aws.mails())
    with failing("UpdateItem", EndpointConnectionError(endpoint_url="https://example.com")):
        refused(anonymous.post(path, body), 503)
    assert len(moto_aws.mails()) == sent
    ok(use(anonymous, str(body["token"])))


def test_only_addresses_of_the_named_domains_are_mailed(anonymous: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        magic_links, "settings", replace(settings, email_domains=frozenset({"example.com", "example.org"}))
    )
    for email in ("a@example.com", "a@EXAMPLE.org", "a@sub.example.com", "a@notexample.com", "a@example.net"):
        assert ok(ask(anonymous, email), 202) == {"success": True}
    assert [sent.destinations["ToAddresses"] for sent in moto_aws.mails()] == [["a@example.com"], ["a@example.org"]]


# When mail fails.


def test_a_stage_without_a_sender_says_so(anonymous: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ses, "settings", replace(settings, mail_from=None))
    assert "DEVFLOW_MAIL_FROM" in refused(ask(anonymous), 503)["message"]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ClientError({"Error": {"Code": "MessageRejected", "Message": "not verified: new@example.com"}}, "x"), 202),
        (ClientError({"Error": {"Code": "BadRequestException", "Message": "new@example.com"}}, "x"), 202),
        (ClientError({"Error": {"Code": "SendingPausedException", "Message": "no"}}, "x"), 503),
        (ClientError({"Error": {"Code": "TooManyRequestsException", "Message": "no"}}, "x"), 503),
        (ClientError({"Error": {"Code": "AccessDeniedException", "Message": "no"}}, "x"), 503),
        (EndpointConnectionError(endpoint_url="https://example.com"), 503),
    ],
)
def test_what_ses_says_of_an_address_is_told_to_the_operator_alone(
    anonymous: Client, log: Log, error: Exception, status: int
) -> None:
    with failing("SendEmail", error):
        assert ask(anonymous).status == status
    assert "new@example.com" not in log.text or status != 202
    assert "Internal" not in log.text


def test_neither_link_nor_address_is_ever_logged(anonymous: Client, log: Log) -> None:
    token = secret(anonymous)
    use(anonymous, token)
    use(anonymous, token)
    assert len(log.requests) == 3
    assert token not in log.text
    assert "new@example.com" not in log.text
