"""When an agent polls and beats, by its clock."""

from __future__ import annotations

import pytest

from devflow.backoff import pause
from devflow.errors import SettingsError
from devflow.pace import Pace
from devflow.pulse import Act, Pulse


def settled(now: float = 0.0) -> Pulse:
    """One that has started at 0 and said what it had to."""
    pulse = Pulse(Pace(), 0.0)
    for _ in range(3):
        pulse.beat(now)
    pulse.poll(now, 5.0, 0.5)
    return pulse


def test_it_beats_first_and_then_polls() -> None:
    pulse = Pulse(Pace(), 100.0)

    assert pulse.next(100.0, running=0, free=1) == (Act.BEAT, 0.0)
    pulse.beat(100.0)
    assert pulse.next(100.0, running=0, free=1) == (Act.POLL, 0.0)
    pulse.poll(100.0, 5.0, 0.0)
    assert pulse.next(100.0, running=0, free=1) == (Act.WAIT, 5.0)
    assert pulse.next(105.0, running=0, free=1) == (Act.POLL, 0.0)


@pytest.mark.parametrize(("chance", "wait"), [(0.0, 30.0), (0.5, 28.5), (1.0, 27.0)])
def test_the_servers_interval_is_kept_or_up_to_a_tenth_less(chance: float, wait: float) -> None:
    pulse = settled()
    pulse.poll(0.0, 30.0, chance)

    assert pulse.next(0.0, running=0, free=1) == (Act.WAIT, wait)


def test_idle_and_polling_it_never_beats() -> None:
    pulse = settled()
    for now in range(0, 3600, 30):
        assert pulse.next(now, running=0, free=1)[0] is not Act.BEAT
        pulse.poll(now, 30.0, 0.5)


def test_after_a_start_it_beats_three_times_for_what_an_earlier_process_ran() -> None:
    pulse, beaten = Pulse(Pace(), 0.0), []
    for now in range(0, 600, 5):
        if pulse.next(now, running=0, free=1)[0] is Act.BEAT:
            beaten.append(now)
            pulse.beat(now)
        pulse.poll(now, 5.0, 0.5)

    assert beaten == [0, 60, 120]


def test_while_it_runs_something_it_beats_every_minute_and_polls_only_for_a_free_slot() -> None:
    pulse = settled()

    assert pulse.next(0.0, running=1, free=0) == (Act.WAIT, 60.0)
    assert pulse.next(60.0, running=1, free=0) == (Act.BEAT, 0.0)
    assert pulse.next(60.0, running=2, free=1) == (Act.BEAT, 0.0)
    pulse.beat(60.0)
    assert pulse.next(60.0, running=2, free=1) == (Act.POLL, 0.0)


def test_one_that_has_not_polled_for_a_minute_beats_though_it_runs_nothing() -> None:
    pulse = settled()

    assert pulse.next(59.0, running=0, free=0)[0] is Act.WAIT
    assert pulse.next(60.0, running=0, free=0) == (Act.BEAT, 0.0)


def test_a_slot_that_becomes_free_is_filled_at_once() -> None:
    pulse = settled()
    pulse.hurry(1.0)

    assert pulse.next(1.0, running=0, free=1) == (Act.POLL, 0.0)


def test_draining_it_beats_on_and_takes_nothing() -> None:
    pulse = settled()
    pulse.draining = True

    assert pulse.next(30.0, running=1, free=3) == (Act.WAIT, 30.0)
    assert pulse.next(60.0, running=0, free=3) == (Act.BEAT, 0.0)


def test_when_the_platform_cannot_answer_it_is_left_alone_for_longer_each_time() -> None:
    pulse, now, waits = settled(), 5.0, []
    for _ in range(10):
        assert pulse.next(now, running=0, free=1)[0] is not Act.WAIT
        waits.append(pulse.fail(now, 0.0))
        assert pulse.next(now, running=0, free=1) == (Act.WAIT, waits[-1])
        now += waits[-1]

    assert waits == [0.5, 1, 2, 4, 8, 16, 32, 60, 60, 60]
    pulse.poll(now, 5.0, 0.5)
    assert pulse.fail(now, 0.0) == 0.5, "an answer has ended it"


def test_after_work_was_given_up_the_platform_hears_three_times_that_it_does_not_run() -> None:
    pulse = settled()
    pulse.owe()
    pulse.poll(60.0, 5.0, 0.5)

    assert pulse.next(60.0, running=0, free=1) == (Act.BEAT, 0.0)
    assert pulse.owed == 3


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
    assert pause(failures, chance, after) == pytest.approx(seconds)


def test_the_pace_is_settable_by_name() -> None:
    assert Pace.of("") == Pace()
    assert Pace.of("beat=0.5, grace=1") == Pace(beat=0.5, grace=1.0)
    for wrong in ("beat", "beat=soon", "tempo=1"):
        with pytest.raises(SettingsError):
            Pace.of(wrong)


def test_it_stops_its_own_work_before_the_platform_gives_it_to_others() -> None:
    pace, request, lost_after = Pace(), 40, 600
    assert pace.silence + request + pace.grace < lost_after
