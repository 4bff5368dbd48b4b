"""The parts of a deployment that need no AWS."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from infra.deploy import chalice_hook, checks, destroy, health_check, resource_import, stack
from infra.deploy.__main__ import main
from infra.deploy.deploy_error import DeployError
from infra.deploy.destroy import RETAINED_TYPES
from infra.deploy.resource_settings import gateway_responses
from infra.deploy.stage import PROJECT, STAGE_NAME, Stage, Throttling
from tests.support import template

CONFIG: dict[str, Any] = json.loads((PROJECT / ".chalice" / "config.json").read_text(encoding="utf-8"))


def change(replacement: str | None, kind: str = "AWS::DynamoDB::Table") -> dict[str, Any]:
    """A change of a change set, as CloudFormation returns it."""
    fields = {"Action": "Modify", "LogicalResourceId": "Tasks", "ResourceType": kind}
    return fields | ({"Replacement": replacement} if replacement else {})


@pytest.mark.parametrize("replacement", ["True", "Conditional"])
def test_change_that_may_replace_a_table_is_rejected(replacement: str) -> None:
    with pytest.raises(DeployError, match="would replace the tables Tasks by empty ones, so nothing was changed"):
        stack.reject_table_replacement([change("False"), change(replacement)])
    assert "REPLACED" in stack.format_change(change(replacement))


def test_other_changes_are_allowed() -> None:
    stack.reject_table_replacement([change("False"), change(None), change("True", "AWS::SQS::Queue")])


def test_change_set_without_changes_is_not_a_failure() -> None:
    stack.raise_unless_no_changes("The submitted information didn't contain changes. Submit different information.")
    with pytest.raises(DeployError, match="Parameters: \\[Stage\\] must have values"):
        stack.raise_unless_no_changes("Parameters: [Stage] must have values")


@pytest.mark.parametrize("name", ["", "Dev", "1dev", "dev-2", "dev 2", "../dev", "d" * 17])
def test_invalid_stage_name_is_rejected(name: str) -> None:
    with pytest.raises(DeployError, match="lower case letters and digits"):
        checks.check_name(name)


def test_template_accepts_the_same_stage_names() -> None:
    assert template.load()["Parameters"]["Stage"]["AllowedPattern"] == STAGE_NAME.pattern
    assert all(STAGE_NAME.fullmatch(stage) for stage in CONFIG["stages"])


@pytest.mark.parametrize("version", [(3, 10), (3, 15), (4, 0)])
def test_python_version_that_lambda_lacks_is_rejected(version: tuple[int, int]) -> None:
    with pytest.raises(DeployError, match=r"Lambda has no Python"):
        checks.check_python(version)


def test_unknown_stage_is_rejected_with_the_names_of_the_known_ones() -> None:
    with pytest.raises(DeployError, match="has no stage 'demo'; it has dev, prod"):
        _ = Stage("demo").settings


@pytest.mark.parametrize("typed", ["", "\n", "yes\n", "PROD\n", "dev\n"])
def test_prod_is_removed_only_when_its_name_is_typed(typed: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(DeployError, match="Nothing was changed"):
        destroy.confirm(Stage("prod"), lambda: typed)
    destroy.confirm(Stage("prod"), lambda: "prod\n")
    assert "Its tables stay." in capsys.readouterr().out


def test_other_stages_are_removed_without_confirmation() -> None:
    destroy.confirm(Stage("dev"), lambda: pytest.fail("it asked for confirmation"))


def test_every_retained_type_can_be_deleted_and_imported() -> None:
    retained = [
        resource["Type"] for resource in template.load()["Resources"].values() if resource["DeletionPolicy"] != "Delete"
    ]
    assert set(retained) == {kind for kind, _, _ in RETAINED_TYPES}
    assert set(retained) == set(resource_import.IMPORTED_TYPES)


def test_import_template_has_only_the_imported_resources() -> None:
    """CloudFormation rejects an import that has outputs, or a resource without a DeletionPolicy."""
    imported = [{"LogicalResourceId": "Tasks"}, {"LogicalResourceId": "Secret"}]
    template_content = json.loads(Stage("prod").template)
    reduced = json.loads(resource_import.import_template(Stage("prod"), imported))
    assert reduced["Resources"] == {name: template_content["Resources"][name] for name in ("Tasks", "Secret")}
    assert all("DeletionPolicy" in resource for resource in reduced["Resources"].values())
    assert set(reduced) == set(template_content) - {"Outputs"}


def test_missing_resources_are_named_with_the_command_that_creates_them() -> None:
    chalice_hook.raise_if_missing([], "dev")
    with pytest.raises(DeployError) as raised:
        chalice_hook.raise_if_missing(["table devflow-dev-users", "queue devflow-dev-events"], "dev")
    assert "It has no table devflow-dev-users, queue devflow-dev-events." in str(raised.value)
    assert "make deploy STAGE=dev" in str(raised.value)


@pytest.mark.parametrize("arguments", [[], ["deploy"], ["deploy", ""], ["remove", "dev"], ["deploy", "dev", "prod"]])
def test_command_without_a_stage_prints_its_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert "make deploy STAGE=dev" in capsys.readouterr().err


def test_public_url_uses_the_custom_domain(tmp_path: Path) -> None:
    """Without a custom domain it is API Gateway's URL. Neither has a trailing slash."""
    domain = {"domain_name": "api.example.com", "certificate_arn": "arn:aws:acm:us-east-1:1:certificate/1"}
    (tmp_path / ".chalice").mkdir()
    for options, expected in (
        ({}, "https://x.execute-api.eu-central-1.amazonaws.com/api"),
        ({"api_gateway_custom_domain": domain}, "https://api.example.com"),
        ({"api_gateway_custom_domain": domain | {"url_prefix": "/devflow/"}}, "https://api.example.com/devflow"),
    ):
        config = {"version": "2.0", "app_name": "devflow", "stages": {"dev": options}}
        (tmp_path / ".chalice" / "config.json").write_text(json.dumps(config), encoding="utf-8")
        api_url = "https://x.execute-api.eu-central-1.amazonaws.com/api/"
        assert health_check.public_url(Stage("dev", tmp_path), api_url) == expected


