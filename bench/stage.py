"""The local stage with Amazon's DynamoDB Local for its tables: what `make run` starts, and moto for the queues alone.

Run as a process of its own (`python -m bench.stage`), as tests/e2e/conftest.py starts the usual one.
"""

import sys
from typing import ClassVar

from infra.local import aws
from infra.local.__main__ import main
from tests.e2e.conftest import Platform
from tests.support import dynamodb_local, wire


class DynamoDBLocal(Platform):
    """The same, on a database that serves several at a time and does not slow down with its tables."""

    program: ClassVar = ["-m", "bench.stage"]


def run() -> int:
    if reason := dynamodb_local.unavailable():
        print(reason, file=sys.stderr)
        return 1
    aws.point_at(None)  # for making the tables; the stage itself points everything at its own moto
    with dynamodb_local.running() as endpoint, wire.redirected("dynamodb", endpoint):
        return main()


if __name__ == "__main__":
    sys.exit(run())
