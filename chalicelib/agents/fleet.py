"""A sample of an owner's agents, which explains why a task waits."""

from typing import Any

from chalicelib.agents import store
from chalicelib.agents.entities import FleetSample
from chalicelib.agents.schemas import AgentQuery

PAGE_SIZE = 1_000
MAX_PAGES = 2
"""How many pages of an owner's agents are examined: as many agents as an owner has by default (`agents_per_user`)."""
MAX_ONLINE = 50
"""How many online agents are read with their rules and claims."""


def sample(owner: str, intent: str) -> FleetSample:
    """The agents that accept an intent.

    Two requests for up to 1,000 agents, and three for more. The states are those of the last minutes: an index has
    them.
    """
    accepting: list[str] = []
    online: list[dict[str, Any]] = []
    start: dict[str, Any] | None = None
    for _ in range(MAX_PAGES):
        page = store.find_agents(owner, AgentQuery(capability=intent), PAGE_SIZE, start)
        accepting += [row["agent"] for row in page.rows]
        online += [row for row in page.rows if row["state"] != "inactive"]
        start = page.next_key
        if start is None or len(online) > MAX_ONLINE:
            break
    has_more = start is not None or len(online) > MAX_ONLINE
    examined = MAX_PAGES * PAGE_SIZE
    if not accepting and not has_more and not _has_agent(owner):
        examined = 0
    return FleetSample(examined, accepting, store.load_agents(online[:MAX_ONLINE]) if online else [], has_more)


def _has_agent(owner: str) -> bool:
    """Whether the owner has an agent. One request. The first rows of the index may be those of removed agents."""
    page = store.find_agents(owner, AgentQuery(), 100, None)
    return bool(page.rows) or page.next_key is not None
