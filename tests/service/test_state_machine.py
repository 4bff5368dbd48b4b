"""The promises of docs/states.md in generated histories.

Hypothesis drives the real API and the real event handlers: users, agents, fenced agents, cancels, retries, removals,
clock jumps, sweeps, and messages that are lost, late, repeated and out of order. After every step the invariants of the
stored rows must hold (tests/service/invariants.py), ended tasks must be unchanged, and every response must be one that
the small model in this module allows. At the end, every accepted task must end through the pass_minutes of time alone.

In half of the tests, requests to AWS also have faults, in pairs. Clients then repeat their requests, and the same
promises must hold.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from chalicelib.core import clock as server_clock
from chalicelib.core import deadline
from chalicelib.core.errors import Unavailable
from chalicelib.core.settings import settings as product_settings
from chalicelib.orchestration.due_work import KINDS
from infra.local.gateway import Gateway, Headers, Response
from tests.http.scenario import Agent, ok
from tests.service import faults, invariants
from tests.service.conftest import SetShards
from tests.support import moto_aws
from tests.support.client import Client, Transport
from tests.support.container import new_container
from tests.support.handlers import Handlers, much_time
from tests.support.iam import DeployedApp

ENDED = {"completed", "failed", "cancelled"}
SECOND = 1_000
JUMPS = (1, 30, 61, 151, 301, 601, 3_600, 7_201)
"""Seconds by which the clock jumps. Each is slightly more than one of the platform's deadlines."""

START = 1_800_000_000.0
"""Epoch seconds. Nothing depends on the real time, so that a failing history can be repeated and shortened."""

TASKS = tuple(f"task-{number}" for number in range(5))
AGENTS = ("agent-a", "agent-b", "agent-c")


with_tasks = precondition(lambda self: self.accepted)
with_agents = precondition(lambda self: any(self.tokens.values()))


