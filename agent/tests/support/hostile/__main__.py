"""The attacking engine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from agent.tests.support.hostile import files, git_directory, kernel, limits, network, output, processes, sockets
from agent.tests.support.hostile.tools import ATTACKS, FACTS, SECONDS

MODULES = (files, git_directory, kernel, limits, network, output, processes, sockets)
"""Each adds its attacks to `ATTACKS`."""


def main() -> None:
    FACTS.update(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    FACTS["descriptors"] = find_open_descriptors()
    names = os.environ["DEVFLOW_DESCRIPTION"].split()
    outcomes = {names[0]: attempt(names[0])} if len(names) == 1 else {name: attempt_apart(name) for name in names}
    print(json.dumps({"summary": json.dumps(outcomes)}), flush=True)


def find_open_descriptors() -> list[int]:
    found = []
    for number in range(1_024):
        with suppress(OSError):
            os.fstat(number)
            found.append(number)
    return found


def attempt(name: str) -> str:
    """Return `succeeded`, or why the attack failed."""
    try:
        return "succeeded" if ATTACKS[name]() else "no effect"
    except (OSError, StopIteration, subprocess.CalledProcessError) as error:
        return f"{type(error).__name__}: {error}"[:80]


def attempt_apart(name: str) -> str:
    """Attempt it in a process of its own, so that what it leaves behind does not make the next one fail."""
    reader, writer = os.pipe()
    process = os.fork()
    if process == 0:
        signal.alarm(SECONDS)
        os.write(writer, attempt(name).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, encoding="utf-8") as outcome:
        text = outcome.read()
    status = os.waitpid(process, 0)[1]
    return text or f"ended with status {status}"


if __name__ == "__main__":
    main()
