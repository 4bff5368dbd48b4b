"""Sets what Chalice cannot configure: API Gateway's own error responses and throttling, and how Lambda retries failed
invocations.

Each setting is compared with the actual one and written only if it differs.
"""

import json
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from botocore.exceptions import ClientError
from chalice.deploy import models

from infra.deploy.aws_account import AwsAccount, error_code
from infra.deploy.deploy_error import DeployError
from infra.deploy.stage import Stage, Throttling

ALL_METHODS = "*/*"
"""The settings of all methods of all paths of an API's stage."""

PARTIAL_BATCH_RESPONSES = ["ReportBatchItemFailures"]
"""Lambda returns only the failed messages of a batch to the queue, as the handler reports them, and not the batch."""

MAPPING_TIMEOUT = 300
MAPPING_PAUSE = 5
"""Seconds. How long to wait until an event source mapping can be updated, and how long between two tries."""

NO_RETRIES = {"MaximumRetryAttempts": 0, "MaximumEventAgeInSeconds": 60}
"""Lambda does not retry a failed run of a schedule. The next run, one minute later, does the remaining work."""


def apply(stage: Stage, account: AwsAccount, entries: Iterable[Mapping[str, Any]]) -> None:
    """Apply all settings. `entries` is Chalice's record of the deployed resources."""
    for entry in entries:
        if entry["resource_type"] == "rest_api":
            api_stage = stage.chalice_config.api_gateway_stage
            apply_to_api(account, entry["rest_api_id"], api_stage)
            apply_throttling(account, entry["rest_api_id"], api_stage, stage.throttling)
        elif entry["resource_type"] == "sqs_event":
            apply_to_trigger(account, entry["event_uuid"], entry["queue"])
    for event in stage.resources_of_type(models.ScheduledEvent):
        apply_to_schedule(account, event.lambda_function.function_name)


def apply_to_api(account: AwsAccount, api_id: str, api_stage: str) -> None:
    """Update the gateway responses, and publish the API again if one has changed."""
    if update_gateway_responses(account, api_id):
        account.client("apigateway").create_deployment(
            restApiId=api_id, stageName=api_stage, description="update the gateway responses"
        )


def apply_throttling(account: AwsAccount, api_id: str, api_stage: str, throttling: Throttling) -> None:
    """Limit the requests to all methods of the API together, so that a flood does not reach the functions.

    Takes effect without publishing the API again:
    https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-request-throttling.html
    """
    client = account.client("apigateway")
    required = {
        "throttlingRateLimit": float(throttling.requests_per_second),
        "throttlingBurstLimit": throttling.burst,
    }
    actual = client.get_stage(restApiId=api_id, stageName=api_stage).get("methodSettings", {}).get(ALL_METHODS, {})
    if required.items() <= actual.items():
        return
    print(f"  throttling: {throttling.requests_per_second} requests per second, bursts of {throttling.burst}")
    values = {"rateLimit": throttling.requests_per_second, "burstLimit": throttling.burst}
    client.update_stage(
        restApiId=api_id,
        stageName=api_stage,
        patchOperations=[
            {"op": "replace", "path": f"/{ALL_METHODS}/throttling/{name}", "value": str(value)}
            for name, value in values.items()
        ],
    )


def update_gateway_responses(account: AwsAccount, api_id: str) -> bool:
    """Give API Gateway's own errors the shape of the API's errors. Returns whether one has changed."""
    client = account.client("apigateway")
    existing = {
        each["responseType"]: each for each in client.get_gateway_responses(restApiId=api_id, limit=500)["items"]
    }
    changed = {
        response_type: required
        for response_type, required in gateway_responses().items()
        if not required.items() <= existing.get(response_type, {}).items()
    }
    if changed:
        print(f"  gateway responses: {', '.join(changed)}")
    for response_type, required in changed.items():
        client.put_gateway_response(restApiId=api_id, responseType=response_type, **required)
    return bool(changed)


