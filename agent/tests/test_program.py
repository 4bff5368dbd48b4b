"""run_program and LineSplitter: input, output, cancelling, and the end of a program's processes."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from agent.tests.support.processes import is_alive
from devflow import program as program_module
from devflow.cancel_token import CancelReason, CancelToken
from devflow.errors import TaskFailedError
from devflow.program import MAX_LINE, MAX_WHOLE_LINE, LineSplitter, Program, run_program
from devflow.redaction import add_secret, redact

SECONDS = 30


def python(code: str, cwd: Path, stdin: bytes = b"", grace: float = 5.0) -> Program:
    return Program([sys.executable, "-u", "-c", code], cwd, dict(os.environ), stdin, grace)


def wait_until(done: object) -> None:
    assert callable(done)
    end = time.monotonic() + SECONDS
    while not done():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_program_gets_its_input_and_its_output_is_read_by_line(tmp_path: Path) -> None:
    output: list[str] = []
    code = "import sys; sys.stderr.write('first\\n'); print(sys.stdin.read().upper()); print('ünd', end='')"

    assert run_program(python(code, tmp_path, "eingäbe".encode()), CancelToken(), output.append) == 0
    assert output == ["first", "EINGÄBE", "ünd"]


@pytest.mark.parametrize(("code", "status"), [("exit(3)", 3), ("import os; os.kill(os.getpid(), 9)", -9)])
def test_exit_status_of_the_program_is_returned(tmp_path: Path, code: str, status: int) -> None:
    assert run_program(python(code, tmp_path), CancelToken(), lambda _: None) == status


def test_unread_input_does_not_block(tmp_path: Path) -> None:
    assert run_program(python("exit(0)", tmp_path, b"x" * 10_000_000), CancelToken(), lambda _: None) == 0


def test_missing_program_raises_an_error(tmp_path: Path) -> None:
    with pytest.raises(TaskFailedError, match="no-such-program: No such file or directory"):
        run_program(Program(["no-such-program"], tmp_path, dict(os.environ)), CancelToken(), lambda _: None)


SLEEPER = "[sys.executable, '-c', 'import time; time.sleep(300)']"
ESCAPES = {
    "a child": f"child = subprocess.Popen({SLEEPER}).pid",
    "a session of its own": f"child = subprocess.Popen({SLEEPER}, start_new_session=True).pid",
    "a double fork": (
        "reader, writer = os.pipe()\n"
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    if (child := os.fork()) == 0:\n"
        "        os.close(1); os.close(2); time.sleep(300)\n"
        "    os.write(writer, str(child).encode()); os._exit(0)\n"
        "os.wait(); child = int(os.read(reader, 20))"
    ),
    "a process that ignores signals": (
        "if (child := os.fork()) == 0:\n"
        "    os.setsid(); [signal.signal(number, signal.SIG_IGN) for number in (1, 2, 15)]\n"
        "    os.close(1); os.close(2); time.sleep(300)"
    ),
}
"""Ways to leave a process behind. The code sets `child`."""


@pytest.mark.parametrize("how", ESCAPES)
def test_no_process_of_the_program_is_alive_when_its_status_is_returned(tmp_path: Path, how: str) -> None:
    output: list[str] = []
    code = f"import os, signal, subprocess, sys, time\n{ESCAPES[how]}\nprint(child)"

    assert run_program(python(code, tmp_path), CancelToken(), output.append) == 0
    assert not is_alive(int(output[0]))


def test_program_that_forks_without_end_is_ended(tmp_path: Path) -> None:
    """Each process starts the next one and ends, in a session of its own."""
    code = (
        "import os, time\n"
        "if os.fork() == 0:\n"
        "    os.close(1); os.close(2)\n"
        "    while True:\n"
        "        os.setsid() if os.getpid() != os.getsid(0) else None\n"
        "        if os.fork(): time.sleep(0.005); os._exit(0)\n"
        f"        open({str(tmp_path / 'alive')!r}, 'w').write(str(os.getpid()))\n"
        "time.sleep(0.1)"
    )

    assert run_program(python(code, tmp_path), CancelToken(), lambda _: None) == 0
    last = (tmp_path / "alive").read_text(encoding="ascii")
    time.sleep(0.1)
    assert (tmp_path / "alive").read_text(encoding="ascii") == last


def test_descendants_get_sigterm_when_the_program_is_cancelled(tmp_path: Path) -> None:
    cancel_token, output = CancelToken(), []
    code = (
        "import os, signal, sys, time\n"
        "if os.fork() == 0:\n"
        "    os.setsid(); signal.signal(signal.SIGTERM, lambda *_: (print('the child tidies'), os._exit(0)))\n"
        "    print('ready'); time.sleep(300)\n"
        "signal.signal(signal.SIGTERM, lambda *_: (os.wait(), sys.exit(7)))\n"
        "time.sleep(300)"
    )

    def hear(line: str) -> None:
        output.append(line)
        if line == "ready":
            cancel_token.cancel(CancelReason.USER_REQUEST)

    assert run_program(python(code, tmp_path, grace=SECONDS), cancel_token, hear) == 7
    assert output == ["ready", "the child tidies"]


def test_cancelled_program_gets_sigterm_first(tmp_path: Path) -> None:
    cancel_token, output = CancelToken(), []
    code = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: (print('tidying'), sys.exit(7)))\n"
        "print('ready')\ntime.sleep(300)"
    )

    def hear(line: str) -> None:
        output.append(line)
        if line == "ready":
            cancel_token.cancel(CancelReason.USER_REQUEST)

    assert run_program(python(code, tmp_path, grace=SECONDS), cancel_token, hear) == 7
    assert output == ["ready", "tidying"]


def test_program_that_ignores_sigterm_is_killed_with_its_children(tmp_path: Path) -> None:
    cancel_token, children = CancelToken(), []
    code = (
        "import signal, subprocess, sys, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "print(subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(300)']).pid)\ntime.sleep(300)"
    )

    def hear(line: str) -> None:
        children.append(int(line))
        cancel_token.cancel(CancelReason.USER_REQUEST)

    assert run_program(python(code, tmp_path, grace=0.2), cancel_token, hear) == -signal.SIGKILL
    wait_until(lambda: not is_alive(children[0]))


def test_program_is_killed_at_once_when_the_agent_shuts_down(tmp_path: Path) -> None:
    cancel_token = CancelToken()
    code = "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('ready')\ntime.sleep(300)"

    assert (
        run_program(
            python(code, tmp_path, grace=3600), cancel_token, lambda _: cancel_token.cancel(CancelReason.AGENT_SHUTDOWN)
        )
        == -signal.SIGKILL
    )


def test_cancel_before_the_start_stops_the_program(tmp_path: Path) -> None:
    cancel_token = CancelToken()
    cancel_token.cancel(CancelReason.TASK_LOST)

    assert run_program(python("import time; time.sleep(300)", tmp_path), cancel_token, lambda _: None) < 0


def test_program_ends_with_an_agent_that_is_killed(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path\n"
        "from devflow.program import Program, run_program; from devflow.cancel_token import CancelToken\n"
        "argv = [sys.executable, '-u', '-c', 'import os, time; print(os.getpid()); time.sleep(300)']\n"
        "program = Program(argv, Path('.'), dict(os.environ), grace=0.1)\n"
        "run_program(program, CancelToken(), lambda line: print(line, flush=True))"
    )
    agent = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, stdout=subprocess.PIPE)
    assert agent.stdout is not None
    with agent, agent.stdout:
        program = int(agent.stdout.readline())
        assert is_alive(program)
        agent.kill()
    wait_until(lambda: not is_alive(program))


def test_strongest_cancel_reason_wins() -> None:
    cancel_token, calls = CancelToken(), []
    cancel_token.add_listener(lambda: calls.append(cancel_token.reason))
    assert not cancel_token

    cancel_token.cancel(CancelReason.TASK_LOST, "lost")
    cancel_token.cancel(CancelReason.USER_REQUEST, "weaker")
    cancel_token.cancel(CancelReason.AGENT_SHUTDOWN, "stronger")

    assert (cancel_token.reason, cancel_token.message) == (CancelReason.AGENT_SHUTDOWN, "stronger")
    assert calls == [CancelReason.TASK_LOST, CancelReason.AGENT_SHUTDOWN]
    late = threading.Event()
    cancel_token.add_listener(late.set)
    assert late.is_set()


@pytest.mark.parametrize(
    ("chunks", "lines"),
    [
        ([b"a\nb\r\nc\rd"], ["a", "b", "c", "d"]),
        ([b"a\r", b"\nb"], ["a", "b"]),
        ([b"10%\r20%\r"], ["10%", "20%"]),
        ([b"\xc3", b"\xa4\n\xff\n"], ["ä", "\N{REPLACEMENT CHARACTER}"]),
        ([b"\n\n"], ["", ""]),
        ([], []),
    ],
)
def test_bytes_are_split_into_lines(chunks: list[bytes], lines: list[str]) -> None:
    output: list[str] = []
    splitter = LineSplitter(output.append)
    for chunk in chunks:
        splitter.add(chunk)
    splitter.end()
    assert output == lines


@pytest.mark.parametrize("at", [MAX_LINE - 20, MAX_LINE - 1, MAX_LINE, MAX_LINE + 5, 3 * MAX_LINE - 7])
@pytest.mark.parametrize("chunk", [1_000, 65_536])
def test_secret_in_a_line_without_spaces_is_never_split(at: int, chunk: int) -> None:
    add_secret("s3cret-word-that-is-long")
    output: list[str] = []
    splitter = LineSplitter(output.append)
    content = b"x" * at + b"s3cret-word-that-is-long" + b"y" * (2 * MAX_LINE) + b"\nnext\n"
    for start in range(0, len(content), chunk):
        splitter.add(content[start : start + chunk])
    splitter.end()

    text = "".join(redact(line) for line in output[:-1])
    assert output[-1] == "next"
    assert "***" in text
    assert set(text) == {"x", "*", "y"}
    assert (text.count("x"), text.count("y")) == (at, 2 * MAX_LINE)
    assert all(len(piece) <= MAX_LINE for piece in output)


def test_long_line_is_split_between_words() -> None:
    output: list[str] = []
    splitter = LineSplitter(output.append)
    splitter.add(b"x" * (MAX_LINE - 10) + b" secret-that-is-long " + b"y" * MAX_LINE)
    splitter.end()

    assert all(len(piece) <= MAX_LINE for piece in output)
    assert any("secret-that-is-long" in piece for piece in output)
    assert "".join(output).count("y") == MAX_LINE


def test_line_of_a_report_is_not_split() -> None:
    output: list[str] = []
    splitter = LineSplitter(output.append, "::marker")
    line = "::marker " + "word " * MAX_LINE
    for chunk in (line[:MAX_LINE], line[MAX_LINE:] + "\n", "::marker " + "x" * MAX_WHOLE_LINE + "y" * MAX_WHOLE_LINE):
        splitter.add(chunk.encode())
    splitter.end()

    assert output[0] == line
    assert all(len(piece) <= MAX_LINE for piece in output[1:])


@pytest.mark.parametrize(
    ("code", "totals", "message"),
    [
        ("x = bytearray(200_000_000); import time; time.sleep(60)", {"memory": 100_000_000}, "for memory"),
        (
            "import os, time\nfor _ in range(20):\n    if os.fork() == 0: time.sleep(60)\ntime.sleep(60)",
            {"processes": 10},
            "for processes",
        ),
        (
            "import time\nfor n in range(10): open(f'f{n}', 'wb').write(b'x' * 1_000_000)\ntime.sleep(60)",
            {"disk": 5_000_000},
            "for disk",
        ),
    ],
)
def test_program_that_exceeds_a_limit_is_stopped(
    tmp_path: Path, code: str, totals: dict[str, int], message: str
) -> None:
    program = replace(python(code, tmp_path), supervision={"totals": totals, "disk": [str(tmp_path)]})

    with pytest.raises(TaskFailedError, match=message):
        run_program(program, CancelToken(), lambda _: None)


def test_limits_of_a_process_are_set(tmp_path: Path) -> None:
    output: list[str] = []
    code = (
        "import resource; print(resource.getrlimit(resource.RLIMIT_NOFILE), resource.getrlimit(resource.RLIMIT_CORE))"
    )
    program = replace(
        python(code, tmp_path), supervision={"rlimits": {"RLIMIT_NOFILE": 100, "RLIMIT_CORE": 0, "RLIMIT_OTHER": 1}}
    )

    assert run_program(program, CancelToken(), output.append) == 0
    assert output == ["(100, 100) (0, 0)"]


def test_killed_supervisor_counts_as_a_killed_program(tmp_path: Path) -> None:
    code = "import os, signal, time; os.kill(os.getppid(), signal.SIGKILL); time.sleep(0.2)"
    assert run_program(python(code, tmp_path), CancelToken(), lambda _: None) == -signal.SIGKILL


def test_program_that_stops_its_supervisor_is_ended_when_it_is_cancelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(program_module, "_END_SECONDS", 0.3)
    cancel_token, output = CancelToken(), []
    code = "import os, signal, time; os.kill(os.getppid(), signal.SIGSTOP); print(os.getpid()); time.sleep(300)"

    def hear(line: str) -> None:
        output.append(line)
        cancel_token.cancel(CancelReason.USER_REQUEST)

    begun = time.monotonic()
    assert run_program(python(code, tmp_path, grace=0.1), cancel_token, hear) == -signal.SIGKILL
    assert time.monotonic() - begun < SECONDS
    wait_until(lambda: not is_alive(int(output[0])))


def test_status_of_a_program_that_ends_at_once_is_not_lost() -> None:
    """On a busy machine, a program may end before the supervisor is done with starting it."""
    code = (
        "import subprocess, sys, time\n"
        "from devflow import supervisor\n"
        "delete = subprocess.Popen.__del__\n"
        "def delete_late(self, *arguments): time.sleep(0.3); delete(self, *arguments)\n"
        "subprocess.Popen.__del__ = delete_late\n"
        "supervisor.main()\n"
    )
    agent, end = socket.socketpair()
    with agent, end:
        agent.settimeout(SECONDS)
        command = [sys.executable, "-c", code, str(end.fileno()), '{"grace": 1}', "sh", "-c", "exit 3"]
        process = subprocess.Popen(command, pass_fds=[end.fileno()], start_new_session=True)
        end.close()
        try:
            assert json.loads(agent.recv(1000)) == {"status": 3}
        finally:
            process.kill()
            process.wait()
