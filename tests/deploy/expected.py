"""The resources that a stage must have, read from infra/template.yaml, app.py and .chalice/.

A new table, queue or function there is expected without a change here.
"""

import base64
import hashlib
import json
import sys
from typing import Any

from chalice.app import ScheduledEventConfig, ScheduleExpression, SQSEventConfig

from app import app
from infra.local.lambda_context import ACCOUNT, REGION
from tests.deploy.conftest import Project
from tests.support import template
from tests.support.environment import STAGE as LOCAL

API = "api_handler"


def arn(service: str, name: str) -> str:
    return f"arn:aws:{service}:{REGION}:{ACCOUNT}:{name}"


class Expected:
    """The expected resources of one stage. `api_id` is the id of its API, which AWS generates."""

    def __init__(self, project: Project, stage: str, api_id: str) -> None:
        self._project, self._stage, self._api_id = project, stage, api_id
        self._settings = project.config["stages"][stage]
        self._sources = {source.name: source for source in app.event_sources}

    def full_name(self, function: str) -> str:
        """The function's name in AWS. Chalice adds the handler's name, except for the API's function."""
        return f"devflow-{self._stage}" if function == API else f"devflow-{self._stage}-{function}"

    def functions(self) -> dict[str, Any]:
        return {self.full_name(name): self._function(name) for name in (API, *self._sources)}

    def _function(self, name: str) -> dict[str, Any]:
        configured = self._settings["lambda_functions"][name]
        source = self._sources.get(name)
        scheduled = isinstance(source, ScheduledEventConfig)
        allowed = []
        if name == API:
            allowed = [("apigateway.amazonaws.com", arn("execute-api", f"{self._api_id}/*"))]
        elif scheduled:
            allowed = [("events.amazonaws.com", arn("events", f"rule/devflow-{self._stage}-{name}-event"))]
        return {
            "settings": {
                "Runtime": f"python3.{sys.version_info.minor}",
                "Handler": "app.app" if name == API else f"app.{name}",
                "MemorySize": configured["lambda_memory_size"],
                "Timeout": configured["lambda_timeout"],
                "Architectures": [self._project.config["lambda_architecture"]],
                "Role": f"arn:aws:iam::{ACCOUNT}:role/devflow-{self._stage}-{name}",
                "CodeSha256": self.code(),
            },
            "environment": self._settings["environment_variables"],
            "allowed": allowed,
            "asynchronous": (0, 60) if scheduled else None,
        }

    def code(self) -> str:
        """The digest of the package, as Lambda returns it."""
        (package,) = (self._project.directory / ".chalice" / "deployments").iterdir()
        return base64.b64encode(hashlib.sha256(package.read_bytes()).digest()).decode()

    def roles(self) -> dict[str, Any]:
        """One role for each function, with one policy, which is in .chalice/."""
        return {
            f"devflow-{self._stage}-{name}": {
                "trusted": {"Service": "lambda.amazonaws.com"},
                "policies": {f"devflow-{self._stage}-{name}": self._policy(name)},
            }
            for name in (API, *self._sources)
        }

    def _policy(self, function: str) -> Any:
        file = self._project.directory / ".chalice" / self._settings["lambda_functions"][function]["iam_policy_file"]
        return json.loads(file.read_text(encoding="utf-8"))

    def triggers(self) -> list[Any]:
        """Without their ids."""
        return [
            {
                "EventSourceArn": arn("sqs", str(source.queue).replace(f"-{LOCAL}-", f"-{self._stage}-")),
                "FunctionArn": arn("lambda", f"function:{self.full_name(name)}"),
                "BatchSize": source.batch_size,
                "ScalingConfig": {"MaximumConcurrency": source.maximum_concurrency},
                "FunctionResponseTypes": ["ReportBatchItemFailures"],
                "State": "Enabled",
            }
            for name, source in self._sources.items()
            if isinstance(source, SQSEventConfig)
        ]

    def rules(self) -> dict[str, Any]:
        return {
            f"devflow-{self._stage}-{name}-event": {
                "schedule": _expression(source.schedule_expression),
                "state": "ENABLED",
                "targets": [arn("lambda", f"function:{self.full_name(name)}")],
            }
            for name, source in self._sources.items()
            if isinstance(source, ScheduledEventConfig)
        }

    def routes(self) -> dict[tuple[str, str], str]:
        """The function of each method of each path: the API's. A preflight has none; API Gateway responds to it.

        PIN login has routes only on stages for development.
        """
        routes: dict[tuple[str, str], str] = {}
        for path, methods in app.routes.items():
            if self._stage == "prod" and path.startswith("/api/auth/pin"):
                continue
            routes |= {(method, path): self.full_name(API) for method in methods}
            if any(entry.cors for entry in methods.values()):
                routes["OPTIONS", path] = ""
        return routes

    def throttling(self) -> list[tuple[int, int]]:
        """The requests per second and the burst that API Gateway lets through, of the whole stage."""
        entry = self._settings["api_throttling"]
        return [(entry["requests_per_second"], entry["burst"])]

    def tables(self) -> dict[str, Any]:
        tables = [table["Properties"] for table in template.resources("AWS::DynamoDB::Table").values()]
        return {
            template.resolve_name(table["TableName"], self._stage): {
                "expiry": table.get("TimeToLiveSpecification", {}).get("AttributeName"),
                "recovery": "ENABLED",
                "protected": self._stage == "prod",
            }
            for table in tables
        }

    def queues(self) -> dict[str, Any]:
        queues = {}
        for queue in template.resources("AWS::SQS::Queue").values():
            properties = queue["Properties"]
            redrive = properties.get("RedrivePolicy")
            queues[template.resolve_name(properties["QueueName"], self._stage)] = {
                "VisibilityTimeout": str(properties.get("VisibilityTimeout", 30)),
                "MessageRetentionPeriod": str(properties["MessageRetentionPeriod"]),
                "RedrivePolicy": redrive and json.dumps(self._redrive(redrive)),
            }
        return queues

    def _redrive(self, policy: dict[str, Any]) -> dict[str, Any]:
        dead = template.resources("AWS::SQS::Queue")[policy["deadLetterTargetArn"]["Fn::GetAtt"][0]]["Properties"]
        return {
            "deadLetterTargetArn": arn("sqs", template.resolve_name(dead["QueueName"], self._stage)),
            "maxReceiveCount": policy["maxReceiveCount"],
        }

    def secrets(self) -> list[str]:
        return sorted(self._named("AWS::SecretsManager::Secret", "Name"))

    def alarms(self) -> dict[str, template.Metric]:
        if not self._is_enabled("WithAlarms"):
            return {}
        alarms = [alarm["Properties"] for alarm in template.resources("AWS::CloudWatch::Alarm").values()]
        return {
            template.resolve_name(alarm["AlarmName"], self._stage): template.monitored_metric(alarm, self._stage)
            for alarm in alarms
        }

    def dashboards(self) -> list[str]:
        return [f"devflow-{self._stage}"] if self._is_enabled("WithDashboard") else []

    def topics(self) -> list[str]:
        return [arn("sns", f"devflow-{self._stage}-alarms")] if self._is_enabled("WithAlarms") else []

    def logs(self) -> dict[str, int]:
        return {f"/aws/lambda/{self.full_name(name)}": 30 for name in (API, *self._sources)}

    def _is_enabled(self, parameter: str) -> bool:
        return bool(self._settings["template_parameters"][parameter] == "on")

    def _named(self, kind: str, property_name: str) -> list[str]:
        found = template.resources(kind).values()
        return [template.resolve_name(resource["Properties"][property_name], self._stage) for resource in found]


def _expression(schedule: str | ScheduleExpression) -> str:
    return schedule if isinstance(schedule, str) else schedule.to_string()
