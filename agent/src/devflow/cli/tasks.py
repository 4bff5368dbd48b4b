"""`devflow tasks`: list, show, follow, cancel and retry tasks."""

from urllib.parse import urlencode

import click

from devflow.api_client import Json, drop_none
from devflow.cli import follow, output
from devflow.cli.ids import task_path
from devflow.cli.invocation import Invocation, pass_invocation, platform_options
from devflow.errors import SettingsError

STATUSES = ("pending", "queued", "assigned", "in_progress", "completed", "failed", "cancelled")
_task_argument = click.argument("task_id", metavar="TASK")


class _ListByDefault(click.Group):
    """A group that runs `list` if no command is given."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        is_list = not args or (args[0].startswith("-") and args[0] not in ctx.help_option_names)
        return super().parse_args(ctx, ["list", *args] if is_list and not ctx.resilient_parsing else args)


@click.group(cls=_ListByDefault)
def tasks() -> None:
    """List, show, follow, cancel and retry tasks."""


@tasks.command("list")
@click.option("--status", type=click.Choice(STATUSES), help="Only tasks with this status.")
@click.option(
    "--agent", "of_agent", metavar="ID", help="Only tasks that this agent has or had, or that only it may do."
)
@click.option("--intent", help="Only tasks with this intent.")
@click.option("--limit", type=click.IntRange(1, 100), default=20, show_default=True, help="The number of tasks.")
@platform_options
@pass_invocation
def list_tasks(
    invocation: Invocation, status: str | None, of_agent: str | None, intent: str | None, limit: int
) -> None:
    """List tasks, newest first."""
    query = urlencode(drop_none({"status": status, "agentId": of_agent, "intent": intent, "limit": limit}))
    page = invocation.client().send_with_retries("GET", f"/api/tasks?{query}")
    columns = {
        "id": "Task", "status": "Status", "intent": "Intent", "agentId": "Agent", "createdAt": "Created",
        "description": "Description",
    }  # fmt: skip
    invocation.print_result(page, lambda: output.print_table(columns, page["data"]))


@tasks.command()
@_task_argument
@platform_options
@pass_invocation
def show(invocation: Invocation, task_id: str) -> None:
    """Show a task with its result."""
    task = invocation.client().send_with_retries("GET", task_path(task_id))
    reason = (task.get("waitingReason") or {}).get("message")
    invocation.print_result(task, lambda: output.print_fields(task | {"waitingReason": reason}))


@tasks.command()
@_task_argument
@click.option("--follow", "-f", "following", is_flag=True, help="Keep printing until the task has ended.")
@click.option("--attempt", type=click.IntRange(1), help="The number of the attempt. [default: the latest]")
@platform_options
@pass_invocation
def logs(invocation: Invocation, task_id: str, following: bool, attempt: int | None) -> None:
    """Print a task's log."""
    if following and attempt:
        raise SettingsError("--follow always follows the latest attempt. Use it without --attempt")
    client = invocation.client()
    if following:
        follow.follow_log(invocation, client, task_id)
        return
    offset, text, more = 0, "", True
    page: Json = {}
    while more:
        query = urlencode(drop_none({"offset": offset, "attempt": attempt}))
        page = client.send_with_retries("GET", f"{task_path(task_id)}/logs?{query}")
        text += page["data"]
        more, offset = page["nextOffset"] > offset, page["nextOffset"]
    invocation.print_result(page | {"offset": 0, "data": text}, text.removesuffix("\n"))


@tasks.command()
@_task_argument
@platform_options
@pass_invocation
def cancel(invocation: Invocation, task_id: str) -> None:
    """Cancel a task. A running task has a minute to stop."""
    response = invocation.client().send_with_retries("POST", f"{task_path(task_id)}/cancel")
    state = "its agent was asked to stop" if response["cancelRequested"] else response["status"]
    invocation.print_result(response, f"{task_id}: {state}")


@tasks.command()
@_task_argument
@platform_options
@pass_invocation
def retry(invocation: Invocation, task_id: str) -> None:
    """Submit a task that has ended once more, as a new task."""
    response = invocation.client().send_with_retries("POST", f"{task_path(task_id)}/retry")
    invocation.print_result(response, str(response["taskId"]))
