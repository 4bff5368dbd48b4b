"""chalicelib/agents/rules.py: when the sweep checks an agent, when it is inactive or lost, and its rules."""

from collections import Counter
from itertools import pairwise
from typing import Any

import pytest

from chalicelib.agents import rules
from chalicelib.core.outage import Outage
from chalicelib.core.settings import MINUTE, SECOND
from tests.support.builders import NOW, make_agent


def test_sweep_checks_an_agent_150_to_210_seconds_after_its_last_check_in() -> None:
    """The due time is rounded up to the end of the agent's minute. The minute between two sweeps comes on top."""
    for agent_id in ("agent-1", "agent-2", "agent-3"):
        for second in range(120):
            seen_at = NOW + second * SECOND
            due = rules.check_at("user-1", agent_id, seen_at)
            assert 150 * SECOND < due - seen_at <= 210 * SECOND
            assert rules.assess_liveness(make_agent(seen_at=seen_at), due) == "inactive"


def test_agent_moves_in_the_index_at_most_once_a_minute() -> None:
    moments = range(NOW, NOW + 10 * MINUTE, SECOND)
    for agent_id in ("agent-1", "agent-2", "agent-3"):
        due = [rules.check_at("user-1", agent_id, seen_at) for seen_at in moments]
        moved_at = [at for at, (one, other) in zip(moments[1:], pairwise(due), strict=True) if one != other]
        assert [later - earlier for earlier, later in pairwise(moved_at)] == [MINUTE] * 9


def test_index_moves_of_many_agents_are_spread_over_the_minute() -> None:
    """10,000 agents that check in every 5 s. Aligned minutes would move all of them within the same 5 s."""
    start = NOW // MINUTE * MINUTE
    moves: Counter[int] = Counter()
    for number in range(10_000):
        first = start + number % 5_000
        due = [rules.check_at("user-1", f"agent-{number}", first + second * SECOND) for second in range(0, 65, 5)]
        moves.update(slot for slot, (one, other) in enumerate(pairwise(due)) if one != other)
    assert moves.total() == 10_000
    assert max(moves.values()) / 5 < 200, "moves in a second; 10,000 / 60 is the mean"


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


@pytest.mark.parametrize(
    ("values", "repo", "expected"),
    [
        ({}, "https://github.com/acme/shop", None),
        ({}, "not a URL", None),
        ({"repos": ["github.com/acme/*"]}, "git@github.com:acme/shop.git", None),
        ({"repos": ["github.com/acme/*"]}, "https://github.com/other/shop", "repo_not_admitted"),
        ({"repos": ["*"]}, "not a URL", "repo_not_admitted"),
        ({"repos": ["github.com*", "*"]}, "https://github.com/acme/shop", None),
        ({"repos": ["github.com*"]}, "https://github.com/acme/shop", "repo_not_admitted"),
        ({"submitters": ["user-2", "user-1"]}, "r", None),
        ({"submitters": ["user-2", "user-11"]}, "r", "submitter_not_admitted"),
        ({"repos": ["github.com/acme/*"], "submitters": ["user-2"]}, "r", "repo_not_admitted"),
    ],
)
def test_task_is_admitted_if_every_rule_admits_it(values: Any, repo: str, expected: str | None) -> None:
    """A stored pattern that is not valid matches nothing, and does not make the list one that admits all."""
    assert rules.rejection(make_agent(**values), repo, "user-1") == expected
