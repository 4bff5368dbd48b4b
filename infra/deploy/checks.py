"""What can be wrong with a deployment before anything is changed."""

import json
import sys

from botocore.exceptions import ClientError
from chalice.deploy import models

from infra.deploy.account import Account
from infra.deploy.problems import Problem
from infra.deploy.stage import NAME, Stage

PYTHONS = ((3, 11), (3, 14))
"""The oldest and the newest Python that Lambda has and DevFlow runs on."""


def check(stage: Stage, account: Account) -> None:
    """Raise Problem for whatever would stop the deployment half way."""
    check_name(stage.name)
    check_python(sys.version_info[:2])
    print(f"  account {account.id}, region {account.region}")
    check_functions(stage)
    check_template(stage, account)


def check_name(name: str) -> None:
    if not NAME.fullmatch(name):
        raise Problem(f"A stage has a name of lower case letters and digits, at most 16, not {name!r}.")


def check_python(version: tuple[int, ...]) -> None:
    """Functions run the Python that deploys them: its bytecode and its wheels are what they get."""
    oldest, newest = PYTHONS
    if not oldest <= version <= newest:
        raise Problem(
            f"Lambda has no Python {version[0]}.{version[1]}; make .venv with 3.{oldest[1]} to 3.{newest[1]}."
        )


def check_functions(stage: Stage) -> None:
    """Each function has its entry in the stage's configuration, and a policy of its own that is there."""
    configured = stage.configured["lambda_functions"]
    functions = {function.resource_name: function for function in stage.of_kind(models.LambdaFunction)}
    for name in sorted(functions.keys() ^ configured.keys()):
        where = "app.py" if name in functions else ".chalice/config.json"
        raise Problem(f"The function {name} is in {where} only; app.py and the stage {stage.name} must have the same.")
    for name in functions:
        policy = stage.project / ".chalice" / configured[name].get("iam_policy_file", "")
        try:
            json.loads(policy.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise Problem(f"The function {name} has no good policy on the stage {stage.name}: {error}.") from None


def check_template(stage: Stage, account: Account) -> None:
    """CloudFormation takes the template. (cfn-lint knows more; `make check` runs it.)"""
    try:
        account.client("cloudformation").validate_template(TemplateBody=stage.template)
    except ClientError as error:
        raise Problem(f"CloudFormation refuses infra/template.yaml: {error.response['Error'].get('Message')}") from None
