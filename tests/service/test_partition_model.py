"""`make bench ARGS=scale`: the units that the model derives from recorded requests, and the results that are stored."""

from collections import Counter, defaultdict
from collections.abc import Iterator

import boto3
import pytest

from bench import scale
from bench.partitions import fleets, recorder, replay, report, tables
from bench.partitions.fleets import FLEETS, SMALL_FLEET, Second, SimulatedFleet, Teams
from bench.partitions.recorder import AGENT, START, Recorder, Template
from bench.partitions.tables import Effect, Index, TableKeys
from chalicelib.core import clock
from chalicelib.core.settings import KB
from chalicelib.tasks import partitions
from tests.support import moto_aws

OUTDATED = "run `make bench ARGS=scale`"

BY_STATE = Index("by_state", "state", "at", frozenset({"id", "state", "at", "name"}))
JOBS = TableKeys("jobs", "id", None, (BY_STATE,))
KEY = {"id": {"S": "1"}}


def job(**values: str) -> dict[str, dict[str, str]]:
    """A job of 2,000 bytes, which are not projected into the index."""
    return KEY | {"text": {"S": "x" * 2_000}} | {name: {"S": value} for name, value in values.items()}


def units(effects: list[Effect]) -> list[tuple[str | None, str, float]]:
    return [(effect.index, effect.hash_key, effect.write) for effect in effects]


WAITING, RENAMED = job(state="waiting", at="1"), job(state="waiting", at="1", name="new")
RUNNING, HIDDEN = job(state="running", at="1"), job(at="1")
LARGE = job(state="waiting", at="1", name="n" * 3 * KB)


@pytest.mark.parametrize(
    ("old", "new", "on_index"),
    [
        (None, WAITING, [("waiting", 1)]),
        (WAITING, RENAMED, [("waiting", 1)]),
        (WAITING, RUNNING, [("waiting", 1), ("running", 1)]),
        (WAITING, job(state="waiting", at="2"), [("waiting", 1), ("waiting", 1)]),
        (WAITING, HIDDEN, [("waiting", 1)]),
        (HIDDEN, WAITING, [("waiting", 1)]),
        (WAITING, None, [("waiting", 1)]),
        (HIDDEN, None, []),
        (WAITING, WAITING | {"text": {"S": "other"}}, []),
        (WAITING, WAITING, []),
    ],
)
def test_write_changes_index_entries_as_dynamodb_does(
    old: tables.Image | None, new: tables.Image | None, on_index: list[tuple[str, float]]
) -> None:
    effects = tables.write_effects(JOBS, old, new, KEY, transaction=False)
    assert units(effects) == [(None, "1", 2), *[("by_state", key, write) for key, write in on_index]]


def test_transaction_doubles_the_units_of_the_table_only() -> None:
    effects = tables.write_effects(JOBS, WAITING, LARGE, KEY, transaction=True)
    assert units(effects) == [(None, "1", 10), ("by_state", "waiting", 4)]
    assert [effect.transactions for effect in effects] == [1, 0]
    assert units(tables.write_effects(JOBS, None, None, KEY, transaction=True)) == [(None, "1", 2)]


@pytest.mark.parametrize(
    ("sizes", "consistent", "expected"),
    [([], False, 0.5), ([], True, 1), ([100, 3_000], False, 0.5), ([3_000, 3_000], True, 2), ([9_000], False, 1.5)],
)
def test_query_rounds_up_all_its_items_together(sizes: list[int], consistent: bool, expected: float) -> None:  # noqa: FBT001
    found = [{"i": {"S": "x" * (size - 1)}} for size in sizes]
    assert tables.read_effect(JOBS, None, "1", found, consistent=consistent).read == expected


def test_size_of_an_item_counts_names_and_values() -> None:
    item = {
        "text": {"S": "äb"},  # 4 + 3
        "number": {"N": "-1200"},  # 6 + 2: two significant digits
        "flag": {"BOOL": True},  # 4 + 1
        "list": {"L": [{"S": "abc"}]},  # 4 + 3 + 1 + 3
        "map": {"M": {"a": {"N": "123"}}},  # 3 + 3 + 1 + 1 + 3
        "set": {"SS": ["a", "bc"]},  # 3 + 3
    }
    assert tables.item_size(item) == 7 + 8 + 5 + 11 + 11 + 6


