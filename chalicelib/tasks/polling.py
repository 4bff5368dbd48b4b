"""GET /api/agents/{id}/commands: an agent's poll, which renews its claims and claims further tasks."""

import random
from collections.abc import Sequence

from chalicelib import dynamodb
from chalicelib.agents import service as agents
from chalicelib.agents.claims import claim_item
from chalicelib.agents.entities import MAX_CLAIMS, Agent, Claim
from chalicelib.agents.liveness import CheckIn
from chalicelib.agents.rules import rejection
from chalicelib.core import metrics
from chalicelib.core.settings import KB, SECOND
from chalicelib.core.threads import run_concurrently
from chalicelib.tasks import lifecycle, partitions, responses, restricted_search, rules, store
from chalicelib.tasks.entities import Task, Transition, expected
from chalicelib.tasks.responses import Command, PollResponse

WINDOW = 20
"""From how many of the first claimable tasks a poll chooses at random after it lost a race against another agent."""

PAGE_SIZE = 50
"""A user's queue up to this length is read in one request. A longer queue takes further requests, one per intent."""

RESPONSE_LIMIT = 1024 * KB
INDEX_LAG = 60 * SECOND
"""How long after a task became claimable the index of queued tasks usually contains it. Every poll looks for a pinned
task this long; after that, some polls do."""
_MAX_ROUNDS = 5


def poll(check_in: CheckIn, limit: int) -> PollResponse:
    """Renew the agent's claims and claim further tasks, up to `limit` claims. Highest priority first, then oldest.

    Two requests if there is nothing to claim, four if there is, and one more for each further partition of the queue,
    which are read at the same time. If the agent's claims change during the poll, because a
    task starts or ends or because another poll claims, the poll reads the agent again and continues from there. So a
    slot that becomes free during a poll does not stay empty until the next one.
    """
    agent, commands = check_in.save(), list[Command]()
    for _ in range(_MAX_ROUNDS):
        claimed = _renew_and_claim(agent, limit, check_in)
        if claimed is not None:
            commands, unchanged = _to_commands(agent, claimed, limit, check_in.now)
            if unchanged:
                break
        current = agents.load_agent(agent.owner, agent.id)
        if current is None or current.ver != agent.ver:  # the agent was removed, or the token of this poll was revoked
            break
        agent = current
    return PollResponse(commands=commands, next_poll_interval=_next_poll_interval(agent, commands, check_in.now))


def _expected_task(agent: Agent, task_id: str, claim: Claim) -> Task:
    return expected(
        agent.owner, task_id, "assigned", agent_id=agent.id, attempt=claim.attempt, claimed_at=claim.claimed_at
    )


def _find_claimable(agent: Agent, free_slots: int, now: int) -> list[Task]:
    """Queued tasks of the agent's intents that are pinned to it or to no agent. Highest priority first, then oldest."""
    intents = agent.capabilities
    found: list[Task] = []
    if agent.looks_for_pinned_tasks(now, random.random()):  # noqa: S311  # to spread the requests, not to hide
        pinned, _ = store.find_claimable(f"{agent.owner}@{agent.id}", PAGE_SIZE)
        agents.record_pinned_search(agent, now, found=bool(pinned), index_lag=INDEX_LAG, max_wait=rules.MAX_QUEUE_TIME)
        found += [task for task in pinned if task.intent in intents]
    if intents:
        queues, minimum = partitions.queue_keys(agent.owner), max(WINDOW, free_slots)
        for tasks in run_concurrently(lambda queue: _find_shared(queue, sorted(intents), minimum), queues, len(queues)):
            found += tasks
    return sorted(found, key=lambda task: (-task.priority, task.created_at or 0))


def _find_shared(queue: str, intents: list[str], minimum: int) -> list[Task]:
    """Tasks of these intents (sorted) in a queue: of each intent at least the first `minimum` ones.

    The queue's index is ordered by intent. The first request reads one page, from the first intent to the last. If the
    page is full, it contains everything of the intents before the one in which it ends. Each intent from that one on is
    then read with a request of its own.
    """
    queued, complete = store.find_claimable(queue, PAGE_SIZE, intents[0], intents[-1])
    if complete:
        return [task for task in queued if task.intent in intents]
    last = queued[-1].intent or ""
    incomplete = [intent for intent in intents if intent > last or (intent == last != intents[0])]
    found = [task for task in queued if task.intent in intents and task.intent not in incomplete]
    for intent in incomplete:
        found += store.find_claimable(queue, minimum, intent, intent)[0]
    return found


