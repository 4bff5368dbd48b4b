"""Fixtures of the deployment tests: an AWS account on loopback, and a copy of the project."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import boto3
import pytest

from infra.deploy.stage import PROJECT
from infra.local.lambda_context import REGION
from infra.local.local_aws import MotoProcess
from tests.support import aws_server
from tests.support.client import Http
from tests.support.lambda_runtime import machine

DEPLOY_TIMEOUT = 300
"""Seconds. Long, because other processes may use the machine as well."""


class Cloud:
    """An AWS account on loopback; see tests/support/aws_server.py."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self._control = Http(endpoint)

    def close(self) -> None:
        self._control.close_all()

    def client(self, service: str) -> Any:
        """A client of one of its services, for inspecting the account."""
        client: Callable[..., Any] = boto3.Session("test", "test", region_name=REGION).client
        return client(service, endpoint_url=self.endpoint)

    def trouble(self, method: str, path: str, how: str) -> None:
        """The next matching request fails with an error that is not retried ("refuse") or gets no response ("hang")."""
        body = json.dumps({"method": method, "path": path, "how": how}).encode()
        assert self._control.call("POST", "/cloud/trouble", (), body).status == 200

    @property
    def requests(self) -> list[dict[str, Any]]:
        """All requests so far, in order."""
        received: list[dict[str, Any]] = self._control.call("GET", "/cloud/requests").json()
        return received


class Project:
    """A copy of the project, as an operator has it."""

    def __init__(self, directory: Path, cloud: Cloud) -> None:
        self.directory = directory
        self._cloud = cloud
        self.copy(directory)
        # The functions run on this machine's processor. Another test checks that real ones are arm64.
        config = directory / ".chalice" / "config.json"
        config.write_text(json.dumps(self.config | {"lambda_architecture": machine()}), encoding="utf-8")

    @staticmethod
    def copy(directory: Path) -> None:
        """Copy the files that a deployment reads. The copy shares the caches of this project."""
        for name in ("app.py", "Makefile", "requirements.txt", "requirements.lock", "requirements-dev.lock"):
            shutil.copy2(PROJECT / name, directory / name)
        skipped = shutil.ignore_patterns("__pycache__", "deployments", "deployed")
        for name in ("chalicelib", "infra", ".chalice"):
            shutil.copytree(PROJECT / name, directory / name, ignore=skipped)
        (PROJECT / ".cache").mkdir(exist_ok=True)
        (directory / ".cache").symlink_to(PROJECT / ".cache")
        (directory / ".venv").symlink_to(sys.prefix)

    @property
    def config(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads((self.directory / ".chalice" / "config.json").read_text(encoding="utf-8"))
        return content

    def make(self, target: str, stage: str, *, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run `make TARGET STAGE=...` with this text on its standard input."""
        return subprocess.run(
            self.command(target, stage), cwd=self.directory, env=self.environment(stage), input=stdin,
            capture_output=True, text=True, timeout=DEPLOY_TIMEOUT, check=False,
        )  # fmt: skip

    @staticmethod
    def command(target: str, stage: str) -> list[str]:
        return ["make", "--no-print-directory", "-o", ".venv/installed", target, f"STAGE={stage}"]

    def environment(self, stage: str) -> Mapping[str, str]:
        """The environment of an operator with credentials, without this process's settings of the app."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("DEVFLOW_", "AWS_"))}
        return inherited | {
            "AWS_ACCESS_KEY_ID": "deployer",
            "AWS_SECRET_ACCESS_KEY": "local",
            "AWS_REGION": REGION,
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_ENDPOINT_URL": self._cloud.endpoint,
            "DEVFLOW_ASK_AT": f"{self._cloud.endpoint}/execute-api/devflow-{stage}/api",
        }


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    """An empty account."""
    child = MotoProcess(aws_server.MODULE)
    try:
        cloud = Cloud(child.endpoint())
        yield cloud
        cloud.close()
    finally:
        child.stop()


@pytest.fixture
def project(cloud: Cloud, tmp_path: Path) -> Project:
    return Project(tmp_path, cloud)
