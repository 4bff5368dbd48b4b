"""Operations on the sessions and personal tokens of a user."""

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


ACCOUNT_OPERATIONS = {
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
