"""API Gateway from a request to a deployed function, in the process of the fake AWS account.

As in AWS, a deployment publishes the current paths and gateway responses of an API. A request with a known path and
method calls the integrated function, if its permissions allow API Gateway. The uploaded code runs under AWS's own
runtime client. Every other request gets the gateway response of its kind.
"""

import copy
import io
import json
import re
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from moto.apigateway.models import apigateway_backends
from moto.awslambda.utils import get_backend
from werkzeug.wrappers import Request, Response

from infra.local.gateway import Gateway
from infra.local.lambda_context import ACCOUNT, REGION, Context
from tests.support.lambda_runtime import Function

_DEPLOYMENT = re.compile(r"^/restapis/([^/]+)/deployments$")


@dataclass
class Published:
    """An API as of one deployment."""

    routes: dict[str, dict[str, str]]
    """The function of each method of each path. "" if the gateway responds without a function (a preflight)."""
    responses: dict[str, dict[str, Any]]


class ExecuteApi:
    """The execute-api endpoints of all stages of all APIs."""

    def __init__(self) -> None:
        self._published: dict[tuple[str, str], Published] = {}
        self._running: dict[tuple[str, str], Function] = {}

    def publish_deployment(self, request: Request) -> None:
        """Publish an API if this request, which API Gateway has handled, created a deployment."""
        deployment = _DEPLOYMENT.match(request.path)
        if request.method == "POST" and deployment and request.get_data(cache=True):
            stage = json.loads(request.get_data(cache=True)).get("stageName", "")
            self._published[deployment[1], stage] = _current(deployment[1])

    def respond(self, request: Request) -> Response:
        """The response of the stage in `/execute-api/<name or id of an API>/<stage>/<path>`."""
        _, _, name, stage, path = f"{request.path}/".split("/", 4)
        apis = apigateway_backends[ACCOUNT][REGION].apis.values()
        published = next((self._published.get((api.id, stage)) for api in apis if name in (api.id, api.name)), None)
        if published is None:
            return Response('{"message": "Forbidden"}', 403)
        routed = _Routed(published, lambda name: self.function(name, request.host_url))
        target = f"/{path.rstrip('/')}" + (f"?{request.query_string.decode()}" if request.query_string else "")
        gateway = Gateway(routed, stage=stage)
        if request.method not in published.routes.get(
            gateway.match(request.method, f"/{path.rstrip('/')}").resource, {}
        ):
            return gateway_response(published.responses, "MISSING_AUTHENTICATION_TOKEN")
        response = gateway.call(request.method, target, list(request.headers), request.get_data())
        return Response(response.body, response.status, list(response.headers))

    def function(self, name: str, endpoint: str) -> Function:
        """A running environment of a function with the code that was uploaded last. Its AWS endpoint is `endpoint`."""
        function: Any = get_backend(ACCOUNT, REGION).get_function(name)
        key = (name, function.code_sha_256)
        if key not in self._running:
            package = Path(mkdtemp(prefix="function-"))
            zipfile.ZipFile(io.BytesIO(function.code_bytes)).extractall(package)
            environment = {**function.environment_vars, "AWS_ENDPOINT_URL": endpoint}
            self._running[key] = Function(package, function.handler, environment, name=name)
        return self._running[key]


class _Routed:
    """A published API with the interface that Gateway expects of an app."""

    def __init__(self, published: Published, running: Callable[[str], Function]) -> None:
        self.routes = published.routes
        self._running = running

    def __call__(self, event: dict[str, Any], _context: Context) -> Any:
        function = self.routes[event["resource"]][event["httpMethod"]]
        return self._running(function).invoke(event)


def _current(api_id: str) -> Published:
    api = apigateway_backends[ACCOUNT][REGION].get_rest_api(api_id)
    routes: dict[str, dict[str, str]] = {}
    for resource in api.resources.values():
        for method, described in resource.resource_methods.items():
            integration: Any = described.method_integration
            function = re.search(r":function:([\w-]+)/invocations", integration.uri or "")
            routes.setdefault(resource.get_path(), {})[method] = function[1] if function else ""
    return Published(routes, {name: copy.deepcopy(each.to_json()) for name, each in api.gateway_responses.items()})


def gateway_response(responses: dict[str, dict[str, Any]], kind: str) -> Response:
    """A gateway response with its variables filled in. API Gateway's default if the API defines none."""
    response = responses.get(kind)
    if response is None:
        return Response('{"message":"Missing Authentication Token"}', 403)
    time = datetime.now(UTC).strftime("%d/%b/%Y:%H:%M:%S +0000")
    body = response["responseTemplates"]["application/json"].replace("$context.requestTime", time)
    headers = {
        name.removeprefix("gatewayresponse.header."): value.strip("'").replace(
            "context.requestId", "made-by-the-gateway"
        )
        for name, value in response["responseParameters"].items()
    }
    return Response(body, int(response["statusCode"]), headers, content_type="application/json")
