"""`Retry-After: 1`, the shortest wait that a platform asks for: the agent and the commands wait for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from agent.tests.support.fake_platform import FakeResponse
from devflow.api_client import ApiClient, _should_retry
from devflow.backoff import compute_retry_delay
from devflow.errors import UnavailableError
from devflow.intervals import Intervals
from devflow.poll_schedule import Action, PollSchedule

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.tests.support.fake_platform import FakePlatform


@pytest.mark.parametrize("status", [429, 503])
def test_client_reads_a_retry_after_of_one_second(start_platform: Callable[..., FakePlatform], status: int) -> None:
    body = {"error": "Wait", "message": "wait", "statusCode": status}
    platform = start_platform(lambda _: FakeResponse(status, body, {"Retry-After": "1"}))
    with pytest.raises(UnavailableError) as raised:
        ApiClient(platform.url).send("GET", "/api/tasks")
    assert raised.value.retry_after == 1.0
    assert _should_retry(raised.value) == 1.0, "and not `True`, which would mean the client's own delay"


def test_retry_after_of_zero_is_a_delay_and_no_refusal() -> None:
    delay = _should_retry(UnavailableError("wait", 0.0))
    assert (delay, type(delay)) == (0.0, float)


@pytest.mark.parametrize("jitter", [0.0, 0.5, 1.0])
def test_first_retry_waits_for_the_requested_second(jitter: float) -> None:
    assert 1.0 <= compute_retry_delay(1, jitter, 1.0) <= 1.1
    assert compute_retry_delay(1, jitter) <= 0.5


def test_agent_sends_nothing_during_the_requested_second() -> None:
    schedule = PollSchedule(Intervals(), 100.0)
    assert schedule.record_failure(100.0, 0.0, 1.0) == 1.0
    assert schedule.next_action(100.9, running=0, free=1)[0] is Action.WAIT
    assert schedule.next_action(101.0, running=0, free=1)[0] is Action.HEARTBEAT


def test_poll_interval_of_one_second_is_kept() -> None:
    schedule = PollSchedule(Intervals(), 100.0)
    schedule.record_heartbeat(100.0)
    schedule.record_poll(100.0, 1.0, 0.0)
    assert schedule.next_action(100.5, running=0, free=1) == (Action.WAIT, 0.5)
    assert schedule.next_action(101.0, running=0, free=1)[0] is Action.POLL
