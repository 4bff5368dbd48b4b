"""Which user a person of a Slack workspace is.

A person is linked to a user by the ids of the workspace and of the person. An address alone does not identify a person,
because the administrators of a workspace can change it. It counts once, when somebody without a link signs in:

- If no user has the address, a new user is created and linked.
- If a user has it, the person is linked to that user where `rules.may_link_slack` allows it. This also links the users
  who signed in with Slack before links were stored.
- Otherwise the sign-in is refused.
"""

import uuid

from chalicelib import dynamodb
from chalicelib.auth import login_store, rules, store, tokens
from chalicelib.auth.entities import SlackPerson, User
from chalicelib.core.errors import Conflict, Unauthenticated, Unavailable

_MAX_TRIES = 3


class AccountNotLinked(Conflict):
    """The address of this Slack account belongs to a user who is not linked to it."""


def ensure_user(person: SlackPerson, configured_team: str | None, now: int) -> User:
    """The user that a person is linked to. Creates or links the user at the first sign-in.

    `configured_team` is the id of the workspace that the operator has named (the setting DEVFLOW_SLACK_TEAM).

    Raises AccountNotLinked, and Unauthenticated where the user was deleted.
    """
    for _ in range(_MAX_TRIES):
        owner = login_store.load_slack_owner(person.key) or _link(person, configured_team, now)
        if owner is not None:
            user = store.load_user(owner)
            if user is None:
                raise Unauthenticated
            return user
    raise Unavailable


def _link(person: SlackPerson, configured_team: str | None, now: int) -> str | None:
    """Link a person, and return the id of the user. None where a parallel sign-in changed what was read."""
    login = login_store.load_login(person.email)
    try:
        if login.owner is None:
            return _create_user(person, now)
        if not rules.may_link_slack(person, login, configured_team):
            raise AccountNotLinked
        return _link_to(login.owner, person)
    except dynamodb.TransactionCancelled:
        return None


def _create_user(person: SlackPerson, now: int) -> str | None:
    new = f"user-{uuid.uuid4()}"
    owner = store.create_user(new, person.email, person.name, tokens.new_version(), None, now, person.key)
    return owner if owner == new else None


def _link_to(owner: str, person: SlackPerson) -> str:
    dynamodb.transact_write(
        login_store.slack_user_item(person.key, owner), login_store.link_slack_item(person.email, owner, person.key)
    )
    return owner
