"""Rows of every earlier version, read by this one: whatever people have in their tables keeps working.

Each directory of tests/fixtures/rows is what one version had written (see record.py there). Its rows are loaded, the
clock is put back to then, and the API is asked what it was asked then, and used to go on from there.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import jwt
import pytest

from chalicelib.auth import rules as auth_model
from chalicelib.auth import tokens
from chalicelib.core.settings import MINUTE, SECOND, settings
from infra.local.event_poller import EventPoller
from infra.local.gateway import Gateway
from tests.conftest import Clock
from tests.fixtures.rows.record import AGENTS, DONE, EMAIL, FAILED, HERE, PIN, STATUSES, TABLES, WORK
from tests.support import moto_aws
from tests.support.client import Client
from tests.support.environment import KEY
from tests.support.receivers import Receiver

VERSIONS = sorted(directory.name for directory in HERE.iterdir() if (directory / "recorded.json").exists())
OPEN = {name for name, status in STATUSES.items() if status in ("pending", "queued", "assigned", "in_progress")}
UNSTABLE = {"nextCursor", "oldestQueuedSeconds"}
"""What two answers to the same question need not have in common: a sealed cursor, and what time alone changes."""


class Then:
    """The platform as a version left it, with this version's code."""

    def __init__(self, directory: Path, gateway: Gateway, poller: EventPoller, clock: Clock) -> None:
        self.recorded: dict[str, Any] = json.loads((directory / "recorded.json").read_text(encoding="utf-8"))
        self.rows = {name: _rows_of(directory / f"{name}.json") for name in TABLES}
        self.poller, self._clock, self._gateway = poller, clock, gateway
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
            self.poller.sweep()
            self.poller.drain()

    def agent(self, name: str, ver: str = "ver") -> Client:
        """A client with a token that this agent had then."""
        row = next(row for row in self.rows["agents"] if row["agent"]["S"] == name)
        return self._acting("agent", row, "agent", ver)

    def program(self, token: str) -> Client:
        """A client with a personal token of then."""
        owner = self.rows["users"][0]["owner"]["S"]
        return Client(self._gateway, tokens.issue("personal", owner, owner, token, self._clock.now))

    def polled(self, name: str) -> set[str]:
        """Which tasks this agent is given."""
        commands = self.agent(name).get(f"/api/agents/{name}/commands").json()["commands"]
        return {command["task_id"] for command in commands}

    def beat(self, name: str) -> dict[str, Any]:
        answer: dict[str, Any] = self.agent(name).post(f"/api/agents/{name}/heartbeat", {"status": "ready"}).json()
        return answer

    def statuses(self) -> dict[str, str]:
        """The status of every task, by its name in the story."""
        listed = self.user.get("/api/tasks", {"limit": 100}).json()["data"]
        return {"retry" if task["id"] == self.retry else task["id"]: task["status"] for task in listed}

    def status(self, task: str) -> str:
        return str(self.user.get(f"/api/tasks/{task}").json()["status"])

    def _acting(self, kind: tokens.TokenKind, row: dict[str, Any], subject: str, ver: str = "ver") -> Client:
        token = tokens.issue(kind, row["owner"]["S"], row[subject]["S"], row[ver]["S"], self._clock.now)
        return Client(self._gateway, token)


def _rows_of(file: Path) -> list[dict[str, Any]]:
    """What a version had in a table; nothing, where there was no such table yet."""
    found: list[dict[str, Any]] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else []
    return found


def _write(table: str, rows: list[dict[str, Any]]) -> None:
    name, client = settings.resource_name(table), boto3.client("dynamodb")
    for start in range(0, len(rows), 25):
        client.batch_write_item(
            RequestItems={name: [{"PutRequest": {"Item": row}} for row in rows[start : start + 25]]}
        )


@pytest.fixture(params=VERSIONS)
def then(request: pytest.FixtureRequest, gateway: Gateway, poller: EventPoller, clock: Clock) -> Then:
    return Then(HERE / request.param, gateway, poller, clock)


def differences(recorded: Any, answer: Any, where: str = "") -> Iterator[str]:
    """Where an answer lacks what was recorded, or says something else. It may say more."""
    if isinstance(recorded, dict) and isinstance(answer, dict):
        for name, value in recorded.items():
            if name not in UNSTABLE:
                yield from differences(value, answer.get(name, "(absent)"), f"{where}.{name}")
    elif isinstance(recorded, list) and isinstance(answer, list) and len(recorded) == len(answer):
        for number, (one, other) in enumerate(zip(recorded, answer, strict=True)):
            yield from differences(one, other, f"{where}[{number}]")
    elif recorded != answer:
        yield f"{where}: {recorded!r} became {answer!r}"


def test_there_are_rows_of_the_first_version() -> None:
    assert VERSIONS[0] == "v1"


