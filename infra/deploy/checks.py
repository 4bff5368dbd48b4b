"""Finds errors in the configuration of a stage before a deployment changes anything."""

import json
import sys
from collections.abc import Iterable, Mapping
from typing import Any

import yaml
from botocore.exceptions import ClientError
from chalice.deploy import models

from infra.deploy.aws_account import AwsAccount, error_code
from infra.deploy.deploy_error import DeployError
from infra.deploy.stage import PROTECTED_STAGE, STAGE_NAME, Stage

PYTHON_VERSIONS = ((3, 11), (3, 14))
"""The oldest and the newest Python that Lambda offers and DevFlow supports."""


def check(stage: Stage, account: AwsAccount) -> None:
    """Raise DeployError for an error that would stop the deployment half way."""
    check_name(stage.name)
    check_python(sys.version_info[:2])
    print(f"  account {account.id}, region {account.region}")
    check_functions(stage)
    check_slack(stage, account)
    check_template(stage, account)
    check_indexes(stage, account)


def check_name(name: str) -> None:
    if not STAGE_NAME.fullmatch(name):
        raise DeployError(
            f"{name!r} is not a name of a stage. A name has 1 to 16 lower case letters and digits, and begins with a "
            "letter."
        )


def check_python(version: tuple[int, ...]) -> None:
    """The functions run the Python version that deploys them, because the package has its bytecode and its wheels."""
    oldest, newest = PYTHON_VERSIONS
    if not oldest <= version <= newest:
        raise DeployError(
            f"Lambda has no Python {version[0]}.{version[1]}. Create .venv with Python 3.{oldest[1]} to "
            f"3.{newest[1]}: run `make clean`, then for example `make PYTHON=python3.{oldest[1]} .venv/installed`."
        )


def check_functions(stage: Stage) -> None:
    """Every function has an entry in the stage's configuration, and a policy file of its own that can be read."""
    configured = stage.settings["lambda_functions"]
    functions = {function.resource_name: function for function in stage.resources_of_type(models.LambdaFunction)}
    for name in sorted(functions.keys() ^ configured.keys()):
        where = "app.py" if name in functions else ".chalice/config.json"
        raise DeployError(
            f"The function {name} is only in {where}. app.py and the stage {stage.name} in .chalice/config.json must "
            "have the same functions."
        )
    for name in functions:
        policy = stage.project / ".chalice" / configured[name].get("iam_policy_file", "")
        try:
            json.loads(policy.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise DeployError(
                f"The policy of the function {name} on the stage {stage.name} cannot be read: {error}.\n"
                "`iam_policy_file` in .chalice/config.json names the file."
            ) from None


def check_slack(stage: Stage, account: AwsAccount) -> None:
    """The stage prod names the workspace whose members may log in, if it has a Slack app. Its functions switch Slack
    sign-in off otherwise."""
    if stage.name != PROTECTED_STAGE or stage.chalice_config.environment_variables.get("DEVFLOW_SLACK_TEAM"):
        return
    try:
        secret = account.client("secretsmanager").get_secret_value(SecretId=f"{stage.stack}-secret")["SecretString"]
    except ClientError as error:
        if error_code(error) == "ResourceNotFoundException":
            return  # a new stage has no Slack app
        raise
    if json.loads(secret).get("slackClientId"):
        raise DeployError(
            f"The stage {stage.name} has a Slack app, but no DEVFLOW_SLACK_TEAM. Set it to the id (T...) of your "
            "workspace, in environment_variables of the stage in .chalice/config.json. Or remove the app: "
            f"make keys STAGE={stage.name} STEP=slack."
        )


def check_template(stage: Stage, account: AwsAccount) -> None:
    """CloudFormation accepts the template. (`make check` runs cfn-lint, which checks more.)"""
    try:
        account.client("cloudformation").validate_template(TemplateBody=stage.template)
    except ClientError as error:
        message = error.response["Error"].get("Message")
        raise DeployError(f"CloudFormation rejects infra/template.yaml: {message}") from None


def check_indexes(stage: Stage, account: AwsAccount) -> None:
    """CloudFormation can do every change of the tables' indexes. It creates or deletes one index of a table per update,
    and fails after it has changed other resources if there are more. It does not change an index:
    https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-dynamodb-table.html."""
    resources = yaml.safe_load(stage.template)["Resources"]
    for logical_id, table in stage.names_by_logical_id("AWS::DynamoDB::Table", "TableName").items():
        try:
            deployed = account.client("dynamodb").describe_table(TableName=table)["Table"]
        except ClientError as error:
            if error_code(error) != "ResourceNotFoundException":
                raise
            continue  # a new table is created with all its indexes
        _check_indexes(table, _indexes(deployed), _indexes(resources[logical_id]["Properties"]))


def _check_indexes(table: str, deployed: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """`deployed` and `wanted`: the definition of each index, by name."""
    for name in sorted(deployed.keys() & wanted.keys()):
        if deployed[name] != wanted[name]:
            raise DeployError(
                f"The index {name} of the table {table} has other keys or attributes than in infra/template.yaml, and "
                "CloudFormation cannot change an index. Nothing was changed. Add the new definition under another name "
                f"and deploy. Then use it in the code, remove {name} from the template, and deploy again."
            )
    changes = [("create", sorted(wanted.keys() - deployed.keys())), ("delete", sorted(deployed.keys() - wanted.keys()))]
    if sum(len(names) for _, names in changes) > 1:
        planned = " and ".join(f"{action} {_name_indexes(names)}" for action, names in changes if names)
        raise DeployError(
            f"This would {planned} of the table {table}, but CloudFormation creates or deletes only one index of a "
            "table at a time. Nothing was changed. Keep one of these changes in infra/template.yaml, deploy, and "
            "repeat this with the next change."
        )


def _indexes(table: Mapping[str, Any]) -> dict[str, Any]:
    """The keys and projection of each index by name, of a table in the template or as DynamoDB describes it."""
    return {
        index["IndexName"]: (
            [(key["AttributeName"], key["KeyType"]) for key in index["KeySchema"]],
            index["Projection"]["ProjectionType"],
            sorted(index["Projection"].get("NonKeyAttributes", [])),
        )
        for index in table.get("GlobalSecondaryIndexes", [])
    }


def _name_indexes(names: Iterable[str]) -> str:
    named = list(names)
    return f"the index{'es' if len(named) > 1 else ''} {', '.join(named)}"
