"""The workflow queue between submission and claim: lost, repeated, late, unknown and malformed messages."""

import json
from typing import Any

import boto3
import pytest
from botocore.exceptions import EndpointConnectionError

from chalicelib.aws import sqs
from infra.local.lambda_context import Context
from tests.conftest import Clock
from tests.http import hooks
from tests.http.scene import Agent, Scene, failing, ok, snapshot
from tests.support import aws_requests, moto_aws

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


def handle(scene: Scene, *bodies: str) -> list[int]:
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
    response: Any = scene.poller._app.handler_map["run_workflows"]({"Records": records}, Context("run_workflows"))
    assert set(response) == {"batchItemFailures"}
    return [int(failure["itemIdentifier"]) for failure in response["batchItemFailures"]]


def message_of(scene: Scene, task_id: str) -> str:
    """Submit a task. Returns the body of its message."""
    scene.submit(task_id)
    (body,) = [body for body in moto_aws.messages("workflow") if json.loads(body)["task"] == task_id]
    return body


def test_message_contains_only_ids(scene: Scene) -> None:
    body = json.loads(message_of(scene, "task-1"))
    assert "task-1" in body.values()
    assert len(body) == 2


def test_sweep_sends_a_lost_message_again(scene: Scene, clock: Clock) -> None:
    scene.submit()
    assert lose_messages() == 1
    scene.poller.sweep()
    assert moto_aws.messages("workflow") == [], "the message is not overdue yet"
    clock.advance(65)
    scene.poller.sweep()
    assert len(moto_aws.messages("workflow")) == 1
    scene.run_workflows()
    assert scene.state() == "queued"
    assert scene.agent().claims() == ["task-1"]


def test_task_fails_after_its_message_was_lost_five_times(scene: Scene, clock: Clock) -> None:
    scene.submit()
    sent = 0
    for _ in range(10):
        sent += lose_messages()
        clock.advance(65)
        scene.poller.sweep()
    task = scene.task()
    assert (task["status"], "message" in task["error"]) == ("failed", True)
    assert 5 <= sent <= 6, "at most five repetitions"
    assert scene.events() == ["created", "failed"]


def test_task_is_accepted_while_the_queue_is_unreachable(scene: Scene, clock: Clock) -> None:
    with failing("SendMessage", UNREACHABLE):
        scene.submit()
        clock.advance(65)
        scene.poller.sweep()
    assert scene.state() == "pending"
    clock.advance(65)
    scene.poller.sweep()
    scene.run_workflows()
    assert scene.state() == "queued"


def test_repeated_submission_sends_a_lost_message_again(scene: Scene) -> None:
    scene.submit()
    lose_messages()
    scene.submit()
    scene.run_workflows()
    assert scene.state() == "queued"


def test_duplicate_message_queues_a_task_once(scene: Scene) -> None:
    body = message_of(scene, "task-1")
    assert handle(scene, body, body) == []
    assert handle(scene, body) == []
    assert scene.events() == ["created", "queued"]


def test_late_message_changes_nothing(scene: Scene, agent: Agent) -> None:
    body = message_of(scene, "task-1")
    scene.run_workflows()
    for move in (agent.claims, lambda: ok(agent.progress("task-1")), lambda: ok(agent.complete("task-1"))):
        move()
        scene.run_workflows()
        before = snapshot()
        assert handle(scene, body) == []
        assert snapshot() == before


def test_message_for_an_unknown_task_is_acknowledged(scene: Scene) -> None:
    body = message_of(scene, "task-1")
    lose_messages()
    before = snapshot()
    assert handle(scene, body.replace("task-1", "task-2")) == []
    assert snapshot() == before


def test_malformed_message_does_not_block_the_others(scene: Scene) -> None:
    first, last = message_of(scene, "task-1"), message_of(scene, "task-2")
    malformed = ["", "garbage", "{", "[]", "null", "{}", '{"owner": 1, "task": []}', "[" * 20_000, "\0"]
    assert set(handle(scene, first, *malformed, last)) <= set(range(1, 10))
    assert (scene.state("task-1"), scene.state("task-2")) == ("queued", "queued")


@pytest.mark.parametrize("operation", ["GetItem", "TransactWriteItems"])
def test_only_failed_messages_of_a_batch_are_returned(scene: Scene, operation: str) -> None:
    bodies = [message_of(scene, f"task-{number}") for number in range(3)]
    with failing(operation, UNREACHABLE, about="task-1"):
        assert handle(scene, *bodies) == [1]
    assert [scene.state(f"task-{number}") for number in range(3)] == ["queued", "pending", "queued"]
    assert handle(scene, bodies[1]) == []
    assert scene.state("task-1") == "queued"


def test_all_messages_are_returned_when_all_of_them_fail(scene: Scene) -> None:
    bodies = [message_of(scene, f"task-{number}") for number in range(2)]
    with failing("GetItem", UNREACHABLE):
        assert handle(scene, *bodies) == [0, 1]
    scene.run_workflows()
    assert {scene.state("task-0"), scene.state("task-1")} == {"queued"}


def test_sweep_continues_after_an_item_that_fails(scene: Scene, clock: Clock) -> None:
    for number in range(3):
        scene.submit(f"task-{number}")
    lose_messages()
    clock.advance(65)
    with failing("GetItem", UNREACHABLE, about="task-1"):
        scene.poller.sweep()
    scene.run_workflows()
    assert [scene.state(f"task-{number}") for number in range(3)] == ["queued", "pending", "queued"]
    scene.poller.sweep()
    scene.run_workflows()
    assert scene.state("task-1") == "queued"


def test_container_requests_each_queue_url_once(scene: Scene) -> None:
    sqs._queue_url.cache_clear()
    webhook = hooks.make(scene.user, "http://localhost:9/")
    with aws_requests.recorded() as sent:
        for number in (1, 2):
            scene.submit(f"task-{number}")
            scene.agent(f"agent-{number}")
            webhook.test()
    requested = [request.params["QueueName"] for request in sent.to("sqs") if request.operation == "GetQueueUrl"]
    assert sorted(requested) == ["devflow-local-events", "devflow-local-webhooks", "devflow-local-workflow"]
