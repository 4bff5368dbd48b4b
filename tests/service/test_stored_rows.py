"""This version reads the rows of every earlier version, so existing tables keep working after an upgrade.

Each directory of tests/fixtures/rows contains the rows that one version has written (see record.py there). The tests
load these rows, set the clock to the time of the recording, repeat the recorded requests, and continue from there.
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
from tests.support.webhook_receiver import Receiver

VERSIONS = sorted(directory.name for directory in HERE.iterdir() if (directory / "recorded.json").exists())
OPEN = {name for name, status in STATUSES.items() if status in ("pending", "queued", "assigned", "in_progress")}
UNSTABLE = {"nextCursor", "oldestQueuedSeconds"}
"""Fields that may differ between responses to the same request: an encrypted cursor, and an age."""


class RecordedPlatform:
    """The platform with the recorded rows of an earlier version and the code of this version."""

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
        """Let time pass, with a sweep at least every two minutes. All messages are handled."""
        while milliseconds > 0:
            self._clock.advance(min(milliseconds, 2 * MINUTE) / SECOND)
            milliseconds -= 2 * MINUTE
            self.poller.sweep()
            self.poller.drain()

    def agent(self, name: str, ver: str = "ver") -> Client:
        """A client with a token of a recorded agent."""
        row = next(row for row in self.rows["agents"] if row["agent"]["S"] == name)
        return self._acting("agent", row, "agent", ver)

    def program(self, token: str, kind: tokens.TokenKind = "personal") -> Client:
        """A client with a recorded personal or registration token."""
        owner = self.rows["users"][0]["owner"]["S"]
        return Client(self._gateway, tokens.issue(kind, owner, owner, token, self._clock.now))

    def polled(self, name: str) -> set[str]:
        """The ids of the tasks that a poll of this agent returns."""
        commands = self.agent(name).get(f"/api/agents/{name}/commands").json()["commands"]
        return {command["task_id"] for command in commands}

    def beat(self, name: str) -> dict[str, Any]:
        response: dict[str, Any] = self.agent(name).post(f"/api/agents/{name}/heartbeat", {"status": "ready"}).json()
        return response

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
    """The recorded rows of a table. Empty if that version had no such table."""
    found: list[dict[str, Any]] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else []
    return found


def _write(table: str, rows: list[dict[str, Any]]) -> None:
    name, client = settings.resource_name(table), boto3.client("dynamodb")
    for start in range(0, len(rows), 25):
        client.batch_write_item(
            RequestItems={name: [{"PutRequest": {"Item": row}} for row in rows[start : start + 25]]}
        )


@pytest.fixture(params=VERSIONS)
def platform(request: pytest.FixtureRequest, gateway: Gateway, poller: EventPoller, clock: Clock) -> RecordedPlatform:
    return RecordedPlatform(HERE / request.param, gateway, poller, clock)


def differences(recorded: Any, current: Any, where: str = "") -> Iterator[str]:
    """The values of a recorded response that are missing or different in the current one, which may have more."""
    if isinstance(recorded, dict) and isinstance(current, dict):
        for name, value in recorded.items():
            if name == "complete" and (current.get("openUntil") or "?attempt=" in where):
                continue  # it meant that the task had ended, and now means that the attempt's log cannot grow any more
            if name not in UNSTABLE:
                yield from differences(value, current.get(name, "(absent)"), f"{where}.{name}")
    elif isinstance(recorded, list) and isinstance(current, list) and len(recorded) == len(current):
        for number, (one, other) in enumerate(zip(recorded, current, strict=True)):
            yield from differences(one, other, f"{where}[{number}]")
    elif recorded != current:
        yield f"{where}: {recorded!r} became {current!r}"


def test_rows_of_the_first_version_exist() -> None:
    assert VERSIONS[0] == "v1"


def test_recorded_responses_are_unchanged_and_reading_writes_nothing(platform: RecordedPlatform) -> None:
    """Reading changes only the count of calls on the user's row."""
    before = {table: _sorted(_rows(table)) for table in ("agents", "logins", "tasks", "webhooks")}
    changed = [
        difference
        for path, response in platform.recorded["answers"].items()
        for difference in differences(response, platform.user.get(path).json(), path)
    ]
    assert not changed, "\n".join(changed)
    assert {table: _sorted(_rows(table)) for table in before} == before


def _rows(table: str) -> list[dict[str, Any]]:
    """All stored rows of a table, in DynamoDB's JSON."""
    return moto_aws.rows(table)


def _sorted(rows: list[dict[str, Any]]) -> list[str]:
    return sorted(json.dumps(row, sort_keys=True) for row in rows)


def test_tasks_and_agents_have_their_recorded_statuses(platform: RecordedPlatform) -> None:
    statuses = platform.statuses()
    assert statuses == {name: status for name, status in STATUSES.items() if name in statuses}
    agents = platform.user.get("/api/agents", {"limit": 100}).json()["data"]
    assert {agent["id"]: agent["status"] for agent in agents}.items() <= AGENTS.items()


