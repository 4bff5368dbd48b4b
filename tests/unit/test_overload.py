"""chalicelib/core/overload.py: what a container remembers of failed requests to AWS."""

import pytest

from chalicelib.core import overload
from chalicelib.core.overload import ERROR_STRIKES, TIMEOUT_STRIKES, Circuit, FailureMemory, RetryBudget

READ, WRITE = "read agents", "write agents"


def test_budget_allows_a_few_retries_and_then_none() -> None:
    budget = RetryBudget()
    assert [budget.take(5, now=0.0) for _ in range(6)] == [True] * 5 + [False]


def test_five_successes_pay_for_one_retry() -> None:
    budget = RetryBudget(tokens=0.0, _counted_at=0.0)
    for _ in range(4):
        budget.record_success()
    assert not budget.take(5, now=0.0)
    budget.record_success()
    assert budget.take(5, now=0.0)


def test_budget_grows_with_time_up_to_its_limit() -> None:
    budget = RetryBudget(tokens=0.0, _counted_at=0.0)
    assert not budget.take(5, now=9.9)
    assert budget.take(5, now=10.0)
    assert [budget.take(25, now=1_000_000.0), budget.take(1, now=1_000_000.0)] == [True, False]
    for _ in range(100):
        budget.record_success()
    assert budget.tokens == overload.MAX_TOKENS


def fail(memory: FailureMemory, kind: str, strikes: int, now: float = 0.0, chance: float = 0.5) -> bool:
    return memory.record_failure(memory.circuit(kind), strikes, now, chance)


def test_one_timeout_does_not_open_the_circuit_and_two_in_a_row_do() -> None:
    memory = FailureMemory()
    assert not fail(memory, WRITE, TIMEOUT_STRIKES)
    memory.record_success(memory.circuit(WRITE))
    assert not fail(memory, WRITE, TIMEOUT_STRIKES)
    assert fail(memory, WRITE, TIMEOUT_STRIKES)
    assert not memory.circuit(WRITE).admit(0.99)


def test_timeouts_of_two_kinds_in_a_row_open_both_circuits() -> None:
    """A check-in that times out is followed by a read of the same row."""
    memory = FailureMemory()
    assert not fail(memory, WRITE, TIMEOUT_STRIKES)
    assert fail(memory, READ, TIMEOUT_STRIKES)
    assert memory.circuit(WRITE).openings == memory.circuit(READ).openings == 1


def test_success_of_another_kind_between_two_timeouts_keeps_the_circuits_closed() -> None:
    memory = FailureMemory()
    fail(memory, WRITE, TIMEOUT_STRIKES)
    memory.record_success(memory.circuit(READ))
    assert not fail(memory, READ, TIMEOUT_STRIKES)


def test_five_throttled_requests_in_a_row_open_the_circuit_of_their_kind_only() -> None:
    memory = FailureMemory()
    fail(memory, READ, ERROR_STRIKES)
    assert [fail(memory, WRITE, ERROR_STRIKES) for _ in range(5)] == [False] * 4 + [True]
    assert memory.circuit(READ).admit(0.0)


def test_open_circuit_admits_one_probe_at_a_time() -> None:
    circuit = Circuit()
    circuit.open(now=0.0, chance=0.5)
    assert [circuit.admit(now) for now in (0.0, 0.99, 1.0, 1.0, 5.99, 6.0)] == [False, False, True, False, False, True]


def test_successful_probe_closes_the_circuit() -> None:
    memory = FailureMemory()
    circuit = memory.circuit(WRITE)
    circuit.open(now=0.0, chance=0.5)
    assert circuit.admit(1.0)
    memory.record_success(circuit)
    assert [circuit.admit(1.0), circuit.strikes, circuit.openings] == [True, 0, 0]


def test_pauses_double_up_to_a_limit_and_have_jitter() -> None:
    memory = FailureMemory()
    pauses, now = [], 0.0
    memory.circuit(WRITE).open(now, chance=0.5)
    for _ in range(6):
        pauses.append(memory.circuit(WRITE).probe_at - now)
        now = memory.circuit(WRITE).probe_at
        assert fail(memory, WRITE, ERROR_STRIKES, now)
    assert pauses == [1.0, 2.0, 4.0, 8.0, 8.0, 8.0]
    for chance, pause in ((0.0, 4.0), (1.0, 12.0)):
        fail(memory, WRITE, ERROR_STRIKES, now, chance)
        assert memory.circuit(WRITE).probe_at - now == pause


def test_failed_probe_delays_the_probes_of_other_kinds() -> None:
    memory = FailureMemory()
    memory.circuit(READ).open(now=0.0, chance=0.5)
    memory.circuit(WRITE).open(now=0.0, chance=0.5)
    fail(memory, WRITE, TIMEOUT_STRIKES, now=1.0)
    assert memory.circuit(READ).probe_at == 2.0
    assert memory.circuit(WRITE).probe_at == 3.0


@pytest.mark.parametrize(("chance", "seconds"), [(0.0, 4), (0.5, 8), (0.999, 12)])
def test_callers_retry_after_the_next_probe_at_different_times(chance: float, seconds: int) -> None:
    circuit = Circuit(openings=4, probe_at=103.0)
    assert circuit.retry_after(100.0, chance) == seconds


def test_caller_waits_at_least_a_second() -> None:
    circuit = Circuit(openings=1, probe_at=1.0)
    assert circuit.retry_after(50.0, 0.0) == 1


def test_success_in_a_healthy_container_changes_nothing() -> None:
    memory = FailureMemory()
    states = [memory.is_clear]
    fail(memory, WRITE, TIMEOUT_STRIKES)
    states.append(memory.is_clear)
    memory.record_success(memory.circuit(READ))
    states.append(memory.is_clear)
    memory.budget.take(1, now=0.0)
    assert [*states, memory.is_clear] == [True, False, True, False]
