"""What was measured at several sizes, round by round, and whether it is flat."""

import statistics
from dataclasses import dataclass, field

from tests.long.scale import FACTOR, SIZES
from tests.support import costs

Key = tuple[str, str]
"""A call and a kind of it, for example whose it was."""

FIGURES = ("CPU", "latency")


@dataclass
class Samples:
    """Milliseconds of CPU, and milliseconds until the answer: a pair a round, the same number of them at each size."""

    found: dict[Key, dict[int, list[tuple[float, float]]]] = field(default_factory=dict)
    since: dict[Key, int] = field(default_factory=dict)
    """The size from which on a call is to be flat, where that is not the smallest."""

    def add(self, key: Key, size: int, cpu: float, took: float) -> None:
        self.found.setdefault(key, {}).setdefault(size, []).append((cpu, took))

    def medians(self, key: Key, figure: int) -> list[float]:
        """By size."""
        return [statistics.median(pair[figure] for pair in self.found[key][size]) for size in SIZES]

    def ratios(self, key: Key, figure: int, size: int) -> list[float]:
        """Times what the same round has at the size from which on the call is to be flat."""
        pairs = zip(self.found[key][size], self.found[key][self._since(key)], strict=True)
        return [one[figure] / other[figure] for one, other in pairs]

    def table(self, kind: str) -> str:
        header = ["call", kind, "flat from", *[text for name in FIGURES for text in (name, "times")]]
        rows = []
        for key in self.found:
            row = [*key, f"{self._since(key):,}"]
            for figure in range(len(FIGURES)):
                row += [
                    " / ".join(f"{each:.2f}" for each in self.medians(key, figure)),
                    spread(self.ratios(key, figure, SIZES[-1])),
                ]
            rows.append(row)
        return costs.table(header, rows)

    def missed(self) -> list[str]:
        """What grows by more than the factor."""
        told = []
        for key in self.found:
            for figure, name in enumerate(FIGURES):
                for size in SIZES:
                    times = statistics.median(self.ratios(key, figure, size)) if size > self._since(key) else 1
                    if times > FACTOR:
                        told.append(f"{name} of {', '.join(key)}: {times:.2f} times as much at {size:,}")
        return told

    def _since(self, key: Key) -> int:
        return self.since.get(key, SIZES[0])


def spread(ratios: list[float]) -> str:
    """The median; and a tenth and nine tenths, or of fewer than ten the least and the most."""
    tenths = statistics.quantiles(ratios, n=10) if len(ratios) >= 10 else sorted(ratios)
    return f"{statistics.median(ratios):.2f} ({tenths[0]:.2f} to {tenths[-1]:.2f})"