def test_recorded_pin_still_logs_in(platform: RecordedPlatform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(auth_model._SCRYPT, "n", 2**15)  # the cost of the recorded hash
    assert platform.user.login(EMAIL, PIN).get("/api/tasks").json()["total"] == len(platform.statuses())


def test_recorded_logins_and_tokens_still_work(platform: RecordedPlatform) -> None:
    secrets = platform.recorded.get("kept")
    if secrets is None:  # a version that had only PINs
        return
    nobody = platform.user.acting_as(None)
    ended = jwt.encode(secrets["ended"], KEY, "HS256", headers={"kid": "key-test"})
    assert nobody.acting_as(ended).get("/api/auth/me").status == 401
    program = platform.program(secrets["personal"])
    assert program.get("/api/auth/me").json()["tokenId"] == secrets["personal"]
    (listed,) = platform.user.get("/api/auth/tokens").json()["data"]
    assert (listed["name"], listed["lastUsedAt"]) == ("my laptop", "2026-01-05T09:00:00Z")
    assert platform.user.delete(f"/api/auth/tokens/{secrets['personal']}").status == 200
    assert program.get("/api/auth/me").status == 401
    returned = nobody.get(
        "/api/auth/slack/callback",
        {"state": secrets["state"], "error": "access_denied"},
        Cookie=f"__Host-devflow-slack={secrets['state']}",
    )
    assert returned.header("Location") == "/dashboard/login?reason=slack-denied", "the recorded state is known"
    used = [nobody.post("/api/auth/magic-link/verify", {"token": secrets["link"]}) for _ in range(2)]
    assert [response.status for response in used] == [200, 401]
    assert used[0].json()["user"]["email"] == EMAIL


def test_recorded_registration_token_registers_as_many_agents_as_it_permits(platform: RecordedPlatform) -> None:
    token_id = platform.recorded.get("kept", {}).get("registration")
    if token_id is None:  # a version that had no registration tokens
        return
    machine = platform.program(token_id, "registration")
    body = {"name": "New", "version": "0.2.0", "capabilities": ["fix-bug"]}
    registered = [machine.post("/api/agents", body | {"agentId": f"new-{number}"}) for number in range(3)]
    assert [response.status for response in registered] == [201, 201, 403]
    assert registered[0].json()["agent"]["repos"] == ["https://github.com/user/*"]


def test_agent_gets_its_recorded_claims_and_claims_queued_tasks(platform: RecordedPlatform) -> None:
    assert platform.polled("claiming") == {"assigned", "assigned-pinned"}
    claimed = platform.agent("idle").get("/api/agents/idle/commands").json()["commands"]
    assert [command["task_id"] for command in claimed] == [
        "queued-first", "queued", "queued-bare", "queued-pinned", platform.retry
    ]  # fmt: skip
    assert claimed[0]["context"] == WORK["context"]
    assert claimed[0]["description"] == WORK["naturalLanguage"]
    assert (claimed[2]["context"], claimed[2]["branch"]) == ({}, None)


def test_recorded_and_new_tasks_share_one_queue(platform: RecordedPlatform) -> None:
    for task, priority in (("sooner", 90), ("as-soon", 50), ("last", -90)):
        work = {"taskId": task, "intent": "for-idle", "priority": priority, **WORK}
        assert platform.user.post("/api/workflows/execute", work).status == 202
    platform.poller.drain()
    claimed = platform.agent("idle").get("/api/agents/idle/commands", {"limit": 4}).json()["commands"]
    assert [command["task_id"] for command in claimed] == ["sooner", "queued-first", "as-soon", "queued"]


def test_silent_agent_becomes_active_and_claims_its_task(platform: RecordedPlatform) -> None:
    assert platform.beat("silent")["status"] == "active"
    assert platform.polled("silent") == {"queued-again"}


def test_recorded_running_tasks_continue_and_end(platform: RecordedPlatform) -> None:
    running, replaced = platform.agent("running"), platform.agent("anew")
    assert running.post("/api/tasks/running/progress", {"progress": 0.9, "step": "Pushing"}).status == 200
    assert running.post("/api/tasks/running/complete", DONE).status == 200
    assert replaced.post("/api/tasks/running-again/fail", FAILED | {"attempt": 1}).status == 409
    assert replaced.post("/api/tasks/running-again/logs", {"offset": 19, "data": "more", "attempt": 2}).status == 200
    assert replaced.post("/api/tasks/running-again/fail", FAILED | {"attempt": 2}).status == 200
    assert (platform.status("running"), platform.status("running-again")) == ("completed", "failed")
    log = platform.user.get("/api/tasks/running-again/logs").json()["data"]
    assert log == "The second attempt\nmore" + FAILED["logs"]


def test_recorded_claim_is_completed_without_a_start(platform: RecordedPlatform) -> None:
    assert platform.agent("claiming").post("/api/tasks/assigned/complete", DONE).status == 200
    assert platform.status("assigned") == "completed"


def test_recorded_cancel_request_is_returned_and_enforced(platform: RecordedPlatform) -> None:
    assert platform.beat("stopping")["cancel"] == ["running-to-stop"]
    progress = platform.agent("stopping").post("/api/tasks/running-to-stop/progress", {"progress": 0.5}).json()
    assert progress["cancelRequested"] is True
    platform.wait(2 * MINUTE)
    assert platform.status("running-to-stop") == "cancelled"


def test_recorded_report_and_submission_can_be_repeated(platform: RecordedPlatform) -> None:
    """The first responses may have been lost while this version was deployed."""
    assert platform.agent("idle").post("/api/tasks/completed/complete", DONE).status == 200
    assert platform.agent("idle").post("/api/tasks/completed/complete", DONE | {"summary": "Else"}).status == 409
    work = {"taskId": "queued", "intent": "for-idle", **WORK}
    assert platform.user.post("/api/workflows/execute", work).status == 202
    assert platform.user.post("/api/workflows/execute", work | {"intent": "else"}).status == 409


def test_lost_message_of_a_recorded_task_is_sent_again(platform: RecordedPlatform) -> None:
    platform.wait(2 * MINUTE)
    assert platform.status("pending") == "queued"


def test_recorded_next_token_replaces_the_old_one_at_first_use(platform: RecordedPlatform) -> None:
    old, new = platform.agent("renewing"), platform.agent("renewing", "nextVer")
    path = "/api/agents/renewing/commands"
    assert [client.get(path).status for client in (old, new, old, new)] == [200, 200, 401, 200]


def test_recorded_tasks_can_be_cancelled_and_retried_and_agents_resumed(platform: RecordedPlatform) -> None:
    assert platform.user.post("/api/tasks/queued-again/cancel").json()["status"] == "cancelled"
    assert platform.user.post("/api/tasks/failed-bare/retry").status == 202
    assert platform.user.post("/api/tasks/failed/retry").json()["taskId"] == platform.retry
    resumed = platform.user.patch("/api/agents/paused", {"paused": False})
    assert (resumed.status, resumed.json()["paused"]) == (200, False)


def test_sweep_finishes_recorded_events_and_removals(platform: RecordedPlatform) -> None:
    platform.wait(4 * MINUTE)
    unsent = [row for row in _rows("tasks") if row["sk"]["S"].startswith("E#") and "dueAt" in row]
    assert unsent == []
    assert "removed" not in {row["agent"]["S"] for row in _rows("agents")}


def test_all_recorded_claims_are_released_when_all_agents_are_silent(platform: RecordedPlatform) -> None:
    before = platform.statuses()
    platform.wait(14 * MINUTE)
    agents = platform.user.get("/api/agents", {"limit": 100}).json()["data"]
    assert {agent["status"] for agent in agents} == {"inactive"}
    ended = {name: status for name, status in before.items() if name not in OPEN}
    assert platform.statuses() == ended | {name: "queued" for name in before if name in OPEN} | {
        "running-to-stop": "cancelled"
    }


def test_every_recorded_open_task_is_in_the_sweeps_index(platform: RecordedPlatform) -> None:
    heads = [row for row in _rows("tasks") if row["sk"]["S"] == "H"]
    assert {row["task"]["S"] for row in heads if "dueShard" in row} == OPEN - {"retry"} | {platform.retry}


# Webhooks, which exist since a later version.


VERSIONS_WITH_WEBHOOKS = [version for version in VERSIONS if (HERE / version / "webhooks.json").exists()]
with_webhooks = pytest.mark.parametrize("platform", VERSIONS_WITH_WEBHOOKS, indirect=True)


@with_webhooks
def test_recorded_deliveries_are_retried_and_rotated_secrets_work(
    platform: RecordedPlatform,
) -> None:
    hooks = {each["description"]: each["id"] for each in platform.user.get("/api/webhooks").json()["data"]}
    with Receiver() as receiver:
        for name in ("Everything", "Out of order"):
            assert platform.user.patch(f"/api/webhooks/{hooks[name]}", {"url": receiver.url}).status == 200
        platform.wait(10 * MINUTE)
        events = {request.json()["event"] for request in receiver.received}
        assert events == {"webhook.test", "task.created", "agent.active"}
        assert {len(request.headers["webhook-signature"].split(" ")) for request in receiver.received} == {1, 2}
    waiting = platform.user.get(f"/api/webhooks/{hooks['Out of order']}/deliveries", {"status": "pending"}).json()
    assert waiting["data"] == []
    ended = platform.user.get(f"/api/webhooks/{hooks['Gone for good']}/deliveries").json()["data"]
    assert {each["event"]: each["status"] for each in ended} == {"webhook.test": "failed", "agent.active": "delivered"}


@with_webhooks
def test_recorded_status_events_are_published(platform: RecordedPlatform) -> None:
    platform.wait(2 * MINUTE)
    assert [row["agent"]["S"] for row in _rows("agents") if "news" in row and row["agent"]["S"] == "idle"] == []
