"""/api/auth: logging in, being logged in, and personal tokens."""

from chalice.app import Blueprint

from chalicelib.auth import confirm, guard, links, personal, pins, service, sessions, slack
from chalicelib.auth.links import LinkExpired
from chalicelib.auth.model import OtherToken
from chalicelib.auth.personal import TokenNotFound, TooManyTokens
from chalicelib.auth.pins import WrongPin
from chalicelib.auth.shapes import (
    Done,
    LinkRequest,
    LinkUse,
    LoggedIn,
    Logout,
    MadeToken,
    Me,
    NewPin,
    NewToken,
    PinLogin,
    SlackAnswer,
    TokenListing,
)
from chalicelib.auth.slack import SignInFailed
from chalicelib.http import Answer, Call, browser, route
from chalicelib.pages import ListQuery
from chalicelib.ratelimit import ACCOUNT, LINKS, LOGIN, SLACK
from chalicelib.settings import SECOND, settings
from chalicelib.types import Reply

blueprint = Blueprint(__name__)

CALLBACK = "/api/auth/slack/callback"
STATE = "devflow-slack"
"""The cookie of somebody who has set out for Slack."""

CONFIRM = "/login/link"
"""Where a link from a mail leads, in front of its #."""

if settings.pin_login:  # on prod these addresses do not exist

    @route(
        blueprint, "POST", "/api/auth/pin/login", "nobody", LOGIN, body=PinLogin, answer=LoggedIn, raises=(WrongPin,)
    )
    def pin_login(call: Call) -> Answer:
        """Log in with email and PIN."""
        return _let_in(call, pins.log_in(call.body(PinLogin), call.address, call.now))

    @route(blueprint, "POST", "/api/auth/pin", "session", ACCOUNT, body=NewPin, answer=Done)
    def set_pin(call: Call) -> Answer:
        """Set the PIN to log in with."""
        user = service.admit(guard.session(call), call.meter, call.now)
        pins.set_pin(user, call.body(NewPin))
        return Answer(Done())


@route(blueprint, "POST", "/api/auth/magic-link", "nobody", LINKS, body=LinkRequest, answer=Done, status=202)
def request_link(call: Call) -> Answer:
    """Ask for a link by mail, which logs in whoever reads that address."""
    links.request(call.body(LinkRequest), call.address, browser.site(call) + CONFIRM, call.now)
    return Answer(Done())


@route(
    blueprint, "POST", "/api/auth/magic-link/verify", "nobody", LOGIN,
    body=LinkUse, answer=LoggedIn, raises=(LinkExpired,),
)  # fmt: skip
def use_link(call: Call) -> Answer:
    """Log in with what a link from a mail has behind its #."""
    return _let_in(call, links.use(call.body(LinkUse), call.address, call.now))


@route(blueprint, "GET", CONFIRM, "nobody", media="text/html")
def confirm_link(call: Call) -> Answer:
    """Show the page that a link from a mail leads to. Nothing is used up by that."""
    return confirm.page(browser.path(call, "/api/auth/magic-link/verify"), browser.path(call, settings.dashboard))


@route(blueprint, "GET", "/api/auth/slack", "nobody", LOGIN, status=302)
def start_slack(call: Call) -> Answer:
    """Send a browser to Slack, to sign in there."""
    try:
        started = slack.start(browser.site(call) + CALLBACK, call.address, call.now)
    except SignInFailed as failed:
        return _back_to_login(call, failed)
    return browser.redirect(started.location, [browser.cookie(STATE, started.state, slack.GOOD_FOR // SECOND)])


@route(blueprint, "GET", CALLBACK, "nobody", SLACK, query=SlackAnswer, status=302)
def finish_slack(call: Call) -> Answer:
    """Take a browser back from Slack, and send it to the dashboard, signed in."""
    came, kept = call.params(SlackAnswer), browser.said(call, STATE)
    try:
        token = slack.finish(came, kept, browser.site(call) + CALLBACK, call.address, call.now)
    except SignInFailed as failed:
        return _back_to_login(call, failed)
    cookies = [guard.session_cookie(token), browser.cookie(STATE, "", 0)]
    return browser.redirect(browser.path(call, settings.dashboard), cookies)


def _let_in(call: Call, reply: LoggedIn) -> Answer:
    """The answer to a login. A browser that is at a page of ours keeps the session, too; at no other page, which could
    log somebody in as somebody else."""
    if not browser.from_own_page(call):
        return Answer(reply)
    return Answer(reply, headers={"Set-Cookie": guard.session_cookie(reply.token)})


def _back_to_login(call: Call, failed: SignInFailed) -> Answer:
    """To the login page, which is told a word of the reason and no more; whatever the browser kept is done with."""
    page = browser.path(call, f"{settings.dashboard}/login")
    return browser.redirect(f"{page}?reason={failed.reason}", [browser.cookie(STATE, "", 0)])


@route(blueprint, "GET", "/api/auth/me", "user", ACCOUNT, answer=Me)
def me(call: Call) -> Answer:
    """Read whose token this is."""
    caller = guard.user_token(call)
    return Answer(sessions.me(service.admit(caller, call.meter, call.now), caller))


@route(blueprint, "POST", "/api/auth/logout", "user", ACCOUNT, body=Logout, answer=Done)
def logout(call: Call) -> Answer:
    """Log out: end the token of this request, or every token there is."""
    caller = guard.user_token(call)
    user = service.admit(caller, call.meter, call.now)
    if call.body(Logout).everywhere:
        guard.session(call)
        sessions.end_all(user)
    else:
        sessions.end(user, caller, call.now)
    return _let_out(call, Done())


def _let_out(call: Call, reply: Reply) -> Answer:
    """The answer to a logout, with which a browser forgets the session it keeps."""
    kept = browser.said(call, guard.COOKIE) is not None
    return Answer(reply, headers={"Set-Cookie": browser.cookie(guard.COOKIE, "", 0)} if kept else {})


@route(blueprint, "GET", "/api/auth/tokens", "session", ACCOUNT, query=ListQuery, answer=TokenListing)
def list_tokens(call: Call) -> Answer:
    """List your personal tokens, the newest first."""
    user = service.admit(guard.session(call), call.meter, call.now)
    return Answer(personal.listing(user, call.params(ListQuery), call.now))


@route(
    blueprint, "POST", "/api/auth/tokens", "session", ACCOUNT,
    body=NewToken, idempotency_key=True, answer=MadeToken, status=201, raises=(OtherToken, TooManyTokens),
)  # fmt: skip
def make_token(call: Call) -> Answer:
    """Make a personal token, which is shown this once."""
    user = service.admit(guard.session(call), call.meter, call.now)
    return Answer(personal.make(user, call.body(NewToken), call.idempotency_key, call.now))


@route(blueprint, "DELETE", "/api/auth/tokens/{token_id}", "session", ACCOUNT, answer=Done, raises=(TokenNotFound,))
def revoke_token(call: Call, token_id: str) -> Answer:
    """Revoke a personal token."""
    user = service.admit(guard.session(call), call.meter, call.now)
    personal.revoke(user, token_id)
    return Answer(Done())
