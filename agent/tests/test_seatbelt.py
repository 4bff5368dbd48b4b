"""The profile for macOS's sandbox-exec, as text: these tests run on Linux, where nothing enforces it."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from devflow import seatbelt
from devflow.bubblewrap import build_bubblewrap_command
from devflow.engine_profiles import PROFILES
from devflow.engine_view import Access, AllowedPath, EngineView
from devflow.errors import SettingsError
from devflow.sandbox import Sandbox, make_sandbox

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.tests.support.command_result import CommandResult

_TOKEN = re.compile(r'[()]|#?"(?:[^"\\]|\\.)*"|[^\s()"]+')


def parse(profile: str) -> list[Any]:
    """Read the expressions of a profile. Fails if it is not well-formed."""
    levels: list[list[Any]] = [[]]
    for token in _TOKEN.findall(profile):
        if token == "(":
            levels.append([])
        elif token == ")":
            done = levels.pop()
            levels[-1].append(done)
        else:
            levels[-1].append(token.replace('\\"', '"').replace("\\\\", "\\").strip('"') if '"' in token else token)
    assert len(levels) == 1
    return levels[0]


def decide(profile: str, operation: str, path: str) -> bool:
    """Whether the profile allows an operation on a path: the last rule that matches decides."""
    allowed = False
    for rule in parse(profile)[1:]:
        operations = [word for word in rule[1:] if isinstance(word, str)]
        if rule[1] == "default" or not any(re.fullmatch(name.replace("*", ".*"), operation) for name in operations):
            continue
        for kind, *values in [part for part in rule[1:] if isinstance(part, list)]:
            matches = {
                "subpath": lambda value: Path(path).is_relative_to(value),
                "literal": lambda value: path == value,
            }.get(kind, lambda _: False)
            if any(map(matches, values)):
                allowed = rule[0] == "allow"
    return allowed


@pytest.fixture
def view(tmp_path: Path) -> EngineView:
    clone, task = tmp_path / "state" / "work" / "repo", tmp_path / "state" / "work" / "task.json"
    clone.mkdir(parents=True)
    task.touch()
    return EngineView(clone, (task,), clone.parent / "private")


@pytest.fixture
def sandbox(tmp_path: Path, machine: Path) -> Sandbox:
    shared, cache = tmp_path / "shared", tmp_path / "cache"
    for path in (shared, cache, tmp_path / "state"):
        path.mkdir(exist_ok=True)
    allowed = (AllowedPath(shared), AllowedPath(cache, writable=True), AllowedPath(tmp_path))
    return Sandbox(enabled=True, home=machine, hidden=(tmp_path / "state",), allowed=allowed)


def make_profile(sandbox: Sandbox, view: EngineView, *argv: str) -> str:
    return seatbelt.build_profile(view, sandbox.describe(argv or ("true",), view))


def test_profile_denies_what_it_does_not_allow(sandbox: Sandbox, view: EngineView, tmp_path: Path) -> None:
    profile = make_profile(sandbox, view)
    root, clone = str(tmp_path), str(view.clone)

    assert parse(profile)[:2] == [["version", "1"], ["deny", "default"]]
    for path in (f"{clone}/a.py", f"{view.home}/.cache/x", f"{view.temporary}/x", f"{root}/cache/x", "/dev/null"):
        assert decide(profile, "file-read-data", path)
        assert decide(profile, "file-write-data", path)
    for path in ("/usr/bin/git", "/System/Library/x", f"{root}/shared/x", f"{root}/other", *map(str, view.readable)):
        assert decide(profile, "file-read-data", path)
        assert not decide(profile, "file-write-data", path)
    state = f"{root}/state/agents/x/registration.json"
    for path in (state, "/Users/ada/.ssh/id_ed25519", "/private/var/run/docker.sock", "/private/etc/sudoers"):
        assert not decide(profile, "file-read-data", path)
        assert not decide(profile, "file-write-create", path)


def test_profile_allows_no_services_that_have_secrets(sandbox: Sandbox, view: EngineView) -> None:
    profile = make_profile(sandbox, view)
    for name in ("SecurityServer", "pasteboard", "appleevent", "coreservices", "securityd", "windowserver"):
        assert name.lower() not in profile.lower()
    assert ["allow", "signal", ["target", "same-sandbox"]] in parse(profile)


def test_profile_has_the_network_that_was_chosen(sandbox: Sandbox, view: EngineView) -> None:
    assert "(allow network" not in make_profile(replace(sandbox, network="none"), view)
    profile = make_profile(sandbox, view)
    assert '(allow network-outbound (remote ip "*:*"))' in profile
    assert "unix-socket" not in profile


def test_names_cannot_add_rules_to_the_profile(sandbox: Sandbox, view: EngineView, tmp_path: Path) -> None:
    evil = tmp_path / 'x") (allow default) (deny file-read* (literal "\\'
    evil.mkdir()
    profile = make_profile(replace(sandbox, allowed=(AllowedPath(evil),)), view)

    assert ["allow", "default"] not in parse(profile)
    assert decide(profile, "file-read-data", f"{evil}/x")


def test_profile_and_bubblewrap_come_from_the_same_description(
    sandbox: Sandbox, view: EngineView, machine: Path
) -> None:
    (machine / ".local/share/claude").mkdir(parents=True)
    sandbox = replace(sandbox, profile=PROFILES["claude"])
    sandbox.wrap(["true"], view)
    described = sandbox.describe(["true"], view)
    profile, arguments = seatbelt.build_profile(view, described), build_bubblewrap_command(["true"], view, described)

    assert {grant.access for grant in described.grants} == set(Access)
    for grant in described.grants:
        assert str(grant.path) in arguments
        assert f'(subpath "{grant.path}")' in profile


def test_macos_uses_sandbox_exec_by_default(
    devflow: Callable[..., CommandResult],
    sandbox: Sandbox,
    view: EngineView,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    program = tmp_path / "sandbox-exec"
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(seatbelt, "PROGRAM", str(program))
    with pytest.raises(SettingsError, match=r"sandbox-exec does not exist.*--sandbox none"):
        make_sandbox("auto", sandbox)
    program.write_text('#!/bin/sh\ntest "$1" = -p || exit 9\nshift 2\nexec "$@"\n', encoding="ascii")
    program.chmod(0o755)

    made = make_sandbox("auto", replace(sandbox, enabled=False))
    assert made.enabled
    assert made.wrap(["true", "-x"], view) == [str(program), "-p", made.wrap(["true"], view)[2], "true", "-x"]
    assert "sandbox-exec" in made.description
    env = made.environment(view)
    assert (env["HOME"], env["TMPDIR"]) == (str(view.home), str(view.temporary))
    assert made.supervision(view)["wrappers"] == 0
    with pytest.raises(SettingsError, match="network namespaces"):
        make_sandbox("auto", replace(sandbox, network="proxy"))
    checks = devflow("agent", "doctor", "--command", "sh", "--json").json["checks"]
    assert [check["message"] for check in checks if check["name"] == "sandbox"] == [
        "sandbox-exec works, network host, profile none"
    ]
