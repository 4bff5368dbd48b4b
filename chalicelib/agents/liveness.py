"""Check-ins: what every authenticated call of an agent writes on the agent's own item.

A check-in compares the token's version, counts the call and records when the agent was last seen, all in one write.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from chalicelib import dynamodb
from chalicelib.agents import status_events
from chalicelib.agents.entities import REMOVED, Agent, AgentState, StatusEvent
from chalicelib.agents.rules import INACTIVE_AFTER, became_active, became_inactive, check_at
from chalicelib.agents.store import append_status_event
from chalicelib.agents.tables import AgentRow, shard, to_agent
from chalicelib.auth.tokens import Caller
from chalicelib.core.errors import AgentNotFound, Conflict, Unauthenticated, Unavailable
from chalicelib.http import rate_limits
from chalicelib.http.rate_limits import RateLimit

REVOKED = "The agent's token was revoked or replaced, or its agent was removed; register it again."

_MAX_TRIES = 4


class OtherInstance(Conflict):
    """Another process of this agent is alive; stop one of the two, or register them under different agentIds."""


class CheckIn(NamedTuple):
    """What an authenticated call of an agent writes on the agent's item, and on which condition.

    It is written alone (`save`) or as part of a transaction (`as_transact_item`). `adapted_to` explains why its
    condition did not hold. The version of the caller's token is compared here, so a revoked token stops working at
    once. A call with a user's token counts against the user's limit and only requires that the agent exists.
    """

    caller: Caller
    agent_id: str
    rate_limit: RateLimit
    now: int
    state: AgentState | None = None
    """The state that the agent reports for itself; None where the call does not report one."""
    instance_id: str | None = None
    """The process that calls, where it says so. A second live instance is refused."""
    reactivating: bool = False
    """Whether the agent was found inactive, so that this check-in makes it active again."""
    promoting_token: bool = False
    """Whether the token is one that the agent requested for itself and uses for the first time. The old one stops
    working with this check-in."""

    @property
    def row(self) -> dynamodb.Item:
        return dynamodb.item(AgentRow, owner=self.caller.owner, agent_id=self.agent_id)

    @property
    def status_event(self) -> StatusEvent | None:
        """The event where this call makes the agent active or inactive. It is stored in the same write."""
        after = self.state or "active"
        if self.reactivating:
            return None if after == "inactive" else became_active(after, self.now)
        return became_inactive(self.now, self.now) if after == "inactive" else None

    def actions(self) -> list[dynamodb.Clause]:
        actions = [_record_seen(self.now, shard(self.caller.owner, self.agent_id), check_at(self.now))]
        if self.state or self.reactivating:
            actions.append(dynamodb.set_value(AgentRow.state, self.state or "active"))
        if self.instance_id:
            instance = {"id": self.instance_id, "at": self.now}
            disconnects = self.state == "inactive"
            actions.append(
                dynamodb.remove(AgentRow.instance) if disconnects else dynamodb.set_value(AgentRow.instance, instance)
            )
        if self.status_event is not None:
            actions.append(append_status_event(self.caller.owner, self.agent_id, self.status_event))
        if self.promoting_token:
            actions += [dynamodb.set_value(AgentRow.ver, self.caller.ver), dynamodb.remove(AgentRow.next_ver)]
        if self.caller.is_agent:
            actions.append(rate_limits.increment(AgentRow.calls, self.rate_limit, self.now))
        return actions

    def condition(self) -> dynamodb.Clause:
        condition = dynamodb.is_in(AgentRow.state, *(("inactive",) if self.reactivating else ("active", "error")))
        if self.instance_id:
            condition &= _no_other_instance(self.instance_id, self.now - INACTIVE_AFTER)
        if self.caller.is_agent:
            own = AgentRow.next_ver if self.promoting_token else AgentRow.ver
            below_limit = rate_limits.within_limit(AgentRow.calls, self.rate_limit, self.now)
            condition &= dynamodb.equals(own, self.caller.ver) & below_limit
        return condition

    def save(self, actions: Iterable[dynamodb.Clause] = ()) -> Agent:
        """Write the check-in alone, with further actions, and return the agent as stored afterwards. One request.

        Where DynamoDB accepts no writes and there are no further actions, a read admits the agent and the call is not
        counted. Raises Unauthenticated, AgentNotFound, OtherInstance, RateLimited, Unavailable.
        """
        self.raise_if_rate_limited()
        check_in, further = self, list(actions)
        for _ in range(_MAX_TRIES):
            try:
                row = dynamodb.update_item(check_in.row, [*check_in.actions(), *further], check_in.condition())
            except dynamodb.ConditionFailed as failed:
                check_in = check_in.adapted_to(failed.row)
                continue
            except Unavailable:
                if further:
                    raise
                return self._load_uncounted()
            if self.caller.is_agent:
                self._record(row)
                stale = rate_limits.stale_windows(row["calls"], self.now)
                if stale:
                    with suppress(Unavailable):  # the next call removes them
                        cleanup = [dynamodb.remove(AgentRow.calls[window]) for window in stale]
                        dynamodb.update_item(self.row, cleanup, dynamodb.exists(AgentRow.owner))
            if check_in.status_event is not None:
                status_events.send_to_queue(self.caller.owner, self.agent_id)
            return to_agent(row)
        raise Unavailable

    def _load_uncounted(self) -> Agent:
        row = dynamodb.get_item(AgentRow, self.caller.owner, self.agent_id)
        self.adapted_to(row)
        assert row is not None, "a missing agent was refused"
        if self.caller.is_agent:
            self._record(row)
        return to_agent(row)

    def _record(self, row: dynamodb.Row) -> None:
        rate_limits.record(row["calls"], self.rate_limit, self.now, f"{self.caller.owner}#{self.agent_id}")

    def raise_if_rate_limited(self) -> None:
        """Raise RateLimited, without a request, for an agent that this container knows to be over its limit."""
        if self.caller.is_agent:
            rate_limits.raise_if_cached(self.caller.id, self.rate_limit, self.now)

    def as_transact_item(self, actions: Iterable[dynamodb.Clause] = ()) -> dynamodb.TransactItem:
        self.raise_if_rate_limited()
        return dynamodb.transact_update(self.row, [*self.actions(), *actions], self.condition())

    def record_estimate(self) -> None:
        """Set the quota headers of the response after a transaction, which returns no counts."""
        if self.caller.is_agent:
            rate_limits.record_estimate(f"{self.caller.owner}#{self.agent_id}", self.rate_limit, self.now)

    def adapted_to(self, row: dynamodb.Row | None) -> "CheckIn":
        """The check-in to write instead, given the agent's item as it is stored.

        Raises Unauthenticated, AgentNotFound, RateLimited or OtherInstance where the call must be refused.
        """
        if row is None or row["state"] == REMOVED:
            raise Unauthenticated(REVOKED) if self.caller.is_agent else AgentNotFound
        promoting = False
        if self.caller.is_agent:
            promoting = row.get("nextVer") == self.caller.ver
            if row["ver"] != self.caller.ver and not promoting:
                raise Unauthenticated(REVOKED)
            rate_limits.raise_if_exhausted(row["calls"], self.rate_limit, self.now, self.caller.id)
        other = row.get("instance")
        if self.instance_id and other and other["id"] != self.instance_id and other["at"] >= self.now - INACTIVE_AFTER:
            raise OtherInstance
        return self._replace(reactivating=row["state"] == "inactive", promoting_token=promoting)


@dynamodb.clause
def _record_seen(now: int, shard: int, check_at: int) -> Any:
    return [AgentRow.seen_at.set(now), AgentRow.check_shard.set(shard), AgentRow.check_at.set(check_at)]


@dynamodb.clause
def _no_other_instance(instance_id: str, since: int) -> Any:
    """No other process of the agent has called since then."""
    known = AgentRow.instance
    return known.does_not_exist() | (known["id"] == instance_id) | (known["at"] < since)


def save_heartbeat(check_in: CheckIn, reported: Mapping[str, Any], running: Sequence[str] | None) -> Agent:
    """Write a heartbeat: a check-in plus what the agent reports (`reported`: attribute name to value). One request.

    `running` are the ids of the tasks that the agent reports as running. This report and the one before it are kept,
    to detect tasks that the agent has lost.
    """
    actions = [dynamodb.set_value(getattr(AgentRow, name), value) for name, value in reported.items()]
    if running is None:
        actions += [dynamodb.remove(AgentRow.last_reported_tasks), dynamodb.remove(AgentRow.previous_reported_tasks)]
    else:
        actions.append(_record_reported_tasks({"at": check_in.now, "tasks": list(running)}, {"at": 0, "tasks": []}))
    return check_in.save(actions)


@dynamodb.clause
def _record_reported_tasks(reported: Any, never: Any) -> Any:
    last, previous = AgentRow.last_reported_tasks, AgentRow.previous_reported_tasks
    return [previous.set(last | never), last.set(reported)]
