"""What moto ignores of infra/template.yaml, asserted on the template itself."""

import json
from pathlib import Path

import pytest

from chalicelib.auth.keys import parse_keyring
from tests.support import template

TABLES = template.resources("AWS::DynamoDB::Table")
QUEUES = template.resources("AWS::SQS::Queue")
CONFIG = json.loads((Path(__file__).parents[2] / ".chalice" / "config.json").read_text(encoding="utf-8"))
FED = {"EventsQueue": "announce_events", "WebhooksQueue": "deliver_webhooks", "WorkflowQueue": "run_workflows"}

every_table = pytest.mark.parametrize("name", TABLES)
every_queue = pytest.mark.parametrize("name", QUEUES)
every_fed_queue = pytest.mark.parametrize("name", FED)


def test_there_are_five_tables_and_three_queues_with_their_dead_letter_queues() -> None:
    assert sorted(template.named(table["Properties"]["TableName"], "dev") for table in TABLES.values()) == [
        "devflow-dev-agents",
        "devflow-dev-logins",
        "devflow-dev-tasks",
        "devflow-dev-users",
        "devflow-dev-webhooks",
    ]
    assert sorted(template.named(queue["Properties"]["QueueName"], "dev") for queue in QUEUES.values()) == [
        "devflow-dev-events",
        "devflow-dev-events-dead",
        "devflow-dev-webhooks",
        "devflow-dev-webhooks-dead",
        "devflow-dev-workflow",
        "devflow-dev-workflow-dead",
    ]


@every_table
def test_a_table_costs_nothing_while_idle(name: str) -> None:
    assert TABLES[name]["Properties"]["BillingMode"] == "PAY_PER_REQUEST"


@every_table
def test_a_table_is_encrypted_and_can_be_restored_to_any_second_of_the_last_weeks(name: str) -> None:
    properties = TABLES[name]["Properties"]
    assert properties["SSESpecification"] == {"SSEEnabled": True}
    assert properties["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}


@every_table
def test_a_table_outlives_its_stack_and_on_prod_cannot_be_deleted_at_all(name: str) -> None:
    assert TABLES[name]["DeletionPolicy"] == "RetainExceptOnCreate"
    assert TABLES[name]["UpdateReplacePolicy"] == "Retain"
    assert TABLES[name]["Properties"]["DeletionProtectionEnabled"] == {"Fn::If": ["IsProd", True, False]}
    assert template.load()["Conditions"]["IsProd"] == {"Fn::Equals": [{"Ref": "Stage"}, "prod"]}


def test_rows_expire_in_the_three_tables_that_have_rows_to_expire() -> None:
    expiring = {
        template.named(table["Properties"]["TableName"], "dev"): table["Properties"]["TimeToLiveSpecification"]
        for table in TABLES.values()
        if "TimeToLiveSpecification" in table["Properties"]
    }
    assert expiring == {
        "devflow-dev-logins": {"AttributeName": "expiresAt", "Enabled": True},
        "devflow-dev-tasks": {"AttributeName": "expiresAt", "Enabled": True},
        "devflow-dev-webhooks": {"AttributeName": "expiresAt", "Enabled": True},
    }


@every_table
def test_a_table_declares_exactly_the_attributes_that_its_keys_use(name: str) -> None:
    properties = TABLES[name]["Properties"]
    schemas = [properties["KeySchema"]] + [index["KeySchema"] for index in properties.get("GlobalSecondaryIndexes", [])]
    declared = [attribute["AttributeName"] for attribute in properties["AttributeDefinitions"]]
    assert sorted(declared) == sorted({key["AttributeName"] for schema in schemas for key in schema})


@every_queue
def test_a_queue_is_encrypted(name: str) -> None:
    assert QUEUES[name]["Properties"]["SqsManagedSseEnabled"] is True


@every_fed_queue
def test_a_message_stays_invisible_for_six_times_as_long_as_the_function_may_take(name: str) -> None:
    timeouts = {stage["lambda_functions"][FED[name]]["lambda_timeout"] for stage in CONFIG["stages"].values()}
    assert QUEUES[name]["Properties"]["VisibilityTimeout"] >= 6 * max(timeouts)


@every_fed_queue
def test_a_message_that_failed_five_times_is_kept_for_a_fortnight(name: str) -> None:
    redrive = QUEUES[name]["Properties"]["RedrivePolicy"]
    dead_letter = name.replace("Queue", "DeadLetterQueue")
    assert redrive["maxReceiveCount"] == 5
    assert redrive["deadLetterTargetArn"] == {"Fn::GetAtt": [dead_letter, "Arn"]}
    assert QUEUES[dead_letter]["Properties"]["MessageRetentionPeriod"] == 14 * 24 * 3600


def test_the_one_secret_is_generated_once_and_kept() -> None:
    """Word for word: were anything of it to change, CloudFormation would generate the keys anew."""
    (secret,) = template.resources("AWS::SecretsManager::Secret").values()
    assert secret["Properties"]["GenerateSecretString"] == {
        "SecretStringTemplate": '{"current": "key-1", "slackClientId": "", "slackClientSecret": ""}',
        "GenerateStringKey": "key-1",
        "PasswordLength": 64,
        "ExcludePunctuation": True,
    }
    assert (secret["DeletionPolicy"], secret["UpdateReplacePolicy"]) == ("RetainExceptOnCreate", "Retain")
    assert template.named(secret["Properties"]["Name"], "dev") == "devflow-dev-secret"


def test_what_cloudformation_generates_is_what_the_product_reads() -> None:
    (secret,) = template.resources("AWS::SecretsManager::Secret").values()
    how = secret["Properties"]["GenerateSecretString"]
    # As AWS documents it: the object of the template, with the random text under the key.
    generated = json.loads(how["SecretStringTemplate"]) | {how["GenerateStringKey"]: "x" * how["PasswordLength"]}
    ring = parse_keyring(json.dumps(generated), 0)
    assert (ring.current, len(ring.signing_key), ring.slack) == ("key-1", 64, None)


def test_no_name_is_the_same_on_two_stages() -> None:
    names = [table["Properties"]["TableName"] for table in TABLES.values()]
    names += [queue["Properties"]["QueueName"] for queue in QUEUES.values()]
    assert all("${Stage}" in name["Fn::Sub"] for name in names)


def test_what_checkov_is_not_to_ask_has_its_reason_beside_it() -> None:
    """One rule a kind of resource; `make check-infra` asks all others."""
    skipped = {
        (resource["Type"], skip["id"]): skip["comment"]
        for resource in template.load()["Resources"].values()
        for skip in resource.get("Metadata", {}).get("checkov", {}).get("skip", [])
    }
    assert {kind for kind, _ in skipped} == {
        "AWS::DynamoDB::Table",
        "AWS::Logs::LogGroup",
        "AWS::SNS::Topic",
        "AWS::SQS::Queue",
        "AWS::SecretsManager::Secret",
    }
    assert len(skipped) == 5
    assert all(len(reason.split()) > 5 for reason in skipped.values())
