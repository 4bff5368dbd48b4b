"""Hostile tasks and repositories: they change nothing outside the workspace and get no secret."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from agent.tests.e2e.conftest import SECONDS, git, read_token, wait_until

if TYPE_CHECKING:
    from agent.tests.e2e.conftest import Scenario

pytestmark = pytest.mark.timeout(4 * SECONDS)


def snapshot(directory: Path) -> dict[str, bytes | None]:
    """Return all paths in a directory, with the contents of files."""
    contents: dict[str, bytes | None] = {}
    for path in sorted(directory.rglob("*")):
        contents[str(path)] = path.read_bytes() if path.is_file() and not path.is_symlink() else None
    return contents


def test_hostile_repository_and_tasks_change_nothing_outside(scenario: Scenario) -> None:
    outside = scenario.directory / "outside"
    outside.mkdir()
    (outside / "precious").write_text("untouched", encoding="utf-8")
    clone = scenario.directory / "hostile"
    git("clone", "--quiet", str(scenario.origin), str(clone), cwd=scenario.directory)
    evil = f"touch {outside}/pwned"
    names = [
        f"; {evil.replace('/', '_')}", "--upload-pack=x", "-rf", "new\nline", "$(id)", "`id`", "a b", "--", "é\u202e",
    ]  # fmt: skip
    for name in names:
        (clone / name).write_text("x", encoding="utf-8")
    for link, target in {
        "out": str(outside), "precious": str(outside / "precious"), "up": "../../../../../../outside/precious",
        "config": ".git/config",
    }.items():  # fmt: skip
        (clone / link).symlink_to(target)
    (clone / ".gitattributes").write_text("* filter=evil diff=evil\n", encoding="utf-8")
    (clone / ".gitmodules").write_text(
        f'[submodule "x"]\n\tpath = x\n\turl = ext::sh -c "{evil}"\n\tupdate = !{evil}\n', encoding="utf-8"
    )
    git("add", "--all", cwd=clone)
    git("commit", "--quiet", "--message=hostile", cwd=clone)
    git("push", "--quiet", "origin", "HEAD:main", "HEAD:refs/heads/--upload-pack=x", cwd=clone)
    name = scenario.register("wary", None, "--concurrency", "3")
    code = scenario.note + (
        "for name in ('out/new', 'precious', 'up', 'config', 'out'):\n"
        "    try: open(name, 'a').write('written by an engine')\n"
        "    except OSError as error: print(name, error)\n"
        "open('login.py', 'w').write('fixed\\n')\n"
    )
    before = snapshot(outside)
    agent = scenario.start(name, code)

    text = f"; {evil}\n--upload-pack={evil}\n$({evil})`{evil}`\n../../x\0 \x1b[2J"
    good: list[dict[str, Any]] = [
        {"naturalLanguage": text},
        {"taskId": "-rf..:x.lock", "naturalLanguage": f"--file={outside}"},
    ]
    bad: list[dict[str, Any]] = [
        {"repo": f"--upload-pack={evil}"}, {"repo": f"ext::sh -c '{evil}'"}, {"repo": f"; {evil}"},
        {"repo": "../origin.git"}, {"repo": f"{scenario.origin}\n--config=x"}, {"repo": "ssh://-oProxyCommand=id/x"},
        {"branch": "--upload-pack=x"}, {"branch": f"; {evil}"[:50]}, {"branch": "../../main"}, {"branch": "a\nb"},
    ]  # fmt: skip
    for task in [scenario.submit(**more) for more in good]:
        ended = scenario.wait_for_end(task)
        assert (ended["status"], ended["resultFiles"]["files"]) == ("completed", ["login.py"]), agent.log
        body = git("log", "-1", "--format=%B", ended["resultFiles"]["branch"], cwd=scenario.origin)
        assert f"DevFlow-Task: {task}" in body
        assert "\x1b" not in body
    for more in bad:
        response = scenario.user.post(
            "/api/tasks", {"intent": "fix-bug", "repo": str(scenario.origin), "naturalLanguage": "Fix it"} | more
        )
        if response.status == 400:  # the platform rejects it
            continue
        ended = scenario.wait_for_end(response.json()["taskId"])
        assert ended["status"] == "failed", (more, ended)

    assert snapshot(outside) == before
    assert not Path("/tmp/pwned").exists()  # noqa: S108  # must not exist
    assert agent.end() == 0


def test_no_token_is_in_an_argument_a_log_or_a_report(scenario: Scenario) -> None:
    name = scenario.register("discreet")
    first = scenario.submit()
    code = scenario.note + (
        "print('my environment:', dict(os.environ))\n"
        "print(os.environ['DEVFLOW_MARKER'], json.dumps({'step': os.environ['GITHUB_TOKEN']}))\n"
        + scenario.gate()
        + "sys.exit(1)\n"
    )
    second = scenario.submit()
    agent = scenario.start(name, code, "--pass-env", "GITHUB_TOKEN", GITHUB_TOKEN="ghp_0123456789abcdef")
    wait_until(scenario.runs, lambda: agent.log)
    token, arguments = read_token(scenario, name), []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            arguments.append(process.read_bytes().decode(errors="replace"))
        except OSError:  # the process has ended
            continue
    scenario.open_gate()
    ended = [scenario.wait_for_end(task_id) for task_id in (first, second)]
    texts = [str(task) + scenario.devflow("tasks", "logs", task["id"]).stdout for task in ended]

    everything = "".join([*arguments, *texts, agent.log])
    assert "DEVFLOW_TASK_ID" in "".join(texts), "the log contains the output of the program"
    assert "'GITHUB_TOKEN': '***'" in "".join(texts), "the program got the variable that the operator has named"
    for secret in (token, str(scenario.user.token), "ghp_0123456789abcdef"):
        assert secret not in everything
    assert agent.end() == 0
    assert os.environ.get("GITHUB_TOKEN") is None
