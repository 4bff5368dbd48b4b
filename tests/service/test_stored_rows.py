"""Rows of every earlier version, read by this one: whatever people have in their tables keeps working.

Each directory of tests/fixtures/rows is what one version had written (see record.py there). Its rows are loaded, the
clock is put back to then, and the API is asked what it was asked then, and used to go on from there.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from chalicelib.auth import model as auth_model
from chalicelib.auth import tokens
from chalicelib.settings import MINUTE, SECOND, settings
from infra.local.gateway import Gateway
from infra.local.pump import Pump
from tests.conftest import Clock
from tests.fixtures.rows.record import AGENTS, DONE, EMAIL, FAILED, HERE, PIN, STATUSES, TABLES
from tests.support import moto_aws
from tests.support.client import Client

VERSIONS = sorted(directory.name for directory in HERE.iterdir() if (directory / "recorded.json").exists())
OPEN = {name for name, status in STATUSES.items() if status in ("pending", "queued", "assigned", "in_progress")}


class Then:
    """The platform as a version left it, with this version's code."""

    def __init__(self, directory: Path, gateway: Gateway, pump: Pump, clock: Clock) -> None:
        self.recorded: dict[str, Any] = json.loads((directory / "recorded.json").read_text(encoding="utf-8"))
        self.rows = {name: json.loads((directory / f"{name}.json").read_text(encoding="utf-8")) for name in TABLES}
        self.pump, self._clock, self._gateway = pump, clock, gateway
        for table, rows in self.rows.items():
            _write(table, rows)
        clock.advance((self.recorded["at"] + SECOND - clock.now) / SECOND)
        self.user = self._acting("user", self.rows["users"][0], "owner")
        self.retry = next(row["task"]["S"] for row in self.rows["tasks"] if "retryOf" in row)

    def wait(self, milliseconds: int) -> None:
        """Let time pass, with a sweep at least every two minutes and its messages handled."""
        while milliseconds > 0:
            self._clock.advance(min(milliseconds, 2 * MINUTE) / SECOND)
            milliseconds -= 2 * MINUTE
            self.pump.sweep()
            self.pump.drain()

    def agent(self, name: str) -> Client:
        """A client with a token that this agent had then."""
        return self._acting("agent", next(row for row in self.rows["agents"] if row["agent"]["S"] == name), "agent")

    def statuses(self) -> dict[str, str]:
        """The status of every task, by its name in the story."""
        listed = self.user.get("/api/tasks", {"limit": 100}).json()["data"]
        return {"retry" if task["id"] == self.retry else task["id"]: task["status"] for task in listed}

    def status(self, task: str) -> str:
        return str(self.user.get(f"/api/tasks/{task}").json()["status"])

    def _acting(self, kind: tokens.Kind, row: dict[str, Any], subject: str) -> Client:
        token = tokens.issue(kind, row["owner"]["S"], row[subject]["S"], row["ver"]["S"], self._clock.now)
        return Client(self._gateway, token)


def _write(table: str, rows: list[dict[str, Any]]) -> None:
    name, client = settings.named(table), boto3.client("dynamodb")
    for start in range(0, len(rows), 25):
        client.batch_write_item(RequestItems={name: [{"PutRequest": {"Item": row}} for row in rows[start : start + 25]]})


@pytest.fixture(params=VERSIONS)
def then(request: pytest.FixtureRequest, gateway: Gateway, pump: Pump, clock: Clock) -> Then:
    return Then(HERE / request.param, gateway, pump, clock)


def differences(recorded: Any, answer: Any, where: str = "") -> Iterator[str]:
    """Where an answer lacks what was recorded, or says something else. It may say more."""
    if isinstance(recorded, dict) and isinstance(answer, dict):
        for name, value in recorded.items():
            if name != "nextCursor":
                yield from differences(value, answer.get(name, "(absent)"), f"{where}.{name}")
    elif isinstance(recorded, list) and isinstance(answer, list) and len(recorded) == len(answer):
        for number, (one, other) in enumerate(zip(recorded, answer, strict=True)):
            yield from differences(one, other, f"{where}[{number}]")
    elif recorded != answer:
        yield f"{where}: {recorded!r} became {answer!r}"


def test_there_are_rows_of_the_first_version() -> None:
    assert VERSIONS[0] == "v1"


def test_what_was_answered_then_is_answered_now(then: Then) -> None:
    changed = [
        difference
        for path, answer in then.recorded["answers"].items()
        for difference in differences(answer, then.user.get(path).json(), path)
    ]
    assert not changed, "\n".join(changed)


def test_rows_that_are_read_are_not_written(then: Then) -> None:
    """But for what counts the calls, and who is there."""
    before = {table: _sorted(moto_aws.rows(table)) for table in ("agents", "logins", "tasks")}
    for path in then.recorded["answers"]:
        then.user.get(path)
    assert {table: _sorted(moto_aws.rows(table)) for table in before} == before


def _sorted(rows: list[dict[str, Any]]) -> list[str]:
    return sorted(json.dumps(row, sort_keys=True) for row in rows)


def test_every_task_and_agent_is_in_the_state_in_which_it_was_left(then: Then) -> None:
    assert STATUSES.items() >= then.statuses().items() or then.recorded["version"] != "0.1.0"
    assert then.statuses().items() <= STATUSES.items()
    agents = then.user.get("/api/agents", {"limit": 100}).json()["data"]
    assert {agent["id"]: agent["status"] for agent in agents}.items() <= AGENTS.items()
