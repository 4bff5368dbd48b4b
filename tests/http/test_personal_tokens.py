"""Personal tokens: named tokens for the programs of a user. Each is returned once and can be revoked separately."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import boto3
import pytest

from chalicelib.auth.rules import MAX_MIRRORED_TOKENS, MAX_PERSONAL_TOKENS
from tests.conftest import Clock
from tests.http.scenario import Scenario, epoch, ok, refused, snapshot
from tests.service import faults
from tests.support import costs, moto_aws
from tests.support.client import Client

PATH = "/api/auth/tokens"
DAY = 24 * 3_600


def create(client: Client, name: str = "cli", **more: Any) -> dict[str, Any]:
    body: dict[str, Any] = ok(client.post(PATH, {"name": name} | more), 201)
    return body


def list_tokens(client: Client) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = ok(client.get(PATH))["data"]
    return found


def test_token_is_returned_only_at_creation(user: Client, clock: Clock) -> None:
    body = create(user, "the command line on my laptop")
    assert set(body) == {"id", "name", "createdAt", "expiresAt", "lastUsedAt", "token"}
    assert body["name"] == "the command line on my laptop"
    assert epoch(body["expiresAt"]) - epoch(body["createdAt"]) == 30 * DAY
    (found,) = list_tokens(user)
    assert found == {name: value for name, value in body.items() if name != "token"}
    assert not [table for table in ("users", "logins") if body["token"] in str(moto_aws.rows(table))]


def test_personal_token_cannot_manage_logins_or_tokens(scenario: Scenario) -> None:
    program = scenario.user.acting_as(create(scenario.user)["token"])
    assert ok(program.get("/api/auth/me"))["user"] == ok(scenario.user.get("/api/auth/me"))["user"]
    assert ok(program.get("/api/auth/me"))["tokenId"] == list_tokens(scenario.user)[0]["id"]
    ok(program.post("/api/agents", {"agentId": "a", "name": "n", "version": "1"}), 201)
    ok(program.post("/api/tasks", {"intent": "i", "repo": "r", "naturalLanguage": "n"}), 202)
    ok(program.get("/api/tasks"))
    before = snapshot()
    for method, path, body in (
        ("GET", PATH, None),
        ("POST", PATH, {"name": "another"}),
        ("DELETE", f"{PATH}/{list_tokens(scenario.user)[0]['id']}", None),
        ("POST", "/api/auth/pin", {"pin": "271828"}),
        ("POST", "/api/auth/logout", {"everywhere": True}),
    ):
        refused(program.send(method, path, body), 403, "Insufficient permissions")
    assert snapshot() == before


def test_revoking_a_token_leaves_other_tokens_valid(user: Client) -> None:
    one, two = create(user, "one"), create(user, "two")
    assert ok(user.delete(f"{PATH}/{one['id']}")) == {"success": True}
    refused(user.acting_as(one["token"]).get("/api/auth/me"), 401, "Invalid or expired token")
    ok(user.acting_as(two["token"]).get("/api/auth/me"))
    assert [token["name"] for token in list_tokens(user)] == ["two"]
    refused(user.delete(f"{PATH}/{one['id']}"), 404, "Token not found")


def test_logout_with_a_personal_token_revokes_that_token(user: Client) -> None:
    one, two = create(user, "one"), create(user, "two")
    ok(user.acting_as(one["token"]).post("/api/auth/logout"))
    refused(user.acting_as(one["token"]).get("/api/auth/me"), 401)
    ok(user.acting_as(two["token"]).get("/api/auth/me"))
    ok(user.get("/api/auth/me"))


def test_logout_of_a_session_keeps_personal_tokens(user: Client) -> None:
    program = user.acting_as(create(user)["token"])
    ok(user.post("/api/auth/logout"))
    ok(program.get("/api/auth/me"))


def test_tokens_of_another_user_return_404(scenario: Scenario, other: Scenario) -> None:
    token = create(scenario.user)
    before = snapshot()
    refused(other.user.delete(f"{PATH}/{token['id']}"), 404, "Token not found")
    assert list_tokens(other.user) == []
    assert snapshot() == before


def test_expired_token_is_rejected_and_no_longer_list_tokens(user: Client, clock: Clock) -> None:
    program = user.acting_as(create(user, expiresInDays=1)["token"])
    longer = user.acting_as(create(user)["token"])
    clock.advance(DAY - 5)
    ok(program.get("/api/auth/me"))
    clock.advance(60)
    refused(program.get("/api/auth/me"), 401)
    ok(longer.get("/api/auth/me"))
    assert len(list_tokens(user)) == 1


def test_last_use_is_reported_to_the_hour(user: Client, fresh_minute: Clock) -> None:
    program = user.acting_as(create(user)["token"])
    assert list_tokens(user)[0]["lastUsedAt"] is None
    fresh_minute.advance(2 * 3_600)
    ok(program.get("/api/auth/me"))
    used = epoch(list_tokens(user)[0]["lastUsedAt"])
    assert used % 3_600 == 0
    assert 0 <= fresh_minute.now / 1_000 - used < 3_600


@pytest.mark.parametrize("kind", ["session", "personal", "personal, not mirrored"])
def test_call_with_any_user_token_sends_two_requests(user: Client, fresh_minute: Clock, kind: str) -> None:
    if kind == "personal, not mirrored":
        fill_users_item(user, fresh_minute)
    client = user if kind == "session" else user.acting_as(create(user)["token"])
    ok(client.get("/api/auth/me"))
    called = costs.measured(lambda: client.get("/api/auth/me"))
    assert called.requests == ("GetItem credentials", "UpdateItem users")


def fill_users_item(user: Client, clock: Clock) -> list[dict[str, Any]]:
    """Create as many tokens as the user's item mirrors. Further tokens have only their own rows."""
    clock.advance(60)  # none of these calls exceeds the rate limit
    created = [create(user, f"mirrored {number}") for number in range(MAX_MIRRORED_TOKENS)]
    clock.advance(60)
    return created


