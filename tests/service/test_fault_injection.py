"""AWS requests of every operation fail with every kind of fault: each request alone, and pairs of requests.

After each fault the operation runs again and the sweep runs. Then the state must be the same as without the fault. Only
the operations are listed by hand; their AWS requests are recorded.
"""

import random
from itertools import combinations, product

import pytest

from tests.service import faults, invariants
from tests.service.account_operations import ACCOUNT_OPERATIONS
from tests.service.operations import EVENT_OPERATIONS, OPERATIONS, Operation, OperationHarness
from tests.service.test_idempotency import SIMILAR
from tests.service.webhook_operations import WEBHOOK_EVENT_OPERATIONS, WEBHOOK_OPERATIONS
from tests.support.container import new_container

ALL = OPERATIONS | ACCOUNT_OPERATIONS | EVENT_OPERATIONS | WEBHOOK_OPERATIONS | WEBHOOK_EVENT_OPERATIONS

every_operation = pytest.mark.parametrize(
    "operation",
    [pytest.param(operation, id=name, marks=[pytest.mark.long] * (name in SIMILAR)) for name, operation in ALL.items()],
)


def run_with_fault(operation: Operation, harness: OperationHarness, number: int, kind: str) -> None:
    context = harness.new_context(operation)
    try:
        with faults.from_request(number, kind):
            response = operation.run(context)
    except faults.ProcessKilled:
        assert kind.startswith("killed")
    else:
        assert response.status < 300 or response.status in (500, 503), response
        assert response.status < 300 or not response.body or response.json()["statusCode"] == response.status
    invariants.check()
    new_container()  # the container that had the fault may send no requests for a moment
    response = operation.run(context)
    assert response.status < 300 or response.status in operation.repeat_statuses, response
    context.scenario.poller.sweep()
    operation.assert_effect(context)


@pytest.mark.parametrize("kind", faults.KINDS)
@every_operation
def test_operation_recovers_from_every_fault_at_every_request(
    harness: OperationHarness, operation: Operation, kind: str, no_pauses: None
) -> None:
    requests = harness.requests(operation)
    assert requests
    for number, aws_operation in enumerate(requests):
        try:
            run_with_fault(operation, harness, number, kind)
        except Exception as error:
            error.add_note(f"request {number} of {requests}, {aws_operation}: {kind}")
            raise


PAIRS_OF_QUICK_RUN = 6
"""How many pairs of faults `make test` draws for each operation. The long tests include all pairs."""

Pair = dict[int, str]


def pairs_of_faults(requests: int) -> list[Pair]:
    """Two faults of any kind, at two of the operation's requests or of the requests that follow them.

    A fault causes further requests: retries, and those of the repeated operation.
    """
    numbers = combinations(range(2 * requests), 2)
    return [{first: one, second: two} for (first, second), one, two in product(numbers, faults.KINDS, faults.KINDS)]


def run_with_pair(operation: Operation, harness: OperationHarness, pair: Pair) -> None:
    """Repeat the operation, as its client does, until it succeeds. Then the sweep runs."""
    context = harness.new_context(operation)
    runs = 0
    with faults.at_requests(pair):
        while True:
            runs += 1
            assert runs <= 1 + len(pair), "each fault fails one run at most"
            try:
                response = operation.run(context)
            except faults.ProcessKilled:
                invariants.check()
                new_container()
                continue
            invariants.check()
            if response.status not in (500, 503):
                break
            new_container()
    assert response.status < 300 or (runs > 1 and response.status in operation.repeat_statuses), response
    context.scenario.poller.sweep()
    operation.assert_effect(context)


def run_with_pairs(operation: Operation, harness: OperationHarness, pairs: list[Pair]) -> None:
    for pair in pairs:
        try:
            run_with_pair(operation, harness, pair)
        except Exception as error:
            error.add_note(f"{pair} of {harness.requests(operation)}")
            raise


@pytest.mark.parametrize("name", [name for name in ALL if name not in SIMILAR])
def test_operation_recovers_from_two_faults(harness: OperationHarness, name: str, no_pauses: None) -> None:
    pairs = pairs_of_faults(len(harness.requests(ALL[name])))
    chosen = random.Random(name).sample(pairs, PAIRS_OF_QUICK_RUN)  # noqa: S311  # the same ones in every run
    run_with_pairs(ALL[name], harness, chosen)


@pytest.mark.long
@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("name", ALL)
def test_operation_recovers_from_every_pair_of_faults(harness: OperationHarness, name: str, no_pauses: None) -> None:
    run_with_pairs(ALL[name], harness, pairs_of_faults(len(harness.requests(ALL[name]))))
