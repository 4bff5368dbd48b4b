"""/api/auth: logins, sessions and personal tokens."""

import re
import secrets

from chalice.app import Blueprint

from chalicelib.auth import guard, magic_links, personal_tokens, service, sessions, slack_login
from chalicelib.auth import pin_login as pin_logins
from chalicelib.auth.entities import LoginOrigin
from chalicelib.auth.magic_links import LinkExpired
from chalicelib.auth.personal_tokens import TokenNotFound, TooManyTokens
from chalicelib.auth.pin_login import CommonPin, WrongPin
from chalicelib.auth.rules import IdempotencyKeyReused
from chalicelib.auth.schemas import (
    CreateTokenRequest,
    CreateTokenResponse,
    LoginResponse,
    LogoutRequest,
    MagicLinkRequest,
    MagicLinkResponse,
    MeResponse,
    PersonalTokenList,
    PinLoginRequest,
    SessionList,
    SetPinRequest,
    SlackCallbackQuery,
    SuccessResponse,
    VerifyMagicLinkRequest,
)
from chalicelib.auth.sessions import SessionNotFound
from chalicelib.auth.slack_login import SignInFailed
from chalicelib.core.models import OutputModel
from chalicelib.core.settings import SECOND, settings
from chalicelib.http import Request, Response, browser, route
from chalicelib.http.pagination import ListQuery
from chalicelib.http.rate_limits import ACCOUNT, LINK_READS, LINKS, LOGIN, SLACK

blueprint = Blueprint(__name__)

CALLBACK_PATH = "/api/auth/slack/callback"
STATE_COOKIE = "devflow-slack"
"""The cookie that stores the state of a Slack sign-in until the browser returns."""
LINK_COOKIE = "devflow-link"
"""The cookie that stores the secret id of a browser that has requested magic links, while they are valid."""
_BROWSER_ID = re.compile(r"[A-Za-z0-9_-]{43}")

_MAX_USER_AGENT = 200
"""How many characters of the user agent of a login are stored."""

if settings.pin_login:  # prod does not have these routes

    @route(
        blueprint,
        "POST",
        "/api/auth/pin/login",
        "public",
        LOGIN,
        body=PinLoginRequest,
        response=LoginResponse,
        raises=(WrongPin,),
    )
    def pin_login(request: Request) -> Response:
        """Log in with email and PIN."""
        return _login_response(
            request, pin_logins.log_in_with_pin(request.body(PinLoginRequest), _origin(request), request.now)
        )

    @route(
        blueprint,
        "POST",
        "/api/auth/pin",
        "session",
        ACCOUNT,
        body=SetPinRequest,
        response=SuccessResponse,
        raises=(CommonPin,),
    )
    def set_pin(request: Request) -> Response:
        """Set the PIN."""
        user = service.admit(guard.session_caller(request), request.rate_limit, request.now)
        pin_logins.set_pin(user, request.body(SetPinRequest))
        return Response(SuccessResponse())


