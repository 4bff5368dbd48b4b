#!/usr/bin/env python3
"""A DevFlow agent in one file, for Python 3.11 or newer, without dependencies. docs/protocol.md explains the protocol.

    DEVFLOW_TOKEN=... python3 examples/agent.py --url http://localhost:3000 --capability fix-bug --run ./solve

`--run` is a shell command. It gets the assigned task on standard input (JSON, as in the response of a poll). With exit
status 0, the task is completed with the command's output; otherwise it fails. If the last line of the output is a JSON
object, its `summary`, `prUrl` and `resultFiles` go into the report. Without `--run`, the agent only pretends to work.
The token is a user's token, with which the agent registers itself, or the agent's own token of an earlier registration.
After SIGTERM or Ctrl-C, the agent finishes its running tasks and ends. After a second signal, it ends at once.
"""

import argparse
import json
import os
import random
import signal
import socket
import sys
import threading
import time
import uuid
from contextlib import suppress
from http.client import HTTPException
from subprocess import PIPE, STDOUT, Popen, TimeoutExpired
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

HEARTBEAT = 60.0  # seconds; the platform considers an agent inactive after 150 s without a check-in
PROGRESS = 10.0  # seconds between progress reports of a long command: each response says whether the task is cancelled
MAX_OUTPUT = 150_000  # characters of output in a report: below the limit of 1 MB even if each one is escaped
TICK = 0.05  # seconds between checks for something to do
RESULT_FIELDS = ("summary", "prUrl", "resultFiles")  # what the command may set in its last line
Json = dict[str, Any]


class RejectedError(Exception):
    """The task or the agent cannot continue: the platform rejected a request, or the agent is stopping."""


