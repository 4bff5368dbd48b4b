"""boto3's clients of AWS's services, one each a container. DynamoDB has its own way, see db.py.

Timeouts are short: API Gateway gives up at 29 s, and three tries of 1 s + 3 s leave room for an answer.
"""

from functools import cache
from typing import Any

import boto3
from botocore.config import Config

_CONFIG = Config(connect_timeout=1, read_timeout=3, retries={"total_max_attempts": 3, "mode": "standard"})


@cache
def client(service: str) -> Any:
    """The client of a service, made when it is first asked for."""
    return boto3.client(service, config=_CONFIG)  # type: ignore[call-overload]
