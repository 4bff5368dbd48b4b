"""`python -m bench [cpu ...]`: run some benches, or all of them."""

import sys

from tests.support import environment

environment.prepare()

from bench import capacity, contention, cpu, flat, throughput  # noqa: E402  # what reads the environment comes after it

BENCHES = {
    "cpu": cpu.main,
    "capacity": capacity.main,
    "throughput": throughput.main,
    "contention": contention.main,
    "flat": flat.main,
}


def main() -> int:
    wanted = sys.argv[1:] or list(BENCHES)
    unknown = [name for name in wanted if name not in BENCHES]
    if unknown:
        print(f"No such bench: {', '.join(unknown)}. There are: {', '.join(BENCHES)}.", file=sys.stderr)
        return 2
    for name in wanted:
        BENCHES[name]()
    return 0


if __name__ == "__main__":
    sys.exit(main())
