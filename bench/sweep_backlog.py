"""20,000 due rows of every kind in every shard, and a DynamoDB that answers each request after 10 ms.

Measures how many rows a second one process of the function `sweep_backlog` handles, and four of them side by side, one
for each shard. Then one run of the sweep must make progress with every kind and shard. Each is a process of its own, as
in Lambda, and so is the database (`bench/wire_dynamodb`).
"""

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import IO, Any

from chalicelib.auth import store as users
from chalicelib.core.settings import settings
from chalicelib.orchestration.due_work import KINDS
from tests.long import load
from tests.support import aws_requests, costs
from tests.support.due_rows import due_rows
from tests.support.environment import STAGE

OWNERS = 200
ROWS = 25
"""Due rows of each kind of each owner."""

DELAY = 10
"""Milliseconds until the database answers."""

EACH, TOGETHER = 75, 300
"""The aims: rows a second of one process, and of four together."""

NOW = 1_780_315_200_000


class Server:
    """A running database, and what a process needs to use it."""

    def __init__(self, port: int) -> None:
        self.endpoint = f"http://127.0.0.1:{port}"
        self.environment = os.environ | {"AWS_ENDPOINT_URL": self.endpoint}

    def state(self) -> dict[str, Any]:
        with urllib.request.urlopen(f"{self.endpoint}/state?now={NOW}") as response:  # noqa: S310  # our own server
            state: dict[str, Any] = json.load(response)
        return state


@contextmanager
def serve(delay: float = DELAY) -> Iterator[Server]:
    with _process("-m", "bench.wire_dynamodb", STAGE, str(delay)) as (_, output):
        server = Server(int(output.readline()))
        with aws_requests.redirected("dynamodb", server.endpoint):
            for number in range(OWNERS):
                owner = users.create_user(f"user-{number:05d}", f"{number}@example.com", "John Doe", "1", "-", NOW)
                load.load(server.endpoint, due_rows(owner, ROWS, NOW))
        yield server


@contextmanager
def _process(*arguments: str, env: dict[str, str] | None = None) -> Iterator[tuple[IO[str], IO[str]]]:
    """A Python process with its standard input and output. It ends when its input is closed."""
    process = subprocess.Popen(
        [sys.executable, *arguments], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield process.stdin, process.stdout
        process.stdin.close()
        if process.wait(60):
            raise RuntimeError(f"{arguments} failed")
    finally:
        process.kill()
        process.stdout.close()


def run_together(server: Server, functions: Sequence[Sequence[str]]) -> tuple[list[dict[str, Any]], float]:
    """Run processes of functions side by side. Returns what each did, and the seconds until the last one ended."""
    with ExitStack() as stack:
        workers = [
            stack.enter_context(_process("-m", "bench.sweep_worker", str(NOW), *function, env=server.environment))
            for function in functions
        ]
        for _, output in workers:
            assert output.readline() == "ready\n"
        began = time.monotonic()
        for given, _ in workers:
            given.write("begin\n")
            given.flush()
        results = [json.loads(output.readline()) for _, output in workers]
        return results, time.monotonic() - began


def _rate(results: list[dict[str, Any]], seconds: float) -> float:
    assert not any(result["failures"] or result["unread"] for result in results), results
    changed: int = sum(result["changed"] for result in results)
    return changed / seconds


def measure_workers() -> tuple[list[list[Any]], bool]:
    """Rows a second of one process, and of one for each shard. Returns the table, and whether an aim is missed."""
    rows: list[list[Any]] = []
    missed = False
    for number, aim in ((1, EACH), (settings.shards, TOGETHER)):
        with serve() as server:
            for kind in KINDS:
                functions = [("sweep_backlog", kind, str(shard)) for shard in range(number)]
                results, seconds = run_together(server, functions)
                each = min(_rate([result], result["seconds"]) for result in results)
                together = _rate(results, seconds)
                cpu = sum(result["cpu"] for result in results) / sum(result["changed"] for result in results)
                changed = sum(result["changed"] for result in results)
                rows.append([kind, number, changed, round(each), round(together), aim, round(cpu * 1_000, 1)])
                missed |= together < aim or each < EACH or not all(result["finished"] for result in results)
    return rows, missed


def measure_sweep() -> tuple[list[list[Any]], bool]:
    """One run of the sweep by itself. Returns the table, and whether a kind or shard made no progress."""
    with serve() as server:
        before = server.state()["due"]
        ((result,), seconds) = run_together(server, [("sweep",)])
        state = server.state()
    rows = [[key, before[key], before[key] - state["due"].get(key, 0)] for key in sorted(before)]
    handed_out = [message["body"] for message in state["messages"] if message["queue"] == "sweep"]
    left = sorted(f"{message['kind']} {message['shard']}" for message in handed_out)
    changed = sum(done for _, _, done in rows)
    print(f"One run of the sweep: {changed:,} rows in {seconds:.1f} s, {changed / seconds:.0f} a second.")
    print(f"It handed out {result['handed_out']} kinds and shards.\n")
    stuck = [key for key, _, done in rows if not done]
    return rows, bool(stuck) or left != sorted(state["due"])


def main() -> bool:
    """Print the results. Returns True if an aim is missed."""
    rows, slow = measure_workers()
    print(f"{4 * OWNERS * ROWS:,} due rows; each request to the database takes {DELAY} ms\n")
    print(costs.table(["kind", "processes", "rows", "a second, each", "a second, all", "aim", "CPU ms a row"], rows))
    print()
    shares, unfair = measure_sweep()
    print(costs.table(["kind and shard", "due", "done in this run"], shares))
    if slow:
        print("\nMissed: the rows a second.")
    if unfair:
        print("\nMissed: progress with every kind and shard, and one message for each that is left.")
    return slow or unfair
