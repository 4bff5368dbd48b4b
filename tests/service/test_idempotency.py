"""Promises 4 and 5 of docs/states.md: lost responses of AWS, conflicting writers, killed processes, repetitions."""

from typing import Any

import pytest

from tests.service import faults, invariants
from tests.service.account_operations import ACCOUNT_OPERATIONS
from tests.service.conftest import PassMinutes
from tests.service.operations import OPERATIONS, Operation, OperationHarness
from tests.service.webhook_operations import WEBHOOK_OPERATIONS

SIMILAR = {"submit with a key", "register", "complete a claim", "log", "cancel a claim", "retry", "heartbeat", "rename",
         "disable a webhook", "rotate a secret", "a sweep that finds a due delivery"}  # fmt: skip
"""Operations that take the same code path as another one. Only the long tests include them."""

every_operation = pytest.mark.parametrize(
    "operation",
    [
        pytest.param(operation, id=name, marks=[pytest.mark.long] * (name in SIMILAR))
        for name, operation in (OPERATIONS | ACCOUNT_OPERATIONS | WEBHOOK_OPERATIONS).items()
    ],
)


@every_operation
def test_repeated_request_succeeds_and_has_one_effect(harness: OperationHarness, operation: Operation) -> None:
    context = harness.new_context(operation)
    assert operation.run(context).status < 300
    response = operation.run(context)
    assert response.status < 300 or response.status in operation.repeat_statuses
    operation.assert_effect(context)


@every_operation
def test_request_succeeds_with_one_effect_if_the_response_of_a_write_is_lost(
    harness: OperationHarness, operation: Operation, no_pauses: None
) -> None:
    """Such a write is retried, and the retry encounters the effect of the first attempt."""
    for nth, aws_operation in enumerate(harness.writes(operation)):
        context = harness.new_context(operation)
        with faults.nth_response_lost(nth):
            response = operation.run(context)
        assert response.status < 300, (nth, aws_operation, response)
        operation.assert_effect(context)


@every_operation
def test_request_has_one_effect_if_a_write_that_timed_out_is_executed_late(
    harness: OperationHarness, operation: Operation, no_pauses: None
) -> None:
    """A slow DynamoDB executes the first attempt after the retry, when the request has already succeeded."""
    for nth, aws_operation in enumerate(harness.writes(operation)):
        context = harness.new_context(operation)
        with faults.nth_write_late(nth):
            response = operation.run(context)
        assert response.status < 300, (nth, aws_operation, response)
        operation.assert_effect(context)


@every_operation
def test_request_waits_for_conflicting_writers_at_every_write(
    harness: OperationHarness, operation: Operation, no_pauses: None
) -> None:
    """For example, a heartbeat and a complete both write the agent's row. moto never raises these conflicts."""
    context = harness.new_context(operation)
    conflicts = iter([True, True, False] * 100)

    def has_conflict(params: dict[str, Any]) -> bool:
        return next(conflicts)

    reasons = [{"Code": "TransactionConflict"}]
    with (
        faults.refused("UpdateItem", "TransactionConflictException", times=100, when=has_conflict),
        faults.refused(
            "TransactWriteItems", "TransactionCanceledException", reasons=reasons, times=100, when=has_conflict
        ),
    ):
        assert operation.run(context).status < 300
    operation.assert_effect(context)


@every_operation
def test_repeated_request_finishes_the_work_of_a_killed_process(
    harness: OperationHarness, operation: Operation
) -> None:
    for after, aws_operation in enumerate(harness.writes(operation), 1):
        context = harness.new_context(operation)
        with faults.killed_after_write(after), pytest.raises(faults.ProcessKilled):
            operation.run(context)
        invariants.check()
        response = operation.run(context)
        assert response.status < 300 or response.status in operation.repeat_statuses, (after, aws_operation, response)
        context.scenario.poller.sweep()
        operation.assert_effect(context)


@pytest.mark.parametrize("name", ["submit", "register again", "remove", "poll", "cancel a run"])
def test_every_task_ends_if_the_process_is_killed_and_never_returns(
    harness: OperationHarness, name: str, pass_minutes: PassMinutes
) -> None:
    """Promise 1 of docs/states.md: no request is repeated, and no agent checks in any more."""
    operation = OPERATIONS[name]
    for after, _ in enumerate(harness.writes(operation), 1):
        context = harness.new_context(operation)
        with faults.killed_after_write(after), pytest.raises(faults.ProcessKilled):
            operation.run(context)
        for minutes in (2, 5, 11, 121, 60 * 24, 3):
            pass_minutes(minutes)
            invariants.check()
        assert not invariants.open_heads()