def test_what_was_answered_then_is_answered_now_and_reading_it_writes_nothing(then: Then) -> None:
    """But for the count of the calls, on the user's row."""
    before = {table: _sorted(_rows(table)) for table in ("agents", "logins", "tasks", "webhooks")}
    changed = [
        difference
        for path, answer in then.recorded["answers"].items()
        for difference in differences(answer, then.user.get(path).json(), path)
    ]
    assert not changed, "\n".join(changed)
    assert {table: _sorted(_rows(table)) for table in before} == before


def _rows(table: str) -> list[dict[str, Any]]:
    """Every row of a table as it stands, in DynamoDB's JSON."""
    return moto_aws.rows(table)


def _sorted(rows: list[dict[str, Any]]) -> list[str]:
    return sorted(json.dumps(row, sort_keys=True) for row in rows)


def test_every_task_and_agent_is_in_the_state_in_which_it_was_left(then: Then) -> None:
    statuses = then.statuses()
    assert statuses == {name: status for name, status in STATUSES.items() if name in statuses}
    agents = then.user.get("/api/agents", {"limit": 100}).json()["data"]
    assert {agent["id"]: agent["status"] for agent in agents}.items() <= AGENTS.items()


def test_a_user_logs_in_with_the_pin_of_then(then: Then, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(auth_model._SCRYPT, "n", 2**15)  # what the hash was made with
    assert then.user.login(EMAIL, PIN).get("/api/tasks").json()["total"] == len(then.statuses())


def test_what_logging_in_left_then_is_as_good_as_it_was(then: Then) -> None:
    kept = then.recorded.get("kept")
    if kept is None:  # a version that had PINs alone
        return
    nobody = then.user.acting_as(None)
    ended = jwt.encode(kept["ended"], KEY, "HS256", headers={"kid": "key-test"})
    assert nobody.acting_as(ended).get("/api/auth/me").status == 401
    program = then.program(kept["personal"])
    assert program.get("/api/auth/me").json()["tokenId"] == kept["personal"]
    (listed,) = then.user.get("/api/auth/tokens").json()["data"]
    assert (listed["name"], listed["lastUsedAt"]) == ("my laptop", "2026-01-05T09:00:00Z")
    assert then.user.delete(f"/api/auth/tokens/{kept['personal']}").status == 200
    assert program.get("/api/auth/me").status == 401
    came_back = nobody.get(
        "/api/auth/slack/callback",
        {"state": kept["state"], "error": "access_denied"},
        Cookie=f"__Host-devflow-slack={kept['state']}",
    )
    assert came_back.header("Location") == "/dashboard/login?reason=slack-denied", "a state that was known"
    used = [nobody.post("/api/auth/magic-link/verify", {"token": kept["link"]}) for _ in range(2)]
    assert [answer.status for answer in used] == [200, 401]
    assert used[0].json()["user"]["email"] == EMAIL


def test_an_agent_finds_its_claims_and_claims_what_waited(then: Then) -> None:
    assert then.polled("claiming") == {"assigned", "assigned-pinned"}
    claimed = then.agent("idle").get("/api/agents/idle/commands").json()["commands"]
    assert [command["task_id"] for command in claimed] == [
        "queued-first", "queued", "queued-bare", "queued-pinned", then.retry
    ]  # fmt: skip
    assert claimed[0]["context"] == WORK["context"]
    assert claimed[0]["description"] == WORK["naturalLanguage"]
    assert (claimed[2]["context"], claimed[2]["branch"]) == ({}, None)


def test_what_waited_and_what_is_submitted_now_are_one_queue(then: Then) -> None:
    for task, priority in (("sooner", 90), ("as-soon", 50), ("last", -90)):
        work = {"taskId": task, "intent": "for-idle", "priority": priority, **WORK}
        assert then.user.post("/api/workflows/execute", work).status == 202
    then.poller.drain()
    claimed = then.agent("idle").get("/api/agents/idle/commands", {"limit": 4}).json()["commands"]
    assert [command["task_id"] for command in claimed] == ["sooner", "queued-first", "as-soon", "queued"]


def test_an_agent_that_was_silent_is_active_again_and_takes_its_task_up(then: Then) -> None:
    assert then.beat("silent")["status"] == "active"
    assert then.polled("silent") == {"queued-again"}


def test_what_ran_goes_on_and_ends(then: Then) -> None:
    running, again = then.agent("running"), then.agent("anew")
    assert running.post("/api/tasks/running/progress", {"progress": 0.9, "step": "Pushing"}).status == 200
    assert running.post("/api/tasks/running/complete", DONE).status == 200
    assert again.post("/api/tasks/running-again/fail", FAILED | {"attempt": 1}).status == 409
    assert again.post("/api/tasks/running-again/logs", {"offset": 19, "data": "more", "attempt": 2}).status == 200
    assert again.post("/api/tasks/running-again/fail", FAILED | {"attempt": 2}).status == 200
    assert (then.status("running"), then.status("running-again")) == ("completed", "failed")
    log = then.user.get("/api/tasks/running-again/logs").json()["data"]
    assert log == "The second attempt\nmore" + FAILED["logs"]


def test_what_was_claimed_is_ended_without_a_start(then: Then) -> None:
    assert then.agent("claiming").post("/api/tasks/assigned/complete", DONE).status == 200
    assert then.status("assigned") == "completed"


def test_who_was_to_stop_is_told_so_and_stopped_if_it_does_not(then: Then) -> None:
    assert then.beat("stopping")["cancel"] == ["running-to-stop"]
    told = then.agent("stopping").post("/api/tasks/running-to-stop/progress", {"progress": 0.5}).json()
    assert told["cancelRequested"] is True
    then.wait(2 * MINUTE)
    assert then.status("running-to-stop") == "cancelled"


def test_a_report_and_a_submission_of_then_are_known_again(then: Then) -> None:
    """Their answers may have been lost while this version was deployed."""
    assert then.agent("idle").post("/api/tasks/completed/complete", DONE).status == 200
    assert then.agent("idle").post("/api/tasks/completed/complete", DONE | {"summary": "Else"}).status == 409
    work = {"taskId": "queued", "intent": "for-idle", **WORK}
    assert then.user.post("/api/workflows/execute", work).status == 202
    assert then.user.post("/api/workflows/execute", work | {"intent": "else"}).status == 409


def test_a_message_that_was_lost_is_sent_again(then: Then) -> None:
    then.wait(2 * MINUTE)
    assert then.status("pending") == "queued"


def test_a_token_that_was_asked_for_replaces_the_old_one_when_it_is_used(then: Then) -> None:
    old, new = then.agent("renewing"), then.agent("renewing", "nextVer")
    path = "/api/agents/renewing/commands"
    assert [client.get(path).status for client in (old, new, old, new)] == [200, 200, 401, 200]


def test_people_cancel_retry_and_resume(then: Then) -> None:
    assert then.user.post("/api/tasks/queued-again/cancel").json()["status"] == "cancelled"
    assert then.user.post("/api/tasks/failed-bare/retry").status == 202
    assert then.user.post("/api/tasks/failed/retry").json()["taskId"] == then.retry
    resumed = then.user.patch("/api/agents/paused", {"paused": False})
    assert (resumed.status, resumed.json()["paused"]) == (200, False)


def test_what_was_left_unsent_or_half_removed_is_finished_by_the_sweep(then: Then) -> None:
    then.wait(4 * MINUTE)
    unsent = [row for row in _rows("tasks") if row["sk"]["S"].startswith("E#") and "dueAt" in row]
    assert unsent == []
    assert "removed" not in {row["agent"]["S"] for row in _rows("agents")}


def test_when_nobody_is_heard_of_any_more_everything_is_taken_back(then: Then) -> None:
    left = then.statuses()
    then.wait(14 * MINUTE)
    agents = then.user.get("/api/agents", {"limit": 100}).json()["data"]
    assert {agent["status"] for agent in agents} == {"inactive"}
    ended = {name: status for name, status in left.items() if name not in OPEN}
    assert then.statuses() == ended | {name: "queued" for name in left if name in OPEN} | {
        "running-to-stop": "cancelled"
    }


def test_every_open_task_is_looked_at_by_the_sweep_one_day(then: Then) -> None:
    heads = [row for row in _rows("tasks") if row["sk"]["S"] == "H"]
    assert {row["task"]["S"] for row in heads if "dueShard" in row} == OPEN - {"retry"} | {then.retry}


# Webhooks, from the second version on.


HAD_WEBHOOKS = [version for version in VERSIONS if (HERE / version / "webhooks.json").exists()]
with_webhooks = pytest.mark.parametrize("then", HAD_WEBHOOKS, indirect=True)


@with_webhooks
def test_what_was_on_its_way_to_a_webhook_is_tried_again_and_a_secret_rotated_then_is_still_good(
    then: Then,
) -> None:
    hooks = {each["description"]: each["id"] for each in then.user.get("/api/webhooks").json()["data"]}
    with Receiver() as receiver:
        for name in ("Everything", "Out of order"):
            assert then.user.patch(f"/api/webhooks/{hooks[name]}", {"url": receiver.url}).status == 200
        then.wait(10 * MINUTE)
        came = {got.json()["event"] for got in receiver.got}
        assert came == {"webhook.test", "task.created", "agent.active"}
        assert {len(got.headers["webhook-signature"].split(" ")) for got in receiver.got} == {1, 2}
    waiting = then.user.get(f"/api/webhooks/{hooks['Out of order']}/deliveries", {"status": "pending"}).json()
    assert waiting["data"] == []
    ended = then.user.get(f"/api/webhooks/{hooks['Gone for good']}/deliveries").json()["data"]
    assert {each["event"]: each["status"] for each in ended} == {"webhook.test": "failed", "agent.active": "delivered"}


@with_webhooks
def test_of_every_agent_that_had_come_then_it_is_told_now(then: Then) -> None:
    then.wait(2 * MINUTE)
    assert [row["agent"]["S"] for row in _rows("agents") if "news" in row and row["agent"]["S"] == "idle"] == []
