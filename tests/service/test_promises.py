"""The promises of docs/states.md against whatever order things happen in.

Hypothesis drives the real API and the real event handlers: users, agents, zombies, cancels, retries, removals, clock
jumps, sweeps, messages that are lost, late, doubled and shuffled. After every step the stored rows must hold
(tests/service/invariants.py), what had ended must be as it was, and every answer must be the one that the small model
here expects. In the end, time alone must bring every accepted task to an end.
"""

from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from chalicelib.core import clock as server_clock
from chalicelib.core.settings import settings as product_settings
from infra.local.gateway import Gateway, Response
from tests.http.scene import Agent, ok
from tests.service import invariants
from tests.service.conftest import Sharded
from tests.support import moto_aws
from tests.support.client import Client
from tests.support.handlers import Handlers
from tests.support.iam import AsDeployed

ENDED = {"completed", "failed", "cancelled"}
SECOND = 1_000
JUMPS = (1, 30, 61, 151, 301, 601, 3_600, 7_201)
"""Seconds that the clock jumps by, each a little over one of the platform's own times."""

BEGINNING = 1_800_000_000.0
"""Epoch seconds. Nothing here depends on the true time: a history that fails can be told again, and shortened."""

TASKS = tuple(f"task-{number}" for number in range(5))
AGENTS = ("agent-a", "agent-b", "agent-c")


with_tasks = precondition(lambda self: self.accepted)
with_agents = precondition(lambda self: any(self.tokens.values()))


