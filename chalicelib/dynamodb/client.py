"""The only DynamoDB client: PynamoDB's connection, with its own handlers for some events of botocore.

DynamoDB's protocol is JSON, and this package already has requests and responses in that form. So the handlers below
serialize a request and parse a response as a whole. botocore would look up every value in its service model. That takes
most of its time for a request, and nearly all of it for a page of rows. botocore still signs, connects and raises
errors. It chooses the endpoint once for each client. It does not retry; `aws/tries` does.
"""

from functools import cache
from typing import Any
from urllib.parse import urlsplit

from botocore.config import Config
from botocore.session import Session
from pydantic_core import from_json, to_json
from pynamodb.connection import Connection

from chalicelib.aws import session
from chalicelib.aws.tries import TIMEOUTS
from chalicelib.core.settings import VERSION


class _Connection(Connection):
    """A connection that uses the botocore session of all clients."""

    @property
    def session(self) -> Session:
        return session.botocore_session()

    def dispatch(
        self, operation_name: str, operation_kwargs: dict[str, Any], read_seconds: float = TIMEOUTS.item
    ) -> dict[str, Any]:
        """Send a request as PynamoDB does, but without signals and their ids, because nothing listens to signals."""
        operation_kwargs.setdefault("ReturnConsumedCapacity", "TOTAL")
        if read_seconds != TIMEOUTS.item:
            operation_kwargs = {**operation_kwargs, _READ_SECONDS_KEY: read_seconds}
        return self._make_api_call(operation_name, operation_kwargs)


connection = _Connection(
    connect_timeout_seconds=TIMEOUTS.connect, read_timeout_seconds=TIMEOUTS.item, max_retry_attempts=0
)

_CONFIG = Config(
    user_agent=f"devflow/{VERSION}",  # botocore would build a long one for every request
    account_id_endpoint_mode="disabled",  # requests go to the endpoint of the region
    signature_version="v4",  # otherwise botocore chooses a signature version for every request
)
_PARAMS_KEY = "devflow"
"""The key in the context of a request under which its parameters are stored until they are serialized."""
_READ_SECONDS_KEY = "devflow.readSeconds"
"""The key in the parameters of a request under which its read timeout is stored until they are detached."""


def _detach_params(params: dict[str, Any], context: dict[str, Any], **_: Any) -> dict[str, Any]:
    """Store the parameters in the context, and return empty ones, so that botocore has nothing to serialize.

    botocore reads the timeout of a request from its context.
    """
    if _READ_SECONDS_KEY in params:
        context["read_timeout"] = params.pop(_READ_SECONDS_KEY)
    context[_PARAMS_KEY] = params
    return {name: type(value)() if isinstance(value, dict | list) else value for name, value in params.items()}


def _serialize_request(params: dict[str, Any], context: dict[str, Any], **_: Any) -> None:
    """Write the stored parameters into the body of the request."""
    params["body"] = to_json(context[_PARAMS_KEY])
    params["headers"]["Host"] = _host_header(params["url"])


@cache
def _host_header(url: str) -> str:
    """The Host header for this URL (RFC 9110, section 7.2).

    Without this header botocore would compute its value for the signature of every request.
    """
    parts = urlsplit(url)
    return parts.netloc.removesuffix({"https": ":443", "http": ":80"}.get(parts.scheme, ""))


def _parse_response(response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: Any) -> None:
    """Parse a successful response. botocore parses errors, because it knows their types."""
    if response_dict["status_code"] == 200:  # noqa: PLR2004
        customized_response_dict.update(from_json(response_dict["body"]))
        response_dict["body"] = b""


class _SingleEndpointClient:
    """A base class of botocore's client, which chooses the endpoint once and not for every request.

    botocore evaluates the endpoint rules of DynamoDB for every request, which takes a twelfth of a warm call. They
    depend on the request only in the mode that puts the id of the account into the address, and `_CONFIG` disables it.
    """

    _resolved: Any = None
    """What botocore resolved, and what it added to the context of the request: how to sign."""

    def _resolve_endpoint_ruleset(
        self, operation_model: Any, params: Any, request_context: dict[str, Any], *args: Any, **options: Any
    ) -> Any:
        if self._resolved is None:
            context = dict(request_context)
            parent: Any = super()
            resolve = parent._resolve_endpoint_ruleset  # noqa: SLF001  # botocore has no public way to do this
            resolved = resolve(operation_model, params, context, *args, **options)
            self._resolved = resolved, {name: context[name] for name in _SIGNING if name in context}
        resolved, signing = self._resolved
        request_context.update(signing)
        return resolved


_SIGNING = ("auth_type", "signing")
"""The entries of a request's context that endpoint rules may set."""


def _add_base_class(base_classes: list[type], **_: Any) -> None:
    base_classes.insert(0, _SingleEndpointClient)


_session: Any = connection.session
_session.set_default_client_config(_CONFIG)
_session.register("creating-client-class.dynamodb", _add_base_class)
_session.register("provide-client-params.dynamodb", _detach_params)
_session.register("before-call.dynamodb", _serialize_request)
_session.register("before-parse.dynamodb", _parse_response)
