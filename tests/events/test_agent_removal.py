"""Removing an agent to which more tasks are pinned than one request can release.

Neither the request nor a run of the sweep may take longer than its time limit.
"""

from collections import Counter

import pytest

from chalicelib.core.settings import SECOND
from chalicelib.tasks import lifecycle
from infra.local.event_poller import EventPoller
from tests.conftest import Clock
from tests.events.conftest import bodies
from tests.http.scenario import Agent, Scenario, ok, refused
from tests.long import load
from tests.service import faults, invariants
from tests.support import aws_requests
from tests.support.client import Client
from tests.support.handlers import Handlers, time_per_request

PER_REQUEST = 10
"""How many pinned tasks a request releases, and each visit of the sweep. It is 100 on a real stage."""


@pytest.fixture
def pinned(user: Client, poller: EventPoller, monkeypatch: pytest.MonkeyPatch) -> Scenario:
    """user@example.com with an agent. Its tasks are loaded without their submission, so counts do not agree."""
    monkeypatch.setattr(lifecycle, "_PAGE_SIZE", PER_REQUEST)
    scenario = Scenario(user, poller)
    scenario.agent()
    poller.drain()
    return scenario


def pin_tasks(scenario: Scenario, count: int, now: int) -> None:
    owner = scenario.user_id()
    for number in range(count):
        rows = load.task_row(owner, f"task-{number}", now, status="queued", intent="fix-bug", pinned_agent_id="agent-1")
        load.load(None, list(rows)[:1])


def statuses() -> Counter[str]:
    return Counter(head["status"] for head in invariants.heads())


def test_request_releases_some_tasks_and_the_sweep_the_others(
    pinned: Scenario, handlers: Handlers, clock: Clock
) -> None:
    pin_tasks(pinned, 25, clock.now)
    with aws_requests.recorded() as sent:
        ok(pinned.user.delete("/api/agents/agent-1"))
    assert statuses() == {"failed": PER_REQUEST, "queued": 15}
    assert len(sent) < 4 * PER_REQUEST
    refused(pinned.user.get("/api/agents/agent-1"), 404)
    handlers.sweep()
    assert statuses() == {"failed": 25}
    assert {head["error"] for head in invariants.heads()} == {"Agent removed"}
    assert invariants.rows("agents") == []
    assert bodies("sweep") == []


def test_repeated_request_releases_more_tasks(pinned: Scenario, clock: Clock) -> None:
    pin_tasks(pinned, 15, clock.now)
    ok(pinned.user.delete("/api/agents/agent-1"))
    ok(pinned.user.delete("/api/agents/agent-1"))
    assert statuses() == {"failed": 15}
    refused(pinned.user.delete("/api/agents/agent-1"), 404)


@pytest.mark.parametrize(
    ("count", "page", "milliseconds"),
    [
        (60, PER_REQUEST, 100),
        pytest.param(10_000, 100, 10, marks=[pytest.mark.long, pytest.mark.timeout(7_200)]),
    ],
)
def test_removal_that_is_too_large_for_a_run_is_handed_out(
    pinned: Scenario,
    handlers: Handlers,
    clock: Clock,
    frozen_time: None,
    monkeypatch: pytest.MonkeyPatch,
    count: int,
    page: int,
    milliseconds: int,
) -> None:
    """Each request to AWS takes some milliseconds. Neither a run nor a process exceeds its time limit."""
    monkeypatch.setattr(lifecycle, "_PAGE_SIZE", page)
    pin_tasks(pinned, count, clock.now)
    ok(pinned.user.delete("/api/agents/agent-1"))
    runs = 0
    while invariants.rows("agents"):
        before = statuses()["queued"]
        with time_per_request(milliseconds, 50 * SECOND) as left:
            handlers.sweep(left)
            assert left() > 0
        assert statuses()["queued"] < before
        for message in bodies("sweep")[-1:] if invariants.rows("agents") else []:
            assert message["kind"] == "agents"
            with time_per_request(milliseconds, 60 * SECOND) as left:
                assert handlers.batch("sweep_backlog", message, left=left) == []
                assert left() > 0
        clock.advance(60)
        runs += 1
    assert statuses() == {"failed": count}
    assert len(bodies("sweep")) in (runs - 1, runs)
    assert runs <= 1 + count // 1_000


def test_removed_agent_does_not_delay_the_check_of_others(
    pinned: Scenario, handlers: Handlers, clock: Clock, frozen_time: None
) -> None:
    for number in range(2, 12):
        pinned.agent(f"agent-{number}")
    pin_tasks(pinned, 60, clock.now)
    clock.advance(240)
    ok(pinned.user.delete("/api/agents/agent-1"))
    with time_per_request(100, 15 * SECOND) as left:
        handlers.sweep(left)
    assert statuses()["queued"] > 0
    states = Counter(row["state"] for row in invariants.rows("agents"))
    assert states == {"inactive": 10, "removed": 1}


def test_agent_id_can_be_registered_again_when_all_tasks_are_released(
    pinned: Scenario, handlers: Handlers, clock: Clock
) -> None:
    pin_tasks(pinned, 35, clock.now)
    ok(pinned.user.delete("/api/agents/agent-1"))
    body = {"agentId": "agent-1", "name": "new", "version": "2"}
    response = pinned.user.post("/api/agents", body)
    refused(response, 503)
    assert response.header("Retry-After")
    assert statuses() == {"failed": 20, "queued": 15}, "the request has continued the removal"
    handlers.sweep()
    new = Agent("agent-1", pinned.user.acting_as(ok(pinned.user.post("/api/agents", body), 201)["token"]))
    assert statuses() == {"failed": 35}
    assert new.claims() == []


def test_error_with_one_pinned_task_does_not_stop_the_others(
    pinned: Scenario, handlers: Handlers, clock: Clock, no_pauses: None
) -> None:
    pin_tasks(pinned, PER_REQUEST, clock.now)
    failing = faults.about("task-7")
    with faults.refused("TransactWriteItems", "InternalServerError", status=500, times=999, when=failing):
        refused(pinned.user.delete("/api/agents/agent-1"), 503)
    assert statuses() == {"failed": 9, "queued": 1}
    handlers.sweep()
    assert statuses() == {"failed": 10}
    assert invariants.rows("agents") == []