class Life(RuleBasedStateMachine):
    """One user, three agents, five tasks and their retries."""

    app: AsDeployed
    user_client: Client

    def __init__(self) -> None:
        super().__init__()
        moto_aws.empty()
        server_clock._shifted_ms = 0
        self.handlers = Handlers(self.app)
        self.user = self._new_user()
        self.accepted: set[str] = set()
        self.ended: dict[str, str] = {}
        self.sweeps = 0
        self.tokens: dict[str, list[Agent]] = {agent: [] for agent in AGENTS}
        """Every token that an agent ever had, the last one being good, if the agent is there."""

    def _new_user(self) -> Client:
        from chalicelib.auth import store, tokens  # noqa: PLC0415

        owner = store.create_user("user-1", "user@example.com", "John Doe", "1", "-", server_clock.now())
        self.owner = owner
        return Client(Gateway(self.app), tokens.issue("user", owner, owner, "1", server_clock.now()))

    # -- people

    @rule(task=st.sampled_from(TASKS), pin=st.sampled_from([None, None, None, *AGENTS]), attempts=st.integers(1, 3))
    def submit(self, task: str, pin: str | None, attempts: int) -> None:
        body = {"taskId": task, "intent": "fix-bug", "repo": "r", "naturalLanguage": "x", "maxAttempts": attempts}
        answer = self.user.post("/api/workflows/execute", body if pin is None else body | {"agentId": pin})
        assert answer.status in ({202, 409} if task in self.accepted else {202, 404}), answer
        if answer.status == 202:
            self.accepted.add(task)

    @with_tasks
    @rule(data=st.data())
    def cancel(self, data: Any) -> None:
        for task, head in self._some_task(data):
            answer = self.user.post(f"/api/tasks/{task}/cancel")
            assert answer.status == (409 if head["status"] in ENDED - {"cancelled"} else 200), answer

    @with_tasks
    @rule(data=st.data())
    def retry(self, data: Any) -> None:
        for task, head in self._some_task(data):
            answer = self.user.post(f"/api/tasks/{task}/retry")
            assert answer.status in ({202, 404} if head["status"] in ENDED else {409}), answer
            if answer.status == 202:
                self.accepted.add(answer.json()["taskId"])

    # -- agents

    @rule(agent=st.sampled_from(AGENTS), anew=st.booleans(), concurrency=st.sampled_from([None, 1, 2]))
    def register(self, agent: str, anew: bool, concurrency: int | None) -> None:  # noqa: FBT001
        body = {"agentId": agent, "name": agent, "version": "1", "replace": anew, "concurrency": concurrency}
        answer = self.user.post("/api/agents", body)
        assert answer.status in (201, 409), answer
        assert answer.status == 201 or not anew
        if answer.status == 201:
            self.tokens[agent].append(Agent(agent, self.user.acting_as(answer.json()["token"])))

    @with_agents
    @rule(data=st.data())
    def remove(self, data: Any) -> None:
        agent = self._some_agent(data)
        answer = self.user.delete(f"/api/agents/{agent}")
        assert answer.status in (200, 404), answer
        if answer.status == 200:
            assert not [head for head in invariants.open_heads() if head.get("agent") == agent]

    @with_agents
    @rule(data=st.data(), by_itself=st.booleans())
    def rotate(self, data: Any, by_itself: bool) -> None:  # noqa: FBT001
        agent = self._some_agent(data)
        held = self._held(agent)
        good = self._good(agent)
        acting = good.client if by_itself and good is not None else self.user
        answer = acting.post(f"/api/agents/{agent}/token")
        assert answer.status in (201, 401, 404), answer
        if answer.status == 201:
            self.tokens[agent].append(Agent(agent, self.user.acting_as(answer.json()["token"])))
            assert self._held(agent) == held

    @with_agents
    @rule(data=st.data(), limit=st.integers(1, 4))
    def poll(self, data: Any, limit: int) -> None:
        agent = self._some_agent(data)
        good = self._good(agent)
        if good is None:
            return
        answer = good.poll(limit=limit)
        assert answer.status in (200, 401), answer
        if answer.status == 200:
            commands = answer.json()["commands"]
            assert len(commands) <= limit
            heads = self._heads()
            for command in commands:
                head = heads[command["task_id"]]
                assert (head["agent"], head["status"], head["attempt"]) == (agent, "assigned", command["attempt"])

    @with_agents
    @rule(data=st.data(), naming=st.sampled_from(["all", "none", "silent"]))
    def heartbeat(self, data: Any, naming: str) -> None:
        agent = self._some_agent(data)
        good = self._good(agent)
        if good is not None:
            said = {} if naming == "silent" else {"taskIds": self._held(agent) if naming == "all" else []}
            assert good.beat(**said).status in (200, 401)

    @with_tasks
    @with_agents
    @rule(data=st.data(), kind=st.sampled_from(["progress", "complete", "fail"]), zombie=st.booleans())
    def report(self, data: Any, kind: str, zombie: bool) -> None:  # noqa: FBT001
        """By whoever holds the task, or by anybody else who ever had a token, about this attempt or an earlier one."""
        for task, head in self._some_task(data):
            reporters = [token for tokens in self.tokens.values() for token in tokens]
            holder = self._good(str(head.get("agent")))
            if not reporters or (not zombie and holder is None):
                return
            by: Agent = data.draw(st.sampled_from(reporters)) if zombie or holder is None else holder
            attempt = data.draw(st.integers(1, head["attempt"])) if zombie else head["attempt"]
            report = (
                {"attempt": attempt, "summary": f"{by.id} {attempt}"} if kind == "complete" else {"attempt": attempt}
            )
            answer: Response = getattr(by, kind)(task, **report)
            assert answer.status in (200, 401, 409), answer
            now = self._heads()[task]
            if not self._may_report(head, by, attempt) and not self._same(head, now):
                raise AssertionError((answer, head, now))
            if answer.status == 200 and kind != "progress":
                assert now["status"] in ENDED
                assert (now["agent"], now["attempt"]) == (by.id, attempt)

    def _may_report(self, head: dict[str, Any], by: Agent, attempt: int) -> bool:
        held = head["status"] in invariants.HELD and (head["agent"], head["attempt"]) == (by.id, attempt)
        fenced = "cancelAt" in head and server_clock.now() >= head["cancelAt"] + 60 * SECOND
        return held and not fenced

    @staticmethod
    def _same(before: dict[str, Any], after: dict[str, Any]) -> bool:
        return before == after

    # -- AWS

    @with_tasks
    @rule(data=st.data(), times=st.integers(1, 3))
    def deliver(self, data: Any, times: int) -> None:
        """Messages of the workflow queue, in any order, late and more than once; those never drawn are lost."""
        chosen = data.draw(st.lists(st.sampled_from(sorted(self.accepted)), min_size=1, max_size=4))
        for _ in range(times):
            bodies = [{"owner": self.owner, "task": task} for task in chosen]
            assert self.handlers.batch("run_workflows", *bodies) == []

    @with_tasks
    @rule(data=st.data(), times=st.integers(1, 2))
    def announce(self, data: Any, times: int) -> None:
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

    @rule(minutes=st.sampled_from([1, 3, 11]))
    def time_passes(self, minutes: int) -> None:
        """As it does in truth: with a sweep every minute, and events announced."""
        self._announce_all()
        for _ in range(minutes):
            server_clock.shift(60)
            self.handlers.sweep()

    # -- what must always hold

    @invariant()
    def the_rows_hold(self) -> None:
        invariants.hold()
        server_clock.shift(0.017)  # a step takes its time, and the same whenever it is repeated

    @invariant()
    def what_was_accepted_is_there_and_what_ended_stays_ended(self) -> None:
        heads = self._heads()
        assert self.accepted == set(heads)
        for task, head in heads.items():
            if head["status"] in ENDED:
                told = repr(sorted((name, value) for name, value in head.items() if name not in ("logged", "lastLog")))
                assert self.ended.setdefault(task, told) == told

    def teardown(self) -> None:
        """Nobody does anything any more: time alone ends everything, and counts and timelines come out even."""
        self._announce_all()
        for _ in range(12):
            server_clock.shift(25 * 3_600)  # an outage, which moves what was due in it
            self.handlers.sweep()
            server_clock.shift(60)
            self.handlers.sweep()
            if not invariants.open_heads():
                break
        assert not invariants.open_heads()
        self._announce_all()
        invariants.hold()
        assert ok(self.user.get("/api/tasks"))["total"] == len(self.accepted)
        (user,) = invariants.rows("users")
        assert user["openTasks"] == 0

    def _announce_all(self) -> None:
        unsent = [row for row in invariants.rows("tasks") if row["sk"].startswith("E#") and "dueAt" in row]
        bodies = [{"owner": self.owner, "task": row["pk"].partition("#")[2], "event": row["sk"]} for row in unsent]
        assert self.handlers.batch("announce_events", *bodies) == []

    # -- looking at the rows

    def _heads(self) -> dict[str, dict[str, Any]]:
        return {head["task"]: head for head in invariants.heads()}

    def _some_task(self, data: Any) -> Iterator[tuple[str, dict[str, Any]]]:
        heads = self._heads()
        if heads:
            task = data.draw(st.sampled_from(sorted(heads)))
            yield task, heads[task]

    def _some_agent(self, data: Any) -> str:
        """One that has been registered at least once."""
        agent: str = data.draw(st.sampled_from([agent for agent, tokens in self.tokens.items() if tokens]))
        return agent

    def _good(self, agent: str) -> Agent | None:
        """The agent with its last token, which is good unless the agent was removed or the user rotated it."""
        tokens = self.tokens.get(agent)
        return tokens[-1] if tokens else None

    def _held(self, agent: str) -> list[str]:
        return sorted(head["task"] for head in invariants.open_heads() if head.get("agent") == agent)


def live(app: AsDeployed, monkeypatch: pytest.MonkeyPatch, how: settings) -> None:
    monkeypatch.setattr("chalicelib.http.rate_limits.settings", replace(product_settings, rate_limits=False))
    monkeypatch.setattr(server_clock, "_shifted_ms", 0)
    monkeypatch.setattr(server_clock, "time", SimpleNamespace(time=lambda: BEGINNING))
    machine = type("Life", (Life,), {"app": app})
    run_state_machine_as_test(machine, settings=how)


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
def test_the_promises_hold_whatever_happens(
    deployed: AsDeployed, monkeypatch: pytest.MonkeyPatch, sharded: Sharded
) -> None:
    sharded(1)  # a sweep is two queries then, and what it does is the same
    live(deployed, monkeypatch, QUICK)


@pytest.mark.long
@pytest.mark.timeout(10_800)
def test_the_promises_hold_whatever_happens_and_for_long(
    deployed: AsDeployed, monkeypatch: pytest.MonkeyPatch, sharded: Sharded
) -> None:
    sharded(1)
    live(deployed, monkeypatch, settings(QUICK, max_examples=2_000, stateful_step_count=50, derandomize=False))
