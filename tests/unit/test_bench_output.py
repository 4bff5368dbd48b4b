"""`make bench` prints its tables, and no log lines of the platform or of moto."""

import logging

import pytest

from bench import quiet
from chalicelib.core import log


def test_log_lines_are_kept_out_of_benchmark_output(capsys: pytest.CaptureFixture[str]) -> None:
    with quiet.capture_log():
        log.info("request")
        log.logger.warning("slow")
    assert capsys.readouterr().out == ""


def test_log_is_restored_after_capture() -> None:
    stream, level = log.handler.stream, logging.getLogger("moto").level
    with quiet.capture_log():
        assert log.handler.stream is not stream
        assert not logging.getLogger("moto").isEnabledFor(logging.WARNING)
    assert log.handler.stream is stream
    assert logging.getLogger("moto").level == level
