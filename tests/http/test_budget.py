"""The budget: what a call costs in requests to DynamoDB and SQS, counted where botocore sends.

One test per row of the budget's table in docs/architecture.md, each with the exact requests: a bound would hide a
loss. Agents call with their own tokens here, since agents are whom the budget is about. The last test runs the same
calls on DynamoDB Local and prints what they consume there.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from chalicelib.agents.model import INACTIVE_AFTER
from chalicelib.settings import KB, MINUTE, SECOND, settings
from infra.local.gateway import Response
from infra.local.pump import Pump
from tests.conftest import Clock
from tests.support import costs, dynamodb_local
from tests.support.client import Client

BEAT = {"status": "ready", "uptime": 3600, "taskCount": 5, "memoryUsage": 256, "cpuUsage": 12.5}
WORK = {
    "repo": "https://github.com/user/repo",
    "branch": "main",
    "naturalLanguage": "Fix null pointer exception in login flow",
    "context": {"issueId": "123", "prId": "456"},
}
DONE = {
    "success": True,
    "summary": "Fixed null pointer exception in auth service",
    "output": "Created PR #456 with fix and tests",
    "prUrl": "https://github.com/user/repo/pull/456",
    "resultFiles": {"commit": "abc123def456", "files": ["src/auth/login.ts", "tests/auth.test.ts"]},
}
FAILED = {"error": "Repository clone failed", "details": "Failed to authenticate with GitHub: invalid credentials"}

SHOW = "UpdateItem agents"
COUNT = "UpdateItem users"
LOOK = "Query tasks"
CHANGE = "TransactWriteItems agents+tasks"
IDLE_SWEEP = Counter({"UpdateItem tasks": 1, "Query agents": settings.shards, "Query tasks": settings.shards})


class Agent:
    """An agent that calls with its own token."""

    def __init__(self, name: str, client: Client) -> None:
        self.name, self.client = name, client

    def beat(self, **more: Any) -> Response:
        return self.client.post(f"/api/agents/{self.name}/heartbeat", BEAT | more)

    def poll(self) -> Response:
        return self.client.get(f"/api/agents/{self.name}/commands")

    def claims(self) -> list[str]:
        return [command["task_id"] for command in self.poll().json()["commands"]]

    def progress(self, task: str, step: str = "Running test suite", **more: Any) -> Response:
        report = {"status": "in_progress", "step": step, "progress": 0.65, "details": "Executed 45/65 tests"}
        return self.client.post(f"/api/tasks/{task}/progress", report | more)

    def complete(self, task: str) -> Response:
        return self.client.post(f"/api/tasks/{task}/complete", DONE)

    def fail(self, task: str, **more: Any) -> Response:
        return self.client.post(f"/api/tasks/{task}/fail", FAILED | more)


@dataclass
class World:
    """A user and a platform, at the beginning of a minute, so that no minute ends between two calls."""

    user: Client
    pump: Pump
    clock: Clock
    submitted: int = 0

    def next_minute(self) -> None:
        self.clock.advance((MINUTE - self.clock.now % MINUTE) / SECOND)

    def agent(self, *capabilities: str, name: str = "agent-1", **more: Any) -> Agent:
        body = {"agentId": name, "name": name, "version": "0.2.0", "capabilities": capabilities or ["fix-bug"]}
        answer = self.user.post("/api/agents", body | more)
        assert answer.status == 201, answer
        return Agent(name, self.user.acting_as(answer.json()["token"]))

    def submit(self, intent: str = "fix-bug", by: Client | None = None, **more: Any) -> Response:
        """Submit `task-<n>`, which stays pending until its message is handled."""
        self.submitted += 1
        body = {"taskId": f"task-{self.submitted}", "intent": intent, **WORK, **more}
        return (by or self.user).post("/api/workflows/execute", body)

    def queued(self, many: int = 1, intent: str = "fix-bug", **more: Any) -> str:
        """Submit so many tasks and make them claimable; the last one's id."""
        for _ in range(many):
            self.submit(intent, **more)
        self.pump.drain()
        return f"task-{self.submitted}"

    def claimed(self, agent: Agent) -> str:
        task = self.queued()
        assert agent.claims() == [task]
        return task

    def running(self, agent: Agent) -> str:
        task = self.claimed(agent)
        assert agent.progress(task).status == 200
        return task


