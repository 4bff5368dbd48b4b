#!/usr/bin/env python3
"""A DevFlow agent in one file: Python 3.11 or newer and nothing else. docs/protocol.md has the reasons.

    DEVFLOW_TOKEN=... python3 examples/agent.py --url http://localhost:3000 --capability fix-bug --run ./solve

`--run` is a shell command. It gets the command (JSON, as polled) on its stdin. Exit status 0 completes the task
with what it printed, any other fails it. If the last line that it prints is a JSON object, its `summary`, `prUrl`
and `resultFiles` go into the report. Without `--run` the agent only walks through a few steps.
The token is a user's (then the agent registers itself) or the agent's own, from an earlier registration.
SIGTERM and Ctrl-C end it after the tasks that it runs; sent twice, at once.
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

HEARTBEAT = 60.0  # seconds; the server holds an agent for gone after 150 s of silence
PROGRESS = 10.0  # seconds between progress reports of a long command: each one also asks "shall I stop?"
OUTPUT = 150_000  # characters of output in a report: below the server's 1 MB even if each one is escaped
TICK = 0.05  # seconds between two looks at whether there is something to do
RESULT = ("summary", "prUrl", "resultFiles")  # what the command may tell by itself
Json = dict[str, Any]


class RefusedError(Exception):
    """It cannot go on. A task: it is gone, finished or another's. The agent: no valid token, removed, told to stop."""