class PlatformMachine(RuleBasedStateMachine):
    """One user, three agents, five tasks and their retries."""

    app: DeployedApp
    user_client: Client

    def __init__(self) -> None:
        super().__init__()
        moto_aws.empty()
        server_clock._shifted_ms = 0
        self.handlers = self._new_handlers()
        self.user = self._new_user()
        self.accepted: set[str] = set()
        self.ended: dict[str, str] = {}
        self.sweeps = 0
        self.tokens: dict[str, list[Agent]] = {agent: [] for agent in AGENTS}
        """Every token that an agent has had. The last one is valid if the agent exists."""

    def _new_user(self) -> Client:
        from chalicelib.auth import store, tokens  # noqa: PLC0415

        owner = store.create_user("user-1", "user@example.com", "John Doe", "1", "-", server_clock.now())
        self.owner = owner
        return Client(self._new_transport(), tokens.issue("user", owner, owner, "1", server_clock.now()))

    def _new_handlers(self) -> Handlers:
        return Handlers(self.app)

    def _new_transport(self) -> Transport:
        return Gateway(self.app)

    # -- users

    @rule(task=st.sampled_from(TASKS), pin=st.sampled_from([None, None, None, *AGENTS]), attempts=st.integers(1, 3))
    def submit(self, task: str, pin: str | None, attempts: int) -> None:
        body = {"taskId": task, "intent": "fix-bug", "repo": "r", "naturalLanguage": "x", "maxAttempts": attempts}
        response = self.user.post("/api/workflows/execute", body if pin is None else body | {"agentId": pin})
        assert response.status in ({202, 409} if task in self.accepted else {202, 404}), response
        if response.status == 202:
            self.accepted.add(task)

    @with_tasks
    @rule(data=st.data())
    def cancel(self, data: Any) -> None:
        for task, head in self._some_task(data):
            response = self.user.post(f"/api/tasks/{task}/cancel")
            assert response.status == (409 if head["status"] in ENDED - {"cancelled"} else 200), response

    @with_tasks
    @rule(data=st.data())
    def retry(self, data: Any) -> None:
        for task, head in self._some_task(data):
            response = self.user.post(f"/api/tasks/{task}/retry")
            assert response.status in ({202, 404} if head["status"] in ENDED else {409}), response
            if response.status == 202:
                self.accepted.add(response.json()["taskId"])

    # -- agents

    @rule(agent=st.sampled_from(AGENTS), replace=st.booleans(), concurrency=st.sampled_from([None, 1, 2]))
    def register(self, agent: str, replace: bool, concurrency: int | None) -> None:  # noqa: FBT001
        body = {"agentId": agent, "name": agent, "version": "1", "replace": replace, "concurrency": concurrency}
        response = self.user.post("/api/agents", body)
        assert response.status in (201, 409), response
        assert response.status == 201 or not replace
        if response.status == 201:
            self.tokens[agent].append(Agent(agent, self.user.acting_as(response.json()["token"])))

    @with_agents
    @rule(data=st.data())
    def remove(self, data: Any) -> None:
        agent = self._some_agent(data)
        response = self.user.delete(f"/api/agents/{agent}")
        assert response.status in (200, 404), response
        if response.status == 200:
            assert not [head for head in invariants.open_heads() if head.get("agent") == agent]

    @with_agents
    @rule(data=st.data(), by_agent=st.booleans())
    def rotate(self, data: Any, by_agent: bool) -> None:  # noqa: FBT001
        agent = self._some_agent(data)
        tasks = self._tasks_of(agent)
        valid = self._valid(agent)
        caller = valid.client if by_agent and valid is not None else self.user
        response = caller.post(f"/api/agents/{agent}/token")
        assert response.status in (201, 401, 404), response
        if response.status == 201:
            self.tokens[agent].append(Agent(agent, self.user.acting_as(response.json()["token"])))
            assert self._tasks_of(agent) == tasks

    @with_agents
    @rule(data=st.data(), limit=st.integers(1, 4))
    def poll(self, data: Any, limit: int) -> None:
        agent = self._some_agent(data)
        valid = self._valid(agent)
        if valid is None:
            return
        response = valid.poll(limit=limit)
        assert response.status in (200, 401), response
        if response.status == 200:
            commands = response.json()["commands"]
            assert len(commands) <= limit
            heads = self._heads()
            for command in commands:
                head = heads[command["task_id"]]
                assert (head["agent"], head["status"], head["attempt"]) == (agent, "assigned", command["attempt"])

    @with_agents
    @rule(data=st.data(), reported=st.sampled_from(["all", "none", "omitted"]))
    def heartbeat(self, data: Any, reported: str) -> None:
        agent = self._some_agent(data)
        valid = self._valid(agent)
        if valid is not None:
            body = {} if reported == "omitted" else {"taskIds": self._tasks_of(agent) if reported == "all" else []}
            assert valid.heartbeat(**body).status in (200, 401)

    @with_tasks
    @with_agents
    @rule(data=st.data(), kind=st.sampled_from(["progress", "complete", "fail"]), stale=st.booleans())
    def report(self, data: Any, kind: str, stale: bool) -> None:  # noqa: FBT001
        """A report by the agent that runs the task. If `stale`, by any token and about any attempt so far."""
        for task, head in self._some_task(data):
            reporters = [token for tokens in self.tokens.values() for token in tokens]
            current = self._valid(str(head.get("agent")))
            if not reporters or (not stale and current is None):
                return
            by: Agent = data.draw(st.sampled_from(reporters)) if stale or current is None else current
            attempt = data.draw(st.integers(1, head["attempt"])) if stale else head["attempt"]
            report = (
                {"attempt": attempt, "summary": f"{by.id} {attempt}"} if kind == "complete" else {"attempt": attempt}
            )
            response: Response = getattr(by, kind)(task, **report)
            assert response.status in (200, 401, 409), response
            after = self._heads()[task]
            if not self._may_report(head, by, attempt) and head != after:
                raise AssertionError((response, head, after))
            if response.status == 200 and kind != "progress":
                assert after["status"] in ENDED
                assert (after["agent"], after["attempt"]) == (by.id, attempt)

    def _may_report(self, head: dict[str, Any], by: Agent, attempt: int) -> bool:
        assigned = head["status"] in invariants.ASSIGNED_STATUSES
        fenced = "cancelAt" in head and server_clock.now() >= head["cancelAt"] + 60 * SECOND
        return assigned and (head["agent"], head["attempt"]) == (by.id, attempt) and not fenced

    # -- AWS

    @with_tasks
    @rule(data=st.data(), times=st.integers(1, 3))
    def deliver(self, data: Any, times: int) -> None:
        """Messages of the workflow queue, in any order, late and repeated. Messages that are never drawn are lost."""
        chosen = data.draw(st.lists(st.sampled_from(sorted(self.accepted)), min_size=1, max_size=4))
        for _ in range(times):
            bodies = [{"owner": self.owner, "task": task} for task in chosen]
            assert self.handlers.batch("run_workflows", *bodies) == []

    @with_tasks
    @rule(data=st.data(), times=st.integers(1, 2))
    def publish(self, data: Any, times: int) -> None:
        events = [row for row in invariants.rows("tasks") if row["sk"].startswith("E#")]
        if events:
            row = data.draw(st.sampled_from(events))
            owner, _, task = row["pk"].partition("#")
            for _ in range(times):
                body = {"owner": owner, "task": task, "event": row["sk"]}
                assert self.handlers.batch("announce_events", body) == []

    @rule(seconds=st.sampled_from(JUMPS))
    def jump(self, seconds: int) -> None:
        server_clock.shift(seconds)

    @rule()
    def sweep(self) -> None:
        self.handlers.sweep()

    @rule()
    def sweep_hands_out(self) -> None:
        """A run without time hands out everything. Its messages are handled by `work_on_backlog`, or are lost."""
        self.handlers.sweep(lambda: 5_000)  # `TIME_TO_STOP` of app.py

    @rule(kinds=st.lists(st.sampled_from(KINDS), min_size=1, max_size=4), late=st.booleans())
    def work_on_backlog(self, kinds: list[str], late: bool) -> None:  # noqa: FBT001
        """Messages of the sweep's queue, in any order and repeated. A late one has no effect."""
        until = server_clock.now() + (0 if late else 60 * SECOND)
        for kind in kinds:
            assert self.handlers.batch("sweep_backlog", {"kind": kind, "shard": 0, "until": until}) == []

    @rule(minutes=st.sampled_from([1, 3, 11]))
    def time_passes(self, minutes: int) -> None:
        """Time passes as in production: with a sweep every minute, and all events published."""
        self._publish_all()
        for _ in range(minutes):
            server_clock.shift(60)
            self.handlers.sweep()

    # -- invariants

    @invariant()
    def stored_rows_are_consistent(self) -> None:
        invariants.check()
        server_clock.shift(0.017)  # a step takes some time, always the same

    @invariant()
    def accepted_tasks_exist_and_ended_tasks_are_unchanged(self) -> None:
        heads = self._heads()
        assert self.accepted == set(heads)
        for task, head in heads.items():
            if head["status"] in ENDED:
                row = repr(sorted((name, value) for name, value in head.items() if name not in ("logged", "lastLog")))
                assert self.ended.setdefault(task, row) == row

    def teardown(self) -> None:
        """Without any further action, time ends every task. Afterwards counts and timelines are correct."""
        self._publish_all()
        for _ in range(12):
            server_clock.shift(25 * 3_600)  # an outage, which moves the deadlines
            self.handlers.sweep()
            server_clock.shift(60)
            self.handlers.sweep()
            if not invariants.open_heads():
                break
        assert not invariants.open_heads()
        self._publish_all()
        invariants.check()
        assert ok(self.user.get("/api/tasks"))["total"] == len(self.accepted)
        self._check_open_tasks([used["open"] for used in invariants.usage().values()])

    def _check_open_tasks(self, counted: list[int]) -> None:
        """No task is open."""
        assert counted in ([], [0])

    def _publish_all(self) -> None:
        unsent = [row for row in invariants.rows("tasks") if row["sk"].startswith("E#") and "dueAt" in row]
        bodies = [{"owner": self.owner, "task": row["pk"].partition("#")[2], "event": row["sk"]} for row in unsent]
        assert self.handlers.batch("announce_events", *bodies) == []

    # -- reading the rows

    def _heads(self) -> dict[str, dict[str, Any]]:
        return {head["task"]: head for head in invariants.heads()}

    def _some_task(self, data: Any) -> Iterator[tuple[str, dict[str, Any]]]:
        heads = self._heads()
        if heads:
            task = data.draw(st.sampled_from(sorted(heads)))
            yield task, heads[task]

    def _some_agent(self, data: Any) -> str:
        """An agent that has been registered at least once."""
        agent: str = data.draw(st.sampled_from([agent for agent, tokens in self.tokens.items() if tokens]))
        return agent

    def _valid(self, agent: str) -> Agent | None:
        """The agent with its last token, which is valid unless the agent was removed or the user rotated the token."""
        tokens = self.tokens.get(agent)
        return tokens[-1] if tokens else None

    def _tasks_of(self, agent: str) -> list[str]:
        return sorted(head["task"] for head in invariants.open_heads() if head.get("agent") == agent)


