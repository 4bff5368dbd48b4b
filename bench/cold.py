"""Cold starts, from the start of a process to its first answer, under AWS's own runtime client (`make bench-cold`).

`make bench-cold ARGS=work` counts instructions in the place of time (see cold_work.py).

DevFlow answers an agent's heartbeat as it does on a deployed stage: it reads the stage's secret, checks the token,
validates the body, and writes to DynamoDB. Beside it the least that a function can be: bare boto3 with one write to
DynamoDB; aws-lambda-powertools with no more than that; and powertools with PyJWT and pydantic for the same work. Each
is measured as pip lays it down, compiled, and compiled and trimmed; all in turn, round by round and in another order
each time, so that whatever else the machine does meets all of them alike. DevFlow's last line is the very package that
`make deploy` uploads, for this machine's processor; its other functions, which AWS calls without HTTP, come after it.

`make bench-cold ARGS=parts` says where the milliseconds go (see cold_parts.py).
"""

import random
import re
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

from bench import cold_parts, cold_work
from bench.cold_stage import EVENTS, stage
from infra.deploy import dependencies, package, trim
from infra.deploy.stage import PROJECT
from tests.support import costs
from tests.support.lambda_runtime import Function, environment_of, machine, runtime_client

ROUNDS = 25
"""Ten would do where nothing else runs: one start may take half as long again as the next."""
WARM_CALLS = 300
PEERS = Path(__file__).parent / "cold_peers"
AIMS = {
    ("bare", "as pip lays it down"): 0.55,
    ("bare", "compiled"): 1.1,
    ("powertools alike", "compiled and trimmed"): 1.0,
}
"""How many times as long as each of these DevFlow may take at the most."""

OWN = "devflow"
DEPLOYED = "make package"

MOST_BYTES = 7_000_000


