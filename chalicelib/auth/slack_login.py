"""Sign-in with Slack (OpenID Connect, authorization code flow), in two steps.

`start_sign_in` sends a browser to Slack with a new state and a new nonce. `finish_sign_in` handles the browser's
return. The hashes of state and nonce are stored for ten minutes, for one use. The state is also in a cookie, so that
only the browser that started a sign-in can finish it: a link cannot log a user in as somebody else. The nonce returns
in Slack's id token. PKCE is not used, because Slack would then treat this client as one without a secret.
"""

import hmac
import re
import secrets
from functools import cache
from typing import Any, NamedTuple
from urllib.parse import urlencode

from pydantic import TypeAdapter, ValidationError

from chalicelib.auth import id_token, login_store, sessions, slack_accounts
from chalicelib.auth.entities import LoginOrigin, SlackPerson
from chalicelib.auth.id_token import IdTokenInvalid, Keys
from chalicelib.auth.keys import SlackCredentials, keyring
from chalicelib.auth.magic_links import is_domain_allowed
from chalicelib.auth.schemas import MailAddress, SlackCallbackQuery
from chalicelib.auth.slack_accounts import AccountNotLinked
from chalicelib.core.errors import DevFlowError, RateLimited, Unavailable
from chalicelib.core.log import logger
from chalicelib.core.settings import HOUR, MINUTE, settings
from chalicelib.core.text import sha256_hex
from chalicelib.http.rate_limits import LOGIN, SLACK

STATE_LIFETIME = 10 * MINUTE
_MAX_CODE_LENGTH = 1_000
_SLACK_ID = re.compile(r"[A-Za-z0-9]{1,64}")


@cache
def _mail_address() -> TypeAdapter[str]:
    return TypeAdapter(MailAddress)


