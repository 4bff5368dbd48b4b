"""The specification's JavaScript example, unchanged except for the ids and the token.

`js/spec_example.js` contains the text of the specification. It calls port 3000, and this test uses that port if it is
free. Otherwise the test also replaces the port in `baseURL`.
"""

from __future__ import annotations

import json
import socket
import subprocess
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.e2e.conftest import Platform

SOURCES = Path(__file__).parent / "js"
PORT = 3000
SHOW = "console.log(JSON.stringify({registered: response.data, commands: commands.data.commands}));"


def free(port: int) -> bool:
    """Whether no process listens on this port of the IPv4 and IPv6 loopback addresses."""
    for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        with socket.socket(family) as probe:
            if probe.connect_ex((host, port)) == 0:
                return False
    return True


def test_javascript_example_of_the_specification_works(
    node_home: Path, fresh_platform: Callable[..., Platform]
) -> None:
    platform = fresh_platform(PORT=str(PORT if free(PORT) else 0), DEVFLOW_RATE_LIMITS="1")
    user = platform.client.login()
    agent, task = f"agent-{uuid.uuid4()}", f"task-{uuid.uuid4()}"
    body = {
        "taskId": task,
        "intent": "fix-bug",
        "repo": "https://github.com/user/repo",
        "branch": "main",
        "naturalLanguage": "Fix the null pointer exception in login flow",
    }
    assert user.post("/api/workflows/execute", body).status == 202
    platform.advance(0.001)  # handles the message, so that the only poll of the example finds the task

    example = (SOURCES / "spec_example.js").read_text(encoding="utf-8")
    for placeholder, value in {
        "http://localhost:3000": platform.url,
        "agent-uuid": agent,
        "agent-id": agent,
        "task-id": task,
    }.items():
        assert placeholder in example
        example = example.replace(placeholder, value)
    script = node_home / f"{task}.mjs"
    script.write_text(f"const token = {json.dumps(user.token)};\n{example}{SHOW}\n", encoding="utf-8")
    try:
        done = subprocess.run(["node", script], capture_output=True, text=True, timeout=30, check=False)
    finally:
        script.unlink()

    assert done.returncode == 0, done.stderr  # axios throws an error for any response except 2xx
    printed = json.loads(done.stdout)
    assert (printed["registered"]["success"], printed["registered"]["agent"]["id"]) == (True, agent)
    assert [command["task_id"] for command in printed["commands"]] == [task]
    ended = user.get(f"/api/tasks/{task}").json()
    assert (ended["status"], ended["agentId"], ended["summary"]) == ("completed", agent, "Task completed")
    assert ended["prUrl"] == "https://github.com/..."
