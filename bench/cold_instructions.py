"""The number of instructions of a cold start, counted by valgrind. The number does not depend on other load.

Counts what Python runs in user mode from its start to the first response, without AWS's runtime client. It leaves out
the kernel, the disk and all waiting. One start is enough, and a loaded machine gives the same ratios.
"""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

START_SCRIPT = """
import json, sys
from importlib import import_module
from types import SimpleNamespace

event, handler = json.load(sys.stdin), sys.argv[1]
module, _, name = handler.rpartition(".")
response = getattr(import_module(module), name)(event, SimpleNamespace(function_name="function", aws_request_id="1"))
assert response["statusCode"] == 200, response
"""
_TOTAL = re.compile(r"I\s+refs:\s+([\d,]+)")


def is_valgrind_installed() -> bool:
    return shutil.which("valgrind") is not None


def count(root: Path, handler: str, event: Any, environment: dict[str, str]) -> int:
    """Instructions until a package has handled this event once. Raises AssertionError if it fails."""
    command = ["valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"]
    completed = subprocess.run(
        [*command, sys.executable, "-S", "-c", START_SCRIPT, handler], cwd=root, env=environment,
        input=json.dumps(event), capture_output=True, text=True, check=False,
    )  # fmt: skip
    total = _TOTAL.search(completed.stderr)
    assert completed.returncode == 0, completed.stderr
    assert total is not None, completed.stderr
    return int(total[1].replace(",", ""))
