"""`is_alive` of the tests' support: a process that ends while it is looked at is not alive."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import pytest

from agent.tests.support.processes import is_alive


def test_running_process_is_alive_and_a_zombie_or_none_is_not() -> None:
    assert is_alive(os.getpid())
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)
        assert not is_alive(ended.pid), "a zombie"
    assert not is_alive(ended.pid)


def test_process_that_vanishes_while_it_is_read_is_not_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    def vanish(*_: object, **__: object) -> NoReturn:
        raise ProcessLookupError  # what Linux returns for /proc/PID/stat of a process that ended after it was opened

    monkeypatch.setattr(Path, "read_text", vanish)
    assert not is_alive(os.getpid())
