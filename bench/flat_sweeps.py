"""Sweeps at each size: the cost of a sweep that finds no stale item, and the cost that each stale item adds."""

import statistics
from dataclasses import dataclass, field

from bench.samples import MEASURES, Key, Samples, format_spread
from bench.scaled_platform import ScaledPlatform
from chalicelib.core import metrics
from chalicelib.core.settings import MINUTE, SECOND
from chalicelib.orchestration.sweep import run_sweep
from tests.long import load, scale
from tests.long.scale import DUE, FACTOR, USERS_SHARE
from tests.support import costs, moto_aws

NOW = DUE + 15 * SECOND
FEW, LOTS = 10, 1_000
LOTS_EVERY = 10
"""Rounds between two rounds with sweeps that find many stale items. Such sweeps take half a minute each."""

NOTHING = ("sweep that finds nothing", "0 + 0")
ITEM = "a stale item of a sweep"
FEW_ITEMS = (ITEM, f"{FEW} + {FEW}")
LOTS_OF_ONE_USER = (ITEM, f"{LOTS:,} + {LOTS:,}, one user")
LOTS_OF_MANY_USERS = (ITEM, f"{LOTS:,} + {LOTS:,}, many users")

Times = tuple[float, float]
"""Milliseconds of CPU time, and elapsed milliseconds."""

StaleByOwner = dict[str, int]
"""By owner: the number of stale agents, and of stale tasks."""


@dataclass
class SweepBenchmark:
    platform: ScaledPlatform
    samples: Samples = field(default_factory=Samples)
    lots: dict[tuple[Key, int], list[Times]] = field(default_factory=dict)
    """By size: the cost of an item in a sweep with many stale items, as a multiple of its cost in a sweep with few, in
    the same round."""

    def run_round(self, *, lots: bool) -> None:
        for size in self.platform.shuffle_sizes():
            with self.platform.use_size(size):
                empty = self._measure_sweep({})
                few = _per_item(self._measure_sweep(_make_owners(1, FEW)), empty, FEW)
                self.samples.add(NOTHING, size, *empty)
                self.samples.add(FEW_ITEMS, size, *few)
                if lots:
                    self._measure_lots(LOTS_OF_ONE_USER, size, _make_owners(1, LOTS), empty, few)
                    many_users = _make_owners(LOTS // USERS_SHARE, USERS_SHARE)
                    self._measure_lots(LOTS_OF_MANY_USERS, size, many_users, empty, few)

    def _measure_lots(self, key: Key, size: int, owners: StaleByOwner, empty: Times, few: Times) -> None:
        item = _per_item(self._measure_sweep(owners), empty, LOTS)
        self.samples.add(key, size, *item)
        self.lots.setdefault((key, size), []).append((item[0] / few[0], item[1] / few[1]))

    def _measure_sweep(self, owners: StaleByOwner) -> Times:
        """Measure one sweep. Loads the stale items before it, and removes them afterwards."""
        for owner, number in owners.items():
            load.load(self.platform.endpoint, scale.overdue(owner, number))
        seen = self.platform.seen
        seen.clear()
        metrics.begin()
        swept = seen.timed(lambda: run_sweep(NOW, lambda: MINUTE))
        stale = sum(owners.values())
        assert (swept.agents, swept.tasks, swept.failures) == (stale, stale, 0), swept
        for owner, number in owners.items():
            self.platform.remove_tasks(owner, [f"overdue-{index}" for index in range(number)])
            self.platform.remove_agents(owner, [f"agent-{index:05d}" for index in range(number)])
        moto_aws.empty_queues()
        return seen.cpu[0], seen.durations[0]

    def table(self) -> str:
        """The cost of an item in a sweep with many stale items, as a multiple of its cost in a sweep with few."""
        rows = [
            [
                key[1],
                f"{size:,}",
                *[format_spread([ratio[index] for ratio in ratios]) for index in range(len(MEASURES))],
            ]
            for (key, size), ratios in sorted(self.lots.items())
        ]
        return costs.table(["stale agents + tasks", "agents and tasks", *MEASURES], rows)

    def missed_targets(self) -> list[str]:
        return [
            f"{name} of {', '.join(key)}: {times:.2f} times that of {FEW_ITEMS[1]} at {size:,}"
            for (key, size), ratios in self.lots.items()
            for index, name in enumerate(MEASURES)
            if (times := statistics.median(ratio[index] for ratio in ratios)) > FACTOR
        ]


def _make_owners(users: int, stale: int) -> StaleByOwner:
    return {f"user-11111111-1111-4111-8111-{number:012d}": stale for number in range(users)}


def _per_item(with_stale: Times, without: Times, number: int) -> Times:
    """The cost of one stale item in a sweep that finds this number of agents and the same number of tasks."""
    return (with_stale[0] - without[0]) / (2 * number), (with_stale[1] - without[1]) / (2 * number)


def measure(platform: ScaledPlatform, rounds: int) -> SweepBenchmark:
    platform.advance_to(NOW)
    SweepBenchmark(platform).run_round(lots=False)  # to warm up; its samples are dropped
    benchmark = SweepBenchmark(platform)
    for number in range(1, rounds + 1):
        benchmark.run_round(lots=number % LOTS_EVERY == 0)
        platform.report_progress(f"sweeps: round {number} of {rounds}")
    return benchmark
