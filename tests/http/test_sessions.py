"""Sessions: the user of a token, logout of one or all sessions, and the session cookie of browsers."""

from collections.abc import Callable
from dataclasses import replace
from http.cookies import SimpleCookie
from typing import Any

import pytest
from botocore.exceptions import ConnectTimeoutError

from chalicelib.auth import tokens
from chalicelib.core.settings import settings
from infra.local.gateway import Gateway, Response
from tests.conftest import Clock
from tests.http.conftest import Routes
from tests.http.scenario import Agent, Scenario, epoch, failing, ok, refused, snapshot
from tests.support import costs, moto_aws
from tests.support.client import Client

HOME = "http://localhost:3000"
DAY = 24 * 3_600
LOGIN = {"email": "user@example.com", "pin": "123456"}


def log_in(client: Client) -> Client:
    """Start another session of user@example.com."""
    return client.acting_as(ok(client.post("/api/auth/pin/login", LOGIN))["token"])


def log_in_from_own_page(client: Client) -> Response:
    """Log in as a browser does from the platform's own page."""
    return client.post("/api/auth/pin/login", LOGIN, Origin=HOME, Sec_Fetch_Site="same-origin")


def session_cookie(response: Response) -> str:
    """The cookie that a browser sends after this response."""
    return (response.header("Set-Cookie") or "").partition(";")[0]


def test_me_returns_the_user_of_the_token(user: Client, clock: Clock) -> None:
    body = ok(user.get("/api/auth/me"))
    assert set(body) == {"user", "expiresAt", "tokenId"}
    assert body["user"]["email"] == "user@example.com"
    assert body["user"]["name"] == "John Doe"
    assert body["tokenId"] is None


def test_logout_ends_only_the_current_session(user: Client, anonymous: Client) -> None:
    one, two = log_in(anonymous), log_in(anonymous)
    assert ok(one.post("/api/auth/logout", {})) == {"success": True}
    refused(one.get("/api/auth/me"), 401, "Invalid or expired token")
    refused(one.post("/api/auth/logout"), 401)
    ok(two.get("/api/auth/me"))
    ok(two.post("/api/auth/logout"))
    refused(two.get("/api/tasks"), 401)
    ok(user.get("/api/auth/me"))


def test_logout_everywhere_ends_sessions_and_personal_tokens_but_no_agents(
    scenario: Scenario, agent: Agent, anonymous: Client
) -> None:
    other = log_in(anonymous)
    personal = other.acting_as(ok(other.post("/api/auth/tokens", {"name": "cli"}), 201)["token"])
    ok(scenario.user.post("/api/auth/logout", {"everywhere": True}))
    for client in (scenario.user, other, personal):
        refused(client.get("/api/auth/me"), 401)
        refused(client.post("/api/tasks", {"intent": "i", "repo": "r", "naturalLanguage": "n"}), 401)
    assert agent.poll().status == 200
    assert ok(log_in(anonymous).get("/api/auth/tokens"))["total"] == 0


@pytest.mark.usefixtures("user")
def test_session_hours_setting_shortens_only_sessions(
    anonymous: Client, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "settings", replace(settings, session_hours=12))
    response = log_in_from_own_page(anonymous)
    assert "Max-Age=43200;" in str(response.header("Set-Cookie"))
    session = anonymous.acting_as(ok(response)["token"])
    personal = session.acting_as(ok(session.post("/api/auth/tokens", {"name": "cli"}), 201)["token"])
    clock.advance(12 * 3_600 - 1)
    ok(session.get("/api/auth/me"))
    clock.advance(32)
    refused(session.get("/api/auth/me"), 401, "Invalid or expired token")
    ok(personal.get("/api/tasks"))


def test_many_logouts_end_no_other_session(user: Client, anonymous: Client, fresh_minute: Clock) -> None:
    program = user.acting_as(ok(user.post("/api/auth/tokens", {"name": "cli"}), 201)["token"])
    ended = []
    for _ in range(120):
        fresh_minute.advance(10)
        ended.append(log_in(anonymous))
        ok(ended[-1].post("/api/auth/logout"))
    for client in (user, program):
        ok(client.get("/api/auth/me"))
    for session in ended:
        refused(session.get("/api/auth/me"), 401)
    (row,) = moto_aws.rows("users")
    assert len(str(row)) < 4_000, "what every call writes does not grow with the number of logouts"


