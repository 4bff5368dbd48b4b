"""What is sent to /api/auth, and what it answers."""

from typing import Annotated

from pydantic import Field, StringConstraints

from chalicelib.auth.model import PersonalToken, User
from chalicelib.pages import Listing
from chalicelib.times import iso
from chalicelib.types import Id, Reply, Request, Text

_MARK = r"[^@\s\x00-\x1f\x7f-\x9f]"
"""Any character but @, blanks and control characters."""
Email = Annotated[
    str, StringConstraints(pattern=f"^{_MARK}+@{_MARK}+$", max_length=254, to_lower=True, strip_whitespace=True)
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
"""An address that mail is sent to: one, of letters that look like themselves (the HTML Standard's, with a dot)."""


class LinkRequest(Request):
    email: MailAddress


class LinkUse(Request):
    token: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{43}$")]
    """What is behind the # of the link."""


class SlackAnswer(Request):
    """What Slack sends a browser back with. Nothing is required: whatever comes, somebody waits at that browser."""

    code: str | None = None
    state: str | None = None
    error: str | None = None


class PinLogin(Request):
    email: Email
    pin: Pin


class NewPin(Request):
    pin: Pin


class UserReply(Reply):
    id: str
    email: str
    name: str


class LoggedIn(Reply):
    """The spec's answer of POST /api/auth/pin/login."""

    success: bool = Field(default=True)
    token: str
    user: UserReply


class Done(Reply):
    success: bool = True


class Logout(Request):
    everywhere: bool = False
    """Every session and every personal token, and not only the one that this request came with."""


class NewToken(Request):
    name: Annotated[Text, StringConstraints(max_length=100)]
    expires_in_days: Annotated[int, Field(ge=1, le=30)] = 30


class TokenReply(Reply):
    """A personal token, without itself."""

    id: Id
    name: str
    created_at: str
    expires_at: str
    last_used_at: str | None
    """To the hour."""


class MadeToken(TokenReply):
    """The only answer that ever holds the token itself."""

    token: str


class TokenListing(Listing):
    """A user's personal tokens."""

    data: list[TokenReply]


class Me(Reply):
    """Whose token a request came with, and how long that is good."""

    user: UserReply
    expires_at: str
    token_id: str | None
    """The id of the personal token; null for a session."""


def shown_user(user: User) -> UserReply:
    return UserReply(id=user.owner, email=user.email, name=user.name)


def shown_token(token: PersonalToken) -> TokenReply:
    return TokenReply(
        id=token.id,
        name=token.name,
        created_at=iso(token.created_at),
        expires_at=iso(token.expires_at),
        last_used_at=None if token.used_at is None else iso(token.used_at),
    )
