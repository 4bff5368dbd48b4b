"""Events exactly as AWS delivers them, through the very package that is deployed, under AWS's own runtime client.

The files of tests/fixtures/events have the shapes that AWS documents, with all that comes along and nobody reads:

- https://docs.aws.amazon.com/apigateway/latest/developerguide/set-up-lambda-proxy-integrations.html
- https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html
- https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-run-lambda-schedule.html

Their tokens are filled in here; whom they speak of are the rows of tests/fixtures/rows/v3.
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
from infra.local import aws
from infra.local.aws import MotoChild
from infra.local.lambdas import REGION
from tests.deploy.conftest import Project
from tests.support.lambda_runtime import Function, machine

pytestmark = pytest.mark.timeout(900)

FIXTURES = Path(__file__).parents[1] / "fixtures"
KEY = "0123456789abcdef0123456789abcdef"
INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
FUNCTIONS = {"api_handler": "app.app"}
"""Handlers that are not called as their functions."""


class Account:
    """What is there: the tables with some rows, the queues, the secret; and the functions, each started when used."""

    def __init__(self, endpoint: str, directory: Path) -> None:
        self.endpoint = endpoint
        self._directory = directory
        self._running: dict[str, Function] = {}
        self.rows = {name: self._load(name) for name in ("users", "agents", "tasks")}
        aws.deploy_template("dev", endpoint)
        secret = {"current": "key-1", "key-1": KEY, "slackClientId": "", "slackClientSecret": ""}
        self.client("secretsmanager").create_secret(Name="devflow-dev-secret", SecretString=json.dumps(secret))
        for table, rows in self.rows.items():
            self.put(table, *rows)

    @cache  # noqa: B019  # there is one, for as long as the tests of this module
    def client(self, service: str) -> Any:
        client: Any = boto3.Session("test", "test", region_name=REGION).client
        return client(service, endpoint_url=self.endpoint)

    def put(self, table: str, *rows: dict[str, Any]) -> None:
        for start in range(0, len(rows), 25):
            puts = [{"PutRequest": {"Item": row}} for row in rows[start : start + 25]]
            self.client("dynamodb").batch_write_item(RequestItems={f"devflow-dev-{table}": puts})

    def task(self, task: str) -> dict[str, Any]:
        """A task's head."""
        key = {"pk": {"S": f"{self.owner}#{task}"}, "sk": {"S": "H"}}
        found: dict[str, Any] = self.client("dynamodb").get_item(TableName="devflow-dev-tasks", Key=key)["Item"]
        return found

    @property
    def owner(self) -> str:
        return str(self.rows["users"][0]["owner"]["S"])

    def send(self, function: str, event: str) -> Any:
        """What a function answers to one of the fixtures."""
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
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    """One account, and one package, for all: no test depends on what another one left."""
    child = MotoChild()
    try:
        directory = tmp_path_factory.mktemp("project")
        Project.copy(directory)
        with zipfile.ZipFile(package.build(directory, machine())) as opened:
            opened.extractall(directory / "unpacked")
        account = Account(child.endpoint(), directory)
        try:
            yield account
        finally:
            account.close()
    finally:
        child.stop()


def answered(account: Account, event: str, status: int) -> Any:
    """The body of what the API answers to an event: JSON, and a response as API Gateway takes it."""
    answer = account.send("api_handler", event)
    assert answer["statusCode"] == status, answer
    assert set(answer) <= {"statusCode", "headers", "multiValueHeaders", "body", "isBase64Encoded"}
    assert all(isinstance(value, str) for value in answer["headers"].values())
    assert answer["headers"]["Content-Type"] == "application/json"
    assert answer["headers"]["X-Content-Type-Options"] == "nosniff"
    assert re.fullmatch(r"[A-Za-z0-9._:-]{8,128}", answer["headers"]["X-Request-Id"])
    return json.loads(answer["body"])


SUBMISSIONS = {
    "api-submit": "task-1",
    "api-submit-custom-domain": "task-2",
    "api-submit-base64": "task-3",
}
"""Plain; under a domain name of its own with a base path, and headers in lower case, as HTTP/2 has them; in base64."""


