"""chalicelib/core/log.py: `log.info` and the standard logger write the same lines."""

import io
import json
import logging
from typing import Any

import pytest

from chalicelib.core import log


@pytest.fixture
def output(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What the log writes."""
    stream = io.StringIO()
    monkeypatch.setattr(log.handler, "stream", stream)
    return stream


def lines_of(output: io.StringIO) -> list[dict[str, Any]]:
    """The lines without their timestamps."""
    lines = [json.loads(line) for line in output.getvalue().splitlines()]
    for line in lines:
        assert line.pop("timestamp")[19:20] == "."
    return lines


@pytest.mark.parametrize("request_id", ["", "request-1"])
def test_fast_info_writes_same_line_as_logger(output: io.StringIO, request_id: str) -> None:
    token = log.request_id.set(request_id)
    fields: dict[str, Any] = {"status": 200, "who": "agent-1", "Requests": 1, "odd": logging}
    log.info("request", **fields)
    log.logger.info("request", extra=fields)
    log.request_id.reset(token)
    fast_line, standard_line = lines_of(output)
    assert fast_line == standard_line
    assert list(fast_line) == list(standard_line)
    assert fast_line.get("requestId", "") == request_id


def test_lines_below_log_level_are_not_written(output: io.StringIO) -> None:
    before = log.logger.level
    log.logger.setLevel(logging.WARNING)
    try:
        log.info("request")
        log.logger.info("request")
    finally:
        log.logger.setLevel(before)
    assert output.getvalue() == ""


def test_exception_is_logged_with_stack_trace(output: io.StringIO) -> None:
    try:
        raise ValueError("wrong")  # noqa: TRY301
    except ValueError:
        log.logger.exception("a bug")
    (line,) = lines_of(output)
    assert line["level"] == "ERROR"
    assert "ValueError: wrong" in line["exception"]
