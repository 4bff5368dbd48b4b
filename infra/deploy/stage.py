"""A stage as the repository describes it: .chalice/config.json, infra/template.yaml, and what app.py declares."""

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import yaml
from chalice.cli.factory import CLIFactory
from chalice.config import Config
from chalice.deploy import models
from chalice.deploy.appgraph import ApplicationGraphBuilder, DependencyBuilder

from infra.deploy.problems import Problem

PROJECT = Path(__file__).parents[2]
TEMPLATE = Path("infra") / "template.yaml"
KEPT = "prod"
"""The stage whose data nothing here ever deletes."""

NAME = re.compile(r"[a-z][a-z0-9]{0,15}")
"""As the parameter `Stage` of the template has it."""

M = TypeVar("M", bound=models.Model)


@dataclass(frozen=True)
class Stage:
    """One stage of a project."""

    name: str
    project: Path = PROJECT

    @property
    def stack(self) -> str:
        """The name of its CloudFormation stack, and of its API, and what the names of all its functions begin with."""
        return f"devflow-{self.name}"

    @cached_property
    def configured(self) -> Mapping[str, Any]:
        """What .chalice/config.json says of it. Raises Problem where that does not know the stage."""
        content = json.loads((self.project / ".chalice" / "config.json").read_text(encoding="utf-8"))
        stages: dict[str, Any] = content["stages"]
        if self.name not in stages:
            raise Problem(
                f".chalice/config.json has no stage {self.name!r}; it has {', '.join(sorted(stages))}.\n"
                "A new stage is an entry there, and a policy a function beside it."
            )
        configured: dict[str, Any] = stages[self.name]
        return configured

    @cached_property
    def template(self) -> str:
        return (self.project / TEMPLATE).read_text(encoding="utf-8")

    @property
    def parameters(self) -> dict[str, str]:
        """The template's parameters."""
        own: dict[str, str] = self.configured.get("template_parameters", {})
        return {"Stage": self.name} | own

    def resources_named(self, kind: str, property_name: str) -> dict[str, str]:
        """The names that the template gives to its resources of a kind on this stage, by what they are called in it."""
        resources = yaml.safe_load(self.template)["Resources"]
        return {
            logical: resource["Properties"][property_name]["Fn::Sub"].replace("${Stage}", self.name)
            for logical, resource in resources.items()
            if resource["Type"] == kind
        }

    def named(self, kind: str, property_name: str) -> list[str]:
        """These names alone."""
        return list(self.resources_named(kind, property_name).values())

    @property
    def tables(self) -> list[str]:
        return self.named("AWS::DynamoDB::Table", "TableName")

    @property
    def queues(self) -> list[str]:
        return self.named("AWS::SQS::Queue", "QueueName")

    @cached_property
    def config(self) -> Config:
        """Chalice's own view of it. Importing app.py, which it does when asked for it, sets the stage's environment."""
        return CLIFactory(str(self.project), environ=os.environ).create_config_obj(self.name)

    @cached_property
    def resources(self) -> list[models.Model]:
        """All that Chalice is to deploy, under the names that it will have."""
        application = ApplicationGraphBuilder().build(self.config, self.name)
        resources: list[models.Model] = DependencyBuilder().build_dependencies(application)
        return resources

    def of_kind(self, kind: type[M]) -> Iterator[M]:
        return (resource for resource in self.resources if isinstance(resource, kind))

    @property
    def architecture(self) -> str:
        return self.config.lambda_architecture
