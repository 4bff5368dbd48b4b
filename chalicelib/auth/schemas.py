"""Requests and responses of /api/auth."""

from typing import Annotated

from pydantic import Field, StringConstraints

from chalicelib.auth.entities import PersonalToken, RegistrationToken, Session, User
from chalicelib.core.models import Capabilities, Id, InputModel, Instant, NonBlankText, OutputModel
from chalicelib.core.repo_patterns import RepoPatterns
from chalicelib.core.settings import DAY, HOUR, MINUTE, SECOND
from chalicelib.core.timestamps import iso
from chalicelib.http.pagination import ListResponse

_ADDRESS_CHARACTER = r"[^@\s\x00-\x1f\x7f-\x9f]"
"""Any character except @, blanks and control characters."""
Email = Annotated[
    str,
    StringConstraints(
        pattern=f"^{_ADDRESS_CHARACTER}+@{_ADDRESS_CHARACTER}+$", max_length=254, to_lower=True, strip_whitespace=True
    ),
]
Pin = Annotated[str, StringConstraints(pattern=r"^[0-9]{6}$")]


MailAddress = Annotated[
    str,
    StringConstraints(
        pattern=r"^[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9-]{1,63}(\.[A-Za-z0-9-]{1,63})+$",
        max_length=254,
        to_lower=True,
        strip_whitespace=True,
    ),
]
"""An address that mail is sent to. It is a valid email address as the HTML Standard defines it, with a dot in the
domain: ASCII only, so no address can imitate another one with similar letters."""


class MagicLinkRequest(InputModel):
    email: MailAddress
    """Where the link is sent."""


class VerifyMagicLinkRequest(InputModel):
    token: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{43}$")]
    """The part of the link after the `#`."""


class MagicLinkResponse(OutputModel):
    """A magic link that was not used yet."""

    email: str
    """The address that the link logs in."""
    expires_at: Instant
    same_browser: bool
    """Whether this browser requested the link. `false` also where a program requested it."""


class SlackCallbackQuery(InputModel):
    """The query with which Slack redirects a browser back. Nothing is required, because errors redirect the browser to
    the login page and do not return an error body."""

    code: str | None = None
    """The authorization code of a successful sign-in."""
    state: str | None = None
    """The state that the sign-in was started with."""
    error: str | None = None
    """The reason of a failed sign-in."""


class PinLoginRequest(InputModel):
    email: Email
    """Upper and lower case are the same."""
    pin: Pin
    """The user's PIN."""


class SetPinRequest(InputModel):
    pin: Pin
    """The new PIN. One that is easy to guess is rejected."""


class UserResponse(OutputModel):
    id: str
    email: str
    name: str
    """Displayed to people."""


class LoginResponse(OutputModel):
    """The response of POST /api/auth/pin/login as the specification defines it."""

    success: bool = Field(default=True)
    token: str
    """The token of the new login."""
    user: UserResponse


class SuccessResponse(OutputModel):
    success: bool = True


class LogoutRequest(InputModel):
    everywhere: bool = False
    """End every login and every personal token of the user, not only the token of this request."""


class CreateTokenRequest(InputModel):
    name: Annotated[NonBlankText, StringConstraints(max_length=100)]
    """Displayed to people."""
    expires_in_days: Annotated[int, Field(ge=1, le=30)] = 30
    """How long the token is valid."""


class PersonalTokenResponse(OutputModel):
    """A personal token, without the token itself."""

    id: Id
    name: str
    created_at: str
    expires_at: str
    last_used_at: str | None
    """The last use, to the hour; `null` if there was none."""


class CreateTokenResponse(PersonalTokenResponse):
    """The only response that contains the token itself."""

    token: str
    """The token itself. No other response contains it."""


class PersonalTokenList(ListResponse):
    """A user's personal tokens."""

    data: list[PersonalTokenResponse]


class CreateRegistrationTokenRequest(InputModel):
    uses: Annotated[int, Field(ge=1, le=1_000)] = 1
    """How many agents the token registers at most."""
    expires_in_seconds: Annotated[int, Field(ge=MINUTE // SECOND, le=30 * DAY // SECOND)] = HOUR // SECOND
    """How long the token is valid."""
    capabilities: Capabilities | None = None
    """The intents that its agents may accept. Absent or `null`: any."""
    repos: RepoPatterns | None = None
    """Patterns of the repositories whose tasks its agents may claim. Absent or `null`: all."""


class RegistrationTokenResponse(OutputModel):
    """A registration token, without the token itself."""

    id: Id
    uses: int
    used: int
    """How many agents it has registered."""
    expires_at: Instant
    capabilities: list[str] | None
    """`null`: any."""
    repos: list[str] | None
    """`null`: any."""
    created_at: Instant


class CreateRegistrationTokenResponse(OutputModel):
    """The only response that contains the token itself."""

    registration_token: RegistrationTokenResponse
    token: str
    """The token itself. No other response contains it."""


class RegistrationTokenList(ListResponse):
    """A user's registration tokens."""

    data: list[RegistrationTokenResponse]


class SessionResponse(OutputModel):
    """A session: a login of a user, which one token belongs to."""

    id: Id
    created_at: Instant
    """When the user logged in."""
    last_seen_at: Instant
    """The last call, to the hour."""
    expires_at: Instant
    address: str | None
    """The network address of the login; `null` if it is not known."""
    user_agent: str | None
    """The user agent of the login, at most 200 characters; `null` if it is not known."""
    current: bool
    """Whether it is the session of this request."""


class SessionList(ListResponse):
    """A user's sessions."""

    data: list[SessionResponse]


class MeResponse(OutputModel):
    """The user of a request's token, and when the token expires."""

    user: UserResponse
    expires_at: str
    """When this token expires."""
    token_id: str | None
    """The id of the personal token; `null` for a login."""


def to_user_response(user: User) -> UserResponse:
    return UserResponse(id=user.owner, email=user.email, name=user.name)


def to_session_response(session: Session, current: str) -> SessionResponse:
    """`current` is the id of the session of the request."""
    return SessionResponse(
        id=session.id,
        created_at=iso(session.created_at),
        last_seen_at=iso(max(session.created_at, session.used_at)),
        expires_at=iso(session.expires_at),
        address=session.address,
        user_agent=session.user_agent,
        current=session.id == current,
    )


def to_token_response(token: PersonalToken) -> PersonalTokenResponse:
    return PersonalTokenResponse(
        id=token.id,
        name=token.name,
        created_at=iso(token.created_at),
        expires_at=iso(token.expires_at),
        last_used_at=None if token.used_at is None else iso(token.used_at),
    )


def to_registration_response(token: RegistrationToken) -> RegistrationTokenResponse:
    return RegistrationTokenResponse(
        id=token.id,
        uses=token.uses,
        used=token.used,
        expires_at=iso(token.expires_at),
        capabilities=token.capabilities,
        repos=token.repos,
        created_at=iso(token.created_at),
    )
