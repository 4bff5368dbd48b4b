"""A whole AWS account on loopback, to deploy into: a moto server in a process (`python -m tests.support.cloud`).

Bridges on its side of the wire what moto lacks:

- API Gateway takes Swagger 2, as Chalice sends it; moto takes OpenAPI 3 alone. Overwriting an API takes its gateway
  responses with it.
- A queue feeds a function once; moto would let it be fed twice, and swallow the messages.
- A stack leaves what its template retains; moto does not know the way in which our tables are. What was left is taken
  in by a change set that imports it, and by no other. What moto makes nothing of in a template is made by
  cloud_models.py.
- `/execute-api/<api>/<stage>/<path>` is what that stage of an API answers, see execute_api.py.

`POST /cloud/trouble {"method", "path", "how"}` makes the next request of that method whose path (or operation) matches
the pattern be refused for good ("refuse") or never answered ("hang"). `GET /cloud/requests` tells the requests so far.
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
from tests.support import cloud_models
from tests.support.execute_api import ExecuteApi

__all__ = ["MODULE", "bridge", "cloud_models"]

MODULE = "tests.support.cloud"

WSGI = Callable[[dict[str, Any], Any], Iterable[bytes]]


def bridge() -> None:
    """Patch moto in this process."""
    default_user_config["lambda"]["use_docker"] = False
    _bridge_api_gateway()
    _bridge_event_sources()
    resources: Any = ResourceMap
    delete = resources.delete

    def delete_but_for_the_retained(self: Any) -> None:
        for resource in self._resource_json_map.values():
            if resource.get("DeletionPolicy") == "RetainExceptOnCreate":
                resource["DeletionPolicy"] = "Retain"
        delete(self)

    resources.delete = delete_but_for_the_retained
    _bridge_imports()


def _bridge_imports() -> None:
    change_set: Any = ChangeSet
    apply = change_set.apply

    def apply_or_import(self: Any) -> None:
        if self.change_set_type != "IMPORT":
            apply(self)
            return
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Table, "create_from_cloudformation_json", _table_that_is_there)
            patch.setattr(cloud_models.Secret, "create_from_cloudformation_json", _secret_that_is_there)
            apply(self)

    change_set.apply = apply_or_import


def _table_that_is_there(resource_name: str, *_: Any, **__: Any) -> Any:
    return dynamodb_backends[ACCOUNT][REGION].tables[resource_name]


def _secret_that_is_there(resource_name: str, *_: Any, **__: Any) -> Any:
    secretsmanager_backends[ACCOUNT][REGION].describe_secret(resource_name)
    secret: Any = cloud_models.Secret
    return secret(resource_name)


def _bridge_api_gateway() -> None:
    backend: Any = APIGatewayBackend
    imported, put = backend.import_rest_api, backend.put_rest_api

    def import_rest_api(self: Any, api_doc: dict[str, Any], fail_on_warnings: bool) -> Any:  # noqa: FBT001  # as moto
        return imported(self, as_openapi(api_doc), fail_on_warnings)

    def put_rest_api(self: Any, function_id: str, api_doc: dict[str, Any], *rest: Any, **more: Any) -> Any:
        if more.get("mode") == "overwrite":
            self.get_rest_api(function_id).gateway_responses.clear()
        return put(self, function_id, as_openapi(api_doc), *rest, **more)

    backend.import_rest_api, backend.put_rest_api = import_rest_api, put_rest_api


def as_openapi(document: dict[str, Any]) -> dict[str, Any]:
    """Chalice's Swagger 2 as far as moto needs it to be OpenAPI 3."""
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


def _bridge_event_sources() -> None:
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
    """moto, with what this module adds in front of it."""

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
            return self._api.answer(request)(environ, start_response)
        environ["wsgi.input"] = io.BytesIO(request.get_data(cache=True))  # to be read once more
        called = called_by(request)
        self._requests.append(called)
        for trouble in self._trouble:
            if trouble["method"] == request.method and re.search(trouble["path"], called["what"]):
                self._trouble.remove(trouble)
                if trouble["how"] == "hang":
                    called["stuck"] = True
                    threading.Event().wait()
                return Response("{}", 400, {"x-amzn-ErrorType": "InvalidRequest"})(environ, start_response)
        answer = self._moto(environ, start_response)
        self._api.notice(request)
        return answer

    def _control(self, request: Request) -> Response:
        if request.method == "GET":
            return Response(json.dumps(self._requests), content_type="application/json")
        self._trouble.append(json.loads(request.get_data()))
        return Response("{}", content_type="application/json")


def called_by(request: Request) -> dict[str, Any]:
    """A request to AWS: by whom (the access key), to which service, and `what`: its operation or its path."""
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
    bridge()
    serve(Cloud(DomainDispatcherApplication(create_backend_app)))
