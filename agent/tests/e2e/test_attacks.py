"""Attacks of engines and repositories, with real agents: nothing outside of the workspace is read, changed or run.

`agent/tests/support/hostile` has the attacks. Each is a task of its own. They run twice: in the sandbox, and with
`--sandbox none`, where those must succeed that only the sandbox prevents. So the test fails if an attack does not work.
"""

from __future__ import annotations

import json
import os
from base64 import b64encode
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

from agent.tests.e2e.conftest import SECONDS, git, read_token
from agent.tests.support.bubblewrap import requires_bubblewrap
from agent.tests.support.processes import processes_in
from agent.tests.support.siege import GITHUB_TOKEN, PASSED_SECRET, Json, Siege
from devflow.confinement import find_landlock_version

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.tests.e2e.conftest import Scenario

pytestmark = [pytest.mark.timeout(4 * SECONDS), requires_bubblewrap]

IS_ROOT = os.geteuid() == 0
LANDLOCK_SCOPES = 6
"""The version of Landlock with which abstract sockets are out of reach."""

ENDED_BY_LIMIT = {
    "start_many_processes": "100 for processes",
    "fill_memory": "for memory",
    "fill_memory_with_unmapped_files": "for memory",
    "fill_disk": "for disk",
    "fill_disk_with_deleted_file": "for disk",
    "fill_disk_in_unreadable_directory": "for disk",
    "make_many_files": "for disk",
    "make_deep_directories": "directories below each other",
}
"""Engines that a limit ends, and a part of the error."""
ALWAYS_PREVENTED = (
    "keep_descriptors_of_agent", "use_x11_display", "use_variables_of_user", "use_terminal_of_agent",
    "make_allowed_path_writable", "make_sparse_file", "open_many_files",
)  # fmt: skip
SURVIVORS = ("kill_supervisor_and_live_on", "live_on_in_another_session", "live_on_and_ignore_signals")
"""They leave a process that wants to outlive the task."""
OUTPUTS = ("print_secrets", "forge_terminal_and_log_lines")
FLOODS = ("print_line_without_end",)
PREVENTED_BY_SANDBOX = (
    "read_token_of_agent", "read_token_of_user", "read_private_key", "read_private_key_through_link",
    "read_private_key_through_proc", "list_other_tasks", "change_shell_settings_of_user", "plant_program_of_user",
    "add_hard_link_to_private_key", "change_objects_of_agent_through_hard_link", "change_git_directory_of_agent",
    "change_file_of_task", "change_allowed_path", "read_shared_memory_file", "list_processes_of_machine",
    "read_environment_of_process", "kill_process", "stop_process", "trace_process", "read_memory_of_process",
    "read_shared_memory_segment", "use_docker", "use_ssh_agent", "use_session_bus", "use_abstract_socket",
)  # fmt: skip
"""What succeeds without the sandbox, on every machine."""
PLANTED = (
    "include_configuration", "install_hooks", "install_filters", "add_submodule_with_settings",
    "commit_link_to_private_key", "leave_programs_in_clone",
)  # fmt: skip
"""Attacks with files that git or the agent would read. One engine writes all of them."""
PUSHED = (
    " ".join(PLANTED), "redirect_git_with_second_directory", "replace_git_directory_by_link", "loop_references",
    "lead_reference_out_of_repository", "replace_objects", "move_other_branches", "block_agent_with_pipes",
)  # fmt: skip
"""Attacks with git whose change is pushed, because they have no effect."""
REJECTED = (
    "borrow_objects_of_private_repository", "damage_pack",
    "commit_path_out_of_repository", "commit_path_into_git_directory_with_other_case",
    "commit_without_history", "replace_clone_by_link", "nest_git_directories_with_other_cases",
)  # fmt: skip
"""Attacks with git after which nothing is pushed."""


