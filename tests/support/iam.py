"""Holds what the functions do against their policies in .chalice/, as AWS will and moto does not.

`AsDeployed(app)` is the app as its functions run: whatever a function sends to AWS that its policy does not allow is
refused with AWS's own error, and noted in `refused`. What it sends is noted in `calls` too: ledger.py holds at the end
of a whole run that no policy allows more than that.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from infra.local.lambda_context import ACCOUNT, REGION
from tests.support import wire
from tests.support.environment import STAGE

CHALICE = Path(__file__).parents[2] / ".chalice"
API = "api_handler"
"""What Chalice calls the function behind the HTTP routes."""

_KINDS = {"Put": "PutItem", "Update": "UpdateItem", "Delete": "DeleteItem", "ConditionCheck": "ConditionCheckItem"}

Need = tuple[str, str]
"""An action and the ARN of its resource."""

Call = tuple[str, Need, bool]
"""A function, what it needed, and whether it needed that on prod as well."""

calls: set[Call] = set()
"""What functions sent to AWS in this process so far."""

_DEV_ONLY = "/api/auth/pin"
"""What the paths of routes begin with that prod does not have; tests/http/test_prod.py."""


def statements(stage: str, function: str) -> list[dict[str, Any]]:
    """The statements of a function's policy on a stage."""
    policy = json.loads((CHALICE / f"policy-{stage}-{function}.json").read_text(encoding="utf-8"))
    found: list[dict[str, Any]] = policy["Statement"]
    return found


def allows(policy: list[dict[str, Any]], need: Need) -> bool:
    """Whether any statement allows it (none of them denies, nor has a condition)."""
    action, resource = need
    return any(
        action in statement["Action"] and any(fnmatchcase(resource, pattern) for pattern in statement["Resource"])
        for statement in policy
    )


def needs(request: wire.Request) -> set[Need]:
    """What a request needs to be allowed, by AWS's service authorization reference."""
    params, operation = request.params, request.operation
    if request.service == "sqs":
        name = params.get("QueueName") or params["QueueUrl"].rpartition("/")[2]
        return {(f"sqs:{operation}", f"arn:aws:sqs:{REGION}:{ACCOUNT}:{name}")}
    if request.service == "sesv2":
        sender = params["FromEmailAddress"]
        return {(f"ses:{operation}", f"arn:aws:ses:{REGION}:{ACCOUNT}:identity/{sender}")}
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


class AsDeployed:
    """The app, each of its functions held to its own policy (the one of dev, under this stage's names)."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self.routes = app.routes
        self.event_sources = app.event_sources
        functions = [source.name for source in app.event_sources]
        self.handler_map = {name: self._held(name, app.handler_map[name]) for name in functions}
        self.refused: set[tuple[str, Need]] = set()
        self._policies = {name: _as_of_this_stage(statements("dev", name)) for name in (API, *functions)}
        self._acting: ContextVar[tuple[str, bool] | None] = ContextVar("acting", default=None)

    def __call__(self, event: Any, context: Any) -> Any:
        return self._held(API, self._app)(event, context)

    @contextmanager
    def enforced(self) -> Iterator[None]:
        """Within the block AWS refuses what the policies do not allow."""
        with wire.guarded(self._verdict):
            yield

    def _held(self, function: str, handler: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        def act(event: Any, context: Any) -> Any:
            before = self._acting.set((function, not event.get("path", "").startswith(_DEV_ONLY)))
            try:
                return handler(event, context)
            finally:
                self._acting.reset(before)

        return act

    def _verdict(self, request: wire.Request) -> str | None:
        acting = self._acting.get()
        if acting is None:
            return None  # the test itself, which is no function
        function, on_prod = acting
        wanted = needs(request)
        refused = {(function, need) for need in wanted if not allows(self._policies[function], need)}
        calls.update((function, need, on_prod) for need in wanted)
        self.refused |= refused
        return "AccessDeniedException" if refused else None


def _as_of_this_stage(policy: list[dict[str, Any]]) -> list[dict[str, Any]]:
    adapted: list[dict[str, Any]] = json.loads(json.dumps(policy).replace("devflow-dev-", f"devflow-{STAGE}-"))
    return adapted
