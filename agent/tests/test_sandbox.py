"""The sandbox: what it shows of the machine, its limits, profiles and options. test_hostile_engines.py attacks it."""

from __future__ import annotations

import os
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from agent.tests.support.bubblewrap import requires_bubblewrap
from devflow import bubblewrap, settings
from devflow.cancel_token import CancelReason, CancelToken
from devflow.cli.sandbox_options import describe_sandbox
from devflow.egress_proxy import EgressProxy, HostPattern
from devflow.engine_profiles import PROFILES, find_profile
from devflow.engine_view import AllowedPath, EngineView
from devflow.engines.command import make_command_engine
from devflow.errors import SettingsError, TaskFailedError
from devflow.private_files import write_private
from devflow.program import Program, run_program
from devflow.program_paths import find_program_paths
from devflow.resource_limits import ResourceLimits
from devflow.sandbox import Sandbox, make_sandbox

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.tests.support.command_result import CommandResult

SECONDS = 30


class Attempt:
    """The directories of one attempt, and a sandbox for its engine."""

    def __init__(self, directory: Path, home: Path) -> None:
        self.directory = directory
        self.clone = directory / "state" / "work" / "repo"
        self.clone.mkdir(parents=True)
        (self.clone.parent / "private").mkdir()
        self.view = EngineView(self.clone, (), self.clone.parent / "private")
        self.sandbox = Sandbox(enabled=True, home=home, hidden=(directory / "state",))

    def run(self, *argv: str, programs: tuple[Path, ...] = (), **more: str) -> tuple[int, list[str]]:
        """Run a command in the sandbox. Returns its exit status and its output."""
        output: list[str] = []
        program = Program(
            self.sandbox.wrap(argv, self.view, programs),
            self.clone,
            self.sandbox.environment() | more,
            grace=0.2,
            supervision=self.sandbox.supervision(self.view),
        )
        return run_program(program, CancelToken(), output.append), output


@pytest.fixture
def attempt(tmp_path: Path, machine: Path) -> Attempt:
    return Attempt(tmp_path, machine)


@requires_bubblewrap
@pytest.mark.parametrize(("code", "status"), [("exit 3", 3), ("kill -SEGV $$", -11)])
def test_exit_status_of_an_engine_in_the_sandbox_is_returned(attempt: Attempt, code: str, status: int) -> None:
    assert attempt.run("sh", "-c", code)[0] == status


@requires_bubblewrap
def test_engine_in_the_sandbox_can_tidy_up_when_it_is_cancelled(attempt: Attempt) -> None:
    cancel_token, output = CancelToken(), []
    code = "trap 'echo tidied; exit 7' TERM; echo ready; while true; do sleep 0.05; done"
    program = Program(
        attempt.sandbox.wrap(["sh", "-c", code], attempt.view), attempt.clone, attempt.sandbox.environment(),
        grace=SECONDS, supervision=attempt.sandbox.supervision(attempt.view),
    )  # fmt: skip

    def hear(line: str) -> None:
        output.append(line)
        if line == "ready":
            cancel_token.cancel(CancelReason.USER_REQUEST)

    assert run_program(program, cancel_token, hear) == 7
    assert (output[0], output[-1]) == ("ready", "tidied")


@requires_bubblewrap
def test_sandbox_starts_quickly_and_shows_only_what_programs_need(attempt: Attempt) -> None:
    status, output = attempt.run("sh", "-c", "ls -A / /etc /home /root /run /var 2>/dev/null; ls /proc | grep '^[0-9]'")

    assert status == 0
    names = set(output)
    assert {"usr", "tmp", "passwd", "hosts"} <= names
    assert not {"boot", "mnt", "srv", "sys", "shadow", "sudoers", "environment", "docker.sock", ".ssh"} & names
    assert not (names & {"media", "lost+found"})


