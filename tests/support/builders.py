"""Builds entities for unit tests: valid ones, of which a test sets the fields that it is about."""

from typing import Any

from chalicelib.agents.entities import Agent, Claim
from chalicelib.core.settings import MINUTE

NOW = 1_763_938_000_000
"""The present time of the entities: 2025-11-23T22:46:40Z."""

STARTED_AT = NOW - 10 * MINUTE
"""When the claims were made and the running tasks were started."""


def make_claim(*, started: bool = False, cancel: bool = False) -> Claim:
    started_at = STARTED_AT if started else None
    return Claim(attempt=1, timeout=1, claimed_at=STARTED_AT, started_at=started_at, cancel=cancel)


def make_claims(claimed: int, running: int) -> dict[str, Claim]:
    """Claims on `claimed-0`, `claimed-1`, ... that are not started, and on `running-0`, `running-1`, ... that are."""
    claims = {f"claimed-{number}": make_claim() for number in range(claimed)}
    return claims | {f"running-{number}": make_claim(started=True) for number in range(running)}


def make_agent(**values: Any) -> Agent:
    """An active agent with one capability. It has worked last ten minutes ago, and was seen now."""
    defaults: dict[str, Any] = {
        "owner": "user-1",
        "id": "agent-1",
        "name": "my agent",
        "version": "0.2.0",
        "platform": "linux",
        "capabilities": ["fix-bug"],
        "concurrency": None,
        "state": "active",
        "ver": "v1",
        "created_at": STARTED_AT,
        "updated_at": STARTED_AT,
        "seen_at": NOW,
        "worked_at": STARTED_AT,
    }
    return Agent(**(defaults | values))