@pytest.mark.parametrize("stage", CONFIG["stages"])
def test_every_stage_has_its_throttling_in_the_configuration(stage: str) -> None:
    entry = CONFIG["stages"][stage]["api_throttling"]
    throttling = Stage(stage).throttling
    assert tuple(throttling) == (entry["requests_per_second"], entry["burst"])
    assert 0 < throttling.requests_per_second <= throttling.burst
    assert throttling.requests_per_second < 10_000, "the quota of an account, which other APIs share"


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (None, (500, 1_000)),
        ({}, (500, 1_000)),
        ({"burst": 2_000}, (500, 2_000)),
        ({"requests_per_second": 20, "burst": 20}, (20, 20)),
    ],
)
def test_throttling_has_defaults(tmp_path: Path, entry: dict[str, int] | None, expected: tuple[int, int]) -> None:
    assert configured(tmp_path, entry).throttling == expected


@pytest.mark.parametrize(
    "entry",
    [{"requests_per_second": 0}, {"burst": -1}, {"burst": "many"}, {"burst": True}, {"burst": 0.5}, {"rate": 5}, [], 5],
)
def test_invalid_throttling_is_an_error_that_names_the_entry(tmp_path: Path, entry: Any) -> None:
    with pytest.raises(DeployError, match="api_throttling"):
        _ = configured(tmp_path, entry).throttling


def configured(directory: Path, throttling: Any) -> Stage:
    """The stage dev of a project, with this entry `api_throttling`; None for no entry."""
    (directory / ".chalice").mkdir()
    options = {} if throttling is None else {"api_throttling": throttling}
    config = {"version": "2.0", "app_name": "devflow", "stages": {"dev": options}}
    (directory / ".chalice" / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return Stage("dev", directory)


TYPES = gateway_responses()


def test_gateway_responses_are_the_same_at_every_deployment() -> None:
    first = gateway_responses()
    assert all(gateway_responses() == first for _ in range(20))


@pytest.mark.parametrize("response_type", TYPES)
def test_gateway_responses_have_the_shape_and_headers_of_every_error(response_type: str) -> None:
    response = TYPES[response_type]
    body = json.loads(response["responseTemplates"]["application/json"])
    assert set(body) == {"error", "message", "statusCode", "timestamp"}
    assert str(body["statusCode"]) == response["statusCode"]
    assert body["timestamp"] == "$context.requestTime", "the only variable with the time as text"
    assert re.findall(r"[$#]\S+", json.dumps(body)) == ['$context.requestTime"}'], "no other variable"
    headers = {name.removeprefix("gatewayresponse.header.") for name in response["responseParameters"]}
    assert {"Cache-Control", "Strict-Transport-Security", "X-Content-Type-Options", "X-Request-Id"} <= headers
    assert ("Retry-After" in headers) == (response["statusCode"] in ("429", "503"))
    constants = [value for value in response["responseParameters"].values() if value != "context.requestId"]
    assert all(re.fullmatch(r"'[^']+'", value) for value in constants)


def test_gateway_responds_to_an_unknown_path_with_404() -> None:
    assert (
        json.loads(TYPES["MISSING_AUTHENTICATION_TOKEN"]["responseTemplates"]["application/json"])["statusCode"] == 404
    )


def test_stages_differ_only_in_names_alarms_dashboard_and_throttling() -> None:
    """Only prod has alarms and a dashboard, because they cost money. Functions run on arm64, which is no slower than
    x86_64 and costs a fifth less."""
    assert CONFIG["lambda_architecture"] == "arm64"
    stages = {stage: dict(CONFIG["stages"][stage]) for stage in ("dev", "prod")}
    parameters = {stage: stages[stage].pop("template_parameters") for stage in stages}
    assert parameters["dev"] == {"WithAlarms": "off", "WithDashboard": "off"}
    assert parameters["prod"] == {"WithAlarms": "on", "WithDashboard": "on", "AlarmEmail": ""}
    limits = {stage: Throttling(**stages[stage].pop("api_throttling")) for stage in stages}
    assert limits["dev"].requests_per_second < limits["prod"].requests_per_second
    dev, prod = (json.dumps(stages[stage], sort_keys=True) for stage in ("dev", "prod"))
    assert prod == dev.replace("dev", "prod")


def test_stage_parameters_exist_in_the_template() -> None:
    known = set(template.load()["Parameters"])
    for stage in CONFIG["stages"]:
        assert set(Stage(stage).parameters) <= known
