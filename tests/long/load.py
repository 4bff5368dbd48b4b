"""Creates hundreds of thousands of rows. The product's stores serialize them; BatchWriteItem writes them directly."""

import itertools
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import boto3
from botocore.config import Config

from chalicelib import dynamodb
from chalicelib.agents import store as agents
from chalicelib.agents.entities import Agent
from chalicelib.aws import session
from chalicelib.core.settings import HOUR, SECOND
from chalicelib.tasks import store
from chalicelib.tasks.entities import Task, TaskEvent
from chalicelib.tasks.requests import TaskBody
from chalicelib.tasks.rules import MAX_QUEUE_TIME

BATCH = 25
"""The maximum number of rows of a BatchWriteItem."""

THREADS = 4
OPEN_SHARE = 10
"""One task in ten is queued, the others are completed. Of 100,000 tasks, this is the limit of open tasks per user."""

Row = tuple[str, dict[str, Any]]
"""A table's name and an item in DynamoDB's JSON."""

TEXT = "Fix null pointer exception in login flow"


def agent_rows(owner: str, many: int, seen_at: int, name: str = "agent") -> Iterator[Row]:
    """Active agents `<name>-00000`, `<name>-00001`, ..., whose last check-in was at `seen_at`."""
    for number in range(many):
        agent = Agent(
            owner=owner,
            id=f"{name}-{number:05d}",
            name=f"build machine {number:05d}",
            version="0.2.0",
            platform="linux",
            capabilities=["fix-bug", "feature"],
            concurrency=None,
            state="active",
            ver=f"{number:016x}",
            created_at=seen_at - HOUR,
            updated_at=seen_at - HOUR,
            seen_at=seen_at,
            worked_at=seen_at - HOUR,
        )
        yield from to_rows([agents.create_item(agent)])


def task_rows(owner: str, many: int, now: int) -> Iterator[Row]:
    """Tasks `task-000000`, `task-000001`, ..., oldest first.

    One in ten is queued, with intent `feature`. The first agent has completed the others, with intent `fix-bug`.
    """
    for number in range(many):
        name, created_at = f"task-{number:06d}", now - (many - number) * SECOND // 2  # none has been queued for a day
        if number % OPEN_SHARE == 0:
            yield from task_row(owner, name, created_at, status="queued", intent="feature")
        else:
            yield from task_row(owner, name, created_at, status="completed", intent="fix-bug")


def task_row(owner: str, name: str, created_at: int, *, due: int | None = None, **known: Any) -> Iterator[Row]:
    """The rows of a task: of a queued one with its body and an event, of a completed one only the head.

    No measured call reads the other rows of a completed task. `due`: when the sweep must handle the task, if not at the
    usual time.
    """
    done = known["status"] == "completed"
    end = created_at + SECOND
    times: dict[str, Any] = {"claimed_at": end, "started_at": end, "completed_at": end, "progress": 1} if done else {}
    task = Task(
        owner=owner,
        id=name,
        repo="https://github.com/user/repo",
        branch="main",
        title=TEXT,
        agent_id="agent-00000" if done else None,
        request_digest="0" * 32,
        report_digest="0" * 32 if done else None,
        created_at=created_at,
        updated_at=created_at,
        due=None if done else due or created_at + MAX_QUEUE_TIME,
        **(times | known),
    )
    body = TaskBody.model_construct(description=TEXT, context={"issueId": "123", "prId": "456"})
    queued = TaskEvent("task.queued", created_at, "queued", 1, None)
    parts = store.create_items(task, body, queued)
    yield from to_rows(parts[:1] if done else parts)


def to_rows(parts: Iterable[dynamodb.TransactItem]) -> Iterator[Row]:
    for part in parts:
        yield part.request["TableName"], part.request["Item"]


def load(endpoint: str | None, rows: Iterable[Row]) -> int:
    """Write rows to DynamoDB at this endpoint, or at the default endpoint if None. Returns the number of rows."""
    config = Config(parameter_validation=False, max_pool_connections=THREADS, retries={"total_max_attempts": 1})
    boto3_session = boto3.Session(botocore_session=session.botocore_session())  # it serializes requests faster
    client = boto3_session.client("dynamodb", endpoint_url=endpoint, config=config)
    written = 0
    with ThreadPoolExecutor(THREADS) as pool:
        pending: list[Future[int]] = []
        for batch in _batches(rows):
            pending.append(pool.submit(_write, client, batch))
            if len(pending) >= THREADS * 2:
                written += pending.pop(0).result()
        written += sum(future.result() for future in pending)
    client.close()
    return written


def _batches(rows: Iterable[Row]) -> Iterator[list[Row]]:
    remaining = iter(rows)
    while batch := list(itertools.islice(remaining, BATCH)):
        yield batch


def _write(client: Any, batch: list[Row]) -> int:
    requests: dict[str, list[Any]] = {}
    for table, item in batch:
        requests.setdefault(table, []).append({"PutRequest": {"Item": item}})
    while requests:
        requests = client.batch_write_item(RequestItems=requests)["UnprocessedItems"]
    return len(batch)
