"""The parts of infra/template.yaml that moto ignores, checked in the template itself."""

import json
from pathlib import Path

import pytest

from chalicelib.auth.keys import parse_keyring
from tests.support import template

TABLES = template.resources("AWS::DynamoDB::Table")
QUEUES = template.resources("AWS::SQS::Queue")
CONFIG = json.loads((Path(__file__).parents[2] / ".chalice" / "config.json").read_text(encoding="utf-8"))
FUNCTION_OF_QUEUE = {
    "EventsQueue": "announce_events",
    "SweepQueue": "sweep_backlog",
    "WebhooksQueue": "deliver_webhooks",
    "WorkflowQueue": "run_workflows",
}

every_table = pytest.mark.parametrize("name", TABLES)
every_queue = pytest.mark.parametrize("name", QUEUES)
every_invoking_queue = pytest.mark.parametrize("name", FUNCTION_OF_QUEUE)


def test_template_has_six_tables_and_four_queues_with_dead_letter_queues() -> None:
    assert sorted(template.resolve_name(table["Properties"]["TableName"], "dev") for table in TABLES.values()) == [
        "devflow-dev-agents",
        "devflow-dev-credentials",
        "devflow-dev-logins",
        "devflow-dev-tasks",
        "devflow-dev-users",
        "devflow-dev-webhooks",
    ]
    assert sorted(template.resolve_name(queue["Properties"]["QueueName"], "dev") for queue in QUEUES.values()) == [
        "devflow-dev-events",
        "devflow-dev-events-dead",
        "devflow-dev-sweep",
        "devflow-dev-sweep-dead",
        "devflow-dev-webhooks",
        "devflow-dev-webhooks-dead",
        "devflow-dev-workflow",
        "devflow-dev-workflow-dead",
    ]


@every_table
def test_idle_table_costs_nothing(name: str) -> None:
    assert TABLES[name]["Properties"]["BillingMode"] == "PAY_PER_REQUEST"


@every_table
def test_table_is_encrypted_and_has_point_in_time_recovery(name: str) -> None:
    properties = TABLES[name]["Properties"]
    assert properties["SSESpecification"] == {"SSEEnabled": True}
    assert properties["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}


@every_table
def test_table_outlives_its_stack_and_is_protected_on_prod(name: str) -> None:
    assert TABLES[name]["DeletionPolicy"] == "RetainExceptOnCreate"
    assert TABLES[name]["UpdateReplacePolicy"] == "Retain"
    assert TABLES[name]["Properties"]["DeletionProtectionEnabled"] == {"Fn::If": ["IsProd", True, False]}
    assert template.load()["Conditions"]["IsProd"] == {"Fn::Equals": [{"Ref": "Stage"}, "prod"]}


def test_rows_expire_in_four_tables() -> None:
    expiring = {
        template.resolve_name(table["Properties"]["TableName"], "dev"): table["Properties"]["TimeToLiveSpecification"]
        for table in TABLES.values()
        if "TimeToLiveSpecification" in table["Properties"]
    }
    assert expiring == {
        "devflow-dev-credentials": {"AttributeName": "expiresAt", "Enabled": True},
        "devflow-dev-logins": {"AttributeName": "expiresAt", "Enabled": True},
        "devflow-dev-tasks": {"AttributeName": "expiresAt", "Enabled": True},
        "devflow-dev-webhooks": {"AttributeName": "expiresAt", "Enabled": True},
    }


@every_table
def test_table_declares_exactly_the_attributes_of_its_keys(name: str) -> None:
    properties = TABLES[name]["Properties"]
    schemas = [properties["KeySchema"]] + [index["KeySchema"] for index in properties.get("GlobalSecondaryIndexes", [])]
    declared = [attribute["AttributeName"] for attribute in properties["AttributeDefinitions"]]
    assert sorted(declared) == sorted({key["AttributeName"] for schema in schemas for key in schema})


@every_queue
def test_queue_is_encrypted(name: str) -> None:
    assert QUEUES[name]["Properties"]["SqsManagedSseEnabled"] is True


@every_invoking_queue
def test_visibility_timeout_is_six_times_the_function_timeout(name: str) -> None:
    timeouts = {
        stage["lambda_functions"][FUNCTION_OF_QUEUE[name]]["lambda_timeout"] for stage in CONFIG["stages"].values()
    }
    assert QUEUES[name]["Properties"]["VisibilityTimeout"] >= 6 * max(timeouts)


@every_invoking_queue
def test_message_that_failed_five_times_is_kept_for_two_weeks(name: str) -> None:
    redrive = QUEUES[name]["Properties"]["RedrivePolicy"]
    dead_letter = name.replace("Queue", "DeadLetterQueue")
    assert redrive["maxReceiveCount"] == 5
    assert redrive["deadLetterTargetArn"] == {"Fn::GetAtt": [dead_letter, "Arn"]}
    assert QUEUES[dead_letter]["Properties"]["MessageRetentionPeriod"] == 14 * 24 * 3600


def test_secret_is_generated_once_and_retained() -> None:
    """Exactly these properties: after any change of them, CloudFormation would generate a new key."""
    (secret,) = template.resources("AWS::SecretsManager::Secret").values()
    assert secret["Properties"]["GenerateSecretString"] == {
        "SecretStringTemplate": '{"current": "key-1", "slackClientId": "", "slackClientSecret": ""}',
        "GenerateStringKey": "key-1",
        "PasswordLength": 64,
        "ExcludePunctuation": True,
    }
    assert (secret["DeletionPolicy"], secret["UpdateReplacePolicy"]) == ("RetainExceptOnCreate", "Retain")
    assert template.resolve_name(secret["Properties"]["Name"], "dev") == "devflow-dev-secret"


def test_generated_secret_is_a_valid_keyring() -> None:
    (secret,) = template.resources("AWS::SecretsManager::Secret").values()
    rules = secret["Properties"]["GenerateSecretString"]
    # AWS adds a random text to the object of the template, under this key.
    generated = json.loads(rules["SecretStringTemplate"]) | {rules["GenerateStringKey"]: "x" * rules["PasswordLength"]}
    ring = parse_keyring(json.dumps(generated), 0)
    assert (ring.current, len(ring.signing_key), ring.slack) == ("key-1", 64, None)


def test_names_differ_between_stages() -> None:
    names = [table["Properties"]["TableName"] for table in TABLES.values()]
    names += [queue["Properties"]["QueueName"] for queue in QUEUES.values()]
    assert all("${Stage}" in name["Fn::Sub"] for name in names)


def test_template_names_no_partition() -> None:
    """So that it can be deployed in GovCloud and China."""
    assert "arn:aws" not in (Path(__file__).parents[2] / "infra" / "template.yaml").read_text(encoding="utf-8")


def test_every_skipped_checkov_rule_has_a_reason() -> None:
    """One rule is skipped for each of five resource types. `make check-infra` checks all others."""
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
