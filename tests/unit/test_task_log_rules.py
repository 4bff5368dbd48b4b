"""chalicelib/tasks/log_rules.py: who may append to a log, at which offset, and how much is stored."""

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
    defaults: dict[str, Any] = {"owner": "u", "id": "t", "status": "in_progress", "agent_id": "agent-1"}
    return Task(**(defaults | values))


@pytest.mark.parametrize(
    ("log_bytes", "offset", "data", "new"),
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
def test_only_the_new_part_of_a_chunk_is_stored(log_bytes: int, offset: int, data: str, new: str | None) -> None:
    assert new_part(task(log_bytes=log_bytes), offset, data) == new


@pytest.mark.parametrize(("log_bytes", "offset"), [(0, 1), (3, 4), (3, 1_000)])
def test_gap_is_rejected_with_the_expected_offset(log_bytes: int, offset: int) -> None:
    with pytest.raises(WrongOffset) as rejected:
        new_part(task(log_bytes=log_bytes), offset, "x")
    assert rejected.value.expected_offset == log_bytes


def test_chunk_whose_new_part_begins_within_a_character_is_rejected() -> None:
    with pytest.raises(WrongOffset):
        new_part(task(log_bytes=1), 0, "é")


@pytest.mark.parametrize("earlier", [0, LOG_LIMIT // 2])
def test_log_that_reaches_its_limit_ends_with_a_marker(earlier: int) -> None:
    room = 10
    almost_full = task(earlier_log_bytes=earlier, log_bytes=LOG_LIMIT - earlier - room)
    assert new_part(almost_full, almost_full.log_bytes, "x" * room) == "x" * room
    assert new_part(almost_full, almost_full.log_bytes, "x" * (room + 1)) == "x" * room + LOG_TRUNCATED_MARKER
    assert new_part(almost_full, almost_full.log_bytes, "é" * room) == "é" * (room // 2) + LOG_TRUNCATED_MARKER


@pytest.mark.parametrize(
    ("log_bytes", "earlier", "is_full"),
    [(0, 0, False), (LOG_LIMIT - 1, 0, False), (LOG_LIMIT, 0, True), (1, LOG_LIMIT - 1, True)],
)
def test_limit_applies_to_all_attempts_together(log_bytes: int, earlier: int, is_full: bool) -> None:  # noqa: FBT001
    assert log_is_full(task(log_bytes=log_bytes, earlier_log_bytes=earlier)) is is_full


def test_holder_may_append() -> None:
    check_may_append(task(), Reporter("agent-1", None), NOW)
    check_may_append(task(attempt=2), Reporter("agent-1", 2), NOW)


@pytest.mark.parametrize(
    ("values", "reporter"),
    [
        ({}, Reporter("agent-2", None)),
        ({"attempt": 2}, Reporter("agent-1", 1)),
        ({"attempt": 2}, Reporter(None, None)),
        ({"status": "queued", "agent_id": None}, Reporter("agent-1", None)),
        ({"status": "queued", "agent_id": None}, Reporter(None, 1)),
    ],
)
def test_only_the_holder_may_append(values: dict[str, Any], reporter: Reporter) -> None:
    with pytest.raises(NotHeld):
        check_may_append(task(**values), reporter, NOW)


def test_last_holder_may_append_for_ten_minutes_after_the_end() -> None:
    ended = task(status="completed", completed_at=NOW)
    check_may_append(ended, Reporter("agent-1", None), NOW + 10 * MINUTE)
    with pytest.raises(NotHeld):
        check_may_append(ended, Reporter("agent-1", None), NOW + 10 * MINUTE + 1)


def test_marker_names_the_limit() -> None:
    assert f"{log_rules.LOG_LIMIT // 1024 // 1024} MB" in LOG_TRUNCATED_MARKER


@pytest.mark.parametrize(
    ("values", "is_final"),
    [
        ({}, False),
        ({"log_end": 0}, True),
        ({"log_bytes": 5, "log_end": 5}, True),
        ({"log_bytes": 4, "log_end": 5}, False),
        ({"log_bytes": 9, "log_end": 5}, True),
        ({"final_log_appended": True}, True),
        ({"log_bytes": LOG_LIMIT, "log_end": LOG_LIMIT + 100}, True),
        ({"agent_id": None}, True),
    ],
)
def test_log_of_an_ended_task_is_final_once_it_has_all(values: dict[str, Any], is_final: bool) -> None:  # noqa: FBT001
    ended = task(status="completed", completed_at=NOW, **values)
    assert log_rules.log_is_final(ended, NOW + 10 * MINUTE) is is_final
    assert log_rules.log_is_final(ended, NOW + 10 * MINUTE + 1) is True
    assert log_rules.log_open_until(ended, NOW + 10 * MINUTE) == (None if is_final else NOW + 10 * MINUTE)
    assert log_rules.log_open_until(ended, NOW + 10 * MINUTE + 1) is None
    if is_final:
        with pytest.raises(NotHeld, match="closed"):
            log_rules.check_is_not_final(ended, NOW)
    else:
        log_rules.check_is_not_final(ended, NOW)


def test_log_of_an_open_task_is_never_closed() -> None:
    current = task(log_bytes=LOG_LIMIT)
    assert not log_rules.log_is_final(current, NOW)
    assert log_rules.log_open_until(current, NOW) is None


def test_log_expires_some_time_after_the_end_of_its_task() -> None:
    assert not log_rules.log_has_expired(task(), MINUTE, NOW)
    ended = task(status="completed", completed_at=NOW)
    assert not log_rules.log_has_expired(ended, MINUTE, NOW + MINUTE - 1)
    assert log_rules.log_has_expired(ended, MINUTE, NOW + MINUTE)


def test_log_that_was_cut_at_a_quota_is_full() -> None:
    assert not log_is_full(task(log_bytes=10))
    assert log_is_full(task(log_bytes=10, log_closed=True))
