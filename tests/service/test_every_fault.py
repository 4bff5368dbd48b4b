"""Every request to AWS, of every handler, one by one, meets every kind of fault; then the request is sent again, the
message comes again, the sweep runs, and everything is as if nothing had happened. Nothing here is listed by hand but
the deeds: the requests are those that each of them makes.
"""

import pytest

from tests.service import faults, invariants
from tests.service.deeds import DEEDS, EVENTS, Deed, Setting
from tests.service.test_lost_and_repeated import ALIKE
from tests.service.webhook_deeds import WEBHOOK_DEEDS, WEBHOOK_EVENTS

ALL = DEEDS | EVENTS | WEBHOOK_DEEDS | WEBHOOK_EVENTS

every_deed = pytest.mark.parametrize(
    "deed", [pytest.param(deed, id=name, marks=[pytest.mark.long] * (name in ALIKE)) for name, deed in ALL.items()]
)


def act(deed: Deed, setting: Setting, number: int, kind: str) -> None:
    stage = setting.stage(deed)
    try:
        with faults.from_call(number, kind):
            answer = deed.act(stage)
    except faults.Died:
        assert kind.startswith("dies")
    else:
        assert answer.status < 300 or answer.status in (500, 503), answer
        assert answer.status < 300 or not answer.body or answer.json()["statusCode"] == answer.status
    invariants.hold()
    answer = deed.act(stage)
    assert answer.status < 300 or answer.status in deed.also, answer
    stage.scene.poller.sweep()
    deed.check(stage)


@pytest.mark.parametrize("kind", faults.KINDS)
@every_deed
def test_whatever_befalls_whichever_request_all_is_well_in_the_end(
    setting: Setting, deed: Deed, kind: str, no_pauses: None
) -> None:
    calls = setting.calls(deed)
    assert calls
    for number, operation in enumerate(calls):
        try:
            act(deed, setting, number, kind)
        except Exception as error:
            error.add_note(f"request {number} of {calls}, {operation}: {kind}")
            raise
