"""What every call asks of AWS: its requests, the units of DynamoDB that they consume, what it logs and answers, and its
CPU. On Amazon's DynamoDB Local, through the whole app; SQS and SES are moto's.

Writes bench/figures.json, of which `python -m bench.cost` makes docs/cost.md.
"""

import io
import statistics
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from bench import figures
from bench.figures import Figures
from chalicelib.auth import rules as auth_model
from chalicelib.core import log
from infra.local.gateway import Gateway
from infra.local.pump import Pump
from tests.conftest import Clock
from tests.http.budget_calls import CALLS, World, make_world
from tests.support import costs, dynamodb_local, moto_aws, units, watch, wire
from tests.support.users import make_user

ROUNDS = 11
"""CPU is the median of so many calls, each in a world of its own."""


@contextmanager
def platform(*, shared: bool = True) -> Iterator[str]:
    """The app over DynamoDB Local, its log kept quiet; the endpoint. Raises RuntimeError where that cannot run.

    `shared`: as `dynamodb_local.running` has it.
    """
    reason = dynamodb_local.unavailable()
    if reason:
        raise RuntimeError(reason)
    with (
        pytest.MonkeyPatch.context() as patch,
        moto_aws.deployed(),
        dynamodb_local.running(shared=shared) as endpoint,
        wire.redirected("dynamodb", endpoint),
    ):
        patch.setattr(log.handler, "stream", io.StringIO())
        yield endpoint


def measured(name: str, endpoint: str, rounds: int = ROUNDS) -> Figures:
    """One call. `endpoint`: DynamoDB Local's. `rounds`: how often for its CPU, which is 0 without."""
    dynamodb_local.create_tables(endpoint)
    with _world(name, endpoint, 0) as world:
        call = CALLS[name](world)
        with watch.watching(_gateway(world), world.pump) as seen:
            cost, read, write = units.billed(endpoint, call)
    (reached,) = seen.reached
    spent = [_cpu(name, endpoint, number) for number in range(1, rounds + 1)]
    return Figures(
        reached=reached,
        requests=list(cost.requests),
        read=read,
        write=write,
        log=seen.log_bytes,
        answer=seen.answers,
        cpu=round(statistics.median(spent), 1) if spent else 0,
    )


def _cpu(name: str, endpoint: str, number: int) -> float:
    with _world(name, endpoint, number) as world:
        call = CALLS[name](world)
        with watch.watching(_gateway(world), world.pump) as seen:
            call()
    return sum(seen.cpu)


@contextmanager
def _world(name: str, endpoint: str, number: int) -> Iterator[World]:
    """The world of another user each time; what a sweep would find of the others is gone."""
    from app import app  # noqa: PLC0415  # its clients must not be built before moto stands in

    moto_aws.empty()
    if name.startswith("sweep") and number:
        dynamodb_local.create_tables(endpoint)
    email = f"user-{number}@example.com"
    with pytest.MonkeyPatch.context() as patch:
        if "PIN" not in name:  # who is not to be measured need not be made with a quarter of a second of scrypt
            patch.setitem(auth_model._SCRYPT, "n", 2**4)
        world = make_world(make_user(Gateway(app), email), Pump(app), Clock(), email)
        with world.ends:
            yield world


def _gateway(world: World) -> Gateway:
    gateway = world.user.transport
    assert isinstance(gateway, Gateway)
    return gateway


def main() -> None:
    found: dict[str, Figures] = {}
    with platform() as endpoint:
        for name in CALLS:
            found[name] = measured(name, endpoint)
    figures.save(found)
    header = ["call", "requests", "read", "write", "log", "answer", "CPU", "which"]
    rows = []
    for name, each in found.items():
        which = costs.Cost(tuple(each.requests), 0, 0, wire.Sent()).operations
        rows.append([name, len(each.requests), each.read, each.write, each.log, each.answer, each.cpu, which])
    print("Every call: requests to AWS, units, bytes, milliseconds of CPU\n")
    print(costs.table(header, rows))
