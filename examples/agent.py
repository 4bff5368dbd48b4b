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
import queue
import random
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from contextlib import suppress
from http import HTTPStatus
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

HEARTBEAT = 60.0  # seconds; the server holds an agent for gone after 150 s of silence
PROGRESS = 10.0  # seconds between progress reports of a long command: each one also asks "shall I stop?"
OUTPUT = 150_000  # characters of output in a report: below the server's 1 MB even if each one is escaped
Report = tuple[str, dict[str, Any]]  # "complete" or "fail", and the body


class TryAgainError(Exception):
    """No usable answer: no connection, 5xx, or 429. The same call may be sent again, later."""

    def __init__(self, reason: str, retry_after: str | None = None) -> None:
        super().__init__(reason)
        self.retry_after = float(retry_after) if retry_after and retry_after.isdecimal() else 0.0

    def pause(self, failures: int) -> float:
        """Seconds until the next try: what the server asked for, else twice as long each time, up to a minute."""
        return self.retry_after or min(60.0, 0.5 * 2 ** min(failures, 7)) * random.uniform(0.5, 1.0)  # noqa: S311


class RefusedError(Exception):
    """The agent cannot go on: its token is not accepted (401, 403) or it is not registered any more (404)."""


class NotOursError(Exception):
    """The task is gone (404), or finished, or another's by now (409): drop the work, report nothing more."""


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def complete(output: str, **extra: Any) -> Report:
    return "complete", {"success": True, "output": output[-OUTPUT:], **extra}


def fail(error: str, logs: str = "") -> Report:
    return "fail", {"error": error[:1_000], "logs": logs[-OUTPUT:]}