# The list of sessions.


SESSIONS = "/api/auth/sessions"


def list_sessions(client: Client) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = ok(client.get(SESSIONS))["data"]
    return found


def test_sessions_are_listed_newest_first_with_their_origin(
    user: Client, anonymous: Client, fresh_minute: Clock
) -> None:
    fresh_minute.advance(5)
    before = fresh_minute.now // 1_000
    response = anonymous.post("/api/auth/pin/login", LOGIN, User_Agent="Firefox\x9b on Linux " + "x" * 300)
    session = anonymous.acting_as(ok(response)["token"])
    fresh_minute.advance(1)
    first, second = list_sessions(session)
    assert set(first) == {"id", "createdAt", "lastSeenAt", "expiresAt", "address", "userAgent", "current"}
    assert (first["current"], second["current"]) == (True, False)
    assert [each["current"] for each in list_sessions(user)] == [False, True]
    assert first["userAgent"] == ("Firefox on Linux " + "x" * 300)[:200]
    assert (first["address"], second["userAgent"]) == ("127.0.0.1", "test")
    assert epoch(first["createdAt"]) == before
    assert first["lastSeenAt"] == first["createdAt"]
    assert first["expiresAt"] == ok(session.get("/api/auth/me"))["expiresAt"]


def test_last_call_of_a_session_is_reported_to_the_hour(user: Client, fresh_minute: Clock) -> None:
    fresh_minute.advance(2 * 3_600)
    used = costs.measured(lambda: user.get("/api/auth/me"))
    assert used.requests == ("GetItem credentials", "UpdateItem users", "UpdateItem credentials")
    assert costs.measured(lambda: user.get("/api/auth/me")).requests == ("GetItem credentials", "UpdateItem users")
    (found,) = list_sessions(user)
    seen = epoch(found["lastSeenAt"])
    assert seen % 3_600 == 0
    assert 0 <= fresh_minute.now / 1_000 - seen < 3_600


def test_session_can_be_ended_from_another_session(user: Client, anonymous: Client) -> None:
    one, two = log_in(anonymous), log_in(anonymous)
    (session_id,) = [each["id"] for each in list_sessions(one) if each["current"]]
    assert ok(user.delete(f"{SESSIONS}/{session_id}")) == {"success": True}
    refused(one.get("/api/auth/me"), 401, "Invalid or expired token")
    ok(two.get("/api/auth/me"))
    assert session_id not in [each["id"] for each in list_sessions(user)]
    refused(user.delete(f"{SESSIONS}/{session_id}"), 404, "Session not found")


def test_own_session_can_be_ended(user: Client, anonymous: Client) -> None:
    session = log_in(anonymous)
    (session_id,) = [each["id"] for each in list_sessions(session) if each["current"]]
    ok(session.delete(f"{SESSIONS}/{session_id}"))
    refused(session.get("/api/auth/me"), 401)


@pytest.mark.parametrize("session_id", ["x", "T", "01979d0a000-0123456789abcdef0123", "a#b", "..%2F", "x" * 1_000])
def test_unknown_session_returns_404(user: Client, session_id: str) -> None:
    ok(user.post("/api/auth/tokens", {"name": "cli"}), 201)
    refused(user.delete(f"{SESSIONS}/{session_id}"), 404)


def test_session_of_another_user_returns_404(scenario: Scenario, other: Scenario) -> None:
    (session,) = list_sessions(scenario.user)
    before = snapshot()
    refused(other.user.delete(f"{SESSIONS}/{session['id']}"), 404, "Session not found")
    assert session["id"] not in str(list_sessions(other.user))
    assert snapshot() == before