# The recordings.


@pytest.fixture
def recording(aws: None) -> Iterator[Recorder]:
    with recorder.open_recorder(SMALL_FLEET.shards) as opened:
        yield opened


Entries = dict[tuple[str, str], list[tables.Image]]
"""The entries of each index."""


def entries_in_moto() -> Entries:
    client = boto3.client("dynamodb")
    return {
        (table.name, index.name): list(client.scan(TableName=name, IndexName=index.name)["Items"])
        for name, table in tables.load_tables().items()
        for index in table.indexes
    }


def derived_entries() -> Entries:
    return {
        (table.name, index.name): [
            entry for item in moto_aws.rows(table.name) if (entry := index.entry(item)) is not None
        ]
        for table in tables.load_tables().values()
        for index in table.indexes
    }


def in_order(entries: Entries) -> dict[tuple[str, str], list[str]]:
    return {place: sorted(str(sorted(each.items())) for each in found) for place, found in entries.items()}


def count_changes(before: Entries, after: Entries) -> Counter[tuple[str, str, str]]:
    """By table, index and partition key: the number of entries that were put, deleted or updated."""
    found: Counter[tuple[str, str, str]] = Counter()
    for table in tables.load_tables().values():
        for index in table.indexes:
            place = (table.name, index.name)
            old, new = (
                {
                    (str(each[index.hash_name]), str(each[index.range_name]), table.key_of(each)): each
                    for each in entries
                }
                for entries in (before[place], after[place])
            )
            for key in old.keys() | new.keys():
                if old.get(key) != new.get(key):
                    entry = new.get(key) or old[key]
                    found[*place, tables.plain(entry[index.hash_name])] += 1
    return found


@pytest.mark.parametrize("name", recorder.CALLS)
def test_derived_changes_of_indexes_match_their_contents(recording: Recorder, name: str) -> None:
    """The changes only if the call writes each item once. Each entry is smaller than 1 KB, so it is one unit."""
    before: list[Entries] = []
    effects, _ = recording.record(name, before_call=lambda: before.append(entries_in_moto()))
    after = entries_in_moto()
    assert in_order(after) == in_order(derived_entries())
    written = Counter(effect.item for effect in effects if effect.item is not None)
    if max(written.values()) > 1:
        assert name not in {"submit", "submitted message", "idle poll that moves", "complete", "event, completed"}
        return
    derived: Counter[tuple[str, str, str]] = Counter()
    for effect in effects:
        if effect.index is not None and effect.write:
            derived[effect.table, effect.index, effect.hash_key] += int(effect.write)
    assert derived == count_changes(before[0], after)


def test_submission_has_the_effects_that_its_rows_have(recording: Recorder) -> None:
    effects = recorder.to_template(*recording.record("submitted message"))
    assert [(effect.table, effect.index, effect.hash_key, effect.write) for effect in effects if effect.write] == [
        ("tasks", None, "{owner}#{task}", 2),
        ("tasks", "by_status", "{owner}#pending", 1),
        ("tasks", "by_status", "{owner}#queued", 1),
        ("tasks", "queue", "{owner}", 1),
        ("tasks", "due", "{task_shard}", 1),
        ("tasks", "due", "{task_shard}", 1),
        ("tasks", None, "{owner}#{task}", 2),
    ]
    assert [(effect.table, effect.hash_key, effect.read) for effect in effects if effect.read] == [
        ("tasks", "{owner}#{task}", 1)
    ]


