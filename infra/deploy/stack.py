"""The CloudFormation stack of a stage: the resources that outlive the code. Prints CloudFormation's progress."""

import time
import uuid
from collections.abc import Iterable, Mapping
from typing import Any

from botocore.exceptions import ClientError

from infra.deploy import resource_import
from infra.deploy.aws_account import AwsAccount
from infra.deploy.deploy_error import DeployError
from infra.deploy.stage import Stage

POLL_INTERVAL = 2.0
"""Seconds between two requests for the state of a stack or a change set."""

_NO_CHANGES = ("didn't contain changes", "No updates are to be performed")
_NOT_CREATED = {"", "REVIEW_IN_PROGRESS"}
_MUST_BE_REMOVED = {"ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "CREATE_FAILED", "DELETE_FAILED"}
"""States after a failed creation or removal. CloudFormation accepts only the removal of such a stack."""


def deploy(stage: Stage, account: AwsAccount) -> None:
    """Create or update the stack from the template. Raises DeployError if that fails or would replace a table."""
    progress = _Progress(stage, account)
    status = progress.wait_until_idle()
    if status in _MUST_BE_REMOVED:
        print(f"  the stack {stage.stack} is incomplete ({status}); it is removed and created again")
        _remove(stage, account, progress)
        status = ""
    retained = resource_import.find_retained(stage, account) if status in _NOT_CREATED else []
    if retained:
        print("  an earlier stack has retained tables or the secret; they are imported unchanged")
        template = resource_import.import_template(stage, retained)
        change_set = _create_change_set(stage, account, "IMPORT", template, ResourcesToImport=retained)
        status = _execute(stage, account, progress, change_set)
    kind = "CREATE" if status in _NOT_CREATED else "UPDATE"
    _execute(stage, account, progress, _create_change_set(stage, account, kind, stage.template))


def _execute(stage: Stage, account: AwsAccount, progress: "_Progress", change_set: dict[str, Any] | None) -> str:
    """Execute a change set and return the stack's final state. Raises DeployError if it fails."""
    if change_set is None:
        print("  nothing to change")
        return ""
    for change in change_set["Changes"]:
        print(f"  {format_change(change['ResourceChange'])}")
    reject_table_replacement(change["ResourceChange"] for change in change_set["Changes"])
    account.client("cloudformation").execute_change_set(ChangeSetName=change_set["ChangeSetId"])
    status = progress.wait_until_idle(started=True)
    if status not in ("CREATE_COMPLETE", "IMPORT_COMPLETE", "UPDATE_COMPLETE"):
        raise DeployError(
            f"CloudFormation failed; the stack {stage.stack} is in the state {status}. The first line above that "
            "contains FAILED has the reason. Fix it and deploy again."
        )
    return status


def remove(stage: Stage, account: AwsAccount) -> None:
    """Remove the stack if it exists. The resources that its template retains stay."""
    progress = _Progress(stage, account)
    if progress.wait_until_idle():
        _remove(stage, account, progress)


def _remove(stage: Stage, account: AwsAccount, progress: "_Progress") -> None:
    client = account.client("cloudformation")
    undeletable: list[str] = []
    for _ in range(2):  # the second time without the resources that cannot be deleted, such as a protected table
        arguments = {"RetainResources": undeletable} if undeletable else {}
        stack_id = progress.stack_id()
        client.delete_stack(StackName=stack_id, **arguments)
        status = progress.wait_until_idle(stack_id)
        if status in ("", "DELETE_COMPLETE"):
            return
        resources = account.paginate(
            "cloudformation", "list_stack_resources", "StackResourceSummaries", StackName=stack_id
        )
        undeletable = [each["LogicalResourceId"] for each in resources if each["ResourceStatus"] == "DELETE_FAILED"]
    raise DeployError(
        f"CloudFormation cannot remove the stack {stage.stack}; its state is {status}. The lines above that contain "
        "FAILED have the reason."
    )


def _create_change_set(
    stage: Stage, account: AwsAccount, kind: str, template: str, **arguments: Any
) -> dict[str, Any] | None:
    """Create a change set and wait until CloudFormation has computed its changes. None if there are no changes."""
    client = account.client("cloudformation")
    try:
        change_set_id = client.create_change_set(
            StackName=stage.stack,
            ChangeSetName=f"deploy-{uuid.uuid4().hex}",
            ChangeSetType=kind,
            TemplateBody=template,
            Parameters=[{"ParameterKey": name, "ParameterValue": value} for name, value in stage.parameters.items()],
            Tags=[{"Key": "application", "Value": "devflow"}, {"Key": "stage", "Value": stage.name}],
            **arguments,
        )["Id"]
    except ClientError as error:
        raise_unless_no_changes(str(error))
        return None
    while True:
        change_set: dict[str, Any] = client.describe_change_set(ChangeSetName=change_set_id)
        if change_set["Status"] == "CREATE_COMPLETE":
            changes = account.paginate("cloudformation", "describe_change_set", "Changes", ChangeSetName=change_set_id)
            return change_set | {"Changes": list(changes)}
        if change_set["Status"] == "FAILED":
            client.delete_change_set(ChangeSetName=change_set_id)
            raise_unless_no_changes(str(change_set.get("StatusReason")))
            return None
        time.sleep(POLL_INTERVAL)


def raise_unless_no_changes(reason: str) -> None:
    """Raise DeployError for a failed change set, unless it failed because there is nothing to change."""
    if not any(text in reason for text in _NO_CHANGES):
        raise DeployError(f"CloudFormation rejects the change of the stack: {reason}")


def format_change(change: Mapping[str, Any]) -> str:
    """A change of a change set, as one line."""
    replaced = ", REPLACED" if change.get("Replacement") in ("True", "Conditional") else ""
    return f"{change['Action'].lower():8}{change['ResourceType']:32}{change['LogicalResourceId']}{replaced}"


def reject_table_replacement(changes: Iterable[Mapping[str, Any]]) -> None:
    """Raise DeployError if a change would replace a table by a new, empty one.

    `Replacement` is True, False or Conditional. Conditional means that CloudFormation decides during the update:
    https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_ResourceChange.html.
    """
    replaced = [
        change["LogicalResourceId"]
        for change in changes
        if change["ResourceType"] == "AWS::DynamoDB::Table" and change.get("Replacement") in ("True", "Conditional")
    ]
    if replaced:
        raise DeployError(
            f"This would replace the tables {', '.join(replaced)} by empty ones, so nothing was changed. Undo the "
            "change of their keys or names in infra/template.yaml, or copy the data to tables with other names first."
        )


class _Progress:
    """Watches a stack and prints each of its events once."""

    def __init__(self, stage: Stage, account: AwsAccount) -> None:
        self._name = stage.stack
        self._account = account
        self._seen: set[str] = {event["EventId"] for event in self._events(stage.stack)}

    def stack_id(self) -> str:
        """The stack's ARN, which identifies it even after it was removed."""
        return str((self._describe(self._name) or {})["StackId"])

    def wait_until_idle(self, stack: str | None = None, *, started: bool = False) -> str:
        """Wait until no operation is in progress and return the stack's state ("" if there is no stack).

        `started` means that an operation was requested, so a stack that is still waiting for its first review will
        leave that state.
        """
        while True:
            status = str((self._describe(stack or self._name) or {}).get("StackStatus", ""))
            for event in reversed(list(self._events(stack or self._name))):
                if event["EventId"] not in self._seen:
                    self._seen.add(event["EventId"])
                    print(f"  {format_event(event)}")
            if not status.endswith("_IN_PROGRESS") or (status == "REVIEW_IN_PROGRESS" and not started):
                return status
            time.sleep(POLL_INTERVAL)

    def _describe(self, stack: str) -> dict[str, Any] | None:
        client = self._account.client("cloudformation")
        try:
            found: list[dict[str, Any]] = client.describe_stacks(StackName=stack)["Stacks"]
        except ClientError as error:
            if "does not exist" in str(error):
                return None
            raise
        return found[0] if found else None

    def _events(self, stack: str) -> Iterable[dict[str, Any]]:
        try:
            return list(
                self._account.paginate("cloudformation", "describe_stack_events", "StackEvents", StackName=stack)
            )
        except ClientError as error:
            if "does not exist" in str(error):
                return []
            raise


def format_event(event: Mapping[str, Any]) -> str:
    """An event of a stack, as one line."""
    reason = f"  ({event['ResourceStatusReason']})" if event.get("ResourceStatusReason") else ""
    return f"{event['ResourceStatus']:28}{event['ResourceType']:32}{event['LogicalResourceId']}{reason}"
