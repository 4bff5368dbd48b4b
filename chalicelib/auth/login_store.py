"""Named queries and conditional writes on the table `logins`."""

import ipaddress
from typing import Any

from chalicelib import dynamodb
from chalicelib.auth import rules
from chalicelib.auth.entities import Login, MagicLink
from chalicelib.auth.rules import MAIL_WINDOW, MAX_MAILS, MAX_PIN_TRIES, PIN_TRIES_KEPT
from chalicelib.auth.tables import LoginRow
from chalicelib.core.errors import Unavailable
from chalicelib.core.settings import DAY
from chalicelib.http import rate_limits
from chalicelib.http.rate_limits import RateLimit

_MAX_TRIES = 4
_MAX_RESERVE_TRIES = MAX_PIN_TRIES + 3
"""More than the guesses that can be reserved before a lock, so that a parallel guess does not fail for this reason."""
SITE_FACTOR = 5
"""How many times the limit of a network an IPv6 /48 has. It is usually one customer with many networks (RFC 6177)."""


def login_item(email: str, owner: str, pin: str | None, slack_user: str | None = None) -> dynamodb.TransactItem:
    """Assign an email address to a user, as part of a transaction. Fails where the address has a user already."""
    values = {"owner": owner, "pin": pin, "slack_user": slack_user}
    actions = dynamodb.set_or_remove(LoginRow, {name: value for name, value in values.items() if value})
    return dynamodb.transact_update(_row(_email_key(email)), actions, dynamodb.not_exists(LoginRow.owner))


def set_pin(email: str, owner: str, pin: str) -> None:
    """Store the hash of a user's PIN. Raises ConditionFailed where the address does not belong to this user."""
    actions = [dynamodb.set_value(LoginRow.pin, pin)]
    dynamodb.update_item(_row(_email_key(email)), actions, dynamodb.equals(LoginRow.owner, owner))


