"""Changes the secret of a deployed stage: renews its signing keys, and makes it known to Slack. See docs/keys.md.

    python -m infra.keys STAGE show          the keys there are, and which one signs (never a key itself)
    python -m infra.keys STAGE add           a new key, which only verifies as yet
    python -m infra.keys STAGE use           the new key signs from now on
    python -m infra.keys STAGE drop          the old key verifies no more
    python -m infra.keys STAGE leaked        all three at once: every token there is ends
    python -m infra.keys STAGE slack         asks for the client id and secret of the Slack app

Each step refuses what would lock anybody out, and says when it may be taken. A step can be repeated.
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
from infra.deploy.account import Account, code
from infra.deploy.problems import Problem

Content = dict[str, str]
"""The secret: `current`, a text for each `key-...`, and Slack's."""

_NAMED = f"{KEY_PREFIX}%Y%m%dT%H%M%SZ"
"""A key is named after the second in which it was made, so that its age is known."""

KNOWN_AFTER = timedelta(milliseconds=2 * REFRESH_AFTER)
"""When every container has read a new key; twice what it takes, for clocks differ."""

FORGOTTEN_AFTER = timedelta(milliseconds=LIFETIME + LEEWAY) + KNOWN_AFTER
"""When the last token of the old key has expired."""


class RefusedError(Problem):
    """The step cannot be taken (now); the message says why, and when it can."""


def kids(content: Content) -> list[str]:
    """The ids of the keys, the current one first."""
    found = sorted(kid for kid in content if kid.startswith(KEY_PREFIX))
    return sorted(found, key=lambda kid: kid != content["current"])


def add(content: Content, now: datetime) -> Content:
    """A second key."""
    if len(kids(content)) > 1:
        raise RefusedError("There are two keys already: `use` the new one, or `drop` the old one.")
    return content | {now.strftime(_NAMED): secrets.token_urlsafe(48)}


def use(content: Content, now: datetime) -> Content:
    """Sign with the newer of two keys, once every container knows it."""
    newest = max(kids(content), key=_made)
    if newest == content["current"]:
        raise RefusedError(f"The newest key, {newest}, signs already; `add` another one first.")
    _wait_until(_made(newest) + KNOWN_AFTER, now, "by then every container has read the new key")
    return content | {"current": newest, "currentSince": now.strftime(_NAMED)}


def drop(content: Content, now: datetime) -> Content:
    """Forget every key but the current one, once no token of theirs is left."""
    old = [kid for kid in kids(content) if kid != content["current"]]
    if not old:
        raise RefusedError("There is one key alone.")
    if any(_made(kid) > _made(content["current"]) for kid in old):
        raise RefusedError("The other key is newer than the one that signs: `use` it first.")
    since = _made(content.get("currentSince", content["current"]))
    _wait_until(since + FORGOTTEN_AFTER, now, "by then the last token of the old key has expired")
    return {name: text for name, text in content.items() if name not in old}


def leaked(content: Content, now: datetime) -> Content:
    """A new key and no other: every token that was signed before ends, agents' too."""
    others = {name: text for name, text in content.items() if not name.startswith(KEY_PREFIX)}
    name = now.strftime(_NAMED)
    return others | {name: secrets.token_urlsafe(48), "current": name, "currentSince": name}


def slack(content: Content, client_id: str, client_secret: str) -> Content:
    """Known to Slack under this id from now on; not at all where both are empty."""
    if bool(client_id) != bool(client_secret):
        raise RefusedError("Slack's client id and secret belong together: give both, or neither.")
    return content | {"slackClientId": client_id, "slackClientSecret": client_secret}


STEPS: Mapping[str, Callable[[Content, datetime], Content]] = {"add": add, "use": use, "drop": drop, "leaked": leaked}


def _made(kid: str) -> datetime:
    try:
        return datetime.strptime(kid, _NAMED).replace(tzinfo=UTC)
    except ValueError:
        return datetime.fromtimestamp(0, UTC)  # the first key, which came with the stack


def _wait_until(instant: datetime, now: datetime, why: str) -> None:
    if now < instant:
        raise RefusedError(f"Not before {instant:%Y-%m-%d %H:%M} UTC: {why}.")


def shown(content: Content) -> str:
    """The keys by their ids."""
    lines = [f"{kid}  {'signs' if kid == content['current'] else 'verifies'}" for kid in kids(content)]
    known = content.get("slackClientId")
    return "\n".join([*lines, f"Slack  {known}" if known else "Slack  not set up"])


def main(arguments: list[str], ask: Callable[[str], str] = getpass.getpass) -> int:
    """The exit status: 0, or 1 with a line on standard error where the step could not be taken."""
    parser = argparse.ArgumentParser(
        prog="make keys", usage="make keys STAGE=dev STEP=show", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("stage", metavar="STAGE", type=_stage)
    parser.add_argument(
        "step", metavar="STEP", choices=["show", *STEPS, "slack"], help="show, add, use, drop, leaked or slack"
    )
    wanted = parser.parse_args(arguments)
    try:
        print(shown(_taken(wanted.stage, wanted.step, ask)))
    except Problem as problem:
        print(problem, file=sys.stderr)
    except (BotoCoreError, ClientError) as error:
        print(f"AWS refused: {error}", file=sys.stderr)
    else:
        return 0
    return 1


def _stage(name: str) -> str:
    if not name:
        raise argparse.ArgumentTypeError("say which: STAGE=dev, say")
    return name


def _taken(stage: str, step: str, ask: Callable[[str], str]) -> Content:
    """The secret after a step. Raises Problem, and what AWS refuses."""
    account, name = Account(), f"devflow-{stage}-secret"
    client: Any = account.client("secretsmanager")
    try:
        content: Content = json.loads(client.get_secret_value(SecretId=name)["SecretString"])
    except ClientError as error:
        if code(error) != "ResourceNotFoundException":
            raise
        raise Problem(
            f"There is no secret {name} in {account.region}: deploy the stage first, or mend its name."
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
