"""Compares the load on each key with DynamoDB's limits, and renders the result as text and for docs/performance.md."""

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bench.partitions.fleets import SimulatedFleet
from bench.partitions.replay import KeyKind, KeyLoad, ReplayResult
from bench.partitions.tables import MAX_KEY_READS, MAX_KEY_WRITES
from tests.support import costs

MAX_TRANSACTIONS = 80
"""Transactions a second on one item. Of two at the same time, one fails with TransactionConflict and is repeated. Each
takes about ten milliseconds, so from 80 a second on most of them meet another one."""

SHOWN = 8
"""How many keys of a fleet the tables show."""

FILE = Path(__file__).with_name("results.json")
PAGE = Path(__file__).parents[2] / "docs" / "performance.md"
_TIME_ORDERED = ("{at}", "{delivery}")


class Line(NamedTuple):
    """The load on the hottest key of one kind. All units are those of a second."""

    place: str
    """`tasks` for a table, `tasks.queue` for an index."""
    key: str
    write: float
    mean_write: int
    read: float
    transactions: int
    """The most transactions on one item."""
    share: float
    """Of the limit that it uses most: 1 is the limit."""
    divided: bool
    """Whether DynamoDB can divide the items of this key between partitions. Then its limit is that of an item."""

    @property
    def must_be_divided(self) -> bool:
        return self.divided and max(self.write / MAX_KEY_WRITES, self.read / MAX_KEY_READS) > 1


class FleetReport(NamedTuple):
    name: str
    shards: int
    team_partitions: int
    tasks: int
    lines: list[Line]
    """One for each kind of key, the one that uses most of its limit first. Keys that differ only in the number of a
    team's partition are of one kind."""
    totals: dict[str, float]
    """The write units of each table with its indexes, in the worst second of each."""

    def missed(self) -> list[str]:
        """A description of each key that exceeds a limit."""
        return [f"{self.name}: {line.place} `{line.key}` uses {line.share:.0%}" for line in self._above()]

    def _above(self) -> list[Line]:
        return [line for line in self.lines if line.share > 1]

    def shown(self) -> list[Line]:
        """The lines of the tables: the hottest keys, and those that DynamoDB has to divide."""
        return self.lines[:SHOWN] + [line for line in self.lines[SHOWN:] if line.must_be_divided]

    def quota_use(self) -> str:
        """The write units of each table, as text."""
        used = sorted(self.totals.items(), key=lambda each: -each[1])
        return ", ".join(f"{name} {units:,.0f}" for name, units in used if units >= 1)


def report(fleet: SimulatedFleet, result: ReplayResult) -> FleetReport:
    hottest = [max(loads, key=_share_of_key) for loads in _by_family(result.keys)]
    by_kind = {loads[0].kind: loads for loads in _by_kind(result.keys)}
    lines = [_line(load, by_kind) for load in hottest]
    totals: dict[str, float] = {}
    for (table, _), units in result.totals.items():
        totals[table] = totals.get(table, 0) + units
    lines.sort(key=_rank)
    return FleetReport(fleet.name, fleet.shards, fleet.team_partitions, fleet.tasks, lines, totals)


def _rank(line: Line) -> tuple[float, str, str]:
    return -line.share, line.place, line.key


def _by_kind(keys: Iterable[KeyLoad]) -> list[list[KeyLoad]]:
    found: dict[KeyKind, list[KeyLoad]] = {}
    for load in keys:
        found.setdefault(load.kind, []).append(load)
    return list(found.values())


def _by_family(keys: Iterable[KeyLoad]) -> list[list[KeyLoad]]:
    """The partition keys by kind and, if they have the number of a team's partition, regardless of it."""
    found: dict[KeyKind, list[KeyLoad]] = {}
    for load in keys:
        if load.kind.range_key is None:
            family = load.kind._replace(hash_key=re.sub(r"#\d$", "", load.kind.hash_key))
            found.setdefault(family, []).append(load)
    return list(found.values())


def _share_of_key(load: KeyLoad) -> float:
    return max(load.write / MAX_KEY_WRITES, load.read / MAX_KEY_READS)


