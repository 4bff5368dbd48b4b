"""One attempt at a task, from the report that starts it to its result. Runs on a thread of its own."""

import json
import shutil
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from devflow import addresses, environment, process, pullrequests, telling
from devflow.client import Client, Json
from devflow.clock import Clock
from devflow.command import Command
from devflow.engines import Engine
from devflow.errors import DevFlowError, DroppedError, WorkError
from devflow.files import private_directory, remove_tree, write_private
from devflow.git import Git
from devflow.outbox import Outbox, Result
from devflow.pace import Pace
from devflow.process import Program
from devflow.pullrequests import PullRequest
from devflow.redact import redacted
from devflow.reporter import Reporter
from devflow.spool import Spool
from devflow.stop import Reason, Stop
from devflow.telling import Told
from devflow.terminal import one_line, plain
from devflow.workspace import Change, Workspace

CLONED, WORKED, COMMITTED, PUSHED = 0.1, 0.8, 0.85, 0.95
"""How far a task is after each of its parts; what an engine says of its own progress lies between the first two."""
_MOST_DETAILS = 16_000
_MOST_SUMMARY = 4_000
_SUBJECT = 72
"""Characters of a commit's first line."""
_MOST_VARIABLE = 100_000
"""Bytes: Linux takes 128 KB in one variable. What is larger is in `DEVFLOW_TASK_FILE` and on standard input."""


@dataclass(frozen=True)
class Means:
    """What jobs work with."""

    directory: Path
    """Of the agent: clones are made in `work`, logs wait in `logs`, failed workspaces are kept in `kept`."""
    engine: Engine
    client: Client
    outbox: Outbox
    deliver: Callable[[Result], None]
    say: Callable[[str], None]
    """Tells whoever reads the agent's log."""
    unauthorized: Callable[[], None] = lambda: None
    pace: Pace = field(default_factory=Pace)
    clock: Clock = field(default_factory=Clock)
    protocols: Collection[str] = addresses.PROTOCOLS
    patterns: Collection[str] = ()
    depth: int | None = None
    keep: bool = False
    pull_requests: bool = True


