"""A stage as the repository describes it: .chalice/config.json, infra/template.yaml, and what app.py declares."""

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import yaml
from chalice.cli.factory import CLIFactory
from chalice.config import Config
from chalice.deploy import models
from chalice.deploy.appgraph import ApplicationGraphBuilder, DependencyBuilder

from infra.deploy.deploy_error import DeployError

PROJECT = Path(__file__).parents[2]
TEMPLATE = Path("infra") / "template.yaml"
PROTECTED_STAGE = "prod"
"""The stage whose data no command deletes."""

STAGE_NAME = re.compile(r"[a-z][a-z0-9]{0,15}")
"""The same pattern as the template's parameter `Stage`."""

M = TypeVar("M", bound=models.Model)


class Throttling(NamedTuple):
    """How many requests API Gateway lets through to a stage, from all callers together. It rejects others with 429."""

    requests_per_second: int = 500
    burst: int = 1_000
    """How many requests may arrive at the same time (the size of the token bucket)."""


@dataclass(frozen=True)
class Stage:
    """One stage of a project."""

    name: str
    project: Path = PROJECT

    @property
    def stack(self) -> str:
        """The name of the CloudFormation stack. The API has the same name, and all function names begin with it."""
        return f"devflow-{self.name}"

    @cached_property
    def settings(self) -> Mapping[str, Any]:
        """The stage's entry in .chalice/config.json. Raises DeployError if it has none."""
        content = json.loads((self.project / ".chalice" / "config.json").read_text(encoding="utf-8"))
        stages: dict[str, Any] = content["stages"]
        if self.name not in stages:
            raise DeployError(
                f".chalice/config.json has no stage {self.name!r}; it has {', '.join(sorted(stages))}.\n"
                "To create a stage, add an entry there and a policy file for each function beside it."
            )
        settings: dict[str, Any] = stages[self.name]
        return settings

    @cached_property
    def template(self) -> str:
        """The template as compact JSON, because a request to CloudFormation may contain 51,200 bytes of it.

        It leaves out the metadata of resources, which is for checkov only.
        """
        template = yaml.safe_load((self.project / TEMPLATE).read_text(encoding="utf-8"))
        for resource in template["Resources"].values():
            resource.pop("Metadata", None)
        return json.dumps(template, separators=(",", ":"))

    @property
    def throttling(self) -> Throttling:
        """The entry `api_throttling`, with defaults for what it lacks. Raises DeployError if it is not valid."""
        entry = self.settings.get("api_throttling", {})
        valid = isinstance(entry, dict) and entry.keys() <= set(Throttling._fields)
        if not valid or not all(type(value) is int and value > 0 for value in entry.values()):
            raise DeployError(
                f"The entry api_throttling of the stage {self.name} in .chalice/config.json is not valid. It needs the "
                'form {"requests_per_second": 500, "burst": 1000}, with positive integers.'
            )
        return Throttling(**entry)

    @property
    def parameters(self) -> dict[str, str]:
        """The values of the template's parameters."""
        own: dict[str, str] = self.settings.get("template_parameters", {})
        return {"Stage": self.name} | own

    def names_by_logical_id(self, kind: str, name_property: str) -> dict[str, str]:
        """The names of the template's resources of a type (`AWS::SQS::Queue`) on this stage, by logical id."""
        resources = yaml.safe_load(self.template)["Resources"]
        return {
            logical_id: resource["Properties"][name_property]["Fn::Sub"].replace("${Stage}", self.name)
            for logical_id, resource in resources.items()
            if resource["Type"] == kind
        }

    def resource_names(self, kind: str, name_property: str) -> list[str]:
        """These names without the logical ids."""
        return list(self.names_by_logical_id(kind, name_property).values())

    @property
    def tables(self) -> list[str]:
        return self.resource_names("AWS::DynamoDB::Table", "TableName")

    @property
    def queues(self) -> list[str]:
        return self.resource_names("AWS::SQS::Queue", "QueueName")

    @cached_property
    def chalice_config(self) -> Config:
        """Chalice's configuration of the stage. Chalice sets the stage's environment variables, then imports app.py."""
        return CLIFactory(str(self.project), environ=os.environ).create_config_obj(self.name)

    @cached_property
    def resources(self) -> list[models.Model]:
        """All resources that Chalice deploys, with the names that they will have."""
        application = ApplicationGraphBuilder().build(self.chalice_config, self.name)
        resources: list[models.Model] = DependencyBuilder().build_dependencies(application)
        return resources

    def resources_of_type(self, kind: type[M]) -> Iterator[M]:
        return (resource for resource in self.resources if isinstance(resource, kind))

    @property
    def architecture(self) -> str:
        """The functions' processor: `arm64` or `x86_64`."""
        return self.chalice_config.lambda_architecture
