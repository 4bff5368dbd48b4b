"""Users, their sessions, personal tokens and logins. No I/O."""

from collections.abc import Mapping
from typing import NamedTuple

from chalicelib.core.models import Entity


class LoginOrigin(NamedTuple):
    """Where a login came from."""

    address: str
    """The network address of the caller, as API Gateway reports it."""
    user_agent: str


class Session(Entity):
    """A login of a user. Its id is the claim `sid` of its token."""

    id: str
    ver: str
    """The user's version at the login. The session ends when the user's version changes."""
    fingerprint: str
    """The fingerprint of its token, see `rules.session_fingerprint`."""
    created_at: int
    expires_at: int
    used_at: int
    """The start of the hour of its last call (epoch milliseconds)."""
    address: str | None = None
    user_agent: str | None = None
    adopted: bool = False
    """Whether version 0.1.0 started it. Its token has no claim `sid`, and its first call stores it."""
    ended: bool = False
    """Whether an adopted session has ended. Other sessions are deleted when they end."""


class PersonalToken(Entity):
    """A token that a user created for a program. Its id is the claim `ver` of the token."""

    id: str
    name: str
    created_at: int
    expires_at: int
    used_at: int | None = None
    """The start of the hour of its last use (epoch milliseconds); None if it was never used."""
    request_fingerprint: str | None = None
    """The fingerprints of the Idempotency-Key and of the request that created the token, joined by a dot. None if the
    request had no key."""
    ver: str = ""
    """The user's version at the creation. Empty for a token of version 0.1.0, which is only on the user's item."""
    mirrored: bool = True
    """Whether the token is on the user's item, where version 0.1.0 finds it."""


class RegistrationToken(Entity):
    """A token that registers agents of its user, and does nothing else. Its id is the claim `ver` of the token."""

    id: str
    ver: str
    """The user's version at the creation. The token ends when the user's version changes."""
    created_at: int
    expires_at: int
    uses: int
    """How many agents it registers at most."""
    used: int = 0
    """How many agents it has registered."""
    capabilities: list[str] | None = None
    """The capabilities that its agents may have. None: any."""
    repos: list[str] | None = None
    """The patterns of the repositories that its agents may work on. None: any."""
    request_fingerprint: str | None = None
    """As of a personal token."""


class User(Entity):
    """A person who owns agents, tasks and webhooks. `owner` is the user's id, and part of every key."""

    owner: str
    email: str
    name: str
    ver: str
    agents: int = 0
    """The number of registered agents."""
    mirrored_tokens: Mapping[str, PersonalToken] | None = None
    """The personal tokens on the user's item: those of version 0.1.0, and copies of the first ones of this version.
    None for a user that was stored before personal tokens existed."""
    ended_sessions: frozenset[str] = frozenset()
    """The fingerprints of sessions that have ended: those that version 0.1.0 ended, and some that this version ended.
    Version 0.1.0 rejects these sessions after a rollback."""


class MagicLink(Entity):
    """A magic link that was mailed and not used yet."""

    email: str
    until: int
    """Until when it is valid (epoch milliseconds)."""
    browser: str | None = None
    """The hash of the id of the browser that requested it. None where a program did, or version 0.1.0 stored it."""


class Login(Entity):
    """The user and the PIN hash of an address. All are None for an address without a user."""

    owner: str | None
    pin: str | None
    slack_user: str | None = None
    """The Slack person who is linked to the user, as `SlackPerson.key`; None without one."""


class SlackPerson(NamedTuple):
    """A person of a Slack workspace, as a verified id token describes them."""

    team: str
    """The id of the workspace."""
    id: str
    """The id of the person, which is unique in the workspace and does not change."""
    email: str
    """The address that Slack has verified. The administrators of the workspace can change it."""
    name: str

    @property
    def key(self) -> str:
        """Identifies the person among those of all workspaces."""
        return f"{self.team}#{self.id}"
