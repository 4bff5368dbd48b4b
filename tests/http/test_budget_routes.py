"""The budget of all other calls: people's and programs', and the messages of the queues. See test_budget.py for what
agents ask for all day. What is asked for is written out here by hand, so that a request more is somebody's decision.

Where a condition is not met, moto does not bring the item along as DynamoDB does: the `GetItem` behind such an
`UpdateItem` is a request that AWS does not see.
"""

from collections import Counter

import pytest

from bench import figures
from tests.http.budget_calls import CALLS, budget_logins, budget_queues, budget_routes
from tests.http.test_budget import COUNT, SHOW

FIGURES = figures.load()

FIRST_OF_ITS_ROW = ["UpdateItem logins", "GetItem logins", "UpdateItem logins"]
"""The count of calls of an address, or the tries of a login, when there was none: the row has to be made."""

BUDGET: dict[str, list[str]] = {
    "show an agent": [COUNT, "GetItem agents"],
    "register an agent": [COUNT, "TransactWriteItems agents+users", "SendMessage events"],
    "rename an agent": [COUNT, SHOW],
    "remove an agent": [COUNT, SHOW, "Query tasks", "TransactWriteItems agents+users"],
    "remove an agent that runs a task": [
        COUNT, SHOW, "GetItem tasks", "TransactWriteItems agents+tasks", "Query tasks",
        "TransactWriteItems agents+users",
    ],
    "new token for an agent": [COUNT, SHOW],
    "new token, asked for by its agent": [SHOW, SHOW],
    "submit without an id": [COUNT, "TransactWriteItems tasks", "SendMessage workflow"],
    "show a task": [COUNT, "BatchGetItem tasks"],
    "show a task to its agent": [SHOW, "BatchGetItem tasks"],
    "cancel a task that waits": [COUNT, "GetItem tasks", "TransactWriteItems tasks", "SendMessage events"],
    "cancel a task that runs": [COUNT, "GetItem tasks", "TransactWriteItems agents+tasks"],
    "retry a task": [COUNT, "BatchGetItem tasks", "TransactWriteItems tasks", "SendMessage workflow"],
    "1 KB more of a log": [SHOW, "GetItem tasks", "TransactWriteItems tasks"],
    "read a log": [COUNT, "GetItem tasks", "Query tasks", "Query tasks"],
    "statistics": [COUNT, *["Query tasks"] * 8, "Query agents"],
    "log in by PIN": [
        *FIRST_OF_ITS_ROW, *FIRST_OF_ITS_ROW, "GetItem logins", "GetItem users", "TransactWriteItems logins",
    ],
    "set a PIN": [COUNT, "UpdateItem logins", "TransactWriteItems logins"],
    "ask for a magic link": [*FIRST_OF_ITS_ROW, *FIRST_OF_ITS_ROW, "UpdateItem logins", "SendEmail"],
    "log in by a magic link": [
        "UpdateItem logins", "GetItem logins", "TransactWriteItems logins", "GetItem logins", "GetItem users",
    ],
    "page of a magic link": [],
    "set out to sign in with Slack": [*FIRST_OF_ITS_ROW, "UpdateItem logins"],
    "come back from Slack": [
        "UpdateItem logins", "GetItem logins", "TransactWriteItems logins", "GetItem logins",
        "TransactWriteItems logins+users", "GetItem users",
    ],
    "whose token is this": [COUNT],
    "log out": [COUNT, COUNT],
    "make a personal token": [COUNT, COUNT],
    "page of personal tokens": [COUNT],
    "revoke a personal token": [COUNT, COUNT],
    "make a webhook": [COUNT, "TransactWriteItems webhooks"],
    "page of webhooks": [COUNT, "Query webhooks"],
    "show a webhook": [COUNT, "GetItem webhooks"],
    "change a webhook": [COUNT, "UpdateItem webhooks"],
    "remove a webhook": [COUNT, "GetItem webhooks", "TransactWriteItems webhooks"],
    "new secret for a webhook": [COUNT, "GetItem webhooks", "UpdateItem webhooks"],
    "test a webhook": [COUNT, "GetItem webhooks", "TransactWriteItems webhooks", "SendMessage webhooks"],
    "page of deliveries": [COUNT, "GetItem webhooks", "Query webhooks", "BatchGetItem webhooks"],
    "redeliver": [COUNT, "GetItem webhooks", "GetItem webhooks", "UpdateItem webhooks", "SendMessage webhooks"],
    "health": [f"GetItem {table}" for table in ("logins", "users", "agents", "tasks", "webhooks")],
    "OpenAPI document": [],
    "dashboard, the overview": [],
    "dashboard, a list": [],
    "dashboard, a task": [],
    "dashboard, a file": [],
    "API reference": [],
    "message of the workflow queue": ["GetItem tasks", "TransactWriteItems tasks", "SendMessage events"],
    "message of the workflow queue, sent twice": ["GetItem tasks"],
    "event of a task, nobody listens": ["GetItem tasks", "Query webhooks", "TransactWriteItems tasks+users"],
    "event of a task, a webhook listens": [
        "GetItem tasks", "Query webhooks", "BatchGetItem tasks", "TransactWriteItems tasks+users+webhooks",
        "SendMessage webhooks",
    ],
    "an agent came, nobody listens": [
        "GetItem agents", "Query webhooks", "TransactWriteItems agents", "GetItem agents",
    ],
    "an agent came, a webhook listens": [
        "GetItem agents", "Query webhooks", "TransactWriteItems agents+webhooks", "SendMessage webhooks",
        "GetItem agents",
    ],
    "delivery of a webhook": ["UpdateItem webhooks"] * 4,
    "delivery of a webhook that is refused": [
        *["UpdateItem webhooks"] * 3, "SendMessage webhooks", "UpdateItem webhooks",
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", BUDGET)
def test_call_sends_exactly_its_budgeted_requests(name: str) -> None:
    """By its figures, which test_figures.py holds against the app."""
    assert Counter(FIGURES[name].requests) == Counter(BUDGET[name])


def test_every_call_has_a_budget() -> None:
    of_these = {module.__name__ for module in (budget_logins, budget_queues, budget_routes)}
    assert {name for name, prepare in CALLS.items() if prepare.__module__ in of_these} == set(BUDGET)
