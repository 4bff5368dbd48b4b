"""Where the time of a cold start goes: what each package's modules take to import (`python -X importtime`), and the
rest, which is the start of Python, the client of DynamoDB, the first call, and what writing the times down takes.

Without AWS's runtime client, and each start a little slower than it is; the shares are what counts.
"""

import json
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from bench.cold_work import START
from tests.support import costs

STARTS = 10
PACKAGES = ("botocore", "urllib3", "boto3", "pydantic", "pynamodb", "chalice", "jwt")
_BELONGING = {
    "pydantic_core": "pydantic", "annotated_types": "pydantic", "typing_inspection": "pydantic",
    "typing_extensions": "pydantic", "jmespath": "botocore", "dateutil": "botocore", "six": "botocore",
    "chalicelib": "our own modules", "app": "our own modules",
}  # fmt: skip
_LINE = re.compile(r"import time:\s+(\d+) \|\s+\d+ \|\s+(\S+)")
_REST = "the rest"


def printed(root: Path, handler: str, event: Any, environment: dict[str, str]) -> None:
    """Start a package several times, and print where the time went."""
    starts = [_start(root, handler, event, environment) for _ in range(STARTS + 1)][1:]
    names = sorted(
        {name for each in starts for name in each}, key=lambda name: (name == _REST, -starts[0].get(name, 0))
    )
    medians = {name: statistics.median(each.get(name, 0) for each in starts) for name in names}
    whole = sum(medians.values())
    rows = [[name, f"{of:.0f}", f"{of / whole:.0%}"] for name, of in medians.items()]
    print(f"Where the milliseconds of a cold start go, median of {STARTS}\n")
    print(costs.table(["part", "ms", "share"], rows))


def _start(root: Path, handler: str, event: Any, environment: dict[str, str]) -> dict[str, float]:
    """Milliseconds of one start, by part."""
    began = time.perf_counter()
    ran = subprocess.run(
        [sys.executable, "-S", "-X", "importtime", "-c", START, handler], cwd=root, env=environment,
        input=json.dumps(event), capture_output=True, text=True, check=True,
    )  # fmt: skip
    took = (time.perf_counter() - began) * 1_000
    parts: dict[str, float] = {}
    for microseconds, module in _LINE.findall(ran.stderr):
        top = module.partition(".")[0]
        part = _BELONGING.get(top, top if top in PACKAGES else "the standard library")
        parts[part] = parts.get(part, 0) + int(microseconds) / 1_000
    return parts | {_REST: took - sum(parts.values())}
