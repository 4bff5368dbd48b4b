"""The rules of quotas: shares, limits, recounts, and which part of a log is counted when."""

from typing import Any

import pytest

from chalicelib.core.settings import DAY, HOUR, KB, MINUTE
from chalicelib.tasks import quota_rules as rules
from chalicelib.tasks.entities import OPEN_STATUSES, Task, TaskStatus
from chalicelib.tasks.quota_rules import FINAL_LOG_BLOCK, LOG_BLOCK, SHARDS, CountedUsage, Usage

NOW = 20_000 * DAY + 18 * HOUR
GB = 1024 * 1024 * KB
LIMITS = Usage(open=1_600, tasks=3_200, bytes=GB)


def task(status: TaskStatus, **values: Any) -> Task:
    return Task(owner="user-1", id="task-1", status=status, **values)


def test_tasks_are_spread_evenly_over_all_rows() -> None:
    counts = [0] * SHARDS
    for number in range(16_000):
        counts[rules.shard(f"task-{number}")] += 1
    assert min(counts) > 850
    assert max(counts) < 1_150


def test_recount_reads_every_open_status() -> None:
    assert set(rules.COUNTED_STATUSES) == OPEN_STATUSES


def test_share_of_a_row_is_less_than_an_equal_part_of_each_limit() -> None:
    assert rules.share(LIMITS) == Usage(90, 180, 64 * 1024 * KB * 9 // 10)


@pytest.mark.parametrize("small", [{"open": 1_599}, {"tasks": 1_599}, {"bytes": GB // 4 - 1}])
def test_small_limit_has_no_shares(small: dict[str, int]) -> None:
    assert rules.share(LIMITS._replace(**small)) is None


def test_sum_of_rows() -> None:
    assert rules.total([]) == Usage()
    assert rules.total([Usage(1, 2, 3), Usage(-1, 5, 7)]) == Usage(0, 7, 10)


def test_no_limit_is_reached_below_it() -> None:
    rules.check_limits(Usage(1_599, 3_199, GB - 1), LIMITS, NOW)


def test_maximum_of_open_tasks_is_rejected() -> None:
    with pytest.raises(rules.TooManyOpenTasks, match="1600 open tasks") as rejected:
        rules.check_limits(Usage(open=1_600, tasks=3_200), LIMITS, NOW)
    assert rejected.value.retry_after == 60


@pytest.mark.parametrize(
    ("used", "message"),
    [(Usage(tasks=3_200), "submitted 3200 tasks today"), (Usage(bytes=GB), "stored 1073741824 bytes today")],
)
def test_quota_of_the_day_is_rejected_until_midnight(used: Usage, message: str) -> None:
    with pytest.raises(rules.DailyQuotaReached, match=message) as rejected:
        rules.check_limits(used, LIMITS, NOW)
    assert rejected.value.retry_after == 6 * 3_600


@pytest.mark.parametrize(("now", "seconds"), [(NOW // DAY * DAY, 86_400), (NOW // DAY * DAY + DAY - 1, 1)])
def test_wait_ends_at_the_next_midnight(now: int, seconds: int) -> None:
    assert rules.DailyQuotaReached("x", now).retry_after == seconds


def test_rows_together_exceed_a_limit_by_less_than_their_number() -> None:
    """However many tasks are submitted at the same moment: each row accepts what its bound allows, and no more."""
    for used in range(1_500, 1_600):
        row = Usage(open=used // SHARDS)
        bound = rules.bounds(row, Usage(open=used), LIMITS).open
        assert used + SHARDS * (bound - row.open) < 1_600 + SHARDS


@pytest.mark.parametrize("maximum", [1_600, 3_200, 10_000])
def test_rows_that_use_their_shares_exceed_a_limit_by_at_most_two_percent(maximum: int) -> None:
    """Tasks one after another: each is accepted by its row's share, or by the sum of all rows."""
    limits = Usage(maximum, 10**9, 10**12)
    part = rules.share(limits)
    assert part is not None
    rows = [0] * SHARDS
    for number in range(2 * maximum):
        row = rules.shard(f"task-{number}")
        rows[row] += rows[row] < part.open or sum(rows) < maximum
    assert maximum <= sum(rows) <= maximum * 1.02


def test_bound_is_part_of_what_is_left() -> None:
    assert rules.bounds(Usage(90, 150, 5), Usage(1_440, 3_199, GB), LIMITS) == Usage(100, 151, 6)


def test_usage_of_an_earlier_day_does_not_count_today() -> None:
    row = CountedUsage(Usage(3, 40, 500), day=20_000)
    assert row.on(20_000) == Usage(3, 40, 500)
    assert row.on(20_001) == Usage(open=3)


@pytest.mark.parametrize(("counted_day", "today"), [(0, 20_000), (19_999, 20_000), (20_000, 20_000), (20_001, 20_001)])
def test_day_of_a_row_never_goes_back(counted_day: int, today: int) -> None:
    assert CountedUsage(day=counted_day).today(NOW) == today


def test_open_tasks_are_recounted_at_first_and_weekly() -> None:
    assert rules.needs_recount(CountedUsage(), NOW)
    assert not rules.needs_recount(CountedUsage(counted_at=NOW - 7 * DAY + 1), NOW)
    assert rules.needs_recount(CountedUsage(counted_at=NOW - 7 * DAY), NOW)


@pytest.mark.parametrize(("recounted_at", "open_change"), [(None, -1), (NOW - 1, -1), (NOW, 0), (NOW + MINUTE, 0)])
def test_end_before_a_recount_is_not_counted_again(recounted_at: int | None, open_change: int) -> None:
    row = CountedUsage(recounted_at=recounted_at)
    assert rules.remaining(Usage(-1, 0, 7), row, since=NOW) == Usage(open_change, 0, 7)


@pytest.mark.parametrize(
    ("counted", "recorded", "is_first", "difference"),
    [
        (10, 10, False, 0),
        (10, 47, False, -37),
        (47, 10, False, 37),
        (100, 140, False, 0),
        (100, 90, False, 10),
        (10, 47, True, 0),
        (10, -3, True, 13),
    ],
)
def test_corrections_make_the_sum_correct(
    counted: int,
    recorded: int,
    is_first: bool,  # noqa: FBT001
    difference: int,
) -> None:
    corrections = rules.corrections(counted, recorded, maximum=100, is_first=is_first)
    assert len(corrections) == SHARDS
    assert sum(corrections) == difference
    assert max(corrections) - min(corrections) <= 1


@pytest.mark.parametrize(
    ("earlier", "present", "counted"),
    [(0, 0, 0), (0, LOG_BLOCK - 1, 0), (0, LOG_BLOCK, LOG_BLOCK), (LOG_BLOCK, LOG_BLOCK + 5, 2 * LOG_BLOCK), (5, 9, 0)],
)
def test_log_of_an_open_task_is_counted_in_full_blocks(earlier: int, present: int, counted: int) -> None:
    assert rules.counted_log_bytes(task("in_progress", earlier_log_bytes=earlier, log_bytes=present)) == counted


@pytest.mark.parametrize(
    ("size", "rest"), [(0, 0), (1, 16 * KB), (16 * KB, 16 * KB), (LOG_BLOCK, 0), (LOG_BLOCK + 20 * KB, 32 * KB)]
)
def test_rest_of_a_log_is_counted_at_the_end(size: int, rest: int) -> None:
    ended = task("completed", log_bytes=size)
    assert rules.uncounted_log_bytes(ended) == rest
    still_open = task("in_progress", log_bytes=size)
    assert rules.counted_log_bytes(still_open) + rest == rules.counted_log_bytes(ended)
    assert rules.counted_log_bytes(ended) % FINAL_LOG_BLOCK == 0
