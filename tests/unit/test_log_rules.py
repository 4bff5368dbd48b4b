"""chalicelib/tasks/log_rules.py: where a piece of a log may go, and how much of one is kept."""

from typing import Any

import pytest

from chalicelib.core.errors import WrongOffset
from chalicelib.core.settings import MINUTE
from chalicelib.tasks import log_rules
from chalicelib.tasks.entities import Task
from chalicelib.tasks.log_rules import LOG_LIMIT, LOG_TRUNCATED_MARKER, check_may_append, log_is_full, new_part
from chalicelib.tasks.rules import NotHeld, Reporter

NOW = 1_763_938_000_000


def task(**values: Any) -> Task:
    given: dict[str, Any] = {"owner": "u", "id": "t", "status": "in_progress", "agent": "agent-1"}
    return Task(**(given | values))


@pytest.mark.parametrize(
    ("logged", "offset", "data", "fresh"),
    [
        (0, 0, "abc", "abc"),
        (3, 3, "def", "def"),
        (3, 0, "abcdef", "def"),
        (3, 2, "cd", "d"),
        (3, 0, "abc", None),
        (3, 1, "b", None),
        (3, 3, "", None),
        (0, 0, "", None),
        (2, 0, "éa", "a"),
        (2, 2, "é", "é"),
    ],
)
def test_of_a_piece_what_is_new_is_kept_and_what_is_there_already_is_a_success(
    logged: int, offset: int, data: str, fresh: str | None
) -> None:
    assert new_part(task(log_bytes=logged), offset, data) == fresh


@pytest.mark.parametrize(("logged", "offset"), [(0, 1), (3, 4), (3, 1_000)])
def test_a_gap_is_refused_with_the_offset_wanted(logged: int, offset: int) -> None:
    with pytest.raises(WrongOffset) as refused:
        new_part(task(log_bytes=logged), offset, "x")
    assert refused.value.wanted == logged


def test_a_piece_that_would_continue_within_a_character_does_not_fit() -> None:
    with pytest.raises(WrongOffset):
        new_part(task(log_bytes=1), 0, "é")


@pytest.mark.parametrize("before", [0, LOG_LIMIT // 2])
def test_a_log_that_reaches_its_limit_ends_with_a_word_about_it(before: int) -> None:
    room = 10
    full = task(earlier_log_bytes=before, log_bytes=LOG_LIMIT - before - room)
    assert new_part(full, full.log_bytes, "x" * room) == "x" * room
    assert new_part(full, full.log_bytes, "x" * (room + 1)) == "x" * room + LOG_TRUNCATED_MARKER
    assert new_part(full, full.log_bytes, "é" * room) == "é" * (room // 2) + LOG_TRUNCATED_MARKER


@pytest.mark.parametrize(
    ("logged", "before", "full"),
    [(0, 0, False), (LOG_LIMIT - 1, 0, False), (LOG_LIMIT, 0, True), (1, LOG_LIMIT - 1, True)],
)
def test_the_limit_is_for_all_attempts_together(logged: int, before: int, full: bool) -> None:  # noqa: FBT001
    assert log_is_full(task(log_bytes=logged, earlier_log_bytes=before)) is full


def test_the_holder_may_append() -> None:
    check_may_append(task(), Reporter("agent-1", None), NOW)
    check_may_append(task(attempt=2), Reporter("agent-1", 2), NOW)


@pytest.mark.parametrize(
    ("wrong", "by"),
    [
        ({}, Reporter("agent-2", None)),
        ({"attempt": 2}, Reporter("agent-1", 1)),
        ({"attempt": 2}, Reporter(None, None)),
        ({"status": "queued", "agent": None}, Reporter("agent-1", None)),
        ({"status": "queued", "agent": None}, Reporter(None, 1)),
    ],
)
def test_nobody_else_may(wrong: dict[str, Any], by: Reporter) -> None:
    with pytest.raises(NotHeld):
        check_may_append(task(**wrong), by, NOW)


def test_the_last_holder_may_flush_for_ten_minutes_after_the_end() -> None:
    ended = task(status="completed", completed_at=NOW)
    check_may_append(ended, Reporter("agent-1", None), NOW + 10 * MINUTE)
    with pytest.raises(NotHeld):
        check_may_append(ended, Reporter("agent-1", None), NOW + 10 * MINUTE + 1)


def test_the_word_at_the_end_says_the_limit_that_there_is() -> None:
    assert f"{log_rules.LOG_LIMIT // 1024 // 1024} MB" in LOG_TRUNCATED_MARKER
