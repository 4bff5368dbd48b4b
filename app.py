"""The Chalice app: every route by way of a blueprint, and every function that AWS calls without HTTP.

Event handlers are declared here and not in blueprints: Chalice would deploy a blueprint's as functions of their own
module, which never import this file.
"""

import gc

gc.disable()  # what is made up to the end of this file lives as long as the process: looking through it is in vain

from importlib import import_module
from typing import Any

from chalice.app import CloudWatchEvent, Rate, SQSEvent

from chalicelib import dynamodb
from chalicelib.aws.sqs_batch import handle_batch
from chalicelib.core import clock, metrics
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
"""Where the routes are, and how their addresses begin."""

OFTEN = ("chalicelib.orchestration.agent_routes", "chalicelib.tasks.routes")
"""Those of agents and their tasks, which is nearly all that is called. A Lambda loads the others when they are."""

EVENTS = {
    "app.run_workflows": "chalicelib.orchestration.workflow_queue",
    "app.announce_events": "chalicelib.orchestration.event_publisher",
    "app.deliver_webhooks": "chalicelib.webhooks.delivery",
    "app.sweep": "chalicelib.orchestration.sweep",
}
"""What the handlers of events import, each."""

app = App(f"devflow-{settings.stage}", FEATURES)

TIME_TO_STOP = 5_000
"""The sweep ends when its function has less than this many milliseconds left."""


@app.on_sqs_message(queue=settings.resource_name("workflow"), batch_size=10, name="run_workflows")
def run_workflows(event: SQSEvent) -> dict[str, Any]:
    """Make submitted tasks claimable."""
    from chalicelib.orchestration.workflow_queue import handle_message

    return handle_batch(handle_message, event.to_dict()["Records"], clock.now())


@app.on_sqs_message(queue=settings.resource_name("events"), batch_size=10, name="announce_events")
def announce_events(event: SQSEvent) -> dict[str, Any]:
    """Tell whoever waits for it what has happened."""
    from chalicelib.orchestration.event_publisher import handle_message

    return handle_batch(handle_message, event.to_dict()["Records"], clock.now())


@app.on_sqs_message(
    queue=settings.resource_name("webhooks"),
    batch_size=BATCH_SIZE,
    maximum_concurrency=MAX_BATCHES,
    name="deliver_webhooks",
)
def deliver_webhooks(event: SQSEvent) -> dict[str, Any]:
    """Deliver webhooks whose time has come, all of a batch at the same time."""
    from chalicelib.webhooks.delivery import deliver

    return handle_batch(deliver, event.to_dict()["Records"], clock.now(), concurrency=BATCH_SIZE)


@app.schedule(Rate(1, unit=Rate.MINUTES), name="sweep")
def sweep(event: CloudWatchEvent) -> None:
    """Mark silent agents, take back what they held, send again what was lost, end what is overdue."""
    from chalicelib.orchestration.sweep import run_sweep as sweep_all

    context: Any = event.context
    metrics.begin()
    swept = sweep_all(clock.now(), lambda: context.get_remaining_time_in_millis() < TIME_TO_STOP)
    logger.info("swept", extra=vars(swept) | metrics.flush(clock.now()))


def start(handler: str | None) -> None:
    """Import what a Lambda with this handler does; where there is none, all that there is."""
    if handler in EVENTS:
        import_module(EVENTS[handler])
    elif handler == "app.app":
        app.load(*OFTEN)
    else:
        app.load_all()
        for module in EVENTS.values():
            import_module(module)


start(settings.handler)
if settings.deploying:
    # One of Chalice's commands loads this file, on an operator's machine. Chalice has no hooks, so this file runs one.
    # It needs no connection to AWS.
    from pathlib import Path
    from runpy import run_path

    run_path(str(Path(__file__).with_name(".chalice") / "load_hook.py"))
else:
    # Connect while the container starts, and not during its first request. All objects that exist now stay until the
    # process ends. `freeze` takes them out of the garbage collector's work, so no request pays for scanning them.
    dynamodb.connect()
    gc.freeze()
gc.enable()
