"""docs/cost.md: the page is what its script writes, and its assumptions about the app are correct."""

import re
from typing import Any

import pytest

from bench.cost import PAGE, page, usage
from infra.local.event_poller import EventPoller
from tests.conftest import Clock
from tests.http.budget_calls import make_world
from tests.support import moto_aws, template
from tests.support.client import Client


def test_cost_page_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == page.render(), "run `make cost`"


def test_idle_agent_costs_at_most_a_fifth_of_polling_every_five_seconds() -> None:
    assert page.idle_ratio() >= 5
    assert page.idle_ratio(beats=False) >= 5


def test_dashboard_refreshes_at_the_assumed_intervals() -> None:
    overview = usage.POLLING_SCRIPT.with_name("overview.js").read_text(encoding="utf-8")
    every = re.search(r"STATS_INTERVAL_MS = ([\d_]+);", overview)
    assert every
    assert int(every[1]) == usage.FIGURES_EVERY * 1_000
    assert set(usage.read_pauses()) == {"busy", "calm", "idle", "hidden", "backoff"}


def test_finished_task_needs_about_the_assumed_storage(user: Client, poller: EventPoller, clock: Clock) -> None:
    world = make_world(user, poller, clock)
    agent = world.agent()
    task_id = world.start_task(agent)
    for number in range(usage.TASK // usage.STEP - 1):
        assert agent.progress(task_id, f"Step {number} of many, each of which is an event").status == 200
    agent.complete(task_id)
    poller.drain()
    of_the_task = [row for row in moto_aws.rows("tasks") if row["sk"] != {"S": "U"}]  # the others belong to the owner
    assert sum(map(_stored_bytes, of_the_task)) == pytest.approx(usage.TASK_BYTES, rel=0.25)


def _stored_bytes(row: dict[str, Any]) -> int:
    """Bytes of an item and of its index entries. DynamoDB bills 100 bytes more for each of them."""
    (table,) = [each for each in template.create_table_requests("local") if each["TableName"].endswith("-tasks")]
    stored = _size(row, set(row)) + 100
    for index in table["GlobalSecondaryIndexes"]:
        keys = {each["AttributeName"] for each in [*index["KeySchema"], *table["KeySchema"]]}
        if keys <= set(row):
            stored += _size(row, keys | set(index["Projection"].get("NonKeyAttributes", []))) + 100
    return stored


def _size(row: dict[str, Any], names: set[str]) -> int:
    return sum(len(name) + len(str(next(iter(row[name].values())))) for name in names & set(row))
