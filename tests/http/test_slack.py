"""Signing in with Slack, over real HTTP with a stand-in: to the dashboard, or back to the login page with a reason."""

import base64
import hmac
import json
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
import pytest
from botocore.exceptions import EndpointConnectionError

from chalicelib.auth import keys, magic_links, slack_api, slack_login
from chalicelib.core.settings import settings
from infra.local.gateway import Gateway, Response
from tests.conftest import Clock
from tests.http.conftest import Log
from tests.http.scene import failing, ok
from tests.support import moto_aws
from tests.support import slack as standin
from tests.support.client import Client, Http
from tests.support.environment import KEY
from tests.support.slack import CLIENT_ID, CLIENT_SECRET, KEYS, TOKEN, Slack, path_of, says

START, CALLBACK = "/api/auth/slack", "/api/auth/slack/callback"


@pytest.fixture
def stood_in(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Iterator[Slack]:
    """Slack, to whom this stage is known."""
    with standin.running(lambda: clock.now / 1_000) as running:
        known = {"current": "key-test", "key-test": KEY.decode()}
        known |= {"slackClientId": CLIENT_ID, "slackClientSecret": CLIENT_SECRET}
        monkeypatch.setattr(keys, "settings", replace(settings, local_secret=json.dumps(known)))
        monkeypatch.setattr(keys, "_cached", None)
        monkeypatch.setattr(slack_login, "_cached_keys", (0, {}))
        for module in (slack_login, slack_api):
            monkeypatch.setattr(module, "settings", replace(settings, slack_url=running.url))
        yield running


class Browser:
    """Keeps cookies, and goes where it is sent."""

    def __init__(self, gateway: Gateway, stood_in: Slack, address: str = "192.0.2.1") -> None:
        self._gateway, self._slack, self._address = gateway, stood_in, address
        self.cookies: dict[str, str] = {}

    def get(self, target: str) -> Response:
        """A page of the platform."""
        sent = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        headers = [("Cookie", sent), ("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", "navigate")]
        answer = self._gateway.call("GET", target, headers, source_ip=self._address)
        for line in [value for name, value in answer.headers if name == "Set-Cookie"]:
            for name, morsel in SimpleCookie(line).items():
                assert (morsel["path"], morsel["secure"], morsel["httponly"]) == ("/", True, True)
                assert morsel["samesite"] == "Lax"
                assert not morsel["domain"]
                if morsel["max-age"] == "0":
                    self.cookies.pop(name, None)
                else:
                    self.cookies[name] = morsel.value
        return answer

    def set_out(self) -> str:
        """To Slack, and through its page; the address that Slack sends the browser back to."""
        started = self.get(START)
        assert started.status == 302, started
        http = Http(self._slack.url)
        answer = http.call("GET", path_of(started.header("Location") or ""))
        http.close_all()
        assert answer.status == 302, answer
        return path_of(answer.header("Location") or "")

    def sign_in(self) -> Response:
        return self.get(self.set_out())

    @property
    def session(self) -> str | None:
        return self.cookies.get("__Host-devflow-session")


@pytest.fixture
def browser(gateway: Gateway, stood_in: Slack) -> Browser:
    return Browser(gateway, stood_in)


def sent_back(answer: Response, browser: Browser) -> str:
    """The reason that the login page is told; nobody is signed in, and no user was made."""
    assert answer.status == 302, answer
    location = urlsplit(answer.header("Location") or "")
    assert (location.scheme, location.netloc, location.path) == ("", "", "/dashboard/login")
    assert answer.body == b""
    assert browser.session is None
    assert browser.cookies == {}, "what was kept for the way is done with"
    assert moto_aws.rows("users") == []
    (reason,) = parse_qs(location.query)["reason"]
    return reason


def test_user_verified_by_slack_is_signed_in_to_the_dashboard(browser: Browser, anonymous: Client) -> None:
    answer = browser.sign_in()
    assert (answer.status, answer.header("Location"), answer.body) == (302, "/dashboard", b"")
    assert list(browser.cookies) == ["__Host-devflow-session"]
    me = ok(anonymous.get("/api/auth/me", Cookie=f"__Host-devflow-session={browser.session}"))
    assert (me["user"]["email"], me["user"]["name"]) == ("krane@example.com", "Krane")
    assert me["tokenId"] is None
    assert answer.header("Cache-Control") == "no-store"


def test_same_verified_email_is_the_same_user(browser: Browser, make_user: Callable[..., Client]) -> None:
    known = ok(make_user("krane@example.com", "Krane, by mail").get("/api/auth/me"))["user"]
    for _ in range(2):
        browser.sign_in()
    (row,) = moto_aws.rows("users")
    assert (row["owner"]["S"], row["name"]["S"]) == (known["id"], "Krane, by mail")


def test_authorization_request_is_url_encoded_and_returns_to_our_callback(browser: Browser, stood_in: Slack) -> None:
    location = urlsplit(browser.get(START).header("Location") or "")
    assert f"{location.scheme}://{location.netloc}{location.path}" == f"{stood_in.url}/openid/connect/authorize"
    assert "redirect_uri=http%3A%2F%2Flocalhost%3A3000%2Fapi%2Fauth%2Fslack%2Fcallback" in location.query
    asked = {name: values[0] for name, values in parse_qs(location.query).items()}
    assert set(asked) == {"response_type", "scope", "client_id", "redirect_uri", "state", "nonce"}
    assert browser.cookies == {"__Host-devflow-slack": asked["state"]}


def test_state_and_nonce_are_not_stored_in_plain_text(browser: Browser) -> None:
    location = urlsplit(browser.get(START).header("Location") or "")
    asked = parse_qs(location.query)
    stored = json.dumps(moto_aws.rows("logins"))
    for name in ("state", "nonce"):
        assert asked[name][0] not in stored


# The state.


@pytest.mark.parametrize("state", ["", "wrong", "é", "%00", "A" * 43, "x" * 5_000, "%F0%9F%98%80"])
def test_state_that_does_not_match_the_cookie_is_rejected(browser: Browser, stood_in: Slack, state: str) -> None:
    back = browser.set_out()
    code = parse_qs(urlsplit(back).query)["code"][0]
    assert sent_back(browser.get(f"{CALLBACK}?code={code}&state={state}"), browser) == "slack-expired"
    assert TOKEN not in stood_in.asked, "the code was not even tried"


def test_callback_without_a_valid_state_is_rejected(browser: Browser) -> None:
    for query in ("", "?", "?code=x", "?state=", "?error=access_denied", "?code=x&state=y"):
        browser.set_out()
        assert sent_back(browser.get(CALLBACK + query), browser) == "slack-expired"


def test_callback_link_cannot_sign_in_another_browser(gateway: Gateway, stood_in: Slack, browser: Browser) -> None:
    """An attacker's own code and state, in a victim's browser: with no cookie, and with one of the victim's own."""
    victim = Browser(gateway, stood_in, "192.0.2.2")
    assert sent_back(victim.get(browser.set_out()), victim) == "slack-expired"
    victim.set_out()
    assert sent_back(victim.get(browser.set_out()), victim) == "slack-expired"


def test_state_is_used_once(browser: Browser, stood_in: Slack) -> None:
    back = browser.set_out()
    kept = dict(browser.cookies)
    assert browser.get(back).header("Location") == "/dashboard"
    browser.cookies = kept
    asked = stood_in.asked.count(TOKEN)
    again = browser.get(back)
    assert again.header("Location") == "/dashboard/login?reason=slack-expired"
    assert browser.session is None
    assert stood_in.asked.count(TOKEN) == asked


def test_concurrent_callbacks_with_one_state_sign_in_once(gateway: Gateway, stood_in: Slack, browser: Browser) -> None:
    back = browser.set_out()

    def come_back(number: int) -> str:
        other = Browser(gateway, stood_in, f"198.51.100.{number}")
        other.cookies = dict(browser.cookies)
        return other.get(back).header("Location") or ""

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(come_back, range(20)))
    assert sorted(answers) == ["/dashboard", *["/dashboard/login?reason=slack-expired"] * 19]


