"""infra/deploy/deployed_resources.py: custom domains are recorded as Chalice records them.

tests/deploy tests the other resources, in a stage that is really deployed. A custom domain would need a certificate.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from chalice.deploy import models

from infra.deploy import deployed_resources
from infra.deploy.aws_account import AwsAccount
from infra.deploy.stage import Stage
from infra.local.lambda_context import ACCOUNT, REGION

NAME = "api.example.com"
CERTIFICATE = f"arn:aws:acm:{REGION}:{ACCOUNT}:certificate/11111111-2222-3333-4444-555555555555"


def stage(directory: Path, *configured: str, recorded: str | None = None) -> Stage:
    """A stage with these custom domains in its configuration, and one in the record of the last deployment."""
    entries = (
        [{"name": "api_gateway_custom_domain", "resource_type": "domain_name", "domain_name": recorded}]
        if recorded
        else []
    )
    (directory / ".chalice" / "deployed").mkdir(parents=True)
    file = directory / ".chalice" / "deployed" / "dev.json"
    file.write_text(json.dumps({"resources": entries}), encoding="utf-8")
    created = Stage("dev", directory)
    mapping = models.APIMapping(resource_name="mapping", mount_path="(none)", api_gateway_stage="api")
    vars(created)["resources"] = [
        models.DomainName("domain", name, models.APIType.HTTP, mapping, CERTIFICATE) for name in configured
    ]
    return created


@pytest.fixture
def domain(aws: None) -> Iterator[Any]:
    """A client; the custom domain exists and is mapped to an API."""
    client = boto3.client("apigateway")
    client.create_domain_name(
        domainName=NAME,
        regionalCertificateArn=CERTIFICATE,
        endpointConfiguration={"types": ["REGIONAL"]},
        securityPolicy="TLS_1_2",
    )
    api = client.create_rest_api(name="devflow-dev")["id"]
    client.create_base_path_mapping(domainName=NAME, restApiId=api)
    yield client
    client.delete_domain_name(domainName=NAME)
    client.delete_rest_api(restApiId=api)


def test_existing_domain_is_recorded_with_all_values_that_chalice_compares(domain: Any, tmp_path: Path) -> None:
    (entry,) = deployed_resources.domains(stage(tmp_path, NAME), AwsAccount())
    actual = domain.get_domain_name(domainName=NAME)
    assert entry == {
        "name": "api_gateway_custom_domain",
        "resource_type": "domain_name",
        "domain_name": NAME,
        "hosted_zone_id": actual["regionalHostedZoneId"],
        "alias_domain_name": actual["regionalDomainName"],
        "certificate_arn": CERTIFICATE,
        "security_policy": "TLS_1_2",
        "api_mapping": [{"key": "/"}],
    }


def test_configured_domain_that_does_not_exist_is_not_recorded(domain: Any, tmp_path: Path) -> None:
    assert list(deployed_resources.domains(stage(tmp_path, "other.example.com"), AwsAccount())) == []


def test_recorded_domain_that_is_no_longer_configured_stays_recorded(domain: Any, tmp_path: Path) -> None:
    """So Chalice removes it."""
    (entry,) = deployed_resources.domains(stage(tmp_path, recorded=NAME), AwsAccount())
    assert entry["domain_name"] == NAME


def test_domain_of_another_stage_is_ignored(domain: Any, tmp_path: Path) -> None:
    assert list(deployed_resources.domains(stage(tmp_path), AwsAccount())) == []
