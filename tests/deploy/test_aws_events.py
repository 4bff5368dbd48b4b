"""Events of AWS's exact format, handled by the deployed package under AWS's own runtime client.

The files in tests/fixtures/events have the formats that AWS documents, including the fields that the code ignores:

- https://docs.aws.amazon.com/apigateway/latest/developerguide/set-up-lambda-proxy-integrations.html
- https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html
- https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-run-lambda-schedule.html

Their tokens are inserted here. Their users, agents and tasks are the rows in tests/fixtures/rows/v3.
"""

import json
import re
import time
import zipfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import boto3
import jwt
import pytest

from chalicelib.http import route_specs
from chalicelib.openapi.document import build
from infra.deploy import package
from infra.local import local_aws
from infra.local.lambda_context import REGION
from infra.local.local_aws import MotoProcess
from tests.deploy.conftest import Project
from tests.support.lambda_runtime import Function, machine

pytestmark = pytest.mark.timeout(900)

FIXTURES = Path(__file__).parents[1] / "fixtures"
KEY = "0123456789abcdef0123456789abcdef"
INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
FUNCTIONS = {"api_handler": "app.app"}
"""The handlers that do not have the name of their function."""


class DeployedStage:
    """A stage with tables, rows, queues and a secret, and its functions, each of which starts with its first event."""

    def __init__(self, endpoint: str, directory: Path) -> None:
        self.endpoint = endpoint
        self._directory = directory
        self._running: dict[str, Function] = {}
        self.rows = {name: self._load(name) for name in ("users", "agents", "tasks")}
        local_aws.deploy_template("dev", endpoint)
        secret = {"current": "key-1", "key-1": KEY, "slackClientId": "", "slackClientSecret": ""}
        self.client("secretsmanager").create_secret(Name="devflow-dev-secret", SecretString=json.dumps(secret))
        for table, rows in self.rows.items():
            self.put(table, *rows)

    @cache  # noqa: B019  # there is one object for all tests of this module
    def client(self, service: str) -> Any:
        client: Any = boto3.Session("test", "test", region_name=REGION).client
        return client(service, endpoint_url=self.endpoint)

    def put(self, table: str, *rows: dict[str, Any]) -> None:
        for start in range(0, len(rows), 25):
            puts = [{"PutRequest": {"Item": row}} for row in rows[start : start + 25]]
            self.client("dynamodb").batch_write_item(RequestItems={f"devflow-dev-{table}": puts})

    def task(self, task_id: str) -> dict[str, Any]:
        """A task's head row."""
        key = {"pk": {"S": f"{self.owner}#{task_id}"}, "sk": {"S": "H"}}
        found: dict[str, Any] = self.client("dynamodb").get_item(TableName="devflow-dev-tasks", Key=key)["Item"]
        return found

    @property
    def owner(self) -> str:
        return str(self.rows["users"][0]["owner"]["S"])

    def send(self, function: str, event: str) -> Any:
        """Send one of the fixtures to a function and return its result."""
        text = (FIXTURES / "events" / f"{event}.json").read_text(encoding="utf-8")
        for kind, row, subject in (("user", self.rows["users"][0], "owner"), ("agent", self._agent("idle"), "agent")):
            text = text.replace(f"<{kind} token>", self._token(kind, row["ver"]["S"], row[subject]["S"]))
        return self.function(function).invoke(json.loads(text))

    def function(self, name: str) -> Function:
        if name not in self._running:
            config = json.loads((self._directory / ".chalice" / "config.json").read_text(encoding="utf-8"))
            environment = config["stages"]["dev"]["environment_variables"] | {"AWS_ENDPOINT_URL": self.endpoint}
            handler = FUNCTIONS.get(name, f"app.{name}")
            self._running[name] = Function(
                self._directory / "unpacked", handler, environment, name=f"devflow-dev-{name}"
            )
        return self._running[name]

    def close(self) -> None:
        for function in self._running.values():
            function.stop()

    @staticmethod
    def _load(table: str) -> list[dict[str, Any]]:
        text = (FIXTURES / "rows" / "v3" / f"{table}.json").read_text(encoding="utf-8")
        rows: list[dict[str, Any]] = json.loads(text)
        return rows

    def _agent(self, name: str) -> dict[str, Any]:
        return next(row for row in self.rows["agents"] if row["agent"]["S"] == name)

    def _token(self, kind: str, ver: str, subject: str) -> str:
        now = int(time.time())
        claims = {
            "iss": "devflow", "aud": "devflow-dev", "sub": subject, "own": self.owner, "typ": kind, "ver": ver,
            "jti": "0123456789abcdef", "iat": now, "exp": now + 86_400,
        }  # fmt: skip
        return jwt.encode(claims, KEY, "HS256", {"kid": "key-1"})


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DeployedStage]:
    """One stage and one package for all tests. No test depends on the data of another one."""
    child = MotoProcess()
    try:
        directory = tmp_path_factory.mktemp("project")
        Project.copy(directory)
        with zipfile.ZipFile(package.build(directory, machine())) as opened:
            opened.extractall(directory / "unpacked")
        deployed = DeployedStage(child.endpoint(), directory)
        try:
            yield deployed
        finally:
            deployed.close()
    finally:
        child.stop()


