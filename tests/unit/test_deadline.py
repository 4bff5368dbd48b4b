"""chalicelib/core/deadline.py: the deadline of a request, a message or a scheduled run."""

import math
from collections.abc import Iterator
from contextvars import copy_context
from types import SimpleNamespace

import pytest

from chalicelib.core import deadline


class Time(SimpleNamespace):
    """A monotonic clock that a test sets."""

    now: float = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Iterator[Time]:
    fake = Time()
    monkeypatch.setattr(deadline, "time", fake)
    return fake


def context(seconds: float) -> SimpleNamespace:
    """Lambda's context of a function with so many seconds left."""
    return SimpleNamespace(get_remaining_time_in_millis=lambda: int(seconds * 1_000))


def test_http_request_ends_after_20_seconds(time: Time) -> None:
    token = deadline.begin(context(29), deadline.HTTP_SECONDS)
    assert deadline.remaining() == 20
    time.now += 21
    assert deadline.remaining() == -1
    deadline.end(token)
    assert deadline.remaining() == math.inf


def test_function_with_less_time_keeps_a_reserve_for_the_response(time: Time) -> None:
    deadline.end(deadline.begin(context(29), deadline.HTTP_SECONDS))
    with deadline.within(context(7)):
        assert deadline.remaining() == 5
    assert deadline.remaining() == math.inf


def test_without_lambda_the_limit_applies(time: Time) -> None:
    token = deadline.begin(None, deadline.HTTP_SECONDS)
    assert deadline.remaining() == 20
    deadline.end(token)


def test_deadline_applies_in_threads_with_a_copy_of_the_context(time: Time) -> None:
    with deadline.within(context(7)):
        copied = copy_context()
    assert (copied.run(deadline.remaining), deadline.remaining()) == (5, math.inf)
