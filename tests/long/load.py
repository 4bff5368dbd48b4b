"""Rows by the hundred thousand: serialized by the product's own stores, written past it with BatchWriteItem."""

import itertools
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import boto3
from botocore.config import Config

from chalicelib import db
from chalicelib.agents import store as agents
from chalicelib.agents.model import Agent
from chalicelib.settings import HOUR, SECOND
from chalicelib.tasks import model, store
from chalicelib.tasks.model import QUEUED_FOR, Event, Task
from chalicelib.tasks.shapes import Body

BATCH = 25
"""As many rows as BatchWriteItem takes."""

THREADS = 4
OPEN_SHARE = 5
"""One task in so many waits, the others are done."""

MOST_OPEN = 10_000
"""As many open tasks as the platform lets a user have."""

Row = tuple[str, dict[str, Any]]
"""A table's name and an item in DynamoDB's JSON."""

TEXT = "Fix null pointer exception in login flow"


def agent_rows(owner: str, many: int, seen_at: int, name: str = "agent") -> Iterator[Row]:
    """Active agents, `<name>-00000` and so on, heard of at `seen_at`."""
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
        yield from _rows([agents.new(agent)])


def task_rows(owner: str, many: int, now: int) -> Iterator[Row]:
    """Tasks `task-000000` and so on, the last the newest: one in five waits for intent `feature`, the others were
    completed by the first agent, intent `fix-bug`."""
    waiting = min(many // OPEN_SHARE, MOST_OPEN)
    for number in range(many):
        created_at = now - (many - number) * SECOND // 2  # half a day for the most of them: none is overdue
        if number % (many // waiting) == 0:
            yield from task_row(owner, f"task-{number:06d}", created_at, status="queued", intent="feature")
        else:
            yield from task_row(owner, f"task-{number:06d}", created_at, status="completed", intent="fix-bug")


def task_row(owner: str, task_id: str, created_at: int, *, due: int | None = None, **known: Any) -> Iterator[Row]:
    """A task with its body and its first event. `due`: when the sweep must look at it, if not at its usual time."""
    values = {"updated_at": created_at, "due": due or created_at + QUEUED_FOR, **known}
    if known["status"] == "completed":
        end = created_at + SECOND
        values |= {"agent": "agent-00000", "progress": 1, "report": "0" * 32, "due": None}
        values |= {"claimed_at": end, "started_at": end, "completed_at": end}
    task = Task(
        owner=owner,
        id=task_id,
        repo="https://github.com/user/repo",
        branch="main",
        title=TEXT,
        digest="0" * 32,
        created_at=created_at,
        **values,
    )
    body = Body.model_construct(description=TEXT, context={"issueId": "123", "prId": "456"})
    told = model.changed(task, created_at, "task.queued").event
    assert isinstance(told, Event)
    yield from _rows(store.create(task, body, told))


def _rows(parts: Iterable[db.Part]) -> Iterator[Row]:
    for part in parts:
        put = db._kwargs(part)
        yield put["TableName"], put["Item"]


def load(endpoint: str, rows: Iterable[Row]) -> int:
    """Write rows; how many there were."""
    config = Config(parameter_validation=False, max_pool_connections=THREADS, retries={"total_max_attempts": 1})
    client = boto3.client("dynamodb", endpoint_url=endpoint, config=config)
    written = 0
    with ThreadPoolExecutor(THREADS) as pool:
        under_way: list[Future[int]] = []
        for batch in _batches(rows):
            under_way.append(pool.submit(_write, client, batch))
            if len(under_way) >= THREADS * 2:
                written += under_way.pop(0).result()
        written += sum(future.result() for future in under_way)
    client.close()
    return written


def _batches(rows: Iterable[Row]) -> Iterator[list[Row]]:
    each = iter(rows)
    while batch := list(itertools.islice(each, BATCH)):
        yield batch


def _write(client: Any, batch: list[Row]) -> int:
    requests: dict[str, list[Any]] = {}
    for table, item in batch:
        requests.setdefault(table, []).append({"PutRequest": {"Item": item}})
    while requests:
        requests = client.batch_write_item(RequestItems=requests)["UnprocessedItems"]
    return len(batch)
