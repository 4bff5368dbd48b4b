"""An agent's signs of life and its holds on tasks: what an agent's calls write on its own item.

Other features make these parts of their transactions: that an agent holds a task stands on the task and on the agent,
and both change together.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from chalicelib import db, ratelimit
from chalicelib.agents.model import Agent, Held, check_at
from chalicelib.agents.store import AgentRow, how_many_held, shard, to_agent
from chalicelib.auth.tokens import Caller
from chalicelib.errors import AgentNotFound, AgentTokenInvalid
from chalicelib.ratelimit import Meter


@dataclass(frozen=True)
class Sign:
    """A sign of life: what every authenticated call of an agent writes on its item, and on what condition.

    It stands alone (`show`) or is part of a transaction (`part`); `refused` says why its condition did not hold. The
    caller's token version is compared here, which is how revoking takes effect at once. A call with the user's own
    token counts on the user, and only needs the agent to be there.
    """

    caller: Caller
    agent: str
    meter: Meter
    now: int
    waking: bool = False
    """Whether the agent was found inactive, so that this makes it active again."""
    state: str | None = None
    """What state the agent itself says it is in: `active` or `error`; None where the call does not say."""

    @property
    def row(self) -> AgentRow:
        return AgentRow(self.caller.owner, self.agent)

    def actions(self) -> list[Any]:
        actions = [
            AgentRow.seen_at.set(self.now),
            AgentRow.check_shard.set(shard(self.caller.owner, self.agent)),
            AgentRow.check_at.set(check_at(self.now)),
        ]
        if self.state or self.waking:
            actions.append(AgentRow.state.set(self.state or "active"))
        if self.caller.is_agent:
            actions += ratelimit.count(AgentRow.calls, self.meter, self.now)
        return actions

    def condition(self) -> Any:
        state = AgentRow.state == "inactive" if self.waking else AgentRow.state != "inactive"
        if not self.caller.is_agent:
            return AgentRow.owner.exists() & state
        own = AgentRow.ver == self.caller.ver
        return own & state & ratelimit.allowed(AgentRow.calls, self.meter, self.now)

    def show(self, actions: Iterable[Any] = ()) -> Agent:
        """Write the sign of life alone, with further actions, and return the agent as it is then. One request."""
        try:
            row = db.update(self.row, [*self.actions(), *actions], self.condition())
        except db.Failed as failed:
            return self.refused(failed.row).show(actions)
        if self.caller.is_agent:
            ratelimit.note(row["calls"], self.meter, self.now, self.agent)
            old = ratelimit.leftovers(row["calls"], self.now)
            if old:
                db.update(self.row, [AgentRow.calls[slot].remove() for slot in old], AgentRow.owner.exists())
        return to_agent(row)

    def part(self, actions: Iterable[Any] = ()) -> db.Part:
        return db.change(self.row, [*self.actions(), *actions], self.condition())

    def unseen(self) -> None:
        """Note the call in the answer's headers after a transaction, which gives no counts back."""
        if self.caller.is_agent:
            ratelimit.note_unseen(self.agent, self.meter, self.now)

    def refused(self, row: db.Row | None) -> "Sign":
        """The sign to show instead, where the agent had only been inactive; otherwise raises what was wrong."""
        if row is None:
            raise AgentTokenInvalid if self.caller.is_agent else AgentNotFound
        if self.caller.is_agent:
            if row["ver"] != self.caller.ver:
                raise AgentTokenInvalid
            ratelimit.refuse_if_exhausted(row["calls"], self.meter, self.now)
        return replace(self, waking=row["state"] == "inactive")


def beat(sign: Sign, state: str, said: Mapping[str, Any]) -> Agent:
    """A heartbeat: a sign of life, and what the agent says of itself (`said`: attribute name to value). One request."""
    return replace(sign, state=state).show([getattr(AgentRow, name).set(value) for name, value in said.items()])


def hold(owner: str, agent: str, taken: Mapping[str, Held], dropped: Sequence[str], most: int, now: int) -> db.Part:
    """Part of a transaction: an agent takes some tasks, no longer has others, and holds at most `most` then."""
    actions = [_held(task).set(_stored(held)) for task, held in taken.items()]
    actions += [_held(task).remove() for task in dropped]
    condition = AgentRow.owner.exists()
    if taken:
        actions.append(AgentRow.worked_at.set(now))
        condition &= how_many_held() <= most - len(taken) + len(dropped)
    return db.change(AgentRow(owner, agent), actions, condition)


def begin(owner: str, agent: str, task: str, held: Held) -> db.Part:
    """Part of a transaction: an agent's hold on a task as it is from now on (started, or with a new step)."""
    return db.change(AgentRow(owner, agent), [_held(task).set(_stored(held))], _held(task)["attempt"] == held.attempt)


def end(sign: Sign, task: str) -> db.Part:
    """Part of a transaction: a sign of life with which the agent is done with a task."""
    return sign.part([_held(task).remove(), AgentRow.worked_at.set(sign.now)])


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


def present(owner: str, agent: str) -> db.Part:
    """Part of a transaction that fails where there is no such agent."""
    return db.check(AgentRow(owner, agent), AgentRow.owner.exists())


def announce_pinned(owner: str, agent: str, now: int) -> db.Part:
    """Part of a transaction: a task pinned to this agent is claimable. Fails where the agent is gone."""
    return db.change(AgentRow(owner, agent), [AgentRow.pinned_at.set(now)], AgentRow.owner.exists())


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