@pytest.fixture
def world(user: Client, pump: Pump, clock: Clock) -> World:
    world = World(user, pump, clock)
    world.next_minute()
    _warm(world)
    return world


def _warm(world: World) -> None:
    """A container asks once for the address of the queue."""
    world.queued(intent="warm-up")
    agent = world.agent("warm-up", name="warm-up")
    agent.complete(*agent.claims())
    world.next_minute()


Prepared = Callable[[], Any]
CALLS: dict[str, Callable[[World], Prepared]] = {}
"""The calls that are measured, by name: each prepares a world and gives back the one call to measure in it."""


def call(name: str) -> Callable[[Callable[[World], Prepared]], Callable[[World], Prepared]]:
    def register(prepare: Callable[[World], Prepared]) -> Callable[[World], Prepared]:
        CALLS[name] = prepare
        return prepare

    return register


def requests(world: World, name: str) -> list[str]:
    """What a call sends, in order."""
    return list(costs.measured(CALLS[name](world)).requests)


@call("heartbeat")
def _heartbeat(world: World) -> Prepared:
    agent = world.agent()
    agent.beat()
    return agent.beat


@call("heartbeat, first of a minute")
def _heartbeat_of_a_new_minute(world: World) -> Prepared:
    agent = world.agent()
    agent.beat()
    world.next_minute()
    return agent.beat


@call("heartbeat, changes everything")
def _heartbeat_that_changes_everything(world: World) -> Prepared:
    agent = world.agent()
    return lambda: agent.beat(status="busy", version="0.3.0", capabilities=["fix-bug", "feature"], concurrency=3)


@call("heartbeat, runs a task and says so")
def _heartbeat_of_a_busy_agent(world: World) -> Prepared:
    agent = world.agent()
    task = world.running(agent)
    return lambda: agent.beat(status="busy", taskIds=[task])


@pytest.mark.parametrize("name", [name for name in CALLS if name.startswith("heartbeat")])
def test_a_heartbeat_is_one_request(world: World, name: str) -> None:
    assert requests(world, name) == [SHOW]


@call("idle poll, empty queue")
def _idle_poll(world: World) -> Prepared:
    return world.agent().poll


@call("idle poll, others' queue")
def _idle_poll_beside_others(world: World) -> Prepared:
    world.queued(5, intent="feature")
    return world.agent("fix-bug", "review-pr").poll


@pytest.mark.parametrize("name", ["idle poll, empty queue", "idle poll, others' queue"])
def test_an_idle_poll_is_two_requests(world: World, name: str) -> None:
    assert requests(world, name) == [SHOW, LOOK]


LONG = 60
"""More tasks than a poll reads at once."""


@call("idle poll, long queue, 1 capability")
def _idle_poll_of_a_long_queue(world: World) -> Prepared:
    world.queued(LONG, intent="feature")
    agent = world.agent("fix-bug")
    agent.poll()
    return agent.poll


@call("idle poll, long queue, 3 capabilities")
def _idle_poll_of_a_long_queue_by_an_able_agent(world: World) -> Prepared:
    world.queued(LONG, intent="feature")
    agent = world.agent("explain", "fix-bug", "review-pr")
    agent.poll()
    return agent.poll


def test_an_idle_poll_of_a_long_queue_is_one_request_and_one_a_capability(world: World) -> None:
    assert requests(world, "idle poll, long queue, 1 capability") == [SHOW, LOOK]


def test_an_idle_poll_of_a_long_queue_is_one_request_and_one_for_each_of_three_capabilities(world: World) -> None:
    assert requests(world, "idle poll, long queue, 3 capabilities") == [SHOW, LOOK, LOOK, LOOK]


@call("poll that claims 1")
def _claiming_poll(world: World) -> Prepared:
    world.queued()
    return world.agent().poll


@call("poll that claims 4")
def _claiming_poll_of_four(world: World) -> Prepared:
    world.queued(6)
    return world.agent(concurrency=4).poll


@call("poll that finds 1 claim")
def _finding_poll(world: World) -> Prepared:
    agent = world.agent()
    world.claimed(agent)
    return agent.poll


