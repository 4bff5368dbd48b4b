"""The workflow queue between submitting and claiming: lost, repeated, late, orphaned and broken messages."""

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
from tests.support import moto_aws, wire

OUT_OF_REACH = EndpointConnectionError(endpoint_url="https://example.com")


def lose_messages() -> int:
    """Remove every message from the workflow queue, as if it had never come; how many there were."""
    sqs = boto3.client("sqs")
    url = sqs.get_queue_url(QueueName="devflow-local-workflow")["QueueUrl"]
    lost = 0
    while messages := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=0).get("Messages", []):
        for message in messages:
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
            lost += 1
    return lost


def handle(scene: Scene, *bodies: str) -> list[int]:
    """Give the SQS function one batch of messages; which of them it gave back, by their place in the batch."""
    records = [
        {
            "messageId": str(place),
            "receiptHandle": "r",
            "body": body,
            "attributes": {},
            "messageAttributes": {},
            "md5OfBody": "",
            "eventSource": "aws:sqs",
            "eventSourceARN": "arn:aws:sqs:us-east-1:123456789012:devflow-local-workflow",
            "awsRegion": "us-east-1",
        }
        for place, body in enumerate(bodies)
    ]
    answer: Any = scene.poller._app.handler_map["run_workflows"]({"Records": records}, Context("run_workflows"))
    assert set(answer) == {"batchItemFailures"}
    return [int(failure["itemIdentifier"]) for failure in answer["batchItemFailures"]]


def message_of(scene: Scene, task: str) -> str:
    """Submit a task; the message that this sent."""
    scene.submit(task)
    (body,) = [body for body in moto_aws.messages("workflow") if json.loads(body)["task"] == task]
    return body


def test_a_message_carries_ids_and_nothing_else(scene: Scene) -> None:
    body = json.loads(message_of(scene, "task-1"))
    assert "task-1" in body.values()
    assert len(body) == 2


def test_a_lost_message_is_sent_again_by_the_scheduled_function(scene: Scene, clock: Clock) -> None:
    scene.submit()
    assert lose_messages() == 1
    scene.poller.sweep()
    assert moto_aws.messages("workflow") == [], "not before its time"
    clock.advance(65)
    scene.poller.sweep()
    assert len(moto_aws.messages("workflow")) == 1
    scene.run_workflows()
    assert scene.state() == "queued"
    assert scene.agent().claims() == ["task-1"]


def test_a_message_lost_five_times_fails_the_task_and_says_so(scene: Scene, clock: Clock) -> None:
    scene.submit()
    sent = 0
    for _ in range(10):
        sent += lose_messages()
        clock.advance(65)
        scene.poller.sweep()
    shown = scene.task()
    assert (shown["status"], "message" in shown["error"]) == ("failed", True)
    assert 5 <= sent <= 6, "at most five times again"
    assert scene.events() == ["created", "failed"]


def test_a_task_is_accepted_while_the_queue_is_out_of_reach(scene: Scene, clock: Clock) -> None:
    with failing("SendMessage", OUT_OF_REACH):
        scene.submit()
        clock.advance(65)
        scene.poller.sweep()
    assert scene.state() == "pending"
    clock.advance(65)
    scene.poller.sweep()
    scene.run_workflows()
    assert scene.state() == "queued"


def test_submitting_again_sends_a_lost_message_again(scene: Scene) -> None:
    scene.submit()
    lose_messages()
    scene.submit()
    scene.run_workflows()
    assert scene.state() == "queued"


def test_a_message_that_comes_twice_queues_once(scene: Scene) -> None:
    body = message_of(scene, "task-1")
    assert handle(scene, body, body) == []
    assert handle(scene, body) == []
    assert scene.events() == ["created", "queued"]


def test_a_message_that_comes_late_changes_nothing(scene: Scene, agent: Agent) -> None:
    body = message_of(scene, "task-1")
    scene.run_workflows()
    for move in (agent.claims, lambda: ok(agent.progress("task-1")), lambda: ok(agent.complete("task-1"))):
        move()
        scene.run_workflows()
        before = snapshot()
        assert handle(scene, body) == []
        assert snapshot() == before


def test_a_message_for_a_task_that_is_gone_is_acknowledged(scene: Scene) -> None:
    body = message_of(scene, "task-1")
    lose_messages()
    before = snapshot()
    assert handle(scene, body.replace("task-1", "task-2")) == []
    assert snapshot() == before


def test_a_message_that_is_not_ours_blocks_no_other(scene: Scene) -> None:
    first, last = message_of(scene, "task-1"), message_of(scene, "task-2")
    bad = ["", "garbage", "{", "[]", "null", "{}", '{"owner": 1, "task": []}', "[" * 20_000, "\0"]
    assert set(handle(scene, first, *bad, last)) <= set(range(1, 10))
    assert (scene.state("task-1"), scene.state("task-2")) == ("queued", "queued")


@pytest.mark.parametrize("operation", ["GetItem", "TransactWriteItems"])
def test_of_a_batch_only_what_failed_comes_again(scene: Scene, operation: str) -> None:
    bodies = [message_of(scene, f"task-{number}") for number in range(3)]
    with failing(operation, OUT_OF_REACH, about="task-1"):
        assert handle(scene, *bodies) == [1]
    assert [scene.state(f"task-{number}") for number in range(3)] == ["queued", "pending", "queued"]
    assert handle(scene, bodies[1]) == []
    assert scene.state("task-1") == "queued"


def test_a_handler_that_fails_for_all_gives_all_back(scene: Scene) -> None:
    bodies = [message_of(scene, f"task-{number}") for number in range(2)]
    with failing("GetItem", OUT_OF_REACH):
        assert handle(scene, *bodies) == [0, 1]
    scene.run_workflows()
    assert {scene.state("task-0"), scene.state("task-1")} == {"queued"}


def test_a_sweep_goes_on_after_an_item_that_fails(scene: Scene, clock: Clock) -> None:
    for number in range(3):
        scene.submit(f"task-{number}")
    lose_messages()
    clock.advance(65)
    with failing("GetItem", OUT_OF_REACH, about="task-1"):
        scene.poller.sweep()
    scene.run_workflows()
    assert [scene.state(f"task-{number}") for number in range(3)] == ["queued", "pending", "queued"]
    scene.poller.sweep()
    scene.run_workflows()
    assert scene.state("task-1") == "queued"


def test_a_container_asks_for_the_address_of_each_queue_once(scene: Scene) -> None:
    sqs._queue_url.cache_clear()
    hook = hooks.make(scene.user, "http://localhost:9/")
    with wire.recorded() as sent:
        for number in (1, 2):
            scene.submit(f"task-{number}")
            scene.agent(f"agent-{number}")
            hook.test()
    asked = [request.params["QueueName"] for request in sent.to("sqs") if request.operation == "GetQueueUrl"]
    assert sorted(asked) == ["devflow-local-events", "devflow-local-webhooks", "devflow-local-workflow"]
