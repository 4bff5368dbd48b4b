"""What a deployment decides without asking AWS."""

import json
import re
from pathlib import Path
from typing import Any

import boto3
import pytest

from infra.deploy import adopt, answers, chalice_hook, checks, destroy, stack
from infra.deploy.__main__ import main
from infra.deploy.account import Account
from infra.deploy.destroy import KEPT_KINDS
from infra.deploy.problems import Problem
from infra.deploy.settings import gateway_responses
from infra.deploy.stage import NAME, PROJECT, Stage
from tests.support import template

CONFIG: dict[str, Any] = json.loads((PROJECT / ".chalice" / "config.json").read_text(encoding="utf-8"))


def change(replacement: str | None, kind: str = "AWS::DynamoDB::Table") -> dict[str, Any]:
    """A change of a change set, as CloudFormation tells it."""
    said = {"Action": "Modify", "LogicalResourceId": "Tasks", "ResourceType": kind}
    return said | ({"Replacement": replacement} if replacement else {})


@pytest.mark.parametrize("replacement", ["True", "Conditional"])
def test_a_change_that_would_or_might_replace_a_table_is_refused(replacement: str) -> None:
    with pytest.raises(Problem, match="would replace the tables Tasks by empty ones, so nothing was changed"):
        stack.refuse_replacing_tables([change("False"), change(replacement)])
    assert "REPLACED" in stack.described(change(replacement))


def test_any_other_change_is_made() -> None:
    stack.refuse_replacing_tables([change("False"), change(None), change("True", "AWS::SQS::Queue")])


def test_that_nothing_changed_is_no_failure_and_anything_else_is() -> None:
    stack.refuse_unless_nothing_new("The submitted information didn't contain changes. Submit different information.")
    with pytest.raises(Problem, match="Parameters: \\[Stage\\] must have values"):
        stack.refuse_unless_nothing_new("Parameters: [Stage] must have values")


@pytest.mark.parametrize("name", ["", "Dev", "1dev", "dev-2", "dev 2", "../dev", "d" * 17])
def test_a_stage_has_a_name_that_can_be_part_of_every_other_name(name: str) -> None:
    with pytest.raises(Problem, match="lower case letters and digits"):
        checks.check_name(name)


def test_the_template_takes_the_same_names() -> None:
    assert template.load()["Parameters"]["Stage"]["AllowedPattern"] == NAME.pattern
    assert all(NAME.fullmatch(stage) for stage in CONFIG["stages"])


@pytest.mark.parametrize("version", [(3, 10), (3, 15), (4, 0)])
def test_a_python_that_lambda_does_not_have_is_refused(version: tuple[int, int]) -> None:
    with pytest.raises(Problem, match=r"Lambda has no Python"):
        checks.check_python(version)


def test_a_stage_that_is_not_configured_is_refused_by_the_names_of_those_that_are() -> None:
    with pytest.raises(Problem, match="has no stage 'demo'; it has dev, prod"):
        _ = Stage("demo").configured


@pytest.mark.parametrize("typed", ["", "\n", "yes\n", "PROD\n", "dev\n"])
def test_prod_goes_only_when_its_name_is_typed(typed: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Problem, match="Nothing was changed"):
        destroy.confirm(Stage("prod"), lambda: typed)
    destroy.confirm(Stage("prod"), lambda: "prod\n")
    assert "Its tables stay." in capsys.readouterr().out


def test_another_stage_goes_without_a_question() -> None:
    destroy.confirm(Stage("dev"), lambda: pytest.fail("it asked"))


def test_there_is_a_way_to_remove_each_kind_of_thing_that_the_template_keeps() -> None:
    kept = [
        resource["Type"] for resource in template.load()["Resources"].values() if resource["DeletionPolicy"] != "Delete"
    ]
    assert set(kept) == {kind for kind, _, _ in KEPT_KINDS}
    assert set(kept) == set(adopt.KINDS), "and one to take it in again"


def test_an_import_has_nothing_but_what_is_taken_in() -> None:
    """No output either, and each with a DeletionPolicy: CloudFormation refuses it otherwise."""
    taken = [{"LogicalResourceId": "Tasks"}, {"LogicalResourceId": "Secret"}]
    whole, part = template.load(), json.loads(adopt.template_of(Stage("prod"), taken))
    assert part["Resources"] == {name: whole["Resources"][name] for name in ("Tasks", "Secret")}
    assert all("DeletionPolicy" in resource for resource in part["Resources"].values())
    assert set(part) == set(whole) - {"Outputs"}


