"""One attempt at a task, from the report that starts it to its result. Runs on a thread of its own."""

import json
import shutil
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from devflow import git_url, environment, pull_request, program_output
from devflow.api_client import ApiClient, Json
from devflow.clock import Clock
from devflow.task_assignment import TaskAssignment
from devflow.engines import Engine
from devflow.errors import DevFlowError, JobCancelledError, TaskFailedError
from devflow.private_files import make_private_directory, remove_tree, write_private
from devflow.git import Git
from devflow.outbox import Outbox, TaskResult
from devflow.intervals import Intervals
from devflow.program import Program, run_program
from devflow.pull_request import PullRequest
from devflow.redaction import redact
from devflow.progress_reporter import ProgressReporter
from devflow.log_file import LogFile
from devflow.cancel_token import CancelReason, CancelToken
from devflow.program_output import ProgramOutput
from devflow.terminal import to_one_line, strip_controls
from devflow.workspace import CommittedChange, Workspace

CLONED, WORKED, COMMITTED, PUSHED = 0.1, 0.8, 0.85, 0.95
"""How far a task is after each of its parts; what an engine says of its own progress lies between the first two."""
_MAX_DETAILS = 16_000
_MAX_SUMMARY = 4_000
_MAX_SUBJECT = 72
"""Characters of a commit's first line."""
_MAX_VARIABLE = 100_000
"""Bytes: Linux takes 128 KB in one variable. What is larger is in `DEVFLOW_TASK_FILE` and on standard input."""


@dataclass(frozen=True)
class JobContext:
    """What jobs work with."""

    directory: Path
    """Of the agent: clones are made in `work`, logs wait in `logs`, failed workspaces are kept in `kept`."""
    engine: Engine
    client: ApiClient
    outbox: Outbox
    send_result: Callable[[TaskResult], None]
    log: Callable[[str], None]
    """Tells whoever reads the agent's log."""
    on_unauthorized: Callable[[], None] = lambda: None
    intervals: Intervals = field(default_factory=Intervals)
    clock: Clock = field(default_factory=Clock)
    allowed_protocols: Collection[str] = git_url.DEFAULT_PROTOCOLS
    allowed_repos: Collection[str] = ()
    clone_depth: int | None = None
    keep_failed: bool = False
    open_pull_requests: bool = True


