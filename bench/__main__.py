"""`python -m bench [cpu ...]`: run the benchmarks named on the command line, or all of them."""

import sys
from collections.abc import Callable

from tests.support import environment

environment.prepare()

from bench import (  # noqa: E402  # these modules read the environment
    brownout,
    capacity,
    contention,
    contest,
    cpu,
    flat,
    sandbox,
    scale,
    sweep_backlog,
    throughput,
)

BENCHMARKS: dict[str, Callable[[], bool | None]] = {
    "cpu": cpu.main,
    "capacity": capacity.main,
    "throughput": throughput.main,
    "contention": contention.main,
    "contest": contest.main,
    "brownout": brownout.main,
    "flat": flat.main,
    "sandbox": sandbox.main,
    "scale": scale.main,
    "sweep": sweep_backlog.main,
}
"""Each prints its results. One that returns True has missed its aim."""


def main() -> int:
    names = sys.argv[1:] or list(BENCHMARKS)
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        print(f"Unknown benchmark: {', '.join(unknown)}. Choose from: {', '.join(BENCHMARKS)}.", file=sys.stderr)
        return 2
    missed = [name for name in names if BENCHMARKS[name]()]
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
