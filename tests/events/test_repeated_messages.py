"""Queues deliver at least once and in any order. Three shuffled copies of every message have one effect."""

import random
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from chalicelib.core.settings import settings
from tests.events.conftest import bodies
from tests.http.scenario import Scenario
from tests.service import invariants
from tests.support import moto_aws
from tests.support.handlers import Handlers

BATCH = 10


@pytest.fixture
def without_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chalicelib.http.rate_limits.settings", replace(settings, rate_limits=False))


def deliver(handlers: Handlers, handler: str, messages: list[Any]) -> None:
    """Deliver each message three times, in a shuffled order."""
    copies = messages * 3
    random.Random(len(messages)).shuffle(copies)  # noqa: S311  # an order, no secret
    for start in range(0, len(copies), BATCH):
        assert handlers.batch(handler, *copies[start : start + BATCH]) == []


def assert_each_has_one_effect(scenario: Scenario, handlers: Handlers, count: int) -> None:
    tasks = {scenario.submit(f"task-{number}") for number in range(count)}
    submitted = bodies("workflow")
    assert len(submitted) == count
    deliver(handlers, "run_workflows", submitted)
    rows = invariants.rows("tasks")
    assert {row["task"]: row["status"] for row in rows if row["sk"] == "H"} == dict.fromkeys(tasks, "queued")
    events = [row for row in rows if row["sk"].startswith("E#")]
    stored = Counter((row["pk"].partition("#")[2], row["type"]) for row in events)
    assert stored == dict.fromkeys([(task, event) for task in tasks for event in ("task.created", "task.queued")], 1)
    unsent = [row for row in events if "dueAt" in row]
    assert Counter(row["type"] for row in unsent) == {"task.created": count}
    moto_aws.empty_queues()
    keys = [{"owner": row["pk"].partition("#")[0], "task": row["pk"].partition("#")[2]} for row in unsent]
    deliver(handlers, "announce_events", [key | {"event": row["sk"]} for key, row in zip(keys, unsent, strict=True)])
    assert not [row for row in invariants.rows("tasks") if row["sk"].startswith("E#") and "dueAt" in row]
    assert [used["open"] for used in invariants.usage().values()] == [count]


def test_five_hundred_shuffled_repeated_messages_have_one_effect_each(
    scenario: Scenario, handlers: Handlers, without_limits: None
) -> None:
    assert_each_has_one_effect(scenario, handlers, 500)


@pytest.mark.long
def test_ten_thousand_shuffled_repeated_messages_have_one_effect_each(
    handlers: Handlers, true_dynamodb: str, scenario: Scenario, without_limits: None
) -> None:
    assert_each_has_one_effect(scenario, handlers, 10_000)
