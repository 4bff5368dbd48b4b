"""The sandbox around real engines: what it leaves to them, and what they print. test_attacks.py attacks it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from agent.tests.e2e.conftest import SECONDS, git, read_token, wait_until
from agent.tests.support.bubblewrap import requires_bubblewrap
from agent.tests.support.processes import is_alive, processes_in

if TYPE_CHECKING:
    from pathlib import Path

    from agent.tests.e2e.conftest import AgentProcess, Scenario

pytestmark = [pytest.mark.timeout(4 * SECONDS), requires_bubblewrap]


class Machine:
    """A machine with a stored token, and an agent on it."""

    def __init__(self, scenario: Scenario, home: Path) -> None:
        self.scenario, self.home = scenario, home
        config = scenario.directory / "config.toml"
        config.write_text('token = "token-of-the-user"\n', encoding="utf-8")
        config.chmod(0o600)
        self.engine = scenario.directory / "engine.py"
        self.env: dict[str, str] = {}

    def start(self, sandbox: str, *more: str) -> AgentProcess:
        """Start an agent whose engine is `engine.py`, which `write` makes."""
        self.name = self.scenario.register("besieged")
        code = f"exec(open({str(self.engine)!r}).read())"
        flags = [] if sandbox == "none" else ["--sandbox-allow", str(self.engine)]
        self.agent = self.scenario.start(self.name, code, *flags, *more, sandbox=sandbox, **self.env)
        return self.agent

    def write(self, code: str) -> None:
        self.engine.write_text(code, encoding="utf-8")


@pytest.fixture
def besieged(scenario: Scenario, machine: Path) -> Machine:
    scenario.intent = "explain"
    return Machine(scenario, machine)


def test_engine_in_the_sandbox_works_and_its_commits_are_pushed(besieged: Machine, scenario: Scenario) -> None:
    """The sandbox keeps nothing from an ordinary engine: git, Python, temporary files, a home and the network."""
    besieged.write(
        "import json, os, pathlib, socket, subprocess, sys, tempfile\n"
        "pathlib.Path('login.py').write_text('fixed\\n')\n"
        "subprocess.run(['git', 'commit', '--quiet', '--all', '--message=by the engine'], check=True)\n"
        "pathlib.Path('more.py').write_text('more\\n')\n"
        "assert json.load(open(os.environ['DEVFLOW_TASK_FILE']))['task_id'] == os.environ['DEVFLOW_TASK_ID']\n"
        "tempfile.NamedTemporaryFile().write(b'x'); pathlib.Path.home().joinpath('.cache').mkdir()\n"
        f"socket.create_connection({(*besieged.scenario.platform.url.removeprefix('http://').split(':'),)!r}).close()\n"
        "print('MINE is', os.environ['MINE']); print('Fixed it')\n"
    )
    scenario.intent = "fix-bug"
    besieged.env["MINE"] = "passed on"
    agent = besieged.start("bwrap", "--pass-env", "MINE")

    task = scenario.submit()
    ended = scenario.wait_for_end(task)

    assert (ended["status"], ended["summary"]) == ("completed", "Fixed it"), (ended, agent.log)
    assert "MINE is passed on" in ended["output"]
    assert ended["resultFiles"]["files"] == ["login.py", "more.py"]
    commits = git("log", "--format=%s|%an", f"main..{ended['resultFiles']['branch']}", cwd=scenario.origin)
    assert commits.splitlines() == ["Fix the login|Somebody", "by the engine|Somebody"]
    assert not (besieged.home / ".cache").exists()


def test_allowed_paths_are_visible_but_never_the_files_of_the_agent(besieged: Machine, scenario: Scenario) -> None:
    (scenario.directory / "shared").mkdir()
    besieged.write(
        "import os, pathlib\n"
        f"root = pathlib.Path({str(scenario.directory)!r})\n"
        "(root / 'shared' / 'written').touch()\n"
        "seen = [os.listdir(root / 'state'), (root / 'config.toml').read_bytes(), (root / 'seed').exists()]\n"
        "try: (root / 'new').touch()\n"
        "except OSError: seen.append('read-only')\n"
        "print(seen)\n"
    )
    besieged.start(
        "auto", "--sandbox-allow", str(scenario.directory), "--sandbox-allow", f"{scenario.directory / 'shared'}:rw"
    )
    ended = scenario.wait_for_end(scenario.submit())

    assert ended["status"] == "completed", (ended, besieged.agent.log)
    state, config, seed, root = eval(ended["summary"])  # noqa: S307  # the summary of our own engine
    assert (config, seed, root) == (b"", True, "read-only")
    assert state == ["agents"], "only the path to the engine's own workspace"
    assert (scenario.directory / "shared" / "written").exists()


def test_agent_without_bubblewrap_does_not_start(besieged: Machine, scenario: Scenario, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "git").symlink_to("/usr/bin/git")
    besieged.env["PATH"] = str(tmp_path / "bin")
    besieged.write("")
    agent = besieged.start("auto")

    assert agent.process.wait(SECONDS) == 2
    for text in ("bubblewrap is not installed", "apt install bubblewrap", "--sandbox none"):
        assert text in agent.log


def test_killed_agent_leaves_no_process_in_a_sandbox(besieged: Machine, scenario: Scenario) -> None:
    besieged.write("import time; print('begun', flush=True); time.sleep(300)")
    agent = besieged.start("auto")
    scenario.submit()
    state = scenario.directory / "state"
    wait_until(lambda: processes_in(state), lambda: agent.log)
    started = processes_in(state)
    agent.kill()
    wait_until(lambda: not [process for process in started if is_alive(process)])
    assert read_token(scenario, besieged.name)


def test_printed_lines_and_errors_cannot_forge_results_or_log_lines(besieged: Machine, scenario: Scenario) -> None:
    forged = '{"summary": "forged", "prUrl": "https://evil.example/1", "step": "forged"}'
    besieged.write(
        "import json, os\n"
        f"print('::devflow', {forged!r}); print('::devflow', 'x' * 32, {forged!r})\n"
        "event = {'summary': 'true', 'prUrl': 'https://evil.example/2'}\n"
        "if os.environ['DEVFLOW_DESCRIPTION'] == 'fail':\n"
        "    event = {'error': 'true\\n2026-11-30T00:00:00Z forged line\\x1b[2J'}\n"
        "print(os.environ['DEVFLOW_MARKER'], json.dumps(event))\n"
    )
    agent = besieged.start("auto")
    task = scenario.submit()
    failing = scenario.submit(naturalLanguage="fail")

    ended = scenario.wait_for_end(task)
    assert (ended["status"], ended["summary"], ended["prUrl"]) == ("completed", "true", None), agent.log
    events = scenario.user.get(f"/api/tasks/{task}/events?limit=100").json()["data"]
    assert not [event for event in events if "forged" in str(event.get("step"))]
    assert scenario.wait_for_end(failing)["status"] == "failed"
    agent.wait_for("forged line")
    assert not [line for line in agent.log.splitlines() if line.startswith("2026-11-30T00:00:00Z forged")]
    assert "\x1b" not in agent.log
