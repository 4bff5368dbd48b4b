"""The AWS account and region that a command works on."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from infra.deploy.deploy_error import DeployError

_CONFIG = Config(retries={"total_max_attempts": 10, "mode": "standard"})


@dataclass
class AwsAccount:
    """The account and region that AWS's usual settings select: AWS_PROFILE, AWS_REGION, ~/.aws and so on."""

    profile: str | None = None
    _clients: dict[str, Any] = field(default_factory=dict)

    def client(self, service: str) -> Any:
        """boto3's client of a service. Raises DeployError if no region is set."""
        if service not in self._clients:
            self._clients[service] = self._session.client(service, region_name=self.region, config=_CONFIG)
        return self._clients[service]

    def paginate(self, service: str, operation: str, result_key: str, **arguments: Any) -> Iterator[Any]:
        """Every item of a paginated operation. `result_key` is the name of the list in its responses."""
        for page in self.client(service).get_paginator(operation).paginate(**arguments):
            yield from page.get(result_key) or []

    @cached_property
    def id(self) -> str:
        """The account's number. Raises DeployError if there are no valid credentials."""
        assert self.region
        try:
            return str(self.client("sts").get_caller_identity()["Account"])
        except (BotoCoreError, ClientError) as error:
            raise DeployError(
                f"AWS did not accept the credentials, or there are none ({error}).\n"
                "Set AWS_PROFILE, or log in with `aws sso login` or `aws configure`."
            ) from None

    @cached_property
    def region(self) -> str:
        """The region's name. Raises DeployError if none is set."""
        region = self._session.region_name
        if not region:
            raise DeployError("No region is set. Set AWS_REGION, for example AWS_REGION=eu-central-1.")
        return str(region)

    @cached_property
    def _session(self) -> Any:
        try:
            return boto3.Session(profile_name=self.profile, region_name=os.environ.get("AWS_REGION"))
        except BotoCoreError as error:
            raise DeployError(f"{error}.") from None


def error_code(error: ClientError) -> str:
    """AWS's code of an error, such as `ResourceNotFoundException`; empty if it has none."""
    return str(error.response.get("Error", {}).get("Code", ""))