def test_expired_sessions_are_not_listed(user: Client, anonymous: Client, clock: Clock) -> None:
    (old,) = list_sessions(user)
    clock.advance(30 * DAY + 1)
    session = log_in(anonymous)
    assert [each["current"] for each in list_sessions(session)] == [True]
    refused(session.delete(f"{SESSIONS}/{old['id']}"), 404)


def test_sessions_that_ended_everywhere_are_not_listed(user: Client, anonymous: Client) -> None:
    session = log_in(anonymous)
    (own,) = [each["id"] for each in list_sessions(session) if each["current"]]
    ok(session.post("/api/auth/logout", {"everywhere": True}))
    later = log_in(anonymous)
    assert len(list_sessions(later)) == 1
    refused(later.delete(f"{SESSIONS}/{own}"), 404)


def test_sessions_are_listed_in_pages(user: Client, anonymous: Client, fresh_minute: Clock) -> None:
    for _ in range(4):
        fresh_minute.advance(1)
        log_in(anonymous)
    found, cursor = [], None
    while True:
        page = ok(user.get(SESSIONS, {"limit": 2} | ({"cursor": cursor} if cursor else {})))
        assert (page["total"], page["limit"]) == (5, 2)
        found += page["data"]
        cursor = page["nextCursor"]
        if not page["hasMore"]:
            break
    assert found == list_sessions(user)
    assert [each["createdAt"] for each in found] == sorted((each["createdAt"] for each in found), reverse=True)
    assert ok(user.get(SESSIONS, {"limit": 2, "offset": 3}))["data"] == found[3:]


def test_sessions_of_a_login_that_could_not_be_stored_does_not_exist(user: Client, anonymous: Client) -> None:
    with failing("UpdateItem", ConnectTimeoutError(endpoint_url="-"), about="userAgent"):
        refused(anonymous.post("/api/auth/pin/login", LOGIN), 503)
    assert len(list_sessions(user)) == 1


def test_session_works_where_dynamodb_accepts_no_writes(user: Client, clock: Clock) -> None:
    clock.advance(3_600)
    with failing("UpdateItem", ConnectTimeoutError(endpoint_url="-")):
        ok(user.get("/api/auth/me"))
    ok(user.post("/api/auth/logout"))
    with failing("UpdateItem", ConnectTimeoutError(endpoint_url="-")):
        refused(user.get("/api/auth/me"), 401)


def test_agent_token_returns_403_on_session_routes(agent: Agent) -> None:
    before = snapshot()
    for method, path in (("GET", "/api/auth/me"), ("POST", "/api/auth/logout"), ("GET", "/api/auth/tokens")):
        refused(agent.client.send(method, path, None if method == "GET" else {}), 403, "Insufficient permissions")
    assert snapshot() == before


# The cookie.


def test_login_from_our_own_page_sets_a_cookie(user: Client, anonymous: Client) -> None:
    response = log_in_from_own_page(anonymous)
    ok(response)
    assert [name for name, _ in response.headers].count("Set-Cookie") == 1
    (morsel,) = SimpleCookie(response.header("Set-Cookie")).values()
    assert morsel.key == "__Host-devflow-session"
    assert (morsel["path"], morsel["secure"], morsel["httponly"], morsel["samesite"], morsel["domain"]) == (
        "/", True, True, "Lax", ""
    )  # fmt: skip
    assert int(morsel["max-age"]) == 30 * DAY
    assert morsel.value == response.json()["token"]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Origin": HOME, "Sec_Fetch_Site": "same-site"},
        {"Origin": "http://localhost:3001", "Sec_Fetch_Site": "same-origin"},
    ],
)
def test_login_from_another_origin_sets_no_cookie(user: Client, anonymous: Client, headers: dict[str, str]) -> None:
    """A page of another site must not log its visitor in as another user."""
    response = anonymous.post("/api/auth/pin/login", LOGIN, **headers)
    ok(response)
    assert response.header("Set-Cookie") is None


READ = ("GET", "/api/auth/me", None)
WRITE = ("POST", "/api/tasks", {"intent": "i", "repo": "r", "naturalLanguage": "n"})


