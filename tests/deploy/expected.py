"""What a stage should have, by what the repository says of it.

Read from infra/template.yaml, from what app.py declares, and from .chalice/: a table, a queue or a function that is
added there is expected without being named here.
"""

import base64
import hashlib
import json
import sys
from typing import Any

from chalice.app import ScheduledEventConfig, ScheduleExpression, SQSEventConfig

from app import app
from infra.local.lambdas import ACCOUNT, REGION
from tests.deploy.conftest import Project
from tests.support import template
from tests.support.environment import STAGE as LOCAL

API = "api_handler"


def arn(service: str, name: str) -> str:
    return f"arn:aws:{service}:{REGION}:{ACCOUNT}:{name}"


class Expected:
    """One stage of a project. `api` is the id that its API has got."""

    def __init__(self, project: Project, stage: str, api: str) -> None:
        self._project, self._stage, self._api = project, stage, api
        self._own = project.config["stages"][stage]
        self._sources = {source.name: source for source in app.event_sources}

    def whole_name(self, function: str) -> str:
        """Chalice calls the function of the API as the stage is called, and the others after their handlers."""
        return f"devflow-{self._stage}" if function == API else f"devflow-{self._stage}-{function}"

    def functions(self) -> dict[str, Any]:
        return {self.whole_name(name): self._function(name) for name in (API, *self._sources)}

    def _function(self, name: str) -> dict[str, Any]:
        configured = self._own["lambda_functions"][name]
        source = self._sources.get(name)
        scheduled = isinstance(source, ScheduledEventConfig)
        allowed = []
        if name == API:
            allowed = [("apigateway.amazonaws.com", arn("execute-api", f"{self._api}/*"))]
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
            "environment": self._own["environment_variables"],
            "allowed": allowed,
            "asynchronous": (0, 60) if scheduled else None,
        }

    def code(self) -> str:
        """The digest of the one package that was built, as Lambda tells it."""
        (package,) = (self._project.directory / ".chalice" / "deployments").iterdir()
        return base64.b64encode(hashlib.sha256(package.read_bytes()).digest()).decode()

    def roles(self) -> dict[str, Any]:
        """A role a function, with one policy: the one in .chalice/."""
        return {
            f"devflow-{self._stage}-{name}": {
                "assumed by": {"Service": "lambda.amazonaws.com"},
                "policies": {f"devflow-{self._stage}-{name}": self._policy(name)},
            }
            for name in (API, *self._sources)
        }

    def _policy(self, function: str) -> Any:
        file = self._project.directory / ".chalice" / self._own["lambda_functions"][function]["iam_policy_file"]
        return json.loads(file.read_text(encoding="utf-8"))

    def triggers(self) -> list[Any]:
        """But for their ids."""
        return [
            {
                "EventSourceArn": arn("sqs", str(source.queue).replace(f"-{LOCAL}-", f"-{self._stage}-")),
                "FunctionArn": arn("lambda", f"function:{self.whole_name(name)}"),
                "BatchSize": source.batch_size,
                "FunctionResponseTypes": ["ReportBatchItemFailures"],
                "State": "Enabled",
            }
            for name, source in self._sources.items()
            if isinstance(source, SQSEventConfig)
        ]

    def rules(self) -> dict[str, Any]:
        return {
            f"devflow-{self._stage}-{name}-event": {
                "schedule": _written(source.schedule_expression),
                "state": "ENABLED",
                "targets": [arn("lambda", f"function:{self.whole_name(name)}")],
            }
            for name, source in self._sources.items()
            if isinstance(source, ScheduledEventConfig)
        }

    def routes(self) -> dict[tuple[str, str], str]:
        """Every method of every path leads to the API's function; a preflight, which API Gateway answers, nowhere.

        The routes of PINs are there on stages for development only.
        """
        routes: dict[tuple[str, str], str] = {}
        for path, methods in app.routes.items():
            if self._stage == "prod" and path.startswith("/api/auth/pin"):
                continue
            routes |= {(method, path): self.whole_name(API) for method in methods}
            if any(entry.cors for entry in methods.values()):
                routes["OPTIONS", path] = ""
        return routes

    def tables(self) -> dict[str, Any]:
        said = [table["Properties"] for table in template.resources("AWS::DynamoDB::Table").values()]
        return {
            template.named(table["TableName"], self._stage): {
                "expiry": table.get("TimeToLiveSpecification", {}).get("AttributeName"),
                "recovery": "ENABLED",
                "protected": self._stage == "prod",
            }
            for table in said
        }

    def queues(self) -> dict[str, Any]:
        queues = {}
        for queue in template.resources("AWS::SQS::Queue").values():
            said = queue["Properties"]
            redrive = said.get("RedrivePolicy")
            queues[template.named(said["QueueName"], self._stage)] = {
                "VisibilityTimeout": str(said.get("VisibilityTimeout", 30)),
                "MessageRetentionPeriod": str(said["MessageRetentionPeriod"]),
                "RedrivePolicy": redrive and json.dumps(self._redrive(redrive)),
            }
        return queues

    def _redrive(self, said: dict[str, Any]) -> dict[str, Any]:
        dead = template.resources("AWS::SQS::Queue")[said["deadLetterTargetArn"]["Fn::GetAtt"][0]]["Properties"]
        return {
            "deadLetterTargetArn": arn("sqs", template.named(dead["QueueName"], self._stage)),
            "maxReceiveCount": said["maxReceiveCount"],
        }

    def secrets(self) -> list[str]:
        return sorted(self._named("AWS::SecretsManager::Secret", "Name"))

    def alarms(self) -> dict[str, tuple[str, str]]:
        if not self._has("WithAlarms"):
            return {}
        said = [alarm["Properties"] for alarm in template.resources("AWS::CloudWatch::Alarm").values()]
        return {
            template.named(alarm["AlarmName"], self._stage): (
                alarm["MetricName"],
                template.named(alarm["Dimensions"][0]["Value"], self._stage),
            )
            for alarm in said
        }

    def dashboards(self) -> list[str]:
        return [f"devflow-{self._stage}"] if self._has("WithDashboard") else []

    def topics(self) -> list[str]:
        return [arn("sns", f"devflow-{self._stage}-alarms")] if self._has("WithAlarms") else []

    def logs(self) -> dict[str, int]:
        return {f"/aws/lambda/{self.whole_name(name)}": 30 for name in (API, *self._sources)}

    def _has(self, parameter: str) -> bool:
        return bool(self._own["template_parameters"][parameter] == "on")

    def _named(self, kind: str, property_name: str) -> list[str]:
        found = template.resources(kind).values()
        return [template.named(resource["Properties"][property_name], self._stage) for resource in found]


def _written(schedule: str | ScheduleExpression) -> str:
    return schedule if isinstance(schedule, str) else schedule.to_string()
