"""The one client of DynamoDB: PynamoDB's connection, with what botocore lets its users set.

DynamoDB's protocol is JSON, and what we hand over and take back is that JSON already. So requests are written and
answers are read in one go, at two of botocore's events, where it would look up every value in its description of the
service: most of the time that it spends on a request, and nearly all on a page of rows. Addresses, signatures,
connections, retries and errors remain botocore's.

Timeouts are short: API Gateway gives up at 29 s, and three tries of 1 s + 3 s leave room for an answer.
"""

from functools import cache
from typing import Any
from urllib.parse import urlsplit

from botocore.config import Config
from botocore.session import Session
from pydantic_core import from_json, to_json
from pynamodb.connection import Connection

from chalicelib.aws import session
from chalicelib.core.settings import VERSION


class _Connection(Connection):
    """One of the session that all clients share."""

    @property
    def session(self) -> Session:
        return session.session()

    def dispatch(self, operation_name: str, operation_kwargs: dict[str, Any]) -> dict[str, Any]:
        """The same, without signals to which nobody listens, and an id for them."""
        operation_kwargs.setdefault("ReturnConsumedCapacity", "TOTAL")
        return self._make_api_call(operation_name, operation_kwargs)


connection = _Connection(connect_timeout_seconds=1, read_timeout_seconds=3, max_retry_attempts=2)

_CONFIG = Config(
    user_agent=f"devflow/{VERSION}",  # botocore makes up a long one for every request
    account_id_endpoint_mode="disabled",  # we sign for one account, at the region's own endpoint
    signature_version="v4",  # or botocore looks for other ways to sign with every request
)
_PARAMS_KEY = "devflow"
"""Where in a request's context its parameters wait for their turn."""


def _detach_params(params: dict[str, Any], context: dict[str, Any], **_: Any) -> dict[str, Any]:
    """What botocore is to make a request of: the same parameters, with nothing in them."""
    context[_PARAMS_KEY] = params
    return {name: type(value)() if isinstance(value, dict | list) else value for name, value in params.items()}


def _serialize_request(params: dict[str, Any], context: dict[str, Any], **_: Any) -> None:
    params["body"] = to_json(context[_PARAMS_KEY])
    params["headers"]["Host"] = _host_header(params["url"])


@cache
def _host_header(url: str) -> str:
    """What a request to this address says of where it goes (RFC 9110, section 7.2); botocore would find it out, for the
    signature alone, with each of them."""
    parts = urlsplit(url)
    return parts.netloc.removesuffix({"https": ":443", "http": ":80"}.get(parts.scheme, ""))


def _parse_response(response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: Any) -> None:
    """Errors are left to botocore, which knows them by their type."""
    if response_dict["status_code"] == 200:  # noqa: PLR2004
        customized_response_dict.update(from_json(response_dict["body"]))
        response_dict["body"] = b""


_session: Any = connection.session
_session.set_default_client_config(_CONFIG)
_session.register("provide-client-params.dynamodb", _detach_params)
_session.register("before-call.dynamodb", _serialize_request)
_session.register("before-parse.dynamodb", _parse_response)
