"""What a cold start costs in instructions, where valgrind is there: the same whatever else the machine does.

Counts all that Python runs from its start to the first answer, in user mode, without AWS's runtime client; so it says
nothing of the kernel, of the disk, or of waiting, but one start is enough, and a loaded machine gives the same ratios.
"""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

START = """
import json, sys
from importlib import import_module
from types import SimpleNamespace

event, handler = json.load(sys.stdin), sys.argv[1]
module, _, name = handler.rpartition(".")
answer = getattr(import_module(module), name)(event, SimpleNamespace(function_name="function", aws_request_id="1"))
assert answer["statusCode"] == 200, answer
"""
_COUNTED = re.compile(r"I\s+refs:\s+([\d,]+)")


def can_be_counted() -> bool:
    return shutil.which("valgrind") is not None


def counted(root: Path, handler: str, event: Any, environment: dict[str, str]) -> int:
    """Instructions until a package has answered this event once. AssertionError where it does not."""
    command = ["valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"]
    ran = subprocess.run(
        [*command, sys.executable, "-S", "-c", START, handler], cwd=root, env=environment, input=json.dumps(event),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    found = _COUNTED.search(ran.stderr)
    assert ran.returncode == 0, ran.stderr
    assert found is not None, ran.stderr
    return int(found[1].replace(",", ""))
