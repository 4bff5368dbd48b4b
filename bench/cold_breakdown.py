"""Where the time of a cold start goes: how long each package's modules take to import (`python -X importtime`), and the
rest. The rest is the start of Python, the creation of the DynamoDB client, the first call, and the cost of recording
the import times.

The function runs without AWS's runtime client, and recording makes each start a little slower. Only the shares are
meaningful.
"""

import json
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from bench.cold_instructions import START_SCRIPT
from tests.support import costs

STARTS = 10
PACKAGES = ("botocore", "urllib3", "boto3", "pydantic", "pynamodb", "chalice", "jwt")
_GROUPS = {
    "pydantic_core": "pydantic", "annotated_types": "pydantic", "typing_inspection": "pydantic",
    "typing_extensions": "pydantic", "jmespath": "botocore", "dateutil": "botocore", "six": "botocore",
    "chalicelib": "our own modules", "app": "our own modules",
}  # fmt: skip
_IMPORT_LINE = re.compile(r"import time:\s+(\d+) \|\s+\d+ \|\s+(\S+)")
_REST = "the rest"


def print_table(root: Path, handler: str, event: Any, environment: dict[str, str]) -> None:
    """Start a package several times, and print where the time went."""
    starts = [_measure_start(root, handler, event, environment) for _ in range(STARTS + 1)][1:]
    names = sorted(
        {name for each in starts for name in each}, key=lambda name: (name == _REST, -starts[0].get(name, 0))
    )
    medians = {name: statistics.median(each.get(name, 0) for each in starts) for name in names}
    total = sum(medians.values())
    rows = [[name, f"{ms:.0f}", f"{ms / total:.0%}"] for name, ms in medians.items()]
    print(f"Where the milliseconds of a cold start go, median of {STARTS} starts\n")
    print(costs.table(["part", "ms", "share"], rows))


def _measure_start(root: Path, handler: str, event: Any, environment: dict[str, str]) -> dict[str, float]:
    """Milliseconds of one start, by part."""
    began = time.perf_counter()
    completed = subprocess.run(
        [sys.executable, "-S", "-X", "importtime", "-c", START_SCRIPT, handler], cwd=root, env=environment,
        input=json.dumps(event), capture_output=True, text=True, check=True,
    )  # fmt: skip
    elapsed = (time.perf_counter() - began) * 1_000
    parts: dict[str, float] = {}
    for microseconds, module in _IMPORT_LINE.findall(completed.stderr):
        top_level = module.partition(".")[0]
        part = _GROUPS.get(top_level, top_level if top_level in PACKAGES else "the standard library")
        parts[part] = parts.get(part, 0) + int(microseconds) / 1_000
    return parts | {_REST: elapsed - sum(parts.values())}