@route(
    blueprint,
    "POST",
    "/api/auth/magic-link",
    "public",
    LINKS,
    body=MagicLinkRequest,
    response=SuccessResponse,
    status=202,
)
def request_link(request: Request) -> Response:
    """Request a login link by mail."""
    browser_id = (_browser_id(request) or secrets.token_urlsafe(32)) if browser.is_same_origin(request) else None
    magic_links.request_link(
        request.body(MagicLinkRequest),
        request.source_ip,
        browser.base_url(request) + magic_links.PAGE,
        request.now,
        browser_id=browser_id,
    )
    if browser_id is None:
        return Response(SuccessResponse())
    cookie = browser.cookie_header(LINK_COOKIE, browser_id, magic_links.LINK_LIFETIME // SECOND)
    return Response(SuccessResponse(), headers={"Set-Cookie": cookie})


def _browser_id(request: Request) -> str | None:
    """The id in the browser's cookie. None without one, or if it is none of ours."""
    value = browser.cookie_value(request, LINK_COOKIE)
    return value if value is not None and _BROWSER_ID.fullmatch(value) else None


@route(
    blueprint, "POST", "/api/auth/magic-link/read", "public", LINK_READS,
    body=VerifyMagicLinkRequest, response=MagicLinkResponse, raises=(LinkExpired,),
)  # fmt: skip
def read_link(request: Request) -> Response:
    """Read which account a link logs in. This does not use the link."""
    return Response(
        magic_links.read_link(
            request.body(VerifyMagicLinkRequest), request.source_ip, request.now, browser_id=_browser_id(request)
        )
    )


@route(
    blueprint, "POST", "/api/auth/magic-link/verify", "public", LOGIN,
    body=VerifyMagicLinkRequest, response=LoginResponse, raises=(LinkExpired,),
)  # fmt: skip
def use_link(request: Request) -> Response:
    """Log in with the token of a link."""
    return _login_response(
        request, magic_links.use_link(request.body(VerifyMagicLinkRequest), _origin(request), request.now)
    )


@route(blueprint, "GET", "/api/auth/slack", "public", LOGIN, status=302)
def start_slack(request: Request) -> Response:
    """Redirect a browser to Slack to log in."""
    try:
        started = slack_login.start_sign_in(browser.base_url(request) + CALLBACK_PATH, request.source_ip, request.now)
    except SignInFailed as failed:
        return _redirect_to_login(request, failed)
    return browser.redirect(
        started.location, [browser.cookie_header(STATE_COOKIE, started.state, slack_login.STATE_LIFETIME // SECOND)]
    )


@route(blueprint, "GET", CALLBACK_PATH, "public", SLACK, query=SlackCallbackQuery, status=302)
def finish_slack(request: Request) -> Response:
    """Complete a login with Slack, and redirect the browser to the dashboard."""
    callback, cookie_state = request.query_params(SlackCallbackQuery), browser.cookie_value(request, STATE_COOKIE)
    try:
        token = slack_login.finish_sign_in(
            callback, cookie_state, browser.base_url(request) + CALLBACK_PATH, _origin(request), request.now
        )
    except SignInFailed as failed:
        return _redirect_to_login(request, failed)
    cookies = [guard.session_cookie(token), browser.cookie_header(STATE_COOKIE, "", 0)]
    return browser.redirect(browser.absolute_path(request, settings.dashboard), cookies)


def _origin(request: Request) -> LoginOrigin:
    """Where a login comes from. Characters of the user agent that cannot be displayed are left out."""
    user_agent = "".join(each for each in request.headers.get("user-agent", "") if each.isprintable())
    return LoginOrigin(request.source_ip, user_agent[:_MAX_USER_AGENT])


def _login_response(request: Request, body: LoginResponse) -> Response:
    """The response to a login. It sets the session cookie only for a request from this platform's own pages: another
    page could log a browser in as a different user."""
    if not browser.is_same_origin(request):
        return Response(body)
    return Response(body, headers={"Set-Cookie": guard.session_cookie(body.token)})


def _redirect_to_login(request: Request, failed: SignInFailed) -> Response:
    """Redirect to the login page with the code of the reason and no more, and delete the state cookie."""
    page = browser.absolute_path(request, f"{settings.dashboard}/login")
    return browser.redirect(f"{page}?reason={failed.reason}", [browser.cookie_header(STATE_COOKIE, "", 0)])


@route(blueprint, "GET", "/api/auth/me", "user", ACCOUNT, response=MeResponse)
def me(request: Request) -> Response:
    """Read the user of this token."""
    caller = guard.user_caller(request)
    return Response(sessions.to_me_response(service.admit(caller, request.rate_limit, request.now), caller))


@route(blueprint, "POST", "/api/auth/logout", "user", ACCOUNT, body=LogoutRequest, response=SuccessResponse)
def logout(request: Request) -> Response:
    """End the token of this request, or every login and personal token."""
    caller = guard.user_caller(request)
    user = service.admit(caller, request.rate_limit, request.now)
    if request.body(LogoutRequest).everywhere:
        guard.session_caller(request)
        sessions.end_all_sessions(user)
    elif caller.is_session:
        sessions.log_out(user, caller, request.now)
    else:
        personal_tokens.log_out(user, caller)
    return _logout_response(request, SuccessResponse())


def _logout_response(request: Request, body: OutputModel) -> Response:
    """The response to a logout. It deletes the session cookie of a browser that sent one."""
    has_cookie = browser.cookie_value(request, guard.COOKIE) is not None
    return Response(body, headers={"Set-Cookie": browser.cookie_header(guard.COOKIE, "", 0)} if has_cookie else {})


@route(blueprint, "GET", "/api/auth/sessions", "session", ACCOUNT, query=ListQuery, response=SessionList)
def list_sessions(request: Request) -> Response:
    """List sessions, newest first."""
    caller = guard.session_caller(request)
    user = service.admit(caller, request.rate_limit, request.now)
    return Response(sessions.list_sessions(user, caller, request.query_params(ListQuery), request.now))


@route(
    blueprint, "DELETE", "/api/auth/sessions/{session_id}", "session", ACCOUNT,
    response=SuccessResponse, raises=(SessionNotFound,),
)  # fmt: skip
def end_session(request: Request, session_id: str) -> Response:
    """End a session."""
    user = service.admit(guard.session_caller(request), request.rate_limit, request.now)
    sessions.end_session(user, session_id, request.now)
    return Response(SuccessResponse())


@route(blueprint, "GET", "/api/auth/tokens", "session", ACCOUNT, query=ListQuery, response=PersonalTokenList)
def list_tokens(request: Request) -> Response:
    """List personal tokens, newest first."""
    user = service.admit(guard.session_caller(request), request.rate_limit, request.now)
    return Response(personal_tokens.list_tokens(user, request.query_params(ListQuery), request.now))


@route(
    blueprint, "POST", "/api/auth/tokens", "session", ACCOUNT,
    body=CreateTokenRequest, idempotency_key=True, response=CreateTokenResponse, status=201,
    raises=(IdempotencyKeyReused, TooManyTokens),
)  # fmt: skip
def make_token(request: Request) -> Response:
    """Create a personal token. No other response contains it."""
    user = service.admit(guard.session_caller(request), request.rate_limit, request.now)
    return Response(
        personal_tokens.create_token(user, request.body(CreateTokenRequest), request.idempotency_key, request.now)
    )


@route(
    blueprint,
    "DELETE",
    "/api/auth/tokens/{token_id}",
    "session",
    ACCOUNT,
    response=SuccessResponse,
    raises=(TokenNotFound,),
)
def revoke_token(request: Request, token_id: str) -> Response:
    """Revoke a personal token."""
    user = service.admit(guard.session_caller(request), request.rate_limit, request.now)
    personal_tokens.revoke_token(user, token_id)
    return Response(SuccessResponse())
