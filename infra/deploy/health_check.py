"""Waits until a deployed stage reports that it is healthy."""

import json
import os
import time
import urllib.error
import urllib.request

from infra.deploy.deploy_error import DeployError
from infra.deploy.stage import Stage

TIMEOUT = 60
"""Seconds. An API that is not healthy by then needs an operator."""


def public_url(stage: Stage, api_url: str) -> str:
    """The URL of the stage for its users, without a trailing slash: its custom domain if it has one, else `api_url`."""
    domain = stage.chalice_config.api_gateway_custom_domain
    if not domain:
        return api_url.rstrip("/")
    return f"https://{domain['domain_name']}/{domain.get('url_prefix', '').strip('/')}".rstrip("/")


def url_to_check(url: str) -> str:
    """The URL for the check: DEVFLOW_ASK_AT if it is set, for a machine that cannot reach `url`, else `url`."""
    return os.environ.get("DEVFLOW_ASK_AT", url).rstrip("/")


def wait_until_healthy(url: str) -> None:
    """Send GET /health until the status is ok; a new API needs some seconds. Raises DeployError after TIMEOUT."""
    deadline = time.monotonic() + TIMEOUT
    while True:
        failure = _failure(f"{url}/health")
        if failure is None:
            return
        if time.monotonic() > deadline:
            raise DeployError(
                f"The stage is deployed, but {url}/health does not report that it is healthy: {failure}\n"
                "The logs of its functions in CloudWatch have the reason."
            )
        time.sleep(2)


def _failure(url: str) -> str | None:
    """Why the check fails, or None if it succeeds."""
    try:
        with urllib.request.urlopen(url, timeout=30) as response:  # noqa: S310  # an address of API Gateway
            body = json.load(response)
    except urllib.error.HTTPError as error:
        return f"{error.code} {error.read().decode(errors='replace')}"
    except (OSError, ValueError) as error:
        return str(error)
    return None if body.get("status") == "ok" else str(body)