def respond(stage: DeployedStage, event: str, status: int) -> Any:
    """Send an event to the API, check that API Gateway accepts the response, and return its JSON body."""
    response = stage.send("api_handler", event)
    assert response["statusCode"] == status, response
    assert set(response) <= {"statusCode", "headers", "multiValueHeaders", "body", "isBase64Encoded"}
    assert all(isinstance(value, str) for value in response["headers"].values())
    assert response["headers"]["Content-Type"] == "application/json"
    assert response["headers"]["X-Content-Type-Options"] == "nosniff"
    assert re.fullmatch(r"[A-Za-z0-9._:-]{8,128}", response["headers"]["X-Request-Id"])
    return json.loads(response["body"])


SUBMISSIONS = {
    "api-submit": "task-1",
    "api-submit-custom-domain": "task-2",
    "api-submit-base64": "task-3",
}
"""A plain request; one with a custom domain, a base path and lower-case headers, as HTTP/2 has them; one in base64."""


@pytest.mark.parametrize("event", SUBMISSIONS)
def test_submission_is_accepted_in_every_format_of_api_gateway(stage: DeployedStage, event: str) -> None:
    task_id = SUBMISSIONS[event]
    assert respond(stage, event, 202) == {"accepted": True, "taskId": task_id}
    assert respond(stage, event, 202) == {"accepted": True, "taskId": task_id}, (
        "a repeated submission has the same response"
    )
    assert stage.task(task_id)["title"]["S"] == "Fix the login — naïve 🙂"


@pytest.mark.parametrize("event", ["api-health", "api-console-test"])
def test_health_needs_no_token_and_no_headers(stage: DeployedStage, event: str) -> None:
    """The test button of API Gateway's console sends no headers."""
    assert respond(stage, event, 200)["status"] == "ok"


def test_list_uses_the_last_value_of_a_repeated_parameter(stage: DeployedStage) -> None:
    listed = respond(stage, "api-list", 200)
    assert {task["status"] for task in listed["data"]} <= {"pending"}
    assert listed["limit"] == 3


def test_agent_sends_a_heartbeat_and_polls(stage: DeployedStage) -> None:
    assert respond(stage, "api-heartbeat", 200)["success"] is True
    assert [command["task_id"] for command in respond(stage, "api-poll", 200)["commands"]] == [
        "queued-first",
        "queued",
    ]


