"""CPU of a warm invocation: the whole handler, called with API Gateway's events, botocore's HTTP send answered in
process. DevFlow beside the same work written otherwise (`bench/peers`), which is checked to be the same work first.

Each contender is a process of its own, all pinned to one core and measured in turn, round by round and in another order
each time, so that whatever else the machine does meets all of them alike. What counts are the ratios of a round.
"""

import json
import random
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from bench import recording
from bench.contender import CONTENDERS
from tests.support import costs, moto_aws

FLOOR = "bare"
AIM = 0.9
ROUNDS = 100
BATCH_SECONDS = 0.02
"""About so much CPU a batch of calls of the floor."""


class Contender:
    """A child process that measures when asked."""

    def __init__(self, name: str, scenarios: Path) -> None:
        self.name = name
        self._process = subprocess.Popen(
            _command(name, "measure", scenarios), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._read()

    def measure(self, scenario: int, calls: int) -> float:
        """Microseconds of CPU a call."""
        assert self._process.stdin is not None
        print(json.dumps([scenario, calls]), file=self._process.stdin, flush=True)
        return float(self._read()) / calls * 1e6

    def stop(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=30)

    def _read(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name} ended with status {self._process.wait()}")
        return line


def _command(name: str, mode: str, scenarios: Path) -> list[str]:
    return [sys.executable, "-m", "bench.contender", name, mode, str(scenarios)]


@dataclass
class Results:
    """Microseconds by scenario and contender, a number a round."""

    samples: dict[str, dict[str, list[float]]] = field(default_factory=dict)

    def add(self, scenario: str, contender: str, microseconds: float) -> None:
        self.samples.setdefault(scenario, {}).setdefault(contender, []).append(microseconds)

    def ratios(self, scenario: str, contender: str) -> list[float]:
        """Times the floor, of each round."""
        found = self.samples[scenario]
        return [one / floor for one, floor in zip(found[contender], found[FLOOR], strict=True)]

    def table(self) -> str:
        others = [contender for contender in CONTENDERS if contender != FLOOR]
        rows = []
        for scenario, found in self.samples.items():
            row = [scenario, f"{statistics.median(found[FLOOR]):.0f} us"]
            for contender in others:
                tenths = statistics.quantiles(self.ratios(scenario, contender), n=10)
                row.append(f"{tenths[4]:.2f} ({tenths[0]:.2f} to {tenths[8]:.2f})")
            rows.append(row)
        return costs.table(["call", f"{FLOOR}, the floor", *others], rows)

    def missed(self, aim: float) -> list[str]:
        """What is not as quick as it should be."""
        told = []
        for scenario, found in self.samples.items():
            own = statistics.median(self.ratios(scenario, "devflow"))
            if own > aim:
                told.append(f"{scenario}: {own:.2f} times the floor")
            told += [
                f"{scenario}: {contender} is ahead"
                for contender in found
                if contender != "devflow" and statistics.median(self.ratios(scenario, contender)) < own
            ]
        return told


def check(scenarios: Path) -> None:
    """Raise unless every contender does the product's work."""
    for name in CONTENDERS:
        done = subprocess.run(_command(name, "check", scenarios), stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"not the same work:\n{done.stdout}")


def measure(path: Path, rounds: int) -> Results:
    scenarios = [each.name for each in recording.restore(path) if not each.probe]
    results = Results()
    contenders = [Contender(name, path) for name in CONTENDERS]
    try:
        floor = next(each for each in contenders if each.name == FLOOR)
        calls = [max(5, int(BATCH_SECONDS * 1e6 / floor.measure(number, 20))) for number in range(len(scenarios))]
        for _ in range(rounds):
            for number, scenario in enumerate(scenarios):
                for contender in random.sample(contenders, len(contenders)):
                    results.add(scenario, contender.name, contender.measure(number, calls[number]))
    finally:
        for contender in contenders:
            contender.stop()
    return results


def run(rounds: int = ROUNDS) -> Results:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "scenarios.json"
        with moto_aws.deployed():
            recording.save(recording.record(), path)
        check(path)
        return measure(path, rounds)


def main() -> None:
    results = run()
    print(f"CPU of a warm call: times the floor, median of {ROUNDS} rounds (first to ninth tenth)\n")
    print(results.table())
    missed = results.missed(AIM)
    print(
        "\n".join(["", *(f"Missed: {each}" for each in missed)]) if missed else f"\nAll at most {AIM} times the floor."
    )