def test_index_of_live_agents_changes_at_the_computed_second(recording: Recorder) -> None:
    owner = recording.world.owner
    move = round(fleets.second_of_move(owner, AGENT, START) * 1_000)
    assert 0 <= move < 60_000
    moved = {}
    for after in (move + 59_999, move + 60_000):
        recording.restore()
        clock.shift(((move - 1) - (clock.now() - START)) % 60_000 / 1_000)
        recording.agent.poll()
        journal = recorder.Journal()
        clock.shift((START + after - clock.now()) % 60_000 / 1_000)
        with journal.active():
            recording.agent.poll()
        moved[after] = [effect.index for effect in journal.effects if effect.write].count("live")
    assert moved == {move + 59_999: 0, move + 60_000: 2}


# The replay.


def test_replay_adds_up_the_calls_of_a_second_by_key() -> None:
    submit = (
        Effect("users", None, "{owner}", ("{owner}",), write=2, transactions=1),
        Effect("tasks", "by_status", "{owner}#pending", write=1),
        Effect("tasks", "due", "{task_shard}", write=1),
        Effect("webhooks", None, "{owner}", read=0.5),
    )
    teams = Teams([2, 1])
    seconds: list[Second] = [defaultdict(list) for _ in range(2)]
    seconds[0]["submit"] = [(0, 0), (1, 1), (2, 2)]
    seconds[1]["submit"] = [(0, 3)]
    with recorder.use_shards(1):
        result = replay.Replay(teams, {"submit": [submit]}).run(seconds)
    found = {(load.kind.place, load.hash_key, load.range_key): load for load in result.keys}
    first, second = teams.owners
    counted = {key: (load.write, load.read, load.transactions, load.mean_write) for key, load in found.items()}
    assert counted == {
        (("users", None), first, None): (4, 0, 2, 3),
        (("users", None), second, None): (2, 0, 1, 1),
        (("users", None), first, ""): (4, 0, 2, 3),
        (("users", None), second, ""): (2, 0, 1, 1),
        (("tasks", "by_status"), f"{first}#pending", None): (2, 0, 0, 1.5),
        (("tasks", "by_status"), f"{second}#pending", None): (1, 0, 0, 0.5),
        (("tasks", "due"), "0", None): (3, 0, 0, 2),
        (("webhooks", None), first, None): (0, 1, 0, 0),
        (("webhooks", None), second, None): (0, 0.5, 0, 0),
    }
    assert result.totals == {("users", None): 6, ("tasks", "by_status"): 3, ("tasks", "due"): 3, ("webhooks", None): 0}


def test_replay_spreads_calls_over_their_variants() -> None:
    variants: list[Template] = [(Effect("users", None, f"{{owner}}#{number}", write=1),) for number in range(4)]
    seconds: list[Second] = [defaultdict(list)]
    seconds[0]["submit"] = [(0, task) for task in range(4_000)]
    result = replay.Replay(Teams([1]), {"submit": variants}).run(seconds)
    assert sum(load.write for load in result.keys) == 4_000
    assert all(load.write == pytest.approx(1_000, rel=0.1) for load in result.keys)


def test_replay_spreads_the_tasks_of_a_team_over_its_partitions() -> None:
    """The product's own function gives the partition of a task. A poll reads all partitions."""
    submit = (
        Effect("tasks", "by_status", f"{{owner}}#pending{recorder.PARTITION}", write=1),
        Effect("tasks", "queue", "{owner}", read=1),
        Effect("tasks", "queue", "{owner}#1", read=1),
    )
    seconds: list[Second] = [defaultdict(list)]
    seconds[0]["submit"] = [(0, task) for task in range(2_000)]
    with recorder.use_shards(1, team_partitions=2):
        result = replay.Replay(Teams([1]), {"submit": [submit]}).run(seconds)
        (owner,) = Teams([1]).owners
        tasks = Counter(partitions.status_key(owner, replay._task_id(task), "pending") for task in range(2_000))
    assert {load.hash_key: load.write for load in result.keys if load.write} == tasks
    assert all(writes == pytest.approx(1_000, rel=0.1) for writes in tasks.values())
    assert {load.hash_key: load.read for load in result.keys if load.read} == {owner: 2_000, f"{owner}#1": 2_000}