def _find_admitted(agent: Agent, free_slots: int, now: int) -> list[Task]:
    """The same as `_find_claimable` for an agent with rules, which admit the tasks. At most two requests for each page,
    and one if the search of a long queue has to be continued by the next poll.
    """
    shared = partitions.queue_keys(agent.owner) if agent.capabilities else []
    queues = {f"shared{number or ''}": queue for number, queue in enumerate(shared)}
    pages = max(restricted_search.MIN_PAGES, restricted_search.MAX_PAGES // max(1, len(shared)))
    if agent.looks_for_pinned_tasks(now, random.random()):  # noqa: S311  # to spread the requests, not to hide
        queues["pinned"] = f"{agent.owner}@{agent.id}"
    enough, known = max(WINDOW, free_slots), agent.search_positions

    def search(name: str) -> restricted_search.Found:
        return restricted_search.search(
            agent, queues[name], enough, known.get(name), whole=name == "pinned", pages=pages
        )

    found: list[Task] = []
    positions = {name: position for name, position in known.items() if name not in queues}
    results = run_concurrently(search, list(queues), max(1, len(shared)))
    for name, result in zip(queues, results, strict=True):
        found += result.tasks
        if result.position is not None:
            positions[name] = result.position
        if name == "pinned":
            is_found = not result.is_empty
            agents.record_pinned_search(agent, now, found=is_found, index_lag=INDEX_LAG, max_wait=rules.MAX_QUEUE_TIME)
    agents.record_search_positions(agent, positions)
    return sorted(found, key=lambda task: (-task.priority, task.created_at or 0))


def _renew_and_claim(agent: Agent, limit: int, check_in: CheckIn) -> list[Task] | None:
    """Renew the agent's claims and claim further tasks, in one transaction. Returns the tasks.

    Returns None if the agent's claims are not as `agent` has them.

    If other agents claimed some of the tasks first, the next round leaves these out. It chooses at random from the
    rest, and half as many. So fifty agents that read the same beginning of a queue spread over it.
    """
    renewals = [
        rules.renew_claim(_expected_task(agent, task_id, claim), check_in.now)
        for task_id, claim in agent.claims.items()
        if claim.started_at is None
    ]
    free_slots = agent.free_slots(limit)
    find = _find_admitted if agent.has_rules else _find_claimable
    queued = find(agent, free_slots, check_in.now) if free_slots else []
    chosen = queued[:free_slots]
    for round_number in range(1, _MAX_ROUNDS + 1):
        new_claims = [rules.claim(task, agent.id, check_in.now) for task in chosen]
        if not renewals and not new_claims:
            return []
        try:
            _save_claims(agent, renewals, new_claims, check_in)
        except _ClaimConflict as conflict:
            if conflict.agent_changed:
                return None
            queued = [task for task in queued if task.id not in conflict.task_ids]
            count = max(1, free_slots >> round_number) if chosen else 0
            window = queued[: max(WINDOW, count)]
            chosen = random.sample(window, min(count, len(window)))  # to spread, not to hide
            continue
        for claim in new_claims:
            metrics.record("Claims")
            metrics.record("DispatchLatency", max(0, check_in.now - (claim.before.updated_at or check_in.now)))
        return [transition.after for transition in (*renewals, *new_claims)]
    return []


class _ClaimConflict(Exception):
    """The queued tasks with these ids are not as expected. `agent_changed`: the agent or its claims are not."""

    def __init__(self, task_ids: set[str], *, agent_changed: bool) -> None:
        self.task_ids, self.agent_changed = task_ids, agent_changed
        super().__init__()


def _save_claims(
    agent: Agent, renewals: Sequence[Transition], new_claims: Sequence[Transition], check_in: CheckIn
) -> None:
    """Write all renewals and claims in one transaction. Raises _ClaimConflict."""
    items: list[dynamodb.TransactItem] = []
    item_task_ids: list[str | None] = []  # None: the item is the agent's, or of a task that it has claimed
    if new_claims:
        claims = {
            each.after.id: Claim(attempt=each.after.attempt, timeout=each.after.timeout, claimed_at=check_in.now)
            for each in new_claims
        }
        maximum = min(agent.concurrency or MAX_CLAIMS, MAX_CLAIMS)
        items.append(claim_item(agent, claims, maximum, check_in.now))
        item_task_ids.append(None)
    for transition in (*renewals, *new_claims):
        task_items = store.transition_items(transition)
        items += task_items
        queued_task_id = transition.after.id if transition.before.status == "queued" else None
        item_task_ids += [queued_task_id] * len(task_items)
    try:
        dynamodb.transact_write(*items)
    except dynamodb.TransactionCancelled as cancelled:
        changed = {item_task_ids[index] for index in cancelled.rows}
        raise _ClaimConflict(
            {task_id for task_id in changed if task_id is not None}, agent_changed=None in changed
        ) from None


def _to_commands(agent: Agent, claimed: Sequence[Task], limit: int, now: int) -> tuple[list[Command], bool]:
    """The commands for these claims, in the order of `poll`, and whether all of these claims are still unstarted.

    The next poll returns the commands that exceed the size limit. A task whose description is no longer stored fails. A
    task that the agent's rules do not admit any more returns to the queue.
    """
    if not claimed:
        return [], True
    found = store.load_with_bodies(agent.owner, [task.id for task in claimed])
    unstarted = [
        (task, body) for task, body in found.values() if task.agent_id == agent.id and task.status == "assigned"
    ]
    unstarted.sort(key=lambda pair: (-pair[0].priority, pair[0].created_at or 0))
    commands: list[Command] = []
    unchanged = len(unstarted) == len(claimed)
    size = 0
    for task, body in unstarted[:limit]:
        if body is None:
            lifecycle.fail_without_description(task.owner, task.id, agent.id, now)
            unchanged = False
            continue
        if rejection(agent, task.repo or "", task.submitter) is not None:
            lifecycle.release_claim(task.owner, task.id, agent.id, "The agent's rules do not admit the task", now)
            unchanged = False
            continue
        command = responses.to_command(task, body)
        size += len(command.model_dump_json().encode())
        if commands and size > RESPONSE_LIMIT:
            break
        commands.append(command)
    return commands, unchanged


def _next_poll_interval(agent: Agent, commands: Sequence[Command], now: int) -> int:
    return agent.poll_interval(now) if not commands else agent.model_copy(update={"worked_at": now}).poll_interval(now)
