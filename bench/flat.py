"""Whether a call's CPU and latency grow with what there is: at 10, 1,000 and 100,000 agents and as many tasks, spread
over many users and with one user who has them all. Then sweeps, with nothing stale, 10 and 1,000 agents and tasks.

The three sizes are three databases of one DynamoDB Local, and each round measures all of them in turn, in another order
each time: whatever else the machine does, and how warm that Java program is, meets all sizes alike. What counts are the
ratios of a round. CPU is this process's own, latency that of a call through the whole app, in process, to the database
and back; moto, which has the queues, is left out of both. `tests/long/test_flatness.py` holds the same of requests and
of units, which no noise can touch, and says what grows by design up to a bound.
"""

import gc
import random
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import boto3

from bench import capacity, flat_calls, flat_sweeps
from chalicelib.aws import session
from infra.local.gateway import Gateway
from infra.local.pump import Pump
from tests.conftest import Clock
from tests.http.budget_world import find_queues
from tests.long import load, scale
from tests.long.scale import SIZES, START
from tests.support import dynamodb_local, wire
from tests.support.client import Client
from tests.support.environment import STAGE
from tests.support.users import make_user
from tests.support.watch import Seen, watching

ROUNDS = 150
SWEEPS = 30
"""Rounds of sweeps."""


class Ground:
    """The app over three databases, and what it takes to measure it there."""

    def __init__(self, endpoint: str, gateway: Gateway, pump: Pump, seen: Seen) -> None:
        self.endpoint, self.gateway, self.pump, self.seen = endpoint, gateway, pump, seen
        self.clock = Clock()
        self._client = boto3.Session(botocore_session=session.session()).client("dynamodb", endpoint_url=endpoint)

    @contextmanager
    def at(self, size: int) -> Iterator[None]:
        """What is done within goes to the database of this size."""
        with wire.signing_as(f"at{size}"):
            yield

    def in_turn(self) -> list[int]:
        return random.sample(SIZES, len(SIZES))

    def to(self, instant: int) -> None:
        self.clock.advance((instant - self.clock.now) / 1_000)

    def populate(self) -> dict[int, dict[str, Client]]:
        """The users to be measured, by size and as `scale.populate` names them."""
        found = {}
        self.to(START)
        for size in SIZES:
            began = time.monotonic()
            with self.at(size):
                dynamodb_local.create_tables(self.endpoint)
                found[size] = scale.populate(self.endpoint, lambda email: make_user(self.gateway, email), size)
            self.say(f"{size:,} agents and tasks loaded in {time.monotonic() - began:.0f} s")
        return found

    @staticmethod
    def say(text: str) -> None:
        """How far it is, to whoever waits."""
        print(text, file=sys.stderr, flush=True)

    def remove_tasks(self, owner: str, tasks: list[str]) -> None:
        """All rows of them, past the app."""
        keys = []
        for task in tasks:
            rows = self._client.query(
                TableName=f"devflow-{STAGE}-tasks",
                KeyConditionExpression="pk = :pk",
                ExpressionAttributeValues={":pk": {"S": f"{owner}#{task}"}},
                ProjectionExpression="pk, sk",
            )
            keys += rows["Items"]
        self._delete("tasks", keys)

    def remove_agents(self, owner: str, agents: list[str]) -> None:
        self._delete("agents", [{"owner": {"S": owner}, "agent": {"S": agent}} for agent in agents])

    def _delete(self, table: str, keys: list[dict[str, Any]]) -> None:
        for first in range(0, len(keys), load.BATCH):
            deletes = [{"DeleteRequest": {"Key": key}} for key in keys[first : first + load.BATCH]]
            self._client.batch_write_item(RequestItems={f"devflow-{STAGE}-{table}": deletes})


@contextmanager
def ground() -> Iterator[Ground]:
    with capacity.platform(shared=False) as endpoint:
        from app import app  # noqa: PLC0415  # its clients must not be built before moto stands in

        gateway, pump = Gateway(app), Pump(app, log=_fail)
        find_queues()
        with watching(gateway, pump) as seen:
            yield Ground(endpoint, gateway, pump, seen)


def _fail(line: str) -> None:
    raise AssertionError(line)


def main() -> None:
    with ground() as on:
        users = on.populate()
        gc.collect()
        gc.freeze()
        sweeps = flat_sweeps.measured(on, SWEEPS)
        calls = flat_calls.measured(on, users, ROUNDS)
    print(f"{ROUNDS} rounds of calls, {SWEEPS} of sweeps: medians of milliseconds, and of the ratios of a round; in")
    print("brackets a tenth and nine tenths of these, or the least and the most where there are fewer than ten\n")
    print(f"A call at {' / '.join(f'{size:,}' for size in SIZES)}\n")
    print(calls.table("users"))
    print("\nA sweep that finds nothing, and each stale item where it finds some\n")
    print(sweeps.samples.table("stale agents + tasks"))
    print(f"\nTimes an item of a sweep that finds {flat_sweeps.OF_FEW[1]}\n")
    print(sweeps.table())
    for line in [*calls.missed(), *sweeps.samples.missed(), *sweeps.missed()]:
        print(f"\nMissed: {line}")
