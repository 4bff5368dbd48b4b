"""infra/deploy/resource_settings.py, over AWS in this process. tests/deploy runs the rest of it."""

import io
import json
import zipfile
from collections.abc import Iterator
from typing import Any

import boto3
import pytest

from infra.deploy import resource_settings
from infra.deploy.aws_account import AwsAccount
from infra.deploy.deploy_error import DeployError
from infra.deploy.stage import Throttling
from tests.service import faults
from tests.support import aws_requests

QUEUE = "devflow-local-workflow"


@pytest.fixture
def mapping(aws: None) -> Iterator[dict[str, Any]]:
    """An event source mapping of the workflow queue, disabled so that moto does not consume its messages."""
    trust = json.dumps({"Version": "2012-10-17", "Statement": []})
    iam, functions = boto3.client("iam"), boto3.client("lambda")
    role = iam.create_role(RoleName="runs-functions", AssumeRolePolicyDocument=trust)["Role"]["Arn"]
    code = io.BytesIO()
    with zipfile.ZipFile(code, "w") as package:
        package.writestr("app.py", "")
    functions.create_function(
        FunctionName="run_workflows",
        Runtime="python3.11",
        Role=role,
        Handler="app.run_workflows",
        Code={"ZipFile": code.getvalue()},
    )
    sqs = boto3.client("sqs")
    queue = sqs.get_queue_url(QueueName=QUEUE)["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    made = functions.create_event_source_mapping(FunctionName="run_workflows", EventSourceArn=arn, Enabled=False)
    yield made
    functions.delete_event_source_mapping(UUID=made["UUID"])
    functions.delete_function(FunctionName="run_workflows")
    iam.delete_role(RoleName="runs-functions")


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses between tries, recorded instead of slept."""
    slept: list[float] = []
    monkeypatch.setattr("time.sleep", slept.append)
    return slept


def test_mapping_that_is_still_being_created_is_updated_when_it_is_ready(
    mapping: dict[str, Any], pauses: list[float]
) -> None:
    with faults.refused("UpdateEventSourceMapping", "ResourceInUseException", times=2):
        resource_settings.apply_to_trigger(AwsAccount(), mapping["UUID"], QUEUE)
    updated = boto3.client("lambda").get_event_source_mapping(UUID=mapping["UUID"])
    assert updated["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert len(pauses) == 2


def test_mapping_that_is_never_ready_is_an_error_that_names_the_next_step(
    mapping: dict[str, Any], pauses: list[float]
) -> None:
    refused = faults.refused("UpdateEventSourceMapping", "ResourceInUseException", times=1_000)
    with refused, pytest.raises(DeployError, match=f"{QUEUE}.*Run the same command again"):
        resource_settings.apply_to_trigger(AwsAccount(), mapping["UUID"], QUEUE)
    assert 60 <= sum(pauses) <= 600


def test_other_errors_of_a_mapping_are_not_retried(mapping: dict[str, Any], pauses: list[float]) -> None:
    refused = faults.refused("UpdateEventSourceMapping", "InvalidParameterValueException", times=1_000)
    with refused, pytest.raises(Exception, match="InvalidParameterValueException"):
        resource_settings.apply_to_trigger(AwsAccount(), mapping["UUID"], QUEUE)
    assert pauses == []


@pytest.fixture
def api(aws: None) -> Iterator[str]:
    """The id of a REST API with a stage `api`, as Chalice creates it."""
    client = boto3.client("apigateway")
    api_id = client.create_rest_api(name="devflow-dev")["id"]
    root = client.get_resources(restApiId=api_id)["items"][0]["id"]
    client.put_method(restApiId=api_id, resourceId=root, httpMethod="GET", authorizationType="NONE")
    client.put_integration(restApiId=api_id, resourceId=root, httpMethod="GET", type="MOCK")
    client.create_deployment(restApiId=api_id, stageName="api")
    yield api_id
    client.delete_rest_api(restApiId=api_id)


def throttling_of(api_id: str) -> tuple[float, int]:
    settings = boto3.client("apigateway").get_stage(restApiId=api_id, stageName="api")["methodSettings"]["*/*"]
    return settings["throttlingRateLimit"], settings["throttlingBurstLimit"]


def test_throttling_of_the_api_is_set_and_changed(api: str) -> None:
    for throttling in (Throttling(100, 200), Throttling(1_000, 2_000), Throttling(100, 5_000)):
        resource_settings.apply_throttling(AwsAccount(), api, "api", throttling)
        assert throttling_of(api) == throttling


def test_throttling_that_is_set_already_is_not_written(api: str) -> None:
    resource_settings.apply_throttling(AwsAccount(), api, "api", Throttling(100, 200))
    with aws_requests.recorded() as sent:
        resource_settings.apply_throttling(AwsAccount(), api, "api", Throttling(100, 200))
    assert sent.operations == ["GetStage"]