class Agent:
    """Polls, works and reports. The main thread polls and beats, and each task has a thread of its own."""

    def __init__(self, given: argparse.Namespace) -> None:
        self.options, self.token, self.started = given, given.token, time.monotonic()
        self.running: dict[str, threading.Event] = {}  # by task id; the event is set when that task is to be stopped
        self.poll_now = self.stopping = False  # a task has ended, so poll at once; finish what runs and take nothing new

    def request(self, method: str, path: str, body: Json | None = None, *fine: int, **headers: str) -> Json:
        """Send until it is answered, which is safe: a registration has a key, a report its attempt, a claim is kept.

        Returns the answer to a request that was accepted, or refused with a status that is `fine`.
        """
        headers |= {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        data, failures = json.dumps(body).encode() if body else None, 0
        request = Request(self.options.url.rstrip("/") + path, data, headers, method=method)  # noqa: S310
        while True:
            after = ""
            try:
                try:
                    answer: Any = urlopen(request, timeout=30)  # noqa: S310
                except HTTPError as error:
                    answer = error  # an answer like any other
                with answer:
                    status, text, after = answer.status, answer.read(), answer.headers.get("Retry-After") or ""
                if status in (200, 201, *fine):
                    return dict(json.loads(text))
                if status not in (429, *range(500, 600)):
                    raise RefusedError(f"{path} was answered {status}: {text.decode(errors='replace')}")
                trouble = str(status)
            except (OSError, HTTPException, ValueError) as error:
                trouble = str(error)
            pause = min(60.0, 0.5 * 2**failures) * random.uniform(0.5, 1.0)  # noqa: S311  # a fleet must not be in step
            pause, failures = max(pause, float(after)) if after.isdecimal() else pause, min(failures + 1, 7)
            print(f"{method} {path}: {trouble}; again in {pause:.1f} s", flush=True)
            end = time.monotonic() + pause
            while time.monotonic() < end:
                if self.stopping and "/api/tasks/" not in path:  # what became of a task has to be told
                    raise RefusedError("stopped")
                time.sleep(TICK)

    def heartbeat(self, status: str) -> None:
        """Say what runs here, so that the server can tell a task that was lost with an earlier process."""
        tasks, uptime = list(self.running), int(time.monotonic() - self.started)
        about = {"status": status, "uptime": uptime, "taskCount": len(tasks), "taskIds": tasks}
        for task in self.request("POST", f"/api/agents/{self.options.agent_id}/heartbeat", about)["cancel"]:
            self.running.get(task, threading.Event()).set()

    def poll(self, limit: int) -> float:
        """Claim as many tasks as there are free slots and start them. Returns the seconds until the next poll."""
        answer = self.request("GET", f"/api/agents/{self.options.agent_id}/commands?limit={limit}")
        for command in answer["commands"]:
            if command["task_id"] not in self.running:  # a claim comes again until its first progress is in
                self.running[command["task_id"]] = threading.Event()
                threading.Thread(target=self.work, args=(command,)).start()
        return float(answer["nextPollInterval"]) / 1000 * random.uniform(0.9, 1.0)  # noqa: S311

    def serve(self) -> None:
        """Beat and poll until told to stop. It beats first, for one that said "disconnected" gets nothing."""
        poll_at = beat_at = 0.0
        while not self.stopping:
            if time.monotonic() >= beat_at:
                beat_at = time.monotonic() + HEARTBEAT
                self.heartbeat("busy" if self.running else "ready")
            elif (free := self.options.limit - len(self.running)) and (self.poll_now or time.monotonic() >= poll_at):
                self.poll_now = False
                poll_at = time.monotonic() + self.poll(free)
                if self.options.once and (self.running or self.poll_now):
                    return
            time.sleep(TICK)

    def run(self) -> int:
        """All of it, from the registration to the farewell. Returns the exit status."""
        about = {"agentId": self.options.agent_id, "name": self.options.agent_id, "version": "1.0.0"}
        about |= {"platform": sys.platform, "capabilities": self.options.capability, "concurrency": self.options.limit}
        status, key = 0, {"Idempotency-Key": str(uuid.uuid4())}
        try:  # 403: the token given is an agent's own; 409: registered before. Both can go on with that token
            answer = self.request("POST", "/api/agents", about, 201, 403, 409, **key)
            self.token = answer.get("token", self.token)  # shown this once: one that lives for weeks keeps it in a file
            print(f"{self.options.agent_id}: polling {self.options.url}", flush=True)
            self.serve()
        except RefusedError as reason:
            print(reason, flush=True)
            status = 0 if self.stopping else 1
        self.stopping = True
        while self.running:
            time.sleep(TICK)
        with suppress(RefusedError):
            self.heartbeat("disconnected")
        return status

    def on_signal(self, number: int, _frame: object) -> None:
        signal.signal(number, signal.SIG_DFL)
        self.stopping = True

    def work(self, command: Json) -> None:
        """One task, from the progress report that starts it to its last report. Runs in a thread of its own."""
        task, outcome = command["task_id"], "given up"
        try:
            self.progress(command, "Starting", 0)
            outcome, body = self.execute(command) if self.options.run else self.walk_through(command)
            self.report(command, outcome, body)
        except RefusedError as reason:
            outcome = str(reason)
        finally:
            del self.running[task]
            self.poll_now = True
            print(f"{task}: {outcome}", flush=True)

    def report(self, command: Json, what: str, body: Json) -> Json:
        """Send one report. Raises RefusedError when the task is not this agent's any more: drop the work."""
        body |= {"attempt": command["attempt"]}
        answer = self.request("POST", f"/api/tasks/{command['task_id']}/{what}", body, 400, 413)
        if what == "complete" and "success" not in answer:  # a task never hangs because its result is not accepted
            self.report(command, "fail", {"error": f"The result was refused: {answer['message']}"[:1_000]})
        return answer

    def progress(self, command: Json, step: str, progress: float) -> bool:
        """Tell how far it is. Whether the task was cancelled, and the work has to stop."""
        answer = self.report(command, "progress", {"status": "in_progress", "step": step, "progress": progress})
        return bool(answer.get("cancelRequested")) or self.running[command["task_id"]].is_set()

    def walk_through(self, command: Json) -> tuple[str, Json]:
        for done, step in enumerate(("Reading the code", "Making the change", "Running tests"), start=1):
            if self.progress(command, step, done / 4):
                return "fail", {"error": "Cancelled"}
            time.sleep(0.1)
        return "complete", {"success": True, "summary": "Walked through the steps"}

    def execute(self, command: Json) -> tuple[str, Json]:
        """Run the shell command in a process group of its own, so that the whole of it can be ended."""
        # A line for the shell, by whoever started this; what came from the platform is in its input and environment.
        process = Popen(  # noqa: S602
            self.options.run,
            shell=True,  # nosec B602
            start_new_session=True,
            stdin=PIPE,
            stdout=PIPE,
            stderr=STDOUT,
        )
        given, printed = json.dumps(command).encode(), None
        try:
            while printed is None:
                with suppress(TimeoutExpired):
                    printed, _ = process.communicate(given, timeout=PROGRESS)
                given = b""  # after a timeout, what is left of it is still being written
                if printed is None and self.progress(command, "Running", 0.5):
                    return "fail", {"error": "Cancelled"}
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        output = printed.decode(errors="replace").strip()
        last = output.rpartition("\n")[2]
        if process.returncode != 0:
            error = f"Exit status {process.returncode}: {last or 'nothing was printed'}"
            return "fail", {"error": error[:1_000], "logs": output[-OUTPUT:]}
        result = {"success": True, "summary": last[:1_000], "output": output[-OUTPUT:]}
        with suppress(ValueError, AttributeError, RecursionError):  # no JSON, or no object
            result |= {name: told for name, told in json.loads(last).items() if name in RESULT}
        return "complete", result


def main() -> int:
    token = os.environ.pop("DEVFLOW_TOKEN", None)  # no business of the command that does the work
    parser = argparse.ArgumentParser(description="A DevFlow agent: polls for tasks, works them off and reports.")
    parser.add_argument("--url", default="http://localhost:3000", help="address of the platform")
    parser.add_argument("--token", default=token, required=not token, help="better given in DEVFLOW_TOKEN")
    parser.add_argument("--agent-id", default=f"agent-{socket.gethostname()}", help="the same again after a restart")
    parser.add_argument("--capability", action="append", help="an intent that it can work on; may be given often")
    parser.add_argument("--limit", type=int, default=1, help="tasks at a time")
    parser.add_argument("--run", help="shell command that does the work")
    parser.add_argument("--once", action="store_true", help="end when what the first fruitful poll brought is done")
    given = parser.parse_args()
    given.capability = given.capability or ["fix-bug", "feature", "explain", "review-pr"]
    agent = Agent(given)
    signal.signal(signal.SIGTERM, agent.on_signal)
    signal.signal(signal.SIGINT, agent.on_signal)
    return agent.run()


if __name__ == "__main__":
    sys.exit(main())