def store_tokens(owner: str, count: int, now: int, ver: str) -> None:
    """Store tokens that are not mirrored, because a thousand requests would take a minute."""
    expires, client = now + 30 * DAY * 1_000, boto3.client("dynamodb")
    for number in range(count):
        row = {
            "owner": {"S": owner}, "sk": {"S": f"T#stored-{number}"}, "ver": {"S": ver}, "name": {"S": "ci"},
            "createdAt": {"N": str(now)}, "until": {"N": str(expires)}, "expiresAt": {"N": str(expires // 1_000)},
            "mirrored": {"BOOL": False},
        }  # fmt: skip
        client.put_item(TableName="devflow-local-credentials", Item=row)


def test_user_can_have_hundreds_of_tokens(user: Client, fresh_minute: Clock) -> None:
    created = []
    for number in range(300):
        fresh_minute.advance(1)
        created.append(create(user, f"token {number}"))
    fresh_minute.advance(3_600)
    for number in (0, 19, 20, 21, 150, 299):
        ok(user.acting_as(created[number]["token"]).get("/api/auth/me"))
    page = ok(user.get(PATH, {"limit": 100, "offset": 200}))
    assert page["total"] == 300
    assert [token["name"] for token in page["data"]] == [f"token {number}" for number in reversed(range(100))]
    used = {token["name"] for token in page["data"] if token["lastUsedAt"] is not None}
    assert used == {"token 0", "token 19", "token 20", "token 21"}
    for number in (0, 21):
        ok(user.delete(f"{PATH}/{created[number]['id']}"))
        refused(user.acting_as(created[number]["token"]).get("/api/auth/me"), 401)
        refused(user.delete(f"{PATH}/{created[number]['id']}"), 404)
    assert ok(user.get(PATH))["total"] == 298
    (row,) = moto_aws.rows("users")
    assert len(row["tokens"]["M"]) == MAX_MIRRORED_TOKENS - 1


def test_logout_everywhere_revokes_tokens_that_are_not_mirrored(user: Client, anonymous: Client, clock: Clock) -> None:
    fill_users_item(user, clock)
    program = user.acting_as(create(user)["token"])
    ok(program.get("/api/auth/me"))
    token_id = ok(program.get("/api/auth/me"))["tokenId"]
    ok(user.post("/api/auth/logout", {"everywhere": True}))
    refused(program.get("/api/auth/me"), 401)
    again = anonymous.login()
    assert list_tokens(again) == []
    refused(again.delete(f"{PATH}/{token_id}"), 404)


def test_logout_with_a_token_that_is_not_mirrored_revokes_it(user: Client, clock: Clock) -> None:
    fill_users_item(user, clock)
    program = user.acting_as(create(user, "last")["token"])
    ok(program.post("/api/auth/logout"))
    refused(program.get("/api/auth/me"), 401)
    assert "last" not in [token["name"] for token in list_tokens(user)]


def test_user_has_at_most_a_thousand_tokens_that_have_not_expired(scenario: Scenario, fresh_minute: Clock) -> None:
    user, owner = scenario.user, scenario.user_id()
    (row,) = moto_aws.rows("users")
    store_tokens(owner, MAX_PERSONAL_TOKENS - 3, fresh_minute.now, row["ver"]["S"])
    for number in range(3):
        create(user, f"token {number}", expiresInDays=1)
    before = snapshot()
    refused(user.post(PATH, {"name": "one too many"}), 409, "Conflict")
    assert snapshot() == before
    fresh_minute.advance(DAY + 60)
    for number in range(3):
        create(user, f"again {number}")
    refused(user.post(PATH, {"name": "one too many"}), 409)
    assert ok(user.get(PATH))["total"] == MAX_PERSONAL_TOKENS


def test_concurrent_creation_never_mirrors_more_than_the_users_item_allows(user: Client) -> None:
    for number in range(15):
        create(user, f"token {number}")
    with ThreadPoolExecutor(8) as pool:
        responses = list(pool.map(lambda number: user.post(PATH, {"name": f"more {number}"}).status, range(12)))
    assert set(responses) <= {201, 503}
    (row,) = moto_aws.rows("users")
    assert len(row["tokens"]["M"]) <= MAX_MIRRORED_TOKENS
    assert len(list_tokens(user)) == min(20, 15 + responses.count(201))  # the default size of a page is 20


def test_repeated_request_replaces_the_token_that_was_lost(user: Client, clock: Clock) -> None:
    """The first response was lost, and with it the first token."""
    first = ok(user.post(PATH, {"name": "cli"}, Idempotency_Key="k"), 201)
    second = ok(user.post(PATH, {"name": "cli"}, Idempotency_Key="k"), 201)
    assert [token["id"] for token in list_tokens(user)] == [second["id"]]
    refused(user.acting_as(first["token"]).get("/api/auth/me"), 401)
    ok(user.acting_as(second["token"]).get("/api/auth/me"))
    refused(user.post(PATH, {"name": "else"}, Idempotency_Key="k"), 409)
    ok(user.post(PATH, {"name": "cli"}, Idempotency_Key="another"), 201)
    clock.advance(601)
    ok(user.post(PATH, {"name": "else"}, Idempotency_Key="k"), 201)
    assert len(list_tokens(user)) == 3


def test_tokens_are_listed_in_pages(user: Client, clock: Clock) -> None:
    for number in range(5):
        create(user, f"token {number}")
        clock.advance(1)
    names, cursor = [], None
    while True:
        page = ok(user.get(PATH, {"limit": 2} | ({"cursor": cursor} if cursor else {})))
        assert (page["total"], page["limit"]) == (5, 2)
        names += [token["name"] for token in page["data"]]
        cursor = page["nextCursor"]
        if not page["hasMore"]:
            break
    assert names == [f"token {number}" for number in (4, 3, 2, 1, 0)]
    assert [token["name"] for token in ok(user.get(PATH, {"limit": 2, "offset": 3}))["data"]] == ["token 1", "token 0"]


def test_cursor_stays_valid_when_its_last_token_was_revoked(user: Client, clock: Clock) -> None:
    for number in range(3):
        create(user, f"token {number}")
        clock.advance(1)
    page = ok(user.get(PATH, {"limit": 2}))
    ok(user.delete(f"{PATH}/{page['data'][-1]['id']}"))
    rest = ok(user.get(PATH, {"limit": 2, "cursor": page["nextCursor"]}))
    assert [token["name"] for token in rest["data"]] == ["token 0"]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"name": " "},
        {"name": "x" * 101},
        {"name": 5},
        {"name": "n", "expiresInDays": 0},
        {"name": "n", "expiresInDays": 31},
        {"name": "n", "expiresInDays": "1"},
    ],
)
def test_invalid_request_creates_no_token(user: Client, body: dict[str, Any]) -> None:
    refused(user.post(PATH, body), 400)
    assert list_tokens(user) == []


