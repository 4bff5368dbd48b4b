"""Runs one attempt at a task on its own thread, from the first progress report to the result."""

import json
import shutil
from collections.abc import Callable, Collection
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from devflow import git_url
from devflow.api_client import ApiClient, Json
from devflow.cancel_token import CancelReason, CancelToken
from devflow.clock import Clock
from devflow.control_group import remove_group
from devflow.egress_proxy import EgressProxy
from devflow.engine_view import EngineView
from devflow.engines import Engine
from devflow.errors import DevFlowError, JobCancelledError, TaskFailedError
from devflow.git import Git
from devflow.intervals import Intervals
from devflow.log_file import LogFile
from devflow.outbox import Outbox, TaskResult
from devflow.private_files import make_private_directory, remove_tree, write_private
from devflow.program import Program, run_program
from devflow.program_output import MARKER_VARIABLE, PROTOCOL_PREFIX, ProgramOutput, make_marker, parse_progress
from devflow.progress_reporter import ProgressReporter
from devflow.pull_request import PullRequest, open_pull_request, read_github_tokens
from devflow.redaction import redact
from devflow.sandbox import Sandbox
from devflow.task_assignment import TaskAssignment
from devflow.terminal import strip_controls, to_one_line
from devflow.workspace import CLONE, GIT_DIRECTORY, CommittedChange, Workspace

CLONED, WORKED, COMMITTED, PUSHED = 0.1, 0.8, 0.85, 0.95
"""The progress of a task after each phase. The engine's own progress is scaled to lie between the first two."""
_MAX_DETAILS = 16_000
_MAX_SUMMARY = 4_000
_MAX_FILE_NAMES = 48_000
"""Bytes of the names of changed files. The platform keeps 64 KB of `resultFiles`, and rejects a report of 1 MB."""
_MAX_SUBJECT = 72
"""Characters of the first line of a commit message."""
_MAX_VARIABLE = 100_000
"""Bytes. Linux allows 128 KB in one variable. Larger values are in `DEVFLOW_TASK_FILE` and on standard input."""


@dataclass(frozen=True)
class JobContext:
    """What all jobs of an agent share: the engine, the platform's client and the operator's choices."""

    directory: Path
    """The agent's directory: clones are in `work`, logs in `logs`, and workspaces of failed tasks in `kept`."""
    engine: Engine
    client: ApiClient
    outbox: Outbox
    send_result: Callable[[TaskResult], None]
    log: Callable[[str], None]
    """Writes to the agent's log."""
    on_unauthorized: Callable[[], None] = lambda: None
    intervals: Intervals = field(default_factory=Intervals)
    clock: Clock = field(default_factory=Clock)
    allowed_protocols: Collection[str] = git_url.DEFAULT_PROTOCOLS
    allowed_repos: Collection[git_url.RepoPattern] = ()
    """If empty, every repository is allowed that is not at a private address."""
    allow_private_hosts: bool = False
    """Allow repositories at private addresses also without `allowed_repos`."""
    clone_depth: int | None = None
    sandbox: Sandbox = field(default_factory=Sandbox)
    """What the engine may see and use."""
    keep_failed: bool = False
    """Keep the workspaces of failed tasks."""
    open_pull_requests: bool = True


