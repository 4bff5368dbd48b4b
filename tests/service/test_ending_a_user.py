"""What docs/how-to/revoke-a-user.md tells an operator to do: rows changed by hand end every token."""

import re
from pathlib import Path

import boto3

from tests.http.scene import Agent, Scene, ok
from tests.service import invariants

SAYS = (Path(__file__).parents[2] / "docs" / "how-to" / "revoke-a-user.md").read_text(encoding="utf-8")


def by_hand(table: str, key: dict[str, str], expression: str) -> None:
    boto3.client("dynamodb").update_item(
        TableName=f"devflow-local-{table}",
        Key={name: {"S": value} for name, value in key.items()},
        UpdateExpression=expression,
        ConditionExpression="attribute_exists(#o)",
        ExpressionAttributeNames={"#o": "owner"},
        ExpressionAttributeValues={":v": {"S": "ended-2026-11-26"}},
    )


def test_every_token_of_a_user_who_leaves_is_dead(scene: Scene, agent: Agent) -> None:
    personal = scene.user.acting_as(ok(scene.user.post("/api/auth/tokens", {"name": "ci"}), 201)["token"])
    ok(personal.get("/api/tasks"))
    (user,) = invariants.rows("users")
    assert user["email"] == "user@example.com", "as the scan of the document finds it"

    found = re.search(r"--update-expression '(SET ver[^']+)'", SAYS)
    assert found is not None
    by_hand("users", {"owner": user["owner"]}, found[1])
    assert scene.user.get("/api/tasks").status == 401
    assert personal.get("/api/tasks").status == 401
    assert agent.poll().status == 200, "agents have tokens of their own"

    by_hand("agents", {"owner": user["owner"], "agent": agent.id}, "SET ver = :v")
    assert agent.poll().status == 401
