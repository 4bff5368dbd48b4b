"""Webhooks over real HTTP, from a local stage to real receivers."""

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
    """Create a user of this test only, with a magic link. Returns a client of the user."""
    email = f"{uuid.uuid4()}@example.com"
    assert platform.client.post("/api/auth/magic-link", {"email": email}).status == 202
    mails = platform.client.get("/local/mail").json()["mail"]
    (text,) = [mail["text"] for mail in mails if mail["to"] == [email]]
    (secret,) = re.findall(r"/login/link#(\S+)", text)
    used = platform.client.post("/api/auth/magic-link/verify", {"token": secret})
    assert used.status == 200, used
    return platform.client.acting_as(used.json()["token"])


def create_webhook(user: Client, url: str, *events: str) -> dict[str, Any]:
    response = user.post("/api/webhooks", {"url": url, "events": events or ["*"]})
    assert response.status == 201, response
    created: dict[str, Any] = response.json()
    return created


def complete_task(platform: Platform, user: Client, **report: Any) -> str:
    """Register an agent, submit a task, and let the agent complete it. Returns the id of the task."""
    agent, task = f"agent-{uuid.uuid4()}", f"task-{uuid.uuid4()}"
    body = {"agentId": agent, "name": "my agent", "version": "0.2.0", "capabilities": [agent]}
    worker = user.acting_as(user.post("/api/agents", body).json()["token"])
    work = {"taskId": task, "intent": agent, "repo": "https://github.com/user/repo", "naturalLanguage": "Anything"}
    assert user.post("/api/workflows/execute", work).status == 202
    platform.advance(0.001)
    assert worker.get(f"/api/agents/{agent}/commands").json()["commands"]
    assert worker.post(f"/api/tasks/{task}/progress", {"progress": 0.5}).status == 200
    assert worker.post(f"/api/tasks/{task}/complete", {"success": True} | report).status == 200
    return task


def test_payloads_are_verified_by_the_libraries_of_python_and_npm(
    fresh_platform: Callable[..., Platform], receiver: Receiver, node_home: Path
) -> None:
    """Uses a stage with the real time, because the libraries reject webhooks that are five minutes old."""
    platform = fresh_platform()
    user = platform.client.login()
    secret = create_webhook(user, receiver.url, "task.created", "task.completed")["secret"]
    task = complete_task(platform, user, prUrl="https://github.com/user/repo/pull/123")
    received = receiver.wait(2)
    payloads = [Webhook(secret).verify(request.body, request.headers) for request in received]
    stored = user.get(f"/api/tasks/{task}").json()
    assert sorted(payloads, key=lambda payload: payload["event"]) == [
        {
            "event": "task.completed",
            "data": {
                "taskId": task,
                "status": "completed",
                "prUrl": "https://github.com/user/repo/pull/123",
                "completedAt": stored["completedAt"],
            },
        },
        {
            "event": "task.created",
            "data": {
                "taskId": task,
                "userId": stored["userId"],
                "intent": stored["intent"],
                "repo": "https://github.com/user/repo",
            },
        },
    ]
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(received[0].body + b" ", received[0].headers)
    assert verify_with_node(node_home, secret, received) == payloads


def verify_with_node(home: Path, secret: str, received: list[ReceivedRequest]) -> list[Any]:
    """Verify webhooks with npm's standardwebhooks. Returns their payloads."""
    script = home / "verify_webhook.mjs"
    shutil.copy(SOURCES / "verify_webhook.js", script)
    lines = [
        json.dumps({"secret": secret, "headers": request.headers, "body": request.body.decode()})
        for request in received
    ]
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
    hook = create_webhook(user, receiver.url, "task.completed")["webhook"]["id"]
    receiver.stop()
    complete_task(platform, user)
    platform.advance(3_600)
    deliveries = user.get(f"/api/webhooks/{hook}/deliveries").json()["data"]
    assert [each["status"] for each in deliveries] == ["pending"]
    assert len(deliveries[0]["attempts"]) >= 3
    receiver.start()
    platform.advance(2 * 3_600)
    (request,) = receiver.wait(1)
    (delivered,) = user.get(f"/api/webhooks/{hook}/deliveries").json()["data"]
    assert (delivered["id"], delivered["status"], delivered["payload"]) == (request.id, "delivered", request.json())


def test_receiver_that_never_responds_does_not_delay_other_users(
    fresh_platform: Callable[..., Platform], receiver: Receiver, capfd: pytest.CaptureFixture[str]
) -> None:
    """Both users share the queue and the function.

    The test asserts that all webhooks of one user arrive while those of the other hang, and that no more requests hang
    than the endpoints have slots. It prints the latencies.
    """
    platform = fresh_platform(DEVFLOW_RATE_LIMITS="0", DEVFLOW_WEBHOOK_TIMEOUT_MS="30000")
    slow_user, fast_user = platform.client.login(), new_user(platform)
    fast_hook = create_webhook(fast_user, receiver.url)["webhook"]["id"]
    alone = latencies(fast_user, fast_hook, receiver, 20)
    with Receiver() as silent:
        silent.default_responder = webhook_receiver.hangs
        hooks = [create_webhook(slow_user, silent.url)["webhook"]["id"] for _ in range(3)]
        for hook in hooks * 10:
            assert slow_user.post(f"/api/webhooks/{hook}/test").status == 202
        for _ in range(3 * SLOTS):
            assert silent.hanging.acquire(timeout=60)
        concurrent = latencies(fast_user, fast_hook, receiver, 20)
        assert len(silent.received) <= 3 * SLOTS + 3  # one more each if the first has timed out
        silent.default_responder = status(204)
        silent.released.set()
    with capfd.disabled():  # to standard error, which xdist does not capture
        print(f"\n{summary('alone', alone)}\n{summary('with 12 that hang', concurrent)}", file=sys.stderr)


def latencies(user: Client, hook: str, receiver: Receiver, count: int) -> list[float]:
    """The seconds from the request for a test to its arrival at the receiver, for each of `count` tests."""
    found = []
    for _ in range(count):
        before = len(receiver.received)
        start = time.monotonic()
        assert user.post(f"/api/webhooks/{hook}/test").status == 202
        receiver.wait(before + 1)
        found.append(time.monotonic() - start)
    return found


def summary(what: str, found: list[float]) -> str:
    return f"{what}: median {statistics.median(found) * 1_000:.0f} ms, longest {max(found) * 1_000:.0f} ms"
