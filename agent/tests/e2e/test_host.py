"""The agent host of a real agent, with a real platform."""

from __future__ import annotations

import json
import re
import uuid
from typing import TYPE_CHECKING
from urllib.request import Request, urlopen

import pytest

from agent.tests.e2e.conftest import SECONDS, read_token

if TYPE_CHECKING:
    from agent.tests.e2e.conftest import Scenario


@pytest.mark.timeout(4 * SECONDS)
def test_workflow_submitted_on_loopback_is_done_by_this_agent(scenario: Scenario) -> None:
    name, other = scenario.register("host"), scenario.register("bystander")
    bystander = scenario.start(other, scenario.fix)
    agent = scenario.start(name, scenario.fix, "--host", "--host-port", "0")
    agent.wait_for("the agent host listens on")
    agent.wait_for("is active")
    match = re.search(r"listens on (http://\S+)", agent.log)
    assert match is not None
    task = f"task-{uuid.uuid4()}"
    body = {
        "taskId": task,
        "intent": "fix-bug",
        "repo": str(scenario.origin),
        "branch": "main",
        "naturalLanguage": "Fix it",
    }

    headers = {"Authorization": f"Bearer {read_token(scenario, name)}", "Content-Type": "application/json"}
    request = Request(f"{match[1]}/api/workflows/execute", json.dumps(body).encode(), headers)  # noqa: S310  # loopback
    with urlopen(request, timeout=30) as response:  # noqa: S310
        assert (response.status, json.loads(response.read())) == (202, {"accepted": True, "taskId": task})

    ended = scenario.wait_for_end(task)
    assert (ended["status"], ended["agentId"]) == ("completed", name)
    assert scenario.branches() == [f"{task}-attempt-1"]
    assert (agent.end(), bystander.end()) == (0, 0)
