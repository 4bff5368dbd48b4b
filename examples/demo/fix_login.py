"""Stands where a coding agent would: a program that gets a task on its standard input, in the clone to work in.

It knows how to mend one bug only, and tells how far it is on the way (docs/agent.md, "Telling").
"""

import json
import subprocess
import sys
from pathlib import Path


def tell(step: str, progress: float) -> None:
    print("::devflow", json.dumps({"step": step, "progress": progress}), flush=True)


def main() -> int:
    task = json.load(sys.stdin)
    print(f"Asked to: {task['description']}")
    tell("Reading the code", 0.2)
    source = Path("login.py")
    code = source.read_text(encoding="utf-8")
    tell("Making the change", 0.5)
    source.write_text(
        code.replace("return f", 'if user is None:\n        return "Hello, guest"\n    return f'), "utf-8"
    )
    tell("Running the tests", 0.8)
    tests = subprocess.run([sys.executable, "-B", "-m", "unittest"], check=False)
    if tests.returncode == 0:
        print("Fixed the null pointer in login: a guest is greeted, too")
    return tests.returncode


if __name__ == "__main__":
    sys.exit(main())