def succeed_without_sandbox_here(*, keys: bool) -> dict[str, bool | None]:
    """Return attacks that depend on the machine, and whether they succeed here. None if that is not known."""

    def is_writable(*paths: str) -> bool:
        return any(os.access(path, os.W_OK) for path in paths)

    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return {
        "make_device": IS_ROOT or None,
        "open_devices_of_machine": None,
        "read_environment_of_agent": IS_ROOT,
        "read_memory_of_agent": IS_ROOT,
        "open_files_of_agent": IS_ROOT,
        "enter_namespaces_of_agent": IS_ROOT or None,
        "change_root_directory": IS_ROOT or None,
        "change_kernel_settings": is_writable("/proc/sys/kernel/core_pattern", "/proc/sys/vm/drop_caches"),
        "use_magic_keys_of_kernel": is_writable("/proc/sysrq-trigger"),
        "have_capabilities": "CapBnd:\t0000000000000000" not in status,
        "gain_privileges_with_setuid_program": "NoNewPrivs:\t0" in status,
        "make_user_namespace": None,
        "mount_file_system": None,
        "leave_control_group": is_writable(*map(str, Path("/sys/fs/cgroup").rglob("cgroup.procs"))),
        "read_session_keyring": keys,
        "read_user_keyring": keys,
        "open_private_key_with_io_uring": None,
    }


@pytest.fixture
def siege(scenario: Scenario, machine: Path) -> Iterator[Siege]:
    with ExitStack() as cleanup:
        yield Siege(scenario, machine, cleanup)


@pytest.mark.parametrize("sandbox", ["auto", "none"])
def test_attacks_of_engines_and_repositories(siege: Siege, sandbox: str) -> None:
    """Each attack is judged by itself: the test lists those that did not end as they must.

    The agent's git does the same in both modes. So repositories attack in one of them, and changed clones in the other.
    """
    siege.start(sandbox)
    by_machine = succeed_without_sandbox_here(keys=siege.has_keys)
    expected: dict[str, bool | None] = {**dict.fromkeys(ALWAYS_PREVENTED, False), **by_machine}
    expected |= dict.fromkeys(PREVENTED_BY_SANDBOX, True)
    if sandbox != "none":
        expected = dict.fromkeys(expected, False)
        expected["use_abstract_socket"] = False if find_landlock_version() >= LANDLOCK_SCOPES else None
    probes = siege.submit(*expected, together=True)
    probes |= siege.submit("kill_everything", *SURVIVORS, *FLOODS)
    probes |= siege.submit("change_own_login", "leave_files_for_next_task", together=True)
    outputs = siege.submit(*OUTPUTS, intent="fix-bug")
    failing = siege.submit("dump_core", intent="fix-bug")
    if sandbox == "none":
        failing |= siege.submit("start_many_processes")
        pushed, rejected = siege.submit(*PUSHED, intent="fix-bug"), siege.submit(*REJECTED, intent="fix-bug")
    else:
        failing |= siege.submit(*ENDED_BY_LIMIT)
        pushed = siege.submit_repositories({"a hostile repository": siege.repositories.accepted})
        rejected = siege.submit_repositories(siege.repositories.rejected)

    problems = judge(siege.wait(probes), expected)
    for name, task in siege.wait(failing).items():
        if task["status"] != "failed" or ENDED_BY_LIMIT.get(name, "signal 6") not in task["error"]:
            problems[name] = (task["status"], task["error"])
    for name, task in siege.wait(outputs | pushed).items():
        if task["status"] != "completed":
            problems[name] = (task["status"], task["error"])
        elif siege.show(task, "login.py") != "fixed":
            problems[name] = "its change is not pushed"
    for name, task in siege.wait(rejected).items():
        if task["status"] != "failed":
            problems[name] = (task["status"], task["summary"])
    later = siege.wait(siege.submit("find_files_of_earlier_task"))
    problems |= judge(later, {"find_files_of_earlier_task": sandbox == "none"})
    ordinary = siege.wait(siege.submit("fix", intent="fix-bug"))["fix"]

    assert siege.has_terminal, "one that engines do not have"
    assert problems == {}, siege.agent.log
    assert ordinary["status"] == "completed", "the next task runs"
    assert siege.agent.end() == 0
    check_outside(siege, sandbox)
    check_pushed(siege)
    check_reports(siege)