@requires_bubblewrap
@pytest.mark.parametrize("first", [".", ""])
def test_program_of_the_repository_does_not_run_in_place_of_bubblewrap(
    attempt: Attempt, monkeypatch: pytest.MonkeyPatch, first: str
) -> None:
    """It would run outside of the sandbox. An empty entry of PATH is the current directory too."""
    monkeypatch.setenv("PATH", f"{first}:{os.environ['PATH']}")
    for name in ("bwrap", "id"):
        (attempt.clone / name).write_text(f"#!/bin/sh\ntouch {attempt.clone}/ran\n", encoding="utf-8")
        (attempt.clone / name).chmod(0o755)

    assert attempt.run("id", "-u") == (0, [str(os.getuid())])
    assert not (attempt.clone / "ran").exists()


@requires_bubblewrap
def test_settings_of_the_kernel_are_read_only(attempt: Attempt) -> None:
    """Root may write them without capabilities. The kernel runs the program in core_pattern outside of the sandbox."""
    names = "kernel/core_pattern kernel/hostname vm/drop_caches"
    code = f"for name in {names}; do test -w /proc/sys/$name && echo $name; done; true"
    assert attempt.run("sh", "-c", code) == (0, [])


@requires_bubblewrap
def test_engine_cannot_make_user_namespaces(attempt: Attempt) -> None:
    """In one, it could mount file systems in memory, which no limit covers."""
    program = bubblewrap.find_bubblewrap()
    assert program
    if not bubblewrap.can_disable_namespaces(program):
        pytest.skip("bubblewrap is older than 0.8")
    code = "import ctypes; print(ctypes.CDLL(None).unshare(0x10000000))"
    assert attempt.run(sys.executable, "-c", code) == (0, ["-1"])


@requires_bubblewrap
def test_engine_from_a_virtual_environment_and_its_interpreter_are_visible(attempt: Attempt) -> None:
    script = attempt.directory / "tool.py"
    script.write_text("import sys, ssl, json; print(sys.argv[1], open(sys.argv[2]).read())", encoding="utf-8")
    named = attempt.directory / "named.txt"
    named.write_text("named by the operator", encoding="utf-8")
    (attempt.directory / "unnamed.txt").touch()

    assert attempt.run("sh", "-c", f"cat {attempt.directory}/unnamed.txt")[0] == 1
    status, output = attempt.run(sys.executable, str(script), "ran", str(named))
    assert (status, output) == (0, ["ran named by the operator"])


@requires_bubblewrap
def test_engine_gets_a_copy_of_its_login_and_cannot_change_the_original(attempt: Attempt, machine: Path) -> None:
    (machine / ".claude").mkdir()
    login = machine / ".claude" / ".credentials.json"
    login.write_text("the login", encoding="utf-8")
    (machine / ".claude" / "projects").mkdir()
    attempt.sandbox = replace(attempt.sandbox, profile=PROFILES["claude"])

    code = "cat ~/.claude/.credentials.json; echo; ls ~/.claude; echo changed > ~/.claude/.credentials.json"
    status, output = attempt.run("sh", "-c", f"{code}; echo hooks > ~/.claude/settings.json")

    assert (status, output) == (0, ["the login"])
    assert login.read_text(encoding="utf-8") == "the login"
    assert not (machine / ".claude" / "settings.json").exists()


@requires_bubblewrap
def test_network_none_has_only_loopback(attempt: Attempt) -> None:
    attempt.sandbox = replace(attempt.sandbox, network="none")
    status, output = attempt.run(sys.executable, "-c", "import socket; print(socket.if_nameindex())")

    assert (status, output) == (0, ["[(1, 'lo')]"])


@requires_bubblewrap
@pytest.mark.parametrize("home", ["/", "/nonexistent", "/usr/local/share", "/var/lib/devflow"])
def test_home_of_a_service_user_is_replaced(attempt: Attempt, monkeypatch: pytest.MonkeyPatch, home: str) -> None:
    monkeypatch.setenv("HOME", home)
    attempt.sandbox = replace(attempt.sandbox, home=Path(home))

    status, output = attempt.run("sh", "-c", 'touch "$HOME/written" && ls -A "$HOME" && pwd')

    assert (status, output[0], output[-1]) == (0, "written", str(attempt.clone))
    assert not (Path(home) / "written").exists()


