"""The steps of docs/how-to/revoke-a-user.md: changes of stored rows that revoke every token of a user."""

import re
from pathlib import Path

import boto3

from tests.http.scenario import Agent, Scenario, ok
from tests.service import invariants

HOW_TO = (Path(__file__).parents[2] / "docs" / "how-to" / "revoke-a-user.md").read_text(encoding="utf-8")


def update_row(table: str, key: dict[str, str], expression: str) -> None:
    boto3.client("dynamodb").update_item(
        TableName=f"devflow-local-{table}",
        Key={name: {"S": value} for name, value in key.items()},
        UpdateExpression=expression,
        ConditionExpression="attribute_exists(#o)",
        ExpressionAttributeNames={"#o": "owner"},
        ExpressionAttributeValues={":v": {"S": "ended-2026-11-26"}},
    )


def test_documented_steps_revoke_every_token_of_a_user(scenario: Scenario, agent: Agent) -> None:
    personal = scenario.user.acting_as(ok(scenario.user.post("/api/auth/tokens", {"name": "ci"}), 201)["token"])
    ok(personal.get("/api/tasks"))
    (user,) = invariants.rows("users")
    assert user["email"] == "user@example.com", "the scan in the document finds the user by this attribute"

    found = re.search(r"--update-expression '(SET ver[^']+)'", HOW_TO)
    assert found is not None
    update_row("users", {"owner": user["owner"]}, found[1])
    assert scenario.user.get("/api/tasks").status == 401
    assert personal.get("/api/tasks").status == 401
    assert agent.poll().status == 200, "the tokens of agents have their own version"

    update_row("agents", {"owner": user["owner"], "agent": agent.id}, "SET ver = :v")
    assert agent.poll().status == 401