def test_network_proxy_leads_to_the_allowed_host_only(siege: Siege) -> None:
    """Neither names nor addresses nor sockets of another kind lead elsewhere, in a real network namespace."""
    port = siege.scenario.platform.url.rpartition(":")[2]
    siege.start("auto", "--network", "proxy", "--allow-host", f"127.0.0.1:{port}")
    attacks = ("reach_other_hosts", "go_around_proxy")
    names = " ".join(attacks)

    ended = siege.wait(siege.submit(*attacks, together=True))

    assert judge(ended, dict.fromkeys(attacks, False)) == {}, siege.agent.log
    log = siege.read_reports(names)[f"log of {names}"]
    for target in ("169.254.169.254:80", "example.com:80", "127.0.0.1:22", "::1:80"):
        assert f"The engine may not reach {target} (--allow-host)" in log


def judge(tasks: dict[str, Json], expected: dict[str, bool | None]) -> dict[str, object]:
    """Return the attacks that did not end as expected."""
    problems: dict[str, object] = {}
    for names, task in tasks.items():
        outcomes = json.loads(task["summary"]) if task["status"] == "completed" else {}
        for name in names.split():
            outcome = outcomes.get(name, f"{task['status']}: {task['error']}")
            if expected.get(name) not in (None, outcome == "succeeded"):
                problems[name] = outcome
    return problems


def check_outside(siege: Siege, sandbox: str) -> None:
    """Nothing outside was changed, nothing ran, and nothing survived."""
    confined = sandbox != "none"
    assert not siege.ran.exists(), siege.ran.read_text(encoding="utf-8")
    assert processes_in(siege.directory / "state") == []
    assert siege.processes_of_engines() == []
    assert siege.bystanders["bystander"].process.poll() is None
    assert (siege.bystanders["to_kill"].process.poll() is None) == confined
    assert (siege.bystanders["to_stop"].state == "T") != confined
    changed = {
        "login": (siege.home / ".claude/settings.json").read_text(encoding="utf-8") != "{}",
        "shell": "changed" in (siege.home / ".bashrc").read_text(encoding="utf-8"),
        "program": (siege.home / "bin/planted").exists(),
        "cache": (siege.home / ".cache" / siege.unique).exists(),
        "allowed": "changed" in (siege.directory / "allowed/shared.txt").read_text(encoding="utf-8"),
    }
    assert changed == dict.fromkeys(changed, not confined)
    assert siege.key.read_text(encoding="utf-8") == "private"
    assert list((siege.directory / "state/agents" / siege.name / "work").iterdir()) == []


def check_pushed(siege: Siege) -> None:
    """Only branches of tasks are pushed, and nothing of the private repository."""
    origin = siege.scenario.origin
    refs = git("for-each-ref", "--format=%(refname)", cwd=origin).splitlines()
    assert [ref for ref in refs if not ref.startswith("refs/heads/devflow/")] == ["refs/heads/main"]
    assert git("show", "main:login.py", cwd=origin) == "bug"
    assert git("for-each-ref", cwd=siege.elsewhere) == ""
    for secret in ("s3cret-word", "private"):
        found = git("log", "--all", "--oneline", f"-S{secret}", "--", ".", ":!stolen", ":!directory", cwd=origin)
        assert found == ""


def check_reports(siege: Siege) -> None:
    """No secret is in a log, a report or the agent's own log, and nobody has forged a line."""
    tokens = [read_token(siege.scenario, siege.name), str(siege.scenario.user.token)]
    encoded = PASSED_SECRET.encode()
    forms = [PASSED_SECRET, quote(PASSED_SECRET, safe=""), encoded.hex(), b64encode(encoded).decode().rstrip("=")[:-1]]
    forms += [b64encode(b"x" * offset + encoded).decode()[4:-4] for offset in (1, 2)]
    texts = {"agent": siege.agent.log, **siege.read_reports(*OUTPUTS, *FLOODS)}
    everything = (*tokens, GITHUB_TOKEN, "token-of-the-user", *forms)
    found = {(place, secret) for place, text in texts.items() for secret in everything if secret in text}
    assert found == set()
    assert "***" in texts["log of print_secrets"]
    assert not [line for line in siege.agent.log.splitlines() if line.startswith("2030-01-01")]
    assert not {"\x1b", "\x9b", "\u202e"} & set(siege.agent.log)
    assert "evil.example" not in texts["print_secrets"].replace("***@", "")
    assert json.loads(texts["forge_terminal_and_log_lines"])["prUrl"] is None
