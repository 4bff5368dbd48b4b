"""chalicelib/core/threads.py: calls that run at the same time."""

import threading

import pytest

from chalicelib.core import metrics
from chalicelib.core.threads import run_concurrently


def test_results_are_in_the_order_of_the_items() -> None:
    second_ran = threading.Event()

    def call(item: int) -> int:
        if item == 1:
            assert second_ran.wait(10), "the calls do not run at the same time"
        else:
            second_ran.set()
        return item * 10

    assert run_concurrently(call, [1, 2], 2) == [10, 20]


@pytest.mark.parametrize(("items", "limit", "most"), [(20, 3, 3), (2, 8, 2), (1, 8, 1), (0, 8, 0)])
def test_number_of_concurrent_calls_is_limited(items: int, limit: int, most: int) -> None:
    lock, together = threading.Lock(), threading.Barrier(max(most, 1))
    running, peak = 0, 0

    def call(item: int) -> None:
        nonlocal running, peak
        with lock:
            running += 1
            peak = max(peak, running)
        if item < most:
            together.wait(10)
        with lock:
            running -= 1

    run_concurrently(call, range(items), limit)
    assert peak == most


def test_single_call_needs_no_thread() -> None:
    assert run_concurrently(lambda _: threading.current_thread(), ["item"], 8) == [threading.current_thread()]


def test_error_of_one_call_does_not_stop_the_others() -> None:
    done = []

    def call(item: int) -> None:
        if item in (3, 5):
            raise ValueError(item)
        done.append(item)

    with pytest.raises(ValueError, match="3"):
        run_concurrently(call, range(8), 4)
    assert sorted(done) == [0, 1, 2, 4, 6, 7]


def test_metrics_that_the_calls_record_belong_to_the_caller() -> None:
    metrics.begin()
    run_concurrently(lambda _: metrics.record("Claims"), range(9), 4)
    assert metrics.flush(0)["Claims"] == 9