REJECTED = {
    "api-no-token": (401, "Invalid or expired token"),
    "api-wrong-kind-of-token": (403, "Insufficient permissions"),
    "api-unknown-task": (404, "Task not found"),
    "api-submit-wrong-json": (400, "Invalid JSON"),
    "api-submit-wrong-base64": (400, "Invalid JSON"),
    "api-submit-form": (415, "Unsupported content type"),
    "api-submit-nothing": (400, "Missing required fields"),
    "api-no-identity": (401, "Invalid email or PIN"),
    "api-preflight": (405, "Method not allowed"),
    "api-preflight-webhooks": (405, "Method not allowed"),
    "api-no-request": (404, "Not found"),
}
"""`api-no-request` is the test event of Lambda's console."""


@pytest.mark.parametrize("event", REJECTED)
def test_rejected_request_gets_an_error_of_the_documented_shape(stage: DeployedStage, event: str) -> None:
    status, title = REJECTED[event]
    error = respond(stage, event, status)
    assert set(error) - {"details"} == {"error", "message", "statusCode", "timestamp"}
    assert (error["error"], error["statusCode"]) == (title, status)
    assert INSTANT.fullmatch(error["timestamp"])


def test_package_generates_the_same_openapi_document_as_the_source(stage: DeployedStage) -> None:
    from app import app  # noqa: PLC0415  # its clients must not be created before moto is active

    expected = json.loads(json.dumps(build(route_specs(app.routes))))
    assert expected["components"]["schemas"]["Health"]["properties"]["stage"].pop("default") == "local"
    document = respond(stage, "api-openapi", 200)
    assert document["components"]["schemas"]["Health"]["properties"]["stage"].pop("default") == "dev"
    assert document == expected


def test_only_failed_messages_of_a_batch_are_returned_to_the_queue(stage: DeployedStage) -> None:
    """A waiting task, a deleted one, one with a damaged row, a message of another format, and a submitted task."""
    respond(stage, "api-submit", 202)
    stage.put("tasks", {"pk": {"S": f"{stage.owner}#damaged"}, "sk": {"S": "H"}, "status": {"S": "pending"}})
    assert stage.send("run_workflows", "sqs-workflow") == failures(3)
    assert [stage.task(task_id)["status"]["S"] for task_id in ("pending", "task-1")] == ["queued", "queued"]


def test_event_is_published_and_a_deleted_one_is_not_retried(stage: DeployedStage) -> None:
    stage.put("agents", {"owner": {"S": stage.owner}, "agent": {"S": "damaged"}, "news": {"S": "what?"}})
    assert stage.send("announce_events", "sqs-events") == failures(4)
    rows = stage.client("dynamodb").query(
        TableName="devflow-dev-tasks",
        KeyConditionExpression="pk = :pk AND begins_with(sk, :event)",
        ExpressionAttributeValues={":pk": {"S": f"{stage.owner}#pending"}, ":event": {"S": "E#1767605104000"}},
    )["Items"]
    assert [("dueAt" in row) for row in rows] == [False]


def test_deleted_delivery_and_foreign_message_are_not_retried(stage: DeployedStage) -> None:
    assert stage.send("deliver_webhooks", "sqs-webhooks") == failures()


def test_schedule_runs_the_sweep(stage: DeployedStage) -> None:
    assert stage.send("sweep", "schedule") is None
    lines = [json.loads(line) for line in stage.function("sweep").log if line.startswith("{")]
    assert [line["message"] for line in lines if line["level"] in ("ERROR", "WARNING")] == []
    assert [line["message"] for line in lines].count("swept") == 1


def test_backlog_of_the_sweep_is_processed_and_foreign_messages_are_not_retried(stage: DeployedStage) -> None:
    assert stage.send("sweep_backlog", "sqs-sweep") == failures()
    lines = [json.loads(line) for line in stage.function("sweep_backlog").log if line.startswith("{")]
    assert [line["kind"] for line in lines if line["message"] == "swept a backlog"] == ["tasks"], (
        "the other one is late"
    )


def failures(*numbers: int) -> dict[str, Any]:
    """Lambda's partial batch response for the records of a batch with these indexes."""
    message_ids = [f"059f36b4-87a3-44ab-83d2-66197583000{number}" for number in numbers]
    return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in message_ids]}
