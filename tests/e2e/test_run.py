"""`python -m infra.local`, which `make run` starts: its port, its readiness, its output and its end."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support import environment
from tests.support.client import Client, Http

if TYPE_CHECKING:
    from collections.abc import Callable

    from infra.local.gateway import Response
    from tests.e2e.conftest import Platform

ROOT = Path(__file__).parents[2]
PROC = Path("/proc")
SECONDS = 30


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def tree(root: int) -> set[int]:
    """A process and all its descendants."""
    parents = {}
    for stat in PROC.glob("[0-9]*/stat"):
        try:
            state, parent = stat.read_text(encoding="utf-8").rpartition(")")[2].split()[:2]
        except OSError:  # the process has ended
            continue
        if state != "Z":
            parents[int(stat.parent.name)] = int(parent)
    found = {root} & parents.keys()
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def ports(processes: set[int]) -> set[int]:
    """The TCP ports on which these processes listen."""
    sockets = set()
    for process in processes:
        for entry in (PROC / str(process) / "fd").iterdir():
            with suppress(OSError):  # the file was closed
                sockets.add(entry.readlink().name)
    found = set()
    for table in ("tcp", "tcp6"):
        for line in (PROC / "net" / table).read_text(encoding="ascii").splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in sockets:
                found.add(int(fields[1].rpartition(":")[2], 16))
    return found


def commands_of_banner(output: str) -> str:
    """The commands in the banner: the indented lines after "Try it"."""
    _, _, after = output.partition("Try it")
    commands = []
    for line in after.splitlines()[1:]:
        if line and not line.startswith("  "):
            break
        commands.append(line)
    return textwrap.dedent("\n".join(commands))


def runner(port: str, **options: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "infra.local"],
        cwd=ROOT, env=environment.outside() | {"PORT": port}, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options,
    )  # fmt: skip


def ask(port: int, method: str, path: str, body: Any = None) -> Response | None:
    """Send one request on a new connection. None if the connection fails."""
    http = Http(f"http://127.0.0.1:{port}")
    try:
        return Client(http).send(method, path, body)
    except OSError:
        return None
    finally:
        http.close()


@pytest.mark.skipif(not (PROC / "self" / "stat").exists(), reason="looks into Linux's /proc")
@pytest.mark.parametrize("ending", ["SIGTERM", "Ctrl-C"])
def test_stage_is_ready_when_it_is_healthy_and_ends_with_all_processes(ending: str) -> None:
    port = free_port()
    started = runner(str(port), start_new_session=True)
    try:
        end = time.monotonic() + SECONDS
        while (health := ask(port, "GET", "/health")) is None or health.status != 200:
            assert started.poll() is None
            assert time.monotonic() < end
            time.sleep(0.02)
        login = ask(port, "POST", "/api/auth/pin/login", {"email": "user@example.com", "pin": "123456"})
        assert login is not None
        assert login.status == 200, "the login works as soon as the stage is healthy"

        processes = tree(started.pid)
        opened = ports(processes)
        assert port in opened
        assert len(opened) > 1, "the API's port, and moto's"
        assert all(listening(port) for port in opened)
        if ending == "SIGTERM":
            started.terminate()
        else:
            os.killpg(started.pid, signal.SIGINT)  # a terminal sends it to every process of the tree
        printed, logged = started.communicate(timeout=SECONDS)
    finally:
        if started.poll() is None:
            os.killpg(started.pid, signal.SIGKILL)
            started.communicate()

    assert started.returncode == 0, logged
    assert f"http://localhost:{port}\n" in printed
    assert "user@example.com, PIN 123456 (John Doe)" in printed
    assert "Traceback" not in printed + logged
    assert not [process for process in processes if tree(process)]
    assert not [port for port in opened if listening(port)]


def test_commands_of_the_banner_work_in_bash(fresh_platform: Callable[..., Platform]) -> None:
    for program in ("bash", "curl"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    platform = fresh_platform(DEVFLOW_RATE_LIMITS="1")
    script = commands_of_banner(platform.output)
    assert script.count("curl") >= 6

    done = subprocess.run(["bash"], input=script, capture_output=True, text=True, timeout=SECONDS, check=False)

    assert (done.returncode, done.stderr) == (0, "")
    responses = [json.loads(line) for line in done.stdout.splitlines() if line.strip()]
    assert not [response for response in responses if "statusCode" in response]
    (task,) = (response for response in responses if "currentStep" in response)
    assert (task["status"], task["summary"]) == ("completed", "Fixed")
    user = platform.client.login()
    assert user.get(f"/api/tasks/{task['id']}").json() == task
    assert user.get(f"/api/agents/{task['agentId']}").json()["status"] == "inactive"


def test_second_stage_on_the_same_port_reports_the_conflict(platform: Platform) -> None:
    port = platform.url.rpartition(":")[2]

    second = runner(port)
    printed, logged = second.communicate(timeout=SECONDS)

    assert (second.returncode, printed) == (1, "")
    assert f"port {port} is in use" in logged
    assert "Traceback" not in logged
    assert platform.client.get("/health").status == 200


@pytest.mark.parametrize("port", ["eighty", "65536"])
def test_invalid_port_is_rejected(port: str) -> None:
    rejected = runner(port)
    printed, logged = rejected.communicate(timeout=SECONDS)

    assert (rejected.returncode, printed) == (1, "")
    assert "PORT" in logged
    assert port in logged
    assert "Traceback" not in logged
