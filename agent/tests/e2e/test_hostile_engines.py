"""Hostile engines: what they get in the sandbox, and what they get without it.

Each attack is tried in both modes. It must succeed without the sandbox where only the sandbox prevents it, so that the
test cannot pass because the attack itself does not work.
"""

from __future__ import annotations

import json
import os
import socket
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from agent.tests.e2e.conftest import SECONDS, git, read_token, wait_until
from agent.tests.support.bubblewrap import requires_bubblewrap
from agent.tests.support.processes import is_alive, processes_in

if TYPE_CHECKING:
    from pathlib import Path

    from agent.tests.e2e.conftest import AgentProcess, Scenario

pytestmark = [pytest.mark.timeout(4 * SECONDS), requires_bubblewrap]

USER_TOKEN, SSH_KEY = "token-of-the-user", "a-private-key"
ATTACKS = """
import json, os, pathlib, signal, socket, subprocess, sys
root = pathlib.Path(PLACE)
agent = root / 'state' / 'agents' / NAME
objects = pathlib.Path('../git/objects')
def connect(path):
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
    return True
def processes():
    return [entry for entry in os.listdir('/proc') if entry.isdigit()]
def commands():
    return [pathlib.Path(f'/proc/{number}/cmdline').read_bytes() for number in processes()]
def append(path):
    with open(path, 'r+') as file:
        file.seek(0, 2)
        file.write('# changed')
    return True
attacks = {
    'token of the agent': lambda: 'token' in (agent / 'registration.json').read_text(),
    'token of the user': lambda: 'token-of-the-user' in (root / 'config.toml').read_text(),
    'other workspaces': lambda: len(os.listdir(agent / 'work')) > 0 and len(os.listdir(agent / 'logs')) > 0,
    'instance of the agent': lambda: len((agent / 'instance').read_text()) > 0,
    'private key': lambda: 'a-private-key' in (root / 'home/.ssh/id_ed25519').read_text(),
    'home': lambda: append(root / 'home/.bashrc') and 'alias' in (root / 'home/.bashrc').read_text(),
    'temporary files': lambda: (root / 'seed').exists(),
    'docker': lambda: connect(str(root / 'docker.sock')),
    'ssh-agent': lambda: connect(os.environ['SSH_AUTH_SOCK']),
    'ssh-agent by path': lambda: connect(str(root / 'agent.sock')),
    'd-bus': lambda: connect(os.environ['DBUS_SESSION_BUS_ADDRESS'].removeprefix('unix:path=')),
    'git directory of the agent': lambda: append('../git/config'),
    'objects of the agent': lambda: append(next(path for path in objects.rglob('*') if path.is_file())),
    'file of the task': lambda: append(os.environ['DEVFLOW_TASK_FILE']),
    'program': lambda: append(ENGINE_FILE),
    'processes': lambda: any(b'agent\\0start' in command for command in commands()),
    'signals': lambda: os.kill(AGENT, 0) is None,
    'environment of the agent': lambda: b'ghp_0123' in pathlib.Path(f'/proc/{AGENT}/environ').read_bytes(),
    'GITHUB_TOKEN': lambda: os.environ['GITHUB_TOKEN'],
    'AWS_SECRET_ACCESS_KEY': lambda: os.environ['AWS_SECRET_ACCESS_KEY'],
    'NPM_TOKEN': lambda: os.environ['NPM_TOKEN'],
    'DEVFLOW_TOKEN': lambda: os.environ['DEVFLOW_TOKEN'],
    'capabilities': lambda: int(pathlib.Path('/proc/self/status').read_text().split('CapEff:')[1].split()[0], 16) > 0,
    'new privileges': lambda: pathlib.Path('/proc/self/status').read_text().split('NoNewPrivs:')[1].split()[0] == '0',
    'hostname': lambda: socket.gethostname() != 'devflow',
    'network': lambda: socket.create_connection(PLATFORM, 5) is not None,
}
def attempt(attack):
    try:
        return bool(attack())
    except (OSError, KeyError, StopIteration):
        return False
found = {name: attempt(attack) for name, attack in attacks.items()}
print(json.dumps({'summary': json.dumps(found)}))
"""
PREVENTED_ALWAYS = {"ssh-agent", "d-bus", "GITHUB_TOKEN", "AWS_SECRET_ACCESS_KEY", "NPM_TOKEN", "DEVFLOW_TOKEN"}
"""What the engine's environment does not contain, in a sandbox or not."""


