"""Signing in with Slack (OpenID Connect, the authorization code flow), in two steps.

`start` sends a browser to Slack with a state and a nonce that were never used before; `finish` takes it back. Both are
kept as hashes, for ten minutes and one use. The state is also in a cookie: whoever comes back must be who set out, so
that nobody can be signed in as somebody else by a link. The nonce comes back in Slack's id token. No PKCE: Slack would
take us for a client without a secret from then on.
"""

import hmac
import secrets
from functools import cache
from typing import Any, NamedTuple
from urllib.parse import urlencode

from pydantic import TypeAdapter, ValidationError

from chalicelib.auth import id_token, login_store, service, sessions
from chalicelib.auth.id_token import IdTokenInvalid, Keys
from chalicelib.auth.keys import SlackCredentials, keyring
from chalicelib.auth.magic_links import is_domain_allowed
from chalicelib.auth.schemas import MailAddress, SlackCallbackQuery
from chalicelib.core.errors import DevFlowError, RateLimited, Unavailable
from chalicelib.core.log import logger
from chalicelib.core.settings import HOUR, MINUTE, settings
from chalicelib.core.text import sha256_hex
from chalicelib.http.rate_limits import LOGIN, SLACK

STATE_LIFETIME = 10 * MINUTE
_MAX_CODE_LENGTH = 1_000


@cache
def _mail_address() -> TypeAdapter[str]:
    return TypeAdapter(MailAddress)


class SignInFailed(DevFlowError):
    """Nobody was signed in. `reason` is what the login page is told."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__()


class SlackRedirect(NamedTuple):
    """Where to send the browser, and what it is to keep until it comes back."""

    location: str
    state: str


def start_sign_in(redirect_uri: str, address: str, now: int) -> SlackRedirect:
    """Set out for Slack, which sends the browser back to `redirect_uri`. Raises SignInFailed."""
    try:
        login_store.count_source_ip(address, LOGIN, now)
        client = _credentials(now)
        state, nonce = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
        login_store.save_state(sha256_hex(state), sha256_hex(nonce), now + STATE_LIFETIME)
    except (RateLimited, Unavailable) as error:
        raise _sign_in_failed(error) from error
    asked = {
        "response_type": "code",
        "scope": "openid email profile",
        "client_id": client.id,
        "redirect_uri": redirect_uri,
        "state": state,
        "nonce": nonce,
    }
    if settings.slack_team:
        asked["team"] = settings.slack_team
    return SlackRedirect(f"{settings.slack_url}/openid/connect/authorize?{urlencode(asked)}", state)


def finish_sign_in(
    callback: SlackCallbackQuery, kept_state: str | None, redirect_uri: str, address: str, now: int
) -> str:
    """The token of a new session, for whom Slack vouches. `kept` is the state that the browser has kept.

    Raises SignInFailed.
    """
    try:
        login_store.count_source_ip(address, SLACK, now)
        nonce_hash = _consume_state(callback.state, kept_state, now)
        said = _fetch_claims(_code(callback), redirect_uri, _credentials(now), nonce_hash, now)
        email, name = _email_and_name(said)
        return sessions.start_session(service.ensure_verified_user(email, name, now), now).token
    except SignInFailed:
        raise
    except DevFlowError as error:
        raise _sign_in_failed(error) from error


def is_configured(now: int) -> bool:
    """Whether this stage is known to Slack, as far as can be told right now."""
    try:
        return keyring(now).slack is not None
    except Unavailable:
        return False


def _credentials(now: int) -> SlackCredentials:
    client = keyring(now).slack
    if client is None:
        raise SignInFailed("slack-off")
    return client


def _consume_state(state: str | None, kept_state: str | None, now: int) -> str:
    """Use the state up; the hash of the nonce that went out with it."""
    if not state or not kept_state or not hmac.compare_digest(sha256_hex(state), sha256_hex(kept_state)):
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
    from chalicelib.auth import slack_api  # noqa: PLC0415  # urllib3 and slack_sdk are for this call alone

    try:
        token = slack_api.fetch_id_token(code, redirect_uri, client)
        keys = _signing_keys(id_token.key_id(token), now)
        return id_token.verified_claims(
            token, keys, issuer=settings.slack_url, audience=client.id, nonce_hash=nonce_hash, now=now
        )
    except (IdTokenInvalid, slack_api.CodeRefused) as error:
        # Why is for the operator alone; the token and the code are for nobody.
        logger.warning("Slack's word is not believed", extra={"why": getattr(error, "message", "its code is refused")})
        raise SignInFailed("slack-refused") from None


_cached_keys: tuple[int, Keys] = (0, {})
"""Slack's keys, and when this container read them."""


def _signing_keys(key_id: str, now: int) -> Keys:
    """Slack's keys, read again every hour and when one is wanted that is not among them."""
    global _cached_keys  # noqa: PLW0603  # one set a container, on purpose
    from chalicelib.auth import slack_api  # noqa: PLC0415  # as above

    read_at, keys = _cached_keys
    if key_id not in keys or not 0 <= now - read_at < HOUR:
        keys = id_token.public_keys(slack_api.fetch_keys())
        _cached_keys = (now, keys)
    return keys


def _email_and_name(claims: dict[str, Any]) -> tuple[str, str]:
    """The verified address of whom Slack vouches for, and a name."""
    if settings.slack_team and claims.get("https://slack.com/team_id") != settings.slack_team:
        raise SignInFailed("slack-team")
    try:
        email = _mail_address().validate_python(claims.get("email"), strict=True)
    except ValidationError:
        raise SignInFailed("slack-email") from None
    if claims.get("email_verified") is not True or not is_domain_allowed(email):
        raise SignInFailed("slack-email")
    name = claims.get("name")
    return email, (name.strip() if isinstance(name, str) else "")[:100] or email.partition("@")[0]


def _sign_in_failed(error: DevFlowError) -> SignInFailed:
    logger.warning("Slack sign-in failed", extra={"why": error.message})
    return SignInFailed("slack-busy" if isinstance(error, RateLimited) else "slack-unavailable")