class SignInFailed(DevFlowError):
    """The sign-in failed. `reason` is a code, which the login page gets in its query and translates into a message."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__()


class SlackRedirect(NamedTuple):
    """Where to redirect the browser, and the state that it stores in a cookie until it returns."""

    location: str
    state: str


def start_sign_in(redirect_uri: str, source_ip: str, now: int) -> SlackRedirect:
    """Start a sign-in. Slack redirects the browser back to `redirect_uri`. Raises SignInFailed."""
    try:
        login_store.count_source_ip(source_ip, LOGIN, now)
        client = _credentials(now)
        state, nonce = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
        login_store.save_state(sha256_hex(state), sha256_hex(nonce), now + STATE_LIFETIME)
    except (RateLimited, Unavailable) as error:
        raise _sign_in_failed(error) from error
    query = {
        "response_type": "code",
        "scope": "openid email profile",
        "client_id": client.id,
        "redirect_uri": redirect_uri,
        "state": state,
        "nonce": nonce,
    }
    if settings.slack_team:
        query["team"] = settings.slack_team
    return SlackRedirect(f"{settings.slack_url}/openid/connect/authorize?{urlencode(query)}", state)


def finish_sign_in(
    callback: SlackCallbackQuery, cookie_state: str | None, redirect_uri: str, origin: LoginOrigin, now: int
) -> str:
    """Finish a sign-in: start a session for the user that Slack names, and return its token.

    `cookie_state` is the state in the browser's cookie. Raises SignInFailed.
    """
    try:
        login_store.count_source_ip(origin.address, SLACK, now)
        nonce_hash = _consume_state(callback.state, cookie_state, now)
        claims = _fetch_claims(_code(callback), redirect_uri, _credentials(now), nonce_hash, now)
        person = _person(claims)
        return sessions.start_session(slack_accounts.ensure_user(person, settings.slack_team, now), origin, now).token
    except SignInFailed:
        raise
    except AccountNotLinked as error:
        raise SignInFailed("slack-account") from error
    except DevFlowError as error:
        raise _sign_in_failed(error) from error


def is_configured(now: int) -> bool:
    """Whether this stage has a Slack app. False where the secret cannot be read."""
    try:
        return keyring(now).slack is not None
    except Unavailable:
        return False


def _credentials(now: int) -> SlackCredentials:
    client = keyring(now).slack
    if client is None:
        raise SignInFailed("slack-off")
    return client


def _consume_state(state: str | None, cookie_state: str | None, now: int) -> str:
    """Delete the stored state, and return the hash of the nonce that was sent with it."""
    if not state or not cookie_state or not hmac.compare_digest(sha256_hex(state), sha256_hex(cookie_state)):
        raise SignInFailed("slack-expired")
    nonce_hash = login_store.consume_state(sha256_hex(state), now)
    if nonce_hash is None:
        raise SignInFailed("slack-expired")
    return nonce_hash


def _code(callback: SlackCallbackQuery) -> str:
    if callback.error is not None:
        raise SignInFailed("slack-denied" if callback.error == "access_denied" else "slack-refused")
    if callback.code is None or not 0 < len(callback.code) <= _MAX_CODE_LENGTH:
        raise SignInFailed("slack-refused")
    return callback.code


def _fetch_claims(code: str, redirect_uri: str, client: SlackCredentials, nonce_hash: str, now: int) -> dict[str, Any]:
    from chalicelib.auth import slack_api  # noqa: PLC0415  # only a sign-in needs urllib3 and slack_sdk

    try:
        token = slack_api.fetch_id_token(code, redirect_uri, client)
        keys = _signing_keys(id_token.key_id(token), now)
        return id_token.verified_claims(
            token, keys, issuer=settings.slack_url, audience=client.id, nonce_hash=nonce_hash, now=now
        )
    except (IdTokenInvalid, slack_api.CodeRefused) as error:
        # The reason is logged for operators and not returned to the browser. The token and the code are never logged.
        why = getattr(error, "message", "Slack rejected the code.")
        logger.warning("Slack sign-in could not be verified", extra={"why": why})
        raise SignInFailed("slack-refused") from None


_cached_keys: tuple[int, Keys] = (0, {})
"""When this container read Slack's keys (epoch milliseconds), and the keys."""


def _signing_keys(key_id: str, now: int) -> Keys:
    """Slack's keys, read again every hour, and when `key_id` is not among them."""
    global _cached_keys  # noqa: PLW0603  # one set for each container, deliberately
    from chalicelib.auth import slack_api  # noqa: PLC0415  # as above

    read_at, keys = _cached_keys
    if key_id not in keys or not 0 <= now - read_at < HOUR:
        keys = id_token.public_keys(slack_api.fetch_keys())
        _cached_keys = (now, keys)
    return keys


def _person(claims: dict[str, Any]) -> SlackPerson:
    """The person in Slack's claims, with a verified address. Raises SignInFailed where they may not log in."""
    team, person_id = claims.get("https://slack.com/team_id"), claims.get("sub")
    if settings.slack_team and team != settings.slack_team:
        raise SignInFailed("slack-team")
    if not all(isinstance(each, str) and _SLACK_ID.fullmatch(each) for each in (team, person_id)):
        raise SignInFailed("slack-refused")
    try:
        email = _mail_address().validate_python(claims.get("email"), strict=True)
    except ValidationError:
        raise SignInFailed("slack-email") from None
    if claims.get("email_verified") is not True or not is_domain_allowed(email):
        raise SignInFailed("slack-email")
    claimed_name = claims.get("name")
    name = (claimed_name.strip() if isinstance(claimed_name, str) else "")[:100] or email.partition("@")[0]
    return SlackPerson(str(team), str(person_id), email, name)


def _sign_in_failed(error: DevFlowError) -> SignInFailed:
    logger.warning("Slack sign-in failed", extra={"why": error.message})
    return SignInFailed("slack-busy" if isinstance(error, RateLimited) else "slack-unavailable")
