"""Users, their personal tokens and their logins. No I/O."""

from collections.abc import Mapping

from chalicelib.core.models import Entity


class PersonalToken(Entity):
    """A token that a user made for a program, and named. Its id is the `ver` that it carries."""

    id: str
    name: str
    created_at: int
    expires_at: int
    used_at: int | None = None
    """The hour of its last use."""
    request_fingerprint: str | None = None
    """The fingerprints of the Idempotency-Key and of the request that made it; None where there was no key."""


class User(Entity):
    """Who owns agents, tasks and webhooks: the tenant. `owner` is its id, and part of every key."""

    owner: str
    email: str
    name: str
    ver: str
    agents: int = 0
    """How many agents are registered."""
    open_tasks: int = 0
    """How many tasks wait or run, as far as counted."""
    tokens: Mapping[str, PersonalToken] = {}
    ended_sessions: frozenset[str] = frozenset()
    """Marks of the sessions that were logged out."""


class Login(Entity):
    """What a PIN is checked against; all None for an address that nobody has."""

    owner: str | None
    pin: str | None
