"""An agent's signs of life and its holds on tasks: what an agent's calls write on its own item.

Other features make these parts of their transactions: that an agent holds a task stands on the task and on the agent,
and both change together.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from chalicelib import db, ratelimit
from chalicelib.agents import news
from chalicelib.agents.agent import REMOVED, Agent, Held, News, State
from chalicelib.agents.model import INACTIVE_AFTER, came, check_at, went
from chalicelib.agents.rows import AgentRow, shard, to_agent
from chalicelib.agents.store import how_many_held, registered, to_tell
from chalicelib.auth.tokens import Caller
from chalicelib.errors import AgentNotFound, Conflict, Unauthenticated, Unavailable
from chalicelib.ratelimit import Meter

DEAD = "The agent's token was revoked or replaced, or its agent was removed; register it again."

_TRIES = 4


class OtherInstance(Conflict):
    """Another process of this agent is alive; stop one of the two, or register them under ids of their own."""


class Sign(NamedTuple):
    """A sign of life: what every authenticated call of an agent writes on its item, and on what condition.

    It stands alone (`show`) or is part of a transaction (`part`); `refused` says why its condition did not hold. The
    caller's token version is compared here, which is how revoking takes effect at once. A call with the user's own
    token counts on the user, and only needs the agent to be there.
    """

    caller: Caller
    agent: str
    meter: Meter
    now: int
    state: State | None = None
    """The state that the agent itself says it is in; None where the call does not say."""
    instance: str | None = None
    """Which process of the agent calls, where it says: a second live one is refused."""
    waking: bool = False
    """Whether the agent was found inactive, so that this makes it active again."""
    promoting: bool = False
    """Whether the token is one that the agent asked for itself and uses for the first time: the old one dies now."""

    @property
    def row(self) -> db.Item:
        return db.item(AgentRow, owner=self.caller.owner, agent=self.agent)

    @property
    def news(self) -> News | None:
        """That the agent comes back, or goes, by this call: left on its row in the same write."""
        after = self.state or "active"
        if self.waking:
            return None if after == "inactive" else came(after, self.now)
        return went(self.now, self.now) if after == "inactive" else None

    def actions(self) -> list[db.Clause]:
        actions = [_seen(self.now, shard(self.caller.owner, self.agent), check_at(self.now))]
        if self.state or self.waking:
            actions.append(db.sets(AgentRow.state, self.state or "active"))
        if self.instance:
            gone, here = self.state == "inactive", {"id": self.instance, "at": self.now}
            actions.append(db.removes(AgentRow.instance) if gone else db.sets(AgentRow.instance, here))
        if self.news is not None:
            actions.append(to_tell(self.caller.owner, self.agent, self.news))
        if self.promoting:
            actions += [db.sets(AgentRow.ver, self.caller.ver), db.removes(AgentRow.next_ver)]
        if self.caller.is_agent:
            actions.append(ratelimit.count(AgentRow.calls, self.meter, self.now))
        return actions

    def condition(self) -> db.Clause:
        condition = db.one_of(AgentRow.state, *(("inactive",) if self.waking else ("active", "error")))
        if self.instance:
            condition &= _alone(self.instance, self.now - INACTIVE_AFTER)
        if self.caller.is_agent:
            own = AgentRow.next_ver if self.promoting else AgentRow.ver
            condition &= db.equals(own, self.caller.ver) & ratelimit.allowed(AgentRow.calls, self.meter, self.now)
        return condition

    def show(self, actions: Iterable[Any] = ()) -> Agent:
        """Write the sign of life alone, with further actions, and return the agent as it is then. One request.

        Where DynamoDB takes no write and there is nothing to write but the sign, a read lets the agent in, uncounted.
        """
        self.refuse_if_known()
        sign, further = self, list(actions)
        for _ in range(_TRIES):
            try:
                row = db.update(sign.row, [*sign.actions(), *further], sign.condition())
            except db.Failed as failed:
                sign = sign.refused(failed.row)
                continue
            except Unavailable:
                if further:
                    raise
                return self._uncounted()
            if self.caller.is_agent:
                self._note(row)
                old = ratelimit.leftovers(row["calls"], self.now)
                if old:
                    with suppress(Unavailable):  # the next call does it
                        db.update(self.row, [AgentRow.calls[slot].remove() for slot in old], AgentRow.owner.exists())
            if sign.news is not None:
                news.send(self.caller.owner, self.agent)
            return to_agent(row)
        raise Unavailable

    def _uncounted(self) -> Agent:
        row = db.get(AgentRow, self.caller.owner, self.agent)
        self.refused(row)
        assert row is not None, "what is not there was refused"
        if self.caller.is_agent:
            self._note(row)
        return to_agent(row)

    def _note(self, row: db.Row) -> None:
        ratelimit.note(row["calls"], self.meter, self.now, f"{self.caller.owner}#{self.agent}")

    def refuse_if_known(self) -> None:
        """Raise RateLimited for an agent that is known to be over its limit in this minute, without a request."""
        if self.caller.is_agent:
            ratelimit.refuse_if_known(self.caller.id, self.meter, self.now)

    def part(self, actions: Iterable[Any] = ()) -> db.Part:
        self.refuse_if_known()
        return db.change(self.row, [*self.actions(), *actions], self.condition())

    def unseen(self) -> None:
        """Note the call in the answer's headers after a transaction, which gives no counts back."""
        if self.caller.is_agent:
            ratelimit.note_unseen(f"{self.caller.owner}#{self.agent}", self.meter, self.now)

    def refused(self, row: db.Row | None) -> "Sign":
        """The sign to show instead, given the agent's item as it stands; raises what was wrong, if something was."""
        if row is None or row["state"] == REMOVED:
            raise Unauthenticated(DEAD) if self.caller.is_agent else AgentNotFound
        promoting = False
        if self.caller.is_agent:
            promoting = row.get("nextVer") == self.caller.ver
            if row["ver"] != self.caller.ver and not promoting:
                raise Unauthenticated(DEAD)
            ratelimit.refuse_if_exhausted(row["calls"], self.meter, self.now, self.caller.id)
        other = row.get("instance")
        if self.instance and other and other["id"] != self.instance and other["at"] >= self.now - INACTIVE_AFTER:
            raise OtherInstance
        return self._replace(waking=row["state"] == "inactive", promoting=promoting)


