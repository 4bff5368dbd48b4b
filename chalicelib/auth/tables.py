"""The tables `users`, `credentials` and `logins`.

`users` (owner): one item for each user, with the data that verifies the user's tokens, and the counts of the user's
calls.

`credentials` (owner, sk): the sessions, personal tokens and registration tokens of each user. They expire with their
tokens.

    S#<ver>#<id>    a session; `ver` is the user's version at the login
    T#<id>          a personal token
    R#<id>          a registration token; `used` counts the agents that it has registered

`logins` (login):

    email#<address>         the user of an email address, the hash of the PIN, and the Slack person who is linked
    tries#<address>         the count of PIN tries for an email address, which need not have a user
    address#<ip>            the count of login calls from a network address
    link#<hash>             a magic link that was mailed, and the hash of the id of the browser that requested it
    mails#<address>         the count of recent mails to an email address
    slack#<hash>            the state of a Slack sign-in that has started
    slack-user#<team>#<id>  the user that a person of a Slack workspace is linked to
"""

from typing import Any

from pynamodb.attributes import (
    BooleanAttribute,
    ListAttribute,
    MapAttribute,
    NumberAttribute,
    UnicodeAttribute,
    UnicodeSetAttribute,
)
from pynamodb.models import Model

from chalicelib import dynamodb
from chalicelib.core.settings import settings


@dynamodb.register_table
class UserRow(Model):
    class Meta:
        table_name = settings.resource_name("users")

    owner = UnicodeAttribute(hash_key=True)
    email = UnicodeAttribute()
    name = UnicodeAttribute()
    ver = UnicodeAttribute()
    calls: Any = MapAttribute()
    agents = NumberAttribute()
    open_tasks = NumberAttribute(attr_name="openTasks")
    created_at = NumberAttribute(attr_name="createdAt")
    tokens: Any = MapAttribute(null=True)
    ended = UnicodeSetAttribute(null=True)


@dynamodb.register_table
class CredentialRow(Model):
    class Meta:
        table_name = settings.resource_name("credentials")

    owner = UnicodeAttribute(hash_key=True)
    sk = UnicodeAttribute(range_key=True)
    ver = UnicodeAttribute()
    created_at = NumberAttribute(attr_name="createdAt")
    until = NumberAttribute()
    expires_at = NumberAttribute(attr_name="expiresAt")
    used_at = NumberAttribute(attr_name="usedAt", null=True)
    fingerprint = UnicodeAttribute(null=True)
    address = UnicodeAttribute(null=True)
    user_agent = UnicodeAttribute(attr_name="userAgent", null=True)
    adopted = BooleanAttribute(null=True)
    ended_at = NumberAttribute(attr_name="endedAt", null=True)
    name = UnicodeAttribute(null=True)
    request = UnicodeAttribute(null=True)
    mirrored = BooleanAttribute(null=True)
    uses = NumberAttribute(null=True)
    used = NumberAttribute(null=True)
    capabilities: Any = ListAttribute(null=True)
    repos: Any = ListAttribute(null=True)
    calls: Any = MapAttribute(null=True)


@dynamodb.register_table
class LoginRow(Model):
    class Meta:
        table_name = settings.resource_name("logins")

    login = UnicodeAttribute(hash_key=True)
    owner = UnicodeAttribute(null=True)
    pin = UnicodeAttribute(null=True)
    tries = NumberAttribute(null=True)
    locked_until = NumberAttribute(attr_name="lockedUntil", null=True)
    calls: Any = MapAttribute(null=True)
    email = UnicodeAttribute(null=True)
    nonce = UnicodeAttribute(null=True)
    browser = UnicodeAttribute(null=True)
    slack_user = UnicodeAttribute(attr_name="slackUser", null=True)
    until = NumberAttribute(null=True)
    expires_at = NumberAttribute(attr_name="expiresAt", null=True)
