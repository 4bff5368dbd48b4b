"""/dashboard, /docs and /login: pages and the files that they load.

These routes are public: pages contain no data, and the API that they request authenticates the user.
"""

from chalice.app import Blueprint

from chalicelib.auth import slack_login
from chalicelib.auth.guard import COOKIE
from chalicelib.auth.magic_links import PAGE as LINK_PAGE
from chalicelib.core.errors import RouteNotFound
from chalicelib.core.settings import settings
from chalicelib.dashboard import pages
from chalicelib.dashboard.pages import ITEM_PAGES, File
from chalicelib.http import RawBody, Request, Response, browser, route

blueprint = Blueprint(__name__)

PAGE_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "private, no-cache",
    "Vary": "Cookie",
}
"""A page loads files of its own platform only, and runs no inline script. The browser refuses to make HTML of a string
(Trusted Types). It stores the page, but asks each time whether it has changed, which costs a 304."""

IMMUTABLE = "public, max-age=31536000, immutable"


@route(blueprint, "GET", "/dashboard", "public", media_type="text/html")
def overview_page(request: Request) -> Response:
    """Show the dashboard."""
    return _page(request, "overview")


@route(blueprint, "GET", "/dashboard/{page}", "public", media_type="text/html", raises=(RouteNotFound,))
def dashboard_page(request: Request, page: str) -> Response:
    """Show a page of the dashboard."""
    names = (*ITEM_PAGES, "account", "login", "new")
    return _page(request, page if page in names else "missing")


@route(blueprint, "GET", "/dashboard/{page}/{item}", "public", media_type="text/html", raises=(RouteNotFound,))
def dashboard_item(request: Request, page: str, item: str) -> Response:
    """Show the dashboard's page of one task, agent or webhook."""
    del item  # the page reads it from the API
    return _page(request, ITEM_PAGES.get(page, "missing"))


@route(blueprint, "GET", "/dashboard/static/{version}/{file}", "public", media_type="*/*", raises=(RouteNotFound,))
def dashboard_file(request: Request, version: str, file: str) -> Response:
    """Load a script, stylesheet or picture of the dashboard."""
    asset = pages.asset(file)
    if asset is None:
        raise RouteNotFound
    return _unless_stored(request, asset, {"Cache-Control": IMMUTABLE if version == pages.version() else "no-cache"})


@route(blueprint, "GET", "/docs", "public", media_type="text/html")
def docs_page(request: Request) -> Response:
    """Show the API reference."""
    return _page(request, "docs")


@route(blueprint, "GET", LINK_PAGE, "public", media_type="text/html")
def confirm_link(request: Request) -> Response:
    """Show the page that a magic link leads to. This does not use the link up."""
    return _page(request, "link")


def _page(request: Request, name: str) -> Response:
    """The page. For "missing", a 404: a page for browsers, the API's error for other clients."""
    if name == "missing" and "text/html" not in request.headers.get("accept", ""):
        raise RouteNotFound
    path = str(request.event.get("path"))
    resource = str(request.event["requestContext"]["resourcePath"])
    session = browser.cookie_value(request, COOKIE) is not None
    up = resource.count("/") - 1 + path.endswith("/")
    file = pages.page(name, up, session=session, logins=_login_methods(name, request.now))
    if name == "missing":
        return Response(RawBody(file.text), 404, {"Content-Type": file.type, **PAGE_HEADERS})
    return _unless_stored(request, file, PAGE_HEADERS)


def _login_methods(name: str, now: int) -> str:
    """The login methods of this stage. Only the login page names Slack, for which the stage's keys have to be read."""
    offers_slack = name == "login" and slack_login.is_configured(now)
    methods = {"slack": offers_slack, "mail": settings.mail_from is not None, "pin": settings.pin_login}
    return " ".join(method for method, is_offered in methods.items() if is_offered)


def _unless_stored(request: Request, file: File, headers: dict[str, str]) -> Response:
    """The file, or 304 if the browser has stored it (RFC 9110, section 13.1.2)."""
    headers = {"Content-Type": file.type, "ETag": file.etag, **headers}
    stored = {tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")}
    return Response(RawBody(""), 304, headers) if file.etag in stored else Response(RawBody(file.text), 200, headers)
