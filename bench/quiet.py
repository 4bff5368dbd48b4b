"""Keeps log lines out of a benchmark's output."""

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from chalicelib.core import log


@contextmanager
def capture_log() -> Iterator[None]:
    """Write the platform's log lines to memory instead of standard output, and drop moto's warnings.

    The platform formats and writes each line as usual, so a measurement within the block includes that work. Moto warns
    of each resource in infra/template.yaml that it does not simulate.
    """
    moto_logger = logging.getLogger("moto")
    level = moto_logger.level
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(log.handler, "stream", io.StringIO())
        moto_logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            moto_logger.setLevel(level)
