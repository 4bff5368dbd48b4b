"""The app on three databases of different sizes: what the benchmarks of `make bench ARGS=flat` run on."""

import random
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import boto3

from bench import capacity
from chalicelib.aws import session
from infra.local.event_poller import EventPoller
from infra.local.gateway import Gateway
from tests.conftest import Clock
from tests.http.budget_world import cache_queue_urls
from tests.long import load, scale
from tests.long.scale import SIZES, START
from tests.support import aws_requests, dynamodb_local, invocations
from tests.support.client import Client
from tests.support.environment import STAGE
from tests.support.invocations import Invocations
from tests.support.users import make_user


class ScaledPlatform:
    """The app, its databases on one DynamoDB Local, and the measurements of what runs on them."""

    def __init__(self, endpoint: str, gateway: Gateway, poller: EventPoller, seen: Invocations) -> None:
        self.endpoint, self.gateway, self.poller, self.seen = endpoint, gateway, poller, seen
        self.clock = Clock()
        boto3_session = boto3.Session(botocore_session=session.botocore_session())
        self._client = boto3_session.client("dynamodb", endpoint_url=endpoint)

    @contextmanager
    def use_size(self, size: int) -> Iterator[None]:
        """Send all requests within the block to the database of this size."""
        with aws_requests.signing_as(f"at{size}"):
            yield

    def shuffle_sizes(self) -> list[int]:
        return random.sample(SIZES, len(SIZES))

    def advance_to(self, instant: int) -> None:
        """Move the clock to an instant in epoch milliseconds."""
        self.clock.advance((instant - self.clock.now) / 1_000)

    def populate(self) -> dict[int, dict[str, Client]]:
        """Fill the databases. Returns the measured users by size and by the names that `scale.populate` uses."""
        users = {}
        self.advance_to(START)
        for size in SIZES:
            began = time.monotonic()
            with self.use_size(size):
                dynamodb_local.create_tables(self.endpoint)
                users[size] = scale.populate(self.endpoint, lambda email: make_user(self.gateway, email), size)
            self.report_progress(f"{size:,} agents and tasks loaded in {time.monotonic() - began:.0f} s")
        return users

    @staticmethod
    def report_progress(text: str) -> None:
        """Print progress on standard error, apart from the results."""
        print(text, file=sys.stderr, flush=True)

    def remove_tasks(self, owner: str, task_ids: list[str]) -> None:
        """Delete all rows of these tasks, without using the app."""
        keys = []
        for task_id in task_ids:
            rows = self._client.query(
                TableName=f"devflow-{STAGE}-tasks",
                KeyConditionExpression="pk = :pk",
                ExpressionAttributeValues={":pk": {"S": f"{owner}#{task_id}"}},
                ProjectionExpression="pk, sk",
            )
            keys += rows["Items"]
        self._delete_rows("tasks", keys)

    def remove_agents(self, owner: str, agent_ids: list[str]) -> None:
        """Delete the rows of these agents, without using the app."""
        self._delete_rows("agents", [{"owner": {"S": owner}, "agent": {"S": agent_id}} for agent_id in agent_ids])

    def _delete_rows(self, table: str, keys: list[dict[str, Any]]) -> None:
        for first in range(0, len(keys), load.BATCH):
            deletes = [{"DeleteRequest": {"Key": key}} for key in keys[first : first + load.BATCH]]
            self._client.batch_write_item(RequestItems={f"devflow-{STAGE}-{table}": deletes})


@contextmanager
def open_scaled_platform() -> Iterator[ScaledPlatform]:
    with capacity.start_platform(shared=False) as endpoint:
        from app import app  # noqa: PLC0415  # the app builds its AWS clients on import; moto must be active by then

        gateway, poller = Gateway(app), EventPoller(app, log=_fail)
        cache_queue_urls()
        with invocations.recorded(gateway, poller) as seen:
            yield ScaledPlatform(endpoint, gateway, poller, seen)


def _fail(line: str) -> None:
    raise AssertionError(line)
