"""Only the server's clock matters. The clock of an agent may be wrong."""

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
"""A Python program that runs another program with a clock that is off by some seconds."""


def instant(text: object) -> datetime:
    return datetime.strptime(str(text), "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)


def server_time(platform: Platform) -> datetime:
    """The time of the server's clock, in seconds. Other tests move this clock forward."""
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
    last_heartbeat = user.get(f"/api/agents/{agent}").json()["lastHeartbeat"]
    events = user.get(f"/api/tasks/{task}/events", {"limit": 100}).json()["data"]
    timestamps = [found["createdAt"], found["startedAt"], found["completedAt"], last_heartbeat]
    timestamps += [event["timestamp"] for event in events]
    after = server_time(platform)
    assert all(before <= instant(text) <= after for text in timestamps), timestamps


@pytest.mark.parametrize("off", [-3_600, 3_600])
def test_timestamps_in_requests_are_ignored(platform: Platform, off: int) -> None:
    user = platform.client.login()
    agent = f"clock-{uuid.uuid4()}"
    wrong = datetime.now(UTC) + timedelta(seconds=off)
    wrong_fields = {"timestamp": wrong.isoformat(), "lastHeartbeat": wrong.isoformat(), "createdAt": wrong.isoformat()}
    headers = {"Date": format_datetime(wrong, usegmt=True)}
    registration = {"agentId": agent, "name": agent, "version": "1"}
    before = server_time(platform)
    registered = user.post("/api/agents", registration | wrong_fields, **headers)
    assert registered.status == 201
    worker = user.acting_as(registered.json()["token"])
    assert worker.post(f"/api/agents/{agent}/heartbeat", {"status": "ready"} | wrong_fields, **headers).status == 200
    stored = user.get(f"/api/agents/{agent}").json()
    assert before <= instant(stored["createdAt"]) <= instant(stored["lastHeartbeat"]) <= server_time(platform)
    assert stored["status"] == "active"