class Machine:
    """A machine with secrets. `attack` runs all attacks as an engine."""

    def __init__(self, scenario: Scenario, home: Path, cleanup: ExitStack) -> None:
        self.scenario, self.home = scenario, home
        (home / ".ssh").mkdir()
        (home / ".ssh" / "id_ed25519").write_text(SSH_KEY, encoding="utf-8")
        (home / ".bashrc").write_text("alias ll='ls -l'\n", encoding="utf-8")
        config = scenario.directory / "config.toml"
        config.write_text(f'token = "{USER_TOKEN}"\n', encoding="utf-8")
        config.chmod(0o600)
        for name in ("docker.sock", "agent.sock", "bus"):
            server = cleanup.enter_context(socket.socket(socket.AF_UNIX))
            # A relative path, because the path of a socket has at most 108 bytes.
            here = os.open(".", os.O_RDONLY)
            os.chdir(scenario.directory)
            server.bind(name)
            os.fchdir(here)
            os.close(here)
            server.listen()
        self.engine = scenario.directory / "engine.py"
        self.env = {
            "GITHUB_TOKEN": "ghp_0123456789abcdef", "AWS_SECRET_ACCESS_KEY": "aws-0123456789",
            "NPM_TOKEN": "npm-0123456789",
            "SSH_AUTH_SOCK": str(scenario.directory / "agent.sock"),
            "DBUS_SESSION_BUS_ADDRESS": f"unix:path={scenario.directory / 'bus'}",
        }  # fmt: skip

    def start(self, sandbox: str, *more: str) -> AgentProcess:
        """Start an agent whose engine is `engine.py`, which `write` makes."""
        self.name = self.scenario.register("besieged")
        code = f"exec(open({str(self.engine)!r}).read())"
        flags = [] if sandbox == "none" else ["--sandbox-allow", str(self.engine)]
        self.agent = self.scenario.start(self.name, code, *flags, *more, sandbox=sandbox, **self.env)
        return self.agent

    def write(self, code: str) -> None:
        self.engine.write_text(code, encoding="utf-8")

    def write_attacks(self) -> None:
        host, _, port = self.scenario.platform.url.removeprefix("http://").partition(":")
        names = {
            "PLACE": str(self.scenario.directory), "NAME": self.name, "ENGINE_FILE": str(self.engine),
            "AGENT": self.agent.process.pid, "PLATFORM": (host, int(port)),
        }  # fmt: skip
        self.write("".join(f"{name} = {value!r}\n" for name, value in names.items()) + ATTACKS)


@pytest.fixture
def besieged(scenario: Scenario, machine: Path) -> Any:
    with ExitStack() as cleanup:
        scenario.intent = "explain"
        yield Machine(scenario, machine, cleanup)


@pytest.mark.parametrize("sandbox", ["auto", "none"])
def test_engine_reaches_nothing_outside_its_workspace(besieged: Machine, sandbox: str) -> None:
    besieged.write("")
    agent = besieged.start(sandbox, *(["--network", "none"] if sandbox == "auto" else []))
    besieged.write_attacks()

    ended = besieged.scenario.wait_for_end(besieged.scenario.submit())

    assert ended["status"] == "completed", (ended, agent.log)
    succeeded = {name for name, success in json.loads(ended["summary"]).items() if success}
    everything = set(json.loads(ended["summary"]))
    assert succeeded == (everything - PREVENTED_ALWAYS if sandbox == "none" else set()), agent.log
    assert ("run without a sandbox" in agent.log) == (sandbox == "none")
    assert "contains the token of a user" in agent.log


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


@pytest.mark.parametrize("sandbox", ["auto", "none"])
def test_no_process_outlives_its_engine(besieged: Machine, scenario: Scenario, sandbox: str) -> None:
    """It has a session of its own, and keeps changing the file that the agent is about to commit."""
    besieged.write(
        "import os\n"
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    if os.fork(): os._exit(0)\n"
        "    [os.close(number) for number in (0, 1, 2)]\n"
        "    while True:\n"
        "        open('login.py', 'a').write('planted\\n')\n"
        "os.wait(); print('Fixed it')\n"
    )
    scenario.intent = "fix-bug"
    agent = besieged.start(sandbox)
    wait_until(lambda: agent.log.count("active"), lambda: agent.log)
    task = scenario.submit()
    wait_until(lambda: agent.log.count("result reported") or agent.log.count("nothing"), lambda: agent.log)

    assert processes_in(scenario.directory / "state") == []
    assert scenario.wait_for_end(task)["status"] in ("completed", "failed")
    assert agent.end() == 0


