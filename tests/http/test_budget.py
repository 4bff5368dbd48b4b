"""The budget of each call: its requests to DynamoDB and SQS, counted where botocore sends them.

Each row of the table of budgets in docs/performance.md has at least one test. The tests state the exact requests,
because an upper bound would hide a regression. Agents call with their own tokens, because the budget is about agents.
test_budget_routes.py has all other calls. test_figures.py has the units that all calls consume.
"""

from collections import Counter
from collections.abc import Callable
from functools import partial

import pytest

from chalicelib.core.settings import KB, MINUTE, settings
from chalicelib.orchestration.due_work import PAGE_SIZE
from infra.local.event_poller import EventPoller
from tests.conftest import Clock
from tests.http.budget_calls import CALLS, World, make_world
from tests.long import load
from tests.support import costs
from tests.support.client import Client
from tests.support.handlers import Handlers

CHECK_IN = "UpdateItem agents"
ADMIT_USER = ("GetItem credentials", "UpdateItem users")
QUERY_TASKS = "Query tasks"
READ_TASKS = "BatchGetItem tasks"
WRITE_AGENT_AND_TASKS = "TransactWriteItems agents+tasks"
WRITE_TASKS = "TransactWriteItems tasks"
COUNT_TASK = "UpdateItem tasks"
SEND_WORKFLOW_MESSAGE = "SendMessage workflow"
SEND_EVENT_MESSAGE = "SendMessage events"
# One query of each index is for the gauges, see chalicelib/orchestration/gauges.py.
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
    """The requests of a call, in their order."""
    return list(costs.measured(CALLS[name](world)).requests)


@pytest.mark.parametrize("name", [name for name in CALLS if name.startswith("heartbeat")])
def test_heartbeat_sends_one_request(world: World, name: str) -> None:
    assert requests(world, name) == [CHECK_IN]


IDLE = ["empty queue", "first of a minute", "others' queue", "runs a task"]


@pytest.mark.parametrize("name", [f"idle poll, {name}" for name in IDLE])
def test_idle_poll_sends_two_requests(world: World, name: str) -> None:
    assert requests(world, name) == [CHECK_IN, QUERY_TASKS]


@pytest.mark.parametrize("capabilities", ["1 capability", "3 capabilities"])
def test_idle_poll_of_a_long_queue_sends_one_query_for_each_capability(world: World, capabilities: str) -> None:
    assert requests(world, f"idle poll, long queue, {capabilities}") == [
        CHECK_IN,
        *[QUERY_TASKS] * int(capabilities[0]),
    ]


@pytest.mark.parametrize("name", ["poll that claims 1", "poll that claims 4"])
def test_poll_that_claims_sends_two_more_requests(world: World, name: str) -> None:
    assert requests(world, name) == [CHECK_IN, QUERY_TASKS, WRITE_AGENT_AND_TASKS, READ_TASKS]


def test_poll_that_finds_claims_sends_two_more_requests(world: World) -> None:
    assert requests(world, "poll that finds 1 claim") == [CHECK_IN, QUERY_TASKS, WRITE_TASKS, READ_TASKS]


def test_poll_that_claims_more_than_fits_sends_two_more_requests(world: World) -> None:
    world.queue_tasks(10, naturalLanguage="x" * 200 * KB)
    polled = costs.measured(world.agent().poll)
    assert polled.requests == (CHECK_IN, QUERY_TASKS, WRITE_AGENT_AND_TASKS, READ_TASKS)


def test_poll_of_an_agent_at_its_concurrency_limit_queries_no_queue(world: World) -> None:
    agent = world.agent(concurrency=1)
    world.claim_task(agent)
    assert costs.measured(agent.poll).requests == (CHECK_IN, WRITE_TASKS, READ_TASKS)