def test_state_is_valid_for_ten_minutes(browser: Browser, clock: Clock) -> None:
    back = browser.set_out()
    clock.advance(10 * 60 + 1)
    assert sent_back(browser.get(back), browser) == "slack-expired"
    back = browser.set_out()
    clock.advance(10 * 60 - 5)
    assert browser.get(back).header("Location") == "/dashboard"


# The person.


def test_denied_sign_in_returns_to_the_login_page(browser: Browser, stood_in: Slack) -> None:
    stood_in.denies = True
    assert sent_back(browser.sign_in(), browser) == "slack-denied"
    assert TOKEN not in stood_in.asked


def test_denied_sign_in_consumes_the_state(browser: Browser, stood_in: Slack) -> None:
    stood_in.denies = True
    back = browser.set_out()
    kept = dict(browser.cookies)
    browser.get(back)
    browser.cookies = kept
    assert sent_back(browser.get(back), browser) == "slack-expired"


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
def test_sign_in_requires_a_verified_email(browser: Browser, stood_in: Slack, claims: dict[str, Any]) -> None:
    stood_in.claims = claims
    assert sent_back(browser.sign_in(), browser) == "slack-email"


def test_only_configured_email_domains_are_admitted(
    browser: Browser, stood_in: Slack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(magic_links, "settings", replace(settings, email_domains=frozenset({"example.org"})))
    assert sent_back(browser.sign_in(), browser) == "slack-email"
    stood_in.claims = {"email": "Krane@Example.org"}
    assert browser.sign_in().header("Location") == "/dashboard"
    (row,) = moto_aws.rows("users")
    assert row["email"]["S"] == "krane@example.org"


def test_only_members_of_the_configured_workspace_are_admitted(
    browser: Browser, stood_in: Slack, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = replace(settings, slack_url=stood_in.url, slack_team="T0R7GR8RJ")
    monkeypatch.setattr(slack_login, "settings", named)
    assert "team=T0R7GR8RJ" in (browser.get(START).header("Location") or "")
    assert browser.sign_in().header("Location") == "/dashboard"
    other = Browser(browser._gateway, stood_in, "192.0.2.3")
    for team in ("T0OTHER", None, ["T0R7GR8RJ"]):
        stood_in.claims = {"https://slack.com/team_id": team, "email": "other@example.com"}
        assert other.sign_in().header("Location") == "/dashboard/login?reason=slack-team"
        assert other.session is None


@pytest.mark.parametrize("name", [None, "", "  ", 5, ["x"]])
def test_user_without_a_name_is_named_after_the_email(browser: Browser, stood_in: Slack, name: object) -> None:
    stood_in.claims = {"name": name}
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
def test_id_token_with_wrong_claims_is_rejected(browser: Browser, stood_in: Slack, claims: dict[str, Any]) -> None:
    stood_in.claims = claims
    assert sent_back(browser.sign_in(), browser) == "slack-refused"


def test_expired_id_token_is_rejected(browser: Browser, stood_in: Slack, clock: Clock) -> None:
    stood_in.claims = {"exp": clock.now // 1_000 - 31}
    assert sent_back(browser.sign_in(), browser) == "slack-refused"


def test_id_token_of_another_login_is_rejected(browser: Browser, stood_in: Slack) -> None:
    """Whose state, code and browser are right."""
    first: dict[str, str] = {}

    def once(said: dict[str, Any]) -> str:
        first.setdefault("token", jwt.encode(said, stood_in.key, "RS256", headers={"kid": stood_in.kid}))
        return first["token"]

    stood_in.sign = once
    assert browser.sign_in().header("Location") == "/dashboard"
    browser.cookies.clear()
    answer = browser.sign_in()
    assert answer.header("Location") == "/dashboard/login?reason=slack-refused"
    assert browser.session is None


def forgeries(stood_in: Slack) -> dict[str, Callable[[dict[str, Any]], str]]:
    """Ways to make an id token that Slack's key did not sign."""

    def encoded(part: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")

    def honest(said: dict[str, Any]) -> str:
        return jwt.encode(said, stood_in.key, "RS256", headers={"kid": stood_in.kid})

    def by_hmac(said: dict[str, Any], key: str) -> str:
        text = f"{encoded(header | {'alg': 'HS256'})}.{encoded(said)}"
        return f"{text}.{encoded_bytes(hmac.digest(key.encode(), text.encode(), 'sha256'))}"

    header = {"alg": "RS256", "typ": "JWT", "kid": stood_in.kid}
    public = json.dumps(stood_in.keys["keys"][0])
    return {
        "alg none": lambda said: f"{encoded(header | {'alg': 'none'})}.{encoded(said)}.",
        "no signature": lambda said: f"{encoded(header)}.{encoded(said)}.",
        "HS256 with the public key": lambda said: by_hmac(said, public),
        "HS256 with the client's secret": lambda said: by_hmac(said, CLIENT_SECRET),
        "RS512": lambda said: jwt.encode(said, stood_in.key, "RS512", headers={"kid": stood_in.kid}),
        "PS256": lambda said: jwt.encode(said, stood_in.key, "PS256", headers={"kid": stood_in.kid}),
        "an unknown key": lambda said: jwt.encode(said, stood_in.key, "RS256", headers={"kid": "unknown"}),
        "no key named": lambda said: jwt.encode(said, stood_in.key, "RS256"),
        "changed claims": lambda said: ".".join(
            [honest(said).split(".")[0], encoded(said | {"email": "ceo@example.com"}), honest(said).split(".")[2]]
        ),
        "half a signature": lambda said: honest(said)[:-100],
        "zeros for a signature": lambda said: f"{honest(said).rpartition('.')[0]}.{encoded_bytes(bytes(256))}",
        "claims that are a list": lambda said: jwt.PyJWS().encode(
            json.dumps([said]).encode(), stood_in.key, "RS256", headers={"kid": stood_in.kid}
        ),
        "two parts": lambda said: honest(said).rpartition(".")[0],
        "garbage": lambda _: "garbage",
        "nothing": lambda _: "",
        "not ASCII": lambda _: "é.é.é",
        "100 KB": lambda _: "x" * 100_000,
    }


def encoded_bytes(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def test_forged_id_token_is_rejected(gateway: Gateway, stood_in: Slack, fresh_minute: Clock) -> None:
    for number, (what, forge) in enumerate(forgeries(stood_in).items()):
        browser = Browser(gateway, stood_in, f"198.51.100.{number}")
        stood_in.sign = forge
        assert sent_back(browser.sign_in(), browser) == "slack-refused", what


def test_id_token_signed_with_another_key_is_rejected(browser: Browser, stood_in: Slack) -> None:
    stood_in.sign_with_another_key()
    assert sent_back(browser.sign_in(), browser) == "slack-refused"


def test_slack_keys_are_cached_until_an_unknown_key_is_used(browser: Browser, stood_in: Slack) -> None:
    for _ in range(2):
        assert browser.sign_in().header("Location") == "/dashboard"
    assert stood_in.asked.count(KEYS) == 1
    stood_in.change_keys()
    assert browser.sign_in().header("Location") == "/dashboard"
    assert stood_in.asked.count(KEYS) == 2


def test_withdrawn_slack_key_is_rejected_after_an_hour(browser: Browser, stood_in: Slack, clock: Clock) -> None:
    old, kid = stood_in.key, stood_in.kid
    browser.sign_in()
    stood_in.change_keys()
    stood_in.sign = lambda said: jwt.encode(said, old, "RS256", headers={"kid": kid})
    clock.advance(3_600)
    browser.cookies.clear()
    assert browser.sign_in().header("Location") == "/dashboard/login?reason=slack-refused"


# Slack itself.


RUBBISH = [
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


@pytest.mark.parametrize("behaviour", RUBBISH)
def test_invalid_response_of_the_token_endpoint_reports_slack_unavailable(
    browser: Browser, stood_in: Slack, behaviour: standin.Behaviour
) -> None:
    stood_in.behaves[TOKEN] = behaviour
    assert sent_back(browser.sign_in(), browser) == "slack-unavailable"


KEYS_RUBBISH = [*RUBBISH[:10], says("no", status=500), says("", status=302), standin.hangs_up]


@pytest.mark.parametrize("behaviour", KEYS_RUBBISH)
def test_invalid_response_of_the_keys_endpoint_is_rejected(
    browser: Browser, stood_in: Slack, behaviour: standin.Behaviour
) -> None:
    stood_in.behaves[KEYS] = behaviour
    assert sent_back(browser.sign_in(), browser) in ("slack-unavailable", "slack-refused")


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
def test_unusable_slack_keys_verify_no_token(browser: Browser, stood_in: Slack, document: dict[str, Any]) -> None:
    stood_in.behaves[KEYS] = says(json.dumps(document))
    assert sent_back(browser.sign_in(), browser) == "slack-refused"


@pytest.mark.parametrize("change", [{"use": "enc"}, {"alg": "RS512"}, {"e": "AQ"}, {"kty": "EC"}], ids=str)
def test_slack_key_for_another_purpose_verifies_no_token(
    browser: Browser, stood_in: Slack, change: dict[str, str]
) -> None:
    (key,) = stood_in.keys["keys"]
    stood_in.behaves[KEYS] = says(json.dumps({"keys": [key | change]}))
    assert sent_back(browser.sign_in(), browser) == "slack-refused"


@pytest.mark.parametrize("endpoint", [TOKEN, KEYS])
@pytest.mark.parametrize("behaviour", [standin.never_answers, standin.trickles])
def test_slow_slack_reports_slack_unavailable(
    browser: Browser, stood_in: Slack, behaviour: standin.Behaviour, endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slack_api, "REQUEST_TIMEOUT", 0.5)
    stood_in.behaves[endpoint] = behaviour
    assert sent_back(browser.sign_in(), browser) == "slack-unavailable"


def test_slow_step_ends_before_the_deadline(browser: Browser, stood_in: Slack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slack_api, "STEP_TIMEOUT", 0.2)
    for endpoint in (TOKEN, KEYS):
        stood_in.behaves = {endpoint: standin.never_answers}
        assert sent_back(browser.sign_in(), browser) == "slack-unavailable"


def test_all_slack_timeouts_fit_into_the_api_gateway_timeout() -> None:
    assert slack_api.STEP_TIMEOUT < slack_api.REQUEST_TIMEOUT
    assert 2 * slack_api.REQUEST_TIMEOUT < 29 - 2 * 4, "two requests to Slack, and ours to DynamoDB"


def test_unreachable_slack_reports_slack_unavailable(
    browser: Browser, stood_in: Slack, monkeypatch: pytest.MonkeyPatch
) -> None:
    back = browser.set_out()
    monkeypatch.setattr(slack_api, "settings", replace(settings, slack_url="http://127.0.0.1:9"))
    assert sent_back(browser.get(back), browser) == "slack-unavailable"


@pytest.mark.parametrize("error", ["invalid_code", "code_already_used", "bad_redirect_uri", "bad_client_secret"])
def test_code_rejected_by_slack_returns_to_the_login_page(browser: Browser, stood_in: Slack, error: str) -> None:
    stood_in.behaves[TOKEN] = says(json.dumps({"ok": False, "error": error}))
    expected = "slack-refused" if "code" in error else "slack-unavailable"
    assert sent_back(browser.sign_in(), browser) == expected


def test_invented_code_is_rejected(browser: Browser) -> None:
    for code in ("made-up", "", "x" * 5_000, "%00", "é"):
        state = parse_qs(urlsplit(browser.set_out()).query)["state"][0]
        assert sent_back(browser.get(f"{CALLBACK}?code={code}&state={state}"), browser) == "slack-refused"


# This stage.


def test_login_page_offers_slack_only_when_it_is_configured(
    browser: Browser, anonymous: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offered() -> bool:
        (ways,) = re.findall(r'data-logins="([^"]*)"', anonymous.get("/dashboard/login").body.decode())
        return "slack" in ways.split()

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
    assert len(reasons) == 8
    for document in ("docs/api.md", "chalicelib/dashboard/static/login.js"):
        text = (root / document).read_text(encoding="utf-8")
        assert [reason for reason in reasons if reason not in text] == [], document


def test_stage_without_slack_reports_slack_off(
    browser: Browser, stood_in: Slack, monkeypatch: pytest.MonkeyPatch
) -> None:
    unknown = json.dumps({"current": "key-test", "key-test": KEY.decode()})
    monkeypatch.setattr(keys, "settings", replace(settings, local_secret=unknown))
    assert sent_back(browser.get(START), browser) == "slack-off"


def test_network_address_has_10_slack_starts_a_minute(browser: Browser, fresh_minute: Clock) -> None:
    for _ in range(10):
        browser.set_out()
    answer = browser.get(START)
    assert sent_back(answer, browser) == "slack-busy"
    assert answer.header("X-RateLimit-Remaining") == "0"
    fresh_minute.advance(60)
    assert browser.sign_in().header("Location") == "/dashboard"


def test_network_address_has_10_slack_callbacks_a_minute(
    browser: Browser, stood_in: Slack, fresh_minute: Clock
) -> None:
    for _ in range(10):
        assert sent_back(browser.get(f"{CALLBACK}?code=x&state=y"), browser) == "slack-expired"
    assert sent_back(browser.get(browser.set_out()), browser) == "slack-busy"


@pytest.mark.parametrize("operation", ["UpdateItem", "GetItem", "TransactWriteItems"])
def test_store_failure_signs_nobody_in(browser: Browser, operation: str) -> None:
    back = browser.set_out()
    with failing(operation, EndpointConnectionError(endpoint_url="https://example.com")):
        assert sent_back(browser.get(back), browser) == "slack-unavailable"
        if operation == "UpdateItem":
            assert sent_back(browser.get(START), browser) == "slack-unavailable"


def test_slack_responses_and_secrets_are_not_logged(browser: Browser, stood_in: Slack, log: Log, caplog: Any) -> None:
    back = browser.set_out()
    code, state = (parse_qs(urlsplit(back).query)[name][0] for name in ("code", "state"))
    browser.get(back)
    for behaviour in (says("s3cr3t"), says('{"ok": false, "error": "s3cr3t"}'), says("s3cr3t", status=500)):
        stood_in.behaves[TOKEN] = behaviour
        browser.sign_in()
    stood_in.behaves.clear()
    stood_in.claims = {"nonce": "s3cr3t"}
    browser.sign_in()
    told = log.text + caplog.text
    assert "Slack sign-in failed" in told
    assert "Slack sign-in could not be verified" in told
    for secret in (code, state, CLIENT_SECRET, "s3cr3t", "xoxp", "krane@example.com", "eyJ"):
        assert secret not in told
