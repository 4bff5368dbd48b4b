"""Sessions and personal tokens of version 0.1.0, which stored them only on the user's item, and a rollback to it.

Version 0.1.0 accepted a session while its `ver` was the item's and its fingerprint was not in `ended`. It accepted a
personal token while its id was in the map `tokens`.
"""

from collections.abc import Mapping
from typing import Any

import boto3
import pytest
from botocore.exceptions import ConnectTimeoutError

from chalicelib.auth import rules, sessions, store, tokens
from chalicelib.auth.entities import LoginOrigin
from chalicelib.auth.rules import MAX_ENDED_SESSIONS
from tests.conftest import Clock
from tests.http.scenario import Scenario, failing, ok, refused
from tests.service import faults, invariants
from tests.support.client import Client

SESSIONS, TOKENS, ME, LOGOUT = "/api/auth/sessions", "/api/auth/tokens", "/api/auth/me", "/api/auth/logout"
HOUR = 3_600


@pytest.fixture
def earlier(scenario: Scenario, clock: Clock) -> Client:
    """A session that version 0.1.0 has started."""
    return start_earlier(scenario, clock)


def start_earlier(scenario: Scenario, clock: Clock) -> Client:
    owner = scenario.user_id()
    user = store.load_user(owner)
    assert user is not None
    return scenario.user.acting_as(tokens.issue("user", owner, owner, user.ver, clock.now))


def listed(client: Client) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = ok(client.get(SESSIONS, {"limit": 100}))["data"]
    return found


def current_id(client: Client) -> str:
    (found,) = [each["id"] for each in listed(client) if each["current"]]
    return str(found)


def user_row() -> Mapping[str, Any]:
    (row,) = invariants.rows("users")
    return row


def update_user(expression: str, names: Mapping[str, str], **values: Any) -> None:
    boto3.client("dynamodb").update_item(
        TableName="devflow-local-users",
        Key={"owner": {"S": user_row()["owner"]}},
        UpdateExpression=expression,
        **({"ExpressionAttributeNames": names} if names else {}),
        **({"ExpressionAttributeValues": {f":{name}": value for name, value in values.items()}} if values else {}),
    )


def fingerprint_of(client: Client, clock: Clock) -> str:
    caller = tokens.verify(client.token, clock.now)
    return rules.session_fingerprint(caller.id, caller.expires)


def logged_out_sessions(user: Client, clock: Clock, count: int) -> list[Client]:
    """Start this many sessions of the user and end them."""
    ended = []
    owner = store.load_user(user_row()["owner"])
    assert owner is not None
    for _ in range(count):
        clock.advance(10)
        ended.append(user.acting_as(sessions.start_session(owner, LoginOrigin("192.0.2.1", "test"), clock.now).token))
        ok(ended[-1].post(LOGOUT))
    return ended


# An upgrade from version 0.1.0.


def test_earlier_session_works_and_is_listed_after_its_first_call(scenario: Scenario, earlier: Client) -> None:
    assert len(listed(scenario.user)) == 1
    ok(earlier.get(ME))
    found = listed(earlier)
    assert sorted(each["current"] for each in found) == [False, True]
    (own,) = [each for each in found if each["current"]]
    assert (own["address"], own["userAgent"]) == (None, None)
    assert own["expiresAt"] == ok(earlier.get(ME))["expiresAt"]


def test_earlier_session_is_stored_once(scenario: Scenario, earlier: Client, clock: Clock) -> None:
    with faults.interleaved("UpdateItem", lambda: ok(earlier.get(ME)), when=faults.about("adopted")) as fault:
        ok(earlier.get(ME))
    assert fault.affected
    assert len(listed(scenario.user)) == 2
    clock.advance(HOUR)
    ok(earlier.get(ME))
    assert len(listed(scenario.user)) == 2


def test_earlier_session_works_where_it_cannot_be_stored(scenario: Scenario, earlier: Client) -> None:
    with failing("UpdateItem", ConnectTimeoutError(endpoint_url="-"), about="adopted"):
        ok(earlier.get(ME))
        ok(earlier.post(LOGOUT))
        refused(earlier.get(ME), 401)
    refused(earlier.get(ME), 401)
    assert len(listed(scenario.user)) == 1


@pytest.mark.parametrize("how", ["logout", "end"])
def test_ended_earlier_session_stays_ended_after_many_logouts(
    scenario: Scenario, earlier: Client, clock: Clock, how: str
) -> None:
    session_id = current_id(earlier)
    if how == "logout":
        ok(earlier.post(LOGOUT))
    else:
        ok(scenario.user.delete(f"{SESSIONS}/{session_id}"))
    refused(earlier.get(ME), 401)
    logged_out_sessions(scenario.user, clock, MAX_ENDED_SESSIONS + 5)
    refused(earlier.get(ME), 401)
    update_user("REMOVE ended", {})
    refused(earlier.get(ME), 401)
    refused(scenario.user.delete(f"{SESSIONS}/{session_id}"), 404, "Session not found")
    assert [each["current"] for each in listed(scenario.user)] == [True]


