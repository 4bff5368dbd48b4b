"""A program of a task: in a process group of its own, fed, listened to, and ended as a whole.

The program runs under devflow.guard, so that it ends with the agent even where that is killed.
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

from devflow import guard
from devflow.clock import Clock
from devflow.errors import WorkError
from devflow.stop import Reason, Stop

GRACE_SECONDS = 10.0
"""Between TERM and KILL."""
LONGEST_LINE = 16_384
"""Characters. What is longer comes in pieces."""
_DRAIN_SECONDS = 2.0
"""For the rest of the output after the end, where a process has left the group and holds it open."""
_CHUNK = 65_536
_ENDS = re.compile(r"\r\n|\n|\r")


@dataclass
class Program:
    """What to run."""

    argv: Sequence[str]
    cwd: Path
    env: Mapping[str, str]
    stdin: bytes = b""
    grace: float = GRACE_SECONDS


def run(program: Program, stop: Stop, said: Callable[[str], None], clock: Clock | None = None) -> int:
    """Run it to its end and return its exit status; minus the signal where it died of one.

    `said` gets what it prints (both streams, in their order) line by line. When `stop` is asked for, its whole group
    gets TERM, and KILL after the grace; at once where the agent itself is halted. Raises WorkError where it cannot be
    started.
    """
    with ExitStack() as ending:
        return _Run(program, stop, said, clock or Clock(), ending).to_its_end()


class _Run:
    def __init__(
        self, program: Program, stop: Stop, said: Callable[[str], None], clock: Clock, ending: ExitStack
    ) -> None:
        self._stop, self._clock, self._grace = stop, clock, program.grace
        self._lines = Lines(said)
        self._rest = memoryview(program.stdin)
        self._told = b""
        self._kill_at: float | None = None
        self._drained_at: float | None = None
        self._ended = False

        self._guard, theirs = socket.socketpair()
        ending.callback(self._guard.close)
        self._bell, self._button = socket.socketpair()
        for end in (self._bell, self._button):
            end.settimeout(0)
            ending.callback(end.close)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", guard.__file__, str(theirs.fileno()), str(program.grace), *program.argv],
                cwd=program.cwd, env=dict(program.env), pass_fds=[theirs.fileno()], start_new_session=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, bufsize=0,
            )  # fmt: skip
        ending.callback(self._reap)
        stop.listen(self._ring)
        ending.callback(stop.forget, self._ring)

    def to_its_end(self) -> int:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        with selectors.DefaultSelector() as selector, stdin, stdout:
            os.set_blocking(stdin.fileno(), False)
            selector.register(stdin, selectors.EVENT_WRITE, self._feed)
            selector.register(stdout, selectors.EVENT_READ, self._listen)
            selector.register(self._guard, selectors.EVENT_READ, self._hear)
            selector.register(self._bell, selectors.EVENT_READ, self._stopping)
            while not self._done(selector):
                for key, _ in selector.select(self._patience()):
                    if not key.data():
                        selector.unregister(key.fileobj)
                        if key.fileobj is stdin:
                            with suppress(BrokenPipeError):
                                stdin.close()
                self._enforce()
        self._lines.end()
        return self._status()

    def _done(self, selector: selectors.BaseSelector) -> bool:
        if not self._ended:
            return False
        open_still = any(key.data == self._listen for key in selector.get_map().values())
        return not open_still or (self._drained_at is not None and self._clock.now() >= self._drained_at)

    def _patience(self) -> float | None:
        due = [at for at in (self._kill_at, self._drained_at) if at is not None]
        return max(0.0, min(due) - self._clock.now()) if due else None

    def _enforce(self) -> None:
        if self._kill_at is not None and self._clock.now() >= self._kill_at:
            self._kill_at = None
            self._signal(signal.SIGKILL)

    # What each end of the selector does; whether it is to be listened to any longer.

    def _feed(self) -> bool:
        try:
            written = os.write(self._process.stdin.fileno(), self._rest[:_CHUNK]) if self._process.stdin else 0
        except BlockingIOError:
            return True
        except OSError:  # it does not read any (more of) its input
            return False
        self._rest = self._rest[written:]
        return bool(self._rest)

    def _listen(self) -> bool:
        content = os.read(self._process.stdout.fileno(), _CHUNK) if self._process.stdout else b""
        self._lines.add(content)
        return bool(content)

    def _hear(self) -> bool:
        with suppress(ConnectionResetError):
            if content := self._guard.recv(4096):
                self._told += content
                return True
        self._ended = True
        self._drained_at = self._clock.now() + _DRAIN_SECONDS
        return False

    def _stopping(self) -> bool:
        with suppress(BlockingIOError):
            self._bell.recv(16)
        if self._stop.reason is Reason.HALTED:
            self._signal(signal.SIGKILL)
        elif self._kill_at is None:
            self._kill_at = self._clock.now() + self._grace
            self._signal(signal.SIGTERM)
        return True

    def _ring(self) -> None:
        with suppress(BlockingIOError):
            self._button.send(b"!")

    def _signal(self, number: signal.Signals) -> None:
        if self._process.returncode is None:  # not reaped yet, so the group's number is nobody else's
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)

    def _reap(self) -> None:
        self._signal(signal.SIGKILL)
        self._process.wait()

    def _status(self) -> int:
        told = self._told.decode(errors="replace")
        if not told:
            return -signal.SIGKILL
        try:
            return int(told)
        except ValueError:
            raise WorkError(f"The program cannot be started: {told}") from None


class Lines:
    """Makes lines of bytes as they come: UTF-8, whatever ends a line, none longer than `LONGEST_LINE`."""

    def __init__(self, said: Callable[[str], None]) -> None:
        self._said = said
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._open = ""

    def add(self, content: bytes) -> None:
        self._open += self._decoder.decode(content)
        held = ""
        if self._open.endswith("\r"):  # perhaps half of a line's end
            self._open, held = self._open[:-1], "\r"
        *lines, self._open = _ENDS.split(self._open)
        self._open += held
        for line in lines:
            self._say(line)
        while len(self._open) > LONGEST_LINE:
            piece, self._open = _cut(self._open)
            self._said(piece)

    def end(self) -> None:
        self._open += self._decoder.decode(b"", final=True)
        if self._open.strip("\r"):
            self._say(self._open.strip("\r"))
        self._open = ""

    def _say(self, line: str) -> None:
        while len(line) > LONGEST_LINE:
            piece, line = _cut(line)
            self._said(piece)
        self._said(line)


def _cut(line: str) -> tuple[str, str]:
    """Its first piece and the rest: between two words, so that no secret is cut in two and its halves missed."""
    at = line.rfind(" ", 1, LONGEST_LINE)
    at = LONGEST_LINE if at < 0 else at
    return line[:at], line[at:]
