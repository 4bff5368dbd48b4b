"""chalicelib/agents/rules.py: when the sweep checks an agent, and when an agent is inactive or lost."""

import pytest

from chalicelib.agents import rules
from chalicelib.core.outage import Outage
from chalicelib.core.settings import MINUTE, SECOND
from tests.support.builders import NOW, make_agent


def test_sweep_checks_an_agent_150_to_210_seconds_after_its_last_check_in() -> None:
    """The due time is rounded up to a minute. The minute between two sweeps comes on top."""
    for second in range(120):
        seen_at = NOW // MINUTE * MINUTE + second * SECOND
        due = rules.check_at(seen_at)
        assert 150 * SECOND < due - seen_at <= 210 * SECOND
        assert rules.assess_liveness(make_agent(seen_at=seen_at), due) == "inactive"


def test_check_ins_within_a_minute_do_not_move_the_agent_in_the_index() -> None:
    minute = NOW // MINUTE * MINUTE
    assert len({rules.check_at(minute + second * SECOND) for second in range(60)}) == 1


@pytest.mark.parametrize(
    ("silence", "outage", "liveness"),
    [
        (0, 0, "alive"),
        (149, 0, "alive"),
        (150, 0, "inactive"),
        (599, 0, "inactive"),
        (600, 0, "lost"),
        (600, 1, "inactive"),
        (600, 451, "alive"),
        (4_200, 3_600, "lost"),
        (4_199, 3_600, "inactive"),
    ],
)
def test_agent_is_inactive_after_150_seconds_and_lost_after_ten_minutes(
    silence: int, outage: int, liveness: str
) -> None:
    seen_at = NOW - silence * SECOND
    assert (
        rules.assess_liveness(make_agent(seen_at=seen_at), NOW, Outage(seen_at, seen_at + outage * SECOND)) == liveness
    )
