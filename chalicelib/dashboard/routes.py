"""/dashboard and /docs: pages, and what they load. Nothing here knows who asks; the API that the pages call does."""

from chalice.app import Blueprint

from chalicelib.auth import slack_login
from chalicelib.auth.guard import COOKIE
from chalicelib.core.errors import RouteNotFound
from chalicelib.core.settings import settings
from chalicelib.dashboard import pages
from chalicelib.dashboard.pages import OF_ONE, File
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
"""A page loads from its own platform alone, runs no script but its files, and the browser itself refuses to make HTML
of a text. It is kept, but asked for again each time, which costs a 304."""

FOR_GOOD = "public, max-age=31536000, immutable"


@route(blueprint, "GET", "/dashboard", "public", media_type="text/html")
def overview_page(request: Request) -> Response:
    """Show the dashboard."""
    return _page(request, "overview")


@route(blueprint, "GET", "/dashboard/{page}", "public", media_type="text/html", raises=(RouteNotFound,))
def dashboard_page(request: Request, page: str) -> Response:
    """Show a page of the dashboard."""
    one_of = (*OF_ONE, "account", "login", "new")
    return _page(request, page if page in one_of else "missing")


@route(blueprint, "GET", "/dashboard/{page}/{item}", "public", media_type="text/html", raises=(RouteNotFound,))
def dashboard_item(request: Request, page: str, item: str) -> Response:
    """Show the dashboard's page of one task, agent or webhook."""
    del item  # the page asks the API for it
    return _page(request, OF_ONE.get(page, "missing"))


@route(blueprint, "GET", "/dashboard/static/{version}/{file}", "public", media_type="*/*", raises=(RouteNotFound,))
def dashboard_file(request: Request, version: str, file: str) -> Response:
    """Load a script, style or picture of the dashboard."""
    found = pages.asset(file)
    if found is None:
        raise RouteNotFound
    return _unless_known(request, found, {"Cache-Control": FOR_GOOD if version == pages.version() else "no-cache"})


@route(blueprint, "GET", "/docs", "public", media_type="text/html")
def docs_page(request: Request) -> Response:
    """Show the API's documentation."""
    return _page(request, "docs")


def _page(request: Request, name: str) -> Response:
    """A page; for what is none, a page that says so to a browser, and the usual error to anybody else."""
    if name == "missing" and "text/html" not in request.headers.get("accept", ""):
        raise RouteNotFound
    path = str(request.event.get("path"))
    resource = str(request.event["requestContext"]["resourcePath"])
    session = browser.cookie_value(request, COOKIE) is not None
    up = resource.count("/") - 1 + path.endswith("/")
    shown = pages.page(name, up, session=session, logins=_logins(name, request.now))
    if name == "missing":
        return Response(RawBody(shown.text), 404, {"Content-Type": shown.type, **PAGE_HEADERS})
    return _unless_known(request, shown, PAGE_HEADERS)


def _logins(name: str, now: int) -> str:
    """The ways to log in that this stage has. Only the login page is to know of Slack, which the stage's keys tell."""
    offers_slack = name == "login" and slack_login.is_configured(now)
    ways = {"slack": offers_slack, "mail": settings.mail_from is not None, "pin": settings.pin_login}
    return " ".join(way for way, there in ways.items() if there)


def _unless_known(request: Request, file: File, headers: dict[str, str]) -> Response:
    """The file, or 304 where the browser has it already (RFC 9110, section 13.1.2)."""
    headers = {"Content-Type": file.type, "ETag": file.etag, **headers}
    known = {tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")}
    return Response(RawBody(""), 304, headers) if file.etag in known else Response(RawBody(file.text), 200, headers)
