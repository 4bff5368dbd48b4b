"""/dashboard, /docs and /login: pages and the files that they load.

These routes are public: pages contain no data, and the API that they call authenticates the user.
"""

from chalice.app import Blueprint

from chalicelib.auth import slack_login
from chalicelib.auth.guard import COOKIE
from chalicelib.auth.links import PAGE as LINK_PAGE
from chalicelib.dashboard import pages
from chalicelib.dashboard.pages import ITEM_PAGES, File
from chalicelib.errors import RouteNotFound
from chalicelib.http import Answer, Call, Text, browser, route
from chalicelib.settings import settings

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
    return _page(call, page if page in names else "missing")


@route(blueprint, "GET", "/dashboard/{page}/{item}", "public", media_type="text/html", raises=(RouteNotFound,))
def dashboard_item(request: Request, page: str, item: str) -> Response:
    """Show the dashboard's page of one task, agent or webhook."""
    del item  # the page reads it from the API
    return _page(call, ITEM_PAGES.get(page, "missing"))


@route(blueprint, "GET", "/dashboard/static/{version}/{file}", "nobody", media="*/*", raises=(RouteNotFound,))
def dashboard_file(call: Call, version: str, file: str) -> Answer:
    """Load a script, stylesheet or picture of the dashboard."""
    asset = pages.asset(file)
    if asset is None:
        raise RouteNotFound
    return _unless_stored(call, asset, {"Cache-Control": IMMUTABLE if version == pages.version() else "no-cache"})


@route(blueprint, "GET", "/docs", "nobody", media="text/html")
def docs_page(call: Call) -> Answer:
    """Show the API reference."""
    return _page(call, "docs")


@route(blueprint, "GET", LINK_PAGE, "nobody", media="text/html")
def confirm_link(call: Call) -> Answer:
    """Show the page that a magic link leads to. This does not use the link up."""
    return _page(call, "link")


def _page(call: Call, name: str) -> Answer:
    """The page. For "missing", a 404: a page for browsers, the API's error for other clients."""
    if name == "missing" and "text/html" not in call.headers.get("accept", ""):
        raise RouteNotFound
    path = str(request.event.get("path"))
    resource = str(request.event["requestContext"]["resourcePath"])
    session = browser.cookie_value(request, COOKIE) is not None
    up = resource.count("/") - 1 + path.endswith("/")
    file = pages.page(name, up, session=session, logins=_login_methods(name, call.now))
    if name == "missing":
        return Answer(Text(file.text), 404, {"Content-Type": file.type, **PAGE_HEADERS})
    return _unless_stored(call, file, PAGE_HEADERS)


def _login_methods(name: str, now: int) -> str:
    """The login methods of this stage. Only the login page names Slack, for which the stage's keys have to be read."""
    offers_slack = name == "login" and slack.offered(now)
    methods = {"slack": offers_slack, "mail": settings.mail_from is not None, "pin": settings.pin_login}
    return " ".join(method for method, is_offered in methods.items() if is_offered)


def _unless_stored(call: Call, file: File, headers: dict[str, str]) -> Answer:
    """The file, or 304 if the browser has stored it (RFC 9110, section 13.1.2)."""
    headers = {"Content-Type": file.type, "ETag": file.etag, **headers}
    stored = {tag.strip().removeprefix("W/") for tag in call.headers.get("if-none-match", "").split(",")}
    return Answer(Text(""), 304, headers) if file.etag in stored else Answer(Text(file.text), 200, headers)
