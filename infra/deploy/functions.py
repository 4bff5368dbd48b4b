"""Chalice itself: `chalice deploy` and `chalice delete`, as processes of their own, as anybody would run them."""

import os
import subprocess
import sys
from pathlib import Path

from infra.deploy.account import Account
from infra.deploy.problems import Problem
from infra.deploy.stage import Stage


def deploy(stage: Stage, account: Account) -> None:
    """Functions, roles, triggers and the API. Raises Problem where Chalice fails."""
    _chalice("deploy", stage, account)


def delete(stage: Stage, account: Account) -> None:
    """All of that away again, as far as it is there."""
    _chalice("delete", stage, account)


def _chalice(command: str, stage: Stage, account: Account) -> None:
    program = Path(sys.executable).with_name("chalice")
    environment = {**os.environ, "AWS_DEFAULT_REGION": account.region, "PYTHONDONTWRITEBYTECODE": "1"}
    ended = subprocess.run(  # noqa: S603  # our own interpreter's
        [program, command, "--stage", stage.name], cwd=stage.project, env=environment, check=False
    ).returncode
    if ended:
        raise Problem(f"`chalice {command} --stage {stage.name}` failed; see above. It can be run again.")
