"""The budget: what a call costs in requests to DynamoDB and SQS, counted where botocore sends.

At least one test per row of the budgets' table in docs/performance.md, each with the exact requests: a bound would
hide a loss. Agents call with their own tokens here, since agents are whom the budget is about.
test_budget_routes.py has all other calls, test_figures.py the units that all consume.
"""

from collections import Counter
from collections.abc import Callable
from functools import partial

import pytest

from chalicelib.core.settings import KB, MINUTE, settings
from chalicelib.orchestration.sweep import PAGE_SIZE
from infra.local.event_poller import EventPoller
from tests.conftest import Clock
from tests.http.budget_calls import CALLS, World, make_world
from tests.long import load
from tests.support import costs
from tests.support.client import Client

SHOW = "UpdateItem agents"
COUNT = "UpdateItem users"
LOOK = "Query tasks"
BODIES = "BatchGetItem tasks"
CHANGE = "TransactWriteItems agents+tasks"
CHANGE_TASKS = "TransactWriteItems tasks"
SEND = "SendMessage workflow"
ANNOUNCE = "SendMessage events"
# One of each index is for the figures that it tells, see chalicelib/orchestration/gauges.py.
IDLE_SWEEP = Counter(
    {
        "UpdateItem tasks": 1,
        "Query agents": 3 * settings.shards,
        "Query tasks": 2 * settings.shards,
        "Query webhooks": settings.shards,
    }
)

MakeUser = Callable[..., Client]


@pytest.fixture
def world(user: Client, poller: EventPoller, clock: Clock) -> World:
    return make_world(user, poller, clock)


def requests(world: World, name: str) -> list[str]:
    """What a call sends, in order."""
    return list(costs.measured(CALLS[name](world)).requests)


@pytest.mark.parametrize("name", [name for name in CALLS if name.startswith("heartbeat")])
def test_heartbeat_sends_one_request(world: World, name: str) -> None:
    assert requests(world, name) == [SHOW]


IDLE = ["empty queue", "first of a minute", "others' queue", "runs a task"]


@pytest.mark.parametrize("name", [f"idle poll, {name}" for name in IDLE])
def test_idle_poll_sends_two_requests(world: World, name: str) -> None:
    assert requests(world, name) == [SHOW, LOOK]


@pytest.mark.parametrize("capabilities", ["1 capability", "3 capabilities"])
def test_idle_poll_of_a_long_queue_sends_one_query_for_each_capability(world: World, capabilities: str) -> None:
    assert requests(world, f"idle poll, long queue, {capabilities}") == [SHOW, *[LOOK] * int(capabilities[0])]


@pytest.mark.parametrize("name", ["poll that claims 1", "poll that claims 4"])
def test_poll_that_claims_sends_two_more_requests(world: World, name: str) -> None:
    assert requests(world, name) == [SHOW, LOOK, CHANGE, BODIES]


def test_poll_that_finds_claims_sends_two_more_requests(world: World) -> None:
    assert requests(world, "poll that finds 1 claim") == [SHOW, LOOK, CHANGE_TASKS, BODIES]


def test_poll_that_claims_more_than_fits_sends_two_more_requests(world: World) -> None:
    world.queued(10, naturalLanguage="x" * 200 * KB)
    polled = costs.measured(world.agent().poll)
    assert polled.requests == (SHOW, LOOK, CHANGE, BODIES)


def test_poll_of_an_agent_at_its_concurrency_limit_queries_no_queue(world: World) -> None:
    agent = world.agent(concurrency=1)
    world.claimed(agent)
    assert costs.measured(agent.poll).requests == (SHOW, CHANGE_TASKS, BODIES)


def test_only_an_agent_with_pinned_tasks_queries_its_own_queue(world: World) -> None:
    """One request more, from the announcement of a pinned task until its queue was found empty a minute later."""
    agent = world.agent()
    task = world.queued(agentId=agent.name)
    assert costs.measured(agent.poll).requests == (SHOW, LOOK, LOOK, CHANGE, BODIES)
    agent.complete(task)
    world.clock.advance(61)
    assert costs.measured(agent.poll).requests == (SHOW, LOOK, SHOW, LOOK)
    assert costs.measured(agent.poll).requests == (SHOW, LOOK)


def test_progress_sends_two_requests(world: World) -> None:
    assert requests(world, "progress, the same step") == [SHOW, "UpdateItem tasks"]


def test_progress_with_a_new_step_sends_two_requests(world: World) -> None:
    assert requests(world, "progress, a new step") == [SHOW, CHANGE]


def test_first_progress_sends_two_requests_and_a_message(world: World) -> None:
    assert requests(world, "progress, the first") == [SHOW, CHANGE, ANNOUNCE]