def test_session_that_the_earlier_version_ended_stays_ended(scenario: Scenario, clock: Clock) -> None:
    """It has no row, so its fingerprint stays on the user's item until its token expires."""
    ended = [start_earlier(scenario, clock) for _ in range(MAX_ENDED_SESSIONS)]
    update_user("SET ended = :ended", {}, ended={"SS": [fingerprint_of(each, clock) for each in ended]})
    later = logged_out_sessions(scenario.user, clock, 5)
    for session in (*ended, *later):
        clock.advance(1)
        refused(session.get(ME), 401)
    assert len(user_row()["ended"]) == MAX_ENDED_SESSIONS
    clock.advance(30 * 24 * HOUR + 120)
    (last,) = logged_out_sessions(scenario.user, clock, 1)
    assert user_row()["ended"] == [fingerprint_of(last, clock)]


def test_earlier_session_ends_with_the_others_everywhere(scenario: Scenario, earlier: Client) -> None:
    ok(earlier.get(ME))
    ok(scenario.user.post(LOGOUT, {"everywhere": True}))
    refused(earlier.get(ME), 401)


def test_earlier_personal_token_is_listed_and_can_be_revoked(scenario: Scenario, clock: Clock) -> None:
    owner = scenario.user_id()
    entry = {"name": {"S": "old"}, "createdAt": {"N": str(clock.now)}, "expiresAt": {"N": str(clock.now + 86_400_000)}}
    update_user("SET tokens.#id = :entry", {"#id": "old"}, entry={"M": entry})
    program = scenario.user.acting_as(tokens.issue("personal", owner, owner, "old", clock.now))
    assert ok(program.get(ME))["tokenId"] == "old"
    ok(scenario.user.post(TOKENS, {"name": "new"}), 201)
    found = {each["name"]: each for each in ok(scenario.user.get(TOKENS))["data"]}
    assert set(found) == {"old", "new"}
    assert found["old"]["lastUsedAt"] is not None
    ok(scenario.user.delete(f"{TOKENS}/old"))
    refused(program.get(ME), 401)
    refused(scenario.user.delete(f"{TOKENS}/old"), 404)


# A rollback to version 0.1.0, which knows only the user's item, and a second upgrade.


def test_rollback_finds_ended_sessions_and_tokens_on_the_users_item(scenario: Scenario, clock: Clock) -> None:
    ended = logged_out_sessions(scenario.user, clock, MAX_ENDED_SESSIONS + 5)
    token = ok(scenario.user.post(TOKENS, {"name": "ci"}), 201)
    row = user_row()
    assert set(row["ended"]) == {fingerprint_of(each, clock) for each in ended[5:]}, "the newest ones"
    assert set(row["tokens"]) == {token["id"]}
    assert {"name", "createdAt", "expiresAt"} <= set(row["tokens"][token["id"]])
    assert tokens.verify(scenario.user.token, clock.now).ver == row["ver"]


def test_session_that_was_ended_during_a_rollback_stays_ended(scenario: Scenario, clock: Clock) -> None:
    update_user("ADD ended :ended", {}, ended={"SS": [fingerprint_of(scenario.user, clock)]})
    refused(scenario.user.get(ME), 401)


def test_token_that_was_revoked_during_a_rollback_stays_revoked(scenario: Scenario) -> None:
    token = ok(scenario.user.post(TOKENS, {"name": "ci"}), 201)
    update_user("REMOVE tokens.#id", {"#id": token["id"]})
    refused(scenario.user.acting_as(token["token"]).get(ME), 401)
    assert ok(scenario.user.get(TOKENS))["total"] == 0
    refused(scenario.user.delete(f"{TOKENS}/{token['id']}"), 404)


def test_token_survives_the_logout_of_all_sessions_during_a_rollback(scenario: Scenario) -> None:
    """The fifty-first logout within a month changed the user's version and kept the tokens."""
    token = ok(scenario.user.post(TOKENS, {"name": "ci"}), 201)
    update_user("SET ver = :ver REMOVE ended", {}, ver={"S": "another"})
    refused(scenario.user.get(ME), 401)
    ok(scenario.user.acting_as(token["token"]).get(ME))
    assert ok(scenario.user.acting_as(None).login().get(TOKENS))["total"] == 1
