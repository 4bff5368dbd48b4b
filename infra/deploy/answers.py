"""Whether a deployed stage answers."""

import json
import os
import time
import urllib.error
import urllib.request

from infra.deploy.problems import Problem
from infra.deploy.stage import Stage

PATIENCE = 60
"""Seconds after which an API that does not answer will not do so by itself."""


def public_address(stage: Stage, api_address: str) -> str:
    """Where people find the stage, without a slash at the end: under its own domain name, if it has one."""
    domain = stage.config.api_gateway_custom_domain
    if not domain:
        return api_address.rstrip("/")
    return f"https://{domain['domain_name']}/{domain.get('url_prefix', '').strip('/')}".rstrip("/")


def asked_at(address: str) -> str:
    """Where this machine asks whether a stage answers: DEVFLOW_ASK_AT, for one that cannot reach the address itself."""
    return os.environ.get("DEVFLOW_ASK_AT", address).rstrip("/")


def wait(address: str) -> None:
    """Ask GET /health until all is well. A new API answers after some seconds. Raises Problem if it does not."""
    until = time.monotonic() + PATIENCE
    while True:
        trouble = _trouble(f"{address}/health")
        if trouble is None:
            return
        if time.monotonic() > until:
            raise Problem(f"It is deployed, but {address}/health does not say that all is well: {trouble}")
        time.sleep(2)


def _trouble(url: str) -> str | None:
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310  # an address of API Gateway
            body = json.load(answer)
    except urllib.error.HTTPError as error:
        return f"{error.code} {error.read().decode(errors='replace')}"
    except (OSError, ValueError) as error:
        return str(error)
    return None if body.get("status") == "ok" else str(body)