@dataclass(eq=False)
class Contender:
    """One way to build one function, and what was measured of it, in milliseconds."""

    name: str
    built: str
    directory: Path
    handler: str
    zipped: int
    event: Any = None
    """None: an agent's heartbeat."""
    cold: list[float] = field(default_factory=list, init=False)
    cpu: list[float] = field(default_factory=list, init=False)
    warm: list[float] = field(default_factory=list, init=False)

    def start(self, event: Any, environment: dict[str, str]) -> None:
        with Function(self.directory, self.handler, environment) as function:
            answer = function.invoke(self.event or event)
            self.cold.append((time.perf_counter() - function.spawned) * 1_000)
            self.cpu.append(function.cpu * 1_000)
            assert self.is_right(answer), (answer, function.log)
            for _ in range(WARM_CALLS // ROUNDS if self.event is None else 0):
                began = time.perf_counter()
                function.invoke(event)
                self.warm.append((time.perf_counter() - began) * 1_000)

    def environment(self, stage: dict[str, str]) -> dict[str, str]:
        """What its process has where AWS's runtime client does not start it."""
        return environment_of(self.directory, stage, self.handler, "function", 0)

    def is_right(self, answer: Any) -> bool:
        if self.event is None:
            return bool(answer["statusCode"] == 200)
        return answer in ({"batchItemFailures": []}, None)

    @property
    def row(self) -> list[Any]:
        hundredths = statistics.quantiles(self.warm, n=100) if self.warm else []
        warm = (f"{hundredths[49]:.1f}", f"{hundredths[98]:.1f}") if hundredths else ("-", "-")
        cold = (statistics.median(self.cold), min(self.cold), max(self.cold), statistics.median(self.cpu))
        return [self.name, self.built, *(f"{each:.0f}" for each in cold), *warm, f"{self.zipped / 1e6:.1f}"]


def build(into: Path) -> list[Contender]:
    """Every contender, unpacked as Lambda would unpack it."""
    powertools = re.search(r"aws-lambda-powertools==\S+", (PROJECT / "bench" / "requirements.txt").read_text("utf-8"))
    assert powertools
    pinned = {each.partition("==")[0].lower(): each for each in dependencies.required(PROJECT)}
    own = _own(DEPLOYED, lambda target: shutil.copy(package.build(PROJECT, machine()), target), into)
    contenders = [
        *_peer("bare", [pinned["boto3"]], into),
        *_peer("powertools", [pinned["boto3"], powertools[0]], into),
        *_peer("powertools alike", [*(pinned[each] for each in ("boto3", "pyjwt", "pydantic")), powertools[0]], into),
        _own("as Chalice packs it", _as_chalice_packs_it, into),
        own,
        *(replace(own, name=name, handler=f"app.{name}", event=event) for name, event in EVENTS.items()),
    ]
    runtime_client()  # fetched now, and not while the first one starts
    return contenders


def deployed(contenders: list[Contender]) -> Contender:
    """The function that answers HTTP, in the package that is uploaded."""
    return next(each for each in contenders if (each.name, each.built) == (OWN, DEPLOYED))


def _peer(name: str, wanted: list[str], into: Path) -> list[Contender]:
    laid_down = dependencies.installed(PROJECT, wanted, machine())

    def made(built: str, steps: list[Callable[[Path], None]]) -> Contender:
        root = into / f"{name} {built}"
        shutil.copytree(laid_down, root)
        shutil.copy(PEERS / f"{name.replace(' ', '_')}.py", root / "function.py")
        for step in steps:
            step(root)
        zipped = root.with_suffix(".zip")
        package.write_zip([root], zipped)
        return Contender(name, built, root, "function.handler", zipped.stat().st_size)

    def trimmed(root: Path) -> None:
        trim.trim(root, {"dynamodb", "secretsmanager"})
        package.compile_all(root, sources=False)

    return [
        made("as pip lays it down", []),
        made("compiled", [package.compile_all]),
        made("compiled and trimmed", [trimmed]),
    ]


def _own(built: str, pack: Callable[[Path], Any], into: Path) -> Contender:
    zipped = into / f"devflow {built}.zip"
    pack(zipped)
    root = zipped.with_suffix("")
    with zipfile.ZipFile(zipped) as opened:
        opened.extractall(root)
    return Contender(OWN, built, root, "app.app", zipped.stat().st_size)


def _as_chalice_packs_it(zipped: Path) -> None:
    laid_down = dependencies.installed(PROJECT, dependencies.required(PROJECT), machine())
    with TemporaryDirectory() as directory:
        package.add_application(PROJECT, Path(directory))
        package.write_zip([laid_down, Path(directory)], zipped)


def measure(contenders: list[Contender], rounds: int = ROUNDS) -> None:
    with stage() as (event, environment):
        for contender in contenders:  # what has to be read from the disk at first is in memory then, for all alike
            contender.start(event, environment)
            contender.cold.clear()
            contender.cpu.clear()
            contender.warm.clear()
        for _ in range(rounds):
            for contender in random.sample(contenders, len(contenders)):
                contender.start(event, environment)


def missed(contenders: list[Contender]) -> list[str]:
    """What is not as it should be."""
    own = deployed(contenders)
    told = []
    for other in contenders:
        aim = AIMS.get((other.name, other.built))
        if aim is None:
            continue
        ratio = statistics.median(map(truediv, own.cold, other.cold))  # of the starts of a round
        cpu = statistics.median(map(truediv, own.cpu, other.cpu))
        least = min(own.cold) / min(other.cold)
        times = f"{ratio:.2f} times {other.name}, {other.built}"
        print(f"{times} (aim: {aim}); the least of each {least:.2f} times; {cpu:.2f} times its CPU")
        if ratio > aim:
            told.append(times)
    if own.zipped > MOST_BYTES:
        told.append(f"{own.zipped} bytes")
    return told


def count(contenders: list[Contender]) -> None:
    """Print what each does until its first answer, and how many times as much DevFlow does."""
    with stage() as (event, own):
        found = {
            each: cold_work.counted(each.directory, each.handler, event, each.environment(own))
            for each in contenders
            if each.event is None
        }
    rows = []
    for each, instructions in found.items():
        ratio = found[deployed(contenders)] / instructions
        rows.append([each.name, each.built, f"{instructions / 1e6:.0f}", f"{ratio:.2f}"])
    print(
        "Millions of instructions from the start of Python to the first answer; times as many as that DevFlow needs\n"
    )
    print(costs.table(["function", "built", "instructions", "DevFlow"], rows))


def part(contenders: list[Contender]) -> None:
    own = deployed(contenders)
    with stage() as (event, environment):
        cold_parts.printed(own.directory, own.handler, event, own.environment(environment))


INSTEAD: dict[str, Callable[[list[Contender]], None]] = {"work": count, "parts": part}


def main() -> None:
    wanted = sys.argv[1:]
    if unknown := set(wanted) - INSTEAD.keys():
        sys.exit(f"There is no {', '.join(sorted(unknown))} to measure; there are: {', '.join(INSTEAD)}.")
    if "work" in wanted and not cold_work.can_be_counted():
        sys.exit("Instructions are counted by valgrind, which is not there.")
    with TemporaryDirectory() as directory:
        contenders = build(Path(directory))
        for each in wanted:
            INSTEAD[each](contenders)
        if wanted:
            return
        measure(contenders)
    header = ["function", "built", "cold, median", "least", "most", "its CPU", "warm, p50", "p99", "zip"]
    print(f"From the start of a process to its first answer: {ROUNDS} cold starts each; ms, MB\n")
    print(costs.table(header, [contender.row for contender in contenders]), "\n")
    found = missed(contenders)
    print("\n".join(["", *(f"Missed: {each}" for each in found)]) if found else "\nAll as it should be.")


if __name__ == "__main__":
    main()