class JobRunner:
    """Runs one attempt."""

    def __init__(self, task: TaskAssignment, context: JobContext) -> None:
        self.task, self._context = task, context
        self.cancel_token = CancelToken()
        log_file = LogFile(make_private_directory(context.directory / "logs") / f"{task.slug}.log")
        self._reporter = ProgressReporter(
            context.client,
            task,
            log_file,
            self.cancel_token,
            context.intervals,
            on_unauthorized=context.on_unauthorized,
            clock=context.clock,
        )
        self._directory = context.directory / "work" / task.slug
        self._output = ProgramOutput(make_marker())
        self._hinted = False

    def run(self) -> None:
        """Run the attempt, hand over its result and clean up. Never raises."""
        self._reporter.start()
        remove_tree(self._directory)  # a killed agent may have left it
        failed = True
        try:
            result, failed = self._run_task()
            if result is not None:
                self._context.outbox.save(result)
                self._reporter.finish()
                self._context.send_result(result)
        except OSError as error:  # for example, the disk is full
            self._context.log(f"{self.task.task_id}: the result cannot be saved: {error}")
            self.cancel_token.cancel(CancelReason.TASK_LOST)
        finally:
            self._clean_up(failed=failed)

    def _run_task(self) -> tuple[TaskResult | None, bool]:
        """Return the result to report, or None, and whether the attempt failed."""
        attempt = f"{self.task.task_id} (attempt {self.task.attempt})"
        try:
            body = self._do_task()
        except Exception as error:  # noqa: BLE001  # any error fails this job only, not the agent
            if self.cancel_token.reason in (CancelReason.TASK_LOST, CancelReason.AGENT_SHUTDOWN):
                self._context.log(f"{attempt}: abandoned. {redact(self.cancel_token.message)}".rstrip())
                return None, True
            outcome = "cancelled" if self.cancel_token else "failed"
            self._context.log(f"{attempt}: {outcome}: {redact(str(error))}")
            return self._build_result("fail", _failure_report(self.cancel_token, error)), True
        self._context.log(f"{attempt}: completed. {to_one_line(str(body['summary']), 200)}")
        return self._build_result("complete", body), False

    def _build_result(self, kind: Literal["complete", "fail"], body: Json) -> TaskResult:
        safe = {key: redact(value) if isinstance(value, str) else value for key, value in body.items()}
        safe |= {"attempt": self.task.attempt, "logBytes": self._reporter.log_bytes}
        return TaskResult(self.task.task_id, self.task.attempt, self.task.slug, kind, safe)

    def _do_task(self) -> Json:
        context, reporter, task = self._context, self._reporter, self.task
        reporter.report_and_confirm("Starting", 0.0)
        origin = git_url.parse_git_url(task.repo, context.allowed_protocols, context.allowed_repos)
        if not context.allowed_repos and not context.allow_private_hosts:
            git_url.check_address(origin)
        git = Git(
            self._directory / GIT_DIRECTORY, self._directory / CLONE, origin, context.allowed_protocols,
            self.cancel_token, read_github_tokens(),
        )  # fmt: skip
        workspace = Workspace(self._directory, git, task)
        reporter.report("Cloning the repository", CLONED / 2)
        workspace.clone(context.clone_depth)
        reporter.report(f"Running the engine: {context.engine.name}", CLONED)
        self._run_engine(workspace)
        body: Json = {"success": True, "summary": self._summary(), "output": self._output.output}
        if not task.allows_changes:
            return body
        reporter.report("Committing the changes", WORKED)
        change = workspace.commit_changes(self._commit_message())
        if change is None:
            if task.requires_changes:
                raise TaskFailedError(
                    f"The engine {context.engine.name} changed nothing", self._output.output[-_MAX_DETAILS:]
                )
            return body
        return body | self._push(workspace, origin, change)

    def _push(self, workspace: Workspace, origin: git_url.GitUrl, change: CommittedChange) -> Json:
        # Wait for the response right before the push: a task that belongs to another agent by now is not pushed.
        self._reporter.report_and_confirm("Pushing the branch", COMMITTED)
        workspace.push(change)
        result: Json = {"resultFiles": {"commit": change.commit, "branch": workspace.branch, **_list_files(change)}}
        note = f"Pushed {change.commit[:12]} to the branch {workspace.branch}."
        if url := self._reported_pull_request(origin):
            result["prUrl"] = url
        elif self._context.open_pull_requests:
            self._reporter.report("Opening a pull request", PUSHED)
            try:
                request = PullRequest(
                    workspace.branch, workspace.base_branch, self._subject(), self._pull_request_body()
                )
                result["prUrl"] = open_pull_request(origin, request, workspace.git_directory)
            except TaskFailedError as error:
                note += f" No pull request was opened: {error}."
        self._reporter.log(note)
        return result | {"output": f"{self._output.output}\n\n{note}".strip()}

    def _reported_pull_request(self, origin: git_url.GitUrl) -> str | None:
        """Return the pull request that the engine has reported. An address on another host is ignored."""
        url = self._output.result.get("prUrl")
        if url and not git_url.is_on_host(url, origin):
            self._reporter.log(
                f"The engine reported a pull request that is not on {origin.host or 'the host'}: ignored"
            )
            return None
        return url

    def _run_engine(self, workspace: Workspace) -> None:
        engine = self._context.engine
        task = json.dumps(self.task.raw)
        path = self._directory / "task.json"
        write_private(path, task)
        sandbox, private = self._context.sandbox, make_private_directory(self._directory / "private")
        with ExitStack() as cleanup:
            proxy = None
            if sandbox.network == "proxy":
                proxy = cleanup.enter_context(EgressProxy(sandbox.allowed_hosts, self._on_denied_host)).path
            view = EngineView(workspace.repo, (workspace.objects, path), private, proxy)
            env = sandbox.environment(view) | engine.env | self._task_variables(task)
            env |= {"DEVFLOW_TASK_FILE": str(path), MARKER_VARIABLE: self._output.marker}
            supervision = sandbox.supervision(view)
            if group := sandbox.make_group(self.task.slug):
                cleanup.callback(remove_group, group)
                supervision |= {"group": str(group)}
            program = Program(
                sandbox.wrap(engine.argv, view, engine.programs), workspace.repo, env, task.encode(),
                self._context.intervals.grace, supervision, whole_lines=self._output.marker,
            )  # fmt: skip
            status = run_program(program, self.cancel_token, self._on_output_line, self._context.clock)
        if self.cancel_token:
            raise JobCancelledError(self.cancel_token.message)
        error = self._output.result.get("error")
        if status != 0 or error:
            how = f"was killed by signal {-status}" if status < 0 else f"failed with exit status {status}"
            last_line = f": {self._output.last_line}" if self._output.last_line else ""
            message = error or f"The engine {engine.name} {how}{last_line}"
            raise TaskFailedError(message[:_MAX_SUMMARY], self._output.output[-_MAX_DETAILS:])

    def _on_denied_host(self, target: str) -> None:
        self._reporter.log(f"[agent] The engine may not reach {to_one_line(target, 200)} (--allow-host)")

    def _on_output_line(self, line: str) -> None:
        event = self._output.add_line(redact(line))
        if event is None:
            self._reporter.log(line)
            if line.startswith(f"{PROTOCOL_PREFIX} {{") and not self._hinted:
                self._hinted = True
                self._reporter.log(f"[agent] The line above is not a report: it does not begin with ${MARKER_VARIABLE}")
            return
        step, progress, details = parse_progress(event)
        if step or progress is not None or details:
            scaled = None if progress is None else CLONED + progress * (WORKED - CLONED)
            self._reporter.report(step, scaled, details)

    def _task_variables(self, task_json: str) -> dict[str, str]:
        task = self.task
        texts = {
            "TASK_ID": task.task_id, "ATTEMPT": str(task.attempt), "INTENT": task.intent, "REPO": task.repo,
            "BRANCH": task.branch or "", "DESCRIPTION": task.description, "CONTEXT": json.dumps(task.context),
            "TASK": task_json,
        }  # fmt: skip
        # A variable can contain neither NUL nor a lone surrogate.
        encoded = {
            name: text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace")
            for name, text in texts.items()
        }
        return {f"DEVFLOW_{name}": text.decode() for name, text in encoded.items() if len(text) <= _MAX_VARIABLE}

    def _summary(self) -> str:
        return (self._output.summary or f"The engine {self._context.engine.name} has ended")[:_MAX_SUMMARY]

    def _subject(self) -> str:
        return to_one_line(self.task.description, _MAX_SUBJECT) or self.task.intent

    def _commit_message(self) -> str:
        subject, description = self._subject(), strip_controls(self.task.description).strip()
        trailers = f"DevFlow-Task: {self.task.task_id}\nDevFlow-Attempt: {self.task.attempt}"
        body = [description] if description != subject else []
        return redact("\n\n".join([subject, *body, trailers]) + "\n")

    def _pull_request_body(self) -> str:
        origin = f"DevFlow task `{self.task.task_id}`, attempt {self.task.attempt}."
        return redact(f"{strip_controls(self.task.description).strip()}\n\n{self._summary()}\n\n{origin}\n")

    def _clean_up(self, *, failed: bool) -> None:
        if failed and self._context.keep_failed and self._directory.exists():
            kept = make_private_directory(self._context.directory / "kept") / self.task.slug
            remove_tree(kept)
            with suppress(OSError):
                shutil.move(self._directory, kept)
                self._context.log(f"{self.task.task_id}: the workspace is kept in {kept}")
        remove_tree(self._directory)


def _list_files(change: CommittedChange) -> Json:
    """Return the names of the changed files, with `truncated` if they are too many for a report."""
    names, room = list[str](), _MAX_FILE_NAMES
    for name in map(redact, change.files):
        room -= len(json.dumps(name))
        if room < 0:
            return {"files": names, "truncated": True}
        names.append(name)
    return {"files": names}


def _failure_report(cancel_token: CancelToken, error: Exception) -> Json:
    if cancel_token.reason is CancelReason.USER_REQUEST:
        return {"error": "Cancelled"}
    if isinstance(error, TaskFailedError):
        return {"error": str(error)[:_MAX_SUMMARY]} | ({"details": error.details} if error.details else {})
    if isinstance(error, DevFlowError):
        return {"error": str(error)[:_MAX_SUMMARY]}
    return {"error": f"The agent failed: {type(error).__name__}: {error}"[:_MAX_SUMMARY]}
