"""The policies in .chalice/, and how tests/support/policy_usage.py compares them with the calls of a whole test run."""

import json
from collections import Counter

import pytest

from infra.local.lambda_context import ACCOUNT, REGION
from tests.support import policy_usage
from tests.support.environment import STAGE
from tests.support.iam import API, CHALICE, Call, Need, allows, statements
from tests.support.policy_usage import FUNCTIONS, STAGES, allowed, differences, needed, needed_by_aws

every_policy = pytest.mark.parametrize(
    ("stage", "function"), [(stage, function) for stage in STAGES for function in FUNCTIONS]
)


def local_need(need: Need) -> Need:
    """A permission of a dev policy, with the account, region and stage of the tests."""
    action, resource = need
    for in_policy, in_tests in (
        ("arn:*:", "arn:aws:"),
        (":*:*:", f":{REGION}:{ACCOUNT}:"),
        ("devflow-dev", f"devflow-{STAGE}"),
        ("-??????", "-AbCdEf"),
    ):
        resource = resource.replace(in_policy, in_tests)
    return action, resource.replace("identity/*", "identity/devflow@example.com").replace("-set/*", "-set/default")


def all_allowed_calls(function: str) -> set[Call]:
    """The calls of a run in which a function needed exactly what its policy allows."""
    own = allowed("dev", function) - needed_by_aws("dev", function)
    return {(function, local_need(need), True) for need in own}


@every_policy
def test_policy_names_each_permission_once_and_without_wildcards(stage: str, function: str) -> None:
    """No wildcard in an action, no resource of another stage, no duplicate, no Deny and no Condition."""
    named = [
        (action, resource)
        for statement in statements(stage, function)
        for action in statement["Action"]
        for resource in statement["Resource"]
    ]
    assert max(Counter(named).values()) == 1
    assert not [action for action, _ in named if "*" in action]
    assert not [resource for _, resource in named if f"devflow-{stage}" not in resource and ":ses:" not in resource]
    assert {tuple(sorted(statement)) for statement in statements(stage, function)} == {
        ("Action", "Effect", "Resource", "Sid")
    }
    assert {statement["Effect"] for statement in statements(stage, function)} == {"Allow"}


@every_policy
@pytest.mark.parametrize("partition", ["aws", "aws-cn", "aws-us-gov"])
def test_policy_allows_its_calls_in_every_partition(stage: str, function: str, partition: str) -> None:
    """https://docs.aws.amazon.com/IAM/latest/UserGuide/reference-arns.html lists the partitions."""
    policy = statements(stage, function)
    for action, resource in allowed(stage, function):
        assert resource.startswith("arn:*:"), "an ARN of one partition cannot be used in the others"
        assert allows(policy, (action, resource.replace("arn:*:", f"arn:{partition}:", 1)))


@pytest.mark.parametrize("stage", STAGES)
def test_api_may_send_mail_with_the_default_configuration_set_of_an_identity(stage: str) -> None:
    """SES also authorises SendEmail for the configuration set, if the identity has a default one:
    https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonsimpleemailservicev2.html."""
    identity, configuration_set = (
        ("ses:SendEmail", f"arn:aws:ses:{REGION}:{ACCOUNT}:{resource}")
        for resource in ("identity/example.com", "configuration-set/marketing")
    )
    assert allows(statements(stage, API), identity)
    assert allows(statements(stage, API), configuration_set)


def test_every_function_of_every_stage_has_exactly_one_policy() -> None:
    expected = {f"policy-{stage}-{function}.json" for stage in STAGES for function in FUNCTIONS}
    assert {file.name for file in CHALICE.glob("policy-*.json")} == expected


@pytest.mark.parametrize("function", FUNCTIONS)
def test_policies_of_the_stages_differ_only_in_names(function: str) -> None:
    dev, prod = (json.dumps(statements(stage, function)) for stage in ("dev", "prod"))
    assert prod == dev.replace("devflow-dev", "devflow-prod")


@pytest.mark.parametrize("function", FUNCTIONS)
def test_policy_that_allows_the_observed_calls_is_accepted(function: str) -> None:
    assert list(differences([function], all_allowed_calls(function))) == []


@pytest.mark.parametrize("function", FUNCTIONS)
def test_permission_that_was_not_needed_is_reported_for_both_stages(function: str) -> None:
    for call in all_allowed_calls(function):
        lines = list(differences([function], all_allowed_calls(function) - {call}))
        if call[1][0] != "sqs:GetQueueUrl":
            assert [line.partition(" allows what nothing needs: ")[2].split(" on ")[0] for line in lines] == [
                call[1][0]
            ] * len(STAGES)


def test_permission_for_another_index_or_queue_is_not_enough() -> None:
    seen = all_allowed_calls(API)
    (index,) = [need for _, need, _ in seen if need[1].endswith("/index/queue")]
    (queue,) = [need for _, need, _ in seen if need == ("sqs:SendMessage", need[1]) and need[1].endswith("-webhooks")]
    for need, other in ((index, "-tasks/index/due"), (queue, "-webhooks-dead")):
        elsewhere = (need[0], f"{need[1].rpartition('-')[0]}{other}")
        wrong = "\n".join(differences([API], seen - {(API, need, True)} | {(API, elsewhere, True)}))
        assert f"does not name {need[0]} on {policy_usage.policy_entry(elsewhere, 'prod')[1]}" in wrong
        assert f"allows what nothing needs: {need[0]} on {policy_usage.policy_entry(need, 'prod')[1]}" in wrong


def test_need_of_a_route_without_prod_is_not_required_on_prod() -> None:
    extra = ("dynamodb:DeleteItem", f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/devflow-{STAGE}-users")
    seen = all_allowed_calls(API) | {(API, extra, False)}
    assert [line.split(" ")[0] for line in differences([API], seen)] == [".chalice/policy-dev-api_handler.json"]


def test_function_that_sends_to_a_queue_needs_its_url() -> None:
    """Even if another function requested the URL first, because the tests run all functions in one process."""
    queue = f"arn:aws:sqs:{REGION}:{ACCOUNT}:devflow-{STAGE}-events"
    seen: set[Call] = {("sweep", ("sqs:SendMessage", queue), True), (API, ("sqs:GetQueueUrl", queue), True)}
    asks = ("sqs:GetQueueUrl", "arn:*:sqs:*:*:devflow-dev-events")
    assert asks in needed("dev", "sweep", seen)
    assert asks not in needed("dev", "run_workflows", seen)