class Agent:
    """Polls, works and reports. One thread polls and beats, and each task has a thread of its own."""

    def __init__(self, url: str, token: str, agent_id: str, capabilities: list[str], limit: int, run: str) -> None:
        self.url, self.token, self.id = url.rstrip("/"), token, agent_id
        self.capabilities, self.limit, self.shell = capabilities, limit, run
        self.running: set[str] = set()  # task ids, from the poll until the last report is answered
        self.cancelled: set[str] = set()  # those of them that the server wants stopped
        self.wake: queue.SimpleQueue[None] = queue.SimpleQueue()  # ends a pause: a task ended, or a signal came
        self.stopping, self.refused, self.started = False, "", time.monotonic()

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, dict[str, Any]]:
        """One call: status and JSON. Raises TryAgainError when sending it again may help, RefusedError on 401."""
        data = None if body is None else json.dumps(body).encode()
        headers |= {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        try:
            request = Request(self.url + path, data, headers, method=method)  # noqa: S310  # the user's own address
            with urlopen(request, timeout=30) as answer:  # noqa: S310
                return answer.status, json.load(answer)
        except HTTPError as error:
            if error.code == HTTPStatus.TOO_MANY_REQUESTS or error.code >= HTTPStatus.INTERNAL_SERVER_ERROR:
                raise TryAgainError(f"{method} {path}: {error.code}", error.headers.get("Retry-After")) from error
            if error.code == HTTPStatus.UNAUTHORIZED:
                raise RefusedError("the token is not accepted (401): it has expired or was revoked") from error
            return error.code, {"message": error.read().decode(errors="replace")}
        except (OSError, HTTPException, json.JSONDecodeError) as error:
            raise TryAgainError(f"{method} {path}: {error}") from error

    def insist(self, method: str, path: str, body: Any, **headers: str) -> tuple[int, dict[str, Any]]:
        """The same call until it is answered. Safe: a registration carries a key, a report carries its attempt."""
        failures = 0
        while True:
            try:
                return self.call(method, path, body, **headers)
            except TryAgainError as trouble:
                pause, failures = trouble.pause(failures), failures + 1
                say(f"{trouble}; again in {pause:.1f} s")
                time.sleep(pause)

    def register(self, name: str) -> None:
        about: dict[str, Any] = {"agentId": self.id, "name": name, "version": "1.0.0", "platform": sys.platform}
        about |= {"capabilities": self.capabilities, "concurrency": self.limit}
        status, answer = self.insist("POST", "/api/agents", about, **{"Idempotency-Key": str(uuid.uuid4())})
        if status == HTTPStatus.CREATED:
            self.token = answer["token"]  # shown this once: an agent that lives for weeks keeps it in a file
        elif status not in (403, 409):  # 403: the token given is an agent's own. 409: registered before
            raise RefusedError(f"registration was answered {status}: {answer['message']}")

    def poll(self) -> float:
        """Claim as many tasks as there are free slots and start them. Returns the seconds until the next poll."""
        status, answer = self.call("GET", f"/api/agents/{self.id}/commands?limit={self.limit - len(self.running)}")
        if status != HTTPStatus.OK:
            raise RefusedError(f"polling was answered {status}: {answer['message']}")
        for command in answer["commands"]:
            if command["task_id"] not in self.running:  # a claim comes again until its first progress is in
                self.running.add(command["task_id"])
                threading.Thread(target=self.work, args=(command,)).start()
        return float(answer["nextPollInterval"]) / 1000

    def heartbeat(self, status: str) -> None:
        """Say what runs here, so that the server can tell a task that was lost with an earlier process."""
        uptime = int(time.monotonic() - self.started)
        about = {"status": status, "uptime": uptime, "taskCount": len(self.running), "taskIds": sorted(self.running)}
        code, answer = self.call("POST", f"/api/agents/{self.id}/heartbeat", about)
        self.cancelled |= set(answer.get("cancel", ())) & self.running if code == HTTPStatus.OK else set()

    def report(self, command: dict[str, Any], what: str, body: dict[str, Any]) -> None:
        """Send one report until it is answered. Raises NotOursError when the task is not this agent's any more."""
        task = command["task_id"]
        status, answer = self.insist("POST", f"/api/tasks/{task}/{what}", body | {"attempt": command["attempt"]})
        if status in (404, 409):
            raise NotOursError(f"{task}: {what} was answered {status}, the work is dropped")
        if (
            status != HTTPStatus.OK and what == "complete"
        ):  # never leave a task hanging because its result is not accepted
            self.report(command, *fail(f"The result was refused ({status}): {answer['message']}"))
        if answer.get("cancelRequested"):
            self.cancelled.add(task)

    def work(self, command: dict[str, Any]) -> None:
        """One task, from the progress report that starts it to its last report. Runs in a thread of its own."""
        task = command["task_id"]
        try:
            self.report(command, "progress", {"status": "in_progress", "step": "Starting", "progress": 0})
            what, body = self.execute(command) if self.shell else self.demo(command)
            self.report(command, what, body)
            say(f"{task}: {what}")
        except NotOursError as reason:
            say(str(reason))
        except RefusedError as reason:
            self.stop(str(reason))
        finally:
            self.running.discard(task)
            self.cancelled.discard(task)
            self.wake.put(None)

    def demo(self, command: dict[str, Any]) -> Report:
        for done, step in enumerate(("Reading the code", "Making the change", "Running tests"), start=1):
            if command["task_id"] in self.cancelled:
                return fail("Cancelled")
            self.report(command, "progress", {"status": "in_progress", "step": step, "progress": done / 4})
            time.sleep(0.1)
        return complete(f"Would have worked on: {command['description']}", summary="Walked through the steps")

    def execute(self, command: dict[str, Any]) -> Report:
        """Run the shell command in a process group of its own, so that the whole of it can be ended."""
        environment = {name: value for name, value in os.environ.items() if name != "DEVFLOW_TOKEN"}
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        options: dict[str, Any] = {"shell": True, "start_new_session": True, "env": environment}
        process = subprocess.Popen(self.shell, **options, **pipes)  # noqa: S603  # the owner of the machine gave it
        given: bytes | None = json.dumps(command).encode()
        printed: bytes | None = None
        try:
            while printed is None:
                try:
                    printed, _ = process.communicate(given, timeout=PROGRESS)
                except subprocess.TimeoutExpired:
                    given = None  # what is left of it is still being written
                    self.report(command, "progress", {"status": "in_progress", "step": "Running", "progress": 0.5})
                    if command["task_id"] in self.cancelled:
                        return fail("Cancelled")
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        output = printed.decode(errors="replace").strip()
        last = output.rpartition("\n")[2]
        if process.returncode != 0:
            return fail(f"Exit status {process.returncode}: {last or 'nothing was printed'}", output)
        try:
            result = json.loads(last)
        except json.JSONDecodeError:
            result = None
        known = {"summary", "prUrl", "resultFiles"}
        extra = {name: result[name] for name in known & result.keys()} if isinstance(result, dict) else {}
        return complete(output, **({"summary": last[:1_000]} | extra))

    def serve(self, *, once: bool) -> int:
        """Poll, beat and wait until told to stop, then finish what runs. Returns the exit status."""
        failures, poll_at, beat_at = 0, 0.0, 0.0
        while self.running or not self.stopping:
            now = time.monotonic()
            try:
                if now >= beat_at:  # before the first poll: an agent that said "disconnected" gets nothing
                    self.heartbeat("draining" if self.stopping else "busy" if self.running else "ready")
                    beat_at = now + HEARTBEAT
                if self.free() and now >= poll_at:
                    poll_at = now + self.poll() * random.uniform(0.8, 1.2)  # noqa: S311  # a fleet must not poll in step
                    self.stopping |= once and bool(self.running)
                failures = 0
            except TryAgainError as trouble:
                pause, failures = trouble.pause(failures), failures + 1
                poll_at = beat_at = now + pause
                say(f"{trouble}; again in {pause:.1f} s")
            except RefusedError as reason:
                self.stop(str(reason))
            until = min(poll_at, beat_at) if self.free() else beat_at
            try:
                self.wake.get(timeout=max(0.0, until - time.monotonic()))
                poll_at = poll_at if failures else 0.0  # a slot is free again: there may be more to do
            except queue.Empty:
                continue
        with suppress(TryAgainError, RefusedError):
            self.heartbeat("disconnected")
        return 1 if self.refused else 0

    def free(self) -> int:
        return 0 if self.stopping else self.limit - len(self.running)

    def stop(self, refused: str = "") -> None:
        self.stopping, self.refused = True, refused or self.refused
        self.wake.put(None)


def main() -> int:
    parser = argparse.ArgumentParser(description="A DevFlow agent: polls for tasks, works them off and reports.")
    parser.add_argument("--url", default="http://localhost:3000", help="address of the platform")
    parser.add_argument("--token", default=os.environ.get("DEVFLOW_TOKEN"), help="better given in DEVFLOW_TOKEN")
    parser.add_argument("--agent-id", default=f"agent-{socket.gethostname()}", help="the same again after a restart")
    parser.add_argument("--name", help="shown to people; the agent's id when left out")
    parser.add_argument("--capability", action="append", help="an intent that it can work on; may be given often")
    parser.add_argument("--limit", type=int, default=1, help="tasks at a time")
    parser.add_argument("--run", default="", help="shell command that does the work")
    parser.add_argument("--once", action="store_true", help="end when what the first fruitful poll brought is done")
    given = parser.parse_args()
    if not given.token:
        parser.error("a token is needed: --token, or the variable DEVFLOW_TOKEN")
    capabilities = given.capability or ["fix-bug", "feature", "explain", "review-pr"]
    agent = Agent(given.url, given.token, given.agent_id, capabilities, given.limit, given.run)

    def on_signal(number: int, _frame: object) -> None:
        signal.signal(number, signal.SIG_DFL)
        agent.stop()

    try:
        agent.register(given.name or given.agent_id)
        signal.signal(signal.SIGTERM, on_signal)
        signal.signal(signal.SIGINT, on_signal)
        say(f"{agent.id}: polling {agent.url} for {', '.join(capabilities)}")
        status = agent.serve(once=given.once)
    except RefusedError as reason:
        agent.refused, status = str(reason), 1
    say(agent.refused or "stopped")
    return status


if __name__ == "__main__":
    sys.exit(main())
