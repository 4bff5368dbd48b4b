"""chalicelib/core/log.py: a line is the same, whichever way it is written."""

import io
import json
import logging
from typing import Any

import pytest

from chalicelib.core import log


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    stream = io.StringIO()
    monkeypatch.setattr(log.handler, "stream", stream)
    return stream


def lines(written: io.StringIO) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in written.getvalue().splitlines()]
    for line in found:
        assert line.pop("timestamp")[19:20] == "."
    return found


@pytest.mark.parametrize("identity", ["", "request-1"])
def test_the_quick_way_says_what_the_usual_one_does(written: io.StringIO, identity: str) -> None:
    token = log.request_id.set(identity)
    added: dict[str, Any] = {"status": 200, "who": "agent-1", "Requests": 1, "odd": logging}
    log.info("request", **added)
    log.logger.info("request", extra=added)
    log.request_id.reset(token)
    quick, usual = lines(written)
    assert quick == usual
    assert list(quick) == list(usual)
    assert quick.get("requestId", "") == identity


def test_neither_says_anything_below_the_level(written: io.StringIO) -> None:
    before = log.logger.level
    log.logger.setLevel(logging.WARNING)
    try:
        log.info("request")
        log.logger.info("request")
    finally:
        log.logger.setLevel(before)
    assert written.getvalue() == ""


def test_what_was_raised_is_told(written: io.StringIO) -> None:
    try:
        raise ValueError("wrong")  # noqa: TRY301
    except ValueError:
        log.logger.exception("a bug")
    (line,) = lines(written)
    assert line["level"] == "ERROR"
    assert "ValueError: wrong" in line["exception"]
