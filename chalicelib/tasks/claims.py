"""GET /api/agents/{id}/commands: what an agent has claimed and not started, and what it may claim now."""

import random
from collections.abc import Sequence

from chalicelib import db, metrics
from chalicelib.agents import holds
from chalicelib.agents import service as agents
from chalicelib.agents.agent import MOST_HELD, Agent, Held
from chalicelib.agents.holds import Sign
from chalicelib.settings import KB, SECOND
from chalicelib.tasks import model, store, views
from chalicelib.tasks.task import Change, Task, expected
from chalicelib.tasks.views import Command, Commands

WINDOW = 20
"""How many of the first claimable tasks a poll chooses from once another agent has been quicker."""

PAGE = 50
"""A user's whole queue is read in one request up to this length; beyond it, one request a capability."""

ANSWER_LIMIT = 1024 * KB
INDEX_LAG = 60 * SECOND
_ROUNDS = 5


def poll(sign: Sign, limit: int) -> Commands:
    """The agent's claims, renewed, and new ones up to `limit` in all; oldest and highest priority first.

    Two requests where there is nothing to claim, four where there is.
    """
    agent = sign.show()
    held = [_claimed(agent, task, hold) for task, hold in agent.held.items() if hold.started_at is None]
    room = agent.room(limit)
    queued = _claimable(agent, room, sign.now) if room else []
    claimed = _take(agent, held, queued, room, sign)
    commands = _described(agent, claimed, limit)
    return Commands(commands=commands, next_poll_interval=_interval(agent, commands, sign.now))


def _claimed(agent: Agent, task: str, hold: Held) -> Task:
    return expected(agent.owner, task, "assigned", agent=agent.id, attempt=hold.attempt, claimed_at=hold.claimed_at)


def _claimable(agent: Agent, room: int, now: int) -> list[Task]:
    """What this agent could claim, best first: pinned to it or to nobody, and of an intent that it can do."""
    able = agent.capabilities
    found: list[Task] = []
    if agent.pinned_at is not None:
        pinned, _ = store.claimable(f"{agent.owner}@{agent.id}", PAGE)
        if not pinned and now - agent.pinned_at > INDEX_LAG:
            agents.forget_pinned(agent)
        found += [task for task in pinned if task.intent in able]
    if able:
        found += _shared(agent.owner, sorted(able), max(WINDOW, room))
    return sorted(found, key=lambda task: (-task.priority, task.created_at or 0))


def _shared(owner: str, able: list[str], many: int) -> list[Task]:
    """What waits for anybody who can do one of these intents (sorted); at least the `many` best of each.

    The queue's index is ordered by intent. One page of it, from the first intent to the last, is all there is, or all
    there is of the intents before the one that it ends in; only from that one on is each asked for by itself.
    """
    queued, all_of_it = store.claimable(owner, PAGE, able[0], able[-1])
    if all_of_it:
        return [task for task in queued if task.intent in able]
    last = queued[-1].intent or ""
    apart = [intent for intent in able if intent > last or (intent == last != able[0])]
    found = [task for task in queued if task.intent in able and task.intent not in apart]
    for intent in apart:
        found += store.claimable(owner, many, intent, intent)[0]
    return found


def _take(agent: Agent, held: list[Task], queued: list[Task], room: int, sign: Sign) -> list[Task]:
    """Renew the claims held and claim of the queued, in one transaction.

    Where others were quicker, what they took is left out and the choice among the rest is made by chance and halved:
    fifty agents that saw the same head of a queue then spread over it.
    """
    chosen = queued[:room]
    for tried in range(1, _ROUNDS + 1):
        renewals = [model.renew(task, sign.now) for task in held]
        claims = [model.claim(task, agent.id, sign.now) for task in chosen]
        if not renewals and not claims:
            return []
        try:
            _write(agent, renewals, claims, sign)
        except _Beaten as beaten:
            if beaten.agent_busy:  # another poll of this same agent: what it claims, the next poll shows
                return []
            held = [task for task in held if task.id not in beaten.tasks]
            queued = [task for task in queued if task.id not in beaten.tasks]
            many = max(1, room >> tried) if chosen else 0
            window = queued[: max(WINDOW, many)]
            chosen = random.sample(window, min(many, len(window)))  # to spread, not to hide
            continue
        for claim in claims:
            metrics.note("Claims")
            metrics.note("DispatchLatency", max(0, sign.now - (claim.before.updated_at or sign.now)))
        return [change.after for change in (*renewals, *claims)]
    return []


class _Beaten(Exception):
    """Some expectations were wrong: `tasks` changed meanwhile."""

    def __init__(self, tasks: set[str], *, agent_busy: bool) -> None:
        self.tasks, self.agent_busy = tasks, agent_busy
        super().__init__()


def _write(agent: Agent, renewals: Sequence[Change], claims: Sequence[Change], sign: Sign) -> None:
    parts: list[db.Part] = []
    about: list[str | None] = []
    if claims:
        taken = {
            change.after.id: Held(attempt=change.after.attempt, timeout=change.after.timeout, claimed_at=sign.now)
            for change in claims
        }
        most = min(agent.concurrency or MOST_HELD, MOST_HELD)
        parts.append(holds.hold(agent.owner, agent.id, taken, most, sign.now))
        about.append(None)
    for change in (*renewals, *claims):
        saved = store.save(change)
        parts += saved
        about += [change.after.id] * len(saved)
    try:
        db.write(*parts)
    except db.Cancelled as cancelled:
        changed = {about[index] for index in cancelled.rows}
        raise _Beaten({task for task in changed if task is not None}, agent_busy=None in changed) from None


def _described(agent: Agent, claimed: Sequence[Task], limit: int) -> list[Command]:
    """The commands for these claims, best first; no more than an answer can carry (the rest comes with the next)."""
    if not claimed:
        return []
    found = store.load_bodies(agent.owner, [task.id for task in claimed])
    mine = [(task, body) for task, body in found.values() if task.agent == agent.id and task.status == "assigned"]
    mine.sort(key=lambda pair: (-pair[0].priority, pair[0].created_at or 0))
    commands: list[Command] = []
    size = 0
    for task, body in mine[:limit]:
        command = views.command(task, body)
        size += len(command.model_dump_json().encode())
        if commands and size > ANSWER_LIMIT:
            break
        commands.append(command)
    return commands


def _interval(agent: Agent, commands: Sequence[Command], now: int) -> int:
    return agent.poll_interval(now) if not commands else agent.model_copy(update={"worked_at": now}).poll_interval(now)