@pytest.mark.parametrize("event", SUBMISSIONS)
def test_a_submission_is_accepted_however_the_gateway_hands_it_over(account: Account, event: str) -> None:
    task = SUBMISSIONS[event]
    assert answered(account, event, 202) == {"accepted": True, "taskId": task}
    assert answered(account, event, 202) == {"accepted": True, "taskId": task}, "once more is the same"
    assert account.task(task)["title"]["S"] == "Fix the login — naïve 🙂"


@pytest.mark.parametrize("event", ["api-health", "api-console-test"])
def test_health_is_told_to_everybody_also_to_the_consoles_test_which_has_no_headers(
    account: Account, event: str
) -> None:
    assert answered(account, event, 200)["status"] == "ok"


def test_a_list_takes_the_last_of_the_values_that_a_parameter_has(account: Account) -> None:
    listed = answered(account, "api-list", 200)
    assert {task["status"] for task in listed["data"]} <= {"pending"}
    assert listed["limit"] == 3


def test_an_agent_says_that_it_is_alive_and_asks_for_work(account: Account) -> None:
    assert answered(account, "api-heartbeat", 200)["success"] is True
    assert [command["task_id"] for command in answered(account, "api-poll", 200)["commands"]] == [
        "queued-first",
        "queued",
    ]


REFUSED = {
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
"""`api-no-request` is what the console of Lambda sends to a function that somebody wants to try."""


@pytest.mark.parametrize("event", REFUSED)
def test_whatever_is_refused_is_refused_in_the_shape_of_every_error(account: Account, event: str) -> None:
    status, title = REFUSED[event]
    said = answered(account, event, status)
    assert set(said) - {"details"} == {"error", "message", "statusCode", "timestamp"}
    assert (said["error"], said["statusCode"]) == (title, status)
    assert INSTANT.fullmatch(said["timestamp"])


def test_the_package_makes_the_same_document_of_the_api_as_the_code_it_is_made_of(account: Account) -> None:
    from app import app  # noqa: PLC0415  # its clients must not be built before moto stands in

    expected = json.loads(json.dumps(build(route_specs(app.routes))))
    stage = expected["components"]["schemas"]["Health"]["properties"]["stage"]
    assert stage.pop("default") == "local"
    said = answered(account, "api-openapi", 200)
    assert said["components"]["schemas"]["Health"]["properties"]["stage"].pop("default") == "dev"
    assert said == expected


def test_of_a_batch_only_what_could_not_be_handled_comes_again(account: Account) -> None:
    """A task that waits, one that is gone, one whose row is damaged, what is not ours, and one that was submitted."""
    answered(account, "api-submit", 202)
    account.put("tasks", {"pk": {"S": f"{account.owner}#damaged"}, "sk": {"S": "H"}, "status": {"S": "pending"}})
    assert account.send("run_workflows", "sqs-workflow") == failures(3)
    assert [account.task(task)["status"]["S"] for task in ("pending", "task-1")] == ["queued", "queued"]


def test_what_has_happened_is_told_and_what_is_gone_is_not_tried_again(account: Account) -> None:
    account.put("agents", {"owner": {"S": account.owner}, "agent": {"S": "damaged"}, "news": {"S": "what?"}})
    assert account.send("announce_events", "sqs-events") == failures(4)
    rows = account.client("dynamodb").query(
        TableName="devflow-dev-tasks",
        KeyConditionExpression="pk = :pk AND begins_with(sk, :event)",
        ExpressionAttributeValues={":pk": {"S": f"{account.owner}#pending"}, ":event": {"S": "E#1767605104000"}},
    )["Items"]
    assert [("dueAt" in row) for row in rows] == [False]


def test_a_delivery_that_is_gone_and_a_message_that_is_not_ours_are_not_tried_again(account: Account) -> None:
    assert account.send("deliver_webhooks", "sqs-webhooks") == failures()


def test_the_schedule_sweeps(account: Account) -> None:
    assert account.send("sweep", "schedule") is None
    lines = [json.loads(line) for line in account.function("sweep").log if line.startswith("{")]
    assert [line["message"] for line in lines if line["level"] in ("ERROR", "WARNING")] == []
    assert [line["message"] for line in lines].count("swept") == 1


def failures(*numbers: int) -> dict[str, Any]:
    """Lambda's partial batch response that names these records of a batch, by their place in it."""
    identities = [f"059f36b4-87a3-44ab-83d2-66197583000{number}" for number in numbers]
    return {"batchItemFailures": [{"itemIdentifier": identity} for identity in identities]}