@pytest.mark.parametrize("name", ["poll that claims 1", "poll that claims 4", "poll that finds 1 claim"])
def test_a_poll_that_claims_or_finds_claims_is_two_requests_more(world: World, name: str) -> None:
    *idle, claim, bodies = requests(world, name)
    assert idle == [SHOW, LOOK]
    assert claim in (CHANGE, "TransactWriteItems tasks")  # a claim held already stands on the agent
    assert bodies == "BatchGetItem tasks"


def test_a_poll_that_claims_as_much_as_an_answer_carries_is_two_requests_more(world: World) -> None:
    world.queued(10, naturalLanguage="x" * 200 * KB)
    polled = costs.measured(world.agent().poll)
    assert list(polled.requests) == [SHOW, LOOK, CHANGE, "BatchGetItem tasks"]


def test_a_poll_of_an_agent_that_has_no_room_does_not_look_for_more(world: World) -> None:
    agent = world.agent(concurrency=1)
    world.claimed(agent)
    assert costs.measured(agent.poll).requests == (SHOW, "TransactWriteItems tasks", "BatchGetItem tasks")


@call("idle poll, runs a task")
def _idle_poll_of_a_busy_agent(world: World) -> Prepared:
    agent = world.agent()
    world.running(agent)
    return agent.poll


def test_a_poll_of_an_agent_that_runs_a_task_is_an_idle_poll(world: World) -> None:
    assert requests(world, "idle poll, runs a task") == [SHOW, LOOK]


@call("poll that claims 1 pinned to it")
def _claiming_poll_of_a_pinned_task(world: World) -> Prepared:
    agent = world.agent()
    world.queued(agentId=agent.name)
    return agent.poll


def test_only_an_agent_that_tasks_are_pinned_to_looks_in_a_queue_of_its_own(world: World) -> None:
    """One request more, from the announcement of a pinned task until its queue was found empty a minute later."""
    agent = world.agent()
    task = world.queued(agentId=agent.name)
    claiming = costs.measured(agent.poll)
    assert claiming.requests == (SHOW, LOOK, LOOK, CHANGE, "BatchGetItem tasks")
    agent.complete(task)
    world.clock.advance(61)
    assert costs.measured(agent.poll).requests == (SHOW, LOOK, SHOW, LOOK)
    assert costs.measured(agent.poll).requests == (SHOW, LOOK)


@call("progress, the first")
def _first_progress(world: World) -> Prepared:
    agent = world.agent()
    task = world.claimed(agent)
    return lambda: agent.progress(task)


@call("progress, the same step")
def _progress(world: World) -> Prepared:
    agent = world.agent()
    task = world.running(agent)
    return lambda: agent.progress(task, progress=0.7)


@call("progress, a new step")
def _progress_with_a_new_step(world: World) -> Prepared:
    agent = world.agent()
    task = world.running(agent)
    return lambda: agent.progress(task, "Opening the pull request")


def test_progress_is_two_requests(world: World) -> None:
    assert requests(world, "progress, the same step") == [SHOW, "UpdateItem tasks"]


@pytest.mark.parametrize("name", ["progress, the first", "progress, a new step"])
def test_progress_that_makes_an_event_is_two_requests(world: World, name: str) -> None:
    assert requests(world, name) == [SHOW, CHANGE]


@call("complete")
def _complete(world: World) -> Prepared:
    agent = world.agent()
    task = world.running(agent)
    return lambda: agent.complete(task)


@call("fail")
def _fail(world: World) -> Prepared:
    agent = world.agent()
    task = world.running(agent)
    return lambda: agent.fail(task)


@pytest.mark.parametrize("name", ["complete", "fail"])
def test_an_end_is_one_transaction(world: World, name: str) -> None:
    assert requests(world, name) == [CHANGE]


@call("complete, never started")
def _complete_what_was_never_started(world: World) -> Prepared:
    agent = world.agent()
    task = world.claimed(agent)
    return lambda: agent.complete(task)


def test_the_end_of_a_task_that_was_never_started_is_one_transaction(world: World) -> None:
    assert requests(world, "complete, never started") == [CHANGE]


@call("fail with 300 KB of logs")
def _fail_with_logs(world: World) -> Prepared:
    agent = world.agent()
    task = world.running(agent)
    return lambda: agent.fail(task, logs="x" * 300 * KB)


