"""Measurements at several sizes, round by round, and the decision whether they are flat."""

import statistics
from dataclasses import dataclass, field

from tests.long.scale import FACTOR, SIZES
from tests.support import costs

Key = tuple[str, str]
"""A call and its variant, for example `heartbeat` of `one` user."""

MEASURES = ("CPU", "latency")


@dataclass
class Samples:
    """Milliseconds of CPU time and milliseconds of latency: one pair for each round, and as many pairs at each size."""

    pairs: dict[Key, dict[int, list[tuple[float, float]]]] = field(default_factory=dict)
    flat_from: dict[Key, int] = field(default_factory=dict)
    """The smallest size from which a call must be flat, if that is not the smallest of all."""

    def add(self, key: Key, size: int, cpu: float, latency: float) -> None:
        self.pairs.setdefault(key, {}).setdefault(size, []).append((cpu, latency))

    def medians(self, key: Key, measure: int) -> list[float]:
        """The medians at each size. `measure`: an index of MEASURES."""
        return [statistics.median(pair[measure] for pair in self.pairs[key][size]) for size in SIZES]

    def ratios(self, key: Key, measure: int, size: int) -> list[float]:
        """The ratios of each round to the size from which the call must be flat."""
        pairs = zip(self.pairs[key][size], self.pairs[key][self._reference_size(key)], strict=True)
        return [one[measure] / other[measure] for one, other in pairs]

    def table(self, variant: str) -> str:
        header = ["call", variant, "flat from", *[text for name in MEASURES for text in (name, "ratio")]]
        rows = []
        for key in self.pairs:
            row = [*key, f"{self._reference_size(key):,}"]
            for measure in range(len(MEASURES)):
                row += [
                    " / ".join(f"{median:.2f}" for median in self.medians(key, measure)),
                    format_spread(self.ratios(key, measure, SIZES[-1])),
                ]
            rows.append(row)
        return costs.table(header, rows)

    def missed_targets(self) -> list[str]:
        """A description of each call that grows by more than FACTOR."""
        missed = []
        for key in self.pairs:
            for measure, name in enumerate(MEASURES):
                for size in SIZES:
                    ratio = (
                        statistics.median(self.ratios(key, measure, size)) if size > self._reference_size(key) else 1
                    )
                    if ratio > FACTOR:
                        missed.append(f"{name} of {', '.join(key)}: {ratio:.2f} times as much at {size:,}")
        return missed

    def _reference_size(self, key: Key) -> int:
        return self.flat_from.get(key, SIZES[0])


def format_spread(ratios: list[float]) -> str:
    """The median, and in brackets the first and ninth decile, or the least and the most of fewer than ten ratios."""
    deciles = statistics.quantiles(ratios, n=10) if len(ratios) >= 10 else sorted(ratios)
    return f"{statistics.median(ratios):.2f} ({deciles[0]:.2f} to {deciles[-1]:.2f})"
