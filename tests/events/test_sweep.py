"""The scheduled function: what it resumes, what it skips, and which errors do not stop it."""

import io
import json
import threading
from collections.abc import Callable
from typing import Any

import pytest

from chalicelib.core import log as log_module
from chalicelib.core.settings import settings
from chalicelib.orchestration import due_work
from infra.local.event_poller import EventPoller
from tests.conftest import Clock
from tests.http.scenario import Agent, Scenario, ok
from tests.service import faults, invariants
from tests.service.conftest import PassMinutes, SetShards
from tests.support import aws_requests, moto_aws
from tests.support.handlers import Handlers, time_per_request


def test_idle_sweep_queries_each_index_and_changes_nothing(
    scenario: Scenario, agent: Agent, handlers: Handlers, set_shards: SetShards
) -> None:
    set_shards(3)
    scenario.start_task(agent)
    before = moto_aws.rows("tasks"), moto_aws.rows("agents")
    handlers.sweep()
    with aws_requests.recorded() as sent:
        handlers.sweep()
    queries = 4 + 2  # for due rows, and for the gauges
    assert sent.operations == ["UpdateItem", *["Query"] * queries * settings.shards]
    assert [row for row in moto_aws.rows("tasks") if row["pk"] != {"S": "~sweep"}] == before[0]
    assert moto_aws.rows("agents") == before[1]


@pytest.fixture
def last_sweep(scenario: Scenario, monkeypatch: pytest.MonkeyPatch) -> Callable[[], dict[str, Any]]:
    """A function that returns the counts that the last sweep has logged."""
    stream = io.StringIO()
    monkeypatch.setattr(log_module.handler, "stream", stream)

    def last() -> dict[str, Any]:
        lines = [json.loads(line) for line in stream.getvalue().splitlines()]
        (*_, line) = [line for line in lines if line["message"] == "swept"]
        return {name: line[name] for name in ("tasks", "agents", "failures", "finished")}

    return last


def test_sweep_logs_what_it_did(
    agent: Agent, pass_minutes: PassMinutes, last_sweep: Callable[[], dict[str, Any]]
) -> None:
    pass_minutes(5)
    assert last_sweep() == {"tasks": 0, "agents": 1, "failures": 0, "finished": True}


def test_claims_and_then_running_tasks_of_a_silent_agent_are_requeued(
    scenario: Scenario, agent: Agent, pass_minutes: PassMinutes
) -> None:
    scenario.start_task(agent, "task-1")
    scenario.claim_task(agent, "task-2")
    pass_minutes(4)
    assert scenario.get_agent()["status"] == "inactive"
    assert (scenario.task_status("task-1"), scenario.task_status("task-2")) == ("in_progress", "queued")
    pass_minutes(5)
    assert scenario.task_status("task-1") == "in_progress"
    pass_minutes(2)
    assert (scenario.task_status("task-1"), scenario.get_task("task-1")["attempt"]) == ("queued", 2)


def test_unrenewed_claim_of_an_active_agent_is_requeued(
    scenario: Scenario, agent: Agent, pass_minutes: PassMinutes
) -> None:
    scenario.claim_task(agent)
    for _ in range(2):
        ok(agent.heartbeat())
        pass_minutes(0.6)
    assert scenario.event_types() == ["created", "queued", "assigned", "requeued"]
    assert agent.claims() == ["task-1"]


def test_claim_can_be_renewed_for_at_most_ten_minutes(
    scenario: Scenario, agent: Agent, pass_minutes: PassMinutes
) -> None:
    scenario.claim_task(agent)
    for _ in range(9):
        pass_minutes(1 - 1 / 60)
        assert agent.claims() == ["task-1"]
    assert scenario.event_types() == ["created", "queued", "assigned"]
    for _ in range(3):
        pass_minutes(0.5)
    assert scenario.event_types()[:4] == ["created", "queued", "assigned", "requeued"]


