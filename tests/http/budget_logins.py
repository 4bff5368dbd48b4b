"""The calls of logging in and out that are measured; see budget_calls.py."""

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
from tests.support import slack as standin
from tests.support.client import Http
from tests.support.environment import KEY


@call("log in by PIN")
def _log_in(world: World) -> Call:
    anonymous = world.user.acting_as(None)
    return lambda: anonymous.post("/api/auth/pin/login", {"email": world.email, "pin": "123456"})


@call("set a PIN")
def _set_pin(world: World) -> Call:
    return lambda: world.user.post("/api/auth/pin", {"pin": "654321"})


@call("ask for a magic link")
def _ask(world: World) -> Call:
    anonymous = world.user.acting_as(None)
    return lambda: anonymous.post("/api/auth/magic-link", {"email": world.email})


@call("log in by a magic link")
def _use_link(world: World) -> Call:
    anonymous = world.user.acting_as(None)
    anonymous.post("/api/auth/magic-link", {"email": world.email})
    secret = re.search(r"/login/link#(\S+)", moto_aws.mails()[-1].body)
    assert secret
    return lambda: anonymous.post("/api/auth/magic-link/verify", {"token": secret[1]})


@call("page of a magic link")
def _link_page(world: World) -> Call:
    return lambda: world.user.acting_as(None).get("/login/link")


@call("set out to sign in with Slack")
def _set_out(world: World) -> Call:
    _slack(world)
    return lambda: _redirected(world.user.acting_as(None).get("/api/auth/slack"), slack_is_next=True)


@call("come back from Slack")
def _come_back(world: World) -> Call:
    url = _slack(world)
    anonymous = world.user.acting_as(None)
    started = anonymous.get("/api/auth/slack")
    http = Http(url)
    world.ends.callback(http.close_all)
    answer = http.call("GET", standin.path_of(started.header("Location") or ""))
    back = urlsplit(answer.header("Location") or "")
    query = {name: values[0] for name, values in parse_qs(back.query).items()}
    kept = (started.header("Set-Cookie") or "").partition(";")[0]
    return lambda: _redirected(anonymous.get(back.path, query, Cookie=kept), slack_is_next=False)


def _slack(world: World) -> str:
    """Slack, to whom this stage is known for as long as the world stands; its address."""
    running = world.ends.enter_context(standin.running(lambda: world.clock.now / 1_000))
    known = {"current": "key-test", "key-test": KEY.decode()}
    known |= {"slackClientId": standin.CLIENT_ID, "slackClientSecret": standin.CLIENT_SECRET}
    patch = world.ends.enter_context(pytest.MonkeyPatch.context())
    patch.setattr(keys, "settings", replace(settings, local_secret=json.dumps(known)))
    patch.setattr(keys, "_cached", None)
    patch.setattr(slack_login, "_cached_keys", (0, {}))
    for module in (slack_login, slack_api):
        patch.setattr(module, "settings", replace(settings, slack_url=running.url))
    return running.url


def _redirected(answer: Response, *, slack_is_next: bool) -> None:
    location = answer.header("Location") or ""
    assert answer.status == 302, answer
    assert ("/openid/connect/authorize" in location) if slack_is_next else location == "/dashboard", location


@call("whose token is this")
def _me(world: World) -> Call:
    return lambda: world.user.get("/api/auth/me")


@call("log out")
def _log_out(world: World) -> Call:
    return lambda: world.user.post("/api/auth/logout")


def _token(world: World) -> str:
    made = world.user.post("/api/auth/tokens", {"name": "a program"})
    assert made.status == 201, made
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
    token = _token(world)
    return lambda: world.user.delete(f"/api/auth/tokens/{token}")
