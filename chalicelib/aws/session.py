"""The botocore session, the timeouts and the boto3 clients of all AWS services.

All clients share one session, because a session reads each file only once. The session has only those handlers of
botocore that the services below need. By default botocore registers 127 handlers, most of them for S3, EC2 and its
documentation, and prepares twelve ways to find credentials. Together they take 55 of the 1,287 million instructions
of a cold start. The session also omits the handler that adds two headers to each request. They would have to be signed,
and only AWS's own statistics use them.

Timeouts are short, because a call that waits for AWS occupies a container. The clients do not retry; `tries` does.

boto3 is imported only when one of its clients is needed. It also imports its resources and S3 transfers, which the
platform does not use. The import takes a tenth of a cold start.
"""

from functools import cache
from typing import Any, cast

from botocore.config import Config
from botocore.credentials import CredentialResolver, EnvProvider
from botocore.handlers import BUILTIN_HANDLERS, add_retry_headers
from botocore.session import Session

from chalicelib.aws.tries import DEPLOYED, TIMEOUTS
from chalicelib.core.settings import settings

SECONDS = DEPLOYED.connect + DEPLOYED.other
"""The longest duration of an attempt on a deployed stage."""
CONFIG = Config(
    connect_timeout=TIMEOUTS.connect,
    read_timeout=TIMEOUTS.other,
    retries={"total_max_attempts": 1, "mode": "standard"},
)

SERVICES = {"dynamodb", "secrets-manager", "sesv2", "sqs"}
"""The services that the functions call, by their names in botocore's events."""


@cache
def botocore_session() -> Session:
    """A botocore session with the handlers for all services and for those in `SERVICES`, in botocore's order.

    Without credentials in the environment the session has all handlers, because any of them may be needed to find
    credentials. A Lambda function always has them in its environment.
    """
    if not settings.credentials_given:
        full_session: Any = Session()
        full_session.unregister("request-created", add_retry_headers)
        return cast("Session", full_session)
    session = Session(include_builtin_handlers=False)
    for event, handler, *_ in BUILTIN_HANDLERS:
        _, _, scope = event.partition(".")
        if handler is not add_retry_headers and (not scope or scope.split(".")[0] in SERVICES):
            session.register(event, handler)
    session.register_component("credential_provider", CredentialResolver([EnvProvider()]))
    return session


@cache
def client(service: str) -> Any:
    """The boto3 client of a service."""
    import boto3  # noqa: PLC0415  # not needed by most functions, see above

    return boto3.Session(botocore_session=botocore_session()).client(service, config=CONFIG)  # type: ignore[call-overload]