def test_concurrent_sweeps_do_everything_once(scenario: Scenario, clock: Clock, handlers: Handlers) -> None:
    agents = [scenario.agent(f"agent-{number}", capabilities=[f"kind-{number}"]) for number in range(2)]
    for number, agent in enumerate(agents):
        scenario.start_task(agent, f"running-{number}", intent=f"kind-{number}")
        scenario.claim_task(agent, f"claimed-{number}", intent=f"kind-{number}")
    handlers.sweep()
    clock.advance(170)
    handlers.sweep()
    for _ in range(3):
        clock.advance(170)
        run_concurrently([handlers.sweep] * 3)
    invariants.check()
    for number in range(2):
        assert scenario.event_types(f"running-{number}")[4:] == ["requeued"]
        assert scenario.event_types(f"claimed-{number}")[3:] == ["requeued"]


def run_concurrently(calls: list[Callable[[], object]]) -> None:
    """Run each call in its own thread, all started together. Fails if any of them raises an error."""
    ready, raised = threading.Barrier(len(calls)), []

    def run(call: Callable[[], object]) -> None:
        ready.wait()
        try:
            call()
        except BaseException as error:  # noqa: BLE001  # checked in the thread of the test
            raised.append(error)

    threads = [threading.Thread(target=run, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not raised


def test_sweep_skips_a_task_that_changes_meanwhile(
    scenario: Scenario, agent: Agent, clock: Clock, poller: EventPoller
) -> None:
    """The agent starts the task between the query of the sweep and its write."""
    scenario.claim_task(agent)
    clock.advance(61)
    with faults.interleaved("TransactWriteItems", lambda: ok(agent.progress("task-1"))):
        poller.sweep()
    assert scenario.event_types() == ["created", "queued", "assigned", "started"]
    assert scenario.task_status() == "in_progress"


def test_agent_that_checks_in_during_a_sweep_stays_active(
    scenario: Scenario, agent: Agent, clock: Clock, poller: EventPoller
) -> None:
    poller.sweep()
    clock.advance(140)
    poller.sweep()
    clock.advance(80)
    with faults.interleaved("UpdateItem", lambda: ok(agent.heartbeat()), when=faults.about("inactive")) as fault:
        poller.sweep()
    assert fault.affected
    assert scenario.get_agent()["status"] == "active"


def test_error_of_one_task_does_not_stop_the_sweep(
    scenario: Scenario,
    agent: Agent,
    clock: Clock,
    handlers: Handlers,
    no_pauses: None,
    last_sweep: Callable[[], dict[str, Any]],
) -> None:
    tasks = [f"task-{number}" for number in range(6)]
    scenario.queue_tasks(*tasks)
    agent.commands()
    clock.advance(61)
    failing = faults.about("task-3")
    with faults.refused("TransactWriteItems", "InternalServerError", status=500, times=999, when=failing):
        handlers.sweep()
    states = {task: scenario.task_status(task) for task in tasks}
    assert states.pop("task-3") == "assigned"
    assert set(states.values()) == {"queued"}
    assert (last_sweep()["tasks"], last_sweep()["failures"]) == (5, 1)
    handlers.sweep()
    assert scenario.task_status("task-3") == "queued"


def test_error_of_one_agent_does_not_stop_the_sweep(
    scenario: Scenario, pass_minutes: PassMinutes, no_pauses: None
) -> None:
    scenario.agent("agent-1")
    scenario.agent("agent-2")
    failing = faults.about("agent-1", "inactive")
    with faults.refused("UpdateItem", "InternalServerError", status=500, times=999, when=failing):
        pass_minutes(5)
    assert (scenario.get_agent("agent-1")["status"], scenario.get_agent("agent-2")["status"]) == ("active", "inactive")
    pass_minutes(1)
    assert scenario.get_agent("agent-1")["status"] == "inactive"


def test_error_of_one_task_of_a_lost_agent_does_not_stop_the_others(
    scenario: Scenario, agent: Agent, pass_minutes: PassMinutes, no_pauses: None
) -> None:
    tasks = [scenario.start_task(agent, f"task-{number}") for number in range(3)]
    pass_minutes(5)
    failing = faults.about("task-0")
    with faults.refused("TransactWriteItems", "InternalServerError", status=500, times=999, when=failing):
        pass_minutes(6)
    assert [scenario.task_status(task) for task in tasks] == ["in_progress", "queued", "queued"]
    pass_minutes(1)
    assert scenario.task_status("task-0") == "queued"


def test_sweep_stops_in_time_and_the_next_one_resumes(
    scenario: Scenario, agent: Agent, clock: Clock, handlers: Handlers, last_sweep: Callable[[], dict[str, Any]]
) -> None:
    tasks = [f"task-{number}" for number in range(12)]
    scenario.queue_tasks(*tasks)
    agent.commands(limit=12)
    clock.advance(61)
    with time_per_request(1_000, 20_000) as left:
        handlers.sweep(left)
    requeued = [task for task in tasks if scenario.task_status(task) == "queued"]
    assert 0 < len(requeued) < 12
    assert last_sweep()["finished"] is False
    handlers.sweep()
    assert {scenario.task_status(task) for task in tasks} == {"queued"}


def test_sweep_without_remaining_time_does_nothing(
    scenario: Scenario, agent: Agent, clock: Clock, handlers: Handlers
) -> None:
    scenario.claim_task(agent)
    clock.advance(300)
    handlers.sweep(lambda: 5_000)  # `TIME_TO_STOP` of app.py
    assert (scenario.task_status(), scenario.get_agent()["status"]) == ("assigned", "active")


def test_sweep_handles_several_pages_of_due_rows(
    scenario: Scenario, agent: Agent, clock: Clock, handlers: Handlers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(due_work, "PAGE_SIZE", 1)
    tasks = [f"task-{number}" for number in range(6)]
    scenario.queue_tasks(*tasks)
    agent.commands()
    clock.advance(61)
    handlers.sweep()
    assert {scenario.task_status(task) for task in tasks} == {"queued"}


# Indexes are eventually consistent: they may contain deleted or outdated rows.


def with_row(row: dict[str, Any]) -> Callable[[dict[str, Any]], None]:
    """A change that adds a row to the response of a query."""

    def add(response: dict[str, Any]) -> None:
        response["Items"].append(row)

    return add


def test_sweep_skips_deleted_rows_that_are_still_in_an_index(
    scenario: Scenario, handlers: Handlers, owner: str, last_sweep: Callable[[], dict[str, Any]]
) -> None:
    agent = {"owner": {"S": owner}, "agent": {"S": "gone"}, "checkShard": {"N": "0"}, "checkAt": {"N": "1"}}
    task = {"pk": {"S": f"{owner}#gone"}, "sk": {"S": "H"}, "dueShard": {"N": "0"}, "dueAt": {"N": "1"}}
    event = task | {"sk": {"S": "E#0000000000001#0#001"}}
    with (
        faults.response_changed("Query", with_row(agent), when=faults.about('"live"')),
        faults.response_changed("Query", with_row(task), when=faults.about('"due"', "-tasks")),
        faults.response_changed("Query", with_row(event), when=faults.about('"due"', "-tasks")),
    ):
        handlers.sweep()
    assert last_sweep() == {"tasks": 0, "agents": 0, "failures": 0, "finished": True}
    assert [row["sk"] for row in invariants.rows("tasks")] == ["~sweep"]
    assert invariants.rows("agents") == []


def test_sweep_skips_ended_tasks_that_are_still_in_the_index(
    scenario: Scenario, agent: Agent, handlers: Handlers, clock: Clock, owner: str
) -> None:
    scenario.start_task(agent)
    ok(agent.complete("task-1"))
    clock.advance(3 * 3600)
    stale = {"pk": {"S": f"{owner}#task-1"}, "sk": {"S": "H"}, "dueShard": {"N": "0"}, "dueAt": {"N": "1"}}
    with faults.response_changed("Query", with_row(stale), when=faults.about('"due"', "-tasks")):
        handlers.sweep()
    assert scenario.task_status() == "completed"


def test_sweep_skips_a_removed_agent_of_the_index_that_is_registered_again(
    scenario: Scenario, agent: Agent, handlers: Handlers, owner: str
) -> None:
    stale = {"owner": {"S": owner}, "agent": {"S": "agent-1"}, "state": {"S": "removed"}, "checkAt": {"N": "1"}}
    with faults.response_changed("Query", with_row(stale), when=faults.about('"live"')) as fault:
        handlers.sweep()
    assert fault.affected
    assert scenario.get_agent()["status"] == "active"


# Shards.


@pytest.mark.parametrize(("before", "after"), [(8, 3), (1, 8)])
def test_sweep_finds_rows_of_another_number_of_shards(
    scenario: Scenario, set_shards: SetShards, pass_minutes: PassMinutes, before: int, after: int
) -> None:
    set_shards(before)
    agents = [scenario.agent(f"agent-{number}", capabilities=[f"kind-{number}"]) for number in range(5)]
    for number, agent in enumerate(agents):
        scenario.claim_task(agent, f"task-{number}", intent=f"kind-{number}")
    pass_minutes(0.5)
    set_shards(after)
    pass_minutes(5)
    assert {scenario.task_status(f"task-{number}") for number in range(5)} == {"queued"}
    assert {scenario.get_agent(f"agent-{number}")["status"] for number in range(5)} == {"inactive"}


# Removed agents.


def test_sweep_finishes_an_interrupted_removal(
    scenario: Scenario, agent: Agent, poller: EventPoller, pass_minutes: PassMinutes
) -> None:
    """The row stays in the sweep's index as a tombstone until it has no claims."""
    scenario.start_task(agent, "running")
    scenario.claim_task(agent, "claimed")
    scenario.queue_tasks("pinned", agentId="agent-1")
    with (
        faults.killed_after_write(2),
        pytest.raises(faults.ProcessKilled),
    ):  # after the user's call is counted and the agent is marked
        scenario.user.delete("/api/agents/agent-1")
    assert scenario.user.get("/api/agents/agent-1").status == 404
    assert agent.poll().status == 401
    assert scenario.task_status("running") == "in_progress"
    pass_minutes(2)
    assert [scenario.task_status(task) for task in ("running", "claimed", "pinned")] == ["queued", "queued", "failed"]
    assert scenario.get_task("pinned")["error"] == "Agent removed"
    assert invariants.rows("agents") == []


def test_agent_removed_during_a_sweep_stays_removed(
    scenario: Scenario, agent: Agent, poller: EventPoller, clock: Clock, pass_minutes: PassMinutes
) -> None:
    """A task has just been pinned to the agent, so its row must stay for a while."""
    poller.sweep()
    clock.advance(140)
    poller.sweep()
    clock.advance(70)
    scenario.queue_tasks("pinned", agentId="agent-1")
    clock.advance(10)
    removing = faults.interleaved(
        "UpdateItem", lambda: ok(scenario.user.delete("/api/agents/agent-1")), when=faults.about("inactive")
    )
    with removing as fault:
        poller.sweep()
    assert fault.affected
    assert scenario.user.get("/api/agents/agent-1").status == 404
    pass_minutes(3)
    assert invariants.rows("agents") == []


# Outages of the platform.


def outage(clock: Clock, poller: EventPoller, minutes: float) -> None:
    """An outage of the platform: no request reaches it and no sweep runs. The next sweep ends it."""
    clock.advance(60 * minutes)
    poller.sweep()


@pytest.fixture
def operate_normally(clock: Clock, poller: EventPoller) -> Callable[[], None]:
    """A function that sweeps half a minute after the last calls of the agents, as in normal operation."""

    def operate() -> None:
        clock.advance(30)
        poller.sweep()

    return operate


@pytest.mark.parametrize("minutes", [3.5, 30, 60 * 30])
def test_platform_outage_makes_no_agent_silent_or_lost(
    scenario: Scenario,
    agent: Agent,
    clock: Clock,
    poller: EventPoller,
    operate_normally: Callable[[], None],
    minutes: float,
) -> None:
    scenario.start_task(agent, "running")
    scenario.claim_task(agent, "claimed")
    operate_normally()
    outage(clock, poller, minutes)
    assert scenario.get_agent()["status"] == "active"
    assert [scenario.task_status(task) for task in ("running", "claimed")] == ["in_progress", "assigned"]
    clock.advance(20)
    poller.sweep()
    assert scenario.get_agent()["status"] == "active"
    assert agent.claims() == ["claimed"]
    ok(agent.progress("running"))


def test_platform_outage_moves_deadlines_by_its_length(
    scenario: Scenario, agent: Agent, clock: Clock, poller: EventPoller, operate_normally: Callable[[], None]
) -> None:
    scenario.start_task(agent, "running")
    operate_normally()
    outage(clock, poller, 60)
    for _ in range(3):
        clock.advance(60)
        poller.sweep()
    assert scenario.get_agent()["status"] == "inactive"
    assert scenario.task_status("running") == "in_progress"
    for _ in range(8):
        clock.advance(60)
        poller.sweep()
    assert scenario.task_status("running") == "queued"


def test_silence_before_a_platform_outage_still_counts(
    scenario: Scenario, agent: Agent, clock: Clock, poller: EventPoller
) -> None:
    """Nine of the ten minutes before the agent is lost have passed before the outage, so one is left."""
    scenario.start_task(agent, "running")
    for _ in range(9):
        poller.sweep()
        clock.advance(60)
    poller.sweep()
    outage(clock, poller, 60)
    assert scenario.task_status("running") == "in_progress"
    for _ in range(3):
        clock.advance(60)
        poller.sweep()
    assert scenario.task_status("running") == "queued"


def test_outage_is_remembered_if_the_sweep_that_notices_it_is_killed(
    scenario: Scenario, agent: Agent, clock: Clock, poller: EventPoller, operate_normally: Callable[[], None]
) -> None:
    scenario.start_task(agent, "running")
    operate_normally()
    clock.advance(60 * 60)
    with faults.killed_after_write(1), pytest.raises(faults.ProcessKilled):
        poller.sweep()
    poller.sweep()
    assert (scenario.get_agent()["status"], scenario.task_status("running")) == ("active", "in_progress")


def test_concurrent_sweeps_after_an_outage_declare_no_agent_lost(
    scenario: Scenario, agent: Agent, clock: Clock, poller: EventPoller, operate_normally: Callable[[], None]
) -> None:
    scenario.start_task(agent, "running")
    operate_normally()
    clock.advance(60 * 60)
    with faults.interleaved("Query", poller.sweep):
        poller.sweep()
    assert (scenario.get_agent()["status"], scenario.task_status("running")) == ("active", "in_progress")


def test_outage_does_not_shorten_the_day_of_a_queued_task(
    scenario: Scenario, clock: Clock, poller: EventPoller, pass_minutes: PassMinutes
) -> None:
    scenario.queue_tasks()
    pass_minutes(60 * 23)
    outage(clock, poller, 60 * 5)
    assert scenario.task_status() == "queued"
    pass_minutes(30)
    assert scenario.task_status() == "queued"
    pass_minutes(31)
    assert scenario.task_status() == "failed"


def test_first_sweep_detects_no_outage(scenario: Scenario, agent: Agent, clock: Clock, poller: EventPoller) -> None:
    scenario.start_task(agent)
    clock.advance(60 * 60)
    poller.sweep()
    assert scenario.get_agent()["status"] == "inactive"
    assert scenario.task_status() == "queued"
