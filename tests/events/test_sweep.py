"""The scheduled function: what it takes up, what it leaves alone, and what does not stop it."""

import io
import json
import threading
from collections.abc import Callable
from typing import Any

import pytest

from chalicelib.core import log as log_module
from chalicelib.core.settings import settings
from chalicelib.orchestration import sweep
from infra.local.event_poller import EventPoller
from tests.conftest import Clock
from tests.http.scene import Agent, Scene, ok
from tests.service import faults, invariants
from tests.service.conftest import Passing, Sharded
from tests.support import moto_aws, wire
from tests.support.handlers import Handlers


def test_where_nothing_is_due_it_asks_each_index_a_few_times_and_changes_nothing(
    scene: Scene, agent: Agent, handlers: Handlers, sharded: Sharded
) -> None:
    sharded(3)
    scene.running(agent)
    before = moto_aws.rows("tasks"), moto_aws.rows("agents")
    handlers.sweep()
    with wire.recorded() as sent:
        handlers.sweep()
    looks = 4 + 2  # what is due, and what there is, for the figures that it tells
    assert sent.operations == ["UpdateItem", *["Query"] * looks * settings.shards]
    assert [row for row in moto_aws.rows("tasks") if row["pk"] != {"S": "~sweep"}] == before[0]
    assert moto_aws.rows("agents") == before[1]


