"""One deadline for a request: AWS that is slow or throttles never makes a response late. See docs/reliability.md."""

from collections.abc import Iterator
from itertools import pairwise

import pytest

from chalicelib.core import deadline
from tests.http.scenario import Agent, Scenario, refused
from tests.service import faults
from tests.support.virtual_aws import VirtualAws


@pytest.fixture
def virtual_aws() -> Iterator[VirtualAws]:
    """AWS on a clock that nobody waits for."""
    with VirtualAws().install() as aws:
        yield aws


def every_call(scenario: Scenario, agent: Agent) -> dict[str, object]:
    return {
        "poll": agent.poll,
        "heartbeat": agent.heartbeat,
        "complete": lambda: agent.complete("task-1"),
        "list tasks": lambda: scenario.user.get("/api/tasks"),
        "submit": lambda: scenario.user.post(
            "/api/workflows/execute", {"taskId": "t", "intent": "i", "repo": "r", "naturalLanguage": "n"}
        ),
    }


@pytest.mark.parametrize("name", ["poll", "heartbeat", "complete", "list tasks", "submit"])
def test_call_ends_within_20_seconds_if_every_request_takes_4(
    scenario: Scenario, agent: Agent, virtual_aws: VirtualAws, name: str
) -> None:
    scenario.start_task(agent)
    virtual_aws.latency = 4.0
    started = virtual_aws.now
    response = every_call(scenario, agent)[name]()  # type: ignore[operator]
    assert virtual_aws.now - started <= 20
    refused(response, 503)


@pytest.mark.parametrize("code", ["ThrottlingError", "ProvisionedThroughputExceeded", "TransactionConflict"])
def test_refused_transaction_is_sent_a_few_times_with_growing_pauses(
    scenario: Scenario, agent: Agent, virtual_aws: VirtualAws, code: str
) -> None:
    scenario.start_task(agent)
    reasons = [{"Code": code}]
    with faults.refused("TransactWriteItems", "TransactionCanceledException", reasons=reasons, times=99) as fault:
        refused(agent.complete("task-1"), 503)
    assert 3 <= len(fault.affected) <= 5
    assert len(virtual_aws.sleeps) == len(fault.affected) - 1
    assert all(after >= 1.4 * before for before, after in pairwise(virtual_aws.sleeps))


def test_deadline_is_20_seconds() -> None:
    assert deadline.HTTP_SECONDS == 20
