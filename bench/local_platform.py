"""The local platform (`make run`) with Amazon's DynamoDB Local for its tables. Moto simulates only the queues.

Runs in a separate process (`python -m bench.local_platform`), as tests/e2e/conftest.py starts the usual platform.
"""

import sys
from typing import ClassVar

from infra.local import local_aws
from infra.local.__main__ import main
from tests.e2e.conftest import Platform
from tests.support import aws_requests, dynamodb_local


class DynamoDBLocalPlatform(Platform):
    """The local platform on a database that serves requests in parallel, and that does not slow down as it grows."""

    program: ClassVar = ["-m", "bench.local_platform"]


def run() -> int:
    if reason := dynamodb_local.unavailable():
        print(reason, file=sys.stderr)
        return 1
    local_aws.set_aws_environment(
        None
    )  # for the creation of the tables; the platform then points all clients at its own moto
    with dynamodb_local.running() as endpoint, aws_requests.redirected("dynamodb", endpoint):
        return main()


if __name__ == "__main__":
    sys.exit(run())