def test_recording_replaces_the_partition_of_the_task(aws: None) -> None:
    """Of these two tasks, one is in the first partition and one is not."""
    with recorder.open_recorder(1, team_partitions=3) as opened:
        recorded = [opened.record("submitted message", task) for task in ("task-1", "task-2")]
        read = {effect.hash_key for effect in recorder.to_template(*opened.record("idle poll")) if effect.index}
        suffixes = [partitions.suffix(ids["task"]) for _, ids in recorded]
        templates = [recorder.to_template(*each) for each in recorded]
    assert sorted(map(bool, suffixes)) == [False, True]
    for template in templates:
        written = {effect.hash_key for effect in template if effect.index in ("by_status", "queue")}
        assert written == {f"{{owner}}{key}{recorder.PARTITION}" for key in ("", "#pending", "#queued")}
    assert read == {"{owner}", "{owner}#1", "{owner}#2"}


# The report.


def small_report(*effects: Effect, calls: int = 1) -> report.FleetReport:
    seconds: list[Second] = [defaultdict(list)]
    seconds[0]["call"] = [(number % 10, number) for number in range(calls)]
    result = replay.Replay(Teams([10]), {"call": [effects]}).run(seconds)
    return report.report(SimulatedFleet("fleet", 10, 1, 1, 10), result)


def test_report_compares_a_key_with_the_limit_that_it_uses_most() -> None:
    writes = small_report(Effect("tasks", "queue", "{owner}", write=1, read=0.5), calls=1_001)
    assert writes.missed() == ["fleet: tasks.queue `owner` uses 100%"]
    assert writes.lines[0].share == pytest.approx(1.001)
    reads = small_report(Effect("tasks", "queue", "{owner}", read=0.5), calls=6_001)
    assert reads.lines[0].share == pytest.approx(6_001 / 6_000)
    assert small_report(Effect("tasks", "queue", "{owner}", write=1), calls=1_000).missed() == []


def test_report_has_one_line_for_the_partitions_of_a_team() -> None:
    cold, hot = (
        Effect("tasks", "by_status", f"{{owner}}#queued{each}", write=units) for each, units in (("", 1), ("#1", 2))
    )
    assert [(line.key, line.write) for line in small_report(cold, hot, calls=10).lines] == [("owner#queued#1", 20)]


def test_report_limits_the_transactions_on_one_item() -> None:
    counter = Effect("users", None, "{owner}", ("{owner}",), write=2, transactions=1)
    assert small_report(counter, calls=80).missed() == []
    assert small_report(counter, calls=81).missed() != []


def test_report_judges_divided_keys_by_their_items() -> None:
    """DynamoDB divides the items of one partition key between partitions, unless their sort keys grow with time."""
    by_agent = small_report(Effect("agents", None, "{owner}", ("{owner}", "{agent}"), write=1), calls=2_000)
    assert by_agent.lines[0].must_be_divided
    assert (by_agent.lines[0].write, by_agent.lines[0].share) == (2_000, 0.2)
    by_time = small_report(Effect("agents", None, "{owner}", ("{owner}", "E#{at}"), write=1), calls=2_000)
    assert not by_time.lines[0].divided
    assert by_time.lines[0].share == 2


# The stored results.


def test_stored_results_are_those_of_this_code(recording: Recorder) -> None:
    """The tables in docs/performance.md take a minute to compute. A change of the code also changes a small fleet."""
    templates = recording.record_all([SMALL_FLEET.shards])
    assert scale.run(SMALL_FLEET, templates[SMALL_FLEET.shards]) == report.load()[-1], OUTDATED


def test_stored_results_are_those_of_the_documented_fleets() -> None:
    stored = report.load()
    assert [(each.name, each.shards, each.team_partitions, each.tasks) for each in stored] == [
        (each.name, each.shards, each.team_partitions, each.tasks) for each in (*FLEETS, SMALL_FLEET)
    ], OUTDATED


def test_page_has_the_stored_results() -> None:
    page = report.PAGE.read_text(encoding="utf-8")
    assert report.insert(page, report.load()[: len(FLEETS)]) == page, OUTDATED
    assert page.count("<!-- generated: partition keys -->") == 1
