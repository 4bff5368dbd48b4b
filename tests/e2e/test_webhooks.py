"""Webhooks over real HTTP, from the real processes of the local stage to real receivers."""

from __future__ import annotations

import json
import re
import shutil
import statistics
import subprocess
import sys
import time
import uuid
from typing import TYPE_CHECKING, Any

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from chalicelib.webhooks.concurrency import SLOTS
from tests.e2e.conftest import SOURCES
from tests.support import webhook_receiver
from tests.support.webhook_receiver import ReceivedRequest, Receiver, status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.e2e.conftest import Platform
    from tests.support.client import Client


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


def new_user(platform: Platform) -> Client:
    """A user that nobody else has, by way of a magic link."""
    email = f"{uuid.uuid4()}@example.com"
    assert platform.client.post("/api/auth/magic-link", {"email": email}).status == 202
    mails = platform.client.get("/local/mail").json()["mail"]
    (text,) = [mail["text"] for mail in mails if mail["to"] == [email]]
    (secret,) = re.findall(r"/login/link#(\S+)", text)
    used = platform.client.post("/api/auth/magic-link/verify", {"token": secret})
    assert used.status == 200, used
    return platform.client.acting_as(used.json()["token"])


def make(user: Client, url: str, *events: str) -> dict[str, Any]:
    answer = user.post("/api/webhooks", {"url": url, "events": events or ["*"]})
    assert answer.status == 201, answer
    made: dict[str, Any] = answer.json()
    return made


def do_a_task(platform: Platform, user: Client, **report: Any) -> str:
    """Register an agent, submit a task, and let the agent do it; the task's id."""
    agent, task = f"agent-{uuid.uuid4()}", f"task-{uuid.uuid4()}"
    body = {"agentId": agent, "name": "my agent", "version": "0.2.0", "capabilities": [agent]}
    acting = user.acting_as(user.post("/api/agents", body).json()["token"])
    work = {"taskId": task, "intent": agent, "repo": "https://github.com/user/repo", "naturalLanguage": "Anything"}
    assert user.post("/api/workflows/execute", work).status == 202
    platform.advance(0.001)
    assert acting.get(f"/api/agents/{agent}/commands").json()["commands"]
    assert acting.post(f"/api/tasks/{task}/progress", {"progress": 0.5}).status == 200
    assert acting.post(f"/api/tasks/{task}/complete", {"success": True} | report).status == 200
    return task


def test_payloads_are_verified_by_the_libraries_of_python_and_npm(
    fresh_platform: Callable[..., Platform], receiver: Receiver, node_home: Path
) -> None:
    """A stage of its own, whose clock is the true one: the libraries take no webhook that is five minutes old."""
    platform = fresh_platform()
    user = platform.client.login()
    secret = make(user, receiver.url, "task.created", "task.completed")["secret"]
    task = do_a_task(platform, user, prUrl="https://github.com/user/repo/pull/123")
    got = receiver.wait(2)
    payloads = [Webhook(secret).verify(each.body, each.headers) for each in got]
    told = user.get(f"/api/tasks/{task}").json()
    assert sorted(payloads, key=lambda payload: payload["event"]) == [
        {
            "event": "task.completed",
            "data": {
                "taskId": task,
                "status": "completed",
                "prUrl": "https://github.com/user/repo/pull/123",
                "completedAt": told["completedAt"],
            },
        },
        {
            "event": "task.created",
            "data": {
                "taskId": task,
                "userId": told["userId"],
                "intent": told["intent"],
                "repo": "https://github.com/user/repo",
            },
        },
    ]
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(got[0].body + b" ", got[0].headers)
    assert verified_by_node(node_home, secret, got) == payloads


def verified_by_node(home: Path, secret: str, got: list[ReceivedRequest]) -> list[Any]:
    """The payloads, verified by npm's standardwebhooks."""
    script = home / "verify_webhook.mjs"
    shutil.copy(SOURCES / "verify_webhook.js", script)
    lines = [json.dumps({"secret": secret, "headers": each.headers, "body": each.body.decode()}) for each in got]
    done = subprocess.run(
        ["node", script], input="\n".join(lines) + "\n", capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_receiver_that_was_down_for_hours_gets_missed_webhooks(
    fresh_platform: Callable[..., Platform], receiver: Receiver
) -> None:
    platform = fresh_platform()
    user = platform.client.login()
    hook = make(user, receiver.url, "task.completed")["webhook"]["id"]
    receiver.stop()
    do_a_task(platform, user)
    platform.advance(3_600)
    deliveries = user.get(f"/api/webhooks/{hook}/deliveries").json()["data"]
    assert [each["status"] for each in deliveries] == ["pending"]
    assert len(deliveries[0]["attempts"]) >= 3
    receiver.start()
    platform.advance(2 * 3_600)
    (got,) = receiver.wait(1)
    (delivered,) = user.get(f"/api/webhooks/{hook}/deliveries").json()["data"]
    assert (delivered["id"], delivered["status"], delivered["payload"]) == (got.id, "delivered", got.json())


def test_receiver_that_never_responds_does_not_delay_other_users(
    fresh_platform: Callable[..., Platform], receiver: Receiver, capfd: pytest.CaptureFixture[str]
) -> None:
    """Both arrive over the same queue and the same function. The figures are printed; what is held is that everything
    arrives while the other still hangs, and that no more hangs than an endpoint has lanes."""
    platform = fresh_platform(DEVFLOW_RATE_LIMITS="0", DEVFLOW_WEBHOOK_TIMEOUT_MS="30000")
    slow, quick = platform.client.login(), new_user(platform)
    mine = make(quick, receiver.url)["webhook"]["id"]
    alone = delays(quick, mine, receiver, 20)
    with Receiver() as silent:
        silent.default_responder = webhook_receiver.hangs
        hooks = [make(slow, silent.url)["webhook"]["id"] for _ in range(3)]
        for hook in hooks * 10:
            assert slow.post(f"/api/webhooks/{hook}/test").status == 202
        for _ in range(3 * SLOTS):
            assert silent.hanging.acquire(timeout=60)
        beside = delays(quick, mine, receiver, 20)
        assert len(silent.received) <= 3 * SLOTS + 3  # one more each, should the first have been given up meanwhile
        silent.default_responder = status(204)
        silent.released.set()
    with capfd.disabled():  # on standard error, which xdist leaves alone
        print(f"\n{figures('alone', alone)}\n{figures('beside 12 that hang', beside)}", file=sys.stderr)


def delays(user: Client, hook: str, receiver: Receiver, many: int) -> list[float]:
    """How many seconds each of so many tests took, from the answer of the API to the receiver."""
    found = []
    for _ in range(many):
        before = len(receiver.received)
        began = time.monotonic()
        assert user.post(f"/api/webhooks/{hook}/test").status == 202
        receiver.wait(before + 1)
        found.append(time.monotonic() - began)
    return found


def figures(what: str, found: list[float]) -> str:
    return f"{what}: median {statistics.median(found) * 1_000:.0f} ms, longest {max(found) * 1_000:.0f} ms"
