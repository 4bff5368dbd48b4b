"""Sweeps at each size: what one costs that finds nothing, and what each stale agent or task adds to that."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bench.samples import FIGURES, Key, Samples, spread
from chalicelib import metrics
from chalicelib.settings import SECOND, settings
from chalicelib.workflows import gauges
from chalicelib.workflows.sweep import sweep
from tests.long import load, scale
from tests.long.scale import DUE, FACTOR, SIZES, USERS_SHARE
from tests.support import costs, moto_aws

if TYPE_CHECKING:
    from bench.flat import Ground
    from tests.support.watch import Seen

NOW = DUE + 15 * SECOND
FEW, LOTS = 10, 1_000
AGAIN = 3
"""So often what is over quickly is done in a round, which then has the mean of it."""

NOTHING = ("sweep that finds nothing", "0 + 0")
FIGURES_OF_ALL = ("of that, its figures of what there is", "0 + 0")
"""They read more the more there is, up to a bound: see chalicelib/workflows/gauges.py."""
THE_REST = ("of that, the rest", "0 + 0")
ITEM = "a stale item of a sweep"
OF_FEW = (ITEM, f"{FEW} + {FEW}")
OF_LOTS = (ITEM, f"{LOTS:,} + {LOTS:,}, one user's")
OF_LOTS_OF_MANY = (ITEM, f"{LOTS:,} + {LOTS:,}, many users'")

Pair = tuple[float, float]
"""Milliseconds of CPU, and milliseconds that passed."""


@dataclass
class Sweeps:
    ground: Ground
    samples: Samples = field(default_factory=Samples)

    def round(self, *, counts: bool) -> None:
        for size in self.ground.in_turn():
            with self.ground.at(size):
                empty = _mean([self._swept([]) for _ in range(AGAIN)])
                few = _mean([self._swept(_owners(1, FEW)) for _ in range(AGAIN)])
                noted = _mean([self._noted() for _ in range(AGAIN)])
                found = {
                    NOTHING: empty,
                    FIGURES_OF_ALL: noted,
                    THE_REST: (empty[0] - noted[0], empty[1] - noted[1]),
                    OF_FEW: _each(few, empty, FEW),
                }
                if counts:
                    found[OF_LOTS] = _each(self._swept(_owners(1, LOTS)), empty, LOTS)
                    found[OF_LOTS_OF_MANY] = _each(self._swept(_owners(LOTS // USERS_SHARE, USERS_SHARE)), empty, LOTS)
                    for key, pair in found.items():
                        self.samples.add(key, size, *pair)

    def _swept(self, owners: list[tuple[str, int]]) -> Pair:
        """One sweep, with so many agents and as many tasks of each owner stale."""
        for owner, many in owners:
            load.load(self.ground.endpoint, scale.stale(owner, many))
        seen = self._begun()
        swept = seen.timed(lambda: sweep(NOW, lambda: False))
        stale = sum(many for _, many in owners)
        assert (swept.agents, swept.tasks, swept.failures) == (stale, stale, 0), swept
        for owner, many in owners:
            self.ground.remove_tasks(owner, [f"overdue-{number}" for number in range(many)])
            self.ground.remove_agents(owner, [f"agent-{number:05d}" for number in range(many)])
        moto_aws.empty_queues()
        return seen.cpu[0], seen.took[0]

    def _noted(self) -> Pair:
        seen = self._begun()
        seen.timed(lambda: gauges.note_all(settings.shards, NOW))
        return seen.cpu[0], seen.took[0]

    def _begun(self) -> Seen:
        metrics.begin()
        self.ground.seen.forget()
        return self.ground.seen


def _owners(users: int, each: int) -> list[tuple[str, int]]:
    return [(f"user-11111111-1111-4111-8111-{number:012d}", each) for number in range(users)]


def _mean(pairs: list[Pair]) -> Pair:
    return statistics.mean(cpu for cpu, _ in pairs), statistics.mean(took for _, took in pairs)


def _each(with_stale: Pair, without: Pair, many: int) -> Pair:
    """Of one stale item: there are so many agents, and as many tasks."""
    return (with_stale[0] - without[0]) / (2 * many), (with_stale[1] - without[1]) / (2 * many)


def measured(ground: Ground, rounds: int) -> Samples:
    ground.to(NOW)
    sweeps = Sweeps(ground)
    for number in range(-3, rounds):  # the first ones warm up
        sweeps.round(counts=number >= 0)
    return sweeps.samples


def by_stale(samples: Samples, key: Key, size: int, figure: int) -> list[float]:
    """What a stale item costs where there are lots of them, times what it costs where there are few; each round."""
    pairs = zip(samples.found[key][size], samples.found[OF_FEW][size], strict=True)
    return [lots[figure] / few[figure] for lots, few in pairs]


def table(samples: Samples) -> str:
    """The same item, where there are lots and where there are few."""
    rows = [
        [key[1], f"{size:,}", *[spread(by_stale(samples, key, size, figure)) for figure in range(len(FIGURES))]]
        for key in (OF_LOTS, OF_LOTS_OF_MANY)
        for size in SIZES
    ]
    return costs.table(["stale agents + tasks", "agents and tasks", *FIGURES], rows)


def missed(samples: Samples) -> list[str]:
    told = []
    for key in (OF_LOTS, OF_LOTS_OF_MANY):
        for size in SIZES:
            for figure, name in enumerate(FIGURES):
                times = statistics.median(by_stale(samples, key, size, figure))
                if times > FACTOR:
                    told.append(f"{name} of {', '.join(key)}: {times:.2f} times that of {OF_FEW[1]} at {size:,}")
    return told