@pytest.mark.parametrize(
    ("call", "headers", "accepted"),
    [
        (READ, {}, True),
        (READ, {"Sec_Fetch_Site": "same-origin"}, True),
        (READ, {"Sec_Fetch_Site": "none"}, True),
        (READ, {"Sec_Fetch_Site": "same-site"}, False),
        (READ, {"Sec_Fetch_Site": "cross-site"}, False),
        (READ, {"Sec_Fetch_Site": "anything"}, False),
        (READ, {"Origin": "https://evil.example"}, False),
        (READ, {"Origin": "null"}, False),
        (WRITE, {"Origin": HOME, "Sec_Fetch_Site": "same-origin"}, True),
        (WRITE, {"Sec_Fetch_Site": "same-origin"}, True),
        (WRITE, {"Origin": HOME}, True),
        (WRITE, {}, False),
        (WRITE, {"Sec_Fetch_Site": "none"}, False),
        (WRITE, {"Origin": HOME, "Sec_Fetch_Site": "none"}, False),
        (WRITE, {"Origin": HOME, "Sec_Fetch_Site": "cross-site"}, False),
        (WRITE, {"Origin": "https://evil.example", "Sec_Fetch_Site": "same-origin"}, False),
        (WRITE, {"Origin": "https://localhost:3000"}, False),
        (WRITE, {"Origin": "http://localhost:3000.evil.example"}, False),
        (WRITE, {"Origin": "http://localhost"}, False),
        (WRITE, {"Origin": "null"}, False),
        (WRITE, {"Origin": ""}, False),
        (WRITE, {"Referer": f"{HOME}/dashboard"}, False),
    ],
)
def test_cookie_is_accepted_only_from_our_own_pages(
    user: Client, anonymous: Client, call: tuple[str, str, object], headers: dict[str, str], accepted: bool  # noqa: FBT001
) -> None:  # fmt: skip
    cookie = session_cookie(log_in_from_own_page(anonymous))
    before = snapshot()
    response = anonymous.send(*call, Cookie=cookie, **headers)
    if accepted:
        assert response.status in (200, 202)
    else:
        refused(response, 401)
        assert snapshot() == before


def test_no_route_accepts_a_cookie_from_a_cross_site_request(
    scenario: Scenario, agent: Agent, anonymous: Client, routes: Routes
) -> None:
    scenario.start_task(agent)
    cookie = session_cookie(log_in_from_own_page(anonymous))
    before = snapshot()
    for method, resource in routes.guarded:
        response = anonymous.send(
            method,
            routes.path(resource),
            routes.body(method, resource),
            Cookie=cookie,
            Origin="https://evil.example",
            Sec_Fetch_Site="cross-site",
        )
        refused(response, 401)
    assert snapshot() == before


def test_page_of_the_requested_host_counts_as_our_own(user: Client, gateway: Gateway) -> None:
    """The local stage is also reachable at 127.0.0.1."""
    cookie = session_cookie(log_in_from_own_page(Client(gateway)))
    client = Client(gateway)
    for host, origin, status in (
        ("127.0.0.1:3000", "http://127.0.0.1:3000", 200),
        ("127.0.0.1:3000", "http://127.0.0.1:3001", 401),
        ("127.0.0.1:3000", "https://127.0.0.1:3000", 401),
    ):
        assert client.post("/api/auth/logout", b"{", Cookie=cookie, Host=host, Origin=origin).status == (
            400 if status == 200 else status
        )


def test_authorization_header_takes_precedence_over_the_cookie(user: Client, anonymous: Client) -> None:
    cookie = session_cookie(log_in_from_own_page(anonymous))
    refused(anonymous.acting_as("garbage").get("/api/auth/me", Cookie=cookie), 401)
    refused(anonymous.get("/api/auth/me", Cookie=cookie, Authorization="Basic dXNlcjpwYXNz"), 401)
    ok(user.get("/api/auth/me", Cookie="__Host-devflow-session=garbage", Origin="https://evil.example"))


