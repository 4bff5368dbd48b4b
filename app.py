"""The Chalice app: every route by way of a blueprint, and every function that AWS calls without HTTP.

Event handlers are declared here and not in blueprints: Chalice would deploy a blueprint's as functions of their own
module, which never import this file.
"""

import gc

gc.disable()  # what is made up to the end of this file lives as long as the process: looking through it is in vain

from typing import Any

from chalice.app import CloudWatchEvent, Rate, SQSEvent

from chalicelib import clock, db, metrics
from chalicelib.agents.routes import blueprint as agents
from chalicelib.auth.routes import blueprint as auth
from chalicelib.dashboard.routes import blueprint as dashboard
from chalicelib.health import blueprint as health
from chalicelib.http import App
from chalicelib.log import logger
from chalicelib.openapi.routes import blueprint as openapi
from chalicelib.settings import settings
from chalicelib.tasks.routes import blueprint as tasks
from chalicelib.webhooks.delivering import AT_ONCE, deliver
from chalicelib.webhooks.model import BATCHES
from chalicelib.webhooks.routes import blueprint as webhooks
from chalicelib.workflows.routes import blueprint as workflows
from chalicelib.workflows.service import announce, make_claimable, run_batch
from chalicelib.workflows.sweep import sweep as sweep_all

app = App(f"devflow-{settings.stage}")
for blueprint in (health, dashboard, auth, agents, tasks, workflows, webhooks, openapi):
    app.register_blueprint(blueprint)

TIME_TO_STOP = 5_000
"""The sweep ends when its function has less than this many milliseconds left."""


@app.on_sqs_message(queue=settings.named("workflow"), batch_size=10, name="run_workflows")
def run_workflows(event: SQSEvent) -> dict[str, Any]:
    """Make submitted tasks claimable."""
    return run_batch(make_claimable, event.to_dict()["Records"], clock.now())


@app.on_sqs_message(queue=settings.named("events"), batch_size=10, name="announce_events")
def announce_events(event: SQSEvent) -> dict[str, Any]:
    """Tell whoever waits for it what has happened."""
    return run_batch(announce, event.to_dict()["Records"], clock.now())


@app.on_sqs_message(
    queue=settings.named("webhooks"), batch_size=AT_ONCE, maximum_concurrency=BATCHES, name="deliver_webhooks"
)
def deliver_webhooks(event: SQSEvent) -> dict[str, Any]:
    """Deliver webhooks whose time has come, all of a batch at the same time."""
    return run_batch(deliver, event.to_dict()["Records"], clock.now(), at_once=AT_ONCE)


@app.schedule(Rate(1, unit=Rate.MINUTES), name="sweep")
def sweep(event: CloudWatchEvent) -> None:
    """Mark silent agents, take back what they held, send again what was lost, end what is overdue."""
    context: Any = event.context
    metrics.begin()
    swept = sweep_all(clock.now(), lambda: context.get_remaining_time_in_millis() < TIME_TO_STOP)
    logger.info("swept", extra=vars(swept) | metrics.taken(clock.now()))


if settings.deploying:
    from infra.deploy import plain

    plain.prepare()
else:
    # At the start of a container, and not at its first request. What is there now stays for good: the garbage
    # collector need not look through it again, least of all in the midst of a long answer.
    db.connect()
    gc.freeze()
gc.enable()
