"""The environment that the app is imported in, here as on the local stage. Imported before anything of the app."""

import json
import os

from infra.local import aws

STAGE = "local"
KEY = b"a signing key of the tests, which is long enough"


def prepare() -> None:
    """Nothing of the machine's own set-up reaches the tests: no settings, no AWS account, no proxy."""
    aws.point_at(None)
    for name in [name for name in os.environ if name.startswith("DEVFLOW_")]:
        del os.environ[name]
    os.environ["DEVFLOW_STAGE"] = STAGE
    os.environ["DEVFLOW_URL"] = "http://localhost:3000"
    os.environ["DEVFLOW_LOCAL_SECRET"] = json.dumps(
        {"current": "key-test", "key-test": KEY.decode(), "slackClientId": "", "slackClientSecret": ""}
    )