def reserve_pin_try(email: str, now: int) -> int | None:
    """Reserve one guess before the PIN is compared, so that parallel guesses cannot exceed the limit.

    Returns None if a guess was left; otherwise the time (epoch milliseconds) until which the account is locked. The
    count has its own row, which also exists for addresses without a user. Raises Unavailable where parallel guesses
    always come first.
    """
    stored: dynamodb.Row | None = None
    for _ in range(_MAX_RESERVE_TRIES):
        before = rules.PinTries(0, 0)
        if stored is not None and dynamodb.not_expired(stored, now):
            before = rules.PinTries(stored["tries"], stored["lockedUntil"])
        after = rules.reserve_pin_try(before, now)
        if after is None:
            return before.locked_until
        values = after._asdict() | {"expires_at": (now + PIN_TRIES_KEPT) // 1_000}
        unchanged = dynamodb.not_exists(LoginRow.tries)
        if stored is not None:
            unchanged = dynamodb.equals(LoginRow.tries, stored["tries"])
            unchanged &= dynamodb.equals(LoginRow.locked_until, stored["lockedUntil"])
        try:
            dynamodb.update_item(_row(_tries_key(email)), dynamodb.set_or_remove(LoginRow, values), unchanged)
        except dynamodb.ConditionFailed as failed:
            stored = failed.row
            continue
        return None
    raise Unavailable


def reserve_mail(email: str, now: int) -> bool:
    """Reserve one mail to this address, of MAX_MAILS within MAIL_WINDOW. Returns False over the limit.

    The count has its own row. That row also exists for addresses without a user, and it expires.
    """
    row = _row(f"mails#{email}")
    lock = [
        dynamodb.set_value(LoginRow.locked_until, now + MAIL_WINDOW),
        dynamodb.set_value(LoginRow.expires_at, (now + DAY) // 1_000),
    ]
    next_mail = (
        [dynamodb.add(LoginRow.tries, 1), *lock],
        dynamodb.greater_than(LoginRow.locked_until, now) & dynamodb.less_than(LoginRow.tries, MAX_MAILS),
    )
    first_mail = (
        [dynamodb.set_value(LoginRow.tries, 1), *lock],
        dynamodb.not_exists(LoginRow.locked_until) | dynamodb.at_most(LoginRow.locked_until, now),
    )
    for actions, condition in (next_mail, first_mail, next_mail):  # the third where a parallel call counted the first
        try:
            dynamodb.update_item(row, actions, condition)
        except dynamodb.ConditionFailed:
            continue
        return True
    return False


def reset_pin_tries(email: str) -> None:
    """Delete the count of PIN tries of an address, and so unlock it. Safe to repeat."""
    dynamodb.transact_write(dynamodb.transact_delete(_row(_tries_key(email))))


def load_login(email: str) -> Login:
    """The user and the PIN hash of an address; both None for an address without a user."""
    row = dynamodb.get_item(LoginRow, _email_key(email)) or {}
    return Login(owner=row.get("owner"), pin=row.get("pin"), slack_user=row.get("slackUser"))


def load_slack_owner(slack_user: str) -> str | None:
    """The id of the user that a Slack person is linked to. None if there is none."""
    row = dynamodb.get_item(LoginRow, _slack_user_key(slack_user))
    return None if row is None else str(row["owner"])


def slack_user_item(slack_user: str, owner: str) -> dynamodb.TransactItem:
    """Link a Slack person to a user, as part of a transaction. Fails where the person is linked already."""
    actions = [dynamodb.set_value(LoginRow.owner, owner)]
    return dynamodb.transact_update(_row(_slack_user_key(slack_user)), actions, dynamodb.not_exists(LoginRow.owner))


def link_slack_item(email: str, owner: str, slack_user: str) -> dynamodb.TransactItem:
    """Store that the user of an address is linked to a Slack person, as part of a transaction. Fails where the user is
    linked to another one, and where the address does not belong to this user."""
    unlinked = dynamodb.not_exists(LoginRow.slack_user) | dynamodb.equals(LoginRow.slack_user, slack_user)
    return dynamodb.transact_update(
        _row(_email_key(email)),
        [dynamodb.set_value(LoginRow.slack_user, slack_user)],
        dynamodb.equals(LoginRow.owner, owner) & unlinked,
    )


def save_link(token_hash: str, link: MagicLink) -> None:
    """Store a magic link under the hash of its token."""
    actions = dynamodb.set_or_remove(LoginRow, {"email": link.email, "browser": link.browser})
    _save_single_use(f"link#{token_hash}", actions, link.until)


def load_link(token_hash: str, now: int) -> MagicLink | None:
    """A magic link; None where it does not exist, was used, or has expired. This does not use it."""
    row = dynamodb.get_item(LoginRow, f"link#{token_hash}")
    if row is None or row["until"] <= now:
        return None
    return MagicLink(email=row["email"], until=row["until"], browser=row.get("browser"))


def consume_link(token_hash: str, now: int) -> str | None:
    """Delete a magic link and return the address that it was mailed to; None where it does not exist or has expired."""
    return _consume(f"link#{token_hash}", now).get("email")


def save_state(state_hash: str, nonce_hash: str, until: int) -> None:
    """Store a sign-in state under its hash, with the hash of the nonce that was sent with it."""
    _save_single_use(f"slack#{state_hash}", [dynamodb.set_value(LoginRow.nonce, nonce_hash)], until)


def consume_state(state_hash: str, now: int) -> str | None:
    """Delete a state and return the hash of its nonce; None where it does not exist or has expired."""
    return _consume(f"slack#{state_hash}", now).get("nonce")


def _save_single_use(login: str, actions: list[dynamodb.Clause], until: int) -> None:
    """Store a row that can be used once, until `until`. It expires a day later."""
    expiry = [
        dynamodb.set_value(LoginRow.until, until),
        dynamodb.set_value(LoginRow.expires_at, (until + DAY) // 1_000),
    ]
    dynamodb.update_item(_row(login), [*actions, *expiry])


def _consume(login: str, now: int) -> dynamodb.Row:
    """Delete a single-use row and return it; an empty row where it does not exist, was used, or has expired."""
    row = dynamodb.get_item(LoginRow, login)
    if row is None or row["until"] <= now:
        return {}
    try:
        dynamodb.transact_write(dynamodb.transact_delete(_row(login), dynamodb.greater_than(LoginRow.until, now)))
    except dynamodb.TransactionCancelled:
        return {}
    return row


def count_source_ip(source_ip: str, rate_limit: RateLimit, now: int) -> None:
    """Count a login call from a network address, and from the /48 of an IPv6 address.

    Raises RateLimited over a limit, and Unavailable where the call cannot be counted (the limit fails closed).
    """
    _count_call(f"address#{client_network(source_ip)}", rate_limit, now)
    site = client_site(source_ip)
    if site is None:
        return
    of_network = rate_limits.current_quota.get()
    try:
        _count_call(f"address#{site}", rate_limit._replace(limit=SITE_FACTOR * rate_limit.limit), now)
    finally:
        rate_limits.report_smaller(of_network)


def _count_call(caller: str, rate_limit: RateLimit, now: int) -> None:
    rate_limits.raise_if_cached(caller, rate_limit, now)
    actions = [
        rate_limits.increment(LoginRow.calls, rate_limit, now),
        dynamodb.set_value(LoginRow.expires_at, (now + DAY) // 1_000),
    ]
    condition = dynamodb.exists(LoginRow.calls) & rate_limits.within_limit(LoginRow.calls, rate_limit, now)
    for _ in range(_MAX_TRIES):
        try:
            stored = dynamodb.update_item(_row(caller), actions, condition)
        except dynamodb.ConditionFailed as failed:
            if failed.row is not None:
                rate_limits.raise_if_exhausted(failed.row["calls"], rate_limit, now, caller)
                continue
            try:
                stored = _create_counter(caller, rate_limit, now)
            except dynamodb.ConditionFailed:  # a parallel call created the row
                continue
        rate_limits.record(stored["calls"], rate_limit, now)
        stale = rate_limits.stale_windows(stored["calls"], now)
        if stale:
            cleanup = [dynamodb.remove(LoginRow.calls[window]) for window in stale]
            dynamodb.update_item(_row(caller), cleanup, dynamodb.exists(LoginRow.calls))
        return
    raise Unavailable


def client_network(source_ip: str) -> str:
    """The network from which a client can choose its address: an IPv4 address, or an IPv6 /64 (RFC 6177)."""
    try:
        address = ipaddress.ip_address(source_ip)
    except ValueError:
        return source_ip
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    return str(address.ipv4_mapped or ipaddress.ip_network((address, 64), strict=False).network_address)


def client_site(source_ip: str) -> str | None:
    """The /48 of an IPv6 address, in which a client may have many networks (RFC 6177). None for other addresses."""
    try:
        address = ipaddress.ip_address(source_ip)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv4Address) or address.ipv4_mapped is not None:
        return None
    return str(ipaddress.ip_network((address, 48), strict=False))


def _create_counter(caller: str, rate_limit: RateLimit, now: int) -> dict[str, Any]:
    values = {"calls": {rate_limit.window_key(now): 1}, "expires_at": (now + DAY) // 1_000}
    return dynamodb.update_item(
        _row(caller), dynamodb.set_or_remove(LoginRow, values), dynamodb.not_exists(LoginRow.calls)
    )


def _row(login: str) -> dynamodb.Item:
    return dynamodb.item(LoginRow, login=login)


def _email_key(email: str) -> str:
    return f"email#{email}"


def _slack_user_key(slack_user: str) -> str:
    return f"slack-user#{slack_user}"


def _tries_key(email: str) -> str:
    return f"tries#{email}"
