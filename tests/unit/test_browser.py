"""chalicelib/http/browser.py: the address of the platform as a browser sees it, and redirects."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from chalicelib.core.settings import settings
from chalicelib.http import Request, browser


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Request]:
    """A call as API Gateway passes it on, to a stage whose own address is not set (unless `url` says it)."""

    def call(path: str, resource: str, host: str = "api.example.com", url: str | None = None) -> Request:
        monkeypatch.setattr(browser, "settings", replace(settings, url=url))
        context = {"path": path, "resourcePath": resource, "domainName": host, "httpMethod": "GET"}
        return Request(now=0, headers={"host": host}, query={}, event={"requestContext": context})

    return call


@pytest.mark.parametrize(
    ("path", "resource", "site"),
    [
        ("/api/auth/slack", "/api/auth/slack", "https://api.example.com"),
        ("/api/api/auth/slack", "/api/auth/slack", "https://api.example.com/api"),
        ("/api/login", "/login", "https://api.example.com/api"),
        ("/login", "/login", "https://api.example.com"),
        ("/login/", "/login", "https://api.example.com"),
        ("/two/steps/login", "/login", "https://api.example.com/two/steps"),
        ("/api/api/auth/tokens/a%2Fb", "/api/auth/tokens/{token_id}", "https://api.example.com/api"),
    ],
)
def test_the_stage_and_a_custom_domains_base_path_are_part_of_our_address(
    at: Callable[..., Request], path: str, resource: str, site: str
) -> None:
    call = at(path, resource)
    assert browser.base_url(call) == site
    assert browser.absolute_path(call, "/dashboard") == site.removeprefix("https://api.example.com") + "/dashboard"


def test_an_address_that_is_set_is_ours_however_we_were_called(at: Callable[..., Request]) -> None:
    call = at("/api/api/auth/slack", "/api/auth/slack", "evil.example", url="https://devflow.example.com/x")
    assert browser.base_url(call) == "https://devflow.example.com/x"
    assert browser.absolute_path(call, "/login") == "/x/login"


def test_a_redirect_can_set_several_cookies() -> None:
    cookies = [browser.cookie_header("a", "1", 60), browser.cookie_header("b", "", 0)]
    answer: Any = browser.redirect("/dashboard", cookies)
    assert (answer.status, answer.headers["Location"], answer.headers["Set-Cookie"]) == (302, "/dashboard", cookies)
    assert "Set-Cookie" not in browser.redirect("/login").headers
