"""The most frequent calls at each size. An agent sends heartbeats, polls, claims a task and reports on it. A user
submits a task and looks at tasks.

Each round restores the initial state: a task is claimed, completed and deleted, and another one replaces it.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from bench.samples import Samples
from bench.scaled_platform import ScaledPlatform
from chalicelib.auth import tokens
from chalicelib.core.settings import MINUTE, SECOND
from tests.http.budget_world import WORK, Agent, register
from tests.long.scale import ONE, SIZES, START
from tests.support import moto_aws
from tests.support.client import Client

QUEUES = ("workflow", "events")
ROUND_INTERVAL = 12 * SECOND
"""Time between two rounds by the platform's clock: one of five heartbeats is the first of its minute."""

REPORT_EVERY = 25
"""Rounds between two progress reports."""
PAGE = 5
"""Rows of a page of tasks. A user of the smallest size has more tasks than this."""


@dataclass
class CallSite:
    """One user at one size, and the agents that call."""

    size: int
    users: str
    """`one` or `many`: see tests/long/scale.py."""
    user: Client
    owner: str
    agent: Agent
    idle_agent: Agent
    cursor: str = ""
    task_id: str = ""
    """The task of this round."""
    submitted: int = 0

    def claim(self) -> None:
        (self.task_id,) = [command["task_id"] for command in self.agent.poll(1).json()["commands"]]

    def submit(self) -> Any:
        self.submitted += 1
        task_id = f"submitted-{self.submitted}"
        return self.user.post("/api/workflows/execute", WORK | {"taskId": task_id, "intent": "feature"})


CALLS: dict[str, Callable[[CallSite], Any]] = {
    "heartbeat": lambda site: site.agent.heartbeat(),
    "poll, idle": lambda site: site.idle_agent.poll(),
    "poll that claims": CallSite.claim,
    "progress, first": lambda site: site.agent.progress(site.task_id),
    "progress, same step": lambda site: site.agent.progress(site.task_id, progress=0.7),
    "one task": lambda site: site.user.get(f"/api/tasks/{site.task_id}"),
    "complete": lambda site: site.agent.complete(site.task_id),
    "submit": CallSite.submit,
    "page of tasks": lambda site: site.user.get("/api/tasks", {"limit": PAGE}),
    "page of tasks, by cursor": lambda site: site.user.get("/api/tasks", {"limit": PAGE, "cursor": site.cursor}),
}
BOUNDED = {"poll that claims", "page of tasks"}
"""Calls that may grow up to the second size when one user owns everything: see tests/long/test_flatness.py."""


@dataclass
class CallBenchmark:
    platform: ScaledPlatform
    sites: list[CallSite]
    samples: Samples = field(default_factory=Samples)

    def run_round(self, *, recorded: bool) -> None:
        """Make every call once at every site. `recorded`: whether the samples keep the times."""
        for name, call in CALLS.items():
            for site in random.sample(self.sites, len(self.sites)):
                with self.platform.use_size(site.size):
                    self._measure(name, call, site, recorded=recorded)
                    if any(map(moto_aws.messages, QUEUES)):
                        self.platform.poller.drain()
        moto_aws.empty_queues()
        for site in self.sites:
            with self.platform.use_size(site.size):
                self.platform.remove_tasks(site.owner, [site.task_id])

    def _measure(self, name: str, call: Callable[[CallSite], Any], site: CallSite, *, recorded: bool) -> None:
        seen = self.platform.seen
        seen.clear()
        response = call(site)
        assert getattr(response, "status", 200) < 300, response
        (cpu,), (latency,) = seen.cpu, seen.durations
        if recorded:
            self.samples.add((name, site.users), site.size, cpu, latency)


def measure(platform: ScaledPlatform, users: dict[int, dict[str, Client]], rounds: int) -> Samples:
    sites = [_open_site(platform, size, name, user) for size in SIZES for name, user in users[size].items()]
    benchmark = CallBenchmark(platform, sites)
    benchmark.samples.flat_from = {(name, ONE): SIZES[1] for name in BOUNDED}
    for number in range(-rounds // 5, rounds):  # rounds below zero are warm-up
        platform.advance_to(START + 2 * MINUTE + (number + rounds) * ROUND_INTERVAL)
        benchmark.run_round(recorded=number >= 0)
        if number % REPORT_EVERY == 0:
            platform.report_progress(f"calls: round {number + 1} of {rounds}" if number >= 0 else "calls: warming up")
    return benchmark.samples


def _open_site(platform: ScaledPlatform, size: int, users: str, user: Client) -> CallSite:
    with platform.use_size(size):
        agent, idle_agent = register(user, "measured", "feature"), register(user, "idler", "review-pr")
        cursor = user.get("/api/tasks", {"limit": PAGE}).json()["nextCursor"]
    owner = tokens.verify(user.token or "", platform.clock.now).owner
    return CallSite(size, users, user, owner, agent, idle_agent, cursor)
