"""How `make bench ARGS=flat` judges what it has measured."""

import pytest

from bench.samples import Samples
from tests.long.scale import FACTOR, ONE, SIZES

KEY = ("heartbeat", ONE)
NOISE = (0.5, 1, 1, 1, 7)
"""What a busy machine does to a round, at all sizes alike."""


def samples(cpu: tuple[float, float, float], took: tuple[float, float, float] = (5, 5, 5)) -> Samples:
    found = Samples()
    for noise in NOISE:
        for size, mine, until in zip(SIZES, cpu, took, strict=True):
            found.add(KEY, size, mine * noise, until * noise)
    return found


def test_what_grows_by_less_than_the_factor_is_flat() -> None:
    assert samples((1, 1.1, FACTOR - 0.01)).missed() == []


@pytest.mark.parametrize(
    ("cpu", "took", "missed"),
    [
        ((1, 1, 1.3), (5, 5, 5), "CPU of heartbeat, one: 1.30 times as much at 100,000"),
        ((1, 1.3, 1), (5, 5, 5), "CPU of heartbeat, one: 1.30 times as much at 1,000"),
        ((1, 1, 1), (5, 5, 10), "latency of heartbeat, one: 2.00 times as much at 100,000"),
    ],
)
def test_what_grows_by_more_is_told(
    cpu: tuple[float, float, float], took: tuple[float, float, float], missed: str
) -> None:
    assert samples(cpu, took).missed() == [missed]


def test_what_may_grow_up_to_a_bound_is_judged_from_there_on() -> None:
    found = samples((1, 3, 3.1))
    found.since[KEY] = SIZES[1]
    assert found.missed() == []
    found = samples((1, 3, 4))
    found.since[KEY] = SIZES[1]
    assert found.missed() == ["CPU of heartbeat, one: 1.33 times as much at 100,000"]


def test_a_round_is_compared_with_itself() -> None:
    assert samples((1, 1, 1.1)).ratios(KEY, 0, SIZES[-1]) == pytest.approx([1.1] * len(NOISE))
