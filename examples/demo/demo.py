"""`make demo`: starts a platform and an agent, and lets the agent fix a bug in a repository.

Everything runs on loopback and in a temporary folder, which is removed at the end. Set `DEMO_DIR` to use a folder of
your own, which is kept.
"""

import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FIX = Path(__file__).with_name("fix_login.py")
AGENT = "demo-agent"
SECONDS = 60

BUG = '''"""Greetings."""


def greeting(user):
    return f"Hello, {user['name']}"
'''
TEST = """import unittest

from login import greeting


class Greeting(unittest.TestCase):
    def test_a_user_is_greeted_by_name(self):
        self.assertEqual(greeting({"name": "Ada"}), "Hello, Ada")

    def test_a_user_who_is_not_logged_in_is_greeted_as_a_guest(self):
        self.assertEqual(greeting(None), "Hello, guest")
"""


class Demo:
    """One run of the demo. All of its files are in `folder`."""

    def __init__(self, folder: Path, cleanup: ExitStack) -> None:
        self.folder, self._cleanup = folder, cleanup
        self.env = {name: value for name, value in os.environ.items() if not name.startswith(("DEVFLOW_", "GIT_"))}
        self.env |= {
            "DEVFLOW_CONFIG": str(folder / "config.toml"), "DEVFLOW_STATE": str(folder / "state"),
            "DEVFLOW_EMAIL": "user@example.com", "DEVFLOW_PIN": "123456", "DEVFLOW_AGENT": AGENT,
        }  # fmt: skip

    def run(self) -> None:
        print_heading("1. Start the platform, as `make run` does, on a free port.")
        self.env["DEVFLOW_URL"] = self.start_platform()
        print_heading("2. Create a repository with a bug, and a test that fails because of it.")
        clone = self.make_repository()
        if self.tests_pass(clone):
            raise SystemExit("The test passes, although it should fail.")
        print_heading(
            "3. Log in, register an agent, and start it. Its engine is a small script in place of, say, `claude -p`."
        )
        self.devflow("login")
        self.devflow("agent", "register", "--capability", "fix-bug")
        self.start_agent()
        print_heading("4. Submit a task to fix the bug.")
        self.devflow("run", "Fix the null pointer in the login flow", "--repo", str(clone), "--intent", "fix-bug")
        print_heading("5. Show the pushed branch.")
        self.show_branch()
        print_heading("Done: the agent pushed a branch on which the test passes.")

    def start_platform(self) -> str:
        log = self.background("platform", [sys.executable, "-m", "infra.local"], PORT="0")
        url = self.wait_for(log, r"DevFlow runs at (http://\S+)")
        print(f"   {url}")
        return url

    def make_repository(self) -> Path:
        origin, clone = self.folder / "origin.git", self.folder / "login"
        self.git(self.folder, "init", "--quiet", "--bare", "--initial-branch=main", str(origin))
        self.git(self.folder, "clone", "--quiet", str(origin), str(clone))
        (clone / "login.py").write_text(BUG, encoding="utf-8")
        (clone / "test_login.py").write_text(TEST, encoding="utf-8")
        self.git(clone, "checkout", "--quiet", "-B", "main")
        self.git(clone, "add", "--all")
        self.git(clone, "-c", "user.name=Demo", "-c", "user.email=demo@example.com", "commit", "--quiet", "-m", "Greet")
        self.git(clone, "push", "--quiet", "--set-upstream", "origin", "main")
        print(f"   {clone}")
        return clone

    def start_agent(self) -> None:
        engine = shlex.join([sys.executable, str(FIX)])
        flags = ["--command", engine, "--allow-protocol", "file"]
        if problem := self.find_sandbox_problem():
            print(f"   The engine runs without a sandbox. {problem}")
            flags += ["--sandbox", "none"]
        else:
            print("   The engine runs in a sandbox (bubblewrap).")
        log = self.background("agent", [*DEVFLOW, "agent", "start", *flags])
        self.wait_for(log, f"({AGENT} is active)")

    def find_sandbox_problem(self) -> str:
        """Return why engines cannot run in a sandbox on this machine. Returns nothing if they can."""
        completed = subprocess.run(
            [*DEVFLOW, "agent", "doctor", "--json"], env=self.env, capture_output=True, text=True, check=False
        )
        checks = json.loads(completed.stdout)["checks"]
        return next(
            (check["message"] for check in checks if check["name"] == "sandbox" and check["status"] != "ok"), ""
        )

    def show_branch(self) -> None:
        origin, fixed = self.folder / "origin.git", self.folder / "fixed"
        branch = self.git(origin, "for-each-ref", "--format=%(refname:short)", "refs/heads/devflow")
        self.git(self.folder, "clone", "--quiet", "--branch", branch, str(origin), str(fixed))
        print(self.git(fixed, "log", "--max-count=1", "--stat", "--format=   %h %s%n%n%b"))
        print(self.git(fixed, "diff", "HEAD~1"))
        if not self.tests_pass(fixed):
            raise SystemExit("The test still fails on the pushed branch.")

    def tests_pass(self, clone: Path) -> bool:
        completed = subprocess.run(
            [sys.executable, "-B", "-m", "unittest"], cwd=clone, capture_output=True, text=True, check=False
        )
        print(f"   python -m unittest: {completed.stderr.strip().rpartition(chr(10))[2]}")
        return completed.returncode == 0

    def devflow(self, *arguments: str) -> None:
        """Run one command, and print it first."""
        print(f"   $ devflow {shlex.join(arguments)}", flush=True)
        completed = subprocess.run([*DEVFLOW, *arguments], env=self.env, cwd=self.folder, check=False)
        if completed.returncode != 0:
            raise SystemExit(f"`devflow {arguments[0]}` failed with exit status {completed.returncode}")

    def git(self, where: Path, *arguments: str) -> str:
        completed = subprocess.run(
            ["git", *arguments], cwd=where, env=self.env, capture_output=True, text=True, check=False
        )
        if completed.returncode != 0:
            raise SystemExit(f"git {arguments[0]}: {completed.stderr}")
        return completed.stdout.rstrip()

    def background(self, name: str, command: list[str], **env: str) -> Path:
        """Start a process that runs until the end of the demo. Returns the file with its output."""
        log = self.folder / f"{name}.log"
        self._cleanup.enter_context(process(command, self.env | env, log))
        return log

    def wait_for(self, log: Path, pattern: str) -> str:
        """Wait until the output matches the pattern. Returns its first group."""
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            if match := re.search(pattern, log.read_text(encoding="utf-8")):
                return match[1]
            time.sleep(0.05)
        raise SystemExit(f"{pattern!r} did not appear in {log.name}:\n{log.read_text(encoding='utf-8')}")


DEVFLOW = [sys.executable, "-m", "devflow"]


@contextmanager
def process(command: list[str], env: dict[str, str], log: Path) -> Iterator[None]:
    with log.open("wb") as output:
        started = subprocess.Popen(
            command, cwd=ROOT, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        yield
    finally:
        started.terminate()
        try:
            started.wait(SECONDS)
        except subprocess.TimeoutExpired:
            started.kill()
            started.wait()


def print_heading(text: str) -> None:
    print(f"\n{text}", flush=True)


def main() -> None:
    with ExitStack() as cleanup:
        own_folder = os.environ.get("DEMO_DIR")
        folder = (
            Path(own_folder)
            if own_folder
            else Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="devflow-demo-")))
        )
        Demo(folder.resolve(), cleanup).run()


if __name__ == "__main__":
    main()
