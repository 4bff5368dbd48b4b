"""AWS for the local stage: the moto process, the environment that points at it, and the deployment into it."""

import ipaddress
import os
import subprocess
import sys
from collections.abc import MutableMapping
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

import boto3

from infra.local.lambda_context import REGION

TEMPLATE = Path(__file__).parents[1] / "template.yaml"

_PROXIES = ("http_proxy", "https_proxy", "all_proxy")


class MotoProcess:
    """A moto server in a child process. It ends when this process ends, for any reason."""

    def __init__(self, module: str = "infra.local.moto_server") -> None:
        self._process = subprocess.Popen(  # noqa: S603  # our own interpreter
            [sys.executable, "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parents[2],
            text=True,
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    def endpoint(self) -> str:
        """Wait until the server listens, and return its URL. Raises RuntimeError if the process ends before that."""
        port = _pipe(self._process.stdout).readline().strip()
        if not port:
            raise RuntimeError(f"the moto server ended with status {self._process.wait()} before it listened")
        return f"http://127.0.0.1:{port}"

    def wait(self) -> int:
        """Block until the process ends, and return its exit status."""
        return self._process.wait()

    def stop(self) -> None:
        """End the process: close its standard input, and kill it if it still runs after five seconds."""
        _pipe(self._process.stdin).close()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        _pipe(self._process.stdout).close()


def _pipe(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None  # __init__ requests it
    return pipe


def set_aws_environment(endpoint: str | None, env: MutableMapping[str, str] = os.environ) -> None:
    """Make the AWS clients of this process use `endpoint` and nothing else.

    Removes the user's own AWS settings from the environment: profiles, credentials and proxies. With None, for moto in
    this process, no endpoint is set. Raises ValueError for an endpoint that is not on loopback.
    """
    if endpoint is not None and not _on_loopback(endpoint):
        raise ValueError(f"the local stage uses only endpoints on loopback, not {endpoint}")
    for name in list(env):
        if name.startswith(("AWS_", "BOTO")) or name.lower() in _PROXIES:
            del env[name]
    env.update(dict.fromkeys(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), "local"))  # not valid anywhere
    env["AWS_DEFAULT_REGION"] = env["AWS_REGION"] = REGION
    env["AWS_CONFIG_FILE"] = env["AWS_SHARED_CREDENTIALS_FILE"] = os.devnull
    env["AWS_EC2_METADATA_DISABLED"] = "true"
    if endpoint is not None:
        env["AWS_ENDPOINT_URL"] = endpoint


def _on_loopback(endpoint: str) -> bool:
    host = urlsplit(endpoint).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def deploy_template(stage: str, endpoint: str | None = None) -> None:
    """Create the stack of infra/template.yaml, as a deployment does. Raises RuntimeError if that fails."""
    client = boto3.client("cloudformation", endpoint_url=endpoint, region_name=REGION)
    stack = f"devflow-{stage}"
    parameters = {"Stage": stage, "WithAlarms": "off", "WithDashboard": "off"}
    client.create_stack(
        StackName=stack,
        TemplateBody=TEMPLATE.read_text(encoding="utf-8"),
        Parameters=[{"ParameterKey": name, "ParameterValue": value} for name, value in parameters.items()],
    )
    status = client.describe_stacks(StackName=stack)["Stacks"][0]["StackStatus"]
    if status != "CREATE_COMPLETE":
        raise RuntimeError(f"the state of the stack {stack} is {status}")
