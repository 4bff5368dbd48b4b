"""`python -m bench [cpu ...]`: run the benchmarks named on the command line, or all of them."""

import sys

from tests.support import environment

environment.prepare()

from bench import capacity, contention, cpu, flat, throughput  # noqa: E402  # these modules read the environment

BENCHMARKS = {
    "cpu": cpu.main,
    "capacity": capacity.main,
    "throughput": throughput.main,
    "contention": contention.main,
    "flat": flat.main,
}


def main() -> int:
    names = sys.argv[1:] or list(BENCHMARKS)
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        print(f"Unknown benchmark: {', '.join(unknown)}. Choose from: {', '.join(BENCHMARKS)}.", file=sys.stderr)
        return 2
    for name in names:
        BENCHMARKS[name]()
    return 0


if __name__ == "__main__":
    sys.exit(main())
