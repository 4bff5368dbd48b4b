"""The CloudFormation stack of a stage: what must outlive the code. Shows its progress as CloudFormation tells it."""

import time
import uuid
from collections.abc import Iterable, Mapping
from typing import Any

from botocore.exceptions import ClientError

from infra.deploy import adopt
from infra.deploy.account import Account
from infra.deploy.problems import Problem
from infra.deploy.stage import Stage

PAUSE = 2.0
"""Seconds between two looks at what CloudFormation does."""

_NOTHING_NEW = ("didn't contain changes", "No updates are to be performed")
_NEVER_BEGUN = {"", "REVIEW_IN_PROGRESS"}
_NEVER_MADE = {"ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "CREATE_FAILED", "DELETE_FAILED"}
"""Ends of a first creation (or of a removal) from which CloudFormation goes on by removing the stack alone."""


def deploy(stage: Stage, account: Account) -> None:
    """Make the stack as the template says. Raises Problem where that fails, or would replace a table."""
    seen = _Progress(stage, account)
    status = seen.settled()
    if status in _NEVER_MADE:
        print(f"  the stack {stage.stack} was never made whole ({status}); it is made anew")
        _remove(stage, account, seen)
        status = ""
    left = adopt.left(stage, account) if status in _NEVER_BEGUN else []
    if left:
        print("  an earlier stack has left tables or the secret; they are taken in as they are")
        taken_in = _change_set(stage, account, "IMPORT", adopt.template_of(stage, left), ResourcesToImport=left)
        status = _execute(stage, account, seen, taken_in)
    change_set = _change_set(stage, account, "CREATE" if status in _NEVER_BEGUN else "UPDATE", stage.template)
    _execute(stage, account, seen, change_set)


def _execute(stage: Stage, account: Account, seen: "_Progress", change_set: dict[str, Any] | None) -> str:
    """Make the changes of a change set; the state of the stack. Raises Problem where that fails."""
    if change_set is None:
        print("  nothing to change")
        return ""
    for change in change_set["Changes"]:
        print(f"  {described(change['ResourceChange'])}")
    refuse_replacing_tables(change["ResourceChange"] for change in change_set["Changes"])
    account.client("cloudformation").execute_change_set(ChangeSetName=change_set["ChangeSetId"])
    ended = seen.settled(begun=True)
    if ended not in ("CREATE_COMPLETE", "IMPORT_COMPLETE", "UPDATE_COMPLETE"):
        raise Problem(
            f"CloudFormation could not do it; the stack {stage.stack} is {ended}. The first line above that says "
            "FAILED says why."
        )
    return ended


def remove(stage: Stage, account: Account) -> None:
    """Remove the stack, if it is there. What its template retains stays."""
    seen = _Progress(stage, account)
    if seen.settled():
        _remove(stage, account, seen)


def _remove(stage: Stage, account: Account, seen: "_Progress") -> None:
    client = account.client("cloudformation")
    stubborn: list[str] = []
    for _ in range(2):  # what cannot be removed (a protected table) is left out of it the second time
        arguments = {"RetainResources": stubborn} if stubborn else {}
        stack = seen.stack_id()
        client.delete_stack(StackName=stack, **arguments)
        ended = seen.settled(stack)
        if ended in ("", "DELETE_COMPLETE"):
            return
        resources = account.pages("cloudformation", "list_stack_resources", "StackResourceSummaries", StackName=stack)
        stubborn = [each["LogicalResourceId"] for each in resources if each["ResourceStatus"] == "DELETE_FAILED"]
    raise Problem(f"CloudFormation cannot remove the stack {stage.stack}: it is {ended}.")


def _change_set(stage: Stage, account: Account, kind: str, template: str, **more: Any) -> dict[str, Any] | None:
    """The changes that a template makes, computed by CloudFormation; None where it makes none."""
    client = account.client("cloudformation")
    try:
        made = client.create_change_set(
            StackName=stage.stack,
            ChangeSetName=f"deploy-{uuid.uuid4().hex}",
            ChangeSetType=kind,
            TemplateBody=template,
            Parameters=[{"ParameterKey": name, "ParameterValue": value} for name, value in stage.parameters.items()],
            Tags=[{"Key": "application", "Value": "devflow"}, {"Key": "stage", "Value": stage.name}],
            **more,
        )["Id"]
    except ClientError as error:
        refuse_unless_nothing_new(str(error))
        return None
    while True:
        change_set: dict[str, Any] = client.describe_change_set(ChangeSetName=made)
        if change_set["Status"] == "CREATE_COMPLETE":
            pages = account.pages("cloudformation", "describe_change_set", "Changes", ChangeSetName=made)
            return change_set | {"Changes": list(pages)}
        if change_set["Status"] == "FAILED":
            client.delete_change_set(ChangeSetName=made)
            refuse_unless_nothing_new(str(change_set.get("StatusReason")))
            return None
        time.sleep(PAUSE)


def refuse_unless_nothing_new(reason: str) -> None:
    """Raise Problem for a change set that failed, unless it did so for want of changes."""
    if not any(text in reason for text in _NOTHING_NEW):
        raise Problem(f"CloudFormation refuses the change: {reason}")


def described(change: Mapping[str, Any]) -> str:
    """A change of a change set, in a line."""
    replaced = ", REPLACED" if change.get("Replacement") in ("True", "Conditional") else ""
    return f"{change['Action'].lower():8}{change['ResourceType']:32}{change['LogicalResourceId']}{replaced}"


def refuse_replacing_tables(changes: Iterable[Mapping[str, Any]]) -> None:
    """Raise Problem if a change would put a new, empty table in the place of one with data.

    `Replacement` is True, False or Conditional (CloudFormation will know only when it does it), see
    https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_ResourceChange.html.
    """
    replaced = [
        change["LogicalResourceId"]
        for change in changes
        if change["ResourceType"] == "AWS::DynamoDB::Table" and change.get("Replacement") in ("True", "Conditional")
    ]
    if replaced:
        raise Problem(
            f"This would replace the tables {', '.join(replaced)} by empty ones, so nothing was changed. Move the data "
            "to tables of other names first, or undo the change of their keys or names in infra/template.yaml."
        )


class _Progress:
    """What a stack does: prints each of its events once."""

    def __init__(self, stage: Stage, account: Account) -> None:
        self._name = stage.stack
        self._account = account
        self._told: set[str] = {event["EventId"] for event in self._events(stage.stack)}

    def stack_id(self) -> str:
        """Its whole name, by which it is known even when it is gone."""
        return str((self._described(self._name) or {})["StackId"])

    def settled(self, stack: str | None = None, *, begun: bool = False) -> str:
        """Wait until it does nothing, and say in what state that is ("" where there is no stack).

        `begun`: it was asked to do something, so that one that waits for a first review is about to go on.
        """
        while True:
            status = str((self._described(stack or self._name) or {}).get("StackStatus", ""))
            for event in reversed(list(self._events(stack or self._name))):
                if event["EventId"] not in self._told:
                    self._told.add(event["EventId"])
                    print(f"  {told(event)}")
            if not status.endswith("_IN_PROGRESS") or (status == "REVIEW_IN_PROGRESS" and not begun):
                return status
            time.sleep(PAUSE)

    def _described(self, stack: str) -> dict[str, Any] | None:
        try:
            found: list[dict[str, Any]] = self._account.client("cloudformation").describe_stacks(StackName=stack)[
                "Stacks"
            ]
        except ClientError as error:
            if "does not exist" in str(error):
                return None
            raise
        return found[0] if found else None

    def _events(self, stack: str) -> Iterable[dict[str, Any]]:
        try:
            return list(self._account.pages("cloudformation", "describe_stack_events", "StackEvents", StackName=stack))
        except ClientError as error:
            if "does not exist" in str(error):
                return []
            raise


def told(event: Mapping[str, Any]) -> str:
    """An event of a stack, in a line."""
    reason = f"  ({event['ResourceStatusReason']})" if event.get("ResourceStatusReason") else ""
    return f"{event['ResourceStatus']:28}{event['ResourceType']:32}{event['LogicalResourceId']}{reason}"
