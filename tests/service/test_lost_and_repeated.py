"""Promises 4 and 5: answers lost on the way from AWS, writers in the way, processes that die, requests sent again."""

from typing import Any

import pytest

from tests.service import faults, invariants
from tests.service.conftest import Passing
from tests.service.deeds import DEEDS, Deed, Setting
from tests.service.webhook_deeds import WEBHOOK_DEEDS

ALIKE = {"submit with a key", "register", "complete a claim", "log", "cancel a claim", "retry", "heartbeat", "rename",
         "disable a webhook", "rotate a secret", "a sweep that finds a delivery due"}  # fmt: skip
"""Deeds that go the way of another one; the long tests have them too."""

every_deed = pytest.mark.parametrize(
    "deed",
    [
        pytest.param(deed, id=name, marks=[pytest.mark.long] * (name in ALIKE))
        for name, deed in (DEEDS | WEBHOOK_DEEDS).items()
    ],
)


@every_deed
def test_sent_again_it_is_a_success_and_has_its_effect_once(setting: Setting, deed: Deed) -> None:
    stage = setting.stage(deed)
    assert deed.act(stage).status < 300
    answer = deed.act(stage)
    assert answer.status < 300 or answer.status in deed.also
    deed.check(stage)


@every_deed
def test_whichever_write_loses_its_answer_the_request_succeeds_with_one_effect(
    setting: Setting, deed: Deed, no_pauses: None
) -> None:
    """botocore sends such a write again by itself, and then meets what the first one has done."""
    for nth, operation in enumerate(setting.changes(deed)):
        stage = setting.stage(deed)
        with faults.nth_answer_lost(nth):
            answer = deed.act(stage)
        assert answer.status < 300, (nth, operation, answer)
        deed.check(stage)


@every_deed
def test_other_writers_in_the_way_of_every_write_are_waited_for(setting: Setting, deed: Deed, no_pauses: None) -> None:
    """A heartbeat that overlaps a complete on the agent's row, for one: moto never raises these conflicts, AWS does."""
    stage = setting.stage(deed)
    busy = iter([True, True, False] * 100)

    def often(params: dict[str, Any]) -> bool:
        return next(busy)

    reasons = [{"Code": "TransactionConflict"}]
    with (
        faults.refused("UpdateItem", "TransactionConflictException", times=100, when=often),
        faults.refused("TransactWriteItems", "TransactionCanceledException", reasons=reasons, times=100, when=often),
    ):
        assert deed.act(stage).status < 300
    deed.check(stage)


@every_deed
def test_wherever_the_process_dies_the_same_request_finishes_the_work(setting: Setting, deed: Deed) -> None:
    for after, operation in enumerate(setting.changes(deed), 1):
        stage = setting.stage(deed)
        with faults.died(after), pytest.raises(faults.Died):
            deed.act(stage)
        invariants.hold()
        answer = deed.act(stage)
        assert answer.status < 300 or answer.status in deed.also, (after, operation, answer)
        stage.scene.poller.sweep()
        deed.check(stage)


@pytest.mark.parametrize("name", ["submit", "register anew", "remove", "poll", "cancel a run"])
def test_wherever_the_process_dies_for_good_every_task_still_comes_to_its_end(
    setting: Setting, name: str, passing: Passing
) -> None:
    """Promise 1: nobody asks again and no agent is heard of any more."""
    deed = DEEDS[name]
    for after, _ in enumerate(setting.changes(deed), 1):
        stage = setting.stage(deed)
        with faults.died(after), pytest.raises(faults.Died):
            deed.act(stage)
        for minutes in (2, 5, 11, 121, 60 * 24, 3):
            passing(minutes)
            invariants.hold()
        assert not invariants.open_heads()