class Agent:
    """Does tasks and reports them. The main thread polls and sends heartbeats; each task has its own thread."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options, self.token, self.started = options, options.token, time.monotonic()
        self.running: dict[str, threading.Event] = {}  # by task id; a set event means that the task is cancelled
        self.poll_now = self.stopping = False  # poll at once; finish the running tasks and take no new ones

    def request(self, method: str, path: str, body: Json | None = None, *accepted: int, **headers: str) -> Json:
        """Send a request, and retry until there is a response. A status in `accepted` counts as success.

        Retries are safe: a registration has a key, a report has its attempt, and a poll returns claimed tasks again.
        Raises RejectedError if the platform rejects the request.
        """
        headers |= {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        data, failures = json.dumps(body).encode() if body else None, 0
        request = Request(self.options.url.rstrip("/") + path, data, headers, method=method)  # noqa: S310
        while True:
            after = ""
            try:
                try:
                    response: Any = urlopen(request, timeout=30)  # noqa: S310
                except HTTPError as error:
                    response = error  # a response like any other
                with response:
                    status, text, after = response.status, response.read(), response.headers.get("Retry-After") or ""
                if status in (200, 201, *accepted):
                    return dict(json.loads(text))
                if status not in (429, *range(500, 600)):
                    raise RejectedError(f"{path} failed with status {status}: {text.decode(errors='replace')}")
                problem = str(status)
            except (OSError, HTTPException, ValueError) as error:
                problem = str(error)
            pause = min(60.0, 0.5 * 2**failures) * random.uniform(0.5, 1.0)  # noqa: S311  # jitter for fleets
            pause, failures = max(pause, float(after)) if after.isdecimal() else pause, min(failures + 1, 7)
            print(f"{method} {path}: {problem}; retrying in {pause:.1f} s", flush=True)
            end = time.monotonic() + pause
            while time.monotonic() < end:
                if self.stopping and "/api/tasks/" not in path:  # results of tasks must be reported
                    raise RejectedError("The agent is stopping")
                time.sleep(TICK)

    def heartbeat(self, status: str) -> None:
        """Report the running tasks, so that the platform notices tasks that an earlier process has lost."""
        task_ids, uptime = list(self.running), int(time.monotonic() - self.started)
        body = {"status": status, "uptime": uptime, "taskCount": len(task_ids), "taskIds": task_ids}
        for task_id in self.request("POST", f"/api/agents/{self.options.agent_id}/heartbeat", body)["cancel"]:
            self.running.get(task_id, threading.Event()).set()

    def poll(self, limit: int) -> float:
        """Claim up to `limit` tasks and start them. Returns the seconds until the next poll."""
        response = self.request("GET", f"/api/agents/{self.options.agent_id}/commands?limit={limit}")
        for command in response["commands"]:
            if command["task_id"] not in self.running:  # a poll returns a claimed task until its first report
                self.running[command["task_id"]] = threading.Event()
                threading.Thread(target=self.work, args=(command,)).start()
        return float(response["nextPollInterval"]) / 1000 * random.uniform(0.9, 1.0)  # noqa: S311

    def serve(self) -> None:
        """Send heartbeats and poll until a signal stops the agent.

        The heartbeat comes first: while the platform knows the agent as "disconnected", a poll returns no tasks.
        """
        poll_at = heartbeat_at = 0.0
        while not self.stopping:
            if time.monotonic() >= heartbeat_at:
                heartbeat_at = time.monotonic() + HEARTBEAT
                self.heartbeat("busy" if self.running else "ready")
            elif (free := self.options.limit - len(self.running)) and (self.poll_now or time.monotonic() >= poll_at):
                self.poll_now = False
                poll_at = time.monotonic() + self.poll(free)
                if self.options.once and (self.running or self.poll_now):
                    return
            time.sleep(TICK)

    def run(self) -> int:
        """Register, serve and disconnect. Returns the exit status."""
        body = {"agentId": self.options.agent_id, "name": self.options.agent_id, "version": "1.0.0"}
        body |= {"platform": sys.platform, "capabilities": self.options.capability, "concurrency": self.options.limit}
        status, key = 0, {"Idempotency-Key": str(uuid.uuid4())}
        try:  # 403: it is an agent's own token; 409: the agent is registered. Both tokens work
            response = self.request("POST", "/api/agents", body, 201, 403, 409, **key)
            self.token = response.get("token", self.token)  # returned only once: an agent that runs for weeks stores it
            print(f"{self.options.agent_id}: polling {self.options.url}", flush=True)
            self.serve()
        except RejectedError as reason:
            print(reason, flush=True)
            status = 0 if self.stopping else 1
        self.stopping = True
        while self.running:
            time.sleep(TICK)
        with suppress(RejectedError):
            self.heartbeat("disconnected")
        return status

    def on_signal(self, number: int, _frame: object) -> None:
        """Stop after the running tasks. The default action of a second signal ends the process at once."""
        signal.signal(number, signal.SIG_DFL)
        self.stopping = True

    def work(self, command: Json) -> None:
        """Do one task, from its first progress report to its result. Runs on its own thread."""
        task_id, outcome = command["task_id"], "abandoned"
        try:
            self.progress(command, "Starting", 0)
            outcome, body = self.execute(command) if self.options.run else self.walk_through(command)
            self.report(command, outcome, body)
        except RejectedError as reason:
            outcome = str(reason)
        finally:
            del self.running[task_id]
            self.poll_now = True
            print(f"{task_id}: {outcome}", flush=True)

    def report(self, command: Json, kind: str, body: Json) -> Json:
        """Send one report. Raises RejectedError if the task does not belong to this agent any more."""
        body |= {"attempt": command["attempt"]}
        response = self.request("POST", f"/api/tasks/{command['task_id']}/{kind}", body, 400, 413)
        if kind == "complete" and "success" not in response:  # the result is not valid, but the task must end
            self.report(command, "fail", {"error": f"The result was rejected: {response['message']}"[:1_000]})
        return response

    def progress(self, command: Json, step: str, progress: float) -> bool:
        """Report the progress. Returns whether the task was cancelled."""
        response = self.report(command, "progress", {"status": "in_progress", "step": step, "progress": progress})
        return bool(response.get("cancelRequested")) or self.running[command["task_id"]].is_set()

    def walk_through(self, command: Json) -> tuple[str, Json]:
        """Pretend to work. Returns the kind and the body of the last report."""
        for done, step in enumerate(("Reading the code", "Making the change", "Running tests"), start=1):
            if self.progress(command, step, done / 4):
                return "fail", {"error": "Cancelled"}
            time.sleep(0.1)
        return "complete", {"success": True, "summary": "Walked through the steps"}

    def execute(self, command: Json) -> tuple[str, Json]:
        """Run the shell command in its own process group, so that all of its processes can be killed."""
        # The shell command comes from the operator. The platform's data is only in its standard input.
        process = Popen(  # noqa: S602
            self.options.run,
            shell=True,  # nosec B602
            start_new_session=True,
            stdin=PIPE,
            stdout=PIPE,
            stderr=STDOUT,
        )
        stdin, printed = json.dumps(command).encode(), None
        try:
            while printed is None:
                with suppress(TimeoutExpired):
                    printed, _ = process.communicate(stdin, timeout=PROGRESS)
                stdin = b""  # after a timeout, the rest of the input is still being written
                if printed is None and self.progress(command, "Running", 0.5):
                    return "fail", {"error": "Cancelled"}
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        output = printed.decode(errors="replace").strip()
        last = output.rpartition("\n")[2]
        if process.returncode != 0:
            error = f"Exit status {process.returncode}: {last or 'no output'}"
            return "fail", {"error": error[:1_000], "logs": output[-MAX_OUTPUT:]}
        result = {"success": True, "summary": last[:1_000], "output": output[-MAX_OUTPUT:]}
        with suppress(ValueError, AttributeError, RecursionError):  # the last line is not a JSON object
            result |= {name: value for name, value in json.loads(last).items() if name in RESULT_FIELDS}
        return "complete", result


def main() -> int:
    token = os.environ.pop("DEVFLOW_TOKEN", None)  # the shell command must not see it
    parser = argparse.ArgumentParser(description="A DevFlow agent: polls for tasks, does them and reports the results.")
    parser.add_argument("--url", default="http://localhost:3000", help="URL of the platform")
    parser.add_argument("--token", default=token, required=not token, help="token; better set in DEVFLOW_TOKEN")
    parser.add_argument(
        "--agent-id", default=f"agent-{socket.gethostname()}", help="id of the agent; keep it after a restart"
    )
    parser.add_argument("--capability", action="append", help="an intent that the agent accepts; can be repeated")
    parser.add_argument("--limit", type=int, default=1, help="number of tasks at the same time")
    parser.add_argument("--run", help="shell command that does the work")
    parser.add_argument("--once", action="store_true", help="end after the tasks of the first poll that returns any")
    options = parser.parse_args()
    options.capability = options.capability or ["fix-bug", "feature", "explain", "review-pr"]
    agent = Agent(options)
    signal.signal(signal.SIGTERM, agent.on_signal)
    signal.signal(signal.SIGINT, agent.on_signal)
    return agent.run()


if __name__ == "__main__":
    sys.exit(main())
