"""The table `logins`: what somebody may log in with, and what keeps others from trying.

`email#<address>` a way to log in, `tries#<address>` its failed tries (also of an address that nobody has),
`address#<ip>` the calls of one network address. `link#<hash>` a magic link that was mailed, `mails#<address>` how many
were of late. `slack#<hash>` the state of somebody who has set out for Slack.
"""

import ipaddress
from typing import Any

from pynamodb.attributes import MapAttribute, NumberAttribute, UnicodeAttribute
from pynamodb.expressions.update import Action
from pynamodb.models import Model

from chalicelib import db, ratelimit
from chalicelib.auth.model import LOCKED_FOR, TRIES, Login
from chalicelib.errors import Unavailable
from chalicelib.ratelimit import Meter
from chalicelib.settings import DAY, settings

_TRIES = 4


@db.register
class LoginRow(Model):
    class Meta:
        table_name = settings.named("logins")

    login = UnicodeAttribute(hash_key=True)
    owner = UnicodeAttribute(null=True)
    pin = UnicodeAttribute(null=True)
    tries = NumberAttribute(null=True)
    locked_until = NumberAttribute(attr_name="lockedUntil", null=True)
    calls: Any = MapAttribute(null=True)
    email = UnicodeAttribute(null=True)
    nonce = UnicodeAttribute(null=True)
    until = NumberAttribute(null=True)
    expires_at = NumberAttribute(attr_name="expiresAt", null=True)


def new(email: str, owner: str, pin: str | None) -> db.Part:
    """Part of a transaction: this address is this user's; fails where it is somebody's already."""
    actions = [LoginRow.owner.set(owner), *([LoginRow.pin.set(pin)] if pin else [])]
    return db.change(LoginRow(_email(email)), actions, LoginRow.owner.does_not_exist())


def set_pin(email: str, owner: str, pin: str) -> None:
    """Store the hash of a user's PIN. Raises db.Failed where the address is not (or no longer) this user's."""
    db.update(LoginRow(_email(email)), [LoginRow.pin.set(pin)], LoginRow.owner == owner)


def take_a_try(email: str, now: int) -> int | None:
    """Reserve one guess before the PIN is looked at, so that parallel guesses cannot be more than allowed.

    None if there was one; else when the account is locked until.
    """
    return _take(_tries(email), now)


def take_a_mail(email: str, now: int) -> bool:
    """Whether this address may be sent one more mail: so many, and then none for as long as a lock lasts."""
    return _take(f"mails#{email}", now) is None


def _take(login: str, now: int) -> int | None:
    """Count one up to TRIES; None, or when the count begins afresh. A row of its own, for an address that nobody has
    too, and vanishes by itself."""
    row = LoginRow(login)
    marks = [LoginRow.locked_until.set(now + LOCKED_FOR), LoginRow.expires_at.set((now + DAY) // 1_000)]
    one_more = [LoginRow.tries.add(1), *marks], (LoginRow.locked_until > now) & (LoginRow.tries < TRIES)
    afresh = (
        [LoginRow.tries.set(1), *marks],
        LoginRow.locked_until.does_not_exist() | (LoginRow.locked_until <= now),
    )
    locked_until = now
    for actions, condition in (one_more, afresh, one_more):  # the last for whom another's first try came between
        try:
            db.update(row, actions, condition)
        except db.Failed as failed:
            locked_until = (failed.row or {}).get("lockedUntil", now)
            continue
        return None
    return int(locked_until)


def forget_tries(email: str) -> None:
    db.write(db.remove(LoginRow(_tries(email))))


def login(email: str) -> Login:
    row = db.get(LoginRow, _email(email)) or {}
    return Login(owner=row.get("owner"), pin=row.get("pin"))


def add_link(hashed: str, email: str, until: int) -> None:
    """Keep a magic link, by the hash of what is in it."""
    _keep(f"link#{hashed}", LoginRow.email.set(email), until)


def use_link(hashed: str, now: int) -> str | None:
    """Use a magic link up: the address that it was mailed to, or None where it is not there (any more)."""
    return _use(f"link#{hashed}", now).get("email")


def add_state(hashed: str, nonce_hash: str, until: int) -> None:
    """Keep a state by its hash, and the nonce that went out with it likewise."""
    _keep(f"slack#{hashed}", LoginRow.nonce.set(nonce_hash), until)


def use_state(hashed: str, now: int) -> str | None:
    """Use a state up: the hash of its nonce, or None where it is not there (any more)."""
    return _use(f"slack#{hashed}", now).get("nonce")


def _keep(login: str, what: Action, until: int) -> None:
    """A row that is good for one use, until then; it vanishes by itself."""
    db.update(LoginRow(login), [what, LoginRow.until.set(until), LoginRow.expires_at.set((until + DAY) // 1_000)])


def _use(login: str, now: int) -> db.Row:
    """Delete a row that is good for one use, until then; an empty one where somebody else did, or it is too late."""
    row = db.get(LoginRow, login)
    if row is None or row["until"] <= now:
        return {}
    try:
        db.write(db.remove(LoginRow(login), LoginRow.until > now))
    except db.Cancelled:
        return {}
    return row


def count_address(address: str, meter: Meter, now: int) -> None:
    """Count a login from a network address. Raises RateLimited over the limit; fails closed."""
    caller = f"address#{network(address)}"
    ratelimit.refuse_if_known(caller, meter, now)
    row = LoginRow(caller)
    actions = [ratelimit.count(LoginRow.calls, meter, now), LoginRow.expires_at.set((now + DAY) // 1_000)]
    for _ in range(_TRIES):
        try:
            stands = db.update(row, actions, db.exists(LoginRow.calls) & ratelimit.allowed(LoginRow.calls, meter, now))
        except db.Failed as failed:
            if failed.row is not None:
                ratelimit.refuse_if_exhausted(failed.row["calls"], meter, now, caller)
                continue
            try:
                stands = _first_call(row, meter, now)
            except db.Failed:  # another call came first, and that one made the row
                continue
        ratelimit.note(stands["calls"], meter, now)
        old = ratelimit.leftovers(stands["calls"], now)
        if old:
            db.update(row, [LoginRow.calls[slot].remove() for slot in old], LoginRow.calls.exists())
        return
    raise Unavailable


def network(address: str) -> str:
    """Whose an address is: of IPv6 everybody has a /64 at least (RFC 6177), and may call from any address in it."""
    try:
        known = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(known, ipaddress.IPv4Address):
        return str(known)
    return str(known.ipv4_mapped or ipaddress.ip_network((known, 64), strict=False).network_address)


def _first_call(row: LoginRow, meter: Meter, now: int) -> dict[str, Any]:
    return db.update(
        row,
        [LoginRow.calls.set({meter.slot(now): 1}), LoginRow.expires_at.set((now + DAY) // 1_000)],
        LoginRow.calls.does_not_exist(),
    )


def _email(address: str) -> str:
    return f"email#{address}"


def _tries(address: str) -> str:
    return f"tries#{address}"
