"""Many agents poll the queue of one user with one task in it.

An agent that comes too late sends at most one extra request, and none once the index no longer has the task.
"""

from typing import Any

import pytest

from infra.local.event_poller import EventPoller
from tests.conftest import Clock
from tests.http.budget_calls import Agent, World, make_world
from tests.http.test_budget import CHECK_IN, QUERY_TASKS, READ_TASKS, WRITE_AGENT_AND_TASKS
from tests.service import faults
from tests.support import costs
from tests.support.client import Client

AGENTS = 50


@pytest.fixture
def world(user: Client, poller: EventPoller, clock: Clock) -> World:
    return make_world(user, poller, clock)


@pytest.fixture
def agents(world: World) -> list[Agent]:
    """Each has room for several tasks, so only conflicts keep an agent from a task."""
    return [world.agent(name=f"agent-{number}", concurrency=5) for number in range(AGENTS)]


def test_each_agent_that_loses_a_race_for_a_task_sends_one_extra_request(world: World, agents: list[Agent]) -> None:
    """The worst case: the index returns the same task to all fifty agents. A loser queries nothing else."""
    world.queue_tasks()
    first_items: list[dict[str, Any]] = []

    def stale(response: dict[str, Any]) -> None:
        first_items.extend(response["Items"] if not first_items else [])
        response["Items"] = list(first_items)

    with faults.response_changed("Query", stale, times=10 * AGENTS, when=faults.about('"queue"')):
        polled = [costs.measured(agent.poll).requests for agent in agents]
    assert polled[0] == (CHECK_IN, QUERY_TASKS, WRITE_AGENT_AND_TASKS, READ_TASKS)
    assert polled[1:] == [(CHECK_IN, QUERY_TASKS, WRITE_AGENT_AND_TASKS)] * (AGENTS - 1)


def test_claimed_task_costs_no_extra_request_once_the_index_is_current(world: World, agents: list[Agent]) -> None:
    world.queue_tasks()
    polled = [costs.measured(agent.poll).requests for agent in agents]
    assert polled[0] == (CHECK_IN, QUERY_TASKS, WRITE_AGENT_AND_TASKS, READ_TASKS)
    assert polled[1:] == [(CHECK_IN, QUERY_TASKS)] * (AGENTS - 1)


def test_agent_claims_other_tasks_with_one_more_request_after_a_conflict(world: World, agents: list[Agent]) -> None:
    """The index returns five tasks that another agent claimed, and after them a free one."""
    first, second = agents[:2]
    world.queue_tasks(5)
    first_items: list[dict[str, Any]] = []

    def stale(response: dict[str, Any]) -> None:
        claimed = list(first_items)
        first_items.extend(response["Items"] if not first_items else [])
        response["Items"] = [*claimed, *[item for item in response["Items"] if item not in claimed]]

    with faults.response_changed("Query", stale, times=10, when=faults.about('"queue"')):
        assert len(first.claims()) == 5
        world.queue_tasks()
        polled = costs.measured(second.poll)
    assert polled.requests == (CHECK_IN, QUERY_TASKS, WRITE_AGENT_AND_TASKS, WRITE_AGENT_AND_TASKS, READ_TASKS)