def test_user_stored_without_tokens_can_create_the_first(user: Client) -> None:
    (row,) = moto_aws.rows("users")
    boto3.client("dynamodb").update_item(
        TableName="devflow-local-users", Key={"owner": row["owner"]}, UpdateExpression="REMOVE tokens"
    )
    assert list_tokens(user) == []
    program = user.acting_as(create(user)["token"])
    ok(program.get("/api/auth/me"))
    assert len(list_tokens(user)) == 1


@pytest.mark.parametrize("mirrored", [True, False])
def test_token_is_created_once_when_the_response_was_lost(user: Client, clock: Clock, *, mirrored: bool) -> None:
    if not mirrored:
        fill_users_item(user, clock)
    with faults.response_lost("TransactWriteItems") as lost:
        last = create(user, "the last")
    assert len(lost.affected) == 1
    assert [token["name"] for token in list_tokens(user)].count("the last") == 1
    ok(user.acting_as(last["token"]).get("/api/auth/me"))


def test_repeated_request_replaces_a_token_that_is_not_mirrored(user: Client, clock: Clock) -> None:
    fill_users_item(user, clock)
    first = ok(user.post(PATH, {"name": "cli"}, Idempotency_Key="k"), 201)
    second = ok(user.post(PATH, {"name": "cli"}, Idempotency_Key="k"), 201)
    refused(user.acting_as(first["token"]).get("/api/auth/me"), 401)
    ok(user.acting_as(second["token"]).get("/api/auth/me"))
    assert ok(user.get(PATH))["total"] == MAX_MIRRORED_TOKENS + 1