def test_a_failure_with_logs_is_one_transaction_and_the_chunks_of_its_log(world: World) -> None:
    first, *chunks = requests(world, "fail with 300 KB of logs")
    assert first == CHANGE
    assert len(chunks) == 2
    assert {chunk.partition(" ")[0] for chunk in chunks} <= {"PutItem", "UpdateItem", "TransactWriteItems"}


@call("submit")
def _submit(world: World) -> Prepared:
    return world.submit


@call("submit, by an agent")
def _submit_by_an_agent(world: World) -> Prepared:
    agent = world.agent()
    return lambda: world.submit(by=agent.client)


def test_a_submission_is_two_requests_and_a_message(world: World) -> None:
    assert requests(world, "submit") == [COUNT, "TransactWriteItems tasks", "SendMessage"]


def test_a_submission_by_an_agent_is_two_requests_and_a_message(world: World) -> None:
    assert requests(world, "submit, by an agent") == [SHOW, "TransactWriteItems tasks", "SendMessage"]


def test_a_submission_that_is_pinned_or_sent_again_is_two_requests_and_a_message(world: World) -> None:
    world.agent()
    pinned = costs.measured(lambda: world.submit(agentId="agent-1"))
    world.submitted -= 1
    again = costs.measured(lambda: world.submit(agentId="agent-1"))
    assert pinned.requests == again.requests == (COUNT, CHANGE, "SendMessage")


def _some_tasks(world: World) -> None:
    agent = world.agent()
    for _ in range(2):
        agent.complete(world.running(agent))
    world.queued(4)
    world.queued(2, intent="feature")


@call("page of tasks")
def _page_of_tasks(world: World) -> Prepared:
    _some_tasks(world)
    return lambda: world.user.get("/api/tasks", {"limit": 5})


@call("page of tasks, by cursor")
def _page_of_tasks_by_cursor(world: World) -> Prepared:
    _some_tasks(world)
    cursor = world.user.get("/api/tasks", {"limit": 4}).json()["nextCursor"]
    return lambda: world.user.get("/api/tasks", {"limit": 4, "cursor": cursor})


@call("page of agents")
def _page_of_agents(world: World) -> Prepared:
    for number in range(6):
        world.agent(name=f"agent-{number}")
    return lambda: world.user.get("/api/agents", {"limit": 5})


@call("page of events")
def _page_of_events(world: World) -> Prepared:
    task = world.running(world.agent())
    return lambda: world.user.get(f"/api/tasks/{task}/events")


def test_a_page_of_agents_is_three_requests(world: World) -> None:
    assert requests(world, "page of agents") == [COUNT, "Query agents", "BatchGetItem agents"]


@pytest.mark.parametrize("name", ["page of tasks", "page of tasks, by cursor"])
def test_a_page_of_tasks_is_three_requests(world: World, name: str) -> None:
    assert requests(world, name) == [COUNT, LOOK, "BatchGetItem tasks"]


def test_a_page_of_a_timeline_is_three_requests(world: World) -> None:
    assert requests(world, "page of events") == [COUNT, "GetItem tasks", LOOK]


FILTERS = [
    {"status": "completed"},
    {"agentId": "agent-1"},
    {"intent": "fix-bug"},
    {"status": "completed", "agentId": "agent-1"},
    {"status": "queued", "intent": "fix-bug"},
    {"agentId": "agent-1", "intent": "fix-bug"},
    {"status": "completed", "agentId": "agent-1", "intent": "fix-bug"},
    {"status": "queued", "intent": "fix-bug", "offset": 1},
]


@pytest.mark.parametrize("filters", FILTERS, ids=lambda filters: "+".join(filters))
def test_a_page_of_tasks_is_three_requests_whatever_it_is_filtered_by(world: World, filters: dict[str, str]) -> None:
    _some_tasks(world)
    listed = costs.measured(lambda: world.user.get("/api/tasks", filters | {"limit": 2}))
    assert listed.requests == (COUNT, LOOK, "BatchGetItem tasks")


