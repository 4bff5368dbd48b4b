"""`devflow run`: submit a task, follow it, and end with its result."""

import json
import uuid
from typing import Any

import click

from devflow.cli import follow, output
from devflow.cli.invocation import Invocation, platform_options, pass_invocation
from devflow.cli.repository import Repository
from devflow.api_client import ApiClient, Json, drop_none
from devflow.errors import SettingsError

_RESULT_FIELDS = ("id", "status", "attempt", "agentId", "error", "details", "summary", "output", "prUrl", "resultFiles")


@click.command()
@click.argument("description")
@click.option("--repo", default=".", show_default=True, help="An address, or a clone on this machine (its origin).")
@click.option("--branch", help="What to start from. Of a clone: the one that is checked out; else the default branch.")
@click.option("--intent", default="fix-bug", show_default=True, help="fix-bug, feature, explain, review-pr or another.")
@click.option("--agent", "for_agent", metavar="ID", help="The only agent that may do it.")
@click.option("--priority", type=click.IntRange(-100, 100), help="The higher, the sooner. [default: 0]")
@click.option("--timeout", type=click.IntRange(60, 86_400), metavar="SECONDS", help="For one attempt. [default: 7200]")
@click.option("--max-attempts", type=click.IntRange(1, 10), help="If agents are lost while they do it. [default: 2]")
@click.option("--context", "contexts", multiple=True, metavar="NAME=VALUE", help="Given to the agent; may come often.")
@click.option("--task-id", help="Your own id; the same again with the same request is the same task.")
@click.option("--detach", is_flag=True, help="Print the task's id and do not wait.")
@platform_options
@pass_invocation
def run(invocation: Invocation, /, description: str, **chosen: Any) -> int:
    """Have a task done: submit DESCRIPTION, follow it, and show the result.

    Exit status 0 when it is completed, 1 when it failed or was cancelled. Ctrl-C stops following, not the task.
    """
    client = invocation.client()
    repository = Repository.resolve(chosen["repo"])
    for warning in repository.warnings:
        invocation.print_note(warning)
    asked = {
        "taskId": chosen["task_id"] or f"task-{uuid.uuid4()}",
        "intent": chosen["intent"],
        "repo": repository.url,
        "branch": chosen["branch"] or repository.branch,
        "naturalLanguage": description,
        "agentId": chosen["for_agent"],
        "priority": chosen["priority"],
        "timeoutSeconds": chosen["timeout"],
        "maxAttempts": chosen["max_attempts"],
        "context": _parse_context(chosen["contexts"]),
    }
    answer = client.send_with_retries("POST", "/api/workflows/execute", drop_none(asked))
    task = str(answer["taskId"])
    if chosen["detach"]:
        invocation.print_result(answer, task)
        return 0
    invocation.print_note(f"Task {task}; stop it with: devflow tasks cancel {task}")
    return _follow_to_end(invocation, client, task)


def _follow_to_end(invocation: Invocation, client: ApiClient, task: str) -> int:
    try:
        ended = follow.follow_task(invocation, client, task)
    except KeyboardInterrupt:
        invocation.print_note(f"The task goes on. See it with: devflow tasks logs -f {task}")
        raise
    invocation.print_result(ended, lambda: output.print_fields({name: ended[name] for name in _RESULT_FIELDS}))
    return 0 if ended["status"] == "completed" else 1


def _parse_context(pairs: tuple[str, ...]) -> Json | None:
    """`issueId=123` is the text "123"; a value that is a JSON object, list or literal is taken as that."""
    context: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not name or not equals:
            raise SettingsError(f"--context wants NAME=VALUE, not {pair!r}")
        context[name] = _parse_value(value)
    return context or None


def _parse_value(text: str) -> Any:
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return text if isinstance(parsed, int | float) and not isinstance(parsed, bool) else parsed
