"""Compares the policy of each function with the permissions that the function needed in a complete test run.

Each test already fails if a policy allows too little (iam.py). Only a complete run shows whether a policy allows too
much. At the end of a complete run, tests/conftest.py calls `report_differences`. It adds one test result, which is a
failure if a policy allows a permission that no function needed. The workers of pytest-xdist send their records to the
main process when they end. A run of selected tests, or one with failures, is not evaluated.
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
SOURCE_QUEUES = {
    "run_workflows": "workflow",
    "announce_events": "events",
    "deliver_webhooks": "webhooks",
    "sweep_backlog": "sweep",
}
"""The queue that invokes each function."""


def needed_by_aws(stage: str, function: str) -> set[Need]:
    """The permissions that AWS itself uses with the role of a function. No test can observe these requests.

    Lambda writes the log: https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs.html. The template
    creates the log group, so the function must not create one. If the function has a queue, Lambda's pollers receive
    messages from it: https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html.
    """
    name = f"devflow-{stage}" if function == API else f"devflow-{stage}-{function}"
    group = f"arn:*:logs:*:*:log-group:/aws/lambda/{name}:*"
    needed = {("logs:CreateLogStream", group), ("logs:PutLogEvents", group)}
    if function in SOURCE_QUEUES:
        queue = f"arn:*:sqs:*:*:devflow-{stage}-{SOURCE_QUEUES[function]}"
        needed |= {(f"sqs:{action}", queue) for action in ("DeleteMessage", "GetQueueAttributes", "ReceiveMessage")}
    return needed


def allowed(stage: str, function: str) -> set[Need]:
    """The permissions of a function's policy: each action with each of its resources, as written in the policy."""
    return {
        (action, resource)
        for statement in statements(stage, function)
        for action in statement["Action"]
        for resource in statement["Resource"]
    }


def policy_entry(need: Need, stage: str) -> Need:
    """A permission that was needed in the tests, in the form in which the policy of a stage must grant it.

    A policy contains no account, no region, none of the six characters that Secrets Manager adds to a name, and no
    sender address of the stage.
    """
    action, resource = need
    resource = resource.replace(f":{REGION}:{ACCOUNT}:", ":*:*:").replace(f"devflow-{STAGE}", f"devflow-{stage}")
    resource = resource.replace("arn:aws:", "arn:*:", 1)
    if action.startswith("secretsmanager:"):
        resource = resource.removesuffix("-AbCdEf") + "-??????"
    elif action.startswith("ses:"):
        resource = f"{resource.partition('/')[0]}/*"
    return action, resource


def needed(stage: str, function: str, recorded: Iterable[Call]) -> set[Need]:
    """The permissions that a function needs on a stage: those that were recorded, and those that AWS uses itself."""
    recorded = set(recorded)
    own = {need for name, need, on_prod in recorded if name == function and (on_prod or stage != "prod")}
    # A container requests a queue's URL once. In the tests all functions share one process, so only the first one does.
    requested = {need for _, need, _ in recorded if need[0] == "sqs:GetQueueUrl"}
    own |= {("sqs:GetQueueUrl", queue) for action, queue in own if action == "sqs:SendMessage"} & requested
    return {policy_entry(need, stage) for need in own} | needed_by_aws(stage, function)


def differences(functions: Iterable[str], recorded: Iterable[Call]) -> Iterator[str]:
    """One line for each permission that a policy grants without need, and for each one that it lacks."""
    recorded = set(recorded)
    for stage in STAGES:
        for function in functions:
            is_allowed, is_needed = allowed(stage, function), needed(stage, function, recorded)
            file = f".chalice/policy-{stage}-{function}.json"
            yield from (f"{file} allows what nothing needs: {action} on {what}" for action, what in sorted(
                is_allowed - is_needed))  # fmt: skip
            yield from (f"{file} does not name {action} on {what}" for action, what in sorted(is_needed - is_allowed))


@dataclass
class PolicyUsage:
    """The permissions that functions needed in all processes of one test run."""

    recorded: set[Call] = field(default_factory=set)

    def add(self, exported: Iterable[Any]) -> None:
        """Add the export of a process."""
        self.recorded |= {(function, (action, resource), on_prod) for function, action, resource, on_prod in exported}

    @staticmethod
    def export() -> list[tuple[str, str, str, bool]]:
        """The calls that this process has recorded, in a form that pytest-xdist can send."""
        return sorted((function, action, resource, on_prod) for function, (action, resource), on_prod in calls)


_SELECTING_OPTIONS = ("keyword", "deselect", "ignore", "ignore_glob", "lf", "stepwise")
"""Options of pytest that exclude tests."""


def is_complete_run(config: pytest.Config) -> bool:
    """Whether a run contains all tests except the long ones, as `make test` runs them."""
    option = config.option
    selecting = [getattr(option, name, None) for name in _SELECTING_OPTIONS]
    return (
        config.args_source is pytest.Config.ArgsSource.TESTPATHS
        and option.markexpr == "not long"
        and not any(selecting)
    )


def report_differences(session: pytest.Session, usage: PolicyUsage) -> None:
    """At the end of a complete run without failures: add a test result that compares policies and recorded calls."""
    usage.add(usage.export())
    found = list(differences(FUNCTIONS, usage.recorded))
    report = pytest.TestReport(
        nodeid="tests/support/policy_usage.py::each_policy_allows_exactly_what_its_function_needed",
        location=("tests/support/policy_usage.py", None, "each policy allows exactly what its function needed"),
        keywords={},
        outcome="failed" if found else "passed",
        longrepr="\n".join(found) or None,
        when="call",
    )
    session.config.hook.pytest_runtest_logreport(report=report)
    if found:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
