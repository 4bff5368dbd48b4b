"""infra/deploy/resource_import.py, over AWS in this process. tests/deploy runs the rest of it."""

import boto3
import pytest

from infra.deploy import resource_import
from infra.deploy.aws_account import AwsAccount
from infra.deploy.deploy_error import DeployError
from infra.deploy.stage import Stage


def test_secret_scheduled_for_deletion_is_reported_with_its_restore_command(aws: None) -> None:
    client = boto3.client("secretsmanager")
    arn = client.create_secret(Name="devflow-prod-secret", SecretString="{}")["ARN"]
    assert resource_import.find_retained(Stage("prod"), AwsAccount()) == [
        {
            "ResourceType": "AWS::SecretsManager::Secret",
            "LogicalResourceId": "Secret",
            "ResourceIdentifier": {"Id": arn},
        }
    ]
    client.delete_secret(SecretId=arn)
    try:
        with pytest.raises(DeployError, match="restore-secret --secret-id devflow-prod-secret"):
            resource_import.find_retained(Stage("prod"), AwsAccount())
    finally:
        client.restore_secret(SecretId=arn)
        client.delete_secret(SecretId=arn, ForceDeleteWithoutRecovery=True)
