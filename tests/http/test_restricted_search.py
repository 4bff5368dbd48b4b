"""An agent whose rules admit few tasks finds them in a long queue, with a bounded number of requests for each poll."""

import random
from typing import Any

import pytest

from chalicelib.tasks import restricted_search
from tests.conftest import Clock
from tests.http.scenario import Agent, Scenario, ok
from tests.support import costs, moto_aws

ACME, EVIL = "https://github.com/acme/shop", "https://github.com.evil.example/acme/shop"
ACME_ONLY = ["https://github.com/acme/*"]


def stored_positions() -> Any:
    """Where the search of the only agent ended, by queue."""
    (row,) = moto_aws.rows("agents")
    return {name: value["S"] for name, value in row.get("searched", {"M": {}})["M"].items()}


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages of five tasks: a queue of a hundred is as many pages as one of a thousand with pages of fifty."""
    monkeypatch.setattr(restricted_search, "PAGE_SIZE", 5)


@pytest.mark.usefixtures("small_pages")
def test_admitted_task_behind_a_long_queue_is_found(scenario: Scenario, fresh_minute: Clock) -> None:
    """A hundred tasks before it and twenty after it are not admitted: as many pages as of 1,200 tasks."""
    agent = scenario.agent(repos=ACME_ONLY)
    scenario.queue_tasks("no-000", repo=EVIL)
    scenario.copy_task("no-000", [f"no-{number:03}" for number in range(1, 100)])
    fresh_minute.advance(200)
    scenario.queue_tasks("yes", repo=ACME)
    scenario.copy_task("no-000", [f"no-{number:03}" for number in range(100, 120)], age=300)
    polled = 0
    while not (claimed := agent.claims(limit=1)):
        polled += 1
        assert polled < 10, "each poll reads three further pages"
    assert claimed == ["yes"]
    measured = costs.measured(agent.poll)
    assert measured.requests.count("Query tasks") <= 4
    assert len(measured.requests) <= 2 + 2 * 4 + 2
    ok(agent.complete("yes"))
    scenario.queue_tasks("urgent", repo=ACME, priority=9)
    assert agent.claims() == ["urgent"], "every poll reads the beginning of the queue"
    ok(agent.complete("urgent"))
    positions = set()
    for _ in range(12):
        assert agent.claims() == []
        positions.add(str(stored_positions()))
    assert len(positions) >= 8, "the search goes round"
    assert "{}" in positions, "it begins again after the end"


@pytest.mark.usefixtures("small_pages")
def test_every_intent_of_a_long_queue_is_searched(
    scenario: Scenario, fresh_minute: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = scenario.agent(repos=ACME_ONLY, capabilities=["a", "c", "e", "g", "i"])
    for intent in "abcd":
        scenario.queue_tasks(f"{intent}-00", repo=EVIL, intent=intent)
        scenario.copy_task(f"{intent}-00", [f"{intent}-{number:02}" for number in range(1, 12)])
    for intent in "aceg":
        scenario.queue_tasks(f"{intent}-yes", repo=ACME, intent=intent, priority=-1)
    scenario.queue_tasks("i-yes", repo=ACME, intent="i", priority=9)
    monkeypatch.setattr(random, "sample", lambda population, k: list(population)[-k:])  # g and i
    assert agent.claims(limit=2) == ["i-yes", "g-yes"]
    claimed = {*agent.claims(limit=100)}
    for _ in range(8):
        claimed |= {*agent.claims(limit=100)}
    assert claimed == {"a-yes", "c-yes", "e-yes", "g-yes", "i-yes"}


@pytest.mark.usefixtures("small_pages")
def test_position_of_other_capabilities_or_of_an_ended_task_is_no_obstacle(
    scenario: Scenario, fresh_minute: Clock
) -> None:
    agent = scenario.agent(repos=ACME_ONLY, capabilities=["m"])
    scenario.queue_tasks("m-00", repo=EVIL, intent="m")
    scenario.copy_task("m-00", [f"m-{number:02}" for number in range(1, 40)])
    assert agent.claims() == []
    ended = stored_positions()["shared"].rpartition("#")[2]
    ok(scenario.user.post(f"/api/tasks/{ended}/cancel"))
    assert agent.claims() == []
    assert stored_positions()["shared"].rpartition("#")[2] == "m-34"
    for capabilities in (["a"], ["z"], ["a", "z"]):
        ok(agent.heartbeat(capabilities=capabilities))
        assert agent.claims() == []
    ok(agent.heartbeat(capabilities=["m"]))
    scenario.queue_tasks("yes", repo=ACME, intent="m", priority=-1)
    assert [task for _ in range(4) for task in agent.claims(limit=1)][-1:] == ["yes"]


@pytest.mark.usefixtures("small_pages")
def test_pinned_task_behind_others_that_the_rules_do_not_admit_any_more_is_found(
    scenario: Scenario, agent: Agent, fresh_minute: Clock
) -> None:
    scenario.queue_tasks("no-00", repo=EVIL, agentId=agent.id)
    scenario.copy_task("no-00", [f"no-{number:02}" for number in range(1, 40)])
    ok(scenario.user.patch("/api/agents/agent-1", {"repos": ACME_ONLY}))
    fresh_minute.advance(50)
    scenario.queue_tasks("yes", repo=ACME, agentId=agent.id)
    assert [task for _ in range(4) for task in agent.claims(limit=1)][-1:] == ["yes"]
