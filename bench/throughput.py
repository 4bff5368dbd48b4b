"""How long tasks wait for an agent, how many are completed in a second, and how evenly agents share them. 200 agents of
one user run against the local platform twice: as `make run` starts it (moto behind one lock), and with DynamoDB Local
for its tables.

Some tasks arrive one by one, at a rate that leaves most agents idle. The others arrive at once. The platform, its
database and the agents are separate processes on this machine, and talk over HTTP. The results are therefore a lower
limit, and valid for this machine. On moto there are fewer tasks, because each of its queries scans the whole table.
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

from bench.fleet import Fleet, TaskRun, register_agents
from bench.local_platform import DynamoDBLocalPlatform
from tests.e2e.conftest import Platform
from tests.support import costs
from tests.support.client import Client

AGENTS = 200


@dataclass(frozen=True)
class Workload:
    """The tasks that one platform receives."""

    platform: type[Platform]
    name: str
    rate: int
    """Tasks in a second, while they arrive one by one."""
    one_by_one: int
    """Number of tasks that arrive one by one."""
    at_once: int
    """Number of tasks that arrive at once."""


WORKLOADS = (
    Workload(DynamoDBLocalPlatform, "DynamoDB Local", rate=4, one_by_one=200, at_once=1_800),
    Workload(Platform, "the local platform", rate=2, one_by_one=80, at_once=200),
)


def submit_one_by_one(fleet: Fleet, user: Client, workload: Workload) -> TaskRun:
    began = time.monotonic()
    for number in range(workload.one_by_one):
        time.sleep(max(0.0, began + number / workload.rate - time.monotonic()))
        fleet.submit(user, f"one-by-one-{number}")
    return fleet.wait()


def submit_at_once(fleet: Fleet, user: Client, workload: Workload) -> TaskRun:
    fleet.run = TaskRun()
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda number: fleet.submit(user, f"at-once-{number}"), range(workload.at_once)))
    return fleet.wait()


def count_by_status(user: Client) -> Counter[str]:
    """The number of a user's tasks by status, as the API returns them."""
    counts: Counter[str] = Counter()
    cursor: str | None = ""
    while cursor is not None:
        page = user.get("/api/tasks", {"limit": 100} | ({"cursor": cursor} if cursor else {})).json()
        counts.update(task["status"] for task in page["data"])
        cursor = page["nextCursor"]
    return counts


def fetch_queue_delay(user: Client, task_id: str) -> float:
    """Seconds from the submission of a task until the function of the workflow queue made it claimable.

    The events have whole seconds, so only the mean of many tasks is meaningful.
    """
    events = user.get(f"/api/tasks/{task_id}/events").json()["data"]
    instants = {event["type"]: datetime.fromisoformat(event["timestamp"]) for event in events}
    return (instants["task.queued"] - instants["task.created"]).total_seconds()


def measure(workload: Workload, log: Path) -> list[list[str]]:
    """One row of the table for tasks that arrive one by one, and one for tasks that arrive at once.

    Raises AssertionError if a task was lost or claimed twice.
    """
    platform = workload.platform(log)
    try:
        user = platform.client.login()
        fleet = Fleet(register_agents(user, AGENTS))
        with fleet.start():
            one_by_one = f"{workload.rate} a second"
            runs = {one_by_one: submit_one_by_one(fleet, user, workload)}
            print(
                f"{workload.name}: {workload.one_by_one} tasks are completed, submitting {workload.at_once:,} at once",
                file=sys.stderr,
                flush=True,
            )
            runs["at once"] = submit_at_once(fleet, user, workload)
        assert count_by_status(user) == {"completed": workload.one_by_one + workload.at_once}
        delays = {one_by_one: [fetch_queue_delay(user, task_id) for task_id in runs[one_by_one].claimed]}
    finally:
        platform.stop()
    return [[workload.name, *format_run(name, run, fleet.names, delays.get(name, []))] for name, run in runs.items()]


def format_run(name: str, run: TaskRun, agents: list[str], queue_delays: list[float]) -> list[str]:
    waits = sorted(run.waits)
    least, most, variation = run.spread(agents)
    random_variation = (len(agents) / len(run.claimed)) ** 0.5  # if each task went to an agent at random
    return [
        name,
        f"{len(run.completed):,}",
        f"{waits[len(waits) // 2]:.2f} s",
        f"{waits[len(waits) * 99 // 100]:.2f} s",
        f"{statistics.mean(queue_delays):.2f} s" if queue_delays else "",
        f"{run.tasks_per_second:.1f}",
        f"{least} to {most}",
        f"{variation:.2f} ({random_variation:.2f})",
        f"{run.retries}",
    ]


def main() -> None:
    header = [
        "database",
        "tasks arrive",
        "completed",
        "submitted to claimed, p50",
        "p99",
        "mean to claimable",
        "tasks a second",
        "tasks of an agent",
        "variation (if random)",
        "503s",
    ]
    with TemporaryDirectory() as logs:
        rows = [row for load in WORKLOADS for row in measure(load, Path(logs) / load.platform.__name__)]
    print(f"{AGENTS} agents; every task was completed, and no task was claimed twice\n")
    print(costs.table(header, rows))
