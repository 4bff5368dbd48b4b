"""The server's clock decides; an agent's may be anything."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.e2e.conftest import Platform

AGENT = Path(__file__).parents[2] / "examples" / "agent.py"
SECONDS = 30
SHIFTED = """
import runpy, sys, time
seconds, program, truly = float(sys.argv[1]), sys.argv[2], time.time
time.time = lambda: truly() + seconds
time.time_ns = lambda: int(time.time() * 1e9)
sys.argv = sys.argv[2:]
runpy.run_path(program, run_name="__main__")
"""
"""Runs a program whose clock is off by so many seconds."""


def instant(text: object) -> datetime:
    return datetime.strptime(str(text), "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)


def server_time(platform: Platform) -> datetime:
    """What the server's clock says, to the second: other tests move it forward."""
    return instant(platform.client.get("/local/clock").json()["now"])


@pytest.mark.parametrize("off", [-3_600, 3_600])
def test_agent_with_a_clock_off_by_an_hour_works_normally(platform: Platform, off: int) -> None:
    user = platform.client.login()
    agent = task = intent = f"clock-{uuid.uuid4()}"
    work = {"taskId": task, "intent": intent, "repo": "https://github.com/user/repo", "naturalLanguage": "Anything"}
    before = server_time(platform)
    assert user.post("/api/workflows/execute", work).status == 202
    arguments = ["--url", platform.url, "--agent-id", agent, "--capability", intent, "--once"]
    done = subprocess.run(
        [sys.executable, "-c", SHIFTED, str(off), str(AGENT), *arguments],
        env=os.environ | {"DEVFLOW_TOKEN": str(user.token)},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = user.get(f"/api/tasks/{task}").json()
    assert (found["status"], found["attempt"], found["agentId"]) == ("completed", 1, agent)
    shown = user.get(f"/api/agents/{agent}").json()
    events = user.get(f"/api/tasks/{task}/events", {"limit": 100}).json()["data"]
    told = [found["createdAt"], found["startedAt"], found["completedAt"], shown["lastHeartbeat"]]
    told += [event["timestamp"] for event in events]
    after = server_time(platform)
    assert all(before <= instant(text) <= after for text in told), told


@pytest.mark.parametrize("off", [-3_600, 3_600])
def test_timestamps_in_requests_are_ignored(platform: Platform, off: int) -> None:
    user = platform.client.login()
    agent = f"clock-{uuid.uuid4()}"
    wrong = datetime.now(UTC) + timedelta(seconds=off)
    said = {"timestamp": wrong.isoformat(), "lastHeartbeat": wrong.isoformat(), "createdAt": wrong.isoformat()}
    dated = {"Date": format_datetime(wrong, usegmt=True)}
    about = {"agentId": agent, "name": agent, "version": "1"}
    before = server_time(platform)
    registered = user.post("/api/agents", about | said, **dated)
    assert registered.status == 201
    worker = user.acting_as(registered.json()["token"])
    assert worker.post(f"/api/agents/{agent}/heartbeat", {"status": "ready"} | said, **dated).status == 200
    shown = user.get(f"/api/agents/{agent}").json()
    assert before <= instant(shown["createdAt"]) <= instant(shown["lastHeartbeat"]) <= server_time(platform)
    assert shown["status"] == "active"
