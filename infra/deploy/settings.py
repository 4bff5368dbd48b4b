"""What Chalice cannot say: how API Gateway words its own errors, and how functions are called when they fail.

Each is compared with what is there and written where it differs.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from botocore.exceptions import ClientError
from chalice.deploy import models

from infra.deploy.account import Account, code
from infra.deploy.stage import Stage

PARTIAL = ["ReportBatchItemFailures"]
"""Only the messages of a batch that a handler names come again, not all ten of them."""

ONCE = {"MaximumRetryAttempts": 0, "MaximumEventAgeInSeconds": 60}
"""A scheduled run that failed is not tried again: the next one, a minute later, takes up all that it left."""


def settle(stage: Stage, account: Account, entries: Iterable[Mapping[str, Any]]) -> None:
    """Make it all so. `entries`: what Chalice recorded."""
    for entry in entries:
        if entry["resource_type"] == "rest_api":
            settle_api(account, entry["rest_api_id"], stage.config.api_gateway_stage)
        elif entry["resource_type"] == "sqs_event":
            settle_trigger(account, entry["event_uuid"], entry["queue"])
    for event in stage.of_kind(models.ScheduledEvent):
        settle_schedule(account, event.lambda_function.function_name)


def settle_api(account: Account, api: str, api_stage: str) -> None:
    """Its gateway's answers, published if there was anything to settle."""
    if settle_answers(account, api):
        account.client("apigateway").create_deployment(
            restApiId=api, stageName=api_stage, description="with the answers of the gateway"
        )


def settle_answers(account: Account, api: str) -> bool:
    """The gateway's own answers, in the shape of the error contract; whether any was different."""
    client = account.client("apigateway")
    standing = {each["responseType"]: each for each in client.get_gateway_responses(restApiId=api, limit=500)["items"]}
    others = {
        response_type: wanted
        for response_type, wanted in gateway_responses().items()
        if not wanted.items() <= standing.get(response_type, {}).items()
    }
    if others:
        print(f"  the gateway's own answers: {', '.join(others)}")
    for response_type, wanted in others.items():
        client.put_gateway_response(restApiId=api, responseType=response_type, **wanted)
    return bool(others)


def gateway_responses() -> dict[str, dict[str, Any]]:
    """API Gateway's own answers, by
    https://docs.aws.amazon.com/apigateway/latest/developerguide/supported-gateway-response-types.html.

    The two defaults stand for all types that are not named here; they have one status each, since the body has to say
    it and the gateway does not tell it.
    """
    from chalicelib.core import errors  # noqa: PLC0415  # reads the environment, which Chalice sets for a stage

    limited = errors.RateLimited("Too many requests at once; try again in a second.", retry_after=1)
    kinds: dict[str, errors.DevFlowError] = {
        "ACCESS_DENIED": errors.Forbidden("This is not open to you."),
        "API_CONFIGURATION_ERROR": errors.DevFlowError(),
        "BAD_REQUEST_BODY": errors.Invalid(),
        "BAD_REQUEST_PARAMETERS": errors.Invalid(),
        "DEFAULT_4XX": errors.Invalid(),
        "DEFAULT_5XX": errors.Unavailable("The platform did not answer; asking again is right."),
        "INTEGRATION_FAILURE": errors.Unavailable("The platform did not answer; asking again is right."),
        "INTEGRATION_TIMEOUT": errors.Unavailable("The platform did not answer in time; asking again is right."),
        "MISSING_AUTHENTICATION_TOKEN": errors.RouteNotFound(),  # what the gateway says of a path that it does not know
        "QUOTA_EXCEEDED": limited,
        "REQUEST_TOO_LARGE": errors.TooLarge("A request may have at most 10 MB."),
        "RESOURCE_NOT_FOUND": errors.RouteNotFound(),
        "THROTTLED": limited,
        "UNAUTHORIZED": errors.Unauthenticated(),
        "UNSUPPORTED_MEDIA_TYPE": errors.UnsupportedContent(),
        "WAF_FILTERED": errors.Forbidden("A firewall refuses this request."),
    }
    return {response_type: dict(_response(error)) for response_type, error in kinds.items()}


def _response(error: Any) -> Iterator[tuple[str, Any]]:
    """An error as a gateway response: its status, headers and body.

    The gateway only puts variables in here, and runs no template language over it, which could make one form of the
    time of another; and of its two, `24/Jan/2025:00:00:00 +0000` and a number of milliseconds, the first is a text, as
    the contract has it. docs/api.md says so.
    https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-swagger-extensions-gateway-responses.responseTemplates.html

    Its headers are constants in quotes, which the Content-Security-Policy, having quotes of its own, cannot be.
    """
    from chalicelib.http import error_response  # noqa: PLC0415  # likewise
    from chalicelib.http.responses import SECURITY_HEADERS  # noqa: PLC0415

    answer = error_response(error, 0)
    headers = {**answer.headers, **SECURITY_HEADERS, "Cache-Control": "no-store"}
    parameters = {f"gatewayresponse.header.{name}": f"'{value}'" for name, value in headers.items() if "'" not in value}
    yield "statusCode", str(answer.status)
    yield "responseParameters", parameters | {"gatewayresponse.header.X-Request-Id": "context.requestId"}
    yield "responseTemplates", {"application/json": json.dumps(answer.body | {"timestamp": "$context.requestTime"})}


def settle_trigger(account: Account, mapping: str, queue: str) -> None:
    """Partial batch responses, which Chalice has no word for."""
    client = account.client("lambda")
    if client.get_event_source_mapping(UUID=mapping).get("FunctionResponseTypes") != PARTIAL:
        print(f"  partial batches of {queue}")
        client.update_event_source_mapping(UUID=mapping, FunctionResponseTypes=PARTIAL)


def settle_schedule(account: Account, function: str) -> None:
    client = account.client("lambda")
    if not ONCE.items() <= _invocation_settings(client, function).items():
        print(f"  no second try for a run of {function}")
        client.put_function_event_invoke_config(FunctionName=function, **ONCE)


def _invocation_settings(client: Any, function: str) -> Mapping[str, Any]:
    try:
        settings: dict[str, Any] = client.get_function_event_invoke_config(FunctionName=function)
    except ClientError as error:
        if code(error) != "ResourceNotFoundException":
            raise
        return {}
    return settings
