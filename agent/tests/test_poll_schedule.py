"""PollSchedule, retry delays and intervals."""

from __future__ import annotations

import pytest

from devflow.backoff import compute_retry_delay
from devflow.errors import SettingsError
from devflow.intervals import Intervals
from devflow.poll_schedule import Action, PollSchedule


def settled(now: float = 0.0) -> PollSchedule:
    """Return a schedule that started at 0 and owes no heartbeats."""
    schedule = PollSchedule(Intervals(), 0.0)
    for _ in range(3):
        schedule.record_heartbeat(now)
    schedule.record_poll(now, 5.0, 0.5)
    return schedule


def test_first_action_is_a_heartbeat_and_then_a_poll() -> None:
    schedule = PollSchedule(Intervals(), 100.0)

    assert schedule.next_action(100.0, running=0, free=1) == (Action.HEARTBEAT, 0.0)
    schedule.record_heartbeat(100.0)
    assert schedule.next_action(100.0, running=0, free=1) == (Action.POLL, 0.0)
    schedule.record_poll(100.0, 5.0, 0.0)
    assert schedule.next_action(100.0, running=0, free=1) == (Action.WAIT, 5.0)
    assert schedule.next_action(105.0, running=0, free=1) == (Action.POLL, 0.0)


@pytest.mark.parametrize(("jitter", "wait"), [(0.0, 30.0), (0.5, 28.5), (1.0, 27.0)])
def test_poll_is_due_within_the_interval_and_up_to_a_tenth_early(jitter: float, wait: float) -> None:
    schedule = settled()
    schedule.record_poll(0.0, 30.0, jitter)

    assert schedule.next_action(0.0, running=0, free=1) == (Action.WAIT, wait)


def test_idle_agent_that_polls_sends_no_heartbeats() -> None:
    schedule = settled()
    for now in range(0, 3600, 30):
        assert schedule.next_action(now, running=0, free=1)[0] is not Action.HEARTBEAT
        schedule.record_poll(now, 30.0, 0.5)


def test_three_heartbeats_are_sent_after_a_start() -> None:
    schedule, heartbeats = PollSchedule(Intervals(), 0.0), []
    for now in range(0, 600, 5):
        if schedule.next_action(now, running=0, free=1)[0] is Action.HEARTBEAT:
            heartbeats.append(now)
            schedule.record_heartbeat(now)
        schedule.record_poll(now, 5.0, 0.5)

    assert heartbeats == [0, 60, 120]


def test_busy_agent_sends_a_heartbeat_every_minute_and_polls_only_if_free() -> None:
    schedule = settled()

    assert schedule.next_action(0.0, running=1, free=0) == (Action.WAIT, 60.0)
    assert schedule.next_action(60.0, running=1, free=0) == (Action.HEARTBEAT, 0.0)
    assert schedule.next_action(60.0, running=2, free=1) == (Action.HEARTBEAT, 0.0)
    schedule.record_heartbeat(60.0)
    assert schedule.next_action(60.0, running=2, free=1) == (Action.POLL, 0.0)


def test_heartbeat_is_due_after_a_minute_without_a_poll() -> None:
    schedule = settled()

    assert schedule.next_action(59.0, running=0, free=0)[0] is Action.WAIT
    assert schedule.next_action(60.0, running=0, free=0) == (Action.HEARTBEAT, 0.0)


def test_poll_is_due_at_once_after_poll_now() -> None:
    schedule = settled()
    schedule.poll_now(1.0)

    assert schedule.next_action(1.0, running=0, free=1) == (Action.POLL, 0.0)


def test_draining_agent_sends_heartbeats_and_does_not_poll() -> None:
    schedule = settled()
    schedule.draining = True

    assert schedule.next_action(30.0, running=1, free=3) == (Action.WAIT, 30.0)
    assert schedule.next_action(60.0, running=0, free=3) == (Action.HEARTBEAT, 0.0)


def test_delay_grows_with_each_failure() -> None:
    schedule, now, waits = settled(), 5.0, []
    for _ in range(10):
        assert schedule.next_action(now, running=0, free=1)[0] is not Action.WAIT
        waits.append(schedule.record_failure(now, 0.0))
        assert schedule.next_action(now, running=0, free=1) == (Action.WAIT, waits[-1])
        now += waits[-1]

    assert waits == [0.5, 1, 2, 4, 8, 16, 32, 60, 60, 60]
    schedule.record_poll(now, 5.0, 0.5)
    assert schedule.record_failure(now, 0.0) == 0.5, "a success resets the delay"


def test_three_heartbeats_are_sent_after_jobs_were_cancelled() -> None:
    schedule = settled()
    schedule.require_heartbeats()
    schedule.record_poll(60.0, 5.0, 0.5)

    assert schedule.next_action(60.0, running=0, free=1) == (Action.HEARTBEAT, 0.0)
    assert schedule.heartbeats_owed == 3


@pytest.mark.parametrize(
    ("failures", "jitter", "after", "seconds"),
    [
        (1, 0.0, None, 0.5),
        (1, 1.0, None, 0.25),
        (8, 0.0, None, 60),
        (5000, 1.0, None, 30),
        (1, 0.0, 17.0, 17),
        (1, 1.0, 10.0, 11),
    ],
)
def test_retry_delay_grows_has_jitter_and_respects_retry_after(
    failures: int, jitter: float, after: float | None, seconds: float
) -> None:
    assert compute_retry_delay(failures, jitter, after) == pytest.approx(seconds)


def test_intervals_are_parsed_by_name() -> None:
    assert Intervals.parse("") == Intervals()
    assert Intervals.parse("beat=0.5, grace=1") == Intervals(heartbeat=0.5, grace=1.0)
    assert Intervals.parse("beat=1,progress=2,log=3,grace=4,silence=5,flush=6,farewell=7,renew=8,poll=9") == Intervals(
        heartbeat=1, progress=2, log=3, grace=4, offline_limit=5, flush=6, shutdown=7, token_renewal=8, max_poll=9
    )
    for wrong in ("beat", "beat=soon", "tempo=1"):
        with pytest.raises(SettingsError):
            Intervals.parse(wrong)


def test_jobs_are_cancelled_before_the_platform_reassigns_tasks() -> None:
    intervals, request, lost_after = Intervals(), 40, 600
    assert intervals.offline_limit + request + intervals.grace < lost_after
