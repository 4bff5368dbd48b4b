"""The pump feeds SQS and schedule handlers as AWS would."""

import json
from collections.abc import Callable
from typing import Any

import boto3
import pytest
from chalice.app import Chalice, Rate

from infra.local.clock import LocalStage
from infra.local.gateway import Gateway
from infra.local.postbox import Postbox
from infra.local.pump import Pump
from tests.support import moto_aws

QUEUE = "devflow-local-workflow"


class Feed:
    """An app with one handler of each kind, and what they were called with."""

    def __init__(self, handle: Callable[[list[dict[str, Any]]], Any] = lambda _: None) -> None:
        self.app = Chalice("feed", configure_logs=False)
        self.batches: list[list[dict[str, Any]]] = []
        self.runs: list[dict[str, Any]] = []
        self.logged: list[str] = []

        @self.app.on_sqs_message(queue=QUEUE, batch_size=3)
        def take(event: Any) -> Any:
            self.batches.append(event.to_dict()["Records"])
            return handle(self.batches[-1])

        @self.app.schedule(Rate(1, unit=Rate.MINUTES))
        def look(event: Any) -> None:
            self.runs.append(event.to_dict())

        self.pump = Pump(self.app, log=self.logged.append)

    @property
    def bodies(self) -> list[list[str]]:
        return [[record["body"] for record in batch] for batch in self.batches]


def send(*bodies: str) -> None:
    client = boto3.client("sqs")
    url = client.get_queue_url(QueueName=QUEUE)["QueueUrl"]
    for body in bodies:
        client.send_message(QueueUrl=url, MessageBody=body)


def test_messages_come_in_batches_and_are_gone_once_handled(aws: None) -> None:
    feed = Feed()
    send("a", "b", "c", "d")
    assert feed.pump.drain() == 4
    assert feed.bodies == [["a", "b", "c"], ["d"]]
    assert moto_aws.messages("workflow") == []
    assert feed.pump.drain() == 0


def test_a_record_has_what_lambda_gives_it(aws: None) -> None:
    feed = Feed()
    send("a")
    feed.pump.drain()
    ((record,),) = feed.batches
    assert record["eventSource"] == "aws:sqs"
    assert record["eventSourceARN"] == f"arn:aws:sqs:us-east-1:123456789012:{QUEUE}"
    assert record["attributes"]["ApproximateReceiveCount"] == "1"
    assert {"messageId", "receiptHandle", "md5OfBody", "messageAttributes", "awsRegion"} <= record.keys()


def test_what_a_handler_gives_back_stays_in_the_queue(aws: None) -> None:
    def refuse_b(records: list[dict[str, Any]]) -> Any:
        bad = [record["messageId"] for record in records if record["body"] == "b"]
        return {"batchItemFailures": [{"itemIdentifier": each} for each in bad]}

    feed = Feed(refuse_b)
    send("a", "b", "c")
    feed.pump.drain()
    assert moto_aws.messages("workflow") == ["b"]
    assert feed.logged == ["pump: take gave back 1 of 3 messages"]


def test_a_handler_that_raises_leaves_its_whole_batch_in_the_queue(aws: None) -> None:
    def burst(_: list[dict[str, Any]]) -> Any:
        raise RuntimeError("no")

    feed = Feed(burst)
    send("a", "b")
    feed.pump.drain()
    assert moto_aws.messages("workflow") == ["a", "b"]
    assert "RuntimeError: no" in feed.logged[0]


def test_a_sweep_runs_every_schedule_with_an_event_of_eventbridge(aws: None) -> None:
    feed = Feed()
    feed.pump.sweep()
    ((run),) = feed.runs
    assert (run["source"], run["detail-type"], run["detail"]) == ("aws.events", "Scheduled Event", {})


def test_the_clock_moves_a_minute_at_a_time_with_a_sweep_after_each(aws: None, clock: Any) -> None:
    feed = Feed()
    stage = LocalStage(Gateway(feed.app), feed.pump, Postbox())
    before = clock.now
    answer = stage.call("POST", "/local/clock", body=json.dumps({"advanceSeconds": 150}).encode())
    assert answer.status == 200
    assert clock.now - before == pytest.approx(150_000, abs=5_000)
    assert len(feed.runs) == 3
    assert stage.call("GET", "/local/clock").json()["shiftedSeconds"] == answer.json()["shiftedSeconds"]


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"advanceSeconds": -1}', b'{"advanceSeconds": true}', b"NaN"])
def test_the_clock_moves_forward_or_not_at_all(aws: None, clock: Any, body: bytes) -> None:
    feed = Feed()
    before = clock.now
    answer = LocalStage(Gateway(feed.app), feed.pump, Postbox()).call("POST", "/local/clock", body=body)
    assert (answer.status, answer.json()["statusCode"]) == (400, 400)
    assert clock.now - before < 5_000
    assert feed.runs == []