@pytest.mark.parametrize("name", ["complete", "complete, never started", "fail"])
def test_final_report_sends_one_transaction_and_a_message(world: World, name: str) -> None:
    assert requests(world, name) == [CHANGE, ANNOUNCE]


def test_failure_with_a_log_sends_one_more_read_and_transaction(world: World) -> None:
    assert requests(world, "fail with 300 KB of logs") == [CHANGE, ANNOUNCE, "GetItem tasks", CHANGE_TASKS]


def test_submission_sends_two_requests_and_a_message(world: World) -> None:
    assert requests(world, "submit") == [COUNT, CHANGE_TASKS, SEND]


def test_submission_by_an_agent_sends_two_requests_and_a_message(world: World) -> None:
    assert requests(world, "submit, by an agent") == [SHOW, "TransactWriteItems tasks+users", SEND]


def test_pinned_or_repeated_submission_sends_two_requests_and_a_message(world: World) -> None:
    world.agent()
    pinned = costs.measured(lambda: world.submit(agentId="agent-1"))
    world.submitted -= 1
    again = costs.measured(lambda: world.submit(agentId="agent-1"))
    assert pinned.requests == again.requests == (COUNT, CHANGE, SEND)


def test_page_of_agents_sends_three_requests(world: World) -> None:
    assert requests(world, "page of agents") == [COUNT, "Query agents", "BatchGetItem agents"]


@pytest.mark.parametrize("name", ["page of tasks", "page of tasks, by cursor"])
def test_page_of_tasks_sends_three_requests(world: World, name: str) -> None:
    assert requests(world, name) == [COUNT, LOOK, BODIES]


def test_page_of_events_sends_three_requests(world: World) -> None:
    assert requests(world, "page of events") == [COUNT, "GetItem tasks", LOOK]


def test_page_sends_three_requests_with_every_filter(world: World) -> None:
    world.some_tasks()
    by_status, by_agent, by_intent = {"status": "completed"}, {"agentId": "agent-1"}, {"intent": "fix-bug"}
    filters = [by_status, by_agent, by_intent, by_status | by_agent, by_status | by_intent, by_agent | by_intent]
    filters += [by_status | by_agent | by_intent, by_status | {"offset": "1"}]
    for wanted in filters:
        listed = costs.measured(partial(world.user.get, "/api/tasks", wanted | {"limit": "2"}))
        assert listed.requests == (COUNT, LOOK, BODIES), wanted
    for wanted in ({"status": "active"}, {"capability": "fix-bug"}, {"status": "active", "capability": "fix-bug"}):
        listed = costs.measured(partial(world.user.get, "/api/agents", wanted))
        assert listed.requests == (COUNT, "Query agents", "BatchGetItem agents"), wanted


def test_page_sends_three_requests_when_few_of_many_rows_match(world: World) -> None:
    """By cursor, where no thousand rows are looked at for a total."""
    world.queued(intent="rare")
    world.queued(12, intent="common")
    world.queued(intent="rare")
    rare = {"status": "queued", "intent": "rare", "limit": 1}
    cursor = world.user.get("/api/tasks", rare).json()["nextCursor"]
    listed = costs.measured(lambda: world.user.get("/api/tasks", rare | {"cursor": cursor}))
    assert listed.requests in {(COUNT, LOOK, BODIES), (COUNT, LOOK)}  # with none to show there is none to read


def test_idle_sweep_queries_each_shard_of_its_four_indexes_once(world: World) -> None:
    assert Counter(requests(world, "sweep, idle")) == IDLE_SWEEP


DUE = {
    "sweep, 4 agents silent": {"GetItem agents": 4, "UpdateItem agents": 4, ANNOUNCE: 4},
    "sweep, 4 claims ran out": {"GetItem tasks": 4, CHANGE: 4},
    "sweep, 4 messages lost": {"GetItem tasks": 4, CHANGE_TASKS: 4, SEND: 4},
}


@pytest.mark.parametrize("name", DUE)
def test_sweep_reads_and_writes_every_overdue_item_once(world: World, name: str) -> None:
    assert Counter(requests(world, name)) - IDLE_SWEEP == Counter(DUE[name])


def test_sweep_queries_one_page_for_each_hundred_overdue_items_of_a_shard(world: World) -> None:
    silent = load.agent_rows(world.owner, 600, world.clock.now - 5 * MINUTE)
    of_one_shard = [row for row in silent if row[1]["checkShard"] == {"N": "0"}]
    load.load(None, of_one_shard[: PAGE_SIZE + 1])
    queries = Counter(costs.measured(world.poller.sweep).requests) & IDLE_SWEEP + Counter({"Query agents": 9})
    assert queries == IDLE_SWEEP + Counter({"Query agents": 1})
