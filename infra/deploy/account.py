"""The AWS account and region that a command is about."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from infra.deploy.problems import Problem

_CONFIG = Config(retries={"total_max_attempts": 10, "mode": "standard"})


@dataclass
class Account:
    """Where the usual settings of AWS's tools point: AWS_PROFILE, AWS_REGION, ~/.aws and so on."""

    profile: str | None = None
    _clients: dict[str, Any] = field(default_factory=dict)

    def client(self, service: str) -> Any:
        """boto3's client of a service. Raises Problem where no region is set."""
        if service not in self._clients:
            self._clients[service] = self._session.client(service, region_name=self.region, config=_CONFIG)
        return self._clients[service]

    def pages(self, service: str, operation: str, items: str, **arguments: Any) -> Iterator[Any]:
        """Every item of a paginated operation, from the list that its answers call `items`."""
        for page in self.client(service).get_paginator(operation).paginate(**arguments):
            yield from page.get(items) or []

    @cached_property
    def id(self) -> str:
        """The account's number. Raises Problem where there are no credentials, or they are not good."""
        assert self.region
        try:
            return str(self.client("sts").get_caller_identity()["Account"])
        except (BotoCoreError, ClientError) as error:
            raise Problem(
                f"There are no credentials for AWS that work ({error}).\n"
                "Set AWS_PROFILE, or log in with `aws sso login` or `aws configure`."
            ) from None

    @cached_property
    def region(self) -> str:
        """Raises Problem where none is set."""
        region = self._session.region_name
        if not region:
            raise Problem("No region is set. Set AWS_REGION, for example AWS_REGION=eu-central-1.")
        return str(region)

    @cached_property
    def _session(self) -> Any:
        try:
            return boto3.Session(profile_name=self.profile, region_name=os.environ.get("AWS_REGION"))
        except BotoCoreError as error:
            raise Problem(f"{error}.") from None


def code(error: ClientError) -> str:
    """What AWS calls an error."""
    return str(error.response.get("Error", {}).get("Code", ""))
