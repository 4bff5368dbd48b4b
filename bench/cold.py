"""Cold starts: the time from the start of a process to its first response, under AWS's own runtime client. Run it with
`make bench-cold`.

`make bench-cold ARGS=work` counts instructions instead of time (see cold_instructions.py).
`make bench-cold ARGS=parts` shows where the milliseconds go (see cold_breakdown.py).

DevFlow handles an agent's heartbeat as on a deployed stage: it reads the stage's secret, verifies the token, validates
the body and writes to DynamoDB. Three small functions are measured beside it (bench/cold_peers): bare boto3 with one
write to DynamoDB, aws-lambda-powertools with the same single write, and powertools with PyJWT and pydantic, which does
the same work as DevFlow. Each is measured as pip installs it, compiled, and compiled and trimmed.

All functions are measured in turn, round by round and in a random order each round, so that other load on the machine
affects all of them equally. DevFlow's last line for heartbeats is the package that `make deploy` uploads, built for the
processor of this machine. The functions that AWS invokes without HTTP come after it.
"""

import random
import shutil
import statistics
import sys
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from operator import truediv
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench import cold_breakdown, cold_instructions
from bench.cold_events import EVENTS, serve_stage
from infra.deploy import dependencies, package, trim
from infra.deploy.stage import PROJECT
from tests.support import costs
from tests.support.lambda_runtime import Function, environment_of, machine, runtime_client

ROUNDS = 25
"""Ten rounds are enough on an idle machine. On a busy one, a start can take half as long again as the next."""
WARM_CALLS = 300
PEERS = Path(__file__).parent / "cold_peers"

AS_INSTALLED = "as pip installs it"
COMPILED = "compiled"
TRIMMED = "compiled and trimmed"
BARE, POWERTOOLS, SAME_WORK = "bare", "powertools", "powertools, same work"
TARGETS = {
    (BARE, AS_INSTALLED): 0.55,
    (BARE, COMPILED): 1.1,
    (SAME_WORK, TRIMMED): 1.0,
}
"""By function and build: the largest permitted ratio of DevFlow's time to the time of that function."""

DEVFLOW = "devflow"
DEPLOYED = "make package"

MAX_ZIP_BYTES = 7_000_000


