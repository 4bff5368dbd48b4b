"""The Chalice app: the routes of every feature, and the functions that AWS calls without HTTP.

Event handlers are declared here and not in blueprints. Chalice would deploy the event handlers of a blueprint as
functions of the blueprint's module, and such a function never imports this file.
"""

import gc

gc.disable()  # objects created in this file live as long as the process, so collecting while they load finds nothing

from importlib import import_module
from typing import Any

from chalice.app import CloudWatchEvent, Rate, SQSEvent

from chalicelib import dynamodb
from chalicelib.aws.sqs_batch import handle_batch
from chalicelib.core import clock, deadline, metrics
from chalicelib.core.errors import Unavailable
from chalicelib.core.log import logger
from chalicelib.core.settings import settings
from chalicelib.http import App
from chalicelib.webhooks.concurrency import BATCH_SIZE, MAX_BATCHES

FEATURES = {
    "chalicelib.health": ("/health",),
    "chalicelib.dashboard.routes": ("/dashboard", "/docs", "/login"),
    "chalicelib.auth.routes": ("/api/auth",),
    "chalicelib.tasks.routes": ("/api/tasks", "/api/workflows"),
    "chalicelib.orchestration.agent_routes": ("/api/agents",),
    "chalicelib.orchestration.stats_routes": ("/api/stats",),
    "chalicelib.webhooks.routes": ("/api/webhooks",),
    "chalicelib.openapi.routes": ("/api/openapi.json",),
}
"""The modules that define the routes, each with the prefixes of its routes' paths."""

HOT_FEATURES = ("chalicelib.orchestration.agent_routes", "chalicelib.tasks.routes")
"""The features that nearly all requests use: agents and their tasks. A Lambda imports them when it starts. It imports
another feature at the first request for one of its paths."""

EVENT_MODULES = {
    "app.run_workflows": "chalicelib.orchestration.workflow_queue",
    "app.announce_events": "chalicelib.orchestration.event_publisher",
    "app.deliver_webhooks": "chalicelib.webhooks.delivery",
    "app.sweep": "chalicelib.orchestration.sweep",
    "app.sweep_backlog": "chalicelib.orchestration.sweep_backlog",
}
"""The module that each event handler imports."""

app = App(f"devflow-{settings.stage}", FEATURES)

MAX_WORKFLOW_BATCHES = 59
MAX_EVENT_BATCHES = 240
MAX_SWEEP_BATCHES = 16
"""The concurrent executions of each function.

Without a limit, a backlog of one queue may take all concurrent executions of the account (1,000 by default), and API
Gateway then returns 503. Together with `MAX_BATCHES` of webhooks, the limits leave at least half of them to the API. An
execution handles about 23 messages a second, so 1,000 tasks a second with five events each pass. A longer backlog waits
in its queue. A run of the sweep hands out at most 16 messages: one for each of four kinds of due rows, in each of four
shards.
"""

TIME_TO_STOP = 5_000
"""The sweep, and the function that it hands out work to, stop when they have fewer milliseconds left than this."""


@app.on_sqs_message(
    queue=settings.resource_name("workflow"),
    batch_size=10,
    maximum_concurrency=MAX_WORKFLOW_BATCHES,
    name="run_workflows",
)
def run_workflows(event: SQSEvent) -> dict[str, Any]:
    """Make submitted tasks claimable."""
    from chalicelib.orchestration.workflow_queue import handle_message

    return handle_batch(handle_message, event.to_dict()["Records"], event.context, clock.now())


@app.on_sqs_message(
    queue=settings.resource_name("events"),
    batch_size=10,
    maximum_concurrency=MAX_EVENT_BATCHES,
    name="announce_events",
)
def announce_events(event: SQSEvent) -> dict[str, Any]:
    """Publish events: create a delivery for each webhook that subscribes to them."""
    from chalicelib.orchestration.event_publisher import handle_message

    return handle_batch(handle_message, event.to_dict()["Records"], event.context, clock.now())


@app.on_sqs_message(
    queue=settings.resource_name("webhooks"),
    batch_size=BATCH_SIZE,
    maximum_concurrency=MAX_BATCHES,
    name="deliver_webhooks",
)
def deliver_webhooks(event: SQSEvent) -> dict[str, Any]:
    """Send the webhooks that are due. The deliveries of one batch are sent concurrently."""
    from chalicelib.webhooks.delivery import deliver

    return handle_batch(deliver, event.to_dict()["Records"], event.context, clock.now(), concurrency=BATCH_SIZE)


@app.schedule(Rate(1, unit=Rate.MINUTES), name="sweep")
def sweep(event: CloudWatchEvent) -> None:
    """Mark silent agents, release their tasks, end overdue tasks, and resume whatever lost its message."""
    from chalicelib.orchestration.sweep import run_sweep

    context: Any = event.context
    metrics.begin()
    with deadline.within(context):
        summary = run_sweep(clock.now(), lambda: context.get_remaining_time_in_millis() - TIME_TO_STOP)
    logger.info("swept", extra=vars(summary) | metrics.flush(clock.now()))
    if summary.unread:
        raise Unavailable("The sweep could not read some indexes. Its next run reads them.")


@app.on_sqs_message(
    queue=settings.resource_name("sweep"),
    batch_size=1,
    maximum_concurrency=MAX_SWEEP_BATCHES,
    name="sweep_backlog",
)
def sweep_backlog(event: SQSEvent) -> dict[str, Any]:
    """Process due rows of one kind and shard that did not fit into a run of the sweep."""
    from chalicelib.orchestration.sweep_backlog import handle_message

    context: Any = event.context

    def handle(body: str, now: int) -> None:
        handle_message(body, now, lambda: context.get_remaining_time_in_millis() - TIME_TO_STOP)

    return handle_batch(handle, event.to_dict()["Records"], context, clock.now())


def load_for_handler(handler: str | None) -> None:
    """Import the modules that a Lambda with this handler needs. Import all modules for an unknown handler, or None."""
    if handler in EVENT_MODULES:
        import_module(EVENT_MODULES[handler])
    elif handler == "app.app":
        app.load(*HOT_FEATURES)
    else:
        app.load_all()
        for module in EVENT_MODULES.values():
            import_module(module)


load_for_handler(settings.handler)
if settings.deploying:
    # One of Chalice's commands loads this file, on an operator's machine. Chalice has no hooks, so this file runs one.
    # It needs no connection to AWS.
    from pathlib import Path
    from runpy import run_path

    run_path(str(Path(__file__).with_name(".chalice") / "load_hook.py"))
else:
    # Connect while the container starts, and not during its first request. All objects that exist now stay until the
    # process ends. `freeze` excludes them from garbage collection, so no request pays for scanning them.
    dynamodb.connect()
    gc.freeze()
gc.enable()
