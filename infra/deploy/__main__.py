"""`python -m infra.deploy deploy|destroy|package STAGE`."""

import os
import sys
from io import TextIOWrapper

from botocore.exceptions import BotoCoreError, ClientError

from infra.deploy import (
    chalice_cli,
    checks,
    deployed_resources,
    destroy,
    health_check,
    package,
    resource_settings,
    stack,
    table_settings,
)
from infra.deploy.aws_account import AwsAccount
from infra.deploy.deploy_error import DeployError
from infra.deploy.stage import Stage


def deploy_stage(stage: Stage, account: AwsAccount) -> None:
    """Run all steps of a deployment. Each one changes only what differs from the required state."""
    print("Checks")
    checks.check(stage, account)
    print("Package")
    built = package.build(stage.project, stage.architecture)
    print(f"  {built.name}, {built.stat().st_size / 1e6:.1f} MB")
    print(f"Stack {stage.stack}")
    stack.deploy(stage, account)
    table_settings.apply(stage, account)
    print("Functions and API")
    deployed_resources.write(stage, account)
    chalice_cli.deploy(stage, account)
    print("Settings")
    deployed = deployed_resources.read(stage)
    resource_settings.apply(stage, account, deployed.values())
    print("Health check")
    url = health_check.public_url(stage, deployed["rest_api"]["rest_api_url"])
    health_check.wait_until_healthy(health_check.url_to_check(url))
    print(f"\nDevFlow {stage.name} runs at {url}")


def destroy_stage(stage: Stage, account: AwsAccount) -> None:
    checks.check_name(stage.name)
    destroy.confirm(stage)
    print(f"Account {account.id}, region {account.region}")
    destroy.destroy(stage, account)
    print(f"\nThe stage {stage.name} is removed.")


def build_package(stage: Stage, account: AwsAccount) -> None:
    del account  # the package is built without AWS
    built = package.build(stage.project, stage.architecture)
    print(f"{built}, {built.stat().st_size / 1e6:.1f} MB")


COMMANDS = {"deploy": deploy_stage, "destroy": destroy_stage, "package": build_package}


def main(arguments: list[str]) -> int:
    """The exit status: 0 for success, 1 for a failure, 2 for wrong arguments. Errors go to standard error."""
    if len(arguments) != 2 or arguments[0] not in COMMANDS or not arguments[1]:  # noqa: PLR2004  # a command, a stage
        print("Name the stage, for example: make deploy STAGE=dev", file=sys.stderr)
        return 2
    command, name = arguments
    os.environ["AWS_CHALICE_CLI_MODE"] = "true"  # Chalice's own command sets this too; app.py then does not connect
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # keeps our lines and Chalice's in order, also in a file
    try:
        COMMANDS[command](Stage(name), AwsAccount())
    except DeployError as error:
        print(f"\n{error}", file=sys.stderr)
    except (BotoCoreError, ClientError) as error:
        print(f"\nThe request to AWS failed: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        print(f"\nInterrupted. Run `make {command} STAGE={name}` to continue.", file=sys.stderr)
    else:
        return 0
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
