"""`python -m infra.local` as `make run` starts it: its port, its readiness, what it prints, and its end."""

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
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

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
    """A process and all that it started."""
    parents = {}
    for stat in PROC.glob("[0-9]*/stat"):
        try:
            state, parent = stat.read_text(encoding="utf-8").rpartition(")")[2].split()[:2]
        except OSError:  # it has ended meanwhile
            continue
        if state != "Z":
            parents[int(stat.parent.name)] = int(parent)
    found = {root} & parents.keys()
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def ports(processes: set[int]) -> set[int]:
    """The TCP ports on which these processes listen."""
    sockets = {entry.readlink().name for process in processes for entry in (PROC / str(process) / "fd").iterdir()}
    found = set()
    for table in ("tcp", "tcp6"):
        for line in (PROC / "net" / table).read_text(encoding="ascii").splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in sockets:
                found.add(int(fields[1].rpartition(":")[2], 16))
    return found


def lines_to_paste(output: str) -> str:
    """What the banner tells one to paste: the indented lines after "Try it"."""
    _, _, after = output.partition("Try it")
    pasted = []
    for line in after.splitlines()[1:]:
        if line and not line.startswith("  "):
            break
        pasted.append(line)
    return textwrap.dedent("\n".join(pasted))


def ready(port: int) -> dict[str, Any]:
    """What GET /health answers, as soon as it does."""
    end = time.monotonic() + SECONDS
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=SECONDS) as connection:
                connection.sendall(b"GET /health HTTP/1.0\r\n\r\n")
                head, _, body = connection.makefile("rb").read().partition(b"\r\n\r\n")
            if head.split()[1:2] == [b"200"]:
                answer: dict[str, Any] = json.loads(body)
                return answer
        except OSError:
            pass
        assert time.monotonic() < end
        time.sleep(0.02)


def test_it_takes_the_port_it_is_given_and_health_answers_once_all_is_ready() -> None:
    port = free_port()
    runner = subprocess.Popen(
        [sys.executable, "-m", "infra.local"],
        cwd=ROOT,
        env=os.environ | {"PORT": str(port)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        health = ready(port)
        login = b'{"email": "user@example.com", "pin": "123456"}'
        with socket.create_connection(("127.0.0.1", port), timeout=SECONDS) as connection:
            connection.sendall(
                b"POST /api/auth/pin/login HTTP/1.0\r\nContent-Type: application/json\r\n"
                b"Content-Length: %d\r\n\r\n%s" % (len(login), login)
            )
            status = connection.makefile("rb").read().split()[1]
    finally:
        runner.terminate()
        said, _ = runner.communicate(timeout=SECONDS)

    assert health["status"] == "ok"
    assert status == b"200", "the login that it prints works as soon as it says that it is ready"
    assert f"http://localhost:{port}\n" in said.decode()
    assert b"user@example.com, PIN 123456 (John Doe)" in said
    assert runner.returncode == 0


def test_the_lines_that_it_prints_work_pasted_into_bash(fresh_platform: Callable[..., Platform]) -> None:
    for program in ("bash", "curl"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    platform = fresh_platform()
    script = lines_to_paste(platform.output)
    assert script.count("curl") >= 6

    done = subprocess.run(
        ["bash"],
        input=script,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
        env=os.environ | {"no_proxy": "*"},
    )

    assert done.returncode == 0, done.stderr
    assert not done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines() if line.strip()]
    assert not [answer for answer in answers if "statusCode" in answer]
    (task,) = (answer for answer in answers if "currentStep" in answer)
    assert (task["status"], task["summary"]) == ("completed", "Fixed")
    user = platform.client.login()
    assert user.get(f"/api/tasks/{task['id']}").json() == task
    (agent,) = user.get("/api/agents").json()["agents"]
    assert (agent["id"], agent["status"]) == (task["agentId"], "inactive")


def test_a_second_one_on_the_same_port_says_what_is_wrong_and_leaves_the_first_alone(platform: Platform) -> None:
    port = platform.url.rpartition(":")[2]

    second = subprocess.run(
        [sys.executable, "-m", "infra.local"],
        cwd=ROOT, env=os.environ | {"PORT": port}, capture_output=True, text=True, timeout=SECONDS, check=False,
    )  # fmt: skip

    assert second.returncode == 1
    assert f"port {port} is in use" in second.stderr
    assert "Traceback" not in second.stderr
    assert not second.stdout
    assert platform.client.get("/health").status == 200


@pytest.mark.parametrize("port", ["eighty", "-1", "65536", "3000.5"])
def test_a_port_that_is_none_is_refused(port: str) -> None:
    refused = subprocess.run(
        [sys.executable, "-m", "infra.local"],
        cwd=ROOT, env=os.environ | {"PORT": port}, capture_output=True, text=True, timeout=SECONDS, check=False,
    )  # fmt: skip

    assert refused.returncode == 1
    assert "PORT" in refused.stderr
    assert port in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.skipif(not (PROC / "self" / "stat").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_whole_tree(number: signal.Signals, fresh_platform: Callable[..., Platform]) -> None:
    platform = fresh_platform()
    port = int(platform.url.rpartition(":")[2])
    processes = tree(platform.process.pid)
    opened = ports(processes)
    assert port in opened
    assert len(opened) > 1, "the API's and the moto server's"
    assert all(listening(port) for port in opened)

    status = platform.stop(number)

    assert status == 0, platform.output
    assert "Traceback" not in platform.output
    assert not [process for process in processes if tree(process)]
    assert not [port for port in opened if listening(port)]