@pytest.mark.parametrize(
    "cookie",
    ["{}", "a=b; {}", "{}; a=b", "a=b;{};c=d", " {} "],
)
def test_session_cookie_is_found_among_other_cookies(user: Client, anonymous: Client, cookie: str) -> None:
    own_cookie = session_cookie(log_in_from_own_page(anonymous))
    ok(anonymous.get("/api/auth/me", Cookie=cookie.format(own_cookie)))


def test_session_cookie_in_its_own_header_is_found(user: Client, gateway: Gateway) -> None:
    """HTTP/2 lets a browser send each cookie in a separate header (RFC 9113, section 8.2.3)."""
    own_cookie = session_cookie(log_in_from_own_page(Client(gateway)))
    response = gateway.call("GET", "/api/auth/me", (("Cookie", own_cookie), ("Cookie", "a=b")))
    assert response.status == 200


@pytest.mark.parametrize(
    "cookie", ["", "a", "=", ";;;", "devflow-session=x", "__Host-devflow-session", "__Host-devflow-session=", "é=é"]
)
def test_malformed_cookie_returns_401(user: Client, anonymous: Client, cookie: str) -> None:
    refused(anonymous.get("/api/auth/me", Cookie=cookie), 401)


def test_logout_deletes_the_cookie(user: Client, anonymous: Client) -> None:
    own_cookie = session_cookie(log_in_from_own_page(anonymous))
    response = anonymous.post("/api/auth/logout", Cookie=own_cookie, Origin=HOME)
    ok(response)
    (morsel,) = SimpleCookie(response.header("Set-Cookie")).values()
    assert (morsel.key, morsel.value, morsel["max-age"]) == ("__Host-devflow-session", "", "0")
    refused(anonymous.get("/api/auth/me", Cookie=own_cookie), 401)
    assert log_in(anonymous).post("/api/auth/logout").header("Set-Cookie") is None


# PINs.


def test_user_with_a_session_can_set_a_new_pin(
    user: Client, anonymous: Client, make_user: Callable[..., Client]
) -> None:
    make_user("other@example.com", "Jane Roe", "654321")
    assert ok(user.post("/api/auth/pin", {"pin": "271828"})) == {"success": True}
    refused(anonymous.post("/api/auth/pin/login", LOGIN), 401)
    ok(anonymous.post("/api/auth/pin/login", LOGIN | {"pin": "271828"}))
    ok(anonymous.post("/api/auth/pin/login", {"email": "other@example.com", "pin": "654321"}))
    assert not [row for row in moto_aws.rows("logins") if "271828" in str(row)]


def test_new_pin_ends_a_lock(user: Client, anonymous: Client) -> None:
    for _ in range(5):
        refused(anonymous.post("/api/auth/pin/login", LOGIN | {"pin": "000000"}), 401)
    refused(anonymous.post("/api/auth/pin/login", LOGIN), 429)
    ok(user.post("/api/auth/pin", {"pin": "271828"}))
    ok(anonymous.post("/api/auth/pin/login", LOGIN | {"pin": "271828"}))


@pytest.mark.parametrize("pin", ["123456", "000000", "112233", "159753", "241285"])
def test_common_pin_is_not_set(user: Client, anonymous: Client, make_user: Callable[..., Client], pin: str) -> None:
    make_user("other@example.com", "Jane Roe", "738205")
    other = anonymous.login("other@example.com", "738205")
    before = moto_aws.rows("logins")
    error = refused(other.post("/api/auth/pin", {"pin": pin}), 400, "Invalid request")
    assert "easy to guess" in error["message"]
    assert pin not in error["message"]
    assert moto_aws.rows("logins") == before
    ok(anonymous.post("/api/auth/pin/login", {"email": "other@example.com", "pin": "738205"}))


@pytest.mark.parametrize("pin", ["12345", "1234567", "12345a", "", None, 123456])
def test_invalid_pin_is_not_set(user: Client, anonymous: Client, pin: object) -> None:
    refused(user.post("/api/auth/pin", {"pin": pin}), 400)
    ok(anonymous.post("/api/auth/pin/login", LOGIN))
