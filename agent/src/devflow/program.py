"""Runs a program of a task, writes its input, reads its output, and ends it with all of its descendants.

The program runs under devflow.supervisor. When `run_program` returns, no process that the program has started is alive.
The supervisor also ends them if the agent is killed.
"""

import codecs
import json
import os
import re
import selectors
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from devflow import supervisor
from devflow.cancel_token import CancelReason, CancelToken
from devflow.clock import Clock
from devflow.errors import TaskFailedError
from devflow.orphans import end_orphans, forget_supervisor, start_supervisor
from devflow.process_table import list_processes
from devflow.redaction import longest_secret, redact

GRACE_SECONDS = 10.0
"""Between SIGTERM and SIGKILL."""
MAX_LINE = 16_384
"""Characters. A longer line is split."""
MAX_WHOLE_LINE = 1_000_000
"""Characters of a line that begins with `Program.whole_lines`."""
_DRAIN_SECONDS = 2.0
"""How long to read the output after the program has ended. A process that cannot be ended may keep it open."""
_CHUNK = 65_536
_TERMINATE, _KILL = b"T", b"K"
"""What the supervisor understands."""
_END_SECONDS = 20.0
"""How long the supervisor may take to end everything."""
_LINE_END = re.compile(r"\r\n|\n|\r")


@dataclass
class Program:
    """What to run."""

    argv: Sequence[str]
    cwd: Path
    env: Mapping[str, str]
    stdin: bytes = b""
    grace: float = GRACE_SECONDS
    supervision: Mapping[str, Any] = field(default_factory=dict)
    """More options of devflow.supervisor: limits, and the processes of a sandbox."""
    whole_lines: str = ""
    """Lines that begin with this text are not split, unless they are extremely long. By default, there are none."""


def run_program(
    program: Program, cancel_token: CancelToken, on_output_line: Callable[[str], None], clock: Clock | None = None
) -> int:
    """Run the program and return its exit status, or minus the signal that killed it.

    `on_output_line` gets the lines of both output streams, in order. When `cancel_token` is cancelled, the program and
    its descendants get SIGTERM, and SIGKILL after the grace period. If the agent shuts down, they get SIGKILL at once.
    Raises TaskFailedError if the program cannot be started, exceeds a limit, or leaves a process that cannot be ended.
    """
    with ExitStack() as cleanup:
        return _RunningProgram(program, cancel_token, on_output_line, clock or Clock(), cleanup).run_to_end()


