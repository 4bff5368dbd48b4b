"""chalicelib/http/rate_limits.py: windows of a minute, counted in the caller's own item."""

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

METER = RateLimit("x", 3, "the example API")
NOW = 29_000_000 * MINUTE + 15_000
"""A quarter into a minute."""


class Caller(Model):
    class Meta:
        table_name = "callers"

    owner = UnicodeAttribute(hash_key=True)
    calls: MapAttribute[str, int] = MapAttribute()


@pytest.fixture(autouse=True)
def _afresh() -> Iterator[None]:
    rate_limits._last_counts.clear()
    rate_limits._rate_limited_callers.clear()
    token = rate_limits.current_quota.set(None)
    yield
    rate_limits.current_quota.reset(token)


def test_the_limits_are_those_of_the_spec() -> None:
    meters = (
        rate_limits.AGENTS_API,
        rate_limits.TASKS_API,
        rate_limits.COMMANDS,
        rate_limits.HEARTBEAT,
        rate_limits.LOGIN,
    )
    assert [meter.limit for meter in meters] == [100, 1_000, 100, 10, 10]
    assert len({meter.prefix for meter in meters}) == len(meters)


def test_a_minute_has_a_name_of_its_own_for_each_meter() -> None:
    assert METER.window_key(NOW) == METER.window_key(NOW + 44_999) == "x29000000"
    assert METER.window_key(NOW + 45_000) == "x29000001"
    assert METER._replace(prefix="y").window_key(NOW) == "y29000000"


def test_a_call_adds_one_to_its_minute_and_removes_the_minutes_before() -> None:
    kwargs = render(("UpdateExpression", [rate_limits.increment(Caller.calls, METER, NOW)]))
    names = set(kwargs["ExpressionAttributeNames"].values())
    assert names == {"calls", "x29000000", "x28999999", "x28999998", "x28999997"}
    assert "ADD" in kwargs["UpdateExpression"] or "if_not_exists" in kwargs["UpdateExpression"]
    assert "REMOVE" in kwargs["UpdateExpression"]


@pytest.mark.parametrize(("used", "left"), [(1, 2), (2, 1), (3, 0), (7, 0)])
def test_what_is_left_is_told_and_when_it_starts_again_in_epoch_seconds(used: int, left: int) -> None:
    rate_limits.record({"x29000000": used, "x28999999": 99}, METER, NOW)
    assert rate_limits.current_quota.get() == Quota(limit=3, remaining=left, reset=29_000_001 * 60)


def test_after_a_transaction_which_gives_nothing_back_the_count_goes_on_from_what_was_seen() -> None:
    rate_limits.record({"x29000000": 1}, METER, NOW, "me")
    rate_limits.record_estimate("me", METER, NOW)
    quota = rate_limits.current_quota.get()
    assert quota is not None
    assert quota.remaining == 1


def test_somebody_never_seen_has_called_once() -> None:
    rate_limits.record({"x29000000": 3}, METER, NOW, "another")
    rate_limits.record_estimate("me", METER, NOW)
    quota = rate_limits.current_quota.get()
    assert quota is not None
    assert quota.remaining == 2


def test_what_a_container_remembers_of_its_callers_is_bounded() -> None:
    for number in range(3_000):
        rate_limits.record({"x29000000": 1}, METER, NOW, f"caller-{number}")
    assert len(rate_limits._last_counts) <= 1_000


def test_below_the_limit_nobody_is_refused() -> None:
    rate_limits.raise_if_exhausted({"x29000000": 2}, METER, NOW, "me")
    rate_limits.raise_if_exhausted({"x28999999": 3}, METER, NOW, "me")
    assert rate_limits.current_quota.get() is None


def test_a_used_up_minute_is_refused_until_its_end_and_the_answer_says_what_is_left() -> None:
    with pytest.raises(RateLimited, match="the example API") as refused:
        rate_limits.raise_if_exhausted({"x29000000": 3}, METER, NOW, "me")
    assert refused.value.retry_after == 45
    assert rate_limits.current_quota.get() == Quota(limit=3, remaining=0, reset=29_000_001 * 60)


def test_coming_back_when_told_is_never_too_early() -> None:
    with pytest.raises(RateLimited) as refused:
        rate_limits.raise_if_exhausted({METER.window_key(NOW + 1): 3}, METER, NOW + 1, "me")
    assert METER.window_key(NOW + 1 + refused.value.retry_after * 1_000) != METER.window_key(NOW)


def test_a_local_stage_under_load_tests_refuses_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_limits, "settings", replace(settings, rate_limits=False))
    rate_limits.raise_if_exhausted({"x29000000": 1_000}, METER, NOW, "me")


def test_who_was_refused_is_known_until_the_minute_ends() -> None:
    with pytest.raises(RateLimited) as first:
        rate_limits.raise_if_exhausted({"x29000000": 3}, METER, NOW, "me")
    rate_limits.current_quota.set(None)
    with pytest.raises(RateLimited) as again:
        rate_limits.raise_if_cached("me", METER, NOW + 44_999)
    assert (again.value.message[:30], again.value.retry_after) == (first.value.message[:30], 1)
    assert rate_limits.current_quota.get() == Quota(limit=3, remaining=0, reset=29_000_001 * 60)
    rate_limits.raise_if_cached("me", METER, NOW + 45_000)


def test_only_who_was_refused_is_known_and_only_on_that_meter() -> None:
    with pytest.raises(RateLimited):
        rate_limits.raise_if_exhausted({"x29000000": 3}, METER, NOW, "me")
    rate_limits.raise_if_cached("another", METER, NOW)
    rate_limits.raise_if_cached("me", METER._replace(prefix="y"), NOW)


def test_whom_a_container_remembers_as_refused_is_bounded() -> None:
    for number in range(3_000):
        with pytest.raises(RateLimited):
            rate_limits.raise_if_exhausted({"x29000000": 3}, METER, NOW, f"caller-{number}")
    assert len(rate_limits._rate_limited_callers) <= 1_000


def test_a_few_minutes_that_a_pause_left_behind_are_not_worth_a_write() -> None:
    calls = {f"x{29_000_000 - ago}": 1 for ago in range(4, 11)}
    assert rate_limits.stale_windows(calls, NOW) == []


def test_many_leftovers_are_named_and_the_present_minutes_are_not() -> None:
    old = [f"x{29_000_000 - ago}" for ago in range(4, 12)]
    calls = dict.fromkeys([*old, "x29000000", "y28999999", "x28999997"], 1)
    assert sorted(rate_limits.stale_windows(calls, NOW)) == sorted(old)
