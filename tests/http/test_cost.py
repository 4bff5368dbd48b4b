"""docs/cost.md: it is what its script writes, and what it rests on is so."""

import re
from typing import Any

import pytest

from bench.cost import PAGE, page, use
from infra.local.pump import Pump
from tests.conftest import Clock
from tests.http.budget_calls import make_world
from tests.support import moto_aws, template
from tests.support.client import Client


def test_the_page_is_what_its_script_writes() -> None:
    assert PAGE.read_text(encoding="utf-8") == page.written(), "`make cost` writes it anew"


def test_an_idle_agent_costs_a_fifth_of_one_that_polls_every_five_seconds_or_less() -> None:
    assert page.idle_ratio() >= 5
    assert page.idle_ratio(beats=False) >= 5


def test_the_dashboard_asks_as_often_as_its_costs_say() -> None:
    overview = use.LIVE.with_name("overview.js").read_text(encoding="utf-8")
    every = re.search(r"FIGURES_EVERY = ([\d_]+);", overview)
    assert every
    assert int(every[1]) == use.FIGURES_EVERY * 1_000
    assert set(use.pauses()) == {"busy", "calm", "idle", "hidden", "worst"}


def test_a_finished_task_takes_about_as_much_room_as_its_costs_say(user: Client, pump: Pump, clock: Clock) -> None:
    world = make_world(user, pump, clock)
    agent = world.agent()
    task = world.running(agent)
    for number in range(use.TASK // use.STEP - 1):
        assert agent.progress(task, f"Step {number} of many, each of which is an event").status == 200
    agent.complete(task)
    pump.drain()
    assert sum(map(_room, moto_aws.rows("tasks"))) == pytest.approx(use.KEPT, rel=0.25)


def _room(row: dict[str, Any]) -> int:
    """Bytes of an item and of its entries in indexes, with the hundred that each costs besides."""
    (table,) = [each for each in template.create_table_requests("local") if each["TableName"].endswith("-tasks")]
    stored = _size(row, set(row)) + 100
    for index in table["GlobalSecondaryIndexes"]:
        keys = {each["AttributeName"] for each in [*index["KeySchema"], *table["KeySchema"]]}
        if keys <= set(row):
            stored += _size(row, keys | set(index["Projection"].get("NonKeyAttributes", []))) + 100
    return stored


def _size(row: dict[str, Any], names: set[str]) -> int:
    return sum(len(name) + len(str(next(iter(row[name].values())))) for name in names & set(row))
