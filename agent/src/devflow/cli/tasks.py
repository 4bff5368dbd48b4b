"""`devflow tasks`: see what became of tasks, follow, cancel and retry them."""

from urllib.parse import urlencode

import click

from devflow.cli import follow, output
from devflow.cli.invocation import Invocation, platform_options, pass_invocation
from devflow.cli.ids import task_path
from devflow.api_client import Json, drop_none
from devflow.errors import SettingsError

STATUSES = ("pending", "queued", "assigned", "in_progress", "completed", "failed", "cancelled")


class _ListByDefault(click.Group):
    """Commands of which `list` may be left out."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        listed = not args or (args[0].startswith("-") and args[0] not in ctx.help_option_names)
        return super().parse_args(ctx, ["list", *args] if listed and not ctx.resilient_parsing else args)


@click.group(cls=_ListByDefault)
def tasks() -> None:
    """List, show, follow, cancel and retry tasks."""


@tasks.command("list")
@click.option("--status", type=click.Choice(STATUSES))
@click.option("--agent", "of_agent", metavar="ID", help="Those that this agent holds or held, or that wait for it.")
@click.option("--intent")
@click.option("--limit", type=click.IntRange(1, 100), default=20, show_default=True)
@platform_options
@pass_invocation
def list_tasks(
    invocation: Invocation, status: str | None, of_agent: str | None, intent: str | None, limit: int
) -> None:
    """List tasks, newest first."""
    asked = {"status": status, "agentId": of_agent, "intent": intent, "limit": limit}
    query = urlencode(drop_none(asked))
    found = invocation.client().send_with_retries("GET", f"/api/tasks?{query}")
    columns = {
        "id": "Task", "status": "Status", "intent": "Intent", "agentId": "Agent", "createdAt": "Created",
        "description": "Description",
    }  # fmt: skip
    invocation.print_result(found, lambda: output.print_table(columns, found["data"]))


@tasks.command()
@click.argument("task")
@platform_options
@pass_invocation
def show(invocation: Invocation, task: str) -> None:
    """Show a task with its result."""
    found = invocation.client().send_with_retries("GET", task_path(task))
    invocation.print_result(found, lambda: output.print_fields(found))


@tasks.command()
@click.argument("task")
@click.option("--follow", "-f", "following", is_flag=True, help="Go on until the task has ended.")
@click.option("--attempt", type=click.IntRange(1), help="The latest when left out.")
@platform_options
@pass_invocation
def logs(invocation: Invocation, task: str, following: bool, attempt: int | None) -> None:
    """Print a task's log."""
    if following and attempt:
        raise SettingsError("--follow goes with the latest attempt; leave --attempt out")
    client = invocation.client()
    if following:
        follow.follow_log(invocation, client, task)
        return
    offset, text, pages = 0, "", True
    page: Json = {}
    while pages:
        query = urlencode(drop_none({"offset": offset, "attempt": attempt}))
        page = client.send_with_retries("GET", f"{task_path(task)}/logs?{query}")
        text += page["data"]
        pages, offset = page["nextOffset"] > offset, page["nextOffset"]
    invocation.print_result(page | {"offset": 0, "data": text}, text.removesuffix("\n"))


@tasks.command()
@click.argument("task")
@platform_options
@pass_invocation
def cancel(invocation: Invocation, task: str) -> None:
    """Cancel a task. One that runs has a minute to stop."""
    answer = invocation.client().send_with_retries("POST", f"{task_path(task)}/cancel")
    asked = "its agent is asked to stop" if answer["cancelRequested"] else answer["status"]
    invocation.print_result(answer, f"{task}: {asked}")


@tasks.command()
@click.argument("task")
@platform_options
@pass_invocation
def retry(invocation: Invocation, task: str) -> None:
    """Do the work of a task that has ended once more, as a new task."""
    answer = invocation.client().send_with_retries("POST", f"{task_path(task)}/retry")
    invocation.print_result(answer, str(answer["taskId"]))
