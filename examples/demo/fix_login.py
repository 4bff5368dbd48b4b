"""A stand-in for a coding agent: a program that reads a task from standard input and works in the current clone.

It can fix one bug only, and it reports its progress (docs/agent.md, "Report progress and results").
"""

import json
import os
import subprocess
import sys
from pathlib import Path


def report(step: str, progress: float) -> None:
    print(os.environ["DEVFLOW_MARKER"], json.dumps({"step": step, "progress": progress}), flush=True)


def main() -> int:
    task = json.load(sys.stdin)
    print(f"Task: {task['description']}")
    report("Reading the code", 0.2)
    source = Path("login.py")
    code = source.read_text(encoding="utf-8")
    report("Making the change", 0.5)
    source.write_text(
        code.replace("return f", 'if user is None:\n        return "Hello, guest"\n    return f'), "utf-8"
    )
    report("Running the tests", 0.8)
    tests = subprocess.run([sys.executable, "-B", "-m", "unittest"], check=False)
    if tests.returncode == 0:
        print("Fixed the null pointer in login: users who are not logged in are greeted as guests")
    return tests.returncode


if __name__ == "__main__":
    sys.exit(main())
