"""Enforces the policies of the functions in .chalice/, as AWS does and moto does not.

`DeployedApp(app)` is the app as its functions run. A request to AWS that the policy of the function does not allow
fails with AWS's own error, and is recorded in `denied`. Every request is also recorded in `calls`. At the end of a
complete run, policy_usage.py checks that no policy allows more than that.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from infra.local.lambda_context import ACCOUNT, REGION
from tests.support import aws_requests
from tests.support.environment import STAGE

CHALICE = Path(__file__).parents[2] / ".chalice"
API = "api_handler"
"""Chalice's name of the function behind the HTTP routes."""

_KINDS = {"Put": "PutItem", "Update": "UpdateItem", "Delete": "DeleteItem", "ConditionCheck": "ConditionCheckItem"}

Need = tuple[str, str]
"""An action and the ARN of its resource."""

Call = tuple[str, Need, bool]
"""A function, the permission that it needed, and whether it needs it on prod as well."""

calls: set[Call] = set()
"""The permissions that functions have needed in this process so far."""

_DEV_ONLY = "/api/auth/pin"
"""Prefix of the routes that prod does not have; see tests/http/test_prod.py."""


def statements(stage: str, function: str) -> list[dict[str, Any]]:
    """The statements of a function's policy on a stage."""
    policy = json.loads((CHALICE / f"policy-{stage}-{function}.json").read_text(encoding="utf-8"))
    found: list[dict[str, Any]] = policy["Statement"]
    return found


def allows(policy: list[dict[str, Any]], need: Need) -> bool:
    """Whether any statement allows it. No statement denies anything or has a condition."""
    action, resource = need
    return any(
        action in statement["Action"] and any(fnmatchcase(resource, pattern) for pattern in statement["Resource"])
        for statement in policy
    )


def needs(request: aws_requests.Request) -> set[Need]:
    """The permissions that a request needs, according to AWS's service authorization reference."""
    params, operation = request.params, request.operation
    if request.service == "sqs":
        name = params.get("QueueName") or params["QueueUrl"].rpartition("/")[2]
        return {(f"sqs:{operation}", f"arn:aws:sqs:{REGION}:{ACCOUNT}:{name}")}
    if request.service == "sesv2":
        sender = params["FromEmailAddress"]
        # SES needs the configuration set as well if the identity has a default one. A stage's identity may have one.
        resources = (f"identity/{sender}", "configuration-set/default")
        return {(f"ses:{operation}", f"arn:aws:ses:{REGION}:{ACCOUNT}:{resource}") for resource in resources}
    if request.service == "secretsmanager":
        # AWS adds six random characters to the name.
        return {
            (
                f"{request.service}:{operation}",
                f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:{params['SecretId']}-AbCdEf",
            )
        }
    if operation == "TransactWriteItems":
        parts = [part for item in params["TransactItems"] for part in item.items()]
        return {(f"dynamodb:{_KINDS[kind]}", _table(part["TableName"])) for kind, part in parts}
    index = f"/index/{params['IndexName']}" if "IndexName" in params else ""
    return {(f"{request.service}:{operation}", _table(table) + index) for table in request.tables}


def _table(name: str) -> str:
    return f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/{name}"


class DeployedApp:
    """The app, with the policy of each function enforced: dev's policy, with the resource names of this stage."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self.routes = app.routes
        self.event_sources = app.event_sources
        functions = [source.name for source in app.event_sources]
        self.handler_map = {name: self._with_policy(name, app.handler_map[name]) for name in functions}
        self.denied: set[tuple[str, Need]] = set()
        self._policies = {name: _for_this_stage(statements("dev", name)) for name in (API, *functions)}
        self._current_function: ContextVar[tuple[str, bool] | None] = ContextVar("current_function", default=None)

    def __call__(self, event: Any, context: Any) -> Any:
        return self._with_policy(API, self._app)(event, context)

    @contextmanager
    def enforced(self) -> Iterator[None]:
        """Within the block, AWS denies what the policies do not allow."""
        with aws_requests.intercepted(self._check):
            yield

    def _with_policy(self, function: str, handler: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        def handle(event: Any, context: Any) -> Any:
            token = self._current_function.set((function, not event.get("path", "").startswith(_DEV_ONLY)))
            try:
                return handler(event, context)
            finally:
                self._current_function.reset(token)

        return handle

    def _check(self, request: aws_requests.Request) -> str | None:
        current = self._current_function.get()
        if current is None:
            return None  # the request comes from the test, not from a function
        function, on_prod = current
        needed = needs(request)
        denied = {(function, need) for need in needed if not allows(self._policies[function], need)}
        calls.update((function, need, on_prod) for need in needed)
        self.denied |= denied
        return "AccessDeniedException" if denied else None


def _for_this_stage(policy: list[dict[str, Any]]) -> list[dict[str, Any]]:
    adapted: list[dict[str, Any]] = json.loads(json.dumps(policy).replace("devflow-dev-", f"devflow-{STAGE}-"))
    return adapted
