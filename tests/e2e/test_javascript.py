"""The specification's own JavaScript example, word for word but for the ids and the token.

`js/spec_example.js` is the specification's text as it stands. It speaks to port 3000, and so does this test where
that port is free; where it is taken, the port in `baseURL` is the only other thing that changes.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.e2e.conftest import Platform

SOURCES = Path(__file__).parent / "js"
PORT = 3000
INSTALL_SECONDS = 40
NO_NETWORK = (
    "EAI_AGAIN",
    "ECONNREFUSED",
    "ECONNRESET",
    "ENETUNREACH",
    "ENOTFOUND",
    "ETIMEDOUT",
    "ENOTCACHED",
    "network",
)

SHOW = "console.log(JSON.stringify({registered: response.data, commands: commands.data.commands}));"


def free(port: int) -> bool:
    """Whether nobody listens there, on either loopback address."""
    for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        with socket.socket(family) as probe:
            if probe.connect_ex((host, port)) == 0:
                return False
    return True


@pytest.fixture
def axios(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A directory where `import axios` works: the pinned version, installed once and kept in pytest's cache."""
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    home = (
        request.config.cache.mkdir("devflow-axios")
        if request.config.pluginmanager.hasplugin("cacheprovider")
        else tmp_path
    )
    lock, installed = SOURCES / "package-lock.json", home / "package-lock.json"
    if (home / "node_modules").is_dir() and installed.is_file() and installed.read_bytes() == lock.read_bytes():
        return Path(home)
    shutil.copy(SOURCES / "package.json", home)
    command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=0", "--fetch-timeout=15000"]
    shutil.copy(lock, home)
    try:
        done = subprocess.run(command, cwd=home, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        installed.unlink()
        pytest.skip(f"npm did not get axios within {INSTALL_SECONDS} s")
    if done.returncode != 0:
        installed.unlink()
        if any(sign in done.stderr for sign in NO_NETWORK):
            pytest.skip(f"npm cannot get axios, it seems for want of a network: {done.stderr[-300:]}")
        pytest.fail(f"npm ci failed:\n{done.stderr}")
    return Path(home)


def test_the_example_of_the_specification_works(axios: Path, fresh_platform: Callable[..., Platform]) -> None:
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
    platform.advance(0.001)  # its message is worked off when this returns, so the one poll there is finds the task

    example = (SOURCES / "spec_example.js").read_text(encoding="utf-8")
    for theirs, ours in {
        "http://localhost:3000": platform.url,
        "agent-uuid": agent,
        "agent-id": agent,
        "task-id": task,
    }.items():
        assert theirs in example
        example = example.replace(theirs, ours)
    script = axios / f"{task}.mjs"
    script.write_text(f"const token = {json.dumps(user.token)};\n{example}{SHOW}\n", encoding="utf-8")
    try:
        done = subprocess.run(["node", script], capture_output=True, text=True, timeout=30, check=False)
    finally:
        script.unlink()

    assert done.returncode == 0, done.stderr  # axios throws on any answer but 2xx
    got = json.loads(done.stdout)
    assert (got["registered"]["success"], got["registered"]["agent"]["id"]) == (True, agent)
    assert [command["task_id"] for command in got["commands"]] == [task]
    ended = user.get(f"/api/tasks/{task}").json()
    assert (ended["status"], ended["agentId"], ended["summary"]) == ("completed", agent, "Task completed")
    assert ended["prUrl"] == "https://github.com/..."
