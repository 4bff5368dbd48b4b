"""/dashboard and /docs: pages, and what they load. Nothing here knows who asks; the API that the pages call does."""

from chalice.app import Blueprint

from chalicelib.auth import slack
from chalicelib.auth.guard import COOKIE
from chalicelib.dashboard import pages
from chalicelib.dashboard.pages import OF_ONE, File
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
"""A page loads from its own platform alone, runs no script but its files, and the browser itself refuses to make HTML
of a text. It is kept, but asked for again each time, which costs a 304."""

FOR_GOOD = "public, max-age=31536000, immutable"


@route(blueprint, "GET", "/dashboard", "nobody", media="text/html")
def overview_page(call: Call) -> Answer:
    """Show the dashboard."""
    return _page(call, "overview")


@route(blueprint, "GET", "/dashboard/{page}", "nobody", media="text/html", raises=(RouteNotFound,))
def dashboard_page(call: Call, page: str) -> Answer:
    """Show a page of the dashboard."""
    one_of = (*OF_ONE, "account", "login", "new")
    return _page(call, page if page in one_of else "missing")


@route(blueprint, "GET", "/dashboard/{page}/{item}", "nobody", media="text/html", raises=(RouteNotFound,))
def dashboard_item(call: Call, page: str, item: str) -> Answer:
    """Show the dashboard's page of one task, agent or webhook."""
    del item  # the page asks the API for it
    return _page(call, OF_ONE.get(page, "missing"))


@route(blueprint, "GET", "/dashboard/static/{version}/{file}", "nobody", media="*/*", raises=(RouteNotFound,))
def dashboard_file(call: Call, version: str, file: str) -> Answer:
    """Load a script, style or picture of the dashboard."""
    found = pages.asset(file)
    if found is None:
        raise RouteNotFound
    return _unless_known(call, found, {"Cache-Control": FOR_GOOD if version == pages.version() else "no-cache"})


@route(blueprint, "GET", "/docs", "nobody", media="text/html")
def docs_page(call: Call) -> Answer:
    """Show the API's documentation."""
    return _page(call, "docs")


def _page(call: Call, name: str) -> Answer:
    """A page; for what is none, a page that says so to a browser, and the usual error to anybody else."""
    if name == "missing" and "text/html" not in call.headers.get("accept", ""):
        raise RouteNotFound
    path = str(call.event.get("path"))
    resource = str(call.event["requestContext"]["resourcePath"])
    session = browser.said(call, COOKIE) is not None
    up = resource.count("/") - 1 + path.endswith("/")
    shown = pages.page(name, up, session=session, logins=_logins(name, call.now))
    if name == "missing":
        return Answer(Text(shown.text), 404, {"Content-Type": shown.type, **PAGE_HEADERS})
    return _unless_known(call, shown, PAGE_HEADERS)


def _logins(name: str, now: int) -> str:
    """The ways to log in that this stage has. Only the login page is to know of Slack, which the stage's keys tell."""
    offers_slack = name == "login" and slack.offered(now)
    ways = {"slack": offers_slack, "mail": settings.mail_from is not None, "pin": settings.pin_login}
    return " ".join(way for way, there in ways.items() if there)


def _unless_known(call: Call, file: File, headers: dict[str, str]) -> Answer:
    """The file, or 304 where the browser has it already (RFC 9110, section 13.1.2)."""
    headers = {"Content-Type": file.type, "ETag": file.etag, **headers}
    known = {tag.strip().removeprefix("W/") for tag in call.headers.get("if-none-match", "").split(",")}
    return Answer(Text(""), 304, headers) if file.etag in known else Answer(Text(file.text), 200, headers)