@dataclass(eq=False)
class FunctionBuild:
    """One function, built in one way, and its measurements in milliseconds."""

    name: str
    build: str
    directory: Path
    handler: str
    zip_bytes: int
    event: Any = None
    """None for an agent's heartbeat."""
    cold: list[float] = field(default_factory=list, init=False)
    cpu: list[float] = field(default_factory=list, init=False)
    warm: list[float] = field(default_factory=list, init=False)

    def measure_start(self, heartbeat: Any, environment: dict[str, str]) -> None:
        """Start the function once, and record its times. Raises AssertionError if it does not respond as expected."""
        with Function(self.directory, self.handler, environment) as function:
            response = function.invoke(self.event or heartbeat)
            self.cold.append((time.perf_counter() - function.spawned) * 1_000)
            self.cpu.append(function.cpu * 1_000)
            assert self.is_expected(response), (response, function.log)
            for _ in range(WARM_CALLS // ROUNDS if self.event is None else 0):
                began = time.perf_counter()
                function.invoke(heartbeat)
                self.warm.append((time.perf_counter() - began) * 1_000)

    def environment(self, stage: dict[str, str]) -> dict[str, str]:
        """The variables of its process when AWS's runtime client does not start it."""
        return environment_of(self.directory, stage, self.handler, "function", 0)

    def is_expected(self, response: Any) -> bool:
        if self.event is None:
            return bool(response["statusCode"] == 200)
        return response in ({"batchItemFailures": []}, None)

    @property
    def row(self) -> list[Any]:
        percentiles = statistics.quantiles(self.warm, n=100) if self.warm else []
        warm = (f"{percentiles[49]:.1f}", f"{percentiles[98]:.1f}") if percentiles else ("-", "-")
        cold = (statistics.median(self.cold), min(self.cold), max(self.cold), statistics.median(self.cpu))
        return [self.name, self.build, *(f"{figure:.0f}" for figure in cold), *warm, f"{self.zip_bytes / 1e6:.1f}"]


def build_all(into: Path) -> list[FunctionBuild]:
    """Every function in every build, unpacked as Lambda unpacks it."""
    same_work = ["boto3", "pyjwt", "pydantic", "aws-lambda-powertools"]
    own = _build_devflow(DEPLOYED, lambda target: shutil.copy(package.build(PROJECT, machine()), target), into)
    builds = [
        *_build_peer(BARE, "bare_function.py", ["boto3"], into),
        *_build_peer(POWERTOOLS, "powertools_function.py", ["boto3", "aws-lambda-powertools"], into),
        *_build_peer(SAME_WORK, "powertools_same_work.py", same_work, into),
        _build_devflow("as Chalice packs it", _pack_as_chalice, into),
        own,
        *(replace(own, name=name, handler=f"app.{name}", event=event) for name, event in EVENTS.items()),
    ]
    runtime_client()  # download the runtime client now, not during the first measured start
    return builds


def find_deployed(builds: list[FunctionBuild]) -> FunctionBuild:
    """The function that serves HTTP, in the package that `make deploy` uploads."""
    return next(each for each in builds if (each.name, each.build) == (DEVFLOW, DEPLOYED))


def _build_peer(name: str, source: str, packages: list[str], into: Path) -> list[FunctionBuild]:
    lock = dependencies.required(PROJECT) + (PROJECT / "bench" / "requirements.lock").read_text("utf-8")
    installed = dependencies.installed(PROJECT, dependencies.selected(lock, *packages), machine())

    def make(build: str, steps: list[Callable[[Path], None]]) -> FunctionBuild:
        root = into / f"{name} {build}"
        shutil.copytree(installed, root)
        shutil.copy(PEERS / source, root / "function.py")
        for step in steps:
            step(root)
        zip_file = root.with_suffix(".zip")
        package.write_zip([root], zip_file)
        return FunctionBuild(name, build, root, "function.handler", zip_file.stat().st_size)

    def compile_and_trim(root: Path) -> None:
        trim.trim(root, {"dynamodb", "secretsmanager"})
        package.compile_all(root, sources=False)

    return [
        make(AS_INSTALLED, []),
        make(COMPILED, [package.compile_all]),
        make(TRIMMED, [compile_and_trim]),
    ]


def _build_devflow(build: str, pack: Callable[[Path], Any], into: Path) -> FunctionBuild:
    zip_file = into / f"devflow {build}.zip"
    pack(zip_file)
    root = zip_file.with_suffix("")
    with zipfile.ZipFile(zip_file) as opened:
        opened.extractall(root)
    return FunctionBuild(DEVFLOW, build, root, "app.app", zip_file.stat().st_size)


def _pack_as_chalice(zip_file: Path) -> None:
    installed = dependencies.installed(PROJECT, dependencies.required(PROJECT), machine())
    with TemporaryDirectory() as directory:
        package.add_application(PROJECT, Path(directory))
        package.write_zip([installed, Path(directory)], zip_file)


def measure(builds: list[FunctionBuild], rounds: int = ROUNDS) -> None:
    with serve_stage() as (heartbeat, environment):
        for (
            build
        ) in builds:  # an uncounted first start reads the files from disk, so that later starts find them cached
            build.measure_start(heartbeat, environment)
            build.cold.clear()
            build.cpu.clear()
            build.warm.clear()
        for _ in range(rounds):
            for build in random.sample(builds, len(builds)):
                build.measure_start(heartbeat, environment)


def find_missed_targets(builds: list[FunctionBuild]) -> list[str]:
    """Print DevFlow's ratio to each function that has a target. Returns a description of each target that is missed."""
    own = find_deployed(builds)
    missed = []
    for other in builds:
        target = TARGETS.get((other.name, other.build))
        if target is None:
            continue
        ratio = statistics.median(map(truediv, own.cold, other.cold))  # of the two starts of one round
        cpu = statistics.median(map(truediv, own.cpu, other.cpu))
        fastest = min(own.cold) / min(other.cold)
        text = f"{ratio:.2f} times {other.name}, {other.build}"
        print(f"{text} (target: {target}); fastest starts: {fastest:.2f} times; CPU: {cpu:.2f} times")
        if ratio > target:
            missed.append(text)
    if own.zip_bytes > MAX_ZIP_BYTES:
        missed.append(f"{own.zip_bytes} bytes, more than {MAX_ZIP_BYTES}")
    return missed


def print_instructions(builds: list[FunctionBuild]) -> None:
    """Print how many instructions each function runs until its first response, and DevFlow's ratio to it."""
    with serve_stage() as (heartbeat, stage):
        instructions = {
            each: cold_instructions.count(each.directory, each.handler, heartbeat, each.environment(stage))
            for each in builds
            if each.event is None
        }
    own = instructions[find_deployed(builds)]
    rows = [
        [each.name, each.build, f"{number / 1e6:.0f}", f"{own / number:.2f}"] for each, number in instructions.items()
    ]
    print("Millions of instructions from the start of Python to the first response, and DevFlow's ratio to each\n")
    print(costs.table(["function", "build", "instructions", "DevFlow"], rows))


def print_breakdown(builds: list[FunctionBuild]) -> None:
    own = find_deployed(builds)
    with serve_stage() as (heartbeat, stage):
        cold_breakdown.print_table(own.directory, own.handler, heartbeat, own.environment(stage))


REPORTS: dict[str, Callable[[list[FunctionBuild]], None]] = {"work": print_instructions, "parts": print_breakdown}


def main() -> None:
    names = sys.argv[1:]
    if unknown := set(names) - REPORTS.keys():
        sys.exit(f"Unknown report: {', '.join(sorted(unknown))}. Choose from: {', '.join(REPORTS)}.")
    if "work" in names and not cold_instructions.is_valgrind_installed():
        sys.exit("Counting instructions needs valgrind, which is not installed. Install it and try again.")
    with TemporaryDirectory() as directory:
        builds = build_all(Path(directory))
        for name in names:
            REPORTS[name](builds)
        if names:
            return
        measure(builds)
    header = ["function", "build", "cold, median", "min", "max", "CPU", "warm, p50", "p99", "zip"]
    print(f"From the start of a process to its first response: {ROUNDS} cold starts each; ms, MB\n")
    print(costs.table(header, [build.row for build in builds]), "\n")
    missed = find_missed_targets(builds)
    print("\n".join(["", *(f"Missed: {each}" for each in missed)]) if missed else "\nAll targets are met.")


if __name__ == "__main__":
    main()
