"""The measured calls of logins, sessions and personal tokens. See budget_calls.py."""

import json
import re
from dataclasses import replace
from urllib.parse import parse_qs, urlsplit

import pytest

from chalicelib.auth import keys, slack_api, slack_login
from chalicelib.core.settings import settings
from infra.local.gateway import Response
from tests.http.budget_world import Call, World, call
from tests.support import moto_aws
from tests.support import slack_server as standin
from tests.support.client import Http
from tests.support.environment import KEY


@call("log in by PIN")
def _log_in(world: World) -> Call:
    anonymous = world.user.acting_as(None)
    return lambda: anonymous.post("/api/auth/pin/login", {"email": world.email, "pin": "123456"})


@call("set a PIN")
def _set_pin(world: World) -> Call:
    return lambda: world.user.post("/api/auth/pin", {"pin": "271828"})


@call("ask for a magic link")
def _request_link(world: World) -> Call:
    anonymous = world.user.acting_as(None)
    return lambda: anonymous.post("/api/auth/magic-link", {"email": world.email})


@call("read a magic link")
def _read_link(world: World) -> Call:
    anonymous, secret = world.user.acting_as(None), _mailed_link(world)
    return lambda: anonymous.post("/api/auth/magic-link/read", {"token": secret})


@call("log in by a magic link")
def _use_link(world: World) -> Call:
    anonymous, secret = world.user.acting_as(None), _mailed_link(world)
    return lambda: anonymous.post("/api/auth/magic-link/verify", {"token": secret})


def _mailed_link(world: World) -> str:
    """Request a magic link. Returns its token."""
    world.user.acting_as(None).post("/api/auth/magic-link", {"email": world.email})
    secret = re.search(r"/login/link#(\S+)", moto_aws.mails()[-1].body)
    assert secret
    return secret[1]


@call("page of a magic link")
def _link_page(world: World) -> Call:
    return lambda: world.user.acting_as(None).get("/login/link")


@call("set out to sign in with Slack")
def _start_slack(world: World) -> Call:
    _slack(world)
    return lambda: _assert_redirect(world.user.acting_as(None).get("/api/auth/slack"), to_slack=True)


@call("come back from Slack")
def _finish_slack(world: World) -> Call:
    url = _slack(world)
    anonymous = world.user.acting_as(None)
    started = anonymous.get("/api/auth/slack")
    http = Http(url)
    world.cleanup.callback(http.close_all)
    authorized = http.call("GET", standin.path_of(started.header("Location") or ""))
    callback = urlsplit(authorized.header("Location") or "")
    query = {name: values[0] for name, values in parse_qs(callback.query).items()}
    cookie = (started.header("Set-Cookie") or "").partition(";")[0]
    return lambda: _assert_redirect(anonymous.get(callback.path, query, Cookie=cookie), to_slack=False)


def _slack(world: World) -> str:
    """Run a stand-in for Slack and configure this stage for it, until the world is closed. Returns its URL."""
    slack = world.cleanup.enter_context(standin.running(lambda: world.clock.now / 1_000))
    secret = {"current": "key-test", "key-test": KEY.decode()}
    secret |= {"slackClientId": standin.CLIENT_ID, "slackClientSecret": standin.CLIENT_SECRET}
    patch = world.cleanup.enter_context(pytest.MonkeyPatch.context())
    patch.setattr(keys, "settings", replace(settings, local_secret=json.dumps(secret)))
    patch.setattr(keys, "_cached", None)
    patch.setattr(slack_login, "_cached_keys", (0, {}))
    for module in (slack_login, slack_api):
        patch.setattr(module, "settings", replace(settings, slack_url=slack.url))
    return slack.url


def _assert_redirect(response: Response, *, to_slack: bool) -> None:
    location = response.header("Location") or ""
    assert response.status == 302, response
    assert ("/openid/connect/authorize" in location) if to_slack else location == "/dashboard", location


@call("whose token is this")
def _me(world: World) -> Call:
    return lambda: world.user.get("/api/auth/me")


@call("log out")
def _log_out(world: World) -> Call:
    return lambda: world.user.post("/api/auth/logout")


@call("page of sessions")
def _list_sessions(world: World) -> Call:
    world.user.login(world.email)
    return lambda: world.user.get("/api/auth/sessions")


@call("end a session")
def _end_session(world: World) -> Call:
    world.user.login(world.email)
    (other,) = [each for each in world.user.get("/api/auth/sessions").json()["data"] if not each["current"]]
    return lambda: world.user.delete(f"/api/auth/sessions/{other['id']}")


def _token(world: World) -> str:
    """Create a personal token. Returns its id."""
    created = world.user.post("/api/auth/tokens", {"name": "a program"})
    assert created.status == 201, created
    (found,) = world.user.get("/api/auth/tokens").json()["data"]
    return str(found["id"])


@call("make a personal token")
def _make_token(world: World) -> Call:
    return lambda: world.user.post("/api/auth/tokens", {"name": "a program"})


@call("page of personal tokens")
def _list_tokens(world: World) -> Call:
    _token(world)
    return lambda: world.user.get("/api/auth/tokens")


@call("revoke a personal token")
def _revoke_token(world: World) -> Call:
    token_id = _token(world)
    return lambda: world.user.delete(f"/api/auth/tokens/{token_id}")
