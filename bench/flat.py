"""Whether the CPU time and the latency of a call grow with the amount of stored data. Measures calls at 10, 1,000 and
100,000 agents and as many tasks: once spread over many users, once with one user who owns all of them. Then measures
sweeps that find no stale items, 10 stale agents and tasks, and 1,000.

The three sizes are three databases of one DynamoDB Local. Each round measures all of them in turn and in a random
order, so that other load on the machine and the state of the Java process affect all sizes equally. The ratios of a
round are the result. CPU time is that of this process. Latency is that of a call through the whole app, in process, to
the database and back. Neither includes moto, which simulates the queues.

`tests/long/test_flatness.py` asserts the same for requests and units, which noise does not affect. It also documents
what grows up to a bound by design.
"""

import gc

from bench import flat_calls, flat_sweeps
from bench.scaled_platform import open_scaled_platform
from tests.long.scale import SIZES

ROUNDS = 150
SWEEP_ROUNDS = 30


def main() -> None:
    with open_scaled_platform() as platform:
        users = platform.populate()
        gc.collect()
        gc.freeze()
        sweeps = flat_sweeps.measure(platform, SWEEP_ROUNDS)
        calls = flat_calls.measure(platform, users, ROUNDS)
    print(
        f"{ROUNDS} rounds of calls, {SWEEP_ROUNDS} of sweeps: medians of milliseconds, and medians of the ratios of a"
    )
    print("round. In brackets: the first and ninth decile of the ratios, or the least and the most of fewer than ten\n")
    print(f"A call at {' / '.join(f'{size:,}' for size in SIZES)}\n")
    print(calls.table("users"))
    print("\nA sweep that finds no stale item, and the cost of each stale item\n")
    print(sweeps.samples.table("stale agents + tasks"))
    print(f"\nThe cost of a stale item, as a multiple of its cost in a sweep that finds {flat_sweeps.FEW_ITEMS[1]}\n")
    print(sweeps.table())
    for line in [*calls.missed_targets(), *sweeps.samples.missed_targets(), *sweeps.missed_targets()]:
        print(f"\nMissed: {line}")