@db.clause
def _seen(now: int, shard: int, check_at: int) -> Any:
    return [AgentRow.seen_at.set(now), AgentRow.check_shard.set(shard), AgentRow.check_at.set(check_at)]


@db.clause
def _alone(instance: str, since: int) -> Any:
    """No other process of the agent has called since then."""
    known = AgentRow.instance
    return known.does_not_exist() | (known["id"] == instance) | (known["at"] < since)


def beat(sign: Sign, said: Mapping[str, Any], running: Sequence[str] | None) -> Agent:
    """A heartbeat: a sign of life, and what the agent says of itself (`said`: attribute name to value). One request.

    `running` is what it says it runs; this and the last such heartbeat are kept, to notice what it has lost.
    """
    actions = [db.sets(getattr(AgentRow, name), value) for name, value in said.items()]
    if running is None:
        actions += [db.removes(AgentRow.said), db.removes(AgentRow.said_before)]
    else:
        actions.append(_running({"at": sign.now, "tasks": list(running)}, {"at": 0, "tasks": []}))
    return sign.show(actions)


@db.clause
def _running(said: Any, never: Any) -> Any:
    return [AgentRow.said_before.set(AgentRow.said | never), AgentRow.said.set(said)]


def hold(owner: str, agent: str, taken: Mapping[str, Held], most: int, now: int) -> db.Part:
    """Part of a transaction: an agent takes some tasks, and holds at most `most` then."""
    actions = [_takes(task, _stored(held)) for task, held in taken.items()]
    actions.append(db.sets(AgentRow.worked_at, now))
    return db.change(db.item(AgentRow, owner=owner, agent=agent), actions, _with_room(most - len(taken)))


@db.clause
def _takes(task: str, held: Any) -> Any:
    return [_held(task).set(held)]


@db.clause
def _lets_go(task: str) -> Any:
    return [_held(task).remove()]


@db.clause
def _with_room(most: int) -> Any:
    return registered() & (how_many_held() <= most)


@db.clause
def _in_attempt(task: str, attempt: int) -> Any:
    return _held(task)["attempt"] == attempt


def begin(owner: str, agent: str, task: str, held: Held) -> db.Part:
    """Part of a transaction: an agent's hold on a task as it is from now on (started, or with a new step)."""
    row = db.item(AgentRow, owner=owner, agent=agent)
    return db.change(row, [_takes(task, _stored(held))], _in_attempt(task, held.attempt))


def end(sign: Sign, task: str) -> db.Part:
    """Part of a transaction: a sign of life with which the agent is done with a task."""
    return sign.part([_lets_go(task), db.sets(AgentRow.worked_at, sign.now)])


def let_go(owner: str, agent: str, task: str, *, worked_at: int | None = None, announced: int | None = None) -> db.Part:
    """Part of a transaction: an agent no longer holds a task. Fails where the agent is gone.

    `worked_at`: when it ended its work on it; `announced`: when the task, pinned to it, became claimable again.
    """
    actions = [_held(task).remove()]
    if worked_at is not None:
        actions.append(AgentRow.worked_at.set(worked_at))
    if announced is not None:
        actions.append(AgentRow.pinned_at.set(announced))
    return db.change(AgentRow(owner, agent), actions, AgentRow.owner.exists())


def ask_to_stop(owner: str, agent: str, task: str) -> db.Part:
    """Part of a transaction: every answer to the agent from now on tells it to stop a task. Fails where it is gone."""
    return db.change(AgentRow(owner, agent), [_held(task)["cancel"].set(True)], _held(task).exists())


def present(owner: str, agent: str) -> db.Part:
    """Part of a transaction that fails where there is no such agent."""
    return db.check(AgentRow(owner, agent), registered())


def announce_pinned(owner: str, agent: str, now: int) -> db.Part:
    """Part of a transaction: a task pinned to this agent is claimable. Fails where the agent is gone."""
    return db.change(AgentRow(owner, agent), [AgentRow.pinned_at.set(now)], registered())


def _stored(held: Held) -> dict[str, Any]:
    stored = {
        "attempt": held.attempt,
        "timeout": held.timeout,
        "claimedAt": held.claimed_at,
        "startedAt": held.started_at,
        "cancel": held.cancel or None,
        "step": held.step,
    }
    return {name: value for name, value in stored.items() if value is not None}


def _held(task: str) -> Any:
    return AgentRow.held[task]
