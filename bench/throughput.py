"""How soon tasks reach agents, how many a second, and how evenly: 200 agents of one user's against the local stage, as
it is (`make run`: moto behind one lock) and with DynamoDB Local for its tables.

Some of the tasks come one by one, at a rate that leaves most agents idle; the others at once. The stage, its database
and the agents are processes of their own, which speak over HTTP; all on this machine, so these are the least figures,
and this machine's. On moto there are fewer tasks: each of its queries goes through the whole table.
"""

import statistics
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.fleet import Fleet, Run, registered
from bench.stage import DynamoDBLocal
from tests.e2e.conftest import Platform
from tests.support import costs
from tests.support.client import Client

AGENTS = 200


@dataclass(frozen=True)
class Load:
    """What one stage is given to do."""

    stage: type[Platform]
    name: str
    a_second: int
    """So many tasks a second, while they come one by one."""
    singly: int
    at_once: int


LOADS = (
    Load(DynamoDBLocal, "DynamoDB Local", a_second=4, singly=200, at_once=1_800),
    Load(Platform, "the local stage", a_second=2, singly=80, at_once=200),
)


def singly(fleet: Fleet, user: Client, load: Load) -> Run:
    began = time.monotonic()
    for number in range(load.singly):
        time.sleep(max(0.0, began + number / load.a_second - time.monotonic()))
        fleet.submit(user, f"singly-{number}")
    return fleet.wait()


def at_once(fleet: Fleet, user: Client, load: Load) -> Run:
    fleet.run = Run()
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda number: fleet.submit(user, f"at-once-{number}"), range(load.at_once)))
    return fleet.wait()


def ended(user: Client) -> Counter[str]:
    """All tasks of a user's by their status, as the API has them."""
    found: Counter[str] = Counter()
    cursor: str | None = ""
    while cursor is not None:
        page = user.get("/api/tasks", {"limit": 100} | ({"cursor": cursor} if cursor else {})).json()
        found.update(task["status"] for task in page["data"])
        cursor = page["nextCursor"]
    return found


def claimable_after(user: Client, task: str) -> float:
    """Seconds from when the platform had accepted a task until its queue's function had made it claimable.

    Of two instants in whole seconds: only a mean of many means something.
    """
    events = user.get(f"/api/tasks/{task}/events").json()["data"]
    at = {event["type"]: datetime.fromisoformat(event["timestamp"]) for event in events}
    return (at["task.queued"] - at["task.created"]).total_seconds()


def measured(load: Load, log: Path) -> list[list[str]]:
    """A row of the table for each way that tasks come. AssertionError where one was lost, or claimed twice."""
    platform = load.stage(log)
    try:
        user = platform.client.login()
        fleet = Fleet(registered(user, AGENTS))
        with fleet.working():
            first = f"{load.a_second} a second"
            runs = {first: singly(fleet, user, load)}
            print(f"{load.name}: {load.singly} tasks are done, {load.at_once:,} come", file=sys.stderr, flush=True)
            runs["at once"] = at_once(fleet, user, load)
        assert ended(user) == {"completed": load.singly + load.at_once}
        waits = {first: [claimable_after(user, task) for task in runs[first].claimed]}
    finally:
        platform.stop()
    return [[load.name, *told(name, run, fleet.names, waits.get(name, []))] for name, run in runs.items()]


def told(name: str, run: Run, agents: list[str], claimable: list[float]) -> list[str]:
    waits = sorted(run.waits)
    least, most, variation = run.spread(agents)
    by_chance = (len(agents) / len(run.claimed)) ** 0.5
    return [
        name,
        f"{len(run.completed):,}",
        f"{waits[len(waits) // 2]:.2f} s",
        f"{waits[len(waits) * 99 // 100]:.2f} s",
        f"{statistics.mean(claimable):.2f} s" if claimable else "",
        f"{run.a_second:.1f}",
        f"{least} to {most}",
        f"{variation:.2f} ({by_chance:.2f})",
        f"{run.put_off}",
    ]


def main() -> None:
    header = [
        "on",
        "tasks come",
        "completed",
        "submitted to claimed, p50",
        "p99",
        "mean to claimable",
        "tasks a second",
        "tasks an agent",
        "variation (by chance)",
        "503s",
    ]
    with TemporaryDirectory() as logs:
        rows = [row for load in LOADS for row in measured(load, Path(logs) / load.stage.__name__)]
    print(f"{AGENTS} agents; every task was completed, and none was claimed twice\n")
    print(costs.table(header, rows))