@pytest.mark.parametrize("filters", [{"status": "active"}, {"capability": "fix-bug"}], ids=lambda f: "+".join(f))
def test_a_page_of_agents_is_three_requests_whatever_it_is_filtered_by(world: World, filters: dict[str, str]) -> None:
    world.agent()
    listed = costs.measured(lambda: world.user.get("/api/agents", filters))
    assert listed.requests == (COUNT, "Query agents", "BatchGetItem agents")


def test_a_page_is_three_requests_also_where_few_of_many_rows_match(world: World) -> None:
    """By cursor, where a page may not examine a thousand rows for a total."""
    world.queued(intent="rare")
    world.queued(12, intent="common")
    world.queued(intent="rare")
    rare = {"status": "queued", "intent": "rare", "limit": 1}
    cursor = world.user.get("/api/tasks", rare).json()["nextCursor"]
    listed = costs.measured(lambda: world.user.get("/api/tasks", rare | {"cursor": cursor}))
    assert listed.requests in {(COUNT, LOOK, "BatchGetItem tasks"), (COUNT, LOOK)}


@call("sweep, idle")
def _idle_sweep(world: World) -> Prepared:
    agent = world.agent()
    world.running(agent)
    world.queued()
    world.pump.sweep()
    return world.pump.sweep


def test_an_idle_sweep_looks_once_at_each_shard_of_its_two_indexes(world: World) -> None:
    assert Counter(requests(world, "sweep, idle")) == IDLE_SWEEP


@call("sweep, 4 agents silent")
def _sweep_of_agents(world: World) -> Prepared:
    for number in range(3):  # and the one that warmed up
        world.agent(name=f"agent-{number}")
    world.pump.sweep()
    world.next_minute()
    world.clock.advance(90)
    world.pump.sweep()
    world.clock.advance(INACTIVE_AFTER / SECOND - 90)
    return world.pump.sweep


@call("sweep, 4 claims ran out")
def _sweep_of_claims(world: World) -> Prepared:
    agents = [world.agent(name=f"agent-{number}") for number in range(4)]
    for agent in agents:
        world.claimed(agent)
    world.pump.sweep()
    world.clock.advance(61)
    for agent in agents:
        agent.beat()
    return world.pump.sweep


@call("sweep, 4 messages lost")
def _sweep_of_lost_messages(world: World) -> Prepared:
    for _ in range(4):
        world.submit()
    world.pump.sweep()
    world.clock.advance(61)
    return world.pump.sweep


DUE = {
    "sweep, 4 agents silent": {"GetItem agents": 4, "UpdateItem agents": 4},
    "sweep, 4 claims ran out": {"GetItem tasks": 4, CHANGE: 4},
    "sweep, 4 messages lost": {"GetItem tasks": 4, "TransactWriteItems tasks": 4, "SendMessage": 4},
}


@pytest.mark.parametrize("name", DUE)
def test_a_sweep_reads_and_writes_once_each_thing_that_is_due(world: World, name: str) -> None:
    assert Counter(requests(world, name)) - IDLE_SWEEP == Counter(DUE[name])


@call("message of the workflow queue")
def _message(world: World) -> Prepared:
    world.submit()
    return world.pump.drain


@call("show a task")
def _show_task(world: World) -> Prepared:
    task = world.running(world.agent())
    return lambda: world.user.get(f"/api/tasks/{task}")


@call("show an agent")
def _show_agent(world: World) -> Prepared:
    world.agent()
    return lambda: world.user.get("/api/agents/agent-1")


@call("register an agent")
def _register(world: World) -> Prepared:
    return world.agent


def test_each_call_costs_as_many_requests_on_amazons_own_dynamodb(
    true_dynamodb: str, make_user: Callable[..., Client], pump: Pump, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    """And so many units; prints them. There every transaction is counted twice, and every index that changes once."""
    measured: dict[str, costs.Cost] = {}
    for name, prepare in CALLS.items():
        dynamodb_local.create_tables(true_dynamodb)
        world = World(make_user(), pump, clock)
        world.next_minute()
        _warm(world)
        measured[name] = costs.measured(prepare(world))
    rows = [[name, len(cost.requests), cost.read, cost.write, cost.operations] for name, cost in measured.items()]
    with capsys.disabled():
        print(f"\n{costs.table(['call', 'requests', 'read units', 'write units', 'which'], rows)}")
