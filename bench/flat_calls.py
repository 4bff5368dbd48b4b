"""The hot calls at each size: an agent beats, polls, claims and reports, and a person submits and looks.

A round leaves everything as it was: a task is claimed, done and taken away, and another one takes its place.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bench.samples import Samples
from chalicelib.auth import tokens
from chalicelib.core.settings import MINUTE, SECOND
from tests.http.budget_world import WORK, Agent, register
from tests.long.scale import ONE, SIZES, START
from tests.support import moto_aws
from tests.support.client import Client

if TYPE_CHECKING:
    from bench.flat import Ground

QUEUES = ("workflow", "events")
APART = 12 * SECOND
"""A round comes so much later than the one before: of five heartbeats one is the first of its minute."""

TELL_EVERY = 25
PAGE = 5
"""Rows of a page of tasks; a user of the smallest size has more."""


@dataclass
class Place:
    """One user at one size, and the agents that call."""

    size: int
    users: str
    user: Client
    owner: str
    agent: Agent
    idler: Agent
    cursor: str = ""
    task: str = ""
    """The one of this round."""
    submitted: int = 0

    def claim(self) -> None:
        (self.task,) = [command["task_id"] for command in self.agent.poll(1).json()["commands"]]

    def submit(self) -> Any:
        self.submitted += 1
        task = f"submitted-{self.submitted}"
        return self.user.post("/api/workflows/execute", WORK | {"taskId": task, "intent": "feature"})


CALLS: dict[str, Callable[[Place], Any]] = {
    "heartbeat": lambda place: place.agent.beat(),
    "poll, idle": lambda place: place.idler.poll(),
    "poll that claims": Place.claim,
    "progress, first": lambda place: place.agent.progress(place.task),
    "progress, same step": lambda place: place.agent.progress(place.task, progress=0.7),
    "one task": lambda place: place.user.get(f"/api/tasks/{place.task}"),
    "complete": lambda place: place.agent.complete(place.task),
    "submit": Place.submit,
    "page of tasks": lambda place: place.user.get("/api/tasks", {"limit": PAGE}),
    "page of tasks, by cursor": lambda place: place.user.get("/api/tasks", {"limit": PAGE, "cursor": place.cursor}),
}
BOUNDED = {"poll that claims", "page of tasks"}
"""What may grow up to the second size, where one user has everything: see tests/long/test_flatness.py."""


@dataclass
class Calls:
    ground: Ground
    places: list[Place]
    samples: Samples = field(default_factory=Samples)

    def round(self, *, counts: bool) -> None:
        """Every call once at every place."""
        for name, call in CALLS.items():
            for place in random.sample(self.places, len(self.places)):
                with self.ground.at(place.size):
                    self._measure(name, call, place, counts=counts)
                    if any(map(moto_aws.messages, QUEUES)):
                        self.ground.pump.drain()
        moto_aws.empty_queues()
        for place in self.places:
            with self.ground.at(place.size):
                self.ground.remove_tasks(place.owner, [place.task])

    def _measure(self, name: str, call: Callable[[Place], Any], place: Place, *, counts: bool) -> None:
        seen = self.ground.seen
        seen.forget()
        answer = call(place)
        assert getattr(answer, "status", 200) < 300, answer
        (cpu,), (took,) = seen.cpu, seen.took
        if counts:
            self.samples.add((name, place.users), place.size, cpu, took)


def measured(ground: Ground, users: dict[int, dict[str, Client]], rounds: int) -> Samples:
    places = [_place(ground, size, name, user) for size in SIZES for name, user in users[size].items()]
    calls = Calls(ground, places)
    calls.samples.since = {(name, ONE): SIZES[1] for name in BOUNDED}
    for number in range(-rounds // 5, rounds):  # the first ones warm up
        ground.to(START + 2 * MINUTE + (number + rounds) * APART)
        calls.round(counts=number >= 0)
        if number % TELL_EVERY == 0:
            ground.say(f"calls: round {number + 1} of {rounds}" if number >= 0 else "calls: warming up")
    return calls.samples


def _place(ground: Ground, size: int, users: str, user: Client) -> Place:
    with ground.at(size):
        agent, idler = register(user, "measured", "feature"), register(user, "idler", "review-pr")
        cursor = user.get("/api/tasks", {"limit": PAGE}).json()["nextCursor"]
    owner = tokens.verify(user.token or "", ground.clock.now).owner
    return Place(size, users, user, owner, agent, idler, cursor)
