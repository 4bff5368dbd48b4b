"""chalicelib/http/rate_limits.py: windows of one minute, counted in the item of the caller."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from pynamodb.attributes import MapAttribute, UnicodeAttribute
from pynamodb.models import Model

from chalicelib.core.errors import RateLimited
from chalicelib.core.settings import MINUTE, settings
from chalicelib.dynamodb.expressions import render
from chalicelib.http import rate_limits
from chalicelib.http.rate_limits import Quota, RateLimit

LIMIT = RateLimit("x", 3, "example API")
NOW = 29_000_000 * MINUTE + 15_000
"""15 seconds after the start of a window."""


class Caller(Model):
    class Meta:
        table_name = "callers"

    owner = UnicodeAttribute(hash_key=True)
    calls: MapAttribute[str, int] = MapAttribute()


@pytest.fixture(autouse=True)
def _empty_caches() -> Iterator[None]:
    """A new container that has not counted any calls."""
    rate_limits._last_counts.clear()
    rate_limits._rate_limited_callers.clear()
    token = rate_limits.current_quota.set(None)
    yield
    rate_limits.current_quota.reset(token)


def test_limits_are_those_of_the_specification() -> None:
    limits = (
        rate_limits.AGENTS_API,
        rate_limits.TASKS_API,
        rate_limits.COMMANDS,
        rate_limits.HEARTBEAT,
        rate_limits.LOGIN,
    )
    assert [each.limit for each in limits] == [100, 1_000, 100, 10, 10]
    assert len({each.prefix for each in limits}) == len(limits)


def test_window_key_depends_on_limit_and_minute() -> None:
    assert LIMIT.window_key(NOW) == LIMIT.window_key(NOW + 44_999) == "x29000000"
    assert LIMIT.window_key(NOW + 45_000) == "x29000001"
    assert LIMIT._replace(prefix="y").window_key(NOW) == "y29000000"


def test_call_increments_its_window_and_removes_previous_ones() -> None:
    request = render(("UpdateExpression", [rate_limits.increment(Caller.calls, LIMIT, NOW)]))
    names = set(request["ExpressionAttributeNames"].values())
    assert names == {"calls", "x29000000", "x28999999", "x28999998", "x28999997"}
    assert "ADD" in request["UpdateExpression"] or "if_not_exists" in request["UpdateExpression"]
    assert "REMOVE" in request["UpdateExpression"]


@pytest.mark.parametrize(("used", "remaining"), [(1, 2), (2, 1), (3, 0), (7, 0)])
def test_recorded_count_sets_remaining_calls_and_reset_time(used: int, remaining: int) -> None:
    rate_limits.record({"x29000000": used, "x28999999": 99}, LIMIT, NOW)
    assert rate_limits.current_quota.get() == Quota(limit=3, remaining=remaining, reset=29_000_001 * 60)


def test_estimate_after_transaction_is_last_count_plus_one() -> None:
    rate_limits.record({"x29000000": 1}, LIMIT, NOW, "caller")
    rate_limits.record_estimate("caller", LIMIT, NOW)
    quota = rate_limits.current_quota.get()
    assert quota is not None
    assert quota.remaining == 1


def test_estimate_for_unknown_caller_is_one_call() -> None:
    rate_limits.record({"x29000000": 3}, LIMIT, NOW, "another")
    rate_limits.record_estimate("caller", LIMIT, NOW)
    quota = rate_limits.current_quota.get()
    assert quota is not None
    assert quota.remaining == 2


def test_uncounted_call_reports_the_last_count_of_its_caller() -> None:
    rate_limits.report_uncounted("one", LIMIT, NOW)
    assert rate_limits.current_quota.get() == Quota(3, 3, (NOW // MINUTE + 1) * 60)
    rate_limits.record({LIMIT.window_key(NOW): 2}, LIMIT, NOW, "one")
    rate_limits.report_uncounted("two", LIMIT, NOW)
    assert (rate_limits.current_quota.get() or Quota(0, 0, 0)).remaining == 3
    for _ in range(2):
        rate_limits.report_uncounted("one", LIMIT, NOW)
        assert (rate_limits.current_quota.get() or Quota(0, 0, 0)).remaining == 1
    rate_limits.report_uncounted("one", LIMIT, NOW + MINUTE)
    assert (rate_limits.current_quota.get() or Quota(0, 0, 0)).remaining == 3


def test_smaller_of_two_quotas_is_reported_with_the_limit_of_the_first() -> None:
    first, second = Quota(10, 7, 60), Quota(50, 3, 60)
    rate_limits.report_smaller(first)
    assert rate_limits.current_quota.get() is None
    rate_limits.current_quota.set(second)
    rate_limits.report_smaller(None)
    assert rate_limits.current_quota.get() == second
    rate_limits.report_smaller(first)
    assert rate_limits.current_quota.get() == Quota(10, 3, 60)
    rate_limits.report_smaller(Quota(10, 1, 60))
    assert rate_limits.current_quota.get() == Quota(10, 1, 60)


def test_memory_for_last_counts_is_bounded() -> None:
    for number in range(3_000):
        rate_limits.record({"x29000000": 1}, LIMIT, NOW, f"caller-{number}")
    assert len(rate_limits._last_counts) <= 1_000


def test_calls_below_the_limit_are_accepted() -> None:
    rate_limits.raise_if_exhausted({"x29000000": 2}, LIMIT, NOW, "caller")
    rate_limits.raise_if_exhausted({"x28999999": 3}, LIMIT, NOW, "caller")
    assert rate_limits.current_quota.get() is None


def test_exhausted_limit_raises_with_time_until_reset() -> None:
    with pytest.raises(RateLimited, match="example API") as raised:
        rate_limits.raise_if_exhausted({"x29000000": 3}, LIMIT, NOW, "caller")
    assert raised.value.retry_after == 45
    assert rate_limits.current_quota.get() == Quota(limit=3, remaining=0, reset=29_000_001 * 60)


def test_retry_after_always_reaches_the_next_window() -> None:
    with pytest.raises(RateLimited) as raised:
        rate_limits.raise_if_exhausted({LIMIT.window_key(NOW + 1): 3}, LIMIT, NOW + 1, "caller")
    assert LIMIT.window_key(NOW + 1 + raised.value.retry_after * 1_000) != LIMIT.window_key(NOW)


def test_disabled_rate_limits_accept_all_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_limits, "settings", replace(settings, rate_limits=False))
    rate_limits.raise_if_exhausted({"x29000000": 1_000}, LIMIT, NOW, "caller")


def test_rate_limited_caller_is_rejected_from_memory_until_reset() -> None:
    with pytest.raises(RateLimited) as first:
        rate_limits.raise_if_exhausted({"x29000000": 3}, LIMIT, NOW, "caller")
    rate_limits.current_quota.set(None)
    with pytest.raises(RateLimited) as second:
        rate_limits.raise_if_cached("caller", LIMIT, NOW + 44_999)
    assert (second.value.message[:30], second.value.retry_after) == (first.value.message[:30], 1)
    assert rate_limits.current_quota.get() == Quota(limit=3, remaining=0, reset=29_000_001 * 60)
    rate_limits.raise_if_cached("caller", LIMIT, NOW + 45_000)


def test_other_callers_and_limits_are_not_rejected_from_memory() -> None:
    with pytest.raises(RateLimited):
        rate_limits.raise_if_exhausted({"x29000000": 3}, LIMIT, NOW, "caller")
    rate_limits.raise_if_cached("another", LIMIT, NOW)
    rate_limits.raise_if_cached("caller", LIMIT._replace(prefix="y"), NOW)


def test_memory_for_rate_limited_callers_is_bounded() -> None:
    for number in range(3_000):
        with pytest.raises(RateLimited):
            rate_limits.raise_if_exhausted({"x29000000": 3}, LIMIT, NOW, f"caller-{number}")
    assert len(rate_limits._rate_limited_callers) <= 1_000


def test_few_stale_windows_are_not_removed() -> None:
    calls = {f"x{29_000_000 - ago}": 1 for ago in range(4, 11)}
    assert rate_limits.stale_windows(calls, NOW) == []


def test_many_stale_windows_are_returned_without_current_ones() -> None:
    stale = [f"x{29_000_000 - ago}" for ago in range(4, 12)]
    calls = dict.fromkeys([*stale, "x29000000", "y28999999", "x28999997"], 1)
    assert sorted(rate_limits.stale_windows(calls, NOW)) == sorted(stale)
