"""infra/deploy/record.py: a domain name that is there already, told to Chalice as Chalice itself records one.

The rest of it runs in tests/deploy, where a whole stage is deployed; a domain name needs a certificate first.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from chalice.deploy import models

from infra.deploy import record
from infra.deploy.account import Account
from infra.deploy.stage import Stage
from infra.local.lambdas import ACCOUNT, REGION

NAME = "api.example.com"
CERTIFICATE = f"arn:aws:acm:{REGION}:{ACCOUNT}:certificate/11111111-2222-3333-4444-555555555555"


def stage(directory: Path, *wanted: str, had: str | None = None) -> Stage:
    """A stage whose configuration wants these domain names, and which had one when it was deployed last."""
    entries = [{"name": "api_gateway_custom_domain", "resource_type": "domain_name", "domain_name": had}] if had else []
    (directory / ".chalice" / "deployed").mkdir(parents=True)
    file = directory / ".chalice" / "deployed" / "dev.json"
    file.write_text(json.dumps({"resources": entries}), encoding="utf-8")
    made = Stage("dev", directory)
    mapping = models.APIMapping(resource_name="mapping", mount_path="(none)", api_gateway_stage="api")
    vars(made)["resources"] = [
        models.DomainName("domain", name, models.APIType.HTTP, mapping, CERTIFICATE) for name in wanted
    ]
    return made


@pytest.fixture
def domain(aws: None) -> Iterator[Any]:
    """A client, and the domain name with an API under it."""
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


def test_a_domain_name_that_is_there_is_told_with_all_that_chalice_compares(domain: Any, tmp_path: Path) -> None:
    (entry,) = record.domains(stage(tmp_path, NAME), Account())
    there = domain.get_domain_name(domainName=NAME)
    assert entry == {
        "name": "api_gateway_custom_domain",
        "resource_type": "domain_name",
        "domain_name": NAME,
        "hosted_zone_id": there["regionalHostedZoneId"],
        "alias_domain_name": there["regionalDomainName"],
        "certificate_arn": CERTIFICATE,
        "security_policy": "TLS_1_2",
        "api_mapping": [{"key": "/"}],
    }


def test_one_that_the_stage_is_to_have_and_has_not_is_left_for_chalice_to_make(domain: Any, tmp_path: Path) -> None:
    assert list(record.domains(stage(tmp_path, "other.example.com"), Account())) == []


def test_one_that_it_had_and_is_not_to_have_any_more_is_told_so_that_chalice_removes_it(
    domain: Any, tmp_path: Path
) -> None:
    (entry,) = record.domains(stage(tmp_path, had=NAME), Account())
    assert entry["domain_name"] == NAME


def test_another_ones_domain_name_is_none_of_its_business(domain: Any, tmp_path: Path) -> None:
    assert list(record.domains(stage(tmp_path), Account())) == []
