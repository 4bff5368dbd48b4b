"""chalicelib/http/browser.py: the URL of the platform from the view of a browser, and redirects."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from chalicelib.core.settings import settings
from chalicelib.http import Request, browser


@pytest.fixture
def make_request(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Request]:
    """Creates a request as API Gateway sends it, to a stage with the setting `url`."""

    def make(path: str, resource: str, host: str = "api.example.com", url: str | None = None) -> Request:
        monkeypatch.setattr(browser, "settings", replace(settings, url=url))
        context = {"path": path, "resourcePath": resource, "domainName": host, "httpMethod": "GET"}
        return Request(now=0, headers={"host": host}, query={}, event={"requestContext": context})

    return make


@pytest.mark.parametrize(
    ("path", "resource", "base_url"),
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
def test_base_url_includes_stage_or_base_path_of_custom_domain(
    make_request: Callable[..., Request], path: str, resource: str, base_url: str
) -> None:
    request = make_request(path, resource)
    assert browser.base_url(request) == base_url
    assert (
        browser.absolute_path(request, "/dashboard") == base_url.removeprefix("https://api.example.com") + "/dashboard"
    )


def test_configured_url_replaces_the_address_of_the_request(make_request: Callable[..., Request]) -> None:
    request = make_request(
        "/api/api/auth/slack", "/api/auth/slack", "evil.example", url="https://devflow.example.com/x"
    )
    assert browser.base_url(request) == "https://devflow.example.com/x"
    assert browser.absolute_path(request, "/login") == "/x/login"


def test_redirect_can_set_several_cookies() -> None:
    cookies = [browser.cookie_header("a", "1", 60), browser.cookie_header("b", "", 0)]
    response: Any = browser.redirect("/dashboard", cookies)
    assert (response.status, response.headers["Location"], response.headers["Set-Cookie"]) == (
        302,
        "/dashboard",
        cookies,
    )
    assert "Set-Cookie" not in browser.redirect("/login").headers
