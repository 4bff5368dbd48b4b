"""What every call requests from AWS: its requests, the DynamoDB units that they consume, the bytes of its log lines and
of its response, and its CPU time. The calls run through the whole app on Amazon's DynamoDB Local. Moto simulates SQS
and SES.

Writes bench/figures.json, from which `python -m bench.cost` computes docs/cost.md.
"""

import statistics
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from bench import figures, quiet
from bench.figures import Figures
from chalicelib.auth import rules as auth_model
from infra.local.event_poller import EventPoller
from infra.local.gateway import Gateway
from tests.conftest import Clock
from tests.http.budget_calls import CALLS, World, make_world
from tests.support import aws_requests, costs, dynamodb_local, invocations, moto_aws, units
from tests.support.users import make_user

ROUNDS = 11
"""CPU time is the median of this number of calls. Each call runs in a separate world."""


@contextmanager
def start_platform(*, shared: bool = True) -> Iterator[str]:
    """Run the app on DynamoDB Local, with its log captured. Yields the endpoint of DynamoDB Local.

    `shared`: see `dynamodb_local.running`. Raises RuntimeError if DynamoDB Local cannot run on this machine.
    """
    reason = dynamodb_local.unavailable()
    if reason:
        raise RuntimeError(reason)
    with (
        quiet.capture_log(),
        moto_aws.deployed(),
        dynamodb_local.running(shared=shared) as endpoint,
        aws_requests.redirected("dynamodb", endpoint),
    ):
        yield endpoint


def measure_call(name: str, endpoint: str, rounds: int = ROUNDS) -> Figures:
    """Measure one call.

    `endpoint`: the endpoint of DynamoDB Local. `rounds`: how many calls to measure CPU time with; 0 leaves it out (0).
    """
    dynamodb_local.create_tables(endpoint)
    with _open_world(name, endpoint, 0) as world:
        call = CALLS[name](world)
        with invocations.recorded(_gateway_of(world), world.poller) as seen:
            cost, read, write = units.billed(endpoint, call)
    (reached,) = seen.handlers
    cpu_ms = [_measure_cpu(name, endpoint, number) for number in range(1, rounds + 1)]
    return Figures(
        reached=reached,
        requests=list(cost.requests),
        read=read,
        write=write,
        log=seen.log_bytes,
        answer=seen.response_bytes,
        cpu=round(statistics.median(cpu_ms), 1) if cpu_ms else 0,
    )


def _measure_cpu(name: str, endpoint: str, number: int) -> float:
    """Milliseconds of CPU time of one call."""
    with _open_world(name, endpoint, number) as world:
        call = CALLS[name](world)
        with invocations.recorded(_gateway_of(world), world.poller) as seen:
            call()
    return sum(seen.cpu)


@contextmanager
def _open_world(name: str, endpoint: str, number: int) -> Iterator[World]:
    """A world with a new user each time. A measured sweep starts on empty tables: it must not find earlier worlds."""
    from app import app  # noqa: PLC0415  # the app builds its AWS clients on import, and moto must be active by then

    moto_aws.empty()
    if name.startswith("sweep") and number:
        dynamodb_local.create_tables(endpoint)
    email = f"user-{number}@example.com"
    with pytest.MonkeyPatch.context() as patch:
        if "PIN" not in name:  # a full scrypt takes a quarter of a second; only the PIN calls measure it
            patch.setitem(auth_model._SCRYPT, "n", 2**4)
        world = make_world(make_user(Gateway(app), email), EventPoller(app), Clock(), email)
        with world.cleanup:
            yield world


def _gateway_of(world: World) -> Gateway:
    gateway = world.user.transport
    assert isinstance(gateway, Gateway)
    return gateway


def main() -> None:
    measured: dict[str, Figures] = {}
    with start_platform() as endpoint:
        for name in CALLS:
            measured[name] = measure_call(name, endpoint)
    figures.save(measured)
    header = ["call", "requests", "read", "write", "log", "response", "CPU", "operations"]
    rows = []
    for name, call in measured.items():
        operations = costs.Cost(tuple(call.requests), 0, 0, aws_requests.RecordedRequests()).operations
        rows.append([name, len(call.requests), call.read, call.write, call.log, call.answer, call.cpu, operations])
    print("Every call: requests to AWS, read and write units, bytes of log and response, milliseconds of CPU\n")
    print(costs.table(header, rows))
