"""The table `users` (owner): one item a user, with what its tokens are held against and the counts of its calls.

A session's token is good while it carries the item's `ver` and is not among those in `ended`, where logging out puts
it; a personal token is good while it is among `tokens`. So all of that is checked in the write that counts the call.
"""

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, NamedTuple

from pynamodb.attributes import MapAttribute, NumberAttribute, UnicodeAttribute, UnicodeSetAttribute
from pynamodb.expressions.condition import size
from pynamodb.expressions.operand import Path
from pynamodb.models import Model

from chalicelib import db, ratelimit
from chalicelib.auth import logins
from chalicelib.auth.model import MOST_TOKENS, PersonalToken, User
from chalicelib.errors import Unauthenticated, Unavailable
from chalicelib.ratelimit import Meter
from chalicelib.settings import HOUR, settings


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
    tokens: Any = MapAttribute(null=True)
    ended = UnicodeSetAttribute(null=True)


class Standing(NamedTuple):
    """What makes a token good: on the way to the item as a condition, and for an item that did not meet it."""

    condition: db.Clause
    held_by: Callable[[db.Row], bool]
    actions: tuple[db.Clause, ...] = ()


def session(ver: str, mark: str) -> Standing:
    """The standing of a session's token; `mark` is what logging out leaves of it."""
    return Standing(
        db.equals(UserRow.ver, ver) & _not_ended(mark),
        lambda row: row["ver"] == ver and mark not in row.get("ended", ()),
    )


@db.clause
def _not_ended(mark: str) -> Any:
    return ~Path(["ended"]).contains(mark)  # of the attribute itself, PynamoDB would look into the mark


def personal(token: str, now: int) -> Standing:
    """The standing of a personal token, by its id; using it leaves the hour."""
    return Standing(_known(token), lambda row: token in row.get("tokens", {}), (_used(token, now // HOUR * HOUR),))


@db.clause
def _known(token: str) -> Any:
    return UserRow.tokens[token].exists()


@db.clause
def _used(token: str, at: int) -> Any:
    return [UserRow.tokens[token]["usedAt"].set(at)]


def admit(owner: str, standing: Standing, meter: Meter, now: int, token: str) -> User:
    """Check a user's token and count the call, in one write. Where DynamoDB takes no write (it throttles the item, or
    has an outage), a read checks the token, and the call is not counted.

    Raises Unauthenticated for a revoked token or a user that is gone, RateLimited over the limit.
    """
    try:
        row = db.update(
            db.item(UserRow, owner=owner),
            [ratelimit.count(UserRow.calls, meter, now), *standing.actions],
            standing.condition & ratelimit.allowed(UserRow.calls, meter, now),
        )
    except db.Failed as failed:
        _refuse(failed.row, standing, meter, now, token)
        raise
    except Unavailable:
        row = _refuse(db.get(UserRow, owner), standing, meter, now, token)
        ratelimit.note(row["calls"], meter, now)
        return to_user(row)
    ratelimit.note(row["calls"], meter, now)
    old = ratelimit.leftovers(row["calls"], now)
    if old:
        with suppress(Unavailable):  # the next call does it
            db.update(UserRow(owner), [UserRow.calls[slot].remove() for slot in old], UserRow.owner.exists())
    return to_user(row)


def _refuse(row: db.Row | None, standing: Standing, meter: Meter, now: int, token: str) -> db.Row:
    """Raise what there is against this token; an item that nothing is wrong with comes back."""
    if row is None or not standing.held_by(row):
        raise Unauthenticated
    ratelimit.refuse_if_exhausted(row["calls"], meter, now, token)
    return row


def load(owner: str) -> User | None:
    row = db.get(UserRow, owner)
    return None if row is None else to_user(row)


def create(owner: str, email: str, name: str, ver: str, pin: str | None, now: int) -> str:
    """Make a user and its way to log in; where the address is known already, that user's id is the answer."""
    try:
        db.write(
            db.put(
                UserRow(
                    owner,
                    email=email,
                    name=name,
                    ver=ver,
                    calls={},
                    tokens={},
                    agents=0,
                    open_tasks=0,
                    created_at=now,
                ),
                UserRow.owner.does_not_exist(),
            ),
            logins.new(email, owner, pin),
        )
    except db.Cancelled as cancelled:
        standing = cancelled.rows.get(1)
        if standing is None:
            raise
        return str(standing["owner"])
    return owner


def add_token(owner: str, token: PersonalToken, gone: Iterable[str]) -> User:
    """One personal token more, in place of those that are gone. Raises db.Failed where those are not there any more,
    or there are as many as a user may have."""
    entry = {"name": token.name, "createdAt": token.created_at, "expiresAt": token.expires_at}
    if token.request is not None:
        entry["request"] = token.request
    gone = list(gone)
    condition = UserRow.tokens.exists() & (size(UserRow.tokens) < MOST_TOKENS + len(gone))
    for each in gone:
        condition &= UserRow.tokens[each].exists()
    actions = [UserRow.tokens[token.id].set(entry), *(UserRow.tokens[each].remove() for each in gone)]
    try:
        return to_user(db.update(UserRow(owner), actions, condition))
    except db.Failed as failed:
        if failed.row is None:
            raise
        if "tokens" not in failed.row:  # a row from before there were any
            first = [UserRow.tokens.set({token.id: entry})]
            return to_user(db.update(UserRow(owner), first, UserRow.tokens.does_not_exist() & UserRow.owner.exists()))
        if token.id not in failed.row["tokens"]:
            raise
        return to_user(failed.row)  # it was written, and the answer to that was lost


def remove_token(owner: str, token: str) -> None:
    """Revoke a personal token that was there. Safe to repeat."""
    db.update(UserRow(owner), [UserRow.tokens[token].remove()], UserRow.owner.exists())


def end_session(owner: str, mark: str) -> None:
    """Logged out: the token with this mark is dead. Safe to repeat."""
    db.update(UserRow(owner), [UserRow.ended.add({mark})], UserRow.owner.exists())


def forget_sessions(owner: str, marks: Iterable[str]) -> None:
    """Marks of tokens that have expired meanwhile."""
    db.update(UserRow(owner), [UserRow.ended.delete(set(marks))], UserRow.owner.exists())


def end_all(owner: str, ver: str, *, tokens_too: bool) -> None:
    """A new version: every session is dead; every personal token as well, where that is wanted. Safe to repeat."""
    actions = [UserRow.ver.set(ver), UserRow.ended.remove(), *([UserRow.tokens.set({})] if tokens_too else [])]
    db.update(UserRow(owner), actions, UserRow.owner.exists())


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


def to_user(row: db.Row) -> User:
    return User(
        owner=row["owner"],
        email=row["email"],
        name=row["name"],
        ver=row["ver"],
        agents=row["agents"],
        open_tasks=row["openTasks"],
        tokens={name: _to_token(name, entry) for name, entry in (row.get("tokens") or {}).items()},
        ended=frozenset(row.get("ended", ())),
    )


def _to_token(name: str, entry: db.Row) -> PersonalToken:
    return PersonalToken(
        id=name,
        name=entry["name"],
        created_at=entry["createdAt"],
        expires_at=entry["expiresAt"],
        used_at=entry.get("usedAt"),
        request=entry.get("request"),
    )
