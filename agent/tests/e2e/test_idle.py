"""CPU and memory of an idle agent with its default intervals, measured over a minute."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from agent.tests.e2e.conftest import SECONDS

if TYPE_CHECKING:
    from agent.tests.e2e.conftest import Scenario

MINUTE = 60.0
MAX_CPU = 0.005
"""Part of a core."""
MAX_MEMORY = 60.0
"""Megabytes."""


def cpu_seconds(process: int) -> float:
    """Return the CPU seconds of a process."""
    fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_mb(process: int) -> float:
    """Return the memory of a process in MB."""
    pages = int(Path(f"/proc/{process}/statm").read_text(encoding="utf-8").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1_000_000


@pytest.mark.long
@pytest.mark.timeout(4 * SECONDS)
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads Linux's /proc")
def test_idle_agent_uses_little_cpu_and_memory(scenario: Scenario) -> None:
    agent = scenario.start(scenario.register("idle"), "pass", pace="")
    agent.wait_for("is active")
    before, began = cpu_seconds(agent.process.pid), time.monotonic()
    time.sleep(MINUTE)  # the measurement, not a wait for an event
    share = (cpu_seconds(agent.process.pid) - before) / (time.monotonic() - began)
    memory = memory_mb(agent.process.pid)

    print(f"\nan idle agent over a minute: {share:.2%} of a core, {memory:.0f} MB")
    assert share < MAX_CPU
    assert memory < MAX_MEMORY
    assert agent.end() == 0
