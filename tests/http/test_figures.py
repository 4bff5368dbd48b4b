"""The figures of every call that docs/cost.md is computed from: none is missing, and all are still true.

bench/figures.json is what `make bench ARGS=capacity` wrote last. Requests, the way of a call and its bytes are counted
anew here; units are looked at again on Amazon's own DynamoDB by `make test-long`.
"""

from collections.abc import Iterator

import pytest

from bench import figures
from infra.local.gateway import Gateway
from infra.local.pump import Pump
from tests.conftest import Clock
from tests.http.budget_calls import CALLS, World, make_world
from tests.http.conftest import Routes
from tests.support import costs, units, watch
from tests.support.client import Client
from tests.support.iam import AsDeployed

FIGURES = figures.load()
AGAIN = "`make bench ARGS=capacity` measures anew"
ABOUT = 0.15
"""Bytes are about the same: a number of milliseconds has a figure more or less."""


@pytest.fixture
def world(user: Client, pump: Pump, clock: Clock) -> Iterator[World]:
    world = make_world(user, pump, clock)
    with world.ends:
        yield world


def test_every_call_that_is_measured_has_its_figures() -> None:
    assert list(CALLS) == list(FIGURES), AGAIN


def test_every_route_and_every_handler_is_measured(deployed: AsDeployed, routes: Routes) -> None:
    there = {f"{method} {path}" for method, path in routes.declared} | set(deployed.handler_map)
    assert {each.reached for each in FIGURES.values()} == there, f"tests/http/budget_calls.py; {AGAIN}"


@pytest.mark.parametrize("name", CALLS)
def test_a_call_asks_for_what_its_figures_say(world: World, gateway: Gateway, name: str) -> None:
    call, known = CALLS[name](world), FIGURES[name]
    with watch.watching(gateway, world.pump) as seen:
        cost = costs.measured(call)
    assert seen.reached == [known.reached], AGAIN
    assert sorted(cost.requests) == sorted(known.requests), AGAIN
    assert seen.log_bytes == pytest.approx(known.log, rel=ABOUT), AGAIN
    if " /api/" in known.reached:  # a page of the dashboard may become longer without being dearer to speak of
        assert seen.answers == pytest.approx(known.answer, rel=ABOUT), AGAIN


@pytest.mark.long
@pytest.mark.parametrize("name", CALLS)
def test_a_call_consumes_the_units_that_its_figures_say(
    true_dynamodb: str, user: Client, pump: Pump, clock: Clock, name: str
) -> None:
    world = make_world(user, pump, clock)
    with world.ends:
        _, read, write = units.billed(true_dynamodb, CALLS[name](world))
    assert (read, write) == (FIGURES[name].read, FIGURES[name].write), AGAIN
