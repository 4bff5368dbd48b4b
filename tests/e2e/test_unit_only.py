"""`make unit` enforces its restrictions: tests/support/unit_only.py in a separate pytest process."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ALLOWED = "assert 1 + 1 == 2"
FORBIDDEN = {
    "socket": "import socket; socket.socket()",
    "connection": "import _socket; _socket.socket().connect(('127.0.0.1', 9))",
    "name": "import socket; socket.getaddrinfo('example.com', 80)",
    "process": "import subprocess; subprocess.run(['true'])",
    "shell": "import os; os.system('true')",
    "moto": "import moto",
    "caught": "import subprocess, contextlib\n    with contextlib.suppress(Exception): subprocess.run(['true'])",
}


def run(directory: Path, body: str) -> subprocess.CompletedProcess[str]:
    test = directory / "test_one.py"
    test.write_text(f"def test_one():\n    {body}\n", encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-p", "tests.support.unit_only", "--disable-socket", "--no-header"]
    command += ["-p", "no:cacheprovider", "-c", str(ROOT / "pyproject.toml"), "--rootdir", str(directory), str(test)]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_ordinary_unit_test_passes(tmp_path: Path) -> None:
    done = run(tmp_path, ALLOWED)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("body", FORBIDDEN.values(), ids=FORBIDDEN)
def test_unit_test_with_sockets_processes_or_moto_fails(tmp_path: Path, body: str) -> None:
    done = run(tmp_path, body)
    assert done.returncode == 1, done.stdout
    assert "make integration" in done.stdout or "SocketBlockedError" in done.stdout
