"""The workflow queue between submission and claim: lost, repeated, late, unknown and malformed messages."""

import json
from typing import Any

import boto3
import pytest
from botocore.exceptions import EndpointConnectionError

from chalicelib.aws import sqs
from infra.local.lambda_context import Context
from tests.conftest import Clock
from tests.http.scenario import Agent, Scenario, failing, ok, snapshot
from tests.http.webhook_helpers import create_webhook
from tests.support import aws_requests, moto_aws
from tests.support.container import new_container

UNREACHABLE = EndpointConnectionError(endpoint_url="https://example.com")


def lose_messages() -> int:
    """Remove all messages from the workflow queue, as if they were lost. Returns the number of messages."""
    sqs = boto3.client("sqs")
    url = sqs.get_queue_url(QueueName="devflow-local-workflow")["QueueUrl"]
    lost = 0
    while messages := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=0).get("Messages", []):
        for message in messages:
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
            lost += 1
    return lost


def handle(scenario: Scenario, *bodies: str) -> list[int]:
    """Pass one batch of messages to the SQS function. Returns the indexes of the messages that failed."""
    records = [
        {
            "messageId": str(index),
            "receiptHandle": "r",
            "body": body,
            "attributes": {},
            "messageAttributes": {},
            "md5OfBody": "",
            "eventSource": "aws:sqs",
            "eventSourceARN": "arn:aws:sqs:us-east-1:123456789012:devflow-local-workflow",
            "awsRegion": "us-east-1",
        }
        for index, body in enumerate(bodies)
    ]
    response: Any = scenario.poller._app.handler_map["run_workflows"]({"Records": records}, Context("run_workflows"))
    assert set(response) == {"batchItemFailures"}
    return [int(failure["itemIdentifier"]) for failure in response["batchItemFailures"]]


def message_of(scenario: Scenario, task_id: str) -> str:
    """Submit a task. Returns the body of its message."""
    scenario.submit(task_id)
    (body,) = [body for body in moto_aws.messages("workflow") if json.loads(body)["task"] == task_id]
    return body


def test_message_contains_only_ids(scenario: Scenario) -> None:
    body = json.loads(message_of(scenario, "task-1"))
    assert "task-1" in body.values()
    assert len(body) == 2


def test_sweep_queues_a_task_whose_message_was_lost(scenario: Scenario, clock: Clock) -> None:
    scenario.submit()
    assert lose_messages() == 1
    scenario.poller.sweep()
    assert scenario.task_status() == "pending", "the message is not overdue yet"
    clock.advance(65)
    scenario.poller.sweep()
    assert moto_aws.messages("workflow") == []
    assert scenario.event_types() == ["created", "queued"]
    assert scenario.agent().claims() == ["task-1"]


def test_task_is_accepted_and_queued_while_the_queue_is_unreachable(scenario: Scenario, clock: Clock) -> None:
    with failing("SendMessage", UNREACHABLE):
        scenario.submit()
        assert scenario.task_status() == "pending"
        clock.advance(65)
        scenario.poller.sweep()
    assert scenario.task_status() == "queued"


def test_repeated_submission_sends_a_lost_message_again(scenario: Scenario) -> None:
    scenario.submit()
    lose_messages()
    scenario.submit()
    scenario.run_workflows()
    assert scenario.task_status() == "queued"


def test_duplicate_message_queues_a_task_once(scenario: Scenario) -> None:
    body = message_of(scenario, "task-1")
    assert handle(scenario, body, body) == []
    assert handle(scenario, body) == []
    assert scenario.event_types() == ["created", "queued"]


def test_late_message_changes_nothing(scenario: Scenario, agent: Agent) -> None:
    body = message_of(scenario, "task-1")
    scenario.run_workflows()
    for move in (agent.claims, lambda: ok(agent.progress("task-1")), lambda: ok(agent.complete("task-1"))):
        move()
        scenario.run_workflows()
        before = snapshot()
        assert handle(scenario, body) == []
        assert snapshot() == before


def test_message_for_an_unknown_task_is_acknowledged(scenario: Scenario) -> None:
    body = message_of(scenario, "task-1")
    lose_messages()
    before = snapshot()
    assert handle(scenario, body.replace("task-1", "task-2")) == []
    assert snapshot() == before


def test_malformed_message_does_not_block_the_others(scenario: Scenario) -> None:
    first, last = message_of(scenario, "task-1"), message_of(scenario, "task-2")
    malformed = ["", "garbage", "{", "[]", "null", "{}", '{"owner": 1, "task": []}', "[" * 20_000, "\0"]
    assert set(handle(scenario, first, *malformed, last)) <= set(range(1, 10))
    assert (scenario.task_status("task-1"), scenario.task_status("task-2")) == ("queued", "queued")


@pytest.mark.parametrize("operation", ["GetItem", "TransactWriteItems"])
def test_only_failed_messages_of_a_batch_are_returned(scenario: Scenario, operation: str) -> None:
    bodies = [message_of(scenario, f"task-{number}") for number in range(3)]
    with failing(operation, UNREACHABLE, about="task-1"):
        assert handle(scenario, *bodies) == [1]
    assert [scenario.task_status(f"task-{number}") for number in range(3)] == ["queued", "pending", "queued"]
    assert handle(scenario, bodies[1]) == []
    assert scenario.task_status("task-1") == "queued"


def test_all_messages_are_returned_when_all_of_them_fail(scenario: Scenario) -> None:
    bodies = [message_of(scenario, f"task-{number}") for number in range(2)]
    with failing("GetItem", UNREACHABLE):
        assert handle(scenario, *bodies) == [0, 1]
    new_container()
    scenario.run_workflows()
    assert {scenario.task_status("task-0"), scenario.task_status("task-1")} == {"queued"}


def test_sweep_continues_after_an_item_that_fails(scenario: Scenario, clock: Clock) -> None:
    for number in range(3):
        scenario.submit(f"task-{number}")
    lose_messages()
    clock.advance(65)
    with failing("GetItem", UNREACHABLE, about="task-1"):
        scenario.poller.sweep()
    scenario.run_workflows()
    assert [scenario.task_status(f"task-{number}") for number in range(3)] == ["queued", "pending", "queued"]
    scenario.poller.sweep()
    scenario.run_workflows()
    assert scenario.task_status("task-1") == "queued"


def test_container_requests_each_queue_url_once(scenario: Scenario) -> None:
    sqs._queue_url.cache_clear()
    webhook = create_webhook(scenario.user, "http://localhost:9/")
    with aws_requests.recorded() as sent:
        for number in (1, 2):
            scenario.submit(f"task-{number}")
            scenario.agent(f"agent-{number}")
            webhook.test()
    requested = [request.params["QueueName"] for request in sent.to("sqs") if request.operation == "GetQueueUrl"]
    assert sorted(requested) == ["devflow-local-events", "devflow-local-webhooks", "devflow-local-workflow"]