def gateway_responses() -> dict[str, dict[str, Any]]:
    """API Gateway's own responses, by response type:
    https://docs.aws.amazon.com/apigateway/latest/developerguide/supported-gateway-response-types.html.

    The two defaults apply to all types that are not listed here. Each has one fixed status, because the body contains
    the status and API Gateway has no variable for it. `Retry-After` is fixed for the same reason. With jitter, as
    in the function's own responses, every deployment would change it.
    """
    from chalicelib.core import errors  # noqa: PLC0415  # reads the environment, which Chalice sets for a stage

    limited = errors.RateLimited("There were too many requests at once. Retry after one second.", retry_after=1)
    kinds: dict[str, errors.DevFlowError] = {
        "ACCESS_DENIED": errors.Forbidden("You do not have access to this resource."),
        "API_CONFIGURATION_ERROR": errors.DevFlowError(),
        "BAD_REQUEST_BODY": errors.Invalid(),
        "BAD_REQUEST_PARAMETERS": errors.Invalid(),
        "DEFAULT_4XX": errors.Invalid(),
        "DEFAULT_5XX": errors.Unavailable("The platform did not respond. Retry the request.", retry_after=1),
        "INTEGRATION_FAILURE": errors.Unavailable("The platform did not respond. Retry the request.", retry_after=1),
        "INTEGRATION_TIMEOUT": errors.Unavailable(
            "The platform did not respond in time. Retry the request.", retry_after=1
        ),
        "MISSING_AUTHENTICATION_TOKEN": errors.RouteNotFound(),  # API Gateway's response for an unknown path
        "QUOTA_EXCEEDED": limited,
        "REQUEST_TOO_LARGE": errors.TooLarge("The request is larger than the limit of 10 MB."),
        "RESOURCE_NOT_FOUND": errors.RouteNotFound(),
        "THROTTLED": limited,
        "UNAUTHORIZED": errors.Unauthenticated(),
        "UNSUPPORTED_MEDIA_TYPE": errors.UnsupportedContent(),
        "WAF_FILTERED": errors.Forbidden("A firewall rejected the request."),
    }
    return {response_type: dict(_gateway_response(error)) for response_type, error in kinds.items()}


def _gateway_response(error: Any) -> Iterator[tuple[str, Any]]:
    """An error as a gateway response: its status, headers and body.

    API Gateway only replaces variables here. It runs no template language, so the format of a time cannot be changed.
    It has two variables for the time: `24/Jan/2025:00:00:00 +0000`, and a number of milliseconds. The contract requires
    a text, so the body uses the first one. docs/api.md documents this difference.
    https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-swagger-extensions-gateway-responses.responseTemplates.html

    A header's value is a constant in single quotes. The Content-Security-Policy contains single quotes, so it cannot be
    set.
    """
    from chalicelib.http import error_response  # noqa: PLC0415  # likewise
    from chalicelib.http.responses import SECURITY_HEADERS  # noqa: PLC0415

    response = error_response(error, 0)
    headers = {**response.headers, **SECURITY_HEADERS, "Cache-Control": "no-store"}
    parameters = {f"gatewayresponse.header.{name}": f"'{value}'" for name, value in headers.items() if "'" not in value}
    yield "statusCode", str(response.status)
    yield "responseParameters", parameters | {"gatewayresponse.header.X-Request-Id": "context.requestId"}
    yield "responseTemplates", {"application/json": json.dumps(response.body | {"timestamp": "$context.requestTime"})}


def apply_to_trigger(account: AwsAccount, mapping_id: str, queue: str) -> None:
    """Enable partial batch responses for a queue."""
    client = account.client("lambda")
    if client.get_event_source_mapping(UUID=mapping_id).get("FunctionResponseTypes") != PARTIAL_BATCH_RESPONSES:
        print(f"  partial batch responses of {queue}")
        _update_when_ready(client, mapping_id, queue)


def _update_when_ready(client: Any, mapping_id: str, queue: str) -> None:
    """Lambda refuses to update a mapping while it creates or updates it. A new one is ready after about a minute.

    Raises DeployError after MAPPING_TIMEOUT.
    """
    for _ in range(MAPPING_TIMEOUT // MAPPING_PAUSE):
        try:
            client.update_event_source_mapping(UUID=mapping_id, FunctionResponseTypes=PARTIAL_BATCH_RESPONSES)
        except ClientError as error:
            if error_code(error) != "ResourceInUseException":
                raise
            time.sleep(MAPPING_PAUSE)
        else:
            return
    raise DeployError(
        f"Lambda has been changing the event source mapping of {queue} for {MAPPING_TIMEOUT} seconds. "
        "Run the same command again in some minutes; it continues where it stopped."
    )


def apply_to_schedule(account: AwsAccount, function_name: str) -> None:
    """Disable retries of a scheduled function."""
    client = account.client("lambda")
    if not NO_RETRIES.items() <= _event_invoke_config(client, function_name).items():
        print(f"  no retries of {function_name}")
        client.put_function_event_invoke_config(FunctionName=function_name, **NO_RETRIES)


def _event_invoke_config(client: Any, function_name: str) -> Mapping[str, Any]:
    try:
        config: dict[str, Any] = client.get_function_event_invoke_config(FunctionName=function_name)
    except ClientError as error:
        if error_code(error) != "ResourceNotFoundException":
            raise
        return {}
    return config
