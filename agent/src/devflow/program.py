"""A program of a task: in a process group of its own, fed, listened to, and ended as a whole.

The program runs under devflow.supervisor, so that it ends with the agent even where that is killed.
"""

import codecs
import os
import re
import selectors
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from devflow import supervisor
from devflow.clock import Clock
from devflow.errors import TaskFailedError
from devflow.cancel_token import CancelReason, CancelToken

GRACE_SECONDS = 10.0
"""Between TERM and KILL."""
MAX_LINE = 16_384
"""Characters. What is longer comes in pieces."""
_DRAIN_SECONDS = 2.0
"""For the rest of the output after the end, where a process has left the group and holds it open."""
_CHUNK = 65_536
_LINE_END = re.compile(r"\r\n|\n|\r")


@dataclass
class Program:
    """What to run."""

    argv: Sequence[str]
    cwd: Path
    env: Mapping[str, str]
    stdin: bytes = b""
    grace: float = GRACE_SECONDS


def run_program(program: Program, cancel_token: CancelToken, on_output_line: Callable[[str], None], clock: Clock | None = None) -> int:
    """Run it to its end and return its exit status; minus the signal where it died of one.

    `said` gets what it prints (both streams, in their order) line by line. When `stop` is asked for, its whole group
    gets TERM, and KILL after the grace; at once where the agent itself is halted. Raises WorkError where it cannot be
    started.
    """
    with ExitStack() as ending:
        return _RunningProgram(program, cancel_token, on_output_line, clock or Clock(), ending).run_to_end()


class _RunningProgram:
    def __init__(
        self, program: Program, stop: CancelToken, said: Callable[[str], None], clock: Clock, ending: ExitStack
    ) -> None:
        self._cancel_token, self._clock, self._grace = stop, clock, program.grace
        self._lines = LineSplitter(said)
        self._unwritten = memoryview(program.stdin)
        self._status_bytes = b""
        self._kill_at: float | None = None
        self._drained_at: float | None = None
        self._exited = False

        self._supervisor, theirs = socket.socketpair()
        ending.callback(self._supervisor.close)
        self._wake_reader, self._wake_writer = socket.socketpair()
        for end in (self._wake_reader, self._wake_writer):
            end.settimeout(0)
            ending.callback(end.close)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", supervisor.__file__, str(theirs.fileno()), str(program.grace), *program.argv],
                cwd=program.cwd, env=dict(program.env), pass_fds=[theirs.fileno()], start_new_session=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, bufsize=0,
            )  # fmt: skip
        ending.callback(self._reap)
        stop.add_listener(self._wake)
        ending.callback(stop.remove_listener, self._wake)

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
        open_still = any(key.data == self._read_stdout for key in selector.get_map().values())
        return not open_still or (self._drained_at is not None and self._clock.now() >= self._drained_at)

    def _select_timeout(self) -> float | None:
        due = [at for at in (self._kill_at, self._drained_at) if at is not None]
        return max(0.0, min(due) - self._clock.now()) if due else None

    def _kill_when_due(self) -> None:
        if self._kill_at is not None and self._clock.now() >= self._kill_at:
            self._kill_at = None
            self._signal(signal.SIGKILL)

    # What each end of the selector does; whether it is to be listened to any longer.

    def _write_stdin(self) -> bool:
        try:
            written = os.write(self._process.stdin.fileno(), self._unwritten[:_CHUNK]) if self._process.stdin else 0
        except BlockingIOError:
            return True
        except OSError:  # it does not read any (more of) its input
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
                self._status_bytes += content
                return True
        self._exited = True
        self._drained_at = self._clock.now() + _DRAIN_SECONDS
        return False

    def _on_cancel(self) -> bool:
        with suppress(BlockingIOError):
            self._wake_reader.recv(16)
        if self._cancel_token.reason is CancelReason.AGENT_SHUTDOWN:
            self._signal(signal.SIGKILL)
        elif self._kill_at is None:
            self._kill_at = self._clock.now() + self._grace
            self._signal(signal.SIGTERM)
        return True

    def _wake(self) -> None:
        with suppress(BlockingIOError):
            self._wake_writer.send(b"!")

    def _signal(self, number: signal.Signals) -> None:
        if self._process.returncode is None:  # not reaped yet, so the group's number is nobody else's
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)

    def _reap(self) -> None:
        self._signal(signal.SIGKILL)
        self._process.wait()

    def _status(self) -> int:
        told = self._status_bytes.decode(errors="replace")
        if not told:
            return -signal.SIGKILL
        try:
            return int(told)
        except ValueError:
            raise TaskFailedError(f"The program cannot be started: {told}") from None


class LineSplitter:
    """Makes lines of bytes as they come: UTF-8, whatever ends a line, none longer than `LONGEST_LINE`."""

    def __init__(self, said: Callable[[str], None]) -> None:
        self._on_line = said
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._partial = ""

    def add(self, content: bytes) -> None:
        self._partial += self._decoder.decode(content)
        held = ""
        if self._partial.endswith("\r"):  # perhaps half of a line's end
            self._partial, held = self._partial[:-1], "\r"
        *lines, self._partial = _LINE_END.split(self._partial)
        self._partial += held
        for line in lines:
            self._emit(line)
        while len(self._partial) > MAX_LINE:
            piece, self._partial = _split_long_line(self._partial)
            self._on_line(piece)

    def end(self) -> None:
        self._partial += self._decoder.decode(b"", final=True)
        if self._partial.strip("\r"):
            self._emit(self._partial.strip("\r"))
        self._partial = ""

    def _emit(self, line: str) -> None:
        while len(line) > MAX_LINE:
            piece, line = _split_long_line(line)
            self._on_line(piece)
        self._on_line(line)


def _split_long_line(line: str) -> tuple[str, str]:
    """Its first piece and the rest: between two words, so that no secret is cut in two and its halves missed."""
    at = line.rfind(" ", 1, MAX_LINE)
    at = MAX_LINE if at < 0 else at
    return line[:at], line[at:]
