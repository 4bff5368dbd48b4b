"""`devflow run`: submits a task, follows it and prints its result."""

import json
import uuid
from typing import Any

import click

from devflow.api_client import ApiClient, Json, drop_none
from devflow.cli import follow, output
from devflow.cli.invocation import Invocation, pass_invocation, platform_options
from devflow.cli.repository import Repository
from devflow.errors import SettingsError

_RESULT_FIELDS = (
    "id", "status", "attempt", "agentId", "error", "details", "summary", "output", "prUrl", "resultFiles",
)  # fmt: skip


@click.command()
@click.argument("description")
@click.option(
    "--repo", default=".", show_default=True, help="A repository URL, or a clone on this machine (its origin is used)."
)
@click.option(
    "--branch", help="The branch to start from. [default: the clone's checked-out branch, or the default branch]"
)
@click.option("--intent", default="fix-bug", show_default=True, help="fix-bug, feature, explain, review-pr or another.")
@click.option("--agent", "for_agent", metavar="ID", help="Only this agent may do the task.")
@click.option("--priority", type=click.IntRange(-100, 100), help="Higher priorities are assigned first. [default: 0]")
@click.option(
    "--timeout", type=click.IntRange(60, 86_400), metavar="SECONDS", help="The limit for one attempt. [default: 7200]"
)
@click.option(
    "--max-attempts",
    type=click.IntRange(1, 10),
    help="The number of attempts, if the agents of earlier ones are lost. [default: 2]",
)
@click.option(
    "--context", "contexts", multiple=True, metavar="NAME=VALUE", help="A value for the agent. Can be repeated."
)
@click.option(
    "--task-id", help="Your own id for the task. The same id and request sent again do not create a second task."
)
@click.option("--detach", is_flag=True, help="Print the task's id and do not wait.")
@platform_options
@pass_invocation
def run(invocation: Invocation, /, description: str, **options: Any) -> int:
    """Submit DESCRIPTION as a task, follow it, and print the result.

    The exit status is 0 if the task is completed, and 1 if it failed or was cancelled. Ctrl-C stops following the task,
    but the task continues.
    """
    client = invocation.client()
    repository = Repository.resolve(options["repo"])
    for warning in repository.warnings:
        invocation.print_note(warning)
    body = {
        "taskId": options["task_id"] or f"task-{uuid.uuid4()}",
        "intent": options["intent"],
        "repo": repository.url,
        "branch": options["branch"] or repository.branch,
        "naturalLanguage": description,
        "agentId": options["for_agent"],
        "priority": options["priority"],
        "timeoutSeconds": options["timeout"],
        "maxAttempts": options["max_attempts"],
        "context": _parse_context(options["contexts"]),
    }
    response = client.send_with_retries("POST", "/api/workflows/execute", drop_none(body))
    task_id = str(response["taskId"])
    if options["detach"]:
        invocation.print_result(response, task_id)
        return 0
    invocation.print_note(f"Submitted task {task_id}. Cancel it with: devflow tasks cancel {task_id}")
    return _follow_to_end(invocation, client, task_id)


def _follow_to_end(invocation: Invocation, client: ApiClient, task_id: str) -> int:
    try:
        task = follow.follow_task(invocation, client, task_id)
    except KeyboardInterrupt:
        invocation.print_note(f"The task continues. Follow it with: devflow tasks logs -f {task_id}")
        raise
    invocation.print_result(task, lambda: output.print_fields({name: task[name] for name in _RESULT_FIELDS}))
    return 0 if task["status"] == "completed" else 1


def _parse_context(pairs: tuple[str, ...]) -> Json | None:
    """Parse `NAME=VALUE` pairs. Returns None if there are none. Raises SettingsError."""
    context: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not name or not equals:
            raise SettingsError(f"--context must be NAME=VALUE, not {pair!r}")
        context[name] = _parse_value(value)
    return context or None


def _parse_value(text: str) -> Any:
    """Parse a JSON object, list, true, false or null. Everything else stays text, numbers included: `issueId=123`."""
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return text if isinstance(parsed, int | float) and not isinstance(parsed, bool) else parsed