def test_limits_stop_the_engine(besieged: Machine, scenario: Scenario) -> None:
    besieged.write(
        "import os, time\nfor _ in range(60):\n    if os.fork() == 0: time.sleep(60); os._exit(0)\ntime.sleep(60)\n"
    )
    agent = besieged.start("auto", "--limit", "processes=50", "--limit", "file=1M")
    ended = scenario.wait_for_end(scenario.submit())

    assert ended["status"] == "failed"
    assert "limit of 50 for processes was exceeded" in ended["error"], agent.log


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


def test_network_proxy_reaches_the_allowed_host_only(besieged: Machine, scenario: Scenario) -> None:
    address = besieged.scenario.platform.url.removeprefix("http://")
    besieged.write(
        "import http.client, json, os, socket\n"
        "def ask(url):\n"
        "    proxy = http.client.HTTPConnection('127.0.0.1', 3128)\n"
        "    proxy.request('GET', url); return proxy.getresponse().status\n"
        f"found = [ask('http://{address}/health'), ask('http://127.0.0.1:1/'), os.environ['HTTPS_PROXY']]\n"
        f"try: socket.create_connection({(*address.split(':'),)!r}, 5); found.append('direct')\n"
        "except OSError: found.append('no way around')\n"
        "print(json.dumps({'summary': json.dumps(found)}))\n"
    )
    agent = besieged.start("auto", "--network", "proxy", "--allow-host", address)
    ended = scenario.wait_for_end(scenario.submit())

    assert ended["status"] == "completed", (ended, agent.log)
    assert json.loads(ended["summary"]) == [200, 403, "http://127.0.0.1:3128", "no way around"]
    log = scenario.devflow("tasks", "logs", ended["id"]).stdout
    assert "The engine may not reach 127.0.0.1:1 (--allow-host)" in log


@pytest.mark.parametrize("sandbox", ["auto", "none"])
def test_git_directory_of_the_engine_is_never_used(besieged: Machine, scenario: Scenario, sandbox: str) -> None:
    """The engine writes text files only, with which git would run a program, push elsewhere, or block."""
    ran, elsewhere = scenario.directory / "ran", scenario.directory / "elsewhere.git"
    git("init", "--quiet", "--bare", str(elsewhere), cwd=scenario.directory)
    trap = scenario.directory / "trap.sh"
    trap.write_text(f"#!/bin/sh\nenv > {ran}\ncat\n", encoding="utf-8")
    trap.chmod(0o755)
    config = (
        f"[core]\n\trepositoryformatversion = 0\n\tfsmonitor = {trap}\n\thooksPath = hooks\n"
        f'[filter "x"]\n\tclean = {trap}\n'
        f'[url "{elsewhere}"]\n\tinsteadOf = {scenario.origin}\n\tpushInsteadOf = {scenario.origin}\n'
    )
    besieged.write(
        "import os, pathlib\n"
        "def write(name, text):\n"
        "    pathlib.Path(name).parent.mkdir(parents=True, exist_ok=True); pathlib.Path(name).write_text(text)\n"
        "head = pathlib.Path('.git/HEAD').read_text()\n"
        f"for place in ('second', '.git', 'sub/.git'):\n    write(place + '/config', {config!r})\n"
        "    write(place + '/info/attributes', '* filter=x\\n'); write(place + '/HEAD', head)\n"
        "    write(place + '/objects/info/alternates', '/nowhere\\n'); write(place + '/refs/x', '')\n"
        "write('.git/commondir', '../second\\n'); write('.gitattributes', '* filter=x\\n')\n"
        "write('login.py', 'fixed\\n'); os.mkfifo('sub/.gitignore'); os.mkfifo('.git/shallow')\n"
        "print('Fixed it')\n"
    )
    scenario.intent = "fix-bug"
    agent = besieged.start(sandbox)
    ended = scenario.wait_for_end(scenario.submit())

    assert ended["status"] == "completed", (ended, agent.log)
    assert not ran.exists()
    assert git("for-each-ref", cwd=elsewhere) == ""
    assert git("show", f"{ended['resultFiles']['branch']}:login.py", cwd=scenario.origin) == "fixed"