def test_only_an_agent_with_pinned_tasks_queries_its_own_queue(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """It sends one more request from the submission of a pinned task until a poll a minute later finds no such task.

    For a day after that, one poll in five minutes looks again, because the index may have been behind.
    """
    monkeypatch.setattr("random.random", lambda: 0.5)
    agent = world.agent()
    task_id = world.queue_tasks(agentId=agent.name)
    assert costs.measured(agent.poll).requests == (
        CHECK_IN,
        QUERY_TASKS,
        QUERY_TASKS,
        WRITE_AGENT_AND_TASKS,
        READ_TASKS,
    )
    agent.complete(task_id)
    world.clock.advance(61)
    assert costs.measured(agent.poll).requests == (CHECK_IN, QUERY_TASKS, CHECK_IN, QUERY_TASKS)
    assert costs.measured(agent.poll).requests == (CHECK_IN, QUERY_TASKS)
    monkeypatch.setattr("random.random", lambda: 5 / 300 - 0.001)
    assert costs.measured(agent.poll).requests == (CHECK_IN, QUERY_TASKS, QUERY_TASKS)
    monkeypatch.setattr("random.random", lambda: 5 / 300)
    assert costs.measured(agent.poll).requests == (CHECK_IN, QUERY_TASKS)
    monkeypatch.setattr("random.random", lambda: 0.0)
    world.clock.advance(24 * 3_600 - 62 - 30)
    assert costs.measured(agent.poll).requests[:3] == (CHECK_IN, QUERY_TASKS, QUERY_TASKS)
    world.clock.advance(60)
    assert costs.measured(agent.poll).requests == (CHECK_IN, QUERY_TASKS)


def test_progress_sends_two_requests(world: World) -> None:
    assert requests(world, "progress, the same step") == [CHECK_IN, "UpdateItem tasks"]


def test_progress_with_a_new_step_sends_two_requests(world: World) -> None:
    assert requests(world, "progress, a new step") == [CHECK_IN, WRITE_AGENT_AND_TASKS]


def test_first_progress_sends_two_requests_and_a_message(world: World) -> None:
    assert requests(world, "progress, the first") == [CHECK_IN, WRITE_AGENT_AND_TASKS, SEND_EVENT_MESSAGE]


@pytest.mark.parametrize("name", ["complete", "complete, never started", "fail"])
def test_final_report_sends_one_transaction_and_a_message(world: World, name: str) -> None:
    assert requests(world, name) == [WRITE_AGENT_AND_TASKS, SEND_EVENT_MESSAGE]


def test_failure_with_a_log_sends_one_more_read_write_and_transaction(world: World) -> None:
    assert requests(world, "fail with 300 KB of logs") == [
        WRITE_AGENT_AND_TASKS,
        SEND_EVENT_MESSAGE,
        "GetItem tasks",
        COUNT_TASK,
        WRITE_TASKS,
    ]


def test_submission_sends_four_requests_and_a_message(world: World) -> None:
    assert requests(world, "submit") == [*ADMIT_USER, COUNT_TASK, WRITE_TASKS, SEND_WORKFLOW_MESSAGE]


def test_submission_by_an_agent_sends_three_requests_and_a_message(world: World) -> None:
    writes = [CHECK_IN, COUNT_TASK, WRITE_AGENT_AND_TASKS]
    assert requests(world, "submit, by an agent") == [*writes, SEND_WORKFLOW_MESSAGE]


def test_pinned_submission_sends_four_requests_and_a_repeated_one_five(world: World) -> None:
    world.agent()
    pinned = costs.measured(lambda: world.submit(agentId="agent-1"))
    world.submitted -= 1
    repeated = costs.measured(lambda: world.submit(agentId="agent-1"))
    accepting = (*ADMIT_USER, COUNT_TASK, WRITE_AGENT_AND_TASKS)
    assert pinned.requests == (*accepting, SEND_WORKFLOW_MESSAGE)
    assert repeated.requests == (*accepting, COUNT_TASK, SEND_WORKFLOW_MESSAGE)


def test_first_submission_of_a_day_in_a_row_of_the_counts_sends_two_more_requests(world: World) -> None:
    world.clock.advance(86_400)
    world.user.get("/api/auth/me")  # the first call of a session in an hour sends one more request
    assert requests(world, "submit") == [
        *ADMIT_USER,
        COUNT_TASK,
        READ_TASKS,
        COUNT_TASK,
        WRITE_TASKS,
        SEND_WORKFLOW_MESSAGE,
    ]


def test_page_of_agents_sends_four_requests(world: World) -> None:
    assert requests(world, "page of agents") == [*ADMIT_USER, "Query agents", "BatchGetItem agents"]


@pytest.mark.parametrize("name", ["page of tasks", "page of tasks, by cursor"])
def test_page_of_tasks_sends_four_requests(world: World, name: str) -> None:
    assert requests(world, name) == [*ADMIT_USER, QUERY_TASKS, READ_TASKS]


def test_page_of_events_sends_four_requests(world: World) -> None:
    assert requests(world, "page of events") == [*ADMIT_USER, "GetItem tasks", QUERY_TASKS]


def test_page_sends_four_requests_with_every_filter(world: World) -> None:
    world.some_tasks()
    by_status, by_agent, by_intent = {"status": "completed"}, {"agentId": "agent-1"}, {"intent": "fix-bug"}
    filters = [by_status, by_agent, by_intent, by_status | by_agent, by_status | by_intent, by_agent | by_intent]
    filters += [by_status | by_agent | by_intent, by_status | {"offset": "1"}]
    for query in filters:
        listed = costs.measured(partial(world.user.get, "/api/tasks", query | {"limit": "2"}))
        assert listed.requests == (*ADMIT_USER, QUERY_TASKS, READ_TASKS), query
    for query in ({"status": "active"}, {"capability": "fix-bug"}, {"status": "active", "capability": "fix-bug"}):
        listed = costs.measured(partial(world.user.get, "/api/agents", query))
        assert listed.requests == (*ADMIT_USER, "Query agents", "BatchGetItem agents"), query


def test_page_sends_four_requests_when_few_of_many_rows_match(world: World) -> None:
    """By cursor. Pages by offset read up to a thousand rows for the total."""
    world.queue_tasks(intent="rare")
    world.queue_tasks(12, intent="common")
    world.queue_tasks(intent="rare")
    rare = {"status": "queued", "intent": "rare", "limit": 1}
    cursor = world.user.get("/api/tasks", rare).json()["nextCursor"]
    listed = costs.measured(lambda: world.user.get("/api/tasks", rare | {"cursor": cursor}))
    assert listed.requests in {
        (*ADMIT_USER, QUERY_TASKS, READ_TASKS),
        (*ADMIT_USER, QUERY_TASKS),
    }  # without matching tasks there is nothing to read


def test_idle_sweep_queries_each_shard_of_its_four_indexes_once(world: World) -> None:
    assert Counter(requests(world, "sweep, idle")) == IDLE_SWEEP


OVERDUE = {
    "sweep, 4 agents silent": {"GetItem agents": 4, "UpdateItem agents": 4, SEND_EVENT_MESSAGE: 4},
    "sweep, 4 claims ran out": {"GetItem tasks": 4, WRITE_AGENT_AND_TASKS: 4},
    "sweep, 4 messages lost": {"GetItem tasks": 4, WRITE_TASKS: 4, SEND_EVENT_MESSAGE: 4},
}


@pytest.mark.parametrize("name", OVERDUE)
def test_sweep_reads_and_writes_every_overdue_item_once(world: World, name: str) -> None:
    assert Counter(requests(world, name)) - IDLE_SWEEP == Counter(OVERDUE[name])


def test_sweep_queries_one_page_for_each_hundred_overdue_items_of_a_shard(world: World) -> None:
    silent = load.agent_rows(world.owner, 600, world.clock.now - 5 * MINUTE)
    of_one_shard = [row for row in silent if row[1]["checkShard"] == {"N": "0"}]
    load.load(None, of_one_shard[: PAGE_SIZE + 1])
    sweep = Handlers(world.poller._app).sweep  # with enough time, also on a slow machine
    queries = Counter(costs.measured(sweep).requests) & IDLE_SWEEP + Counter({"Query agents": 9})
    assert queries == IDLE_SWEEP + Counter({"Query agents": 1})
