"""Sign-in with Slack, over real HTTP with a stand-in for Slack.

It ends at the dashboard, or at the login page with a reason.
"""

import base64
import hmac
import json
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from http.cookies import SimpleCookie
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import boto3
import jwt
import pytest
from botocore.exceptions import EndpointConnectionError

from chalicelib.auth import keys, magic_links, slack_api, slack_login
from chalicelib.core import deadline
from chalicelib.core.errors import Unavailable
from chalicelib.core.settings import settings
from infra.local.gateway import Gateway, Response
from tests.conftest import Clock
from tests.http.conftest import Log
from tests.http.scenario import failing, ok
from tests.support import moto_aws
from tests.support import slack_server as standin
from tests.support.client import Client, Http
from tests.support.environment import KEY
from tests.support.slack_server import CLIENT_ID, CLIENT_SECRET, KEYS, TOKEN, Slack, path_of, says

START, CALLBACK = "/api/auth/slack", "/api/auth/slack/callback"


@pytest.fixture
def slack(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Iterator[Slack]:
    """A stand-in for Slack, for which this stage is configured."""
    with standin.running(lambda: clock.now / 1_000) as server:
        secret = {"current": "key-test", "key-test": KEY.decode()}
        secret |= {"slackClientId": CLIENT_ID, "slackClientSecret": CLIENT_SECRET}
        monkeypatch.setattr(keys, "settings", replace(settings, local_secret=json.dumps(secret)))
        monkeypatch.setattr(keys, "_cached", None)
        monkeypatch.setattr(slack_login, "_cached_keys", (0, {}))
        for module in (slack_login, slack_api):
            monkeypatch.setattr(module, "settings", replace(settings, slack_url=server.url))
        yield server


class Browser:
    """Stores cookies and follows redirects to and from Slack."""

    def __init__(self, gateway: Gateway, slack: Slack, address: str = "192.0.2.1") -> None:
        self._gateway, self._slack, self._address = gateway, slack, address
        self.cookies: dict[str, str] = {}

    def get(self, target: str) -> Response:
        """Request a page of the platform, and store its cookies."""
        sent = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        headers = [("Cookie", sent), ("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", "navigate")]
        response = self._gateway.call("GET", target, headers, source_ip=self._address)
        for line in [value for name, value in response.headers if name == "Set-Cookie"]:
            for name, morsel in SimpleCookie(line).items():
                assert (morsel["path"], morsel["secure"], morsel["httponly"]) == ("/", True, True)
                assert morsel["samesite"] == "Lax"
                assert not morsel["domain"]
                if morsel["max-age"] == "0":
                    self.cookies.pop(name, None)
                else:
                    self.cookies[name] = morsel.value
        return response

    def start(self) -> str:
        """Start the sign-in and confirm it on Slack's page. Returns the path of the callback."""
        started = self.get(START)
        assert started.status == 302, started
        http = Http(self._slack.url)
        response = http.call("GET", path_of(started.header("Location") or ""))
        http.close_all()
        assert response.status == 302, response
        return path_of(response.header("Location") or "")

    def sign_in(self) -> Response:
        return self.get(self.start())

    @property
    def session(self) -> str | None:
        return self.cookies.get("__Host-devflow-session")


@pytest.fixture
def browser(gateway: Gateway, slack: Slack) -> Browser:
    return Browser(gateway, slack)


def failure_reason(response: Response, browser: Browser) -> str:
    """Assert that nobody was signed in and no user was created. Returns the reason for the login page."""
    assert response.status == 302, response
    location = urlsplit(response.header("Location") or "")
    assert (location.scheme, location.netloc, location.path) == ("", "", "/dashboard/login")
    assert response.body == b""
    assert browser.session is None
    assert browser.cookies == {}, "the cookie of the sign-in was deleted"
    assert moto_aws.rows("users") == []
    (reason,) = parse_qs(location.query)["reason"]
    return reason


def test_user_verified_by_slack_is_signed_in_to_the_dashboard(browser: Browser, anonymous: Client) -> None:
    response = browser.sign_in()
    assert (response.status, response.header("Location"), response.body) == (302, "/dashboard", b"")
    assert list(browser.cookies) == ["__Host-devflow-session"]
    me = ok(anonymous.get("/api/auth/me", Cookie=f"__Host-devflow-session={browser.session}"))
    assert (me["user"]["email"], me["user"]["name"]) == ("krane@example.com", "Krane")
    assert me["tokenId"] is None
    assert response.header("Cache-Control") == "no-store"


TEAM = "T0R7GR8RJ"


@pytest.fixture
def team(slack: Slack, monkeypatch: pytest.MonkeyPatch) -> str:
    """The workspace that this stage names."""
    monkeypatch.setattr(slack_login, "settings", replace(settings, slack_url=slack.url, slack_team=TEAM))
    return TEAM


def owner_of(browser: Browser, anonymous: Client) -> str:
    """The id of the user to whom the browser's session belongs."""
    me = ok(anonymous.get("/api/auth/me", Cookie=f"__Host-devflow-session={browser.session}"))
    return str(me["user"]["id"])


def test_first_sign_in_links_the_user_with_the_verified_email(
    browser: Browser, make_user: Callable[..., Client], team: str, anonymous: Client, slack: Slack
) -> None:
    """So the users of version 0.1.0, which looked at the email only, are linked at their next sign-in."""
    existing = ok(make_user("krane@example.com", "Krane, by mail").get("/api/auth/me"))["user"]
    for email in ("krane@example.com", "krane@example.com", "renamed@example.com"):
        slack.claims = {"email": email}
        browser.sign_in()
        assert owner_of(browser, anonymous) == existing["id"], "the person counts, and no longer the email"
    (row,) = moto_aws.rows("users")
    assert (row["owner"]["S"], row["name"]["S"], row["email"]["S"]) == (
        existing["id"], "Krane, by mail", "krane@example.com",
    )  # fmt: skip


def test_person_with_a_changed_email_does_not_reach_the_user_of_that_email(
    browser: Browser, make_user: Callable[..., Client], team: str, anonymous: Client, slack: Slack
) -> None:
    """An administrator of a workspace can change the emails of its people."""
    slack.claims = {"sub": "U0ATTACKER", "email": "attacker@example.com"}
    browser.sign_in()
    attacker = owner_of(browser, anonymous)
    victim = ok(make_user("victim@example.com").get("/api/auth/me"))["user"]["id"]
    slack.claims = {"sub": "U0ATTACKER", "email": "victim@example.com"}
    browser.sign_in()
    assert owner_of(browser, anonymous) == attacker != victim


def test_second_person_with_the_email_of_a_linked_user_is_refused(browser: Browser, team: str, slack: Slack) -> None:
    browser.sign_in()
    browser.cookies.clear()
    slack.claims = {"sub": "U0SECOND"}
    assert browser.sign_in().header("Location") == "/dashboard/login?reason=slack-account"
    assert browser.session is None
    assert len(moto_aws.rows("users")) == 1


def test_without_a_configured_workspace_no_existing_user_is_linked(
    browser: Browser, make_user: Callable[..., Client], anonymous: Client, slack: Slack
) -> None:
    existing = ok(make_user("krane@example.com").get("/api/auth/me"))["user"]["id"]
    assert browser.sign_in().header("Location") == "/dashboard/login?reason=slack-account"
    assert browser.session is None
    slack.claims = {"email": "new@example.com"}
    for _ in range(2):
        browser.sign_in()
        assert owner_of(browser, anonymous) != existing
    assert len(moto_aws.rows("users")) == 2


def test_same_person_id_in_another_workspace_is_another_person(
    browser: Browser, slack: Slack, anonymous: Client
) -> None:
    browser.sign_in()
    first = owner_of(browser, anonymous)
    slack.claims = {"https://slack.com/team_id": "T0OTHER", "email": "other@example.com"}
    browser.sign_in()
    assert owner_of(browser, anonymous) != first


def test_parallel_first_sign_ins_of_a_person_make_one_user(gateway: Gateway, slack: Slack) -> None:
    browsers = [Browser(gateway, slack, f"198.51.100.{number}") for number in range(8)]
    callbacks = [each.start() for each in browsers]
    with ThreadPoolExecutor(8) as pool:
        responses = list(pool.map(lambda each, path: each.get(path).header("Location"), browsers, callbacks))
    assert responses == ["/dashboard"] * 8
    assert len(moto_aws.rows("users")) == 1


def test_linked_person_whose_user_was_removed_is_not_signed_in(browser: Browser, slack: Slack) -> None:
    browser.sign_in()
    browser.cookies.clear()
    (row,) = moto_aws.rows("users")
    boto3.client("dynamodb").delete_item(TableName="devflow-local-users", Key={"owner": row["owner"]})
    assert failure_reason(browser.sign_in(), browser) == "slack-unavailable"


@pytest.mark.parametrize(
    "claims",
    [{"sub": None}, {"sub": ""}, {"sub": "U1#T2"}, {"sub": 5}, {"https://slack.com/team_id": None},
     {"https://slack.com/team_id": "T1#U2"}, {"https://slack.com/team_id": ["T0R7GR8RJ"]}],
    ids=str,
)  # fmt: skip
def test_person_without_valid_ids_is_rejected(browser: Browser, slack: Slack, claims: dict[str, Any]) -> None:
    slack.claims = claims
    assert failure_reason(browser.sign_in(), browser) == "slack-refused"


def test_prod_without_a_named_workspace_has_no_slack_login(
    browser: Browser, slack: Slack, monkeypatch: pytest.MonkeyPatch, log: Log
) -> None:
    prod = replace(vars(keys)["settings"], stage="prod")
    monkeypatch.setattr(keys, "settings", prod)
    monkeypatch.setattr(keys, "_cached", None)
    assert failure_reason(browser.get(START), browser) == "slack-off"
    assert "DEVFLOW_SLACK_TEAM" in log.text
    monkeypatch.setattr(keys, "settings", replace(prod, slack_team=TEAM))
    monkeypatch.setattr(keys, "_cached", None)
    assert browser.sign_in().header("Location") == "/dashboard"


def test_authorization_request_is_url_encoded_and_returns_to_our_callback(browser: Browser, slack: Slack) -> None:
    location = urlsplit(browser.get(START).header("Location") or "")
    assert f"{location.scheme}://{location.netloc}{location.path}" == f"{slack.url}/openid/connect/authorize"
    assert "redirect_uri=http%3A%2F%2Flocalhost%3A3000%2Fapi%2Fauth%2Fslack%2Fcallback" in location.query
    query = {name: values[0] for name, values in parse_qs(location.query).items()}
    assert set(query) == {"response_type", "scope", "client_id", "redirect_uri", "state", "nonce"}
    assert browser.cookies == {"__Host-devflow-slack": query["state"]}


def test_state_and_nonce_are_not_stored_in_plain_text(browser: Browser) -> None:
    location = urlsplit(browser.get(START).header("Location") or "")
    query = parse_qs(location.query)
    stored = json.dumps(moto_aws.rows("logins"))
    for name in ("state", "nonce"):
        assert query[name][0] not in stored


# The state.


@pytest.mark.parametrize("state", ["", "wrong", "é", "%00", "A" * 43, "x" * 5_000, "%F0%9F%98%80"])
def test_state_that_does_not_match_the_cookie_is_rejected(browser: Browser, slack: Slack, state: str) -> None:
    callback = browser.start()
    code = parse_qs(urlsplit(callback).query)["code"][0]
    assert failure_reason(browser.get(f"{CALLBACK}?code={code}&state={state}"), browser) == "slack-expired"
    assert TOKEN not in slack.requested_paths, "the code was not sent to Slack"


def test_callback_without_a_valid_state_is_rejected(browser: Browser) -> None:
    for query in ("", "?", "?code=x", "?state=", "?error=access_denied", "?code=x&state=y"):
        browser.start()
        assert failure_reason(browser.get(CALLBACK + query), browser) == "slack-expired"


def test_callback_link_cannot_sign_in_another_browser(gateway: Gateway, slack: Slack, browser: Browser) -> None:
    """An attacker's code and state in a victim's browser, without a cookie and with the victim's own cookie."""
    victim = Browser(gateway, slack, "192.0.2.2")
    assert failure_reason(victim.get(browser.start()), victim) == "slack-expired"
    victim.start()
    assert failure_reason(victim.get(browser.start()), victim) == "slack-expired"


def test_state_is_used_once(browser: Browser, slack: Slack) -> None:
    callback = browser.start()
    cookies = dict(browser.cookies)
    assert browser.get(callback).header("Location") == "/dashboard"
    browser.cookies = cookies
    requests = slack.requested_paths.count(TOKEN)
    repeated = browser.get(callback)
    assert repeated.header("Location") == "/dashboard/login?reason=slack-expired"
    assert browser.session is None
    assert slack.requested_paths.count(TOKEN) == requests


def test_concurrent_callbacks_with_one_state_sign_in_once(gateway: Gateway, slack: Slack, browser: Browser) -> None:
    callback = browser.start()

    def call_back(number: int) -> str:
        other = Browser(gateway, slack, f"198.51.100.{number}")
        other.cookies = dict(browser.cookies)
        return other.get(callback).header("Location") or ""

    with ThreadPoolExecutor(8) as pool:
        responses = list(pool.map(call_back, range(20)))
    assert sorted(responses) == ["/dashboard", *["/dashboard/login?reason=slack-expired"] * 19]


def test_state_is_valid_for_ten_minutes(browser: Browser, clock: Clock) -> None:
    callback = browser.start()
    clock.advance(10 * 60 + 1)
    assert failure_reason(browser.get(callback), browser) == "slack-expired"
    callback = browser.start()
    clock.advance(10 * 60 - 5)
    assert browser.get(callback).header("Location") == "/dashboard"


# The user.


def test_denied_sign_in_returns_to_the_login_page(browser: Browser, slack: Slack) -> None:
    slack.denies = True
    assert failure_reason(browser.sign_in(), browser) == "slack-denied"
    assert TOKEN not in slack.requested_paths


def test_denied_sign_in_consumes_the_state(browser: Browser, slack: Slack) -> None:
    slack.denies = True
    callback = browser.start()
    cookies = dict(browser.cookies)
    browser.get(callback)
    browser.cookies = cookies
    assert failure_reason(browser.get(callback), browser) == "slack-expired"


@pytest.mark.parametrize(
    "claims",
    [
        {"email": None},
        {"email": "", "email_verified": True},
        {"email": "no address"},
        {"email": 5},
        {"email": "krane@\u212aexample.com"},
        {"email_verified": False},
        {"email_verified": None},
        {"email_verified": "true"},
        {"email_verified": 1},
    ],
)
def test_sign_in_requires_a_verified_email(browser: Browser, slack: Slack, claims: dict[str, Any]) -> None:
    slack.claims = claims
    assert failure_reason(browser.sign_in(), browser) == "slack-email"


def test_only_configured_email_domains_are_admitted(
    browser: Browser, slack: Slack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(magic_links, "settings", replace(settings, email_domains=frozenset({"example.org"})))
    assert failure_reason(browser.sign_in(), browser) == "slack-email"
    slack.claims = {"email": "Krane@Example.org"}
    assert browser.sign_in().header("Location") == "/dashboard"
    (row,) = moto_aws.rows("users")
    assert row["email"]["S"] == "krane@example.org"


def test_only_members_of_the_configured_workspace_are_admitted(browser: Browser, slack: Slack, team: str) -> None:
    assert f"team={team}" in (browser.get(START).header("Location") or "")
    assert browser.sign_in().header("Location") == "/dashboard"
    other = Browser(browser._gateway, slack, "192.0.2.3")
    for claimed in ("T0OTHER", None, [team]):
        slack.claims = {"https://slack.com/team_id": claimed, "email": "other@example.com"}
        assert other.sign_in().header("Location") == "/dashboard/login?reason=slack-team"
        assert other.session is None


@pytest.mark.parametrize("name", [None, "", "  ", 5, ["x"]])
def test_user_without_a_name_is_named_after_the_email(browser: Browser, slack: Slack, name: object) -> None:
    slack.claims = {"name": name}
    browser.sign_in()
    (row,) = moto_aws.rows("users")
    assert row["name"]["S"] == "krane"


# The id token.


@pytest.mark.parametrize(
    "claims",
    [
        {"nonce": "another"},
        {"nonce": None},
        {"aud": "another.client"},
        {"aud": ["another.client"]},
        {"aud": None},
        {"azp": "another.client"},
        {"iss": "https://evil.example"},
        {"iss": "https://slack.com"},
        {"iss": None},
        {"exp": 1},
        {"exp": None},
        {"exp": "tomorrow"},
        {"iat": None},
        {"iat": 10**12},
        {"iat": 10**400},
    ],
    ids=str,
)
def test_id_token_with_wrong_claims_is_rejected(browser: Browser, slack: Slack, claims: dict[str, Any]) -> None:
    slack.claims = claims
    assert failure_reason(browser.sign_in(), browser) == "slack-refused"


def test_expired_id_token_is_rejected(browser: Browser, slack: Slack, clock: Clock) -> None:
    slack.claims = {"exp": clock.now // 1_000 - 31}
    assert failure_reason(browser.sign_in(), browser) == "slack-refused"


def test_id_token_of_another_login_is_rejected(browser: Browser, slack: Slack) -> None:
    """Its state, code and browser are correct."""
    first: dict[str, str] = {}

    def sign_once(claims: dict[str, Any]) -> str:
        first.setdefault("token", jwt.encode(claims, slack.key, "RS256", headers={"kid": slack.kid}))
        return first["token"]

    slack.sign = sign_once
    assert browser.sign_in().header("Location") == "/dashboard"
    browser.cookies.clear()
    response = browser.sign_in()
    assert response.header("Location") == "/dashboard/login?reason=slack-refused"
    assert browser.session is None


def forgeries(slack: Slack) -> dict[str, Callable[[dict[str, Any]], str]]:
    """Functions that return an id token that Slack's key did not sign, by description."""

    def encoded(part: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")

    def valid(claims: dict[str, Any]) -> str:
        return jwt.encode(claims, slack.key, "RS256", headers={"kid": slack.kid})

    def by_hmac(claims: dict[str, Any], key: str) -> str:
        text = f"{encoded(header | {'alg': 'HS256'})}.{encoded(claims)}"
        return f"{text}.{encoded_bytes(hmac.digest(key.encode(), text.encode(), 'sha256'))}"

    header = {"alg": "RS256", "typ": "JWT", "kid": slack.kid}
    public = json.dumps(slack.keys["keys"][0])
    return {
        "alg none": lambda claims: f"{encoded(header | {'alg': 'none'})}.{encoded(claims)}.",
        "no signature": lambda claims: f"{encoded(header)}.{encoded(claims)}.",
        "HS256 with the public key": lambda claims: by_hmac(claims, public),
        "HS256 with the client's secret": lambda claims: by_hmac(claims, CLIENT_SECRET),
        "RS512": lambda claims: jwt.encode(claims, slack.key, "RS512", headers={"kid": slack.kid}),
        "PS256": lambda claims: jwt.encode(claims, slack.key, "PS256", headers={"kid": slack.kid}),
        "an unknown key": lambda claims: jwt.encode(claims, slack.key, "RS256", headers={"kid": "unknown"}),
        "no key named": lambda claims: jwt.encode(claims, slack.key, "RS256"),
        "changed claims": lambda claims: ".".join(
            [valid(claims).split(".")[0], encoded(claims | {"email": "ceo@example.com"}), valid(claims).split(".")[2]]
        ),
        "half a signature": lambda claims: valid(claims)[:-100],
        "zeros for a signature": lambda claims: f"{valid(claims).rpartition('.')[0]}.{encoded_bytes(bytes(256))}",
        "claims that are a list": lambda claims: jwt.PyJWS().encode(
            json.dumps([claims]).encode(), slack.key, "RS256", headers={"kid": slack.kid}
        ),
        "two parts": lambda claims: valid(claims).rpartition(".")[0],
        "garbage": lambda _: "garbage",
        "nothing": lambda _: "",
        "not ASCII": lambda _: "é.é.é",
        "100 KB": lambda _: "x" * 100_000,
    }


def encoded_bytes(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def test_forged_id_token_is_rejected(gateway: Gateway, slack: Slack, fresh_minute: Clock) -> None:
    for number, (what, forge) in enumerate(forgeries(slack).items()):
        browser = Browser(gateway, slack, f"198.51.100.{number}")
        slack.sign = forge
        assert failure_reason(browser.sign_in(), browser) == "slack-refused", what


def test_id_token_signed_with_another_key_is_rejected(browser: Browser, slack: Slack) -> None:
    slack.sign_with_another_key()
    assert failure_reason(browser.sign_in(), browser) == "slack-refused"


def test_slack_keys_are_cached_until_an_unknown_key_is_used(browser: Browser, slack: Slack) -> None:
    for _ in range(2):
        assert browser.sign_in().header("Location") == "/dashboard"
    assert slack.requested_paths.count(KEYS) == 1
    slack.change_keys()
    assert browser.sign_in().header("Location") == "/dashboard"
    assert slack.requested_paths.count(KEYS) == 2


def test_withdrawn_slack_key_is_rejected_after_an_hour(browser: Browser, slack: Slack, clock: Clock) -> None:
    old, kid = slack.key, slack.kid
    browser.sign_in()
    slack.change_keys()
    slack.sign = lambda claims: jwt.encode(claims, old, "RS256", headers={"kid": kid})
    clock.advance(3_600)
    browser.cookies.clear()
    assert browser.sign_in().header("Location") == "/dashboard/login?reason=slack-refused"


# Failures of Slack.


INVALID_RESPONSES = [
    says(""),
    says("hello"),
    says("<!doctype html><h1>Slack is down</h1>", kind="text/html"),
    says("[]"),
    says("null"),
    says("5"),
    says('"ok"'),
    says("{"),
    says("[" * 100_000),
    says(b"\xff\xfe\x00"),
    says("{}"),
    says('{"ok": true}'),
    says('{"ok": true, "id_token": null}'),
    says('{"ok": true, "id_token": {"a": 1}}'),
    says('{"ok": false}'),
    says('{"ok": false, "error": ["invalid_code"]}'),
    says("no", status=500),
    says("", status=204),
    says('{"ok": false, "error": "ratelimited"}', status=429),
    says("", status=302),
    says(b"\x1f\x8b", kind="application/gzip"),
    standin.hangs_up,
]


@pytest.mark.parametrize("behaviour", INVALID_RESPONSES)
def test_invalid_response_of_the_token_endpoint_reports_slack_unavailable(
    browser: Browser, slack: Slack, behaviour: standin.Behaviour
) -> None:
    slack.behaviours[TOKEN] = behaviour
    assert failure_reason(browser.sign_in(), browser) == "slack-unavailable"


KEYS_INVALID_RESPONSES = [*INVALID_RESPONSES[:10], says("no", status=500), says("", status=302), standin.hangs_up]


@pytest.mark.parametrize("behaviour", KEYS_INVALID_RESPONSES)
def test_invalid_response_of_the_keys_endpoint_is_rejected(
    browser: Browser, slack: Slack, behaviour: standin.Behaviour
) -> None:
    slack.behaviours[KEYS] = behaviour
    assert failure_reason(browser.sign_in(), browser) in ("slack-unavailable", "slack-refused")


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"keys": []},
        {"keys": {}},
        {"keys": [5, None, [], "x"]},
        {"keys": [{"kty": "oct", "kid": "key-of-slack", "k": "AAAA"}]},
        {"keys": [{"kty": "RSA", "kid": "key-of-slack", "n": "AQ", "e": "AQAB"}]},
        {"keys": [{"kty": "RSA", "kid": "key-of-slack", "n": 5, "e": "AQAB"}]},
        {"keys": [{"kty": "RSA", "kid": "key-of-slack", "n": "!!!!", "e": "AQAB"}]},
    ],
    ids=str,
)
def test_unusable_slack_keys_verify_no_token(browser: Browser, slack: Slack, document: dict[str, Any]) -> None:
    slack.behaviours[KEYS] = says(json.dumps(document))
    assert failure_reason(browser.sign_in(), browser) == "slack-refused"


@pytest.mark.parametrize("change", [{"use": "enc"}, {"alg": "RS512"}, {"e": "AQ"}, {"kty": "EC"}], ids=str)
def test_slack_key_for_another_purpose_verifies_no_token(
    browser: Browser, slack: Slack, change: dict[str, str]
) -> None:
    (key,) = slack.keys["keys"]
    slack.behaviours[KEYS] = says(json.dumps({"keys": [key | change]}))
    assert failure_reason(browser.sign_in(), browser) == "slack-refused"


@pytest.mark.parametrize("endpoint", [TOKEN, KEYS])
@pytest.mark.parametrize("behaviour", [standin.never_answers, standin.trickles])
def test_slow_slack_reports_slack_unavailable(
    browser: Browser, slack: Slack, behaviour: standin.Behaviour, endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slack_api, "REQUEST_TIMEOUT", 0.5)
    slack.behaviours[endpoint] = behaviour
    assert failure_reason(browser.sign_in(), browser) == "slack-unavailable"


def test_slow_step_ends_before_the_deadline(browser: Browser, slack: Slack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slack_api, "STEP_TIMEOUT", 0.2)
    for endpoint in (TOKEN, KEYS):
        slack.behaviours = {endpoint: standin.never_answers}
        assert failure_reason(browser.sign_in(), browser) == "slack-unavailable"


def test_slack_is_not_awaited_after_the_deadline_of_the_request(slack: Slack) -> None:
    slack.behaviours = {KEYS: standin.never_answers}
    context = SimpleNamespace(get_remaining_time_in_millis=lambda: int(deadline.RESERVE_SECONDS * 1_000) + 100)
    started = deadline.monotonic()
    with deadline.within(context), pytest.raises(Unavailable):
        slack_api.fetch_keys()
    assert deadline.monotonic() - started < slack_api.STEP_TIMEOUT


def test_all_slack_timeouts_fit_into_the_api_gateway_timeout() -> None:
    assert slack_api.STEP_TIMEOUT < slack_api.REQUEST_TIMEOUT
    assert 2 * slack_api.REQUEST_TIMEOUT < 29 - 2 * 4, "two requests to Slack, and those to DynamoDB"


def test_unreachable_slack_reports_slack_unavailable(
    browser: Browser, slack: Slack, monkeypatch: pytest.MonkeyPatch
) -> None:
    callback = browser.start()
    monkeypatch.setattr(slack_api, "settings", replace(settings, slack_url="http://127.0.0.1:9"))
    assert failure_reason(browser.get(callback), browser) == "slack-unavailable"


@pytest.mark.parametrize("error", ["invalid_code", "code_already_used", "bad_redirect_uri", "bad_client_secret"])
def test_code_rejected_by_slack_returns_to_the_login_page(browser: Browser, slack: Slack, error: str) -> None:
    slack.behaviours[TOKEN] = says(json.dumps({"ok": False, "error": error}))
    expected = "slack-refused" if "code" in error else "slack-unavailable"
    assert failure_reason(browser.sign_in(), browser) == expected


def test_invented_code_is_rejected(browser: Browser) -> None:
    for code in ("made-up", "", "x" * 5_000, "%00", "é"):
        state = parse_qs(urlsplit(browser.start()).query)["state"][0]
        assert failure_reason(browser.get(f"{CALLBACK}?code={code}&state={state}"), browser) == "slack-refused"


# The configuration of this stage.


def test_login_page_offers_slack_only_when_it_is_configured(
    browser: Browser, anonymous: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offered() -> bool:
        (logins,) = re.findall(r'data-logins="([^"]*)"', anonymous.get("/dashboard/login").body.decode())
        return "slack" in logins.split()

    assert offered()
    unknown = json.dumps({"current": "key-test", "key-test": KEY.decode()})
    for secret in (unknown, "no secret at all"):
        monkeypatch.setattr(keys, "settings", replace(settings, local_secret=secret))
        monkeypatch.setattr(keys, "_cached", None)
        assert not offered()


def test_login_page_and_documents_explain_every_reason() -> None:
    root = Path(__file__).parents[2]
    source = (root / "chalicelib" / "auth" / "slack_login.py").read_text(encoding="utf-8")
    reasons = set(re.findall(r'"(slack-\w+)"', source))
    assert len(reasons) == 9
    for document in ("docs/api.md", "chalicelib/dashboard/static/login.js"):
        text = (root / document).read_text(encoding="utf-8")
        assert [reason for reason in reasons if reason not in text] == [], document


def test_stage_without_slack_reports_slack_off(browser: Browser, slack: Slack, monkeypatch: pytest.MonkeyPatch) -> None:
    unknown = json.dumps({"current": "key-test", "key-test": KEY.decode()})
    monkeypatch.setattr(keys, "settings", replace(settings, local_secret=unknown))
    assert failure_reason(browser.get(START), browser) == "slack-off"


def test_network_address_has_10_slack_starts_a_minute(browser: Browser, fresh_minute: Clock) -> None:
    for _ in range(10):
        browser.start()
    response = browser.get(START)
    assert failure_reason(response, browser) == "slack-busy"
    assert response.header("X-RateLimit-Remaining") == "0"
    fresh_minute.advance(60)
    assert browser.sign_in().header("Location") == "/dashboard"


def test_network_address_has_10_slack_callbacks_a_minute(browser: Browser, slack: Slack, fresh_minute: Clock) -> None:
    for _ in range(10):
        assert failure_reason(browser.get(f"{CALLBACK}?code=x&state=y"), browser) == "slack-expired"
    assert failure_reason(browser.get(browser.start()), browser) == "slack-busy"


@pytest.mark.parametrize("operation", ["UpdateItem", "GetItem", "TransactWriteItems"])
def test_store_failure_signs_nobody_in(browser: Browser, operation: str) -> None:
    callback = browser.start()
    with failing(operation, EndpointConnectionError(endpoint_url="https://example.com")):
        assert failure_reason(browser.get(callback), browser) == "slack-unavailable"
        if operation == "UpdateItem":
            assert failure_reason(browser.get(START), browser) == "slack-unavailable"


def test_slack_responses_and_secrets_are_not_logged(browser: Browser, slack: Slack, log: Log, caplog: Any) -> None:
    callback = browser.start()
    code, state = (parse_qs(urlsplit(callback).query)[name][0] for name in ("code", "state"))
    browser.get(callback)
    for behaviour in (says("s3cr3t"), says('{"ok": false, "error": "s3cr3t"}'), says("s3cr3t", status=500)):
        slack.behaviours[TOKEN] = behaviour
        browser.sign_in()
    slack.behaviours.clear()
    slack.claims = {"nonce": "s3cr3t"}
    browser.sign_in()
    logged = log.text + caplog.text
    assert "Slack sign-in failed" in logged
    assert "Slack sign-in could not be verified" in logged
    for secret in (code, state, CLIENT_SECRET, "s3cr3t", "xoxp", "krane@example.com", "eyJ"):
        assert secret not in logged