class Job:
    """Does one attempt."""

    def __init__(self, command: Command, means: Means) -> None:
        self.command, self._means = command, means
        self.stop = Stop()
        """Asked by whoever wants it to end early."""
        spool = Spool(private_directory(means.directory / "logs") / f"{command.name}.log")
        self._reporter = Reporter(
            means.client, command, spool, self.stop, means.pace, unauthorized=means.unauthorized, clock=means.clock
        )
        self._directory = means.directory / "work" / command.name
        self._told = Told()

    def run(self) -> None:
        """Do it, and hand the result over; returns when all is cleaned up. Never raises."""
        self._reporter.start()
        remove_tree(self._directory)  # of an agent that was killed
        failed = True
        try:
            result, failed = self._result()
            if result is not None:
                self._means.outbox.put(result)
                self._reporter.end()
                self._means.deliver(result)
        except OSError as error:  # a full disk, say: there is no place for the result
            self._means.say(f"{self.command.id}: the result cannot be kept: {error}")
            self.stop.ask(Reason.DROPPED)
        finally:
            self._clean(failed=failed)

    def _result(self) -> tuple[Result | None, bool]:
        """What to report, if anything, and whether it is a failure."""
        name = f"{self.command.id} (attempt {self.command.attempt})"
        try:
            done = self._work()
        except Exception as error:  # noqa: BLE001  # whatever happens in a job is that job's failure, not the agent's
            if self.stop.reason in (Reason.DROPPED, Reason.HALTED):
                self._means.say(f"{name}: given up. {redacted(self.stop.message)}".rstrip())
                return None, True
            self._means.say(f"{name}: {'cancelled' if self.stop else 'failed'}: {redacted(str(error))}")
            return self._made("fail", _failure(self.stop, error)), True
        self._means.say(f"{name}: done. {one_line(str(done['summary']), 200)}")
        return self._made("complete", done), False

    def _made(self, kind: Literal["complete", "fail"], body: Json) -> Result:
        safe = {key: redacted(value) if isinstance(value, str) else value for key, value in body.items()}
        attempt = self.command.attempt
        return Result(self.command.id, attempt, self.command.name, kind, safe | {"attempt": attempt})

    def _work(self) -> Json:
        means, reporter, command = self._means, self._reporter, self.command
        reporter.confirm("Starting", 0.0)
        origin = addresses.address(command.repo, means.protocols, means.patterns)
        git = Git(self._directory / "repo", origin, means.protocols, self.stop, pullrequests.tokens())
        space = Workspace(self._directory, git, command)
        reporter.step("Cloning the repository", CLONED / 2)
        space.clone(means.depth)
        reporter.step(f"Working: {means.engine.name}", CLONED)
        self._run_engine(space)
        body: Json = {"success": True, "summary": self._summary(), "output": self._told.output}
        if not command.may_change:
            return body
        reporter.step("Looking at what has changed", WORKED)
        change = space.change(self._message())
        if change is None:
            if command.must_change:
                raise WorkError(f"{means.engine.name} changed nothing", self._told.output[-_MOST_DETAILS:])
            return body
        return body | self._publish(space, origin, change)

    def _publish(self, space: Workspace, origin: addresses.Address, change: Change) -> Json:
        # Asked right before, and answered: what was given to somebody else meanwhile is not pushed.
        self._reporter.confirm("Pushing the branch", COMMITTED)
        space.push(change)
        found: Json = {"resultFiles": {"commit": change.commit, "branch": space.branch, "files": change.files}}
        note = f"Pushed {change.commit[:12]} to the branch {space.branch}."
        if told := self._told.result.get("prUrl"):
            found["prUrl"] = told
        elif self._means.pull_requests:
            self._reporter.step("Opening a pull request", PUSHED)
            try:
                asked = PullRequest(space.branch, space.base_branch, self._subject(), self._pull_request())
                found["prUrl"] = pullrequests.open_for(origin, asked, space.repo)
            except WorkError as error:
                note += f" There is no pull request: {error}."
        self._reporter.log(note)
        return found | {"output": f"{self._told.output}\n\n{note}".strip()}

    def _run_engine(self, space: Workspace) -> None:
        engine = self._means.engine
        task = json.dumps(self.command.given)
        path = self._directory / "task.json"
        write_private(path, task)
        env = environment.base() | engine.env | self._variables(task) | {"DEVFLOW_TASK_FILE": str(path)}
        program = Program(engine.argv, space.repo, env, task.encode(), self._means.pace.grace)
        status = process.run(program, self.stop, self._hear, self._means.clock)
        if self.stop:
            raise DroppedError(self.stop.message)
        error = self._told.result.get("error")
        if status != 0 or error:
            how = f"was killed by signal {-status}" if status < 0 else f"failed with exit status {status}"
            said = error or f"{engine.name} {how}" + (f": {self._told.last}" if self._told.last else "")
            raise WorkError(said[:_MOST_SUMMARY], self._told.output[-_MOST_DETAILS:])

    def _hear(self, line: str) -> None:
        told = self._told.line(redacted(line))
        if told is None:
            self._reporter.log(line)
            return
        step, far, details = telling.progress(told)
        if step or far is not None or details:
            self._reporter.step(step, None if far is None else CLONED + far * (WORKED - CLONED), details)

    def _variables(self, task: str) -> dict[str, str]:
        command = self.command
        texts = {
            "TASK_ID": command.id, "ATTEMPT": str(command.attempt), "INTENT": command.intent, "REPO": command.repo,
            "BRANCH": command.branch or "", "DESCRIPTION": command.description, "CONTEXT": json.dumps(command.context),
            "TASK": task,
        }  # fmt: skip
        # A variable can have neither NUL nor half of a surrogate pair.
        encoded = {
            name: text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace")
            for name, text in texts.items()
        }
        return {f"DEVFLOW_{name}": text.decode() for name, text in encoded.items() if len(text) <= _MOST_VARIABLE}

    def _summary(self) -> str:
        return (self._told.summary or f"{self._means.engine.name} has ended")[:_MOST_SUMMARY]

    def _subject(self) -> str:
        return one_line(self.command.description, _SUBJECT) or self.command.intent

    def _message(self) -> str:
        subject, whole = self._subject(), plain(self.command.description).strip()
        trailers = f"DevFlow-Task: {self.command.id}\nDevFlow-Attempt: {self.command.attempt}"
        return redacted("\n\n".join([subject, *([whole] if whole != subject else []), trailers]) + "\n")

    def _pull_request(self) -> str:
        about = f"DevFlow task `{self.command.id}`, attempt {self.command.attempt}."
        return redacted(f"{plain(self.command.description).strip()}\n\n{self._summary()}\n\n{about}\n")

    def _clean(self, *, failed: bool) -> None:
        if failed and self._means.keep and self._directory.exists():
            kept = private_directory(self._means.directory / "kept") / self.command.name
            remove_tree(kept)
            with suppress(OSError):
                shutil.move(self._directory, kept)
                self._means.say(f"{self.command.id}: the workspace is kept in {kept}")
        remove_tree(self._directory)


def _failure(stop: Stop, error: Exception) -> Json:
    if stop.reason is Reason.CANCELLED:
        return {"error": "Cancelled"}
    if isinstance(error, WorkError):
        return {"error": str(error)[:_MOST_SUMMARY]} | ({"details": error.details} if error.details else {})
    if isinstance(error, DevFlowError):
        return {"error": str(error)[:_MOST_SUMMARY]}
    return {"error": f"The agent failed: {type(error).__name__}: {error}"[:_MOST_SUMMARY]}
