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

from chalicelib.auth import idtoken, logins, service, sessions
from chalicelib.auth.idtoken import Keys, NotBelieved
from chalicelib.auth.keys import SlackClient, keyring
from chalicelib.auth.links import may_log_in
from chalicelib.auth.shapes import MailAddress, SlackAnswer
from chalicelib.errors import DevFlowError, RateLimited, Unavailable
from chalicelib.log import logger
from chalicelib.ratelimit import LOGIN, SLACK
from chalicelib.settings import HOUR, MINUTE, settings
from chalicelib.texts import hashed

GOOD_FOR = 10 * MINUTE
_LONGEST = 1_000


@cache
def _address() -> TypeAdapter[str]:
    return TypeAdapter(MailAddress)


class SignInFailed(DevFlowError):
    """Nobody was signed in. `reason` is what the login page is told."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__()


class Started(NamedTuple):
    """Where to send the browser, and what it is to keep until it comes back."""

    location: str
    state: str


def start(redirect_uri: str, address: str, now: int) -> Started:
    """Set out for Slack, which sends the browser back to `redirect_uri`. Raises SignInFailed."""
    try:
        logins.count_address(address, LOGIN, now)
        client = _client(now)
        state, nonce = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
        logins.add_state(hashed(state), hashed(nonce), now + GOOD_FOR)
    except (RateLimited, Unavailable) as error:
        raise _failed(error) from error
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
    return Started(f"{settings.slack_url}/openid/connect/authorize?{urlencode(asked)}", state)


def finish(came: SlackAnswer, kept: str | None, redirect_uri: str, address: str, now: int) -> str:
    """The token of a new session, for whom Slack vouches. `kept` is the state that the browser has kept.

    Raises SignInFailed.
    """
    try:
        logins.count_address(address, SLACK, now)
        nonce_hash = _use_state(came.state, kept, now)
        said = _vouched(_code(came), redirect_uri, _client(now), nonce_hash, now)
        email, name = _person(said)
        return sessions.begin(service.user_at(email, name, now), now).token
    except SignInFailed:
        raise
    except DevFlowError as error:
        raise _failed(error) from error


def offered(now: int) -> bool:
    """Whether this stage is known to Slack, as far as can be told right now."""
    try:
        return keyring(now).slack is not None
    except Unavailable:
        return False


def _client(now: int) -> SlackClient:
    client = keyring(now).slack
    if client is None:
        raise SignInFailed("slack-off")
    return client


def _use_state(state: str | None, kept: str | None, now: int) -> str:
    """Use the state up; the hash of the nonce that went out with it."""
    if not state or not kept or not hmac.compare_digest(hashed(state), hashed(kept)):
        raise SignInFailed("slack-expired")
    nonce_hash = logins.use_state(hashed(state), now)
    if nonce_hash is None:
        raise SignInFailed("slack-expired")
    return nonce_hash


def _code(came: SlackAnswer) -> str:
    if came.error is not None:
        raise SignInFailed("slack-denied" if came.error == "access_denied" else "slack-refused")
    if came.code is None or not 0 < len(came.code) <= _LONGEST:
        raise SignInFailed("slack-refused")
    return came.code


def _vouched(code: str, redirect_uri: str, client: SlackClient, nonce_hash: str, now: int) -> dict[str, Any]:
    from chalicelib.auth import slackapi  # noqa: PLC0415  # urllib3 and slack_sdk are for this call alone

    try:
        token = slackapi.id_token(code, redirect_uri, client)
        keys = _keys(idtoken.key_id(token), now)
        return idtoken.claims(
            token, keys, issuer=settings.slack_url, audience=client.id, nonce_hash=nonce_hash, now=now
        )
    except (NotBelieved, slackapi.CodeRefused) as error:
        # Why is for the operator alone; the token and the code are for nobody.
        logger.warning("Slack's word is not believed", extra={"why": getattr(error, "message", "its code is refused")})
        raise SignInFailed("slack-refused") from None


_known: tuple[int, Keys] = (0, {})
"""Slack's keys, and when this container read them."""


def _keys(wanted: str, now: int) -> Keys:
    """Slack's keys, read again every hour and when one is wanted that is not among them."""
    global _known  # noqa: PLW0603  # one set a container, on purpose
    from chalicelib.auth import slackapi  # noqa: PLC0415  # as above

    read_at, keys = _known
    if wanted not in keys or not 0 <= now - read_at < HOUR:
        keys = idtoken.public_keys(slackapi.keys())
        _known = (now, keys)
    return keys


def _person(said: dict[str, Any]) -> tuple[str, str]:
    """The verified address of whom Slack vouches for, and a name."""
    if settings.slack_team and said.get("https://slack.com/team_id") != settings.slack_team:
        raise SignInFailed("slack-team")
    try:
        email = _address().validate_python(said.get("email"), strict=True)
    except ValidationError:
        raise SignInFailed("slack-email") from None
    if said.get("email_verified") is not True or not may_log_in(email):
        raise SignInFailed("slack-email")
    name = said.get("name")
    return email, (name.strip() if isinstance(name, str) else "")[:100] or email.partition("@")[0]


def _failed(error: DevFlowError) -> SignInFailed:
    logger.warning("Slack sign-in failed", extra={"why": error.message})
    return SignInFailed("slack-busy" if isinstance(error, RateLimited) else "slack-unavailable")
