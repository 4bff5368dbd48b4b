"""An AWS account on loopback that tests deploy into: a moto server in a process.

Run it with `python -m tests.support.aws_server`. It patches moto where moto differs from AWS:

- API Gateway accepts Swagger 2, which Chalice sends. moto accepts only OpenAPI 3. Overwriting an API removes its
  gateway responses.
- AWS allows one event source mapping for a queue and a function. moto allows several, and consumes the messages itself.
- A stack keeps the resources that its template retains. moto does not know the deletion policy of our tables. Only a
  change set of type IMPORT takes retained resources back into a stack.
- aws_server_resources.py creates the kinds of resources that moto ignores in a template.
- `/execute-api/<api>/<stage>/<path>` calls that stage of an API; see execute_api.py.

`POST /cloud/trouble {"method", "path", "how"}` affects the next request of that method whose path or operation matches
the pattern `path`. With `how` "refuse" the request gets a permanent error; with "hang" it never gets a response.
`GET /cloud/requests` returns the requests so far.
"""

import base64
import io
import json
import re
import threading
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from moto.apigateway.models import APIGatewayBackend
from moto.awslambda.models import LambdaBackend
from moto.cloudformation.models import ChangeSet
from moto.cloudformation.parsing import ResourceMap
from moto.core.config import default_user_config
from moto.core.exceptions import JsonRESTError
from moto.dynamodb.models import dynamodb_backends
from moto.dynamodb.models.table import Table
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from moto.secretsmanager.models import secretsmanager_backends
from moto.sqs.models import sqs_backends
from werkzeug.wrappers import Request, Response

from infra.local.lambda_context import ACCOUNT, REGION
from infra.local.moto_server import serve
from tests.support import aws_server_resources
from tests.support.execute_api import ExecuteApi

__all__ = ["MODULE", "aws_server_resources", "patch_moto"]

MODULE = "tests.support.aws_server"

WSGI = Callable[[dict[str, Any], Any], Iterable[bytes]]


def patch_moto() -> None:
    """Patch moto in this process."""
    default_user_config["lambda"]["use_docker"] = False
    _patch_api_gateway()
    _patch_event_sources()
    resources: Any = ResourceMap
    delete = resources.delete

    def delete_except_retained(self: Any) -> None:
        for resource in self._resource_json_map.values():
            if resource.get("DeletionPolicy") == "RetainExceptOnCreate":
                resource["DeletionPolicy"] = "Retain"
        delete(self)

    resources.delete = delete_except_retained
    _patch_imports()


def _patch_imports() -> None:
    change_set: Any = ChangeSet
    apply = change_set.apply

    def apply_or_import(self: Any) -> None:
        if self.change_set_type != "IMPORT":
            apply(self)
            return
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Table, "create_from_cloudformation_json", _existing_table)
            patch.setattr(aws_server_resources.Secret, "create_from_cloudformation_json", _existing_secret)
            apply(self)

    change_set.apply = apply_or_import


def _existing_table(resource_name: str, *_: Any, **__: Any) -> Any:
    return dynamodb_backends[ACCOUNT][REGION].tables[resource_name]


def _existing_secret(resource_name: str, *_: Any, **__: Any) -> Any:
    secretsmanager_backends[ACCOUNT][REGION].describe_secret(resource_name)
    secret: Any = aws_server_resources.Secret
    return secret(resource_name)


def _patch_api_gateway() -> None:
    backend: Any = APIGatewayBackend
    original_import, original_put = backend.import_rest_api, backend.put_rest_api

    def import_rest_api(self: Any, api_doc: dict[str, Any], fail_on_warnings: bool) -> Any:  # noqa: FBT001  # as moto
        return original_import(self, as_openapi(api_doc), fail_on_warnings)

    def put_rest_api(self: Any, function_id: str, api_doc: dict[str, Any], *rest: Any, **more: Any) -> Any:
        if more.get("mode") == "overwrite":
            self.get_rest_api(function_id).gateway_responses.clear()
        return original_put(self, function_id, as_openapi(api_doc), *rest, **more)

    backend.import_rest_api, backend.put_rest_api = import_rest_api, put_rest_api


def as_openapi(document: dict[str, Any]) -> dict[str, Any]:
    """Chalice's Swagger 2 document with the changes that let moto read it as OpenAPI 3."""
    if "swagger" not in document:
        return document
    document = {"openapi": "3.0.1"} | {name: value for name, value in document.items() if name != "swagger"}
    document["info"].setdefault("description", "")
    for methods in document["paths"].values():
        for method in methods.values():
            integration = method["x-amazon-apigateway-integration"]
            if integration["type"] == "mock":
                integration |= {"uri": "", "httpMethod": "POST"}
    return document


def _patch_event_sources() -> None:
    backend: Any = LambdaBackend
    create = backend.create_event_source_mapping

    def create_event_source_mapping(self: Any, spec: dict[str, Any]) -> Any:
        name = spec["FunctionName"].rpartition(":")[2]
        for known in self._event_source_mappings.values():
            if known.event_source_arn == spec["EventSourceArn"] and known.function_arn.endswith(f":{name}"):
                raise JsonRESTError("ResourceConflictException", "An event source mapping with this ARN exists.")
        mapping = create(self, spec)
        for queue in sqs_backends[ACCOUNT][REGION].queues.values():
            queue.lambda_event_source_mappings.clear()
        return mapping

    backend.create_event_source_mapping = create_event_source_mapping


class Cloud:
    """A WSGI application: moto, with the additions of this module in front of it."""

    def __init__(self, moto: WSGI) -> None:
        self._moto = moto
        self._api = ExecuteApi()
        self._requests: list[dict[str, Any]] = []
        self._trouble: list[dict[str, str]] = []

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        request = Request(environ)
        if request.path.startswith("/cloud/"):
            return self._control(request)(environ, start_response)
        if request.path.startswith("/execute-api/"):
            return self._api.respond(request)(environ, start_response)
        environ["wsgi.input"] = io.BytesIO(request.get_data(cache=True))  # moto reads the body again
        description = describe(request)
        self._requests.append(description)
        for trouble in self._trouble:
            if trouble["method"] == request.method and re.search(trouble["path"], description["what"]):
                self._trouble.remove(trouble)
                if trouble["how"] == "hang":
                    description["stuck"] = True
                    threading.Event().wait()
                return Response("{}", 400, {"x-amzn-ErrorType": "InvalidRequest"})(environ, start_response)
        response = self._moto(environ, start_response)
        self._api.publish_deployment(request)
        return response

    def _control(self, request: Request) -> Response:
        if request.method == "GET":
            return Response(json.dumps(self._requests), content_type="application/json")
        self._trouble.append(json.loads(request.get_data()))
        return Response("{}", content_type="application/json")


def describe(request: Request) -> dict[str, Any]:
    """A request to AWS: `by` is its access key, `what` is its operation or its path."""
    signed = re.search(r"Credential=([^/]+)/\d+/[^/]+/([^/]+)/", request.headers.get("Authorization", ""))
    target = request.headers.get("X-Amz-Target", "").rpartition(".")[2]
    action = re.search(rb"(?:^|&)Action=(\w+)", request.get_data(cache=True)) if not target else None
    return {
        "by": signed[1] if signed else "",
        "service": signed[2] if signed else "",
        "method": request.method,
        "what": target or (action[1].decode() if action else request.path),
        "stuck": False,
        "body": base64.b64encode(request.get_data(cache=True)).decode() if target else "",
    }


if __name__ == "__main__":
    patch_moto()
    serve(Cloud(DomainDispatcherApplication(create_backend_app)))
