"""Check-ins: what every authenticated call of an agent writes on the agent's item.

In one write, a check-in compares the token's version, counts the call, and records when the agent was last seen.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from operator import and_
from typing import Any, NamedTuple

from chalicelib import dynamodb
from chalicelib.agents import status_events
from chalicelib.agents.entities import REMOVED, Agent, AgentState, StatusEvent
from chalicelib.agents.rules import (
    INACTIVE_AFTER,
    became_active,
    became_inactive,
    check_at,
    has_lapsed,
    token_renewed,
    within_permit,
)
from chalicelib.agents.store import append_status_events
from chalicelib.agents.tables import AgentRow, shard, to_agent
from chalicelib.auth.tokens import Caller
from chalicelib.core.errors import AgentNotFound, Conflict, Unauthenticated, Unavailable
from chalicelib.http import rate_limits
from chalicelib.http.rate_limits import RateLimit

REVOKED = "The agent's token was revoked or replaced, or the agent was removed. Register the agent again."
LAPSED = "This renewed token was not used within an hour. Use the agent's previous token."

_NO_ID = "~"
"""Not a valid id, so no instance or process has it."""
_MAX_TRIES = 4


class OtherInstance(Conflict):
    """Another process of this agent is active. Stop one of the two, or register them under different agentIds."""


class NotActiveInstance(Conflict):
    """Only the active instance of an agent can renew its token. Send the instanceId that its heartbeats have."""


class CheckIn(NamedTuple):
    """What an authenticated call of an agent writes on the agent's item, and the condition of the write.

    It is written alone (`save`) or as part of a transaction (`as_transact_item`). If its condition fails, `adapted_to`
    returns the check-in to write instead or raises the error. The condition compares the version of the caller's token,
    so a revoked token stops working at once. A call with a user's token counts against the user's limit and only
    requires that the agent exists.
    """

    caller: Caller
    agent_id: str
    rate_limit: RateLimit
    now: int
    state: AgentState | None = None
    """The state that the agent reports. None if the call reports none."""
    instance_id: str | None = None
    """The id of the calling process, if it sends one. A second active instance is rejected."""
    reactivating: bool = False
    """Whether the stored state is inactive, so that this check-in makes the agent active again."""
    promoting_token: bool = False
    """Whether the agent requested this token for itself and uses it for the first time. This check-in revokes the old
    token."""
    renewed_ver: str | None = None
    """The version of a new token that the agent requests for itself. If an instance of the agent is live, only that
    instance may do this."""

    capabilities: Sequence[str] | None = None
    """The capabilities that the agent declares. If a registration token has limited them, others are rejected."""

    @property
    def row(self) -> dynamodb.Item:
        return dynamodb.item(AgentRow, owner=self.caller.owner, agent_id=self.agent_id)

    @property
    def status_event(self) -> StatusEvent | None:
        """The event if this call makes the agent active or inactive, otherwise None. It is stored in the same write."""
        after = self.state or "active"
        if self.reactivating:
            return None if after == "inactive" else became_active(after, self.now)
        return became_inactive(self.now, self.now) if after == "inactive" else None

    @property
    def events(self) -> list[StatusEvent]:
        """All events of this call, in their order."""
        events = [] if self.status_event is None else [self.status_event]
        return events if self.renewed_ver is None else [*events, token_renewed(self.state or "active", self.now)]

    def actions(self) -> list[dynamodb.Clause]:
        owner, agent_id = self.caller.owner, self.agent_id
        actions = [_record_seen(self.now, shard(owner, agent_id), check_at(owner, agent_id, self.now))]
        if self.state or self.reactivating:
            actions.append(dynamodb.set_value(AgentRow.state, self.state or "active"))
        if self.instance_id:
            instance = {"id": self.instance_id, "at": self.now}
            disconnects = self.state == "inactive"
            actions.append(
                dynamodb.remove(AgentRow.instance) if disconnects else dynamodb.set_value(AgentRow.instance, instance)
            )
        events = self.events
        if events:
            actions.append(append_status_events(self.caller.owner, self.agent_id, events))
        if self.promoting_token:
            actions.append(dynamodb.set_value(AgentRow.ver, self.caller.ver))
        if self.promoting_token or self.renewed_ver:
            actions += dynamodb.set_or_remove(AgentRow, {"next_ver": self.renewed_ver})
        if self.caller.is_agent:
            actions.append(rate_limits.increment(AgentRow.calls, self.rate_limit, self.now))
        return actions

    def condition(self) -> dynamodb.Clause:
        condition = dynamodb.is_in(AgentRow.state, *(("inactive",) if self.reactivating else ("active", "error")))
        if self.instance_id or self.renewed_ver:
            condition &= _no_other_instance(self.instance_id or _NO_ID, self.now - INACTIVE_AFTER)
        if self.caller.is_agent:
            own = AgentRow.next_ver if self.promoting_token else AgentRow.ver
            below_limit = rate_limits.within_limit(AgentRow.calls, self.rate_limit, self.now)
            condition &= dynamodb.equals(own, self.caller.ver) & below_limit
            if self.capabilities:
                condition &= _permits(self.capabilities)
        return condition

    def save(self, actions: Iterable[dynamodb.Clause] = ()) -> Agent:
        """Write the check-in alone, with further actions, and return the agent as stored afterwards. One request.

        If DynamoDB accepts no writes and there is nothing further to write, a read admits the agent, and the call is
        not counted.

        Raises Unauthenticated, Forbidden, AgentNotFound, OtherInstance, NotActiveInstance, RateLimited, Unavailable.
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
                if further or self.renewed_ver:
                    raise
                return self._load_uncounted()
            if self.caller.is_agent:
                self._record(row)
                rate_limits.remove_stale_windows(self.row, AgentRow.calls, row["calls"], self.now)
            if check_in.events:
                status_events.send_to_queue(self.caller.owner, self.agent_id)
            return to_agent(row)
        raise Unavailable

    def _load_uncounted(self) -> Agent:
        row = dynamodb.get_item(AgentRow, self.caller.owner, self.agent_id)
        self.adapted_to(row)
        assert row is not None, "`adapted_to` raises an error for a missing agent"
        if self.caller.is_agent:
            self._record(row)
        return to_agent(row)

    def _record(self, row: dynamodb.Row) -> None:
        rate_limits.record(row["calls"], self.rate_limit, self.now, f"{self.caller.owner}#{self.agent_id}")

    def raise_if_rate_limited(self) -> None:
        """Raise RateLimited, without a request to DynamoDB, if this container has rate-limited the agent already."""
        if self.caller.is_agent:
            rate_limits.raise_if_cached(self.caller.id, self.rate_limit, self.now)

    def as_transact_item(self, actions: Iterable[dynamodb.Clause] = ()) -> dynamodb.TransactItem:
        """The check-in, with further actions, as an item of a transaction. Raises RateLimited."""
        self.raise_if_rate_limited()
        return dynamodb.transact_update(self.row, [*self.actions(), *actions], self.condition())

    def record_estimate(self) -> None:
        """Set the quota headers of the response after a transaction, which does not return the counts."""
        if self.caller.is_agent:
            rate_limits.record_estimate(f"{self.caller.owner}#{self.agent_id}", self.rate_limit, self.now)

    def adapted_to(self, row: dynamodb.Row | None) -> "CheckIn":
        """The check-in to write instead, given the agent's item as it is stored.

        Raises Unauthenticated, Forbidden, AgentNotFound, RateLimited, OtherInstance or NotActiveInstance if the call
        must be rejected.
        """
        if row is None or row["state"] == REMOVED:
            raise Unauthenticated(REVOKED) if self.caller.is_agent else AgentNotFound
        promoting = False
        if self.caller.is_agent:
            promoting = row.get("nextVer") == self.caller.ver
            if row["ver"] != self.caller.ver and not promoting:
                raise Unauthenticated(REVOKED)
            if promoting and has_lapsed(self.caller.issued_at, self.now):
                raise Unauthenticated(LAPSED)
            rate_limits.raise_if_exhausted(row["calls"], self.rate_limit, self.now, self.caller.id)
            if self.capabilities is not None:
                within_permit("capabilities", self.capabilities, row.get("permitted"))
        other = row.get("instance")
        checks_instance = self.instance_id is not None or self.renewed_ver is not None
        if checks_instance and other and other["id"] != self.instance_id and other["at"] >= self.now - INACTIVE_AFTER:
            raise OtherInstance if self.renewed_ver is None else NotActiveInstance
        return self._replace(reactivating=row["state"] == "inactive", promoting_token=promoting)


