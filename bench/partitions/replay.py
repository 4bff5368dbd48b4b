"""Adds up the units of a fleet's calls, by key and second.

A template has a few effects with placeholders. The calls of one second that have the same template and belong to the
same owner (or agent, task, shard) are counted first, so the replay takes seconds for a hundred thousand agents.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from bench.partitions.fleets import Second, Teams
from bench.partitions.recorder import PARTITION, Ids, Template, Templates
from chalicelib import dynamodb
from chalicelib.agents import tables as agent_tables
from chalicelib.core.settings import settings
from chalicelib.tasks import partitions
from chalicelib.tasks.tables import partition_key
from chalicelib.webhooks import tables as webhook_tables

SAMPLED = 2_000
"""How many agents, and how many tasks, are followed one by one. The others make the same calls. These agents are those
of the largest team."""

HOTTEST = 3
"""How many keys of each kind the result has."""

INTENT, WEBHOOK = "fix-bug", "webhook"

Place = tuple[str, str | None]
"""A table, and one of its indexes or None."""


class KeyKind(NamedTuple):
    """Keys that differ only in the ids that replace their placeholders: partition keys of a table or an index, or items
    of a table, which also have a `range_key` (empty if the table has no sort key)."""

    place: Place
    hash_key: str
    range_key: str | None = None


class KeyLoad(NamedTuple):
    """The load on one key, or on one item: in its worst second, and on average."""

    kind: KeyKind
    hash_key: str
    range_key: str | None
    write: float
    read: float
    transactions: int
    mean_write: float


@dataclass
class ReplayResult:
    """The keys with the most load of each kind, and the write units of each table and index in its worst second."""

    keys: list[KeyLoad]
    totals: dict[Place, float]


_PLACEHOLDER = re.compile(r"{(\w+)}")
_SCOPES = ("delivery_shard", "task_shard", "agent_shard", "task", "agent", "owner")
"""What a key belongs to: the first placeholder of this list that it contains."""


def _scope(kind: KeyKind) -> str:
    names = set(_PLACEHOLDER.findall(kind.hash_key + (kind.range_key or "")))
    return next((scope for scope in _SCOPES if scope in names), "stage")


class _Target(NamedTuple):
    """What a call does to keys of one kind."""

    kind: KeyKind
    write: float
    read: float
    transactions: int


@dataclass
class _Sums:
    """The load on the keys of one kind, by what they belong to."""

    write: Counter[int] = field(default_factory=Counter)
    read: Counter[int] = field(default_factory=Counter)
    transactions: Counter[int] = field(default_factory=Counter)


class Replay:
    """Replays the calls of a fleet on its templates."""

    def __init__(self, teams: Teams, templates: Templates) -> None:
        self.teams = teams
        self.variants = {name: len(variants) for name, variants in templates.items()}
        self.targets: dict[tuple[str, str, int, str], list[_Target]] = {}
        """By scope, name of the call, number of the template and the task's partition."""
        for name, variants in templates.items():
            for number, template in enumerate(variants):
                for partition in partitions.suffixes():
                    self._add_targets(name, number, template, partition)
        self.worst: dict[KeyKind, _Sums] = defaultdict(_Sums)
        self.total_write: dict[KeyKind, Counter[int]] = defaultdict(Counter)
        self.totals: dict[Place, float] = {}
        self._shards: dict[tuple[str, int], int] = {}

    def _add_targets(self, name: str, number: int, template: Template, partition: str) -> None:
        for effect in template:
            place = (effect.table, effect.index)
            kinds = [KeyKind(place, effect.hash_key.replace(PARTITION, partition))]
            if effect.item is not None and "{delivery}" not in effect.item[-1]:  # a delivery has one message
                kinds.append(KeyKind(place, effect.item[0], "".join(effect.item[1:])))
            for kind in kinds:
                target = _Target(kind, effect.write, effect.read, effect.transactions)
                self.targets.setdefault((_scope(kind), name, number, partition), []).append(target)

    def run(self, seconds: Iterable[Second]) -> ReplayResult:
        count = 0
        for second in seconds:
            count += 1
            self._add_second(second)
        return ReplayResult(list(self._hottest(count)), self.totals)

    def _add_second(self, second: Second) -> None:
        sums: dict[KeyKind, _Sums] = defaultdict(_Sums)
        totals: Counter[Place] = Counter()
        for name, calls in second.items():
            for (number, partition), same in self._by_variant(name, calls):
                for scope, count_calls in self._counters().items():
                    targets = self.targets.get((scope, name, number, partition))
                    if targets:
                        _add(sums, count_calls(same), targets)
                        _add_totals(totals, len(same), targets)
        for kind, of_second in sums.items():
            worst = self.worst[kind]
            _keep_most(worst.write, of_second.write)
            _keep_most(worst.read, of_second.read)
            _keep_most(worst.transactions, of_second.transactions)
            self.total_write[kind].update(of_second.write)
        for place, units in totals.items():
            self.totals[place] = max(units, self.totals.get(place, 0))

    def _by_variant(
        self, name: str, calls: list[tuple[int, int]]
    ) -> Iterable[tuple[tuple[int, str], list[tuple[int, int]]]]:
        """The calls by the number of their template and the partition of their task.

        A task always has the same number. All numbers are equally frequent.
        """
        variants = self.variants[name]
        if variants == 1 and settings.team_partitions == 1:
            return [((0, ""), calls)]
        split: dict[tuple[int, str], list[tuple[int, int]]] = defaultdict(list)
        for agent, task in calls:
            split[hash((agent, task)) % variants, partitions.suffix(_task_id(task))].append((agent, task))
        return split.items()

    def _counters(self) -> dict[str, Callable[[list[tuple[int, int]]], Counter[int]]]:
        """For each scope: how often each of its members makes a call."""
        team_of = self.teams.team_of
        return {
            "owner": lambda calls: Counter([team_of[agent] for agent, _ in calls]),
            "agent": lambda calls: Counter([agent for agent, _ in calls if agent < SAMPLED]),
            "task": lambda calls: Counter([task for _, task in calls if task < SAMPLED]),
            "stage": lambda calls: Counter({0: len(calls)}),
            "agent_shard": lambda calls: Counter([self._agent_shard(agent) for agent, _ in calls]),
            "task_shard": lambda calls: Counter([self._task_shard(*call) for call in calls]),
            "delivery_shard": lambda calls: Counter([self._delivery_shard(*call) for call in calls]),
        }

    def _agent_shard(self, agent: int) -> int:
        key = ("agent", agent)
        if key not in self._shards:
            self._shards[key] = agent_tables.shard(self._owner_of(agent), self.teams.agent_id(agent))
        return self._shards[key]

    def _task_shard(self, agent: int, task: int) -> int:
        key = ("task", task)
        if key not in self._shards:
            self._shards[key] = dynamodb.shard(partition_key(self._owner_of(agent), _task_id(task)))
        return self._shards[key]

    def _delivery_shard(self, agent: int, task: int) -> int:
        return webhook_tables.delivery_shard(self._owner_of(agent), WEBHOOK, _task_id(task))

    def _owner_of(self, agent: int) -> str:
        return self.teams.owners[self.teams.team_of[agent]]

    def _hottest(self, seconds: int) -> Iterable[KeyLoad]:
        for kind, worst in self.worst.items():
            chosen = {
                member
                for units in (worst.write, worst.read, worst.transactions)
                for member, _ in units.most_common(HOTTEST)
            }
            for member in sorted(chosen):
                ids = self._ids(_scope(kind), member)
                yield KeyLoad(
                    kind,
                    fill(kind.hash_key, ids),
                    None if kind.range_key is None else fill(kind.range_key, ids),
                    worst.write[member],
                    worst.read[member],
                    worst.transactions[member],
                    self.total_write[kind][member] / seconds,
                )

    def _ids(self, scope: str, member: int) -> Ids:
        """The ids that replace the placeholders of a key."""
        match scope:
            case "owner":
                return {"owner": self.teams.owners[member]}
            case "agent":
                return {"owner": self._owner_of(member), "agent": self.teams.agent_id(member)}
            case _:
                return {scope: _task_id(member) if scope == "task" else str(member)}


def _task_id(task: int) -> str:
    return f"task-{task:07d}"


def fill(text: str, ids: Ids) -> str:
    """Replace placeholders by ids. Some have the same value in all keys."""
    for name, value in (ids | {"webhook": WEBHOOK, "intent": INTENT}).items():
        text = text.replace(f"{{{name}}}", value)
    return text


def _add(sums: dict[KeyKind, _Sums], counts: Counter[int], targets: list[_Target]) -> None:
    for target in targets:
        of_kind = sums[target.kind]
        for units, each in (
            (of_kind.write, target.write),
            (of_kind.read, target.read),
            (of_kind.transactions, target.transactions),
        ):
            if each:
                for member, number in counts.items():
                    units[member] += number * each  # type: ignore[assignment]  # units may be halves


def _add_totals(totals: Counter[Place], calls: int, targets: list[_Target]) -> None:
    for target in targets:
        if target.kind.range_key is None:
            totals[target.kind.place] += calls * target.write  # type: ignore[assignment]


def _keep_most(worst: Counter[int], seen: Counter[int]) -> None:
    for member, units in seen.items():
        worst[member] = max(worst[member], units)
