"""`python -m infra.deploy deploy|destroy|package STAGE`."""

import os
import sys
from io import TextIOWrapper

from botocore.exceptions import BotoCoreError, ClientError

from infra.deploy import answers, checks, destroy, functions, package, record, settings, stack, tables
from infra.deploy.account import Account
from infra.deploy.problems import Problem
from infra.deploy.stage import Stage


def deploy(stage: Stage, account: Account) -> None:
    """The whole way; each step leaves what is right as it is."""
    print("Checks")
    checks.check(stage, account)
    print("Package")
    built = package.build(stage.project, stage.architecture)
    print(f"  {built.name}, {built.stat().st_size / 1e6:.1f} MB")
    print(f"Stack {stage.stack}")
    stack.deploy(stage, account)
    tables.settle(stage, account)
    print("Functions and API")
    record.write(stage, account)
    functions.deploy(stage, account)
    print("Settings")
    deployed = record.recorded(stage)
    settings.settle(stage, account, deployed.values())
    print("Answers?")
    address = answers.public_address(stage, deployed["rest_api"]["rest_api_url"])
    answers.wait(answers.asked_at(address))
    print(f"\nDevFlow {stage.name} runs at {address}")


def take_down(stage: Stage, account: Account) -> None:
    checks.check_name(stage.name)
    destroy.confirm(stage)
    print(f"Account {account.id}, region {account.region}")
    destroy.destroy(stage, account)
    print(f"\nThe stage {stage.name} is gone.")


def build(stage: Stage, account: Account) -> None:
    del account  # nothing in AWS is needed for it
    built = package.build(stage.project, stage.architecture)
    print(f"{built}, {built.stat().st_size / 1e6:.1f} MB")


COMMANDS = {"deploy": deploy, "destroy": take_down, "package": build}


def main(arguments: list[str]) -> int:
    """The exit status: 1 with a few words where it could not be done, 2 where it was not clear what to do."""
    if len(arguments) != 2 or arguments[0] not in COMMANDS or not arguments[1]:  # noqa: PLR2004  # a command, a stage
        print("Say which stage, for example: make deploy STAGE=dev", file=sys.stderr)
        return 2
    command, name = arguments
    os.environ["AWS_CHALICE_CLI_MODE"] = "true"  # as Chalice's own command tells app.py that it is not in Lambda
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # our lines among Chalice's, in order, also in a file
    try:
        COMMANDS[command](Stage(name), Account())
    except Problem as problem:
        print(f"\n{problem}", file=sys.stderr)
    except (BotoCoreError, ClientError) as error:
        print(f"\nAWS refused: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        print(f"\nCut short. `make {command} STAGE={name}` goes on from here.", file=sys.stderr)
    else:
        return 0
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
