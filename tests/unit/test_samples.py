"""`make bench ARGS=flat`: which measurements count as flat."""

import pytest

from bench.samples import Samples
from tests.long.scale import FACTOR, ONE, SIZES

KEY = ("heartbeat", ONE)
NOISE = (0.5, 1, 1, 1, 7)
"""Factors by which a busy machine slows down a round, at all sizes equally."""


def make_samples(cpu: tuple[float, float, float], latency: tuple[float, float, float] = (5, 5, 5)) -> Samples:
    samples = Samples()
    for noise in NOISE:
        for size, cpu_ms, latency_ms in zip(SIZES, cpu, latency, strict=True):
            samples.add(KEY, size, cpu_ms * noise, latency_ms * noise)
    return samples


def test_growth_below_the_factor_is_flat() -> None:
    assert make_samples((1, 1.1, FACTOR - 0.01)).missed_targets() == []


@pytest.mark.parametrize(
    ("cpu", "latency", "missed"),
    [
        ((1, 1, 1.3), (5, 5, 5), "CPU of heartbeat, one: 1.30 times as much at 100,000"),
        ((1, 1.3, 1), (5, 5, 5), "CPU of heartbeat, one: 1.30 times as much at 1,000"),
        ((1, 1, 1), (5, 5, 10), "latency of heartbeat, one: 2.00 times as much at 100,000"),
    ],
)
def test_growth_above_the_factor_is_reported(
    cpu: tuple[float, float, float], latency: tuple[float, float, float], missed: str
) -> None:
    assert make_samples(cpu, latency).missed_targets() == [missed]


def test_bounded_call_must_be_flat_above_its_bound() -> None:
    samples = make_samples((1, 3, 3.1))
    samples.flat_from[KEY] = SIZES[1]
    assert samples.missed_targets() == []
    samples = make_samples((1, 3, 4))
    samples.flat_from[KEY] = SIZES[1]
    assert samples.missed_targets() == ["CPU of heartbeat, one: 1.33 times as much at 100,000"]


def test_sizes_are_compared_within_the_same_round() -> None:
    assert make_samples((1, 1, 1.1)).ratios(KEY, 0, SIZES[-1]) == pytest.approx([1.1] * len(NOISE))
