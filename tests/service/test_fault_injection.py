"""Every AWS request of every operation fails with every kind of fault, one request at a time.

After each fault the operation runs again and the sweep runs. Then the state must be the same as without the fault. Only
the operations are listed by hand; their AWS requests are recorded.
"""

import pytest

from tests.service import faults, invariants
from tests.service.operations import EVENT_OPERATIONS, OPERATIONS, Operation, OperationHarness
from tests.service.test_idempotency import SIMILAR
from tests.service.webhook_operations import WEBHOOK_EVENT_OPERATIONS, WEBHOOK_OPERATIONS

ALL = OPERATIONS | EVENT_OPERATIONS | WEBHOOK_OPERATIONS | WEBHOOK_EVENT_OPERATIONS

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
