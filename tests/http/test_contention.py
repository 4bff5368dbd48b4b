"""Many agents poll one user's queue with one task in it: who comes too late loses one request at most, and none at all
once the index shows that the task is gone."""

from typing import Any

import pytest

from infra.local.event_poller import EventPoller
from tests.conftest import Clock
from tests.http.budget_calls import Agent, World, make_world
from tests.http.test_budget import BODIES, CHANGE, LOOK, SHOW
from tests.service import faults
from tests.support import costs
from tests.support.client import Client

AGENTS = 50


@pytest.fixture
def world(user: Client, poller: EventPoller, clock: Clock) -> World:
    return make_world(user, poller, clock)


@pytest.fixture
def agents(world: World) -> list[Agent]:
    """With room for many tasks each, so that nobody is beaten for want of it."""
    return [world.agent(name=f"agent-{number}", concurrency=5) for number in range(AGENTS)]


def test_each_agent_that_loses_a_race_for_a_task_sends_one_extra_request(world: World, agents: list[Agent]) -> None:
    """The worst there is: the index shows all fifty what it showed the first. A loser looks for nothing else."""
    world.queued()
    seen: list[dict[str, Any]] = []

    def stale(answer: dict[str, Any]) -> None:
        seen.extend(answer["Items"] if not seen else [])
        answer["Items"] = list(seen)

    with faults.partly("Query", stale, times=10 * AGENTS, when=faults.about('"queue"')):
        polled = [costs.measured(agent.poll).requests for agent in agents]
    assert polled[0] == (SHOW, LOOK, CHANGE, BODIES)
    assert polled[1:] == [(SHOW, LOOK, CHANGE)] * (AGENTS - 1)


def test_claimed_task_costs_no_extra_request_once_the_index_is_current(world: World, agents: list[Agent]) -> None:
    world.queued()
    polled = [costs.measured(agent.poll).requests for agent in agents]
    assert polled[0] == (SHOW, LOOK, CHANGE, BODIES)
    assert polled[1:] == [(SHOW, LOOK)] * (AGENTS - 1)


def test_agent_claims_other_tasks_with_one_more_request_after_a_conflict(world: World, agents: list[Agent]) -> None:
    """The index shows five tasks that another took, and behind them one that is free."""
    first, second = agents[:2]
    world.queued(5)
    seen: list[dict[str, Any]] = []

    def stale(answer: dict[str, Any]) -> None:
        taken = list(seen)
        seen.extend(answer["Items"] if not seen else [])
        answer["Items"] = [*taken, *[item for item in answer["Items"] if item not in taken]]

    with faults.partly("Query", stale, times=10, when=faults.about('"queue"')):
        assert len(first.claims()) == 5
        world.queued()
        polled = costs.measured(second.poll)
    assert polled.requests == (SHOW, LOOK, CHANGE, CHANGE, BODIES)
