"""A user's row is removed while a request of that user is being handled. No write may create the row again."""

from collections.abc import Callable
from typing import Any

import pytest
from moto.dynamodb.models import dynamodb_backends

from chalicelib import dynamodb
from chalicelib.auth import store
from chalicelib.core.errors import Unauthenticated
from infra.local.gateway import Response
from infra.local.lambda_context import ACCOUNT, REGION
from tests.conftest import Clock
from tests.http.scenario import Scenario, ok, refused
from tests.service import faults, invariants
from tests.support.client import Client

OWNER = "user-1"

WRITES: dict[str, Callable[[], object]] = {
    "forget ended sessions": lambda: store.delete_ended_sessions(OWNER, ["fingerprint"]),
    "end all sessions": lambda: store.end_all_sessions(OWNER, "v2"),
}

ITEMS: dict[str, Callable[[], dynamodb.TransactItem]] = {
    "remove a token": lambda: store.remove_token_item(OWNER, "token-1"),
    "end a session": lambda: store.ended_session_item(OWNER, "fingerprint"),
    "end a session without a trace": lambda: store.ended_session_item(OWNER, None),
    "one agent more": lambda: store.agent_count_item(OWNER, 1, 100),
    "one agent less": lambda: store.agent_count_item(OWNER, -1, 0),
}

REQUESTS: dict[str, Callable[[Client, str], Response]] = {
    "log out": lambda user, _: user.post("/api/auth/logout", {}),
    "log out everywhere": lambda user, _: user.post("/api/auth/logout", {"everywhere": True}),
    "end a session": lambda user, _: user.delete(f"/api/auth/sessions/{current_session(user)}"),
    "revoke a token": lambda user, token_id: user.delete(f"/api/auth/tokens/{token_id}"),
}


def current_session(user: Client) -> str:
    """The id of the session of this client."""
    (session,) = ok(user.get("/api/auth/sessions"))["data"]
    return str(session["id"])


def remove_users() -> None:
    """Delete every user's row, as an operator would. No function has a policy that allows it."""
    dynamodb_backends[ACCOUNT][REGION].tables["devflow-local-users"].items.clear()


def does_not_count(params: dict[str, Any]) -> bool:
    """Whether a request is not the one that admits the caller, which counts the call."""
    return not faults.about('"calls"')(params)


@pytest.mark.parametrize("write", WRITES)
def test_write_for_a_removed_user_is_refused_and_creates_no_row(aws: None, write: str) -> None:
    with pytest.raises(Unauthenticated):
        WRITES[write]()
    assert invariants.rows("users") == []


def test_open_tasks_of_a_removed_user_are_cleared_without_a_row(aws: None) -> None:
    store.clear_open_tasks(OWNER)
    assert invariants.rows("users") == []


@pytest.mark.parametrize("item", ITEMS)
def test_item_for_a_removed_user_cancels_its_transaction(aws: None, item: str) -> None:
    with pytest.raises(dynamodb.TransactionCancelled):
        dynamodb.transact_write(ITEMS[item]())
    assert invariants.rows("users") == []


@pytest.mark.parametrize("request_name", REQUESTS)
def test_user_removed_during_a_request_is_not_authenticated(user: Client, request_name: str) -> None:
    token_id = ok(user.post("/api/auth/tokens", {"name": "ci"}), 201)["id"]
    operation = "UpdateItem" if "everywhere" in request_name else "TransactWriteItems"
    with faults.interleaved(operation, remove_users, when=does_not_count) as fault:
        refused(REQUESTS[request_name](user, token_id), 401)
    assert fault.affected
    assert invariants.rows("users") == []


def test_clean_up_of_old_counts_creates_no_row(user: Client, clock: Clock) -> None:
    removed = 0

    def remove_at_clean_up() -> None:
        nonlocal removed
        removed += 1
        remove_users()

    with faults.interleaved("UpdateItem", remove_at_clean_up, when=is_clean_up):
        for _ in range(12):
            if removed:
                break
            ok(user.get("/api/tasks"))
            clock.advance(30 * 60)
    assert removed == 1
    assert invariants.rows("users") == []
    refused(user.get("/api/tasks"), 401)


def is_clean_up(params: dict[str, Any]) -> bool:
    return str(params["UpdateExpression"]).startswith("REMOVE")


def test_task_that_ends_after_its_user_was_removed_ends_without_the_user(user: Client, scenario: Scenario) -> None:
    agent = scenario.agent()
    scenario.start_task(agent)
    remove_users()
    ok(agent.complete("task-1"))
    scenario.poller.drain()
    (head,) = invariants.heads()
    assert head["status"] == "completed"
    assert invariants.rows("users") == []
