"""What all clients of AWS's services share: one session, since what a session reads it reads once; and their timeouts.

The session has of botocore what these services ask for. botocore hangs 127 handlers on a session, most of them S3's,
EC2's and its documentation's, and prepares twelve ways to find credentials: together 55 of the 1,287 million
instructions of a cold start. Left out is also what adds two headers to sign to each request, which only AWS's own
statistics ask for.

Timeouts are short: API Gateway gives up at 29 s, and three tries of 1 s + 3 s leave room for an answer.

boto3 is imported only where a client of it is about to be used. It brings its resources and the transfers of S3 along,
for which nothing here has a use: a tenth of a cold start.
"""

from functools import cache
from typing import Any, cast

from botocore.config import Config
from botocore.credentials import CredentialResolver, EnvProvider
from botocore.handlers import BUILTIN_HANDLERS, add_retry_headers
from botocore.session import Session

from chalicelib.core.settings import settings

CONFIG = Config(connect_timeout=1, read_timeout=3, retries={"total_max_attempts": 3, "mode": "standard"})


SERVICES = {"dynamodb", "secrets-manager", "sesv2", "sqs"}
"""The services that functions talk to, as botocore's events call them."""


@cache
def session() -> Session:
    """botocore's session, with the handlers that are for every service or for one of ours, in their order.

    Where the environment has no credentials, which it has in every function, it is the whole session: whatever way to
    them it knows may need any of them.
    """
    if not settings.credentials_given:
        whole: Any = Session()
        whole.unregister("request-created", add_retry_headers)
        return cast("Session", whole)
    made = Session(include_builtin_handlers=False)
    for event, handler, *_ in BUILTIN_HANDLERS:
        _, _, about = event.partition(".")
        if handler is not add_retry_headers and (not about or about.split(".")[0] in SERVICES):
            made.register(event, handler)
    made.register_component("credential_provider", CredentialResolver([EnvProvider()]))
    return made


@cache
def client(service: str) -> Any:
    """boto3's client of a service."""
    import boto3  # noqa: PLC0415  # see above

    return boto3.Session(botocore_session=session()).client(service, config=CONFIG)  # type: ignore[call-overload]
