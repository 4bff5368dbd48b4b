"""chalicelib/ratelimit.py: windows of a minute, counted in the caller's own item."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from pynamodb.attributes import MapAttribute, UnicodeAttribute
from pynamodb.models import Model

from chalicelib import ratelimit
from chalicelib.errors import RateLimited
from chalicelib.ratelimit import Meter, Quota
from chalicelib.settings import MINUTE, settings
from chalicelib.statements import worded

METER = Meter("x", 3, "the example API")
NOW = 29_000_000 * MINUTE + 15_000
"""A quarter into a minute."""


class Caller(Model):
    class Meta:
        table_name = "callers"

    owner = UnicodeAttribute(hash_key=True)
    calls: MapAttribute[str, int] = MapAttribute()


@pytest.fixture(autouse=True)
def _afresh() -> Iterator[None]:
    ratelimit._seen.clear()
    ratelimit._refused.clear()
    token = ratelimit.current.set(None)
    yield
    ratelimit.current.reset(token)


def test_the_limits_are_those_of_the_spec() -> None:
    meters = (ratelimit.AGENTS_API, ratelimit.TASKS_API, ratelimit.COMMANDS, ratelimit.HEARTBEAT, ratelimit.LOGIN)
    assert [meter.limit for meter in meters] == [100, 1_000, 100, 10, 10]
    assert len({meter.letter for meter in meters}) == len(meters)


def test_a_minute_has_a_name_of_its_own_for_each_meter() -> None:
    assert METER.slot(NOW) == METER.slot(NOW + 44_999) == "x29000000"
    assert METER.slot(NOW + 45_000) == "x29000001"
    assert METER._replace(letter="y").slot(NOW) == "y29000000"


def test_a_call_adds_one_to_its_minute_and_removes_the_minutes_before() -> None:
    kwargs = worded(("UpdateExpression", [ratelimit.count(Caller.calls, METER, NOW)]))
    names = set(kwargs["ExpressionAttributeNames"].values())
    assert names == {"calls", "x29000000", "x28999999", "x28999998", "x28999997"}
    assert "ADD" in kwargs["UpdateExpression"] or "if_not_exists" in kwargs["UpdateExpression"]
    assert "REMOVE" in kwargs["UpdateExpression"]


@pytest.mark.parametrize(("used", "left"), [(1, 2), (2, 1), (3, 0), (7, 0)])
def test_what_is_left_is_told_and_when_it_starts_again_in_epoch_seconds(used: int, left: int) -> None:
    ratelimit.note({"x29000000": used, "x28999999": 99}, METER, NOW)
    assert ratelimit.current.get() == Quota(limit=3, remaining=left, reset=29_000_001 * 60)


def test_after_a_transaction_which_gives_nothing_back_the_count_goes_on_from_what_was_seen() -> None:
    ratelimit.note({"x29000000": 1}, METER, NOW, "me")
    ratelimit.note_unseen("me", METER, NOW)
    quota = ratelimit.current.get()
    assert quota is not None
    assert quota.remaining == 1


def test_somebody_never_seen_has_called_once() -> None:
    ratelimit.note({"x29000000": 3}, METER, NOW, "another")
    ratelimit.note_unseen("me", METER, NOW)
    quota = ratelimit.current.get()
    assert quota is not None
    assert quota.remaining == 2


def test_what_a_container_remembers_of_its_callers_is_bounded() -> None:
    for number in range(3_000):
        ratelimit.note({"x29000000": 1}, METER, NOW, f"caller-{number}")
    assert len(ratelimit._seen) <= 1_000


def test_below_the_limit_nobody_is_refused() -> None:
    ratelimit.refuse_if_exhausted({"x29000000": 2}, METER, NOW, "me")
    ratelimit.refuse_if_exhausted({"x28999999": 3}, METER, NOW, "me")
    assert ratelimit.current.get() is None


def test_a_used_up_minute_is_refused_until_its_end_and_the_answer_says_what_is_left() -> None:
    with pytest.raises(RateLimited, match="the example API") as refused:
        ratelimit.refuse_if_exhausted({"x29000000": 3}, METER, NOW, "me")
    assert refused.value.retry_after == 45
    assert ratelimit.current.get() == Quota(limit=3, remaining=0, reset=29_000_001 * 60)


def test_coming_back_when_told_is_never_too_early() -> None:
    with pytest.raises(RateLimited) as refused:
        ratelimit.refuse_if_exhausted({METER.slot(NOW + 1): 3}, METER, NOW + 1, "me")
    assert METER.slot(NOW + 1 + refused.value.retry_after * 1_000) != METER.slot(NOW)


def test_a_local_stage_under_load_tests_refuses_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ratelimit, "settings", replace(settings, rate_limits=False))
    ratelimit.refuse_if_exhausted({"x29000000": 1_000}, METER, NOW, "me")


def test_who_was_refused_is_known_until_the_minute_ends() -> None:
    with pytest.raises(RateLimited) as first:
        ratelimit.refuse_if_exhausted({"x29000000": 3}, METER, NOW, "me")
    ratelimit.current.set(None)
    with pytest.raises(RateLimited) as again:
        ratelimit.refuse_if_known("me", METER, NOW + 44_999)
    assert (again.value.message[:30], again.value.retry_after) == (first.value.message[:30], 1)
    assert ratelimit.current.get() == Quota(limit=3, remaining=0, reset=29_000_001 * 60)
    ratelimit.refuse_if_known("me", METER, NOW + 45_000)


def test_only_who_was_refused_is_known_and_only_on_that_meter() -> None:
    with pytest.raises(RateLimited):
        ratelimit.refuse_if_exhausted({"x29000000": 3}, METER, NOW, "me")
    ratelimit.refuse_if_known("another", METER, NOW)
    ratelimit.refuse_if_known("me", METER._replace(letter="y"), NOW)


def test_whom_a_container_remembers_as_refused_is_bounded() -> None:
    for number in range(3_000):
        with pytest.raises(RateLimited):
            ratelimit.refuse_if_exhausted({"x29000000": 3}, METER, NOW, f"caller-{number}")
    assert len(ratelimit._refused) <= 1_000


def test_a_few_minutes_that_a_pause_left_behind_are_not_worth_a_write() -> None:
    calls = {f"x{29_000_000 - ago}": 1 for ago in range(4, 11)}
    assert ratelimit.leftovers(calls, NOW) == []


def test_many_leftovers_are_named_and_the_present_minutes_are_not() -> None:
    old = [f"x{29_000_000 - ago}" for ago in range(4, 12)]
    calls = dict.fromkeys([*old, "x29000000", "y28999999", "x28999997"], 1)
    assert sorted(ratelimit.leftovers(calls, NOW)) == sorted(old)
