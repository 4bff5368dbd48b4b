"""The policies in .chalice/ as such, and what tests/support/ledger.py makes of them at the end of a whole run."""

import json
from collections import Counter

import pytest

from infra.local.lambdas import ACCOUNT, REGION
from tests.support import ledger
from tests.support.environment import STAGE
from tests.support.iam import API, CHALICE, Call, Need, statements
from tests.support.ledger import FUNCTIONS, STAGES, allowed, differences, needed, needed_by_aws

every_policy = pytest.mark.parametrize(
    ("stage", "function"), [(stage, function) for stage in STAGES for function in FUNCTIONS]
)


def seen_here(need: Need) -> Need:
    """What a policy of dev allows, as it is seen here."""
    action, resource = need
    for there, here in (
        (":*:*:", f":{REGION}:{ACCOUNT}:"),
        ("devflow-dev", f"devflow-{STAGE}"),
        ("-??????", "-AbCdEf"),
    ):
        resource = resource.replace(there, here)
    return action, resource.replace("identity/*", "identity/devflow@example.com")


def all_of(function: str) -> set[Call]:
    """A run that saw a function need just what its policy allows."""
    own = allowed("dev", function) - needed_by_aws("dev", function)
    return {(function, seen_here(need), True) for need in own}


@every_policy
def test_a_policy_names_what_it_allows_once_and_whole(stage: str, function: str) -> None:
    """No action with a wildcard, no table but this stage's, nothing twice, and nothing denied or under a condition."""
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


def test_every_function_of_every_stage_has_a_policy_and_there_is_no_other() -> None:
    expected = {f"policy-{stage}-{function}.json" for stage in STAGES for function in FUNCTIONS}
    assert {file.name for file in CHALICE.glob("policy-*.json")} == expected


@pytest.mark.parametrize("function", FUNCTIONS)
def test_the_stages_allow_the_same_each_on_its_own(function: str) -> None:
    dev, prod = (json.dumps(statements(stage, function)) for stage in ("dev", "prod"))
    assert prod == dev.replace("devflow-dev", "devflow-prod")


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_policy_that_allows_what_was_seen_is_right(function: str) -> None:
    assert list(differences([function], all_of(function))) == []


@pytest.mark.parametrize("function", FUNCTIONS)
def test_whatever_of_a_policy_was_not_seen_is_too_much_on_both_stages(function: str) -> None:
    for call in all_of(function):
        lines = list(differences([function], all_of(function) - {call}))
        if call[1][0] != "sqs:GetQueueUrl":
            assert [line.partition(" allows what nothing needs: ")[2].split(" on ")[0] for line in lines] == [
                call[1][0]
            ] * len(STAGES)


def test_an_index_is_another_resource_than_its_table_and_a_queue_than_another() -> None:
    seen = all_of(API)
    (index,) = [need for _, need, _ in seen if need[1].endswith("/index/queue")]
    (queue,) = [need for _, need, _ in seen if need == ("sqs:SendMessage", need[1]) and need[1].endswith("-webhooks")]
    for need, other in ((index, "-tasks/index/due"), (queue, "-webhooks-dead")):
        elsewhere = (need[0], f"{need[1].rpartition('-')[0]}{other}")
        wrong = "\n".join(differences([API], seen - {(API, need, True)} | {(API, elsewhere, True)}))
        assert f"does not name {need[0]} on {ledger.worded(elsewhere, 'prod')[1]}" in wrong
        assert f"allows what nothing needs: {need[0]} on {ledger.worded(need, 'prod')[1]}" in wrong


def test_what_only_routes_need_that_prod_does_not_have_prod_does_not_allow() -> None:
    extra = ("dynamodb:DeleteItem", f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/devflow-{STAGE}-users")
    seen = all_of(API) | {(API, extra, False)}
    assert [line.split(" ")[0] for line in differences([API], seen)] == [".chalice/policy-dev-api_handler.json"]


def test_a_function_that_sends_to_a_queue_asks_for_its_address_whoever_was_the_first_to_ask() -> None:
    queue = f"arn:aws:sqs:{REGION}:{ACCOUNT}:devflow-{STAGE}-events"
    seen: set[Call] = {("sweep", ("sqs:SendMessage", queue), True), (API, ("sqs:GetQueueUrl", queue), True)}
    asks = ("sqs:GetQueueUrl", "arn:aws:sqs:*:*:devflow-dev-events")
    assert asks in needed("dev", "sweep", seen)
    assert asks not in needed("dev", "run_workflows", seen)
