"""The checks of a deployment that read the account."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import boto3
import pytest

from infra.deploy import checks
from infra.deploy.aws_account import AwsAccount
from infra.deploy.deploy_error import DeployError
from infra.deploy.stage import Stage

WITH_SLACK = {"current": "key-1", "key-1": "x" * 64, "slackClientId": "123.456", "slackClientSecret": "secret"}
WITHOUT_SLACK = WITH_SLACK | {"slackClientId": "", "slackClientSecret": ""}


def stage(directory: Path, name: str, **variables: str) -> Stage:
    (directory / ".chalice").mkdir()
    config = {"version": "2.0", "app_name": "devflow", "stages": {name: {"environment_variables": variables}}}
    (directory / ".chalice" / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return Stage(name, directory)


@pytest.fixture
def store_secret(aws: None) -> Iterator[Callable[[str, dict[str, str]], None]]:
    """Stores the secret of a stage: `store_secret("prod", {...})`. It is deleted after the test."""
    client = boto3.client("secretsmanager")
    stored: set[str] = set()

    def store(name: str, content: dict[str, str]) -> None:
        secret, text = f"devflow-{name}-secret", json.dumps(content)
        if secret in stored:
            client.put_secret_value(SecretId=secret, SecretString=text)
        else:
            client.create_secret(Name=secret, SecretString=text)
        stored.add(secret)

    yield store
    for secret in stored:
        client.delete_secret(SecretId=secret, ForceDeleteWithoutRecovery=True)


StoreSecret = Callable[[str, dict[str, str]], None]


@pytest.mark.parametrize("variables", [{}, {"DEVFLOW_SLACK_TEAM": ""}])
def test_prod_with_a_slack_app_and_no_workspace_is_rejected(
    store_secret: StoreSecret, tmp_path: Path, variables: dict[str, str]
) -> None:
    store_secret("prod", WITH_SLACK)
    with pytest.raises(DeployError, match="no DEVFLOW_SLACK_TEAM") as rejected:
        checks.check_slack(stage(tmp_path, "prod", **variables), AwsAccount())
    assert "make keys STAGE=prod STEP=slack" in str(rejected.value)
    assert WITH_SLACK["slackClientSecret"] not in str(rejected.value)


def test_prod_with_a_workspace_without_a_slack_app_or_new_is_accepted(
    store_secret: StoreSecret, tmp_path: Path
) -> None:
    new = stage(tmp_path, "prod")
    checks.check_slack(new, AwsAccount())
    store_secret("prod", WITHOUT_SLACK)
    checks.check_slack(new, AwsAccount())
    store_secret("prod", WITH_SLACK)
    (tmp_path / "named").mkdir()
    checks.check_slack(stage(tmp_path / "named", "prod", DEVFLOW_SLACK_TEAM="T0R7GR8RJ"), AwsAccount())


def test_other_stages_need_no_workspace(store_secret: StoreSecret, tmp_path: Path) -> None:
    store_secret("dev", WITH_SLACK)
    checks.check_slack(stage(tmp_path, "dev"), AwsAccount())
