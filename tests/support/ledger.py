"""Holds each function's policy against what the whole run saw it call: no more, and no less.

That it is no less every test holds by itself (iam.py). That it is no more only a whole run can say; so at its end
tests/conftest.py has `judge` add one test, which fails where a policy allows what no function was seen to need. What
pytest-xdist's workers saw they hand over when they end. A run of some tests, or one that failed, says nothing of it.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from infra.local.lambda_context import ACCOUNT, REGION
from tests.support.environment import STAGE
from tests.support.iam import API, CHALICE, Call, Need, calls, statements

_CONFIG: dict[str, Any] = json.loads((CHALICE / "config.json").read_text(encoding="utf-8"))
STAGES = tuple(_CONFIG["stages"])
FUNCTIONS = tuple(_CONFIG["stages"]["dev"]["lambda_functions"])
FED_BY = {"run_workflows": "workflow", "announce_events": "events", "deliver_webhooks": "webhooks"}
"""Whose messages each function is fed with."""


def needed_by_aws(stage: str, function: str) -> set[Need]:
    """What AWS itself does with a function's role, so that no test can see it. All of it:

    Lambda writes the log (the group is the template's, so it may make none),
    https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs.html; and its pollers take messages from the
    queue of a function that has one, https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html.
    """
    name = f"devflow-{stage}" if function == API else f"devflow-{stage}-{function}"
    group = f"arn:aws:logs:*:*:log-group:/aws/lambda/{name}:*"
    needed = {("logs:CreateLogStream", group), ("logs:PutLogEvents", group)}
    if function in FED_BY:
        queue = f"arn:aws:sqs:*:*:devflow-{stage}-{FED_BY[function]}"
        needed |= {(f"sqs:{action}", queue) for action in ("DeleteMessage", "GetQueueAttributes", "ReceiveMessage")}
    return needed


def allowed(stage: str, function: str) -> set[Need]:
    """What a function's policy allows: each action with each resource that it is allowed on, as the policy words it."""
    return {
        (action, resource)
        for statement in statements(stage, function)
        for action in statement["Action"]
        for resource in statement["Resource"]
    }


def worded(need: Need, stage: str) -> Need:
    """What was needed here as the policy of a stage has to word it.

    A policy knows neither account nor region, nor the six characters that Secrets Manager adds to a name, nor the
    address that a stage sends its mails from.
    """
    action, resource = need
    resource = resource.replace(f":{REGION}:{ACCOUNT}:", ":*:*:").replace(f"devflow-{STAGE}", f"devflow-{stage}")
    if action.startswith("secretsmanager:"):
        resource = resource.removesuffix("-AbCdEf") + "-??????"
    elif action.startswith("ses:"):
        resource = "arn:aws:ses:*:*:identity/*"
    return action, resource


def needed(stage: str, function: str, seen: Iterable[Call]) -> set[Need]:
    """What a function needs on a stage: by what was seen of it, and by what AWS does."""
    seen = set(seen)
    own = {need for name, need, on_prod in seen if name == function and (on_prod or stage != "prod")}
    # A container asks for a queue's address once. Here all functions share one process, so the first of them asked.
    asked = {need for _, need, _ in seen if need[0] == "sqs:GetQueueUrl"}
    own |= {("sqs:GetQueueUrl", queue) for action, queue in own if action == "sqs:SendMessage"} & asked
    return {worded(need, stage) for need in own} | needed_by_aws(stage, function)


def differences(functions: Iterable[str], seen: Iterable[Call]) -> Iterator[str]:
    """Where a policy is wider or narrower than what was needed, in a line each."""
    seen = set(seen)
    for stage in STAGES:
        for function in functions:
            is_allowed, is_needed = allowed(stage, function), needed(stage, function, seen)
            file = f".chalice/policy-{stage}-{function}.json"
            yield from (f"{file} allows what nothing needs: {action} on {what}" for action, what in sorted(
                is_allowed - is_needed))  # fmt: skip
            yield from (f"{file} does not name {action} on {what}" for action, what in sorted(is_needed - is_allowed))


@dataclass
class Ledger:
    """What all processes of one run saw."""

    seen: set[Call] = field(default_factory=set)

    def take(self, told: Iterable[Any]) -> None:
        """What a worker tells when it ends."""
        self.seen |= {(function, (action, resource), on_prod) for function, action, resource, on_prod in told}

    @staticmethod
    def told() -> list[tuple[str, str, str, bool]]:
        """What this worker has to tell, as xdist can carry it."""
        return sorted((function, action, resource, on_prod) for function, (action, resource), on_prod in calls)


_CHOICES = ("keyword", "deselect", "ignore", "ignore_glob", "lf", "stepwise")
"""Options of pytest that leave tests out."""


def is_whole(config: pytest.Config) -> bool:
    """Whether a run is of all tests but the long ones, as `make test` runs them."""
    option = config.option
    chosen = [getattr(option, name, None) for name in _CHOICES]
    return (
        config.args_source is pytest.Config.ArgsSource.TESTPATHS and option.markexpr == "not long" and not any(chosen)
    )


def judge(session: pytest.Session, ledger: Ledger) -> None:
    """At the end of a whole run in which all went well: one failure more if a policy is not what was seen."""
    ledger.take(ledger.told())
    wrong = list(differences(FUNCTIONS, ledger.seen))
    report = pytest.TestReport(
        nodeid="tests/support/ledger.py::each_policy_allows_what_its_function_was_seen_to_need",
        location=("tests/support/ledger.py", None, "each policy allows what its function was seen to need"),
        keywords={},
        outcome="failed" if wrong else "passed",
        longrepr="\n".join(wrong) or None,
        when="call",
    )
    session.config.hook.pytest_runtest_logreport(report=report)
    if wrong:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
