"""What all clients of AWS's services share: one session, since what a session reads it reads once; and their timeouts.

Timeouts are short: API Gateway gives up at 29 s, and three tries of 1 s + 3 s leave room for an answer.

boto3 is imported only where a client of it is about to be used. It brings its resources and the transfers of S3 along,
for which nothing here has a use: a tenth of a cold start.
"""

from functools import cache
from typing import Any

from botocore.config import Config
from botocore.session import Session, get_session

CONFIG = Config(connect_timeout=1, read_timeout=3, retries={"total_max_attempts": 3, "mode": "standard"})


@cache
def session() -> Session:
    return get_session()


@cache
def client(service: str) -> Any:
    """boto3's client of a service."""
    import boto3  # noqa: PLC0415  # see above

    return boto3.Session(botocore_session=session()).client(service, config=CONFIG)  # type: ignore[call-overload]
