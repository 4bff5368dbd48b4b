"""When an agent polls and beats, by its clock."""

from __future__ import annotations

import pytest

from devflow.backoff import compute_retry_delay
from devflow.errors import SettingsError
from devflow.intervals import Intervals
from devflow.poll_schedule import Action, PollSchedule


def settled(now: float = 0.0) -> PollSchedule:
    """One that has started at 0 and said what it had to."""
    pulse = PollSchedule(Intervals(), 0.0)
    for _ in range(3):
        pulse.record_heartbeat(now)
    pulse.record_poll(now, 5.0, 0.5)
    return pulse


def test_it_beats_first_and_then_polls() -> None:
    pulse = PollSchedule(Intervals(), 100.0)

    assert pulse.next_action(100.0, running=0, free=1) == (Action.HEARTBEAT, 0.0)
    pulse.record_heartbeat(100.0)
    assert pulse.next_action(100.0, running=0, free=1) == (Action.POLL, 0.0)
    pulse.record_poll(100.0, 5.0, 0.0)
    assert pulse.next_action(100.0, running=0, free=1) == (Action.WAIT, 5.0)
    assert pulse.next_action(105.0, running=0, free=1) == (Action.POLL, 0.0)


@pytest.mark.parametrize(("chance", "wait"), [(0.0, 30.0), (0.5, 28.5), (1.0, 27.0)])
def test_the_servers_interval_is_kept_or_up_to_a_tenth_less(chance: float, wait: float) -> None:
    pulse = settled()
    pulse.record_poll(0.0, 30.0, chance)

    assert pulse.next_action(0.0, running=0, free=1) == (Action.WAIT, wait)


def test_idle_and_polling_it_never_beats() -> None:
    pulse = settled()
    for now in range(0, 3600, 30):
        assert pulse.next_action(now, running=0, free=1)[0] is not Action.HEARTBEAT
        pulse.record_poll(now, 30.0, 0.5)


def test_after_a_start_it_beats_three_times_for_what_an_earlier_process_ran() -> None:
    pulse, beaten = PollSchedule(Intervals(), 0.0), []
    for now in range(0, 600, 5):
        if pulse.next_action(now, running=0, free=1)[0] is Action.HEARTBEAT:
            beaten.append(now)
            pulse.record_heartbeat(now)
        pulse.record_poll(now, 5.0, 0.5)

    assert beaten == [0, 60, 120]


def test_while_it_runs_something_it_beats_every_minute_and_polls_only_for_a_free_slot() -> None:
    pulse = settled()

    assert pulse.next_action(0.0, running=1, free=0) == (Action.WAIT, 60.0)
    assert pulse.next_action(60.0, running=1, free=0) == (Action.HEARTBEAT, 0.0)
    assert pulse.next_action(60.0, running=2, free=1) == (Action.HEARTBEAT, 0.0)
    pulse.record_heartbeat(60.0)
    assert pulse.next_action(60.0, running=2, free=1) == (Action.POLL, 0.0)


def test_one_that_has_not_polled_for_a_minute_beats_though_it_runs_nothing() -> None:
    pulse = settled()

    assert pulse.next_action(59.0, running=0, free=0)[0] is Action.WAIT
    assert pulse.next_action(60.0, running=0, free=0) == (Action.HEARTBEAT, 0.0)


def test_a_slot_that_becomes_free_is_filled_at_once() -> None:
    pulse = settled()
    pulse.poll_now(1.0)

    assert pulse.next_action(1.0, running=0, free=1) == (Action.POLL, 0.0)


def test_draining_it_beats_on_and_takes_nothing() -> None:
    pulse = settled()
    pulse.draining = True

    assert pulse.next_action(30.0, running=1, free=3) == (Action.WAIT, 30.0)
    assert pulse.next_action(60.0, running=0, free=3) == (Action.HEARTBEAT, 0.0)


def test_when_the_platform_cannot_answer_it_is_left_alone_for_longer_each_time() -> None:
    pulse, now, waits = settled(), 5.0, []
    for _ in range(10):
        assert pulse.next_action(now, running=0, free=1)[0] is not Action.WAIT
        waits.append(pulse.record_failure(now, 0.0))
        assert pulse.next_action(now, running=0, free=1) == (Action.WAIT, waits[-1])
        now += waits[-1]

    assert waits == [0.5, 1, 2, 4, 8, 16, 32, 60, 60, 60]
    pulse.record_poll(now, 5.0, 0.5)
    assert pulse.record_failure(now, 0.0) == 0.5, "an answer has ended it"


def test_after_work_was_given_up_the_platform_hears_three_times_that_it_does_not_run() -> None:
    pulse = settled()
    pulse.require_heartbeats()
    pulse.record_poll(60.0, 5.0, 0.5)

    assert pulse.next_action(60.0, running=0, free=1) == (Action.HEARTBEAT, 0.0)
    assert pulse.heartbeats_owed == 3


@pytest.mark.parametrize(
    ("failures", "chance", "after", "seconds"),
    [
        (1, 0.0, None, 0.5),
        (1, 1.0, None, 0.25),
        (8, 0.0, None, 60),
        (5000, 1.0, None, 30),
        (1, 0.0, 17.0, 17),
        (1, 1.0, 10.0, 11),
    ],
)
def test_a_pause_grows_is_jittered_and_never_shorter_than_asked(
    failures: int, chance: float, after: float | None, seconds: float
) -> None:
    assert compute_retry_delay(failures, chance, after) == pytest.approx(seconds)


def test_the_pace_is_settable_by_name() -> None:
    assert Intervals.parse("") == Intervals()
    assert Intervals.parse("beat=0.5, grace=1") == Intervals(heartbeat=0.5, grace=1.0)
    for wrong in ("beat", "beat=soon", "tempo=1"):
        with pytest.raises(SettingsError):
            Intervals.parse(wrong)


def test_it_stops_its_own_work_before_the_platform_gives_it_to_others() -> None:
    pace, request, lost_after = Intervals(), 40, 600
    assert pace.offline_limit + request + pace.grace < lost_after