@pytest.fixture
def swept(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> Callable[[], dict[str, Any]]:
    """What the last sweep says of itself in the log."""
    stream = io.StringIO()
    monkeypatch.setattr(log_module.handler, "stream", stream)

    def last() -> dict[str, Any]:
        lines = [json.loads(line) for line in stream.getvalue().splitlines()]
        (*_, said) = [line for line in lines if line["message"] == "swept"]
        return {name: said[name] for name in ("tasks", "agents", "failures", "finished")}

    return last


def test_its_line_in_the_log_says_what_it_did(
    agent: Agent, passing: Passing, swept: Callable[[], dict[str, Any]]
) -> None:
    passing(5)
    assert swept() == {"tasks": 0, "agents": 1, "failures": 0, "finished": True}


def test_a_silent_agents_claims_go_back_and_then_what_it_ran(scene: Scene, agent: Agent, passing: Passing) -> None:
    scene.running(agent, "task-1")
    scene.claimed(agent, "task-2")
    passing(4)
    assert scene.shown()["status"] == "inactive"
    assert (scene.state("task-1"), scene.state("task-2")) == ("in_progress", "queued")
    passing(5)
    assert scene.state("task-1") == "in_progress"
    passing(2)
    assert (scene.state("task-1"), scene.task("task-1")["attempt"]) == ("queued", 2)


def test_a_claim_that_is_not_renewed_goes_back_though_its_agent_lives(
    scene: Scene, agent: Agent, passing: Passing
) -> None:
    scene.claimed(agent)
    for _ in range(2):
        ok(agent.beat())
        passing(0.6)
    assert scene.events() == ["created", "queued", "assigned", "requeued"]
    assert agent.claims() == ["task-1"]


def test_one_claim_can_be_renewed_for_ten_minutes_and_no_longer(scene: Scene, agent: Agent, passing: Passing) -> None:
    scene.claimed(agent)
    for _ in range(9):
        passing(1 - 1 / 60)
        assert agent.claims() == ["task-1"]
    assert scene.events() == ["created", "queued", "assigned"]
    for _ in range(3):
        passing(0.5)
    assert scene.events()[:4] == ["created", "queued", "assigned", "requeued"]


def test_two_sweeps_at_once_do_everything_once(scene: Scene, clock: Clock, handlers: Handlers) -> None:
    agents = [scene.agent(f"agent-{number}", capabilities=[f"kind-{number}"]) for number in range(2)]
    for number, agent in enumerate(agents):
        scene.running(agent, f"running-{number}", intent=f"kind-{number}")
        scene.claimed(agent, f"claimed-{number}", intent=f"kind-{number}")
    handlers.sweep()
    clock.advance(170)
    handlers.sweep()
    for _ in range(3):
        clock.advance(170)
        at_once([handlers.sweep] * 3)
    invariants.hold()
    for number in range(2):
        assert scene.events(f"running-{number}")[4:] == ["requeued"]
        assert scene.events(f"claimed-{number}")[3:] == ["requeued"]


def at_once(acts: list[Callable[[], object]]) -> None:
    """Run all in threads of their own, begun together; raises what any of them raises."""
    ready, raised = threading.Barrier(len(acts)), []

    def run(act: Callable[[], object]) -> None:
        ready.wait()
        try:
            act()
        except BaseException as error:  # noqa: BLE001  # carried to the thread of the test
            raised.append(error)

    threads = [threading.Thread(target=run, args=(act,)) for act in acts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not raised


def test_a_sweep_that_finds_a_task_changed_meanwhile_leaves_it_alone(
    scene: Scene, agent: Agent, clock: Clock, poller: EventPoller
) -> None:
    """The agent starts the task between the sweep's look and its write."""
    scene.claimed(agent)
    clock.advance(61)
    with faults.meanwhile("TransactWriteItems", lambda: ok(agent.progress("task-1"))):
        poller.sweep()
    assert scene.events() == ["created", "queued", "assigned", "started"]
    assert scene.state() == "in_progress"


def test_an_agent_heard_of_while_the_sweep_looks_at_it_stays_active(
    scene: Scene, agent: Agent, clock: Clock, poller: EventPoller
) -> None:
    poller.sweep()
    clock.advance(140)
    poller.sweep()
    clock.advance(80)
    with faults.meanwhile("UpdateItem", lambda: ok(agent.beat()), when=faults.about("inactive")) as fault:
        poller.sweep()
    assert fault.struck
    assert scene.shown()["status"] == "active"


def test_one_item_that_cannot_be_taken_up_does_not_stop_the_rest(
    scene: Scene,
    agent: Agent,
    clock: Clock,
    handlers: Handlers,
    no_pauses: None,
    swept: Callable[[], dict[str, Any]],
) -> None:
    tasks = [f"task-{number}" for number in range(6)]
    scene.queued(*tasks)
    agent.commands()
    clock.advance(61)
    bad = faults.about("task-3")
    with faults.refused("TransactWriteItems", "InternalServerError", status=500, times=999, when=bad):
        handlers.sweep()
    states = {task: scene.state(task) for task in tasks}
    assert states.pop("task-3") == "assigned"
    assert set(states.values()) == {"queued"}
    assert (swept()["tasks"], swept()["failures"]) == (5, 1)
    handlers.sweep()
    assert scene.state("task-3") == "queued"


def test_an_agent_that_cannot_be_let_go_of_does_not_stop_the_rest(
    scene: Scene, passing: Passing, no_pauses: None
) -> None:
    scene.agent("agent-1")
    scene.agent("agent-2")
    bad = faults.about("agent-1", "inactive")
    with faults.refused("UpdateItem", "InternalServerError", status=500, times=999, when=bad):
        passing(5)
    assert (scene.shown("agent-1")["status"], scene.shown("agent-2")["status"]) == ("active", "inactive")
    passing(1)
    assert scene.shown("agent-1")["status"] == "inactive"


def test_of_what_a_lost_agent_ran_one_task_that_cannot_be_given_back_does_not_keep_the_others(
    scene: Scene, agent: Agent, passing: Passing, no_pauses: None
) -> None:
    tasks = [scene.running(agent, f"task-{number}") for number in range(3)]
    passing(5)
    bad = faults.about("task-0")
    with faults.refused("TransactWriteItems", "InternalServerError", status=500, times=999, when=bad):
        passing(6)
    assert [scene.state(task) for task in tasks] == ["in_progress", "queued", "queued"]
    passing(1)
    assert scene.state("task-0") == "queued"


def test_when_its_time_runs_out_it_stops_and_the_next_goes_on(
    scene: Scene, agent: Agent, clock: Clock, handlers: Handlers, swept: Callable[[], dict[str, Any]]
) -> None:
    tasks = [f"task-{number}" for number in range(6)]
    scene.queued(*tasks)
    agent.commands()
    clock.advance(61)
    handlers.sweep(30_000, 20_000, 10_000, 4_999)
    done = [task for task in tasks if scene.state(task) == "queued"]
    assert 0 < len(done) < 6
    assert swept()["finished"] is False
    handlers.sweep()
    assert {scene.state(task) for task in tasks} == {"queued"}


def test_without_any_time_it_does_nothing_at_all(scene: Scene, agent: Agent, clock: Clock, handlers: Handlers) -> None:
    scene.claimed(agent)
    clock.advance(300)
    handlers.sweep(1)
    assert (scene.state(), scene.shown()["status"]) == ("assigned", "active")


def test_more_than_a_page_of_what_is_due_is_taken_up_in_one_run(
    scene: Scene, agent: Agent, clock: Clock, handlers: Handlers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep, "PAGE_SIZE", 1)
    tasks = [f"task-{number}" for number in range(6)]
    scene.queued(*tasks)
    agent.commands()
    clock.advance(61)
    handlers.sweep()
    assert {scene.state(task) for task in tasks} == {"queued"}


# Rows that an index still shows, or shows otherwise than they are: indexes lag behind their tables.


def shown_too(row: dict[str, Any]) -> Callable[[dict[str, Any]], None]:
    """A change to a query's answer: it has this row as well."""

    def show(answer: dict[str, Any]) -> None:
        answer["Items"].append(row)

    return show


def test_rows_that_are_gone_but_still_in_the_index_are_passed_over(
    scene: Scene, handlers: Handlers, owner: str, swept: Callable[[], dict[str, Any]]
) -> None:
    ghost = {"owner": {"S": owner}, "agent": {"S": "gone"}, "checkShard": {"N": "0"}, "checkAt": {"N": "1"}}
    task = {"pk": {"S": f"{owner}#gone"}, "sk": {"S": "H"}, "dueShard": {"N": "0"}, "dueAt": {"N": "1"}}
    event = task | {"sk": {"S": "E#0000000000001#0#001"}}
    with (
        faults.partly("Query", shown_too(ghost), when=faults.about('"live"')),
        faults.partly("Query", shown_too(task), when=faults.about('"due"', "-tasks")),
        faults.partly("Query", shown_too(event), when=faults.about('"due"', "-tasks")),
    ):
        handlers.sweep()
    assert swept() == {"tasks": 0, "agents": 0, "failures": 0, "finished": True}
    assert [row["sk"] for row in invariants.rows("tasks")] == ["~sweep"]
    assert invariants.rows("agents") == []


def test_a_task_that_has_ended_but_is_still_in_the_index_is_passed_over(
    scene: Scene, agent: Agent, handlers: Handlers, clock: Clock, owner: str
) -> None:
    scene.running(agent)
    ok(agent.complete("task-1"))
    clock.advance(3 * 3600)
    stale = {"pk": {"S": f"{owner}#task-1"}, "sk": {"S": "H"}, "dueShard": {"N": "0"}, "dueAt": {"N": "1"}}
    with faults.partly("Query", shown_too(stale), when=faults.about('"due"', "-tasks")):
        handlers.sweep()
    assert scene.state() == "completed"


# Shards.


@pytest.mark.parametrize(("before", "after"), [(8, 3), (1, 8)])
def test_what_was_written_with_another_number_of_shards_is_still_found(
    scene: Scene, sharded: Sharded, passing: Passing, before: int, after: int
) -> None:
    sharded(before)
    agents = [scene.agent(f"agent-{number}", capabilities=[f"kind-{number}"]) for number in range(5)]
    for number, agent in enumerate(agents):
        scene.claimed(agent, f"task-{number}", intent=f"kind-{number}")
    passing(0.5)
    sharded(after)
    passing(5)
    assert {scene.state(f"task-{number}") for number in range(5)} == {"queued"}
    assert {scene.shown(f"agent-{number}")["status"] for number in range(5)} == {"inactive"}


# Agents that are removed.


def test_a_removal_that_was_cut_short_is_ended(
    scene: Scene, agent: Agent, poller: EventPoller, passing: Passing
) -> None:
    """The row stays as a tombstone in the sweep's index until it holds nothing."""
    scene.running(agent, "running")
    scene.claimed(agent, "claimed")
    scene.queued("pinned", agentId="agent-1")
    with faults.died(2), pytest.raises(faults.Died):  # the user is let in, the agent marked
        scene.user.delete("/api/agents/agent-1")
    assert scene.user.get("/api/agents/agent-1").status == 404
    assert agent.poll().status == 401
    assert scene.state("running") == "in_progress"
    passing(2)
    assert [scene.state(task) for task in ("running", "claimed", "pinned")] == ["queued", "queued", "failed"]
    assert scene.task("pinned")["error"] == "Agent removed"
    assert invariants.rows("agents") == []


def test_an_agent_removed_while_the_sweep_looks_at_it_stays_removed(
    scene: Scene, agent: Agent, poller: EventPoller, clock: Clock, passing: Passing
) -> None:
    """A task was pinned to it a moment ago, so its row has to stay for a while."""
    poller.sweep()
    clock.advance(140)
    poller.sweep()
    clock.advance(70)
    scene.queued("pinned", agentId="agent-1")
    clock.advance(10)
    removing = faults.meanwhile(
        "UpdateItem", lambda: ok(scene.user.delete("/api/agents/agent-1")), when=faults.about("inactive")
    )
    with removing as fault:
        poller.sweep()
    assert fault.struck
    assert scene.user.get("/api/agents/agent-1").status == 404
    passing(3)
    assert invariants.rows("agents") == []


# Outages of our own.


def outage(clock: Clock, poller: EventPoller, minutes: float) -> None:
    """The platform stands still for so long: nobody can reach it and no sweep runs."""
    clock.advance(60 * minutes)
    poller.sweep()


@pytest.fixture
def humming(clock: Clock, poller: EventPoller) -> Callable[[], None]:
    """The sweep ran just now, and the agents were heard of half a minute before: as ever, in operation."""

    def hum() -> None:
        clock.advance(30)
        poller.sweep()

    return hum


@pytest.mark.parametrize("minutes", [3.5, 30, 60 * 30])
def test_nobody_is_declared_lost_or_silent_for_an_outage_of_our_own(
    scene: Scene, agent: Agent, clock: Clock, poller: EventPoller, humming: Callable[[], None], minutes: float
) -> None:
    scene.running(agent, "running")
    scene.claimed(agent, "claimed")
    humming()
    outage(clock, poller, minutes)
    assert scene.shown()["status"] == "active"
    assert [scene.state(task) for task in ("running", "claimed")] == ["in_progress", "assigned"]
    clock.advance(20)
    poller.sweep()
    assert scene.shown()["status"] == "active"
    assert agent.claims() == ["claimed"]
    ok(agent.progress("running"))


def test_after_an_outage_every_deadline_has_moved_by_its_length_and_no_more(
    scene: Scene, agent: Agent, clock: Clock, poller: EventPoller, humming: Callable[[], None]
) -> None:
    scene.running(agent, "running")
    humming()
    outage(clock, poller, 60)
    for _ in range(3):
        clock.advance(60)
        poller.sweep()
    assert scene.shown()["status"] == "inactive"
    assert scene.state("running") == "in_progress"
    for _ in range(8):
        clock.advance(60)
        poller.sweep()
    assert scene.state("running") == "queued"


def test_an_agent_that_was_silent_before_an_outage_is_not_given_a_new_start(
    scene: Scene, agent: Agent, clock: Clock, poller: EventPoller
) -> None:
    """Nine of its ten minutes were over: it has one left."""
    scene.running(agent, "running")
    for _ in range(9):
        poller.sweep()
        clock.advance(60)
    poller.sweep()
    outage(clock, poller, 60)
    assert scene.state("running") == "in_progress"
    for _ in range(3):
        clock.advance(60)
        poller.sweep()
    assert scene.state("running") == "queued"


def test_an_outage_is_remembered_though_the_sweep_that_notices_it_dies(
    scene: Scene, agent: Agent, clock: Clock, poller: EventPoller, humming: Callable[[], None]
) -> None:
    scene.running(agent, "running")
    humming()
    clock.advance(60 * 60)
    with faults.died(1), pytest.raises(faults.Died):
        poller.sweep()
    poller.sweep()
    assert (scene.shown()["status"], scene.state("running")) == ("active", "in_progress")


def test_of_two_sweeps_at_once_after_an_outage_neither_declares_anybody_lost(
    scene: Scene, agent: Agent, clock: Clock, poller: EventPoller, humming: Callable[[], None]
) -> None:
    scene.running(agent, "running")
    humming()
    clock.advance(60 * 60)
    with faults.meanwhile("Query", poller.sweep):
        poller.sweep()
    assert (scene.shown()["status"], scene.state("running")) == ("active", "in_progress")


def test_a_task_nobody_could_take_because_of_an_outage_has_its_whole_day(
    scene: Scene, clock: Clock, poller: EventPoller, passing: Passing
) -> None:
    scene.queued()
    passing(60 * 23)
    outage(clock, poller, 60 * 5)
    assert scene.state() == "queued"
    passing(30)
    assert scene.state() == "queued"
    passing(31)
    assert scene.state() == "failed"


def test_the_very_first_sweep_takes_nothing_for_an_outage(
    scene: Scene, agent: Agent, clock: Clock, poller: EventPoller
) -> None:
    scene.running(agent)
    clock.advance(60 * 60)
    poller.sweep()
    assert scene.shown()["status"] == "inactive"
    assert scene.state() == "queued"
