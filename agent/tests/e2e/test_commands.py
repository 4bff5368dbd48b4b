"""The commands against the real platform: login, tasks, agents and webhooks."""

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


def devflow(scenario: Scenario, *arguments: str, stdin: str = "", **env: str) -> subprocess.CompletedProcess[str]:
    """Run a command without DEVFLOW_TOKEN, so that the token comes from the config file."""
    env_without_token = {name: value for name, value in scenario.env().items() if name != "DEVFLOW_TOKEN"}
    return subprocess.run(
        [sys.executable, "-m", "devflow", *arguments], env=env_without_token | env, input=stdin,
        capture_output=True, text=True, cwd=scenario.directory, timeout=SECONDS, check=False,
    )  # fmt: skip


def run_json(scenario: Scenario, *arguments: str, **more: Any) -> Any:
    """Run a command with `--json` and return its output."""
    ran = devflow(scenario, *arguments, "--json", **more)
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def test_login_with_pin_token_and_link_and_logout(scenario: Scenario) -> None:
    assert devflow(scenario, "tasks").returncode == 4
    by_pin = run_json(scenario, "login", "--email", "user@example.com", DEVFLOW_PIN="123456")
    assert by_pin["user"]["name"] == "John Doe"
    assert run_json(scenario, "tasks", "list")["limit"] == 20
    assert run_json(scenario, "logout") == {"success": True}
    assert devflow(scenario, "tasks").returncode == 4
    assert devflow(scenario, "login", "--email", "user@example.com", DEVFLOW_PIN="000000").returncode == 4

    personal = scenario.user.post("/api/auth/tokens", {"name": "laptop"}).json()
    assert run_json(scenario, "login", "--token-stdin", stdin=personal["token"])["user"]["name"] == "John Doe"
    assert run_json(scenario, "tasks", "list")["limit"] == 20

    address = f"{os.getpid()}-{scenario.directory.name}@example.com"
    program = [sys.executable, "-m", "devflow", "login", "--magic-link", "--email", address, "--json"]
    with subprocess.Popen(
        program, env=scenario.env(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as by_mail:

        def link() -> str | None:
            text = scenario.platform.client.get("/local/mail").body.decode()
            match = re.search(rf"{re.escape(address)}.*?(http\S+?/login/link#[\w-]+)", text, re.DOTALL)
            return match[1] if match else None

        printed, _ = by_mail.communicate(f"{wait_until(link)}\n", timeout=SECONDS)
    assert by_mail.returncode == 0
    assert json.loads(printed)["user"]["email"] == address
    assert run_json(scenario, "tasks", "list")["total"] == 0, "the tasks belong to another user"


def test_machine_registers_its_agent_without_a_login(scenario: Scenario) -> None:
    login = {"DEVFLOW_CONFIG": str(scenario.directory / "user.toml")}
    run_json(scenario, "login", "--email", "user@example.com", DEVFLOW_PIN="123456", **login)
    options = ("--uses", "1", "--capability", "explain")
    created = run_json(scenario, "agent", "registration-token", "create", *options, **login)
    name = f"machine-{os.getpid()}-{scenario.directory.name}"
    register = ("agent", "register", "--name", name, "--registration-token-stdin")

    refused = devflow(scenario, *register, "--capability", "feature", stdin=created["token"])
    assert refused.returncode == 1
    assert "The capabilities that it permits: explain" in refused.stderr
    registered = run_json(scenario, *register, stdin=created["token"])
    assert registered["agent"]["capabilities"] == ["explain"]
    assert devflow(scenario, *register[:2], "--name", f"{name}-2", DEVFLOW_REGISTRATION_TOKEN=created["token"]).stderr
    assert not (scenario.directory / "config.toml").exists(), "no user's token is on the machine"
    (listed,) = [
        each
        for each in run_json(scenario, "agent", "registration-token", "list", **login)["data"]
        if each["id"] == created["registrationToken"]["id"]
    ]
    assert (listed["used"], listed["uses"]) == (1, 1)
    assert devflow(scenario, "agent", "rotate", "--name", name).returncode == 0, "with the agent's own token"


def test_task_is_submitted_listed_cancelled_and_retried(scenario: Scenario) -> None:
    run_json(scenario, "login", "--email", "user@example.com", DEVFLOW_PIN="123456")
    intent = f"by-hand-{os.getpid()}"
    submitted = run_json(
        scenario, "run", "Do it", "--repo", str(scenario.origin), "--intent", intent, "--detach", "--context", "a=1"
    )
    task = submitted["taskId"]

    stored = run_json(scenario, "tasks", "show", task)
    assert (stored["intent"], stored["context"], stored["branch"]) == (intent, {"a": "1"}, "main")
    assert [item["id"] for item in run_json(scenario, "tasks", "list", "--intent", intent)["data"]] == [task]
    assert run_json(scenario, "tasks", "logs", task)["data"] == ""
    assert run_json(scenario, "tasks", "cancel", task)["status"] == "cancelled"
    retried = run_json(scenario, "tasks", "retry", task)["taskId"]
    assert run_json(scenario, "tasks", "show", retried)["retryOf"] == task
    assert run_json(scenario, "tasks", "cancel", retried)["status"] == "cancelled"
    followed = devflow(scenario, "run", "Do it", "--repo", str(scenario.origin), "--intent", intent, "--task-id", "x y")
    assert followed.returncode == 1
    assert "Invalid request" in followed.stderr


def test_token_is_rotated_while_the_agent_runs(scenario: Scenario) -> None:
    name = scenario.register("rotated")
    agent = scenario.start(name, scenario.fix)
    agent.wait_for("is active")

    assert scenario.devflow("agent", "rotate", "--name", name, "--revoke").returncode == 0
    agent.wait_for("the token was renewed by another process")
    task = scenario.submit()
    assert scenario.wait_for_end(task)["status"] == "completed"
    assert scenario.devflow("agent", "remove", "--name", name, "--yes").returncode == 5
    assert agent.end() == 0
    removed = scenario.devflow("agent", "remove", "--name", name, "--yes")
    assert removed.returncode == 0, removed.stderr
    assert scenario.devflow("agent", "start", "--name", name, "--command", "true").returncode == 4


def test_agent_renews_its_token_before_it_expires(scenario: Scenario) -> None:
    name = scenario.register("renewing")
    agent = scenario.start(name, scenario.fix, pace="beat=0.3,poll=0.2,renew=0.2")
    agent.wait_for("renewed the token", times=3)

    assert scenario.wait_for_end(scenario.submit())["status"] == "completed", agent.log
    assert agent.end() == 0


@pytest.fixture
def receiver() -> Iterator[tuple[str, list[Any]]]:
    """A webhook endpoint on loopback. Returns its URL and the received bodies."""
    received: list[Any] = []

    class Endpoint(BaseHTTPRequestHandler):
        def do_POST(self) -> None:  # the name that http.server requires
            received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the name that http.server requires
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Endpoint)
    thread = Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield f"http://localhost:{server.server_port}/hook", received
    server.shutdown()
    thread.join()
    server.server_close()


def test_webhook_is_added_tested_changed_and_removed(scenario: Scenario, receiver: tuple[str, list[Any]]) -> None:
    address, received = receiver
    run_json(scenario, "login", "--email", "user@example.com", DEVFLOW_PIN="123456")

    added = run_json(scenario, "webhooks", "add", address, "--event", "task.failed", "--description", "mine")
    webhook = added["webhook"]["id"]
    assert added["secret"].startswith("whsec_")
    assert added["webhook"]["events"] == ["task.failed"]
    assert webhook in [item["id"] for item in run_json(scenario, "webhooks", "list")["data"]]
    sent = run_json(scenario, "webhooks", "test", webhook)["deliveryId"]
    wait_until(lambda: [body for body in received if body["event"] == "webhook.test"])

    def delivered() -> bool:
        deliveries = run_json(scenario, "webhooks", "deliveries", webhook, "--status", "delivered")["data"]
        return [row["id"] for row in deliveries] == [sent]

    wait_until(delivered)
    assert "webhook.test\tdelivered\t1" in devflow(scenario, "webhooks", "deliveries", webhook).stdout
    run_json(scenario, "webhooks", "redeliver", webhook, sent)
    wait_until(lambda: len(received) >= 2)
    assert run_json(scenario, "webhooks", "rotate", webhook)["secret"] != added["secret"]
    assert devflow(scenario, "webhooks", "change", webhook, "--disable").returncode == 0
    assert run_json(scenario, "webhooks", "show", webhook)["enabled"] is False
    assert devflow(scenario, "webhooks", "remove", webhook).stdout == f"Removed {webhook}.\n"
    assert devflow(scenario, "webhooks", "show", webhook).returncode == 1
    assert devflow(scenario, "webhooks", "show", "../agents").returncode == 2