T = TypeVar("T")


def repeat_after_faults(run: Callable[[], T], is_done: Callable[[T], bool]) -> T:
    """Run something again while it fails, as a client repeats a request, and SQS delivers a message again.

    At most two faults are injected, so the third run succeeds. Each run is in a new container.
    """
    for _ in range(MAX_FAULTS):
        with suppress(faults.ProcessKilled):
            result = run()
            if is_done(result):
                return result
        invariants.check()
        new_container()
    return run()


class RepeatingTransport:
    """Repeats a request while the platform is unavailable."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def call(self, method: str, target: str, headers: Headers = (), body: bytes = b"") -> Response:
        return repeat_after_faults(
            lambda: self._gateway.call(method, target, headers, body),
            lambda response: response.status not in (500, 503),
        )


class RepeatingHandlers(Handlers):
    """Delivers failed messages again. A sweep may fail, and is not repeated before the next one is due."""

    def batch(self, handler: str, *bodies: Any, left: Callable[[], int] = much_time) -> list[str]:
        return repeat_after_faults(
            lambda: super(RepeatingHandlers, self).batch(handler, *bodies, left=left), lambda failed: not failed
        )

    def sweep(self, left: Callable[[], int] = much_time) -> None:
        with suppress(faults.ProcessKilled, Unavailable):
            super().sweep(left)
        new_container()


MAX_FAULTS = 2


class FaultyPlatformMachine(PlatformMachine):
    """The same histories, in which requests to AWS have faults: two in a row, again and again."""

    def __init__(self) -> None:
        self._faults = ExitStack()
        super().__init__()

    def _new_handlers(self) -> Handlers:
        return RepeatingHandlers(self.app)

    def _new_transport(self) -> Transport:
        return RepeatingTransport(Gateway(self.app))

    @rule(
        first=st.integers(0, 4),
        distance=st.integers(1, 4),
        kinds=st.lists(st.sampled_from(sorted(faults.KINDS)), min_size=MAX_FAULTS, max_size=MAX_FAULTS),
    )
    def inject_two_faults(self, first: int, distance: int, kinds: list[str]) -> None:
        """Of the next requests to AWS, two have a fault. They may belong to one call or message, or to two."""
        self._faults.close()
        self._faults.enter_context(faults.at_requests({first: kinds[0], first + distance: kinds[1]}))

    def teardown(self) -> None:
        self._faults.close()
        super().teardown()

    def _check_open_tasks(self, counted: list[int]) -> None:
        """After a crash the count may be too high until the next recount (`tasks/quotas`), and is never too low."""
        assert all(count >= 0 for count in counted)


def run_machine(
    machine_class: type[PlatformMachine],
    app: DeployedApp,
    monkeypatch: pytest.MonkeyPatch,
    hypothesis_settings: settings,
) -> None:
    monkeypatch.setattr("chalicelib.http.rate_limits.settings", replace(product_settings, rate_limits=False))
    monkeypatch.setattr(server_clock, "_shifted_ms", 0)
    monkeypatch.setattr(server_clock, "time", SimpleNamespace(time=lambda: START))
    elapsed = SimpleNamespace(monotonic=lambda: server_clock.now() / SECOND, sleep=lambda _seconds: None)
    monkeypatch.setattr(deadline, "time", elapsed)
    machine = type(machine_class.__name__, (machine_class,), {"app": app})
    run_state_machine_as_test(machine, settings=hypothesis_settings)


QUICK = settings(
    max_examples=100,
    stateful_step_count=40,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.explicit, Phase.generate, Phase.shrink),
)


@pytest.mark.timeout(900)
def test_promises_hold_in_generated_histories(
    deployed: DeployedApp, monkeypatch: pytest.MonkeyPatch, set_shards: SetShards
) -> None:
    set_shards(1)  # a sweep then sends fewer queries, with the same effect
    run_machine(PlatformMachine, deployed, monkeypatch, QUICK)


@pytest.mark.long
@pytest.mark.timeout(10_800)
def test_promises_hold_in_many_generated_histories(
    deployed: DeployedApp, monkeypatch: pytest.MonkeyPatch, set_shards: SetShards
) -> None:
    set_shards(1)
    long_settings = settings(QUICK, max_examples=2_000, stateful_step_count=50, derandomize=False)
    run_machine(PlatformMachine, deployed, monkeypatch, long_settings)


@pytest.mark.timeout(900)
def test_promises_hold_in_generated_histories_with_two_faults(
    deployed: DeployedApp, monkeypatch: pytest.MonkeyPatch, set_shards: SetShards
) -> None:
    set_shards(1)
    run_machine(FaultyPlatformMachine, deployed, monkeypatch, settings(QUICK, max_examples=20))


@pytest.mark.long
@pytest.mark.timeout(10_800)
def test_promises_hold_in_many_generated_histories_with_two_faults(
    deployed: DeployedApp, monkeypatch: pytest.MonkeyPatch, set_shards: SetShards
) -> None:
    set_shards(1)
    long_settings = settings(QUICK, max_examples=1_000, stateful_step_count=50, derandomize=False)
    run_machine(FaultyPlatformMachine, deployed, monkeypatch, long_settings)
