"""Slack sign-in with real processes: each redirect that a browser follows."""

import time
from collections.abc import Callable

from infra.local.gateway import Response
from tests.e2e.conftest import Platform
from tests.support import slack_server
from tests.support.client import Http


def test_slack_sign_in_returns_to_the_dashboard(fresh_platform: Callable[..., Platform]) -> None:
    with slack_server.running(time.time) as slack:
        platform = fresh_platform(
            DEVFLOW_SLACK_URL=slack.url,
            DEVFLOW_SLACK_CLIENT_ID=slack_server.CLIENT_ID,
            DEVFLOW_SLACK_CLIENT_SECRET=slack_server.CLIENT_SECRET,
        )
        started = platform.client.get("/api/auth/slack")
        http = Http(slack.url)
        returned = http.call("GET", slack_server.path_of(started.header("Location") or ""))
        http.close_all()
        target = returned.header("Location") or ""
        assert target.startswith(f"{platform.url}/api/auth/slack/callback?")
        signed_in = platform.client.get(slack_server.path_of(target), Cookie=cookies(started))
        assert (signed_in.status, signed_in.header("Location")) == (302, "/dashboard")
        session_cookies = cookies(signed_in)
        assert "__Host-devflow-session=" in session_cookies
        me = platform.client.get("/api/auth/me", Cookie=session_cookies)
        assert me.json()["user"]["email"] == "krane@example.com"
        assert slack_server.CLIENT_SECRET not in platform.output


def cookies(response: Response) -> str:
    """The Cookie header that a browser sends after this response."""
    return "; ".join(value.partition(";")[0] for name, value in response.headers if name == "Set-Cookie")
