"""What the sandbox costs: how long an engine takes to start with it and without it, and the memory of an idle agent.

An engine starts as in a task: under the supervisor, with the agent's limits. It is `true`, which ends at once. The idle
agent is a real one, and its platform is the local stage.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from devflow.cancel_token import CancelToken
from devflow.engine_view import EngineView
from devflow.private_files import make_private_directory
from devflow.program import Program, run_program
from devflow.sandbox import Sandbox
from tests.e2e.conftest import Platform
from tests.support.environment import outside

STARTS = 20
MOST_MILLISECONDS = 50.0
"""The aim: the difference between the medians."""
MOST_MEGABYTES = 60.0
"""The aim: the resident memory of an idle agent."""
POLLS_SECONDS = 5.0
"""How long the agent polls before its memory is measured."""
INTERVALS = "beat=0.5,poll=0.1"
"""Shorter than usual, so that it has polled often."""
SECONDS = 60.0


def main() -> bool:
    """Print the results. Returns whether an aim was missed."""
    problem = Sandbox(enabled=True).find_problem()
    if problem:
        print(f"The sandbox does not work on this machine. {problem}", file=sys.stderr)
        return True
    with tempfile.TemporaryDirectory(prefix="devflow-bench-") as directory:
        without, inside = measure_starts(Path(directory))
        memory = measure_idle_agent(Path(directory))
    difference = statistics.median(inside) - statistics.median(without)
    print("| what | median | first to ninth decile | aim |\n|---|---|---|---|")
    print(f"| start of an engine without the sandbox | {describe(without)} | |")
    print(f"| start of an engine in the sandbox | {describe(inside)} | |")
    print(f"| difference | {difference:.1f} ms | | at most {MOST_MILLISECONDS:.0f} ms |")
    print(f"| memory of an idle agent | {memory:.1f} MB | | below {MOST_MEGABYTES:.0f} MB |")
    return difference > MOST_MILLISECONDS or memory >= MOST_MEGABYTES


def describe(milliseconds: list[float]) -> str:
    deciles = statistics.quantiles(milliseconds, n=10)
    return f"{statistics.median(milliseconds):.1f} ms | {deciles[0]:.1f} to {deciles[-1]:.1f} ms"


def measure_starts(directory: Path) -> tuple[list[float], list[float]]:
    """Return the milliseconds of each start to the end of the engine: without the sandbox, and in it.

    They take turns, so that other programs on the machine affect both.
    """
    results: dict[bool, list[float]] = {False: [], True: []}
    for number in range(STARTS + 1):
        for enabled in (False, True):
            sandbox = Sandbox(enabled=enabled, hidden=(directory / "state",))
            root = directory / f"{number}-{enabled}"
            clone, private = make_private_directory(root / "clone"), make_private_directory(root / "private")
            view = EngineView(clone, (), private)
            began = time.perf_counter()
            program = Program(
                sandbox.wrap(["true"], view), clone, sandbox.environment(view), supervision=sandbox.supervision(view)
            )
            status = run_program(program, CancelToken(), print)
            took = time.perf_counter() - began
            assert status == 0
            if number:  # the first start reads files that the others find in memory
                results[enabled].append(took * 1_000)
    return results[False], results[True]


def measure_idle_agent(directory: Path) -> float:
    """Return the resident memory of an agent without a task, in megabytes (10^6 bytes)."""
    with ExitStack() as cleanup:
        platform = Platform(directory / "platform.log")
        cleanup.callback(platform.stop)
        env = outside() | {
            "DEVFLOW_URL": platform.url, "DEVFLOW_TOKEN": str(platform.client.login().token),
            "DEVFLOW_STATE": str(directory / "state"), "DEVFLOW_CONFIG": str(directory / "config.toml"),
            "DEVFLOW_AGENT": "idle",
        }  # fmt: skip
        devflow = [sys.executable, "-m", "devflow", "agent"]
        subprocess.run([*devflow, "register"], env=env, check=True, capture_output=True, timeout=SECONDS)
        log = directory / "agent.log"
        with log.open("wb") as output:
            agent = subprocess.Popen(
                [*devflow, "start", "--command", "true", "--pace", INTERVALS], env=env, stdout=output, stderr=output
            )
        cleanup.callback(agent.wait)
        cleanup.callback(agent.terminate)
        end = time.monotonic() + SECONDS
        while "is active" not in log.read_text(encoding="utf-8"):
            if time.monotonic() > end or agent.poll() is not None:
                raise SystemExit(f"The agent did not start:\n{log.read_text(encoding='utf-8')}")
            time.sleep(0.1)
        time.sleep(POLLS_SECONDS)
        pages = int(Path(f"/proc/{agent.pid}/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1_000_000
