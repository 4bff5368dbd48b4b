"""A task's repository must not contain credentials. The response and the log do not repeat them."""

import boto3
import pytest

from chalicelib.core.settings import settings
from tests.http.conftest import Log
from tests.http.scenario import Scenario, ok, refused
from tests.support import moto_aws

WORK = {"intent": "fix-bug", "naturalLanguage": "Do it"}
SECRET = "s3cret-w0rd"


@pytest.mark.parametrize(
    "repo",
    [
        f"https://me:{SECRET}@github.com/acme/shop", f"https://{SECRET}@github.com/acme/shop",
        f" HTTP://{SECRET}@github.com/x", f"ssh://git:{SECRET}@github.com/acme/shop",
        f"me:{SECRET}@github.com:acme/shop",
    ],
)  # fmt: skip
def test_submission_with_credentials_is_rejected_without_repeating_them(
    scenario: Scenario, repo: str, log: Log
) -> None:
    agent = scenario.agent()
    for response in (
        scenario.user.post("/api/tasks", WORK | {"repo": repo}, Idempotency_Key="k"),
        scenario.user.post("/api/workflows/execute", WORK | {"repo": repo, "taskId": "task-1"}),
        agent.client.post("/api/workflows/execute", WORK | {"repo": repo, "taskId": "task-1"}),
    ):
        body = refused(response, 400, "Invalid request")
        assert body["message"].startswith("The field `repo` contains a password or token. ")
        assert SECRET not in response.body.decode()
    assert '"status":400' in log.text
    assert SECRET not in log.text
    assert ok(scenario.user.get("/api/tasks"))["total"] == 0


@pytest.mark.parametrize(
    "repo",
    ["git@github.com:acme/shop.git", "ssh://git@github.com/acme/shop", "https://github.com/acme/shop@v1", "acme/shop"],
)
def test_user_name_of_ssh_is_no_credential(scenario: Scenario, repo: str) -> None:
    assert scenario.submit("task-1", repo=repo) == "task-1"


def test_retry_of_a_task_whose_stored_repository_has_credentials_is_rejected(scenario: Scenario, log: Log) -> None:
    """Version 0.1.0 accepted such tasks."""
    scenario.submit("task-1")
    (head,) = [row for row in moto_aws.rows("tasks") if row.get("task") == {"S": "task-1"}]
    repo = {"S": f"https://{SECRET}@github.com/acme/shop"}
    boto3.client("dynamodb").put_item(TableName=settings.resource_name("tasks"), Item=head | {"repo": repo})
    ok(scenario.user.post("/api/tasks/task-1/cancel"))
    response = scenario.user.post("/api/tasks/task-1/retry")
    refused(response, 400, "Invalid request")
    assert SECRET not in response.body.decode()
    assert SECRET not in log.text
