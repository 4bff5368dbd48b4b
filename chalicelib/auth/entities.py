"""Users, their personal tokens and their logins. No I/O."""

from collections.abc import Mapping

from chalicelib.core.models import Entity


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


class User(Entity):
    """A person who owns agents, tasks and webhooks. `owner` is the user's id, and part of every key."""

    owner: str
    email: str
    name: str
    ver: str
    agents: int = 0
    """The number of registered agents."""
    """The number of tasks that wait or run, as far as they have been counted."""
    tokens: Mapping[str, PersonalToken] = {}
    ended_sessions: frozenset[str] = frozenset()
    """The fingerprints of sessions that were logged out."""


class Login(Entity):
    """The user and the PIN hash of an address. Both are None for an address without a user."""

    owner: str | None
    pin: str | None