def _line(load: KeyLoad, by_kind: dict[KeyKind, list[KeyLoad]]) -> Line:
    items = {
        kind: loads
        for kind, loads in by_kind.items()
        if kind.range_key is not None and kind.place == load.kind.place and kind.hash_key == load.kind.hash_key
    }
    divided = any(kind.range_key for kind in items) and not any(
        time in str(kind.range_key) for kind in items for time in _TIME_ORDERED
    )
    transactions = max((each.transactions for loads in items.values() for each in loads), default=0)
    judged = [each for loads in items.values() for each in loads] if divided else [load]
    share = max(*map(_share_of_key, judged), transactions / MAX_TRANSACTIONS)
    table, index = load.kind.place
    return Line(
        table if index is None else f"{table}.{index}",
        _readable(load.kind.hash_key),
        load.write,
        round(load.mean_write),
        load.read,
        transactions,
        share,
        divided,
    )


def _readable(key: str) -> str:
    """A key without braces: `{owner}#queued` becomes `owner#queued`."""
    return re.sub(r"{(\w+?)(_shard)?}", lambda found: "shard" if found[2] else found[1], key)


def _settings(report: FleetReport) -> list[str]:
    """The settings that the fleet needs, as assignments."""
    partitions = [f"DEVFLOW_TEAM_PARTITIONS={report.team_partitions}"] if report.team_partitions > 1 else []
    return [f"DEVFLOW_SHARDS={report.shards}", *partitions]


# As text.

_HEADER = ("table or index", "key", "writes", "mean", "reads", "transactions", "of the limit", "")


def text(report: FleetReport) -> str:
    rows = [
        (
            line.place,
            line.key,
            round(line.write),
            line.mean_write,
            round(line.read),
            line.transactions,
            f"{line.share:.0%}",
            "divided between partitions" if line.must_be_divided else "",
        )
        for line in report.shown()
    ]
    first = report.lines[0]
    return "\n".join(
        [
            f"{report.name} ({', '.join(_settings(report))})\n",
            costs.table(_HEADER, rows),
            f"\nFirst to reach its limit: {first.place} `{first.key}`, at {1 / first.share:.2f} times this load.",
            f"Write units a second of each table with its indexes: {report.quota_use()}.\n",
        ]
    )


# For docs/performance.md.

REGION = re.compile(r"(<!-- generated: partition keys -->\n).*?(<!-- end -->)", re.DOTALL)


def markdown(reports: Sequence[FleetReport]) -> str:
    parts = []
    for each in reports:
        named = " and ".join(f"`{setting}`" for setting in _settings(each))
        parts += [f"**{each.name}**, {named}:\n", _markdown_table(each), ""]
    return "\n".join(parts)


def _markdown_table(report: FleetReport) -> str:
    lines = [
        "| table or index | key | writes, worst second | writes, mean | reads | transactions on one item | share |",
        "|---|---|---|---|---|---|---|",
    ]
    for line in report.shown():
        writes = f"{line.write:,.0f}{' (divided)' if line.must_be_divided else ''}"
        loads = f"{writes} | {line.mean_write:,} | {line.read:,.0f} | {line.transactions:,}"
        lines.append(f"| {line.place} | `{line.key}` | {loads} | {line.share:.0%} |")
    lines.append(f"\nWrite units a second of each table with its indexes: {report.quota_use()}.")
    return "\n".join(lines)


def insert(page: str, reports: Sequence[FleetReport]) -> str:
    """The page with the tables in its generated region."""
    return REGION.sub(lambda found: found[1] + "\n" + markdown(reports) + "\n" + found[2], page)


# Stored.


def save(reports: Sequence[FleetReport], path: Path = FILE) -> None:
    """Write one line for each key, so that a diff shows which keys have changed."""
    parts = []
    for each in reports:
        head = {name: value for name, value in each._asdict().items() if name != "lines"}
        lines = ",\n".join(f"  {json.dumps(line._asdict())}" for line in each.lines)
        parts.append(f'{json.dumps(head)[:-1]}, "lines": [\n{lines}\n]}}')
    path.write_text("[\n" + ",\n".join(parts) + "\n]\n", encoding="utf-8")


def load(path: Path = FILE) -> list[FleetReport]:
    stored: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    return [FleetReport(**each | {"lines": [Line(**line) for line in each["lines"]]}) for each in stored]