class JobRunner:
    """Does one attempt."""

    def __init__(self, command: TaskAssignment, means: JobContext) -> None:
        self.task, self._context = command, means
        self.cancel_token = CancelToken()
        """Asked by whoever wants it to end early."""
        spool = LogFile(make_private_directory(means.directory / "logs") / f"{command.slug}.log")
        self._reporter = ProgressReporter(
            means.client, command, spool, self.cancel_token, means.intervals, on_unauthorized=means.on_unauthorized, clock=means.clock
        )
        self._directory = means.directory / "work" / command.slug
        self._output = ProgramOutput()

    def run(self) -> None:
        """Do it, and hand the result over; returns when all is cleaned up. Never raises."""
        self._reporter.start()
        remove_tree(self._directory)  # of an agent that was killed
        failed = True
        try:
            result, failed = self._run_task()
            if result is not None:
                self._context.outbox.save(result)
                self._reporter.finish()
                self._context.send_result(result)
        except OSError as error:  # a full disk, say: there is no place for the result
            self._context.log(f"{self.task.task_id}: the result cannot be kept: {error}")
            self.cancel_token.cancel(CancelReason.TASK_LOST)
        finally:
            self._clean_up(failed=failed)

    def _run_task(self) -> tuple[TaskResult | None, bool]:
        """What to report, if anything, and whether it is a failure."""
        name = f"{self.task.task_id} (attempt {self.task.attempt})"
        try:
            done = self._do_task()
        except Exception as error:  # noqa: BLE001  # whatever happens in a job is that job's failure, not the agent's
            if self.cancel_token.reason in (CancelReason.TASK_LOST, CancelReason.AGENT_SHUTDOWN):
                self._context.log(f"{name}: given up. {redact(self.cancel_token.message)}".rstrip())
                return None, True
            self._context.log(f"{name}: {'cancelled' if self.cancel_token else 'failed'}: {redact(str(error))}")
            return self._build_result("fail", _failure_report(self.cancel_token, error)), True
        self._context.log(f"{name}: done. {to_one_line(str(done['summary']), 200)}")
        return self._build_result("complete", done), False

    def _build_result(self, kind: Literal["complete", "fail"], body: Json) -> TaskResult:
        safe = {key: redact(value) if isinstance(value, str) else value for key, value in body.items()}
        attempt = self.task.attempt
        return TaskResult(self.task.task_id, attempt, self.task.slug, kind, safe | {"attempt": attempt})

    def _do_task(self) -> Json:
        means, reporter, command = self._context, self._reporter, self.task
        reporter.report_and_confirm("Starting", 0.0)
        origin = git_url.parse_git_url(command.repo, means.allowed_protocols, means.allowed_repos)
        git = Git(self._directory / "repo", origin, means.allowed_protocols, self.cancel_token, pull_request.read_github_tokens())
        space = Workspace(self._directory, git, command)
        reporter.report("Cloning the repository", CLONED / 2)
        space.clone(means.clone_depth)
        reporter.report(f"Working: {means.engine.name}", CLONED)
        self._run_engine(space)
        body: Json = {"success": True, "summary": self._summary(), "output": self._output.output}
        if not command.allows_changes:
            return body
        reporter.report("Looking at what has changed", WORKED)
        change = space.commit_changes(self._commit_message())
        if change is None:
            if command.requires_changes:
                raise TaskFailedError(f"{means.engine.name} changed nothing", self._output.output[-_MAX_DETAILS:])
            return body
        return body | self._push(space, origin, change)

    def _push(self, space: Workspace, origin: git_url.GitUrl, change: CommittedChange) -> Json:
        # Asked right before, and answered: what was given to somebody else meanwhile is not pushed.
        self._reporter.report_and_confirm("Pushing the branch", COMMITTED)
        space.push(change)
        found: Json = {"resultFiles": {"commit": change.commit, "branch": space.branch, "files": change.files}}
        note = f"Pushed {change.commit[:12]} to the branch {space.branch}."
        if told := self._output.result.get("prUrl"):
            found["prUrl"] = told
        elif self._context.open_pull_requests:
            self._reporter.report("Opening a pull request", PUSHED)
            try:
                asked = PullRequest(space.branch, space.base_branch, self._subject(), self._pull_request_body())
                found["prUrl"] = pull_request.open_pull_request(origin, asked, space.repo)
            except TaskFailedError as error:
                note += f" There is no pull request: {error}."
        self._reporter.log(note)
        return found | {"output": f"{self._output.output}\n\n{note}".strip()}

    def _run_engine(self, space: Workspace) -> None:
        engine = self._context.engine
        task = json.dumps(self.task.raw)
        path = self._directory / "task.json"
        write_private(path, task)
        env = environment.build_child_environment() | engine.env | self._task_variables(task) | {"DEVFLOW_TASK_FILE": str(path)}
        program = Program(engine.argv, space.repo, env, task.encode(), self._context.intervals.grace)
        status = run_program(program, self.cancel_token, self._on_output_line, self._context.clock)
        if self.cancel_token:
            raise JobCancelledError(self.cancel_token.message)
        error = self._output.result.get("error")
        if status != 0 or error:
            how = f"was killed by signal {-status}" if status < 0 else f"failed with exit status {status}"
            said = error or f"{engine.name} {how}" + (f": {self._output.last_line}" if self._output.last_line else "")
            raise TaskFailedError(said[:_MAX_SUMMARY], self._output.output[-_MAX_DETAILS:])

    def _on_output_line(self, line: str) -> None:
        told = self._output.add_line(redact(line))
        if told is None:
            self._reporter.log(line)
            return
        step, far, details = program_output.parse_progress(told)
        if step or far is not None or details:
            self._reporter.report(step, None if far is None else CLONED + far * (WORKED - CLONED), details)

    def _task_variables(self, task: str) -> dict[str, str]:
        command = self.task
        texts = {
            "TASK_ID": command.task_id, "ATTEMPT": str(command.attempt), "INTENT": command.intent, "REPO": command.repo,
            "BRANCH": command.branch or "", "DESCRIPTION": command.description, "CONTEXT": json.dumps(command.context),
            "TASK": task,
        }  # fmt: skip
        # A variable can have neither NUL nor half of a surrogate pair.
        encoded = {
            name: text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace")
            for name, text in texts.items()
        }
        return {f"DEVFLOW_{name}": text.decode() for name, text in encoded.items() if len(text) <= _MAX_VARIABLE}

    def _summary(self) -> str:
        return (self._output.summary or f"{self._context.engine.name} has ended")[:_MAX_SUMMARY]

    def _subject(self) -> str:
        return to_one_line(self.task.description, _MAX_SUBJECT) or self.task.intent

    def _commit_message(self) -> str:
        subject, whole = self._subject(), strip_controls(self.task.description).strip()
        trailers = f"DevFlow-Task: {self.task.task_id}\nDevFlow-Attempt: {self.task.attempt}"
        return redact("\n\n".join([subject, *([whole] if whole != subject else []), trailers]) + "\n")

    def _pull_request_body(self) -> str:
        about = f"DevFlow task `{self.task.task_id}`, attempt {self.task.attempt}."
        return redact(f"{strip_controls(self.task.description).strip()}\n\n{self._summary()}\n\n{about}\n")

    def _clean_up(self, *, failed: bool) -> None:
        if failed and self._context.keep_failed and self._directory.exists():
            kept = make_private_directory(self._context.directory / "kept") / self.task.slug
            remove_tree(kept)
            with suppress(OSError):
                shutil.move(self._directory, kept)
                self._context.log(f"{self.task.task_id}: the workspace is kept in {kept}")
        remove_tree(self._directory)


def _failure_report(stop: CancelToken, error: Exception) -> Json:
    if stop.reason is CancelReason.USER_REQUEST:
        return {"error": "Cancelled"}
    if isinstance(error, TaskFailedError):
        return {"error": str(error)[:_MAX_SUMMARY]} | ({"details": error.details} if error.details else {})
    if isinstance(error, DevFlowError):
        return {"error": str(error)[:_MAX_SUMMARY]}
    return {"error": f"The agent failed: {type(error).__name__}: {error}"[:_MAX_SUMMARY]}
