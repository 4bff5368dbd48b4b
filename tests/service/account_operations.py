"""Operations on the sessions, personal tokens and registration tokens of a user."""

from chalicelib.auth import tokens
from infra.local.gateway import Response
from tests.http.scenario import ok
from tests.service import invariants
from tests.service.operations import Operation, OperationContext, State, no_preparation

TOKEN = {"name": "ci"}
MIRRORED = 20
"""How many tokens the user's item mirrors."""


def credentials() -> State:
    """The names of the tokens, those on the user's item, and the number of sessions."""
    rows = invariants.rows("credentials")
    (user,) = invariants.rows("users")
    return {
        "tokens": sorted(row["name"] for row in rows if row["sk"].startswith("T#")),
        "mirrored": sorted(entry["name"] for entry in user["tokens"].values()),
        "sessions": len([row for row in rows if row["sk"].startswith("S#")]),
        "ended": len(user.get("ended", ())),
    }


def valid_sessions() -> State:
    """The number of sessions of the user's present version, and of tokens on the user's item."""
    (user,) = invariants.rows("users")
    sessions = [row for row in invariants.rows("credentials") if row["sk"].startswith(f"S#{user['ver']}#")]
    return {"sessions": len(sessions), "tokens": len(user["tokens"])}


def _log_in_again(context: OperationContext) -> None:
    context.scenario.user.login()


def _end_newest_session(context: OperationContext) -> Response:
    sessions = sorted(row["sk"] for row in invariants.rows("credentials") if row["sk"].startswith("S#"))
    newest = context.ids.setdefault("session", sessions[-1].rpartition("#")[2])
    return context.scenario.user.delete(f"/api/auth/sessions/{newest}")


def _create_token(context: OperationContext) -> Response:
    return context.scenario.user.post("/api/auth/tokens", TOKEN, Idempotency_Key="key-1")


def _create_mirrored_tokens(context: OperationContext) -> None:
    for _ in range(MIRRORED):
        ok(context.scenario.user.post("/api/auth/tokens", {"name": "mirrored"}), 201)


def _create_two_tokens(context: OperationContext) -> None:
    for _ in range(2):
        ok(context.scenario.user.post("/api/auth/tokens", TOKEN), 201)


def _revoke_first_token(context: OperationContext) -> Response:
    found = sorted(row["sk"] for row in invariants.rows("credentials") if row["sk"].startswith("T#"))
    first = context.ids.setdefault("token", found[0].removeprefix("T#"))
    return context.scenario.user.delete(f"/api/auth/tokens/{first}")


def registrations() -> State:
    """How many agents the registration tokens have registered, and how many agents and tokens there are."""
    rows = [row for row in invariants.rows("credentials") if row["sk"].startswith("R#")]
    (user,) = invariants.rows("users")
    return {
        "tokens": len(rows),
        "used": sum(row["used"] for row in rows),
        "agents": len(invariants.rows("agents")),
        "counted": user["agents"],
    }


def _create_registration_token(context: OperationContext) -> Response:
    path = "/api/agents/registration-tokens"
    return context.scenario.user.post(path, {"uses": 2}, Idempotency_Key="key-1")


def _prepare_registration_token(context: OperationContext) -> None:
    ok(_create_registration_token(context), 201)


def _register_with_token(context: OperationContext) -> Response:
    (row,) = [row for row in invariants.rows("credentials") if row["sk"].startswith("R#")]
    owner, token_id, created = row["owner"], row["sk"].removeprefix("R#"), int(row["createdAt"])
    token = tokens.issue("registration", owner, owner, token_id, created, expires=int(row["until"]))
    machine = context.scenario.user.acting_as(token)
    return machine.post("/api/agents", {"agentId": "machine", "name": "n", "version": "1"}, Idempotency_Key="key-2")


def _revoke_registration_token(context: OperationContext) -> Response:
    found = [row["sk"] for row in invariants.rows("credentials") if row["sk"].startswith("R#")]
    token_id = context.ids.setdefault("registration_id", "".join(found).removeprefix("R#"))
    return context.scenario.user.delete(f"/api/agents/registration-tokens/{token_id}")


ACCOUNT_OPERATIONS = {
    "create a registration token": Operation(
        no_preparation,
        _create_registration_token,
        registrations,
        {"tokens": 1, "used": 0, "agents": 1, "counted": 1},
    ),
    "register an agent with a registration token": Operation(
        _prepare_registration_token,
        _register_with_token,
        registrations,
        {"tokens": 1, "used": 1, "agents": 2, "counted": 2},
    ),
    "revoke a registration token": Operation(
        _prepare_registration_token,
        _revoke_registration_token,
        registrations,
        {"tokens": 0, "used": 0, "agents": 1, "counted": 1},
        repeat_statuses=(404,),
    ),
    "log out": Operation(
        no_preparation,
        lambda ctx: ctx.scenario.user.post("/api/auth/logout", {}),
        credentials,
        {"tokens": [], "mirrored": [], "sessions": 0, "ended": 1},
        repeat_statuses=(401,),
    ),
    "log out everywhere": Operation(
        _create_two_tokens,
        lambda ctx: ctx.scenario.user.post("/api/auth/logout", {"everywhere": True}),
        valid_sessions,
        {"tokens": 0, "sessions": 0},
        repeat_statuses=(401,),
    ),
    "end a session": Operation(
        _log_in_again,
        _end_newest_session,
        credentials,
        {"tokens": [], "mirrored": [], "sessions": 1, "ended": 1},
        repeat_statuses=(404,),
    ),
    "create a token": Operation(
        no_preparation,
        _create_token,
        credentials,
        {"tokens": ["ci"], "mirrored": ["ci"], "sessions": 1, "ended": 0},
    ),
    "create a token that is not mirrored": Operation(
        _create_mirrored_tokens,
        _create_token,
        credentials,
        {
            "tokens": ["ci", *["mirrored"] * MIRRORED],
            "mirrored": ["mirrored"] * MIRRORED,
            "sessions": 1,
            "ended": 0,
        },
    ),
    "revoke a token": Operation(
        _create_two_tokens,
        _revoke_first_token,
        credentials,
        {"tokens": ["ci"], "mirrored": ["ci"], "sessions": 1, "ended": 0},
        repeat_statuses=(404,),
    ),
}
"""Requests that change sessions and tokens. A login is not among them: repeated, it starts another session."""
