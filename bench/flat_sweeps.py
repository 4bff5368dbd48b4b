"""Sweeps at each size: what one costs that finds nothing, and what each stale agent or task adds to that."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bench.samples import FIGURES, Key, Samples, spread
from chalicelib.core import metrics
from chalicelib.core.settings import SECOND
from chalicelib.orchestration.sweep import run_sweep
from tests.long import load, scale
from tests.long.scale import DUE, FACTOR, USERS_SHARE
from tests.support import costs, moto_aws

if TYPE_CHECKING:
    from bench.flat import Ground

NOW = DUE + 15 * SECOND
FEW, LOTS = 10, 1_000
ONE_IN = 10
"""One round in so many has sweeps that find lots: they take half a minute each."""

NOTHING = ("sweep that finds nothing", "0 + 0")
ITEM = "a stale item of a sweep"
OF_FEW = (ITEM, f"{FEW} + {FEW}")
OF_LOTS = (ITEM, f"{LOTS:,} + {LOTS:,}, one user's")
OF_LOTS_OF_MANY = (ITEM, f"{LOTS:,} + {LOTS:,}, many users'")

Pair = tuple[float, float]
"""Milliseconds of CPU, and milliseconds that passed."""

Owners = dict[str, int]
"""So many agents and as many tasks of each are stale."""


@dataclass
class Sweeps:
    """What was measured of them."""

    ground: Ground
    samples: Samples = field(default_factory=Samples)
    lots: dict[tuple[Key, int], list[Pair]] = field(default_factory=dict)
    """An item of a sweep that finds lots, times one that finds few of the same round; by size."""

    def round(self, *, lots: bool) -> None:
        for size in self.ground.in_turn():
            with self.ground.at(size):
                empty = self._swept({})
                few = _each(self._swept(_owners(1, FEW)), empty, FEW)
                self.samples.add(NOTHING, size, *empty)
                self.samples.add(OF_FEW, size, *few)
                if lots:
                    self._lots(OF_LOTS, size, _owners(1, LOTS), empty, few)
                    self._lots(OF_LOTS_OF_MANY, size, _owners(LOTS // USERS_SHARE, USERS_SHARE), empty, few)

    def _lots(self, key: Key, size: int, owners: Owners, empty: Pair, few: Pair) -> None:
        item = _each(self._swept(owners), empty, LOTS)
        self.samples.add(key, size, *item)
        self.lots.setdefault((key, size), []).append((item[0] / few[0], item[1] / few[1]))

    def _swept(self, owners: Owners) -> Pair:
        """One sweep; what it was to find is there before, and gone afterwards."""
        for owner, many in owners.items():
            load.load(self.ground.endpoint, scale.stale(owner, many))
        seen = self.ground.seen
        seen.forget()
        metrics.begin()
        swept = seen.timed(lambda: run_sweep(NOW, lambda: False))
        stale = sum(owners.values())
        assert (swept.agents, swept.tasks, swept.failures) == (stale, stale, 0), swept
        for owner, many in owners.items():
            self.ground.remove_tasks(owner, [f"overdue-{number}" for number in range(many)])
            self.ground.remove_agents(owner, [f"agent-{number:05d}" for number in range(many)])
        moto_aws.empty_queues()
        return seen.cpu[0], seen.took[0]

    def table(self) -> str:
        """An item where there are lots, beside one where there are few."""
        rows = [
            [key[1], f"{size:,}", *[spread([pair[figure] for pair in pairs]) for figure in range(len(FIGURES))]]
            for (key, size), pairs in sorted(self.lots.items())
        ]
        return costs.table(["stale agents + tasks", "agents and tasks", *FIGURES], rows)

    def missed(self) -> list[str]:
        return [
            f"{name} of {', '.join(key)}: {times:.2f} times that of {OF_FEW[1]} at {size:,}"
            for (key, size), pairs in self.lots.items()
            for figure, name in enumerate(FIGURES)
            if (times := statistics.median(pair[figure] for pair in pairs)) > FACTOR
        ]


def _owners(users: int, each: int) -> Owners:
    return {f"user-11111111-1111-4111-8111-{number:012d}": each for number in range(users)}


def _each(with_stale: Pair, without: Pair, many: int) -> Pair:
    """Of one stale item: there are so many agents, and as many tasks."""
    return (with_stale[0] - without[0]) / (2 * many), (with_stale[1] - without[1]) / (2 * many)


def measured(ground: Ground, rounds: int) -> Sweeps:
    ground.to(NOW)
    Sweeps(ground).round(lots=False)  # what it measures while all is new is not kept
    sweeps = Sweeps(ground)
    for number in range(1, rounds + 1):
        sweeps.round(lots=number % ONE_IN == 0)
        ground.say(f"sweeps: round {number} of {rounds}")
    return sweeps
