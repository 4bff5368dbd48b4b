"""A poll reads the queue in pages. What it returns must not depend on where a page ends."""

import pytest

from tests.http.scenario import Scenario


@pytest.mark.usefixtures("one_or_three_partitions")
def test_page_that_ends_within_an_intent_hides_no_task_of_it(scenario: Scenario) -> None:
    """The first page has 49 tasks of the intent `a` and one of the five of `z`, which have the highest priority."""
    agent = scenario.agent(capabilities=["a", "z"])
    scenario.queue_tasks(*(f"a-{number}" for number in range(49)), intent="a")
    scenario.queue_tasks(*(f"z-{number}" for number in range(5)), intent="z", priority=10)

    assert agent.claims(limit=5) == [f"z-{number}" for number in range(5)]
