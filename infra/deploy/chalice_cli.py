"""Runs `chalice deploy` and `chalice delete` as child processes, as an operator would."""

import os
import subprocess
import sys
from pathlib import Path

from infra.deploy.aws_account import AwsAccount
from infra.deploy.deploy_error import DeployError
from infra.deploy.stage import Stage


def deploy(stage: Stage, account: AwsAccount) -> None:
    """Deploy the functions, roles, triggers and the API. Raises DeployError if Chalice fails."""
    _chalice("deploy", stage, account)


def delete(stage: Stage, account: AwsAccount) -> None:
    """Delete all of them that exist. Raises DeployError if Chalice fails."""
    _chalice("delete", stage, account)


def _chalice(command: str, stage: Stage, account: AwsAccount) -> None:
    program = Path(sys.executable).with_name("chalice")
    environment = {**os.environ, "AWS_DEFAULT_REGION": account.region, "PYTHONDONTWRITEBYTECODE": "1"}
    status = subprocess.run(  # noqa: S603  # the Chalice of our own interpreter
        [program, command, "--stage", stage.name], cwd=stage.project, env=environment, check=False
    ).returncode
    if status:
        raise DeployError(
            f"`chalice {command} --stage {stage.name}` failed. The lines above have the reason. Once it is fixed, run "
            "the same command again."
        )
