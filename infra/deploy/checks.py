"""Finds errors in the configuration of a stage before a deployment changes anything."""

import json
import sys

from botocore.exceptions import ClientError
from chalice.deploy import models

from infra.deploy.aws_account import AwsAccount
from infra.deploy.deploy_error import DeployError
from infra.deploy.stage import STAGE_NAME, Stage

PYTHON_VERSIONS = ((3, 11), (3, 14))
"""The oldest and the newest Python that Lambda offers and DevFlow supports."""


def check(stage: Stage, account: AwsAccount) -> None:
    """Raise DeployError for an error that would stop the deployment half way."""
    check_name(stage.name)
    check_python(sys.version_info[:2])
    print(f"  account {account.id}, region {account.region}")
    check_functions(stage)
    check_template(stage, account)


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


def check_template(stage: Stage, account: AwsAccount) -> None:
    """CloudFormation accepts the template. (`make check` runs cfn-lint, which checks more.)"""
    try:
        account.client("cloudformation").validate_template(TemplateBody=stage.template)
    except ClientError as error:
        message = error.response["Error"].get("Message")
        raise DeployError(f"CloudFormation rejects infra/template.yaml: {message}") from None