class _RunningProgram:
    def __init__(
        self,
        program: Program,
        cancel_token: CancelToken,
        on_output_line: Callable[[str], None],
        clock: Clock,
        cleanup: ExitStack,
    ) -> None:
        self._cancel_token, self._clock, self._grace = cancel_token, clock, program.grace
        self._lines = LineSplitter(on_output_line, program.whole_lines)
        self._unwritten = memoryview(program.stdin)
        self._outcome = b""
        self._kill_at: float | None = None
        self._force_at: float | None = None
        self._drained_at: float | None = None
        self._exited = False

        self._supervisor, supervisor_end = socket.socketpair()
        cleanup.callback(self._supervisor.close)
        self._wake_reader, self._wake_writer = socket.socketpair()
        for end in (self._wake_reader, self._wake_writer):
            end.settimeout(0)
            cleanup.callback(end.close)
        command = [
            sys.executable, "-I", "-S", supervisor.__file__, str(supervisor_end.fileno()),
            json.dumps({"grace": program.grace, **program.supervision}), *program.argv,
        ]  # fmt: skip
        with supervisor_end:
            self._process = start_supervisor(
                lambda: subprocess.Popen(
                    command, cwd=program.cwd, env=dict(program.env), pass_fds=[supervisor_end.fileno()],
                    start_new_session=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                    bufsize=0,
                )
            )  # fmt: skip
        cleanup.callback(self._reap)
        cancel_token.add_listener(self._wake)
        cleanup.callback(cancel_token.remove_listener, self._wake)

    def run_to_end(self) -> int:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        with selectors.DefaultSelector() as selector, stdin, stdout:
            os.set_blocking(stdin.fileno(), False)
            selector.register(stdin, selectors.EVENT_WRITE, self._write_stdin)
            selector.register(stdout, selectors.EVENT_READ, self._read_stdout)
            selector.register(self._supervisor, selectors.EVENT_READ, self._read_status)
            selector.register(self._wake_reader, selectors.EVENT_READ, self._on_cancel)
            while not self._is_done(selector):
                for key, _ in selector.select(self._select_timeout()):
                    if not key.data():
                        selector.unregister(key.fileobj)
                        if key.fileobj is stdin:
                            with suppress(BrokenPipeError):
                                stdin.close()
                self._kill_when_due()
        self._lines.end()
        return self._status()

    def _is_done(self, selector: selectors.BaseSelector) -> bool:
        if not self._exited:
            return False
        stdout_open = any(key.data == self._read_stdout for key in selector.get_map().values())
        return not stdout_open or (self._drained_at is not None and self._clock.now() >= self._drained_at)

    def _select_timeout(self) -> float | None:
        due = [at for at in (self._kill_at, self._force_at, self._drained_at) if at is not None]
        return max(0.0, min(due) - self._clock.now()) if due else None

    def _kill_when_due(self) -> None:
        if self._kill_at is not None and self._clock.now() >= self._kill_at:
            self._kill_at = None
            self._end()
        if self._force_at is not None and self._clock.now() >= self._force_at:
            self._force_at = None
            self._kill_supervisor()

    # The next four methods handle events of the selector. Each returns whether to keep waiting for such events.

    def _write_stdin(self) -> bool:
        try:
            written = os.write(self._process.stdin.fileno(), self._unwritten[:_CHUNK]) if self._process.stdin else 0
        except BlockingIOError:
            return True
        except OSError:  # the program has closed its input
            return False
        self._unwritten = self._unwritten[written:]
        return bool(self._unwritten)

    def _read_stdout(self) -> bool:
        content = os.read(self._process.stdout.fileno(), _CHUNK) if self._process.stdout else b""
        self._lines.add(content)
        return bool(content)

    def _read_status(self) -> bool:
        with suppress(ConnectionResetError):
            if content := self._supervisor.recv(4096):
                self._outcome += content
                return True
        self._exited = True
        self._drained_at = self._clock.now() + _DRAIN_SECONDS
        return False

    def _on_cancel(self) -> bool:
        with suppress(BlockingIOError):
            self._wake_reader.recv(16)
        if self._cancel_token.reason is CancelReason.AGENT_SHUTDOWN:
            self._end()
        elif self._kill_at is None:
            self._kill_at = self._clock.now() + self._grace
            self._request(_TERMINATE)
        return True

    def _wake(self) -> None:
        with suppress(BlockingIOError):
            self._wake_writer.send(b"!")

    def _end(self) -> None:
        """Let the supervisor kill everything. Without a sandbox, a program may have stopped the supervisor."""
        self._request(_KILL)
        self._force_at = self._clock.now() + _END_SECONDS

    def _kill_supervisor(self) -> None:
        """Kill the supervisor, and the processes of its session, because it does not do it itself."""
        session = [process.pid for process in list_processes() if process.session == self._process.pid]
        for pid in [*session, self._process.pid]:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)

    def _request(self, request: bytes) -> None:
        with suppress(OSError):  # the supervisor has ended
            self._supervisor.send(request)

    def _reap(self) -> None:
        """Wait for the end of the supervisor, which ends everything else first."""
        self._request(_KILL)
        try:
            self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._kill_supervisor()
            self._process.wait()
        forget_supervisor(self._process.pid)
        if not self._outcome:  # the supervisor was killed, and could not end everything
            end_orphans(_END_SECONDS)

    def _status(self) -> int:
        if not self._outcome:  # the supervisor was killed
            return -signal.SIGKILL
        outcome = json.loads(self._outcome)
        if error := outcome.get("error"):
            raise TaskFailedError(f"The program cannot be run: {error}")
        if limit := outcome.get("limit"):
            raise TaskFailedError(f"The program was stopped. {limit}")
        return int(outcome["status"])


class LineSplitter:
    """Splits a stream of UTF-8 into lines of at most `MAX_LINE` characters. Lines end with LF, CR or both.

    Secrets in a longer line are redacted before it is split, so that no piece contains a part of one. Lines that begin
    with `whole_lines` may have `MAX_WHOLE_LINE` characters.
    """

    def __init__(self, on_line: Callable[[str], None], whole_lines: str = "") -> None:
        self._on_line, self._whole_lines = on_line, whole_lines
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._partial = ""

    def add(self, content: bytes) -> None:
        self._partial += self._decoder.decode(content)
        held_back = ""
        if self._partial.endswith("\r"):  # this may be the first half of CR LF
            self._partial, held_back = self._partial[:-1], "\r"
        *lines, self._partial = _LINE_END.split(self._partial)
        self._partial += held_back
        for line in lines:
            self._emit(line)
        unfinished = longest_secret()  # the rest of a secret may come with the next content
        if len(self._partial) > self._longest(self._partial) + unfinished:
            self._partial = self._emit_pieces(redact(self._partial), keep=unfinished)

    def end(self) -> None:
        self._partial += self._decoder.decode(b"", final=True)
        if self._partial.strip("\r"):
            self._emit(self._partial.strip("\r"))
        self._partial = ""

    def _emit(self, line: str) -> None:
        self._on_line(self._emit_pieces(redact(line)) if len(line) > self._longest(line) else line)

    def _longest(self, line: str) -> int:
        return MAX_WHOLE_LINE if self._whole_lines and line.startswith(self._whole_lines) else MAX_LINE

    def _emit_pieces(self, line: str, keep: int = 0) -> str:
        """Emit what exceeds `MAX_LINE`, but not the last `keep` characters. Returns the rest of the line."""
        start = 0
        while len(line) - start > MAX_LINE + keep:
            at = line.rfind(" ", start + 1, start + MAX_LINE)
            end = start + MAX_LINE if at < 0 else at
            self._on_line(line[start:end])
            start = end
        return line[start:]
