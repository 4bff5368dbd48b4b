"""How many batches of each queue Lambda may handle at the same time."""

import pytest
from chalice.app import SQSEventConfig

from app import app
from bench.cost.bill import billed_milliseconds, load_figures
from chalicelib.core.settings import settings
from chalicelib.webhooks.concurrency import SLOTS

ACCOUNT_LIMIT = 1_000
"""The concurrent executions of all functions of an account, by default
(https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html)."""

TASKS_A_SECOND = 1_000
EVENTS_OF_A_TASK = 5
"""Created, queued, assigned, started and completed."""

SOURCES = {source.name: source for source in app.event_sources if isinstance(source, SQSEventConfig)}


@pytest.mark.parametrize("function", SOURCES)
def test_every_queue_has_a_limit_that_sqs_accepts(function: str) -> None:
    """https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-scaling.html"""
    assert 2 <= (SOURCES[function].maximum_concurrency or 0) <= 1_000


def test_backlogs_of_all_queues_leave_half_of_the_account_to_the_api() -> None:
    most_webhooks = (40 - settings.webhooks_per_user) * SLOTS  # the highest value of DEVFLOW_WEBHOOKS_PER_USER
    limits = [source.maximum_concurrency or ACCOUNT_LIMIT for source in SOURCES.values()]
    assert sum(limits) + most_webhooks <= ACCOUNT_LIMIT / 2


@pytest.mark.parametrize(
    ("function", "messages_of_a_task"),
    [
        ("run_workflows", {"message of the workflow queue": 1}),
        (
            "announce_events",
            {"event of a task, nobody listens": EVENTS_OF_A_TASK - 1, "end of a task, nobody listens": 1},
        ),
    ],
)
def test_a_thousand_tasks_a_second_pass(function: str, messages_of_a_task: dict[str, int]) -> None:
    """By the duration that docs/cost.md computes for one message. A batch handles its messages one after the other."""
    figures = load_figures()
    seconds = sum(billed_milliseconds(figures[name]) / 1_000 * number for name, number in messages_of_a_task.items())
    assert (SOURCES[function].maximum_concurrency or 0) / seconds >= TASKS_A_SECOND
