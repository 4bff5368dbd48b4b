"""What an agent costs that has nothing to do: measured over a minute at its own pace, and printed."""

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
MOST_CPU = 0.005
"""Of a core."""
MOST_MEMORY = 60.0
"""Megabytes."""


def used(process: int) -> float:
    """Seconds of a processor so far."""
    fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident(process: int) -> float:
    """Megabytes of memory."""
    pages = int(Path(f"/proc/{process}/statm").read_text(encoding="utf-8").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1_000_000


@pytest.mark.long
@pytest.mark.timeout(4 * SECONDS)
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks into Linux's /proc")
def test_idle_agent_uses_little_cpu_and_memory(scenario: Scenario) -> None:
    agent = scenario.start(scenario.register("idle"), "pass", pace="")
    agent.wait_for("is active")
    before, began = used(agent.process.pid), time.monotonic()
    time.sleep(MINUTE)  # it is measured, not waited for
    share = (used(agent.process.pid) - before) / (time.monotonic() - began)
    memory = resident(agent.process.pid)

    print(f"\nan idle agent over a minute: {share:.2%} of a core, {memory:.0f} MB")
    assert share < MOST_CPU
    assert memory < MOST_MEMORY
    assert agent.end() == 0
