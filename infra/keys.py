"""Changes the secret of a deployed stage: rotates its signing keys and sets its Slack credentials. See docs/keys.md.

    python -m infra.keys STAGE show          list the ids of the keys, and which one signs (never a key itself)
    python -m infra.keys STAGE add           add a new key, which only verifies at first
    python -m infra.keys STAGE use           sign with the new key from now on
    python -m infra.keys STAGE drop          remove the old key
    python -m infra.keys STAGE leaked        replace all keys at once: every existing token becomes invalid
    python -m infra.keys STAGE slack         ask for the client id and client secret of the Slack app

A step that would lock users or agents out is rejected, with the time from which it is allowed. Steps can be repeated.
"""

import argparse
import getpass
import json
import secrets
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.auth.keys import KEY_PREFIX, REFRESH_AFTER
from chalicelib.auth.tokens import LEEWAY, LIFETIME
from chalicelib.core import clock
from infra.deploy.aws_account import AwsAccount, error_code
from infra.deploy.deploy_error import DeployError

SecretContent = dict[str, str]
"""The secret: `current` (the id of the key that signs), a key under each `key-...`, and Slack's credentials."""

_KEY_ID_FORMAT = f"{KEY_PREFIX}%Y%m%dT%H%M%SZ"
"""A key's id contains the second in which the key was created, so its age is known."""

PROPAGATION_TIME = timedelta(milliseconds=2 * REFRESH_AFTER)
"""The time until every container has read a new key. It is twice the refresh interval, because clocks differ."""

EXPIRY_TIME = timedelta(milliseconds=LIFETIME + LEEWAY) + PROPAGATION_TIME
"""The time after which the last token that an old key has signed is expired."""


class StepRejectedError(DeployError):
    """The step is not allowed, or not yet. The message says why, and when it is allowed."""


def key_ids(content: SecretContent) -> list[str]:
    """The ids of the keys, the current one first."""
    found = sorted(name for name in content if name.startswith(KEY_PREFIX))
    return sorted(found, key=lambda key_id: key_id != content["current"])


def add(content: SecretContent, now: datetime) -> SecretContent:
    """Add a second key."""
    if len(key_ids(content)) > 1:
        raise StepRejectedError("There are two keys already. `use` the new one, or `drop` the old one.")
    return content | {now.strftime(_KEY_ID_FORMAT): secrets.token_urlsafe(48)}


def use(content: SecretContent, now: datetime) -> SecretContent:
    """Sign with the newer of two keys, once every container has read it."""
    newest = max(key_ids(content), key=_created_at)
    if newest == content["current"]:
        raise StepRejectedError(f"The newest key, {newest}, signs already. `add` another one first.")
    _reject_before(_created_at(newest) + PROPAGATION_TIME, now, "by then every container has read the new key")
    return content | {"current": newest, "currentSince": now.strftime(_KEY_ID_FORMAT)}


def drop(content: SecretContent, now: datetime) -> SecretContent:
    """Remove every key but the current one, once all tokens that they have signed are expired."""
    old = [key_id for key_id in key_ids(content) if key_id != content["current"]]
    if not old:
        raise StepRejectedError("There is only one key, and it cannot be removed.")
    if any(_created_at(key_id) > _created_at(content["current"]) for key_id in old):
        raise StepRejectedError("The other key is newer than the one that signs. `use` it first.")
    since = _created_at(content.get("currentSince", content["current"]))
    _reject_before(since + EXPIRY_TIME, now, "by then the last token of the old key has expired")
    return {name: value for name, value in content.items() if name not in old}


def leaked(content: SecretContent, now: datetime) -> SecretContent:
    """Replace all keys by a new one: every token that exists becomes invalid, those of agents too."""
    others = {name: value for name, value in content.items() if not name.startswith(KEY_PREFIX)}
    key_id = now.strftime(_KEY_ID_FORMAT)
    return others | {key_id: secrets.token_urlsafe(48), "current": key_id, "currentSince": key_id}


def slack(content: SecretContent, client_id: str, client_secret: str) -> SecretContent:
    """Set the credentials of the Slack app, or remove them if both are empty."""
    if bool(client_id) != bool(client_secret):
        raise StepRejectedError("Slack's client id and client secret belong together. Enter both, or neither.")
    return content | {"slackClientId": client_id, "slackClientSecret": client_secret}


STEPS: Mapping[str, Callable[[SecretContent, datetime], SecretContent]] = {
    "add": add, "use": use, "drop": drop, "leaked": leaked,
}  # fmt: skip


def _created_at(key_id: str) -> datetime:
    try:
        return datetime.strptime(key_id, _KEY_ID_FORMAT).replace(tzinfo=UTC)
    except ValueError:
        return datetime.fromtimestamp(0, UTC)  # the first key, which CloudFormation generated


def _reject_before(instant: datetime, now: datetime, reason: str) -> None:
    if now < instant:
        raise StepRejectedError(f"Not before {instant:%Y-%m-%d %H:%M} UTC: {reason}.")


def summary(content: SecretContent) -> str:
    """The ids of the keys, what each is used for, and Slack's client id."""
    lines = [f"{key_id}  {'signs' if key_id == content['current'] else 'verifies'}" for key_id in key_ids(content)]
    client_id = content.get("slackClientId")
    return "\n".join([*lines, f"Slack  {client_id}" if client_id else "Slack  not set up"])


def main(arguments: list[str], ask: Callable[[str], str] = getpass.getpass) -> int:
    """The exit status: 0, or 1 if the step was rejected or failed, with one line on standard error."""
    parser = argparse.ArgumentParser(
        prog="make keys", usage="make keys STAGE=dev STEP=show", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("stage", metavar="STAGE", type=_stage_name)
    parser.add_argument(
        "step", metavar="STEP", choices=["show", *STEPS, "slack"], help="show, add, use, drop, leaked or slack"
    )
    options = parser.parse_args(arguments)
    try:
        print(summary(_run(options.stage, options.step, ask)))
    except DeployError as error:
        print(error, file=sys.stderr)
    except (BotoCoreError, ClientError) as error:
        print(f"The request to AWS failed: {error}", file=sys.stderr)
    else:
        return 0
    return 1


def _stage_name(name: str) -> str:
    if not name:
        raise argparse.ArgumentTypeError("name the stage, for example STAGE=dev")
    return name


def _run(stage: str, step: str, ask: Callable[[str], str]) -> SecretContent:
    """Run a step and return the new content of the secret. Raises DeployError, and boto3's errors."""
    account, name = AwsAccount(), f"devflow-{stage}-secret"
    client: Any = account.client("secretsmanager")
    try:
        content: SecretContent = json.loads(client.get_secret_value(SecretId=name)["SecretString"])
    except ClientError as error:
        if error_code(error) != "ResourceNotFoundException":
            raise
        raise DeployError(
            f"There is no secret {name} in {account.region}. Check the stage's name and the region, or deploy the "
            "stage first."
        ) from None
    changed = content
    if step == "slack":
        changed = slack(content, ask("Client ID: ").strip(), ask("Client Secret: ").strip())
    elif step != "show":
        changed = STEPS[step](content, datetime.fromtimestamp(clock.now() / 1_000, UTC))
    if changed != content:
        client.put_secret_value(SecretId=name, SecretString=json.dumps(changed))
    return changed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