@pytest.mark.parametrize("mirrored", [True, False])
def test_user_deleted_during_creation_gets_no_token(user: Client, clock: Clock, *, mirrored: bool) -> None:
    if not mirrored:
        fill_users_item(user, clock)
    with faults.interleaved("TransactWriteItems", moto_aws.empty):
        refused(user.post(PATH, {"name": "cli"}), 401)
    assert moto_aws.rows("users") == moto_aws.rows("credentials") == []


def test_session_that_ends_everywhere_during_creation_gets_no_token(user: Client, anonymous: Client) -> None:
    other = anonymous.login()
    with faults.interleaved("TransactWriteItems", lambda: ok(other.post("/api/auth/logout", {"everywhere": True}))):
        refused(user.post(PATH, {"name": "cli"}), 401)
    assert list_tokens(anonymous.login()) == []


def test_token_that_is_revoked_twice_at_once_stays_revoked(user: Client, clock: Clock) -> None:
    fill_users_item(user, clock)
    token = create(user, "twice")
    path = f"{PATH}/{token['id']}"
    with faults.interleaved("TransactWriteItems", lambda: ok(user.delete(path))):
        ok(user.delete(path))
    refused(user.acting_as(token["token"]).get("/api/auth/me"), 401)


def test_program_that_logs_out_while_its_token_is_revoked_gets_success(user: Client, clock: Clock) -> None:
    fill_users_item(user, clock)
    token = create(user, "twice")
    program = user.acting_as(token["token"])
    reads: list[object] = []

    def is_second_read(params: dict[str, Any]) -> bool:
        reads.append(params)
        return len(reads) == 2

    with faults.interleaved("GetItem", lambda: ok(user.delete(f"{PATH}/{token['id']}")), when=is_second_read):
        ok(program.post("/api/auth/logout"))
    refused(program.get("/api/auth/me"), 401)