@requires_bubblewrap
def test_files_of_the_agent_are_hidden_under_all_of_their_names(
    devflow: Callable[..., CommandResult], tmp_path: Path, machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The state is behind a link, and the operator allows the directory to which the link leads."""
    data = tmp_path / "data"
    (data / "state").mkdir(parents=True)
    (data / "state" / "registration.json").write_text("the token", encoding="utf-8")
    (data / "config.toml").write_text("", encoding="utf-8")
    (machine / "state").symlink_to(data / "state")
    monkeypatch.setenv("DEVFLOW_STATE", str(machine / "state"))
    options = {
        "pass_env": (), "allow_hosts": (), "network": "host", "sandbox_allow": (str(data),), "profile": "auto",
        "limits": (),
    }  # fmt: skip
    (machine / "config.toml").symlink_to(data / "config.toml")
    sandbox = describe_sandbox(options, make_command_engine("sh"), machine / "config.toml")
    attempt = Attempt(tmp_path, machine)
    attempt.sandbox = replace(sandbox, enabled=True, home=machine)

    status, output = attempt.run("sh", "-c", f"ls {data}; ls -A {data}/state; cat {data}/config.toml")
    assert (status, output) == (0, ["config.toml", "state"])


@requires_bubblewrap
@pytest.mark.parametrize("target", [".", "state", "state/agents", "state/agents/token"])
def test_files_of_the_agent_are_hidden_behind_a_link_that_is_allowed(attempt: Attempt, target: str) -> None:
    token, link = attempt.directory / "state" / "agents" / "token", attempt.directory / "link"
    token.parent.mkdir()
    token.write_text("agent-token", encoding="utf-8")
    link.symlink_to(attempt.directory / target)
    attempt.sandbox = replace(attempt.sandbox, allowed=(AllowedPath.parse(f"{link}:rw"),))

    paths = [f"{link}{name}" for name in ("", "/token", "/agents/token", "/state/agents/token")]
    assert "agent-token" not in attempt.run("cat", *paths)[1]


@requires_bubblewrap
def test_config_file_that_a_login_replaces_stays_hidden(tmp_path: Path, machine: Path) -> None:
    config = machine / ".config" / "devflow" / "config.toml"
    write_private(config, "token = 'old'")
    options = {
        "pass_env": (), "allow_hosts": (), "network": "host", "sandbox_allow": (str(config.parent.parent),),
        "profile": "auto", "limits": (),
    }  # fmt: skip
    attempt = Attempt(tmp_path, machine)
    attempt.sandbox = replace(describe_sandbox(options, make_command_engine("sh"), config), enabled=True, home=machine)
    threading.Timer(0.5, write_private, [config, "token = 'new'"]).start()

    code = f"for i in 1 2 3 4 5 6 7 8 9 10; do cat {config}; sleep 0.1; done"
    assert "new" not in "".join(attempt.run("sh", "-c", code)[1])
    assert config.read_text(encoding="utf-8") == "token = 'new'"


@requires_bubblewrap
def test_program_in_the_home_does_not_show_the_logins_beside_it(
    attempt: Attempt, machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program, login = machine / ".local" / "bin" / "engine", machine / ".local" / "share" / "other" / "auth.json"
    for path in (program, login, machine / ".local" / "lib" / "library"):
        path.parent.mkdir(parents=True)
        path.write_text("#!/bin/sh\ncat ~/.local/share/other/auth.json || echo started", encoding="utf-8")
    program.chmod(0o700)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")

    assert attempt.run("engine")[1][-1] == "started"


@requires_bubblewrap
@pytest.mark.parametrize(("code", "status"), [("exit 3", 3), ("kill -KILL $$", -9), ("kill -TERM $$", -15)])
def test_exit_status_of_an_engine_behind_the_proxy_is_returned(attempt: Attempt, code: str, status: int) -> None:
    attempt.sandbox = replace(attempt.sandbox, network="proxy")
    with EgressProxy(attempt.sandbox.allowed_hosts, lambda _: None) as proxy:
        attempt.view = replace(attempt.view, proxy=proxy.path)
        assert attempt.run("sh", "-c", code)[0] == status
        assert attempt.run("no-such-program")[0] == 1


def test_hosts_of_the_profile_are_allowed(machine: Path) -> None:
    sandbox = Sandbox(home=machine, profile=PROFILES["claude"], hosts=(HostPattern.parse("pypi.example"),))
    assert [pattern.host for pattern in sandbox.allowed_hosts] == ["api.anthropic.com", "pypi.example"]
    for profile in PROFILES.values():
        assert replace(sandbox, profile=profile).allowed_hosts


@pytest.mark.parametrize("flags", [("--allow-host", "a.example"), ("--network", "proxy", "--allow-host", "https://a")])
def test_allowed_hosts_need_the_network_proxy_and_must_be_hosts(
    devflow: Callable[..., CommandResult], flags: tuple[str, ...]
) -> None:
    (check,) = [
        check for check in devflow("agent", "doctor", *flags, "--json").json["checks"] if check["name"] == "sandbox"
    ]
    assert (check["status"], "--allow-host" in check["message"]) == ("failed", True)


@requires_bubblewrap
def test_every_writable_place_is_on_the_disk_that_is_measured(attempt: Attempt) -> None:
    """A file system in memory would let the engine exceed its limits of disk and memory."""
    places = ["/", "/dev", "/run", "/var", "/home", "/etc", str(attempt.directory / "state"), str(attempt.clone.parent)]
    code = f"for place in {' '.join(places)}; do touch $place/x 2>/dev/null && echo $place; done; "
    code += 'for place in /tmp /var/tmp /dev/shm "$HOME" .; do touch $place/y || echo no $place; done; '
    code += "df -P /tmp /dev/shm . | tail -n +2 | grep -c tmpfs"

    status, output = attempt.run("sh", "-c", code)

    assert (status, output) == (1, ["0"])
    private = attempt.clone.parent / "private"
    assert sorted(path.parent.name for path in private.rglob("y")) == ["home", "shm", "tmp"]


@requires_bubblewrap
def test_memory_that_is_only_reserved_does_not_count(attempt: Attempt) -> None:
    """Race detectors and sanitizers map terabytes, and use little of it."""
    attempt.sandbox = replace(attempt.sandbox, limits=ResourceLimits.parse(["memory=200M"]))
    code = (
        "import mmap, time; no_reserve = 0x4000\n"
        "area = mmap.mmap(-1, 64 << 30, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | no_reserve)\n"
        "time.sleep(1.2); print('reserved')"
    )
    assert attempt.run(sys.executable, "-c", code) == (0, ["reserved"])
    with pytest.raises(TaskFailedError, match="limit of 209715200 for memory was exceeded"):
        attempt.run(sys.executable, "-c", "import time; used = b'x' * 400_000_000; time.sleep(30)")


@requires_bubblewrap
def test_limits_of_a_process_apply_in_the_sandbox(attempt: Attempt) -> None:
    limits = ResourceLimits.parse(["file=1M", "files=64", "memory=2G"])
    attempt.sandbox = replace(attempt.sandbox, limits=limits)

    _, output = attempt.run("sh", "-c", "ulimit -n; ulimit -c; head -c 2000000 /dev/zero > big; wc -c < big")
    assert output[:2] == ["64", "0"]
    assert output[-1] == str(1024**2)


def test_agent_does_not_start_without_a_working_sandbox(
    machine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for stand_in, message in (
        ("", "not installed"),
        ("echo 'setting up uid map: Permission denied' >&2; exit 1", "uid"),
    ):
        directory = tmp_path / f"bin{len(stand_in)}"
        directory.mkdir()
        if stand_in:
            (directory / "bwrap").write_text(f"#!/bin/sh\n{stand_in}\n", encoding="utf-8")
            (directory / "bwrap").chmod(0o755)
        monkeypatch.setenv("PATH", str(directory))
        for mode in ("auto", "bwrap"):
            with pytest.raises(SettingsError, match=rf"(?s){message}.*--sandbox none"):
                make_sandbox(mode, Sandbox(home=machine))
        assert not make_sandbox("none", Sandbox(home=machine)).enabled
    with pytest.raises(SettingsError, match="--network"):
        make_sandbox("none", Sandbox(network="none"))


def test_there_is_no_sandbox_on_other_systems(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "freebsd14")
    assert Sandbox(enabled=True).find_problem() == "There is no sandbox for freebsd14"


def test_allowed_path_is_absolute_and_exists(tmp_path: Path, machine: Path) -> None:
    assert AllowedPath.parse(str(tmp_path)) == AllowedPath(tmp_path)
    assert AllowedPath.parse(f"{tmp_path}:rw") == AllowedPath(tmp_path, writable=True)
    assert AllowedPath.parse("~:ro") == AllowedPath(machine)
    for text in ("relative", "/does/not/exist", "", f"{tmp_path}:x"):
        with pytest.raises(SettingsError, match="absolute path that exists"):
            AllowedPath.parse(text)


def test_limits_are_parsed() -> None:
    limits = ResourceLimits.parse(["memory=4g", "processes=100", "disk=2T"])

    assert (limits.memory, limits.processes, limits.disk) == (4 * 1024**3, 100, 2 * 1024**4)
    assert limits.files == ResourceLimits().files
    for text in ("memory", "memory=", "memory=-1", "memory=0", "cores=4", "memory=1X", "=1"):
        with pytest.raises(SettingsError, match="NAME=NUMBER"):
            ResourceLimits.parse([text])


def test_profile_is_chosen_by_the_name_of_the_program() -> None:
    assert find_profile("auto", ["/home/ada/.local/bin/claude", "-p"]).name == "claude"
    assert find_profile("auto", ["my-script"]).name == "none"
    assert find_profile("gemini", ["my-script"]).variables[0] == "GEMINI_API_KEY"
    for profile in PROFILES.values():
        assert not {"GITHUB_TOKEN", "GH_TOKEN"} & set(profile.variables)


def test_login_that_is_no_regular_file_is_not_copied(tmp_path: Path, machine: Path) -> None:
    (machine / ".codex").mkdir()
    os.mkfifo(machine / ".codex" / "auth.json")
    (machine / ".codex" / "config.toml").write_bytes(b"x" * 5_000_000)

    PROFILES["codex"].copy_logins(machine, tmp_path / "engine")

    assert not (tmp_path / "engine").exists()


def test_environment_in_the_sandbox_names_no_invisible_directories(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("TMPDIR", "XDG_CONFIG_HOME", "ANTHROPIC_API_KEY", "GITHUB_TOKEN", "OTHER"):
        monkeypatch.setenv(name, "/value")
    sandbox = Sandbox(home=machine, profile=PROFILES["claude"], pass_names=("OTHER",))

    assert {"TMPDIR", "XDG_CONFIG_HOME", "ANTHROPIC_API_KEY", "OTHER", "HOME"} <= set(sandbox.environment())
    inside = replace(sandbox, enabled=True).environment()
    assert {"ANTHROPIC_API_KEY", "OTHER", "HOME"} <= set(inside)
    assert not {"TMPDIR", "XDG_CONFIG_HOME", "GITHUB_TOKEN"} & set(inside)


class Tree:
    """Files of programs in a home directory."""

    def __init__(self, home: Path) -> None:
        self.home = home

    def write(self, name: str, text: str = "") -> Path:
        path = self.home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        path.chmod(0o755)
        return path

    def link(self, name: str, target: str) -> Path:
        path = self.home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(target)
        return path

    def find(self, *argv: str) -> tuple[list[str], dict[str, str]]:
        found = find_program_paths(argv, (), keep_out=(self.home, self.home / ".local/state/devflow"))
        relative = [str(path.relative_to(self.home)) for path in found.paths]
        return relative, {str(path.relative_to(self.home)): target for path, target in found.links.items()}


def test_files_of_common_installations_are_found(machine: Path) -> None:
    tree = Tree(machine)
    tree.write(".nvm/v20/bin/node")
    tree.write(".nvm/v20/lib/node_modules/@openai/codex/bin/codex.js", "#!/usr/bin/env sh\n")
    codex = tree.link(".nvm/v20/bin/codex", "../lib/node_modules/@openai/codex/bin/codex.js")
    tree.write(".local/share/claude/versions/2.0")
    claude = tree.link(".local/bin/claude", str(machine / ".local/share/claude/versions/2.0"))
    tree.write("tools/venv/pyvenv.cfg")
    tree.write("base/lib/os.py")
    tree.write("base/bin/python3.11")
    tree.link("tools/venv/bin/python", str(machine / "base/bin/python3.11"))
    tool = tree.write("tools/venv/bin/tool", f"#!{machine}/tools/venv/bin/python -s\n")
    (machine / ".local/lib").mkdir()
    plain = tree.write(".local/bin/plain", "#!/bin/sh\n")

    assert tree.find(str(codex)) == ([".nvm/v20", ".nvm/v20/lib/node_modules"], {})
    assert tree.find(str(claude)) == (
        [".local/share/claude/versions/2.0"],
        {".local/bin/claude": str(machine / ".local/share/claude/versions/2.0")},
    )
    assert tree.find(str(tool)) == (["tools/venv", "base"], {})
    assert tree.find(str(plain)) == ([".local/bin/plain"], {}), "not ~/.local, which contains the agent's files"
    assert tree.find("sh", str(plain), "/etc/passwd-not-there", "-x") == ([".local/bin/plain"], {})
    assert tree.find("/no/such/program") == ([], {})


def test_links_that_lead_in_a_circle_are_followed_once(machine: Path) -> None:
    tree = Tree(machine)
    tree.link("a", "b")
    tree.link("b", "a")
    found = find_program_paths(["true"], [machine / "a"], keep_out=(machine,))
    assert sorted(path.name for path in found.links) == ["a", "b"]


@pytest.mark.parametrize("name", ["DEVFLOW_TOKEN", "_DEVFLOW_X"])
def test_variables_of_the_agent_cannot_be_passed_to_engines(devflow: Callable[..., CommandResult], name: str) -> None:
    result = devflow("agent", "doctor", "--pass-env", name, "--json")

    (check,) = [check for check in result.json["checks"] if check["name"] == "sandbox"]
    assert check["status"] == "failed"
    assert "never passed" in check["message"]


def test_doctor_says_what_is_missing(
    devflow: Callable[..., CommandResult], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings.update_config(settings.config_path(), token="user-token")
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))

    result = devflow("agent", "doctor", "--name", "nobody", "--command", "claude -p", "--json")

    checks = {check["name"]: (check["status"], check["message"]) for check in result.json["checks"]}
    assert result.status == 1
    assert {name: status for name, (status, _) in checks.items()} == {
        "git": "failed", "registration": "failed", "engine": "failed", "sandbox": "failed", "user token": "warning",
        "limits": "warning", "pull requests": "warning",
    }  # fmt: skip
    assert "claude is not installed" in checks["engine"][1]
    assert "apt install bubblewrap" in checks["sandbox"][1]
    assert "devflow logout" in checks["user token"][1]
    assert "user-token" not in result.out


@requires_bubblewrap
def test_doctor_finds_a_machine_that_works(
    devflow: Callable[..., CommandResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_TOKEN", "ghp_0123456789")
    result = devflow("agent", "doctor", "--name", "nobody", "--command", "sh -c true")

    lines = dict(line.split(maxsplit=1)[::-1] for line in result.out.splitlines())
    assert [lines[line] for line in lines if line.startswith(("git:", "engine:", "sandbox:", "pull"))] == ["ok"] * 4
    without = devflow("agent", "doctor", "--name", "nobody", "--sandbox", "none", "--engine", "command")
    assert "warning  sandbox: Engines run without a sandbox" in without.out
    assert devflow("agent", "doctor", "--command", "'").status == 1


def test_find_problem_describes_what_the_kernel_forbids(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    setting = tmp_path / "max_user_namespaces"
    setting.write_text("0\n", encoding="ascii")
    monkeypatch.setattr(
        bubblewrap, "_HINTS", {str(setting): ("0", "Set it higher"), str(tmp_path / "none"): ("1", "no")}
    )
    (tmp_path / "bwrap").write_text("#!/bin/sh\nexit 1\n", encoding="ascii")
    (tmp_path / "bwrap").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))

    assert Sandbox(enabled=True).find_problem() == "bubblewrap does not work: exit status 1. Set it higher"


def test_wrapped_command_line_has_no_secret(machine: Path, attempt: Attempt, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-0123456789")
    attempt.sandbox = replace(attempt.sandbox, profile=PROFILES["claude"])
    assert "sk-ant" not in " ".join(attempt.sandbox.wrap(["true"], attempt.view))
