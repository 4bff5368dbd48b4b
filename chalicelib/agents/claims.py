"""An agent's claims on tasks, as items of the transactions that change the tasks.

A claim is stored both on the task and on the agent, and both change in one transaction.
"""

from collections.abc import Mapping
from typing import Any

from chalicelib import dynamodb
from chalicelib.agents.entities import REMOVED, Agent, Claim
from chalicelib.agents.liveness import CheckIn
from chalicelib.agents.store import (
    accepts_intent,
    has_at_most_claims,
    has_no_rules,
    has_rules_version,
    is_registered,
)
from chalicelib.agents.tables import AgentRow, to_agent


def claim_item(agent: Agent, claims: Mapping[str, Claim], maximum: int, now: int) -> dynamodb.TransactItem:
    """An agent claims some tasks, which its rules admit.

    Fails if it would have more than `maximum` claims afterwards, or if its rules have changed since it was read.
    """
    actions = [_set_claim(task_id, _to_stored_claim(claim)) for task_id, claim in claims.items()]
    actions.append(dynamodb.set_value(AgentRow.worked_at, now))
    condition = _has_room(maximum - len(claims)) & has_rules_version(agent.rules_version)
    return dynamodb.transact_update(_row(agent.owner, agent.id), actions, condition)


def update_claim_item(owner: str, agent_id: str, task_id: str, claim: Claim) -> dynamodb.TransactItem:
    """An agent's claim changes: the task has started, or has a new step. Fails if the claim is on another attempt."""
    actions = [_set_claim(task_id, _to_stored_claim(claim))]
    return dynamodb.transact_update(_row(owner, agent_id), actions, _in_same_attempt(task_id, claim.attempt))


def end_claim_item(check_in: CheckIn, task_id: str) -> dynamodb.TransactItem:
    """A check-in that also ends the agent's claim on a task."""
    return check_in.as_transact_item([_remove_claim(task_id), dynamodb.set_value(AgentRow.worked_at, check_in.now)])


def release_claim_item(
    owner: str, agent_id: str, task_id: str, *, worked_at: int | None = None, claimable_at: int | None = None
) -> dynamodb.TransactItem:
    """An agent no longer has a claim on a task. Fails if the agent's row does not exist.

    `worked_at` is when the agent ended its work on the task. `claimable_at` is when the task became claimable again, if
    it is pinned to this agent.
    """
    actions = [_remove_claim(task_id)]
    if worked_at is not None:
        actions.append(dynamodb.set_value(AgentRow.worked_at, worked_at))
    if claimable_at is not None:
        actions.append(dynamodb.set_value(AgentRow.pinned_at, claimable_at))
    return dynamodb.transact_update(_row(owner, agent_id), actions, dynamodb.exists(AgentRow.owner))


def cancel_claim_item(owner: str, agent_id: str, task_id: str) -> dynamodb.TransactItem:
    """From now on every response to the agent asks it to stop the task. Fails if the agent has no claim on it."""
    return dynamodb.transact_update(_row(owner, agent_id), [_request_cancel(task_id)], _has_claim(task_id))


def accepts_pinned_task_check(
    owner: str, agent_id: str, intent: str, rules_version: str | None
) -> dynamodb.TransactItem:
    """Cancels the transaction if there is no such agent, if it does not accept the intent, or if its rules are not of
    this version. None: if it has rules.
    """
    rules = has_no_rules() if rules_version is None else has_rules_version(rules_version)
    condition = is_registered() & accepts_intent(intent) & rules
    return dynamodb.transact_check(_row(owner, agent_id), condition)


def registered_agent(row: dynamodb.Row | None) -> Agent | None:
    """The agent of a row that a cancelled transaction returned. None if there is no such agent."""
    return None if row is None or row["state"] == REMOVED else to_agent(row)


def pinned_task_item(owner: str, agent_id: str, now: int) -> dynamodb.TransactItem:
    """A task that is pinned to this agent became claimable. Fails if the agent does not exist."""
    return dynamodb.transact_update(
        _row(owner, agent_id), [dynamodb.set_value(AgentRow.pinned_at, now)], is_registered()
    )


def _row(owner: str, agent_id: str) -> dynamodb.Item:
    return dynamodb.item(AgentRow, owner=owner, agent_id=agent_id)


@dynamodb.clause
def _set_claim(task_id: str, claim: Any) -> Any:
    return [_claim(task_id).set(claim)]


@dynamodb.clause
def _remove_claim(task_id: str) -> Any:
    return [_claim(task_id).remove()]


@dynamodb.clause
def _request_cancel(task_id: str) -> Any:
    return [_claim(task_id)["cancel"].set(True)]


@dynamodb.clause
def _has_claim(task_id: str) -> Any:
    return _claim(task_id).exists()


@dynamodb.clause
def _in_same_attempt(task_id: str, attempt: int) -> Any:
    return _claim(task_id)["attempt"] == attempt


def _has_room(maximum: int) -> dynamodb.Clause:
    return is_registered() & has_at_most_claims(maximum)


def _claim(task_id: str) -> Any:
    return AgentRow.claims[task_id]


def _to_stored_claim(claim: Claim) -> dict[str, Any]:
    stored = {
        "attempt": claim.attempt,
        "timeout": claim.timeout,
        "claimedAt": claim.claimed_at,
        "startedAt": claim.started_at,
        "cancel": claim.cancel or None,
        "step": claim.step,
    }
    return {name: value for name, value in stored.items() if value is not None}
