"""What all clients of AWS's services share: one session, since what a session reads it reads once; and their timeouts.

The session has of botocore what these services ask for. botocore hangs 127 handlers on a session, most of them S3's,
EC2's and its documentation's, and prepares six ways to find credentials with a connection of its own for three of them:
together 55 of the 1,287 million instructions of a cold start.

Timeouts are short: API Gateway gives up at 29 s, and three tries of 1 s + 3 s leave room for an answer.

boto3 is imported only where a client of it is about to be used. It brings its resources and the transfers of S3 along,
for which nothing here has a use: a tenth of a cold start.
"""

from functools import cache
from typing import Any

from botocore.config import Config
from botocore.credentials import CredentialResolver, EnvProvider
from botocore.handlers import BUILTIN_HANDLERS, add_retry_headers
from botocore.session import Session

CONFIG = Config(connect_timeout=1, read_timeout=3, retries={"total_max_attempts": 3, "mode": "standard"})


SERVICES = {"dynamodb", "secrets-manager", "sesv2", "sqs"}
"""The services that functions talk to, as botocore's events call them."""

_UNWANTED = {add_retry_headers}
"""Two headers to sign with each request, which only AWS's own statistics ask for."""


@cache
def session() -> Session:
    """botocore's session, with the handlers that are for every service or for one of ours, in their order."""
    made = Session(include_builtin_handlers=False)
    for event, handler, *_ in BUILTIN_HANDLERS:
        _, _, about = event.partition(".")
        if handler not in _UNWANTED and (not about or about.split(".")[0] in SERVICES):
            made.register(event, handler)
    environment = EnvProvider()
    if environment.load() is not None:  # as in every function; elsewhere botocore looks wherever it always does
        made.register_component("credential_provider", CredentialResolver([environment]))
    return made


@cache
def client(service: str) -> Any:
    """boto3's client of a service."""
    import boto3  # noqa: PLC0415  # see above

    return boto3.Session(botocore_session=session()).client(service, config=CONFIG)  # type: ignore[call-overload]
