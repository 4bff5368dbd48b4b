"""The figures of calls from which docs/cost.md is computed are complete and correct.

`make bench ARGS=capacity` writes them to bench/figures.json. These tests count requests, routes and bytes again.
`make test-long` counts units again, on Amazon's DynamoDB Local.
"""

from collections.abc import Iterator

import pytest

from bench import figures
from infra.local.event_poller import EventPoller
from infra.local.gateway import Gateway
from tests.conftest import Clock
from tests.http.budget_calls import CALLS, World, make_world
from tests.http.conftest import Routes
from tests.support import costs, invocations, units
from tests.support.client import Client
from tests.support.iam import DeployedApp

FIGURES = figures.load()
OUTDATED = "run `make bench ARGS=capacity` and `make cost`"
TOLERANCE = 0.15
"""Bytes may differ a little: the number of digits of a duration in milliseconds varies."""


@pytest.fixture
def world(user: Client, poller: EventPoller, clock: Clock) -> Iterator[World]:
    world = make_world(user, poller, clock)
    with world.cleanup:
        yield world


def test_every_measured_call_has_figures() -> None:
    assert list(CALLS) == list(FIGURES), OUTDATED


def test_every_route_and_handler_is_measured(deployed: DeployedApp, routes: Routes) -> None:
    existing = {f"{method} {path}" for method, path in routes.declared} | set(deployed.handler_map)
    assert {each.reached for each in FIGURES.values()} == existing, (
        f"add it to tests/http/budget_calls.py, then {OUTDATED}"
    )


@pytest.mark.parametrize("name", CALLS)
def test_requests_and_bytes_match_the_figures(world: World, gateway: Gateway, name: str) -> None:
    call, expected = CALLS[name](world), FIGURES[name]
    with invocations.recorded(gateway, world.poller) as seen:
        cost = costs.measured(call)
    assert seen.handlers == [expected.reached], OUTDATED
    assert sorted(cost.requests) == sorted(expected.requests), OUTDATED
    assert seen.log_bytes == pytest.approx(expected.log, rel=TOLERANCE), OUTDATED
    if " /api/" in expected.reached:  # a longer page of the dashboard hardly costs more
        assert seen.response_bytes == pytest.approx(expected.answer, rel=TOLERANCE), OUTDATED


@pytest.mark.long
@pytest.mark.parametrize("name", CALLS)
def test_consumed_units_match_the_figures(
    true_dynamodb: str, user: Client, poller: EventPoller, clock: Clock, name: str
) -> None:
    world = make_world(user, poller, clock)
    with world.cleanup:
        _, read, write = units.billed(true_dynamodb, CALLS[name](world))
    assert (read, write) == (FIGURES[name].read, FIGURES[name].write), OUTDATED
