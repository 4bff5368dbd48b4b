"""The tables `users` and `logins`: rows, and the few writes there are.

`users` (owner): one item a user, with the version of its tokens and the counts of its calls.
`logins` (login): `email#<address>` a way to log in, `tries#<address>` its failed tries (also of an address that nobody
has), `address#<ip>` the calls of one network address.
"""

from typing import Any

from pynamodb.attributes import MapAttribute, NumberAttribute, UnicodeAttribute
from pynamodb.models import Model

from chalicelib import db, ratelimit
from chalicelib.auth.model import LOCKED_FOR, TRIES, Login, User
from chalicelib.errors import Unauthenticated
from chalicelib.ratelimit import Meter
from chalicelib.settings import DAY, settings


@db.register
class UserRow(Model):
    class Meta:
        table_name = settings.named("users")

    owner = UnicodeAttribute(hash_key=True)
    email = UnicodeAttribute()
    name = UnicodeAttribute()
    ver = UnicodeAttribute()
    calls: Any = MapAttribute()
    agents = NumberAttribute()
    open_tasks = NumberAttribute(attr_name="openTasks")
    created_at = NumberAttribute(attr_name="createdAt")


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
    expires_at = NumberAttribute(attr_name="expiresAt", null=True)


def admit(owner: str, ver: str, meter: Meter, now: int) -> User:
    """Check a user's token version and count the call, in one write.

    Raises Unauthenticated for a revoked token or a user that is gone, RateLimited over the limit.
    """
    try:
        row = db.update(
            UserRow(owner),
            ratelimit.count(UserRow.calls, meter, now),
            (UserRow.ver == ver) & ratelimit.allowed(UserRow.calls, meter, now),
        )
    except db.Failed as failed:
        if failed.row is None or failed.row["ver"] != ver:
            raise Unauthenticated from None
        ratelimit.refuse_if_exhausted(failed.row["calls"], meter, now)
        raise
    ratelimit.note(row["calls"], meter, now)
    old = ratelimit.leftovers(row["calls"], now)
    if old:
        db.update(UserRow(owner), [UserRow.calls[slot].remove() for slot in old], UserRow.owner.exists())
    return to_user(row)


def load(owner: str) -> User | None:
    row = db.get(UserRow, owner)
    return None if row is None else to_user(row)


def create(owner: str, email: str, name: str, ver: str, pin: str, now: int) -> str:
    """Make a user and its way to log in; where the address is known already, that user's id is the answer."""
    try:
        db.write(
            db.put(
                UserRow(owner, email=email, name=name, ver=ver, calls={}, agents=0, open_tasks=0, created_at=now),
                UserRow.owner.does_not_exist(),
            ),
            db.change(
                LoginRow(_email(email)),
                [LoginRow.owner.set(owner), LoginRow.pin.set(pin)],
                LoginRow.owner.does_not_exist(),
            ),
        )
    except db.Cancelled as cancelled:
        standing = cancelled.rows.get(1)
        if standing is None:
            raise
        return str(standing["owner"])
    return owner


def count_agents(owner: str, by: int, most: int) -> db.Part:
    """Part of a transaction: one agent more (below `most`) or less."""
    return db.change(
        UserRow(owner), [UserRow.agents.add(by)], UserRow.owner.exists() if by < 0 else UserRow.agents < most
    )


def count_open_tasks(owner: str, by: int) -> db.Part:
    """Part of a transaction: so many open tasks more, or less."""
    return db.change(UserRow(owner), [UserRow.open_tasks.add(by)], UserRow.owner.exists())


def fewer_open_tasks(owner: str, most: int) -> db.Part:
    return db.check(UserRow(owner), UserRow.open_tasks < most)


def take_a_try(email: str, now: int) -> int | None:
    """Reserve one guess before the PIN is looked at, so that parallel guesses cannot be more than allowed.

    None if there was one; else when the account is locked until. The count is a row of its own, for an address that
    nobody has too, and vanishes by itself.
    """
    row = LoginRow(_tries(email))
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


def count_address(address: str, meter: Meter, now: int) -> None:
    """Count a login from a network address. Raises RateLimited over the limit; fails closed."""
    actions = [*ratelimit.count(LoginRow.calls, meter, now), LoginRow.expires_at.set((now + DAY) // 1_000)]
    row = LoginRow(f"address#{address}")
    try:
        try:
            stands = db.update(row, actions, LoginRow.calls.exists() & ratelimit.allowed(LoginRow.calls, meter, now))
        except db.Failed as failed:
            if failed.row is not None:
                ratelimit.refuse_if_exhausted(failed.row["calls"], meter, now)
            stands = _first_call(row, meter, now)
    except db.Failed as failed:  # another call came first, and that one made the row
        ratelimit.refuse_if_exhausted((failed.row or {}).get("calls", {}), meter, now)
        stands = db.update(row, actions, LoginRow.calls.exists() & ratelimit.allowed(LoginRow.calls, meter, now))
    ratelimit.note(stands["calls"], meter, now)
    old = ratelimit.leftovers(stands["calls"], now)
    if old:
        db.update(row, [LoginRow.calls[slot].remove() for slot in old], LoginRow.calls.exists())


def _first_call(row: LoginRow, meter: Meter, now: int) -> dict[str, Any]:
    return db.update(
        row,
        [LoginRow.calls.set({meter.slot(now): 1}), LoginRow.expires_at.set((now + DAY) // 1_000)],
        LoginRow.calls.does_not_exist(),
    )


def to_user(row: db.Row) -> User:
    return User(
        owner=row["owner"],
        email=row["email"],
        name=row["name"],
        ver=row["ver"],
        agents=row["agents"],
        open_tasks=row["openTasks"],
    )


def _email(address: str) -> str:
    return f"email#{address}"


def _tries(address: str) -> str:
    return f"tries#{address}"