@dynamodb.clause
def _record_seen(now: int, shard: int, check_at: int) -> Any:
    return [AgentRow.seen_at.set(now), AgentRow.check_shard.set(shard), AgentRow.check_at.set(check_at)]


def _permits(capabilities: Sequence[str]) -> dynamodb.Clause:
    """A condition: the agent may declare these capabilities."""
    each = [dynamodb.contains(AgentRow.permitted_capabilities, name) for name in capabilities]
    return dynamodb.not_exists(AgentRow.permitted_capabilities) | reduce(and_, each)


@dynamodb.clause
def _no_other_instance(instance_id: str, since: int) -> Any:
    """A condition: no other process of the agent has called since then."""
    stored = AgentRow.instance
    return stored.does_not_exist() | (stored["id"] == instance_id) | (stored["at"] < since)


def save_heartbeat(
    check_in: CheckIn, reported: Mapping[str, Any], running: Sequence[str] | None, process_id: str | None
) -> Agent:
    """Write a heartbeat: a check-in plus what the agent reports (`reported`: attribute name to value). One request.

    `running` contains the ids of the tasks that the process `process_id` reports as running. This report, the previous
    one and the process of the one before are stored, to detect tasks that the agent has lost.
    """
    actions = [dynamodb.set_value(getattr(AgentRow, name), value) for name, value in reported.items()]
    if running is None:
        actions += [dynamodb.remove(AgentRow.last_reported_tasks), dynamodb.remove(AgentRow.previous_reported_tasks)]
    else:
        report = {"at": check_in.now, "tasks": list(running)} | ({"process": process_id} if process_id else {})
        actions.append(_record_reported_tasks(report, {"at": 0, "tasks": []}))
    return check_in.save(actions)


@dynamodb.clause
def _record_reported_tasks(reported: Any, never: Any) -> Any:
    last, previous = AgentRow.last_reported_tasks, AgentRow.previous_reported_tasks
    earlier = AgentRow.earlier_process_id.set(previous["process"] | _NO_ID)
    return [earlier, previous.set(last | never), last.set(reported)]
