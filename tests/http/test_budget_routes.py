"""The budget of all other calls: those of users and their programs, and the messages of the queues.

test_budget.py has the frequent calls of agents. The requests are written here by hand, so an additional request is a
conscious decision.

When a condition fails, DynamoDB returns the item with the error, and moto does not. So the `GetItem` after such an
`UpdateItem` is a request that AWS does not receive.
"""

from collections import Counter

import pytest

from bench import figures
from tests.http.budget_calls import CALLS, budget_login_calls, budget_queue_calls, budget_user_calls
from tests.http.test_budget import ADMIT_USER, CHECK_IN

FIGURES = figures.load()

CREATE_COUNTER = ["UpdateItem logins", "GetItem logins", "UpdateItem logins"]
"""Counts the calls of an address, or the attempts of a login, when the row does not exist yet."""

BUDGET: dict[str, list[str]] = {
    "show an agent": [*ADMIT_USER, "GetItem agents"],
    "register an agent": [*ADMIT_USER, "TransactWriteItems agents+users", "SendMessage events"],
    "register an agent with a registration token": [
        "GetItem users", "UpdateItem credentials", *CREATE_COUNTER, "TransactWriteItems agents+credentials+users",
        "SendMessage events",
    ],
    "make a registration token": [*ADMIT_USER, "Query credentials", "TransactWriteItems credentials"],
    "page of registration tokens": [*ADMIT_USER, "Query credentials"],
    "revoke a registration token": [*ADMIT_USER, "GetItem credentials", "TransactWriteItems credentials"],
    "rename an agent": [*ADMIT_USER, CHECK_IN],
    "remove an agent": [*ADMIT_USER, CHECK_IN, "Query tasks", "TransactWriteItems agents+users"],
    "remove an agent that runs a task": [
        *ADMIT_USER, CHECK_IN, "GetItem tasks", "TransactWriteItems agents+tasks", "Query tasks",
        "TransactWriteItems agents+users",
    ],
    "new token for an agent": [*ADMIT_USER, CHECK_IN],
    "new token, asked for by its agent": [CHECK_IN, "SendMessage events"],
    "submit without an id": [*ADMIT_USER, "UpdateItem tasks", "TransactWriteItems tasks", "SendMessage workflow"],
    "show a task": [*ADMIT_USER, "BatchGetItem tasks"],
    "show a task to its agent": [CHECK_IN, "BatchGetItem tasks"],
    "cancel a task that waits": [*ADMIT_USER, "GetItem tasks", "TransactWriteItems tasks", "SendMessage events"],
    "cancel a task that runs": [*ADMIT_USER, "GetItem tasks", "TransactWriteItems agents+tasks"],
    "retry a task": [
        *ADMIT_USER, "BatchGetItem tasks", "UpdateItem tasks", "TransactWriteItems tasks", "SendMessage workflow",
    ],
    "1 KB more of a log": [CHECK_IN, "GetItem tasks", "TransactWriteItems tasks"],
    "read a log": [*ADMIT_USER, "GetItem tasks", "Query tasks"],
    "statistics": [*ADMIT_USER, *["Query tasks"] * 8, "Query agents"],
    "log in by PIN": [
        *CREATE_COUNTER, "UpdateItem logins", "GetItem logins", "GetItem users", "TransactWriteItems logins",
        "UpdateItem credentials",
    ],
    "set a PIN": [*ADMIT_USER, "UpdateItem logins", "TransactWriteItems logins"],
    "ask for a magic link": [*CREATE_COUNTER, *CREATE_COUNTER, "UpdateItem logins", "SendEmail"],
    "read a magic link": ["UpdateItem logins", "GetItem logins"],
    "log in by a magic link": [
        "UpdateItem logins", "GetItem logins", "TransactWriteItems logins", "GetItem logins", "GetItem users",
        "UpdateItem credentials",
    ],
    "page of a magic link": [],
    "set out to sign in with Slack": [*CREATE_COUNTER, "UpdateItem logins"],
    "come back from Slack": [
        "UpdateItem logins", "GetItem logins", "TransactWriteItems logins", "GetItem logins", "GetItem logins",
        "TransactWriteItems logins+users", "GetItem users", "UpdateItem credentials",
    ],
    "whose token is this": [*ADMIT_USER],
    "log out": [*ADMIT_USER, "TransactWriteItems credentials+users"],
    "page of sessions": [*ADMIT_USER, "Query credentials"],
    "end a session": [*ADMIT_USER, "GetItem credentials", "TransactWriteItems credentials+users"],
    "make a personal token": [*ADMIT_USER, "Query credentials", "TransactWriteItems credentials+users"],
    "page of personal tokens": [*ADMIT_USER, "Query credentials"],
    "revoke a personal token": [*ADMIT_USER, "TransactWriteItems credentials+users"],
    "make a webhook": [*ADMIT_USER, "TransactWriteItems webhooks"],
    "page of webhooks": [*ADMIT_USER, "Query webhooks"],
    "show a webhook": [*ADMIT_USER, "GetItem webhooks"],
    "change a webhook": [*ADMIT_USER, "UpdateItem webhooks"],
    "remove a webhook": [*ADMIT_USER, "GetItem webhooks", "TransactWriteItems webhooks"],
    "new secret for a webhook": [*ADMIT_USER, "GetItem webhooks", "UpdateItem webhooks"],
    "test a webhook": [*ADMIT_USER, "GetItem webhooks", "TransactWriteItems webhooks", "SendMessage webhooks"],
    "page of deliveries": [*ADMIT_USER, "GetItem webhooks", "Query webhooks", "BatchGetItem webhooks"],
    "redeliver": [*ADMIT_USER, "GetItem webhooks", "GetItem webhooks", "UpdateItem webhooks", "SendMessage webhooks"],
    "health": [f"GetItem {table}" for table in ("credentials", "logins", "users", "agents", "tasks", "webhooks")],
    "OpenAPI document": [],
    "dashboard, the overview": [],
    "dashboard, a list": [],
    "dashboard, a task": [],
    "dashboard, a file": [],
    "API reference": [],
    "message of the workflow queue": ["GetItem tasks", "TransactWriteItems tasks", "SendMessage events"],
    "message of the workflow queue, sent twice": ["GetItem tasks"],
    "event of a task, nobody listens": ["GetItem tasks", "Query webhooks", "UpdateItem tasks"],
    "event of a task, a webhook listens": [
        "GetItem tasks", "Query webhooks", "BatchGetItem tasks", "TransactWriteItems tasks+webhooks",
        "SendMessage webhooks",
    ],
    "end of a task, nobody listens": ["BatchGetItem tasks", "Query webhooks", "UpdateItem tasks", "UpdateItem tasks"],
    "end of a task, a webhook listens": [
        "BatchGetItem tasks", "Query webhooks", "BatchGetItem tasks", "TransactWriteItems tasks+webhooks",
        "SendMessage webhooks", "UpdateItem tasks",
    ],
    "an agent came, nobody listens": [
        "GetItem agents", "Query webhooks", "TransactWriteItems agents", "GetItem agents",
    ],
    "an agent came, a webhook listens": [
        "GetItem agents", "Query webhooks", "TransactWriteItems agents+webhooks", "SendMessage webhooks",
        "GetItem agents",
    ],
    "message of the sweep queue, 1 claim ran out": [
        "GetItem tasks", "Query tasks", "GetItem tasks", "TransactWriteItems agents+tasks",
    ],
    "delivery of a webhook": ["UpdateItem webhooks"] * 4,
    "delivery of a webhook that is refused": [
        *["UpdateItem webhooks"] * 3, "SendMessage webhooks", "UpdateItem webhooks",
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", BUDGET)
def test_call_sends_exactly_its_budgeted_requests(name: str) -> None:
    """Compares the figures of the call. test_figures.py compares the figures with the app."""
    assert Counter(FIGURES[name].requests) == Counter(BUDGET[name])


def test_every_call_has_a_budget() -> None:
    modules = {module.__name__ for module in (budget_login_calls, budget_queue_calls, budget_user_calls)}
    assert {name for name, prepare in CALLS.items() if prepare.__module__ in modules} == set(BUDGET)
