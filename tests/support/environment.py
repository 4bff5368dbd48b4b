"""The environment variables that the app is imported with, as on the local stage. Import this before the app."""

import json
import os

from infra.local import local_aws

STAGE = "local"
MAIL_FROM = "devflow@example.com"
KEY = b"a signing key of the tests, which is long enough"


def outside() -> dict[str, str]:
    """The environment for a separate process: this process's environment without the settings of the tests."""
    return {name: value for name, value in os.environ.items() if not name.startswith("DEVFLOW_")}


def prepare() -> None:
    """Isolate the tests from the configuration of the machine: no settings, no AWS account, no proxy."""
    local_aws.set_aws_environment(None)
    for name in [name for name in os.environ if name.startswith("DEVFLOW_")]:
        del os.environ[name]
    os.environ["DEVFLOW_STAGE"] = STAGE
    os.environ["DEVFLOW_URL"] = "http://localhost:3000"
    os.environ["DEVFLOW_MAIL_FROM"] = MAIL_FROM
    os.environ["DEVFLOW_LOCAL_SECRET"] = json.dumps(
        {"current": "key-test", "key-test": KEY.decode(), "slackClientId": "", "slackClientSecret": ""}
    )
