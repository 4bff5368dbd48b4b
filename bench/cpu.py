"""CPU time of a warm invocation. The whole handler is called with API Gateway's events, and recorded responses replace
botocore's HTTP exchange. DevFlow is measured beside other implementations of the same calls (`bench/peers`). Each is
first checked to do the same work.

Each implementation runs in a separate process. All are pinned to one core and measured in turn, round by round and in
a random order each round, so that other load on the machine affects all of them equally. The ratios of a round are the
result.
"""

import json
import random
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from bench import quiet, recording
from bench.implementation import IMPLEMENTATIONS
from tests.support import costs, moto_aws

FLOOR = "bare"
"""The implementation with the least code. The others are given as multiples of it."""
TARGET = 0.9
ROUNDS = 100
BATCH_SECONDS = 0.02
"""Approximate CPU time of one batch of calls of the floor."""


class ImplementationProcess:
    """A child process that measures an implementation on request."""

    def __init__(self, name: str, scenarios: Path) -> None:
        self.name = name
        self._process = subprocess.Popen(
            _command(name, "measure", scenarios), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._read_line()  # `ready`

    def measure(self, scenario: int, calls: int) -> float:
        """Microseconds of CPU time of one call."""
        assert self._process.stdin is not None
        print(json.dumps([scenario, calls]), file=self._process.stdin, flush=True)
        return float(self._read_line()) / calls * 1e6

    def stop(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=30)

    def _read_line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name} ended with status {self._process.wait()}")
        return line


def _command(name: str, mode: str, scenarios: Path) -> list[str]:
    return [sys.executable, "-m", "bench.implementation", name, mode, str(scenarios)]


@dataclass
class CpuResults:
    """Microseconds by scenario and implementation, one number for each round."""

    samples: dict[str, dict[str, list[float]]] = field(default_factory=dict)

    def add(self, scenario: str, implementation: str, microseconds: float) -> None:
        self.samples.setdefault(scenario, {}).setdefault(implementation, []).append(microseconds)

    def ratios(self, scenario: str, implementation: str) -> list[float]:
        """Multiples of the floor, one for each round."""
        samples = self.samples[scenario]
        return [one / floor for one, floor in zip(samples[implementation], samples[FLOOR], strict=True)]

    def table(self) -> str:
        others = [name for name in IMPLEMENTATIONS if name != FLOOR]
        rows = []
        for scenario, samples in self.samples.items():
            row = [scenario, f"{statistics.median(samples[FLOOR]):.0f} us"]
            for name in others:
                deciles = statistics.quantiles(self.ratios(scenario, name), n=10)
                row.append(f"{deciles[4]:.2f} ({deciles[0]:.2f} to {deciles[8]:.2f})")
            rows.append(row)
        return costs.table(["call", f"{FLOOR}, the floor", *others], rows)

    def missed_targets(self, target: float) -> list[str]:
        """The calls for which DevFlow is above the target, or slower than another implementation."""
        missed = []
        for scenario, samples in self.samples.items():
            own = statistics.median(self.ratios(scenario, "devflow"))
            if own > target:
                missed.append(f"{scenario}: {own:.2f} times the floor")
            missed += [
                f"{scenario}: {name} is faster"
                for name in samples
                if name != "devflow" and statistics.median(self.ratios(scenario, name)) < own
            ]
        return missed


def check(scenarios: Path) -> None:
    """Raise RuntimeError if an implementation does not do the same work as DevFlow."""
    for name in IMPLEMENTATIONS:
        completed = subprocess.run(_command(name, "check", scenarios), stdout=subprocess.PIPE, text=True, check=False)
        if completed.returncode:
            raise RuntimeError(f"{name} does not do the same work as DevFlow:\n{completed.stdout}")


def measure(path: Path, rounds: int) -> CpuResults:
    scenarios = [each.name for each in recording.read(path) if not each.is_rejected]
    results = CpuResults()
    processes = [ImplementationProcess(name, path) for name in IMPLEMENTATIONS]
    try:
        floor = next(each for each in processes if each.name == FLOOR)
        calls = [max(5, int(BATCH_SECONDS * 1e6 / floor.measure(number, 20))) for number in range(len(scenarios))]
        for _ in range(rounds):
            for number, scenario in enumerate(scenarios):
                for process in random.sample(processes, len(processes)):
                    results.add(scenario, process.name, process.measure(number, calls[number]))
    finally:
        for process in processes:
            process.stop()
    return results


def run(rounds: int = ROUNDS) -> CpuResults:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "scenarios.json"
        with quiet.capture_log(), moto_aws.deployed():
            recording.save(recording.record(), path)
        check(path)
        return measure(path, rounds)


def main() -> None:
    results = run()
    print(f"CPU time of a warm call, as a multiple of the floor: median of {ROUNDS} rounds (first to ninth decile)\n")
    print(results.table())
    missed = results.missed_targets(TARGET)
    if missed:
        print("\n".join(["", *(f"Missed: {each}" for each in missed)]))
    else:
        print(f"\nDevFlow takes at most {TARGET} times the floor on every call, and is the fastest.")
