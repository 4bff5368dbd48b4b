"""GET /api/agents/{id}/commands: what an agent has claimed and not started, and what it may claim now."""

import random
from collections.abc import Sequence

from chalicelib import dynamodb
from chalicelib.agents import service as agents
from chalicelib.agents.claims import claim_item
from chalicelib.agents.entities import MAX_CLAIMS, Agent, Claim
from chalicelib.agents.liveness import CheckIn
from chalicelib.core import metrics
from chalicelib.core.settings import KB, SECOND
from chalicelib.tasks import responses, rules, store
from chalicelib.tasks.entities import Task, Transition, expected
from chalicelib.tasks.responses import Command, PollResponse

WINDOW = 20
"""How many of the first claimable tasks a poll chooses from once another agent has been quicker."""

PAGE_SIZE = 50
"""A user's whole queue is read in one request up to this length; beyond it, one request a capability."""

RESPONSE_LIMIT = 1024 * KB
INDEX_LAG = 60 * SECOND
_MAX_ROUNDS = 5


def poll(check_in: CheckIn, limit: int) -> PollResponse:
    """The agent's claims, renewed, and new ones up to `limit` in all; oldest and highest priority first.

    Two requests where there is nothing to claim, four where there is.
    """
    agent = check_in.save()
    held = [_expected_claim(agent, task_id, hold) for task_id, hold in agent.claims.items() if hold.started_at is None]
    room = agent.free_slots(limit)
    queued = _find_claimable(agent, room, check_in.now) if room else []
    claimed = _renew_and_claim(agent, held, queued, room, check_in)
    commands = _to_commands(agent, claimed, limit)
    return PollResponse(commands=commands, next_poll_interval=_next_poll_interval(agent, commands, check_in.now))


def _expected_claim(agent: Agent, task_id: str, hold: Claim) -> Task:
    return expected(
        agent.owner, task_id, "assigned", agent_id=agent.id, attempt=hold.attempt, claimed_at=hold.claimed_at
    )


def _find_claimable(agent: Agent, room: int, now: int) -> list[Task]:
    """What this agent could claim, best first: pinned to it or to nobody, and of an intent that it can do."""
    able = agent.capabilities
    found: list[Task] = []
    if agent.pinned_at is not None:
        pinned, _ = store.find_claimable(f"{agent.owner}@{agent.id}", PAGE_SIZE)
        if not pinned and now - agent.pinned_at > INDEX_LAG:
            agents.forget_pinned(agent)
        found += [task for task in pinned if task.intent in able]
    if able:
        found += _find_shared(agent.owner, sorted(able), max(WINDOW, room))
    return sorted(found, key=lambda task: (-task.priority, task.created_at or 0))


def _find_shared(owner: str, intents: list[str], minimum: int) -> list[Task]:
    """What waits for anybody who can do one of these intents (sorted); at least the `many` best of each.

    The queue's index is ordered by intent. One page of it, from the first intent to the last, is all there is, or all
    there is of the intents before the one that it ends in; only from that one on is each asked for by itself.
    """
    queued, all_of_it = store.find_claimable(owner, PAGE_SIZE, intents[0], intents[-1])
    if all_of_it:
        return [task for task in queued if task.intent in intents]
    last = queued[-1].intent or ""
    apart = [intent for intent in intents if intent > last or (intent == last != intents[0])]
    found = [task for task in queued if task.intent in intents and task.intent not in apart]
    for intent in apart:
        found += store.find_claimable(owner, minimum, intent, intent)[0]
    return found


def _renew_and_claim(agent: Agent, held: list[Task], queued: list[Task], room: int, check_in: CheckIn) -> list[Task]:
    """Renew the claims held and claim of the queued, in one transaction.

    Where others were quicker, what they took is left out and the choice among the rest is made by chance and halved:
    fifty agents that saw the same head of a queue then spread over it.
    """
    chosen = queued[:room]
    for tried in range(1, _MAX_ROUNDS + 1):
        renewals = [rules.renew_claim(task, check_in.now) for task in held]
        claims = [rules.claim(task, agent.id, check_in.now) for task in chosen]
        if not renewals and not claims:
            return []
        try:
            _save_claims(agent, renewals, claims, check_in)
        except _ClaimConflict as beaten:
            if beaten.agent_busy:  # another poll of this same agent: what it claims, the next poll shows
                return []
            held = [task for task in held if task.id not in beaten.tasks]
            queued = [task for task in queued if task.id not in beaten.tasks]
            many = max(1, room >> tried) if chosen else 0
            window = queued[: max(WINDOW, many)]
            chosen = random.sample(window, min(many, len(window)))  # to spread, not to hide
            continue
        for claim in claims:
            metrics.record("Claims")
            metrics.record("DispatchLatency", max(0, check_in.now - (claim.before.updated_at or check_in.now)))
        return [transition.after for transition in (*renewals, *claims)]
    return []


class _ClaimConflict(Exception):
    """Some expectations were wrong: `tasks` changed meanwhile."""

    def __init__(self, tasks: set[str], *, agent_busy: bool) -> None:
        self.tasks, self.agent_busy = tasks, agent_busy
        super().__init__()


def _save_claims(agent: Agent, renewals: Sequence[Transition], claims: Sequence[Transition], check_in: CheckIn) -> None:
    parts: list[dynamodb.TransactItem] = []
    about: list[str | None] = []
    if claims:
        taken = {
            change.after.id: Claim(attempt=change.after.attempt, timeout=change.after.timeout, claimed_at=check_in.now)
            for change in claims
        }
        most = min(agent.concurrency or MAX_CLAIMS, MAX_CLAIMS)
        parts.append(claim_item(agent.owner, agent.id, taken, most, check_in.now))
        about.append(None)
    for transition in (*renewals, *claims):
        saved = store.transition_items(transition)
        parts += saved
        about += [transition.after.id] * len(saved)
    try:
        dynamodb.transact_write(*parts)
    except dynamodb.TransactionCancelled as cancelled:
        changed = {about[index] for index in cancelled.rows}
        raise _ClaimConflict(
            {task_id for task_id in changed if task_id is not None}, agent_busy=None in changed
        ) from None


def _to_commands(agent: Agent, claimed: Sequence[Task], limit: int) -> list[Command]:
    """The commands for these claims, best first; no more than an answer can carry (the rest comes with the next)."""
    if not claimed:
        return []
    found = store.load_with_bodies(agent.owner, [task.id for task in claimed])
    mine = [(task, body) for task, body in found.values() if task.agent_id == agent.id and task.status == "assigned"]
    mine.sort(key=lambda pair: (-pair[0].priority, pair[0].created_at or 0))
    commands: list[Command] = []
    size = 0
    for task, body in mine[:limit]:
        command = responses.to_command(task, body)
        size += len(command.model_dump_json().encode())
        if commands and size > RESPONSE_LIMIT:
            break
        commands.append(command)
    return commands


def _next_poll_interval(agent: Agent, commands: Sequence[Command], now: int) -> int:
    return agent.poll_interval(now) if not commands else agent.model_copy(update={"worked_at": now}).poll_interval(now)
