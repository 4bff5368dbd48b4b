"""The event poller invokes SQS and schedule handlers as AWS does."""

import json
from collections.abc import Callable
from typing import Any

import boto3
import pytest
from chalice.app import Chalice, Rate

from infra.local.access import Access
from infra.local.event_poller import EventPoller
from infra.local.gateway import Gateway
from infra.local.local_stage import LocalStage
from infra.local.mail_catcher import MailCatcher
from tests.support import moto_aws

QUEUE = "devflow-local-workflow"
URL = "http://localhost:3000"
JSON = (("Host", "localhost:3000"), ("Content-Type", "application/json"))


class PolledApp:
    """An app with one handler of each kind, which records its events, and a poller of it."""

    def __init__(self, handle: Callable[[list[dict[str, Any]]], Any] = lambda _: None) -> None:
        self.app = Chalice("polled", configure_logs=False)
        self.batches: list[list[dict[str, Any]]] = []
        self.runs: list[dict[str, Any]] = []
        self.logged: list[str] = []

        @self.app.on_sqs_message(queue=QUEUE, batch_size=3)
        def handle_messages(event: Any) -> Any:
            self.batches.append(event.to_dict()["Records"])
            return handle(self.batches[-1])

        @self.app.schedule(Rate(1, unit=Rate.MINUTES))
        def run(event: Any) -> None:
            self.runs.append(event.to_dict())

        self.poller = EventPoller(self.app, log=self.logged.append)

    @property
    def bodies(self) -> list[list[str]]:
        return [[record["body"] for record in batch] for batch in self.batches]


def send(*bodies: str) -> None:
    client = boto3.client("sqs")
    url = client.get_queue_url(QueueName=QUEUE)["QueueUrl"]
    for body in bodies:
        client.send_message(QueueUrl=url, MessageBody=body)


def test_messages_are_handled_in_batches_and_deleted(aws: None) -> None:
    polled = PolledApp()
    send("a", "b", "c", "d")
    assert polled.poller.drain() == 4
    assert polled.bodies == [["a", "b", "c"], ["d"]]
    assert moto_aws.messages("workflow") == []
    assert polled.poller.drain() == 0


def test_record_has_the_fields_of_lambda(aws: None) -> None:
    polled = PolledApp()
    send("a")
    polled.poller.drain()
    ((record,),) = polled.batches
    assert record["eventSource"] == "aws:sqs"
    assert record["eventSourceARN"] == f"arn:aws:sqs:us-east-1:123456789012:{QUEUE}"
    assert record["attributes"]["ApproximateReceiveCount"] == "1"
    assert {"messageId", "receiptHandle", "md5OfBody", "messageAttributes", "awsRegion"} <= record.keys()


def test_message_that_a_handler_reports_as_failed_stays_in_the_queue(aws: None) -> None:
    def fail_for_b(records: list[dict[str, Any]]) -> Any:
        failed = [record["messageId"] for record in records if record["body"] == "b"]
        return {"batchItemFailures": [{"itemIdentifier": each} for each in failed]}

    polled = PolledApp(fail_for_b)
    send("a", "b", "c")
    polled.poller.drain()
    assert moto_aws.messages("workflow") == ["b"]
    assert polled.logged == ["poller: handle_messages failed for 1 of 3 messages"]


def test_batch_of_a_handler_that_raises_stays_in_the_queue(aws: None) -> None:
    def fail(_: list[dict[str, Any]]) -> Any:
        raise RuntimeError("failed")

    polled = PolledApp(fail)
    send("a", "b")
    polled.poller.drain()
    assert moto_aws.messages("workflow") == ["a", "b"]
    assert "RuntimeError: failed" in polled.logged[0]


def test_sweep_runs_every_schedule_with_an_eventbridge_event(aws: None) -> None:
    polled = PolledApp()
    polled.poller.sweep()
    ((run),) = polled.runs
    assert (run["source"], run["detail-type"], run["detail"]) == ("aws.events", "Scheduled Event", {})


def test_clock_moves_in_steps_of_a_minute_with_a_sweep_after_each(aws: None, clock: Any) -> None:
    polled = PolledApp()
    stage = LocalStage(Gateway(polled.app), polled.poller, MailCatcher(), Access(URL))
    before = clock.now
    response = stage.call("POST", "/local/clock", JSON, json.dumps({"advanceSeconds": 150}).encode())
    assert response.status == 200
    assert clock.now - before == pytest.approx(150_000, abs=5_000)
    assert len(polled.runs) == 3
    assert stage.call("GET", "/local/clock", JSON).json()["shiftedSeconds"] == response.json()["shiftedSeconds"]


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"advanceSeconds": -1}', b'{"advanceSeconds": true}', b"NaN"])
def test_invalid_movement_of_the_clock_is_rejected(aws: None, clock: Any, body: bytes) -> None:
    polled = PolledApp()
    before = clock.now
    response = LocalStage(Gateway(polled.app), polled.poller, MailCatcher(), Access(URL)).call(
        "POST", "/local/clock", JSON, body
    )
    assert (response.status, response.json()["statusCode"]) == (400, 400)
    assert clock.now - before < 5_000
    assert polled.runs == []