def test_a_secret_that_is_being_deleted_is_told_with_the_way_to_get_it_back(aws: None) -> None:
    client = boto3.client("secretsmanager")
    arn = client.create_secret(Name="devflow-prod-secret", SecretString="{}")["ARN"]
    assert adopt.left(Stage("prod"), Account()) == [
        {
            "ResourceType": "AWS::SecretsManager::Secret",
            "LogicalResourceId": "Secret",
            "ResourceIdentifier": {"Id": arn},
        }
    ]
    client.delete_secret(SecretId=arn)
    try:
        with pytest.raises(Problem, match="restore-secret --secret-id devflow-prod-secret"):
            adopt.left(Stage("prod"), Account())
    finally:
        client.restore_secret(SecretId=arn)
        client.delete_secret(SecretId=arn, ForceDeleteWithoutRecovery=True)


def test_what_is_missing_is_named_and_so_is_the_way_to_get_it() -> None:
    chalice_hook.raise_if_missing([], "dev")
    with pytest.raises(Problem) as raised:
        chalice_hook.raise_if_missing(["table devflow-dev-users", "queue devflow-dev-events"], "dev")
    assert "It has no table devflow-dev-users, queue devflow-dev-events." in str(raised.value)
    assert "make deploy STAGE=dev" in str(raised.value)


@pytest.mark.parametrize("arguments", [[], ["deploy"], ["deploy", ""], ["remove", "dev"], ["deploy", "dev", "prod"]])
def test_a_command_without_a_stage_does_nothing(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert "make deploy STAGE=dev" in capsys.readouterr().err


def test_a_stage_with_a_domain_name_of_its_own_is_found_there(tmp_path: Path) -> None:
    """Under API Gateway's address, else; either way without a slash at the end."""
    domain = {"domain_name": "api.example.com", "certificate_arn": "arn:aws:acm:us-east-1:1:certificate/1"}
    (tmp_path / ".chalice").mkdir()
    for own, expected in (
        ({}, "https://x.execute-api.eu-central-1.amazonaws.com/api"),
        ({"api_gateway_custom_domain": domain}, "https://api.example.com"),
        ({"api_gateway_custom_domain": domain | {"url_prefix": "/devflow/"}}, "https://api.example.com/devflow"),
    ):
        config = {"version": "2.0", "app_name": "devflow", "stages": {"dev": own}}
        (tmp_path / ".chalice" / "config.json").write_text(json.dumps(config), encoding="utf-8")
        address = "https://x.execute-api.eu-central-1.amazonaws.com/api/"
        assert answers.public_address(Stage("dev", tmp_path), address) == expected


TYPES = gateway_responses()


@pytest.mark.parametrize("response_type", TYPES)
def test_what_the_gateway_answers_by_itself_has_the_shape_and_the_headers_of_every_error(response_type: str) -> None:
    response = TYPES[response_type]
    body = json.loads(response["responseTemplates"]["application/json"])
    assert set(body) == {"error", "message", "statusCode", "timestamp"}
    assert str(body["statusCode"]) == response["statusCode"]
    assert body["timestamp"] == "$context.requestTime", "the one form of the time that is a text"
    assert re.findall(r"[$#]\S+", json.dumps(body)) == ['$context.requestTime"}'], "nothing else is put in"
    headers = {name.removeprefix("gatewayresponse.header.") for name in response["responseParameters"]}
    assert {"Cache-Control", "Strict-Transport-Security", "X-Content-Type-Options", "X-Request-Id"} <= headers
    assert ("Retry-After" in headers) == (response["statusCode"] in ("429", "503"))
    constants = [value for value in response["responseParameters"].values() if value != "context.requestId"]
    assert all(re.fullmatch(r"'[^']+'", value) for value in constants)


def test_the_gateway_says_of_an_unknown_path_what_the_app_says() -> None:
    assert (
        json.loads(TYPES["MISSING_AUTHENTICATION_TOKEN"]["responseTemplates"]["application/json"])["statusCode"] == 404
    )


def test_the_stages_differ_in_what_they_must_and_in_nothing_else() -> None:
    """Only prod has alarms and a dashboard, which cost something. Functions run on arm64: a fifth cheaper than the same
    time on x86_64, and no slower."""
    assert CONFIG["lambda_architecture"] == "arm64"
    stages = {stage: dict(CONFIG["stages"][stage]) for stage in ("dev", "prod")}
    watched = {stage: stages[stage].pop("template_parameters") for stage in stages}
    assert watched["dev"] == {"WithAlarms": "off", "WithDashboard": "off"}
    assert watched["prod"] == {"WithAlarms": "on", "WithDashboard": "on", "AlarmEmail": ""}
    dev, prod = (json.dumps(stages[stage], sort_keys=True) for stage in ("dev", "prod"))
    assert prod == dev.replace("dev", "prod")


def test_a_stages_parameters_are_parameters_of_the_template() -> None:
    known = set(template.load()["Parameters"])
    for stage in CONFIG["stages"]:
        assert set(Stage(stage).parameters) <= known
