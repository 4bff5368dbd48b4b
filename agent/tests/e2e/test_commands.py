"""The commands against the real platform: logging in and out, tasks, agents, webhooks."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import TYPE_CHECKING, Any

import pytest

from agent.tests.e2e.conftest import SECONDS, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.tests.e2e.conftest import Scenario

pytestmark = pytest.mark.timeout(4 * SECONDS)


def devflow(scene: Scenario, *arguments: str, stdin: str = "", **env: str) -> subprocess.CompletedProcess[str]:
    """As somebody runs it whose token is in the config file."""
    given = {name: value for name, value in scene.env().items() if name != "DEVFLOW_TOKEN"}
    return subprocess.run(
        [sys.executable, "-m", "devflow", *arguments], env=given | env, input=stdin, capture_output=True, text=True,
        cwd=scene.directory, timeout=SECONDS, check=False,
    )  # fmt: skip


def done(scene: Scenario, *arguments: str, **more: Any) -> Any:
    """What a command answers with `--json`."""
    ran = devflow(scene, *arguments, "--json", **more)
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def test_logging_in_by_pin_by_token_and_by_mail_and_out_again(scene: Scenario) -> None:
    assert devflow(scene, "tasks").returncode == 4
    by_pin = done(scene, "login", "--email", "user@example.com", DEVFLOW_PIN="123456")
    assert by_pin["user"]["name"] == "John Doe"
    assert done(scene, "tasks", "list")["limit"] == 20
    assert done(scene, "logout") == {"success": True}
    assert devflow(scene, "tasks").returncode == 4
    assert devflow(scene, "login", "--email", "user@example.com", DEVFLOW_PIN="000000").returncode == 4

    personal = scene.user.post("/api/auth/tokens", {"name": "laptop"}).json()
    assert done(scene, "login", "--token-stdin", stdin=personal["token"])["user"]["name"] == "John Doe"
    assert done(scene, "tasks", "list")["limit"] == 20

    address = f"{os.getpid()}-{scene.directory.name}@example.com"
    program = [sys.executable, "-m", "devflow", "login", "--magic-link", "--email", address, "--json"]
    with subprocess.Popen(
        program, env=scene.env(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as by_mail:

        def link() -> str | None:
            text = scene.platform.client.get("/local/mail").body.decode()
            found = re.search(rf"{re.escape(address)}.*?(http\S+?/login/link#[\w-]+)", text, re.DOTALL)
            return found[1] if found else None

        printed, _ = by_mail.communicate(f"{wait_until(link)}\n", timeout=SECONDS)
    assert by_mail.returncode == 0
    assert json.loads(printed)["user"]["email"] == address
    assert done(scene, "tasks", "list")["total"] == 0, "another user's"


def test_a_task_by_hand_from_submitting_to_retrying(scene: Scenario) -> None:
    done(scene, "login", "--email", "user@example.com", DEVFLOW_PIN="123456")
    intent = f"by-hand-{os.getpid()}"
    submitted = done(
        scene, "run", "Do it", "--repo", str(scene.origin), "--intent", intent, "--detach", "--context", "a=1"
    )
    task = submitted["taskId"]

    shown = done(scene, "tasks", "show", task)
    assert (shown["intent"], shown["context"], shown["branch"]) == (intent, {"a": "1"}, "main")
    assert [found["id"] for found in done(scene, "tasks", "list", "--intent", intent)["data"]] == [task]
    assert done(scene, "tasks", "logs", task)["data"] == ""
    assert done(scene, "tasks", "cancel", task)["status"] == "cancelled"
    again = done(scene, "tasks", "retry", task)["taskId"]
    assert done(scene, "tasks", "show", again)["retryOf"] == task
    assert done(scene, "tasks", "cancel", again)["status"] == "cancelled"
    followed = devflow(scene, "run", "Do it", "--repo", str(scene.origin), "--intent", intent, "--task-id", "x y")
    assert followed.returncode == 1
    assert "Invalid request" in followed.stderr


def test_an_agents_token_is_rotated_while_it_runs(scene: Scenario) -> None:
    name = scene.register("rotated")
    agent = scene.start(name, scene.fix)
    agent.wait_for("is active")

    assert scene.devflow("agent", "rotate", "--name", name, "--revoke").returncode == 0
    agent.wait_for("the token was renewed")
    task = scene.submit()
    assert scene.wait_for_end(task)["status"] == "completed"
    assert scene.devflow("agent", "remove", "--name", name, "--yes").returncode == 5
    assert agent.end() == 0
    removed = scene.devflow("agent", "remove", "--name", name, "--yes")
    assert removed.returncode == 0, removed.stderr
    assert scene.devflow("agent", "start", "--name", name, "--command", "true").returncode == 4


def test_an_agent_renews_its_own_token_before_it_ends(scene: Scenario) -> None:
    name = scene.register("renewing")
    agent = scene.start(name, scene.fix, pace="beat=0.3,poll=0.2,renew=0.2")
    agent.wait_for("renewed the token", times=3)

    assert scene.wait_for_end(scene.submit())["status"] == "completed", agent.log
    assert agent.end() == 0


@pytest.fixture
def receiver() -> Iterator[tuple[str, list[Any]]]:
    """Takes webhooks on loopback."""
    taken: list[Any] = []

    class Taking(BaseHTTPRequestHandler):
        def do_POST(self) -> None:  # named by http.server
            taken.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # named by http.server
            """Nothing: the test says what matters."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Taking)
    thread = Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield f"http://localhost:{server.server_port}/hook", taken
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_webhook_from_making_to_removing(scene: Scenario, receiver: tuple[str, list[Any]]) -> None:
    address, taken = receiver
    done(scene, "login", "--email", "user@example.com", DEVFLOW_PIN="123456")

    made = done(scene, "webhooks", "add", address, "--event", "task.failed", "--description", "mine")
    webhook = made["webhook"]["id"]
    assert made["secret"].startswith("whsec_")
    assert made["webhook"]["events"] == ["task.failed"]
    assert webhook in [found["id"] for found in done(scene, "webhooks", "list")["data"]]
    sent = done(scene, "webhooks", "test", webhook)["deliveryId"]
    wait_until(lambda: [body for body in taken if body["event"] == "webhook.test"])

    def delivered() -> bool:
        found = done(scene, "webhooks", "deliveries", webhook, "--status", "delivered")["data"]
        return [row["id"] for row in found] == [sent]

    wait_until(delivered)
    assert "webhook.test\tdelivered\t1" in devflow(scene, "webhooks", "deliveries", webhook).stdout
    done(scene, "webhooks", "redeliver", webhook, sent)
    wait_until(lambda: len(taken) >= 2)
    assert done(scene, "webhooks", "rotate", webhook)["secret"] != made["secret"]
    assert devflow(scene, "webhooks", "change", webhook, "--disable").returncode == 0
    assert done(scene, "webhooks", "show", webhook)["enabled"] is False
    assert devflow(scene, "webhooks", "remove", webhook).stdout == f"Removed {webhook}.\n"
    assert devflow(scene, "webhooks", "show", webhook).returncode == 1
    assert devflow(scene, "webhooks", "show", "../agents").returncode == 2
