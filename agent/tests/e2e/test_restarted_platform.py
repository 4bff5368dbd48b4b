"""A restart of the platform: the agent keeps working, and the platform accepts its result."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from agent.tests.e2e.conftest import SECONDS, Scenario, wait_until
from infra.local.local_aws import MotoProcess
from tests.e2e.conftest import Platform

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ATTACHED = """
import os, secrets, sys
from infra.local import __main__ as stage, local_aws

class Attached:
    \"\"\"An AWS that other processes started.\"\"\"
    endpoint = lambda self: os.environ["TEST_AWS"]
    stop = lambda self: None
    wait = lambda self: __import__("threading").Event().wait()

local_aws.MotoProcess = Attached
secrets.token_urlsafe = lambda length: "k" * length
if os.environ.get("TEST_AGAIN"):
    local_aws.deploy_template = lambda stage: None
sys.exit(stage.main())
"""
"""Runs the local stage with an AWS that survives the stage, and with constant signing keys."""


class Restartable(Platform):
    program = ["-c", ATTACHED]  # noqa: RUF012  # never modified


@pytest.fixture
def endpoint() -> Iterator[str]:
    moto = MotoProcess()
    try:
        yield moto.endpoint()
    finally:
        moto.stop()


@pytest.mark.timeout(4 * SECONDS)
def test_task_is_done_once_through_a_restart_of_the_platform(endpoint: str, tmp_path: Path, machine: Path) -> None:
    with ExitStack() as cleanup:
        before = Restartable(tmp_path / "before", TEST_AWS=endpoint)
        cleanup.callback(before.stop)
        scenario = Scenario(before, tmp_path, cleanup)
        name = scenario.register("patient")
        task = scenario.submit()
        agent = scenario.start(name, scenario.note + scenario.gate() + "open('login.py', 'w').write('fixed\\n')\n")
        wait_until(scenario.runs, lambda: agent.log)
        port = before.url.rpartition(":")[2]

        assert before.stop() == 0
        agent.wait_for("cannot be reached")
        scenario.open_gate()
        after = Restartable(tmp_path / "after", TEST_AWS=endpoint, TEST_AGAIN="1", PORT=port)
        cleanup.callback(after.stop)
        scenario.platform = after
        scenario.user = after.client.login()
        ended = scenario.wait_for_end(task)

        assert (ended["status"], ended["attempt"], ended["agentId"]) == ("completed", 1, name), agent.log
        assert scenario.branches() == [f"{task}-attempt-1"]
        assert len(scenario.runs()) == 1
        agent.wait_for("the platform is available again")
        assert agent.end() == 0
