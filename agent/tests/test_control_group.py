"""Limits that the kernel enforces. Directories of the test stand in for the kernel's file system of control groups."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from devflow.cancel_token import CancelToken
from devflow.control_group import ControlGroups, find_delegated_group, remove_group
from devflow.errors import TaskFailedError
from devflow.program import Program, run_program
from devflow.resource_limits import ResourceLimits
from devflow.sandbox import Sandbox

UNIT = "system.slice/devflow-agent.service"


class FakeKernel:
    """The file system of control groups, with one group for the agent's unit."""

    def __init__(self, directory: Path) -> None:
        self.root, self.membership, self.unit = (
            directory / "cgroup",
            directory / "membership",
            directory / "cgroup" / UNIT,
        )
        self.unit.mkdir(parents=True)
        (self.root / "cgroup.controllers").write_text("cpu memory pids\n", encoding="ascii")
        (self.unit / "cgroup.controllers").write_text("memory pids\n", encoding="ascii")
        (self.unit / "cgroup.subtree_control").write_text("\n", encoding="ascii")
        (self.unit / "cgroup.procs").write_text("41\n42\n", encoding="ascii")
        self.join(UNIT)

    def join(self, group: str) -> None:
        self.membership.write_text(f"1:name=systemd:/x\n0::/{group}\n", encoding="ascii")

    def delegate(self) -> None:
        try:
            os.setxattr(self.unit, "user.delegate", b"1")
        except OSError:
            pytest.skip("the file system of the tests has no extended attributes")

    def find(self) -> tuple[Path | None, str]:
        return find_delegated_group(self.root, self.membership)


@pytest.fixture
def kernel(tmp_path: Path) -> FakeKernel:
    return FakeKernel(tmp_path)


def test_group_of_a_unit_with_delegation_is_used(kernel: FakeKernel) -> None:
    kernel.delegate()
    assert kernel.find() == (kernel.unit, "")
    (kernel.unit / "agent").mkdir()
    kernel.join(f"{UNIT}/agent")
    assert kernel.find() == (kernel.unit, ""), "after the agent has moved into a group of its own"


def test_group_that_is_not_delegated_is_not_touched(kernel: FakeKernel) -> None:
    assert kernel.find() == (None, "no control group is delegated to the agent (Delegate=yes in its systemd unit)")
    kernel.delegate()
    (kernel.unit / "cgroup.controllers").write_text("memory\n", encoding="ascii")
    assert kernel.find() == (None, "the agent's control group has no controller for pids")
    kernel.membership.write_text("4:memory:/x\n", encoding="ascii")
    assert "version 1" in kernel.find()[1]
    kernel.membership.unlink()
    assert kernel.find() == (None, "there are no control groups")


def test_attempt_gets_a_group_with_its_limits(kernel: FakeKernel) -> None:
    sandbox = Sandbox(limits=ResourceLimits.parse(["memory=1G", "processes=10"]), groups=ControlGroups(kernel.unit))

    group = sandbox.make_group("task-1-attempt-1")

    assert group == kernel.unit / "task-1-attempt-1"
    written = {path.name: path.read_text(encoding="ascii") for path in group.iterdir()}
    assert written == {
        "memory.max": str(1024**3), "pids.max": "40", "memory.swap.max": "0", "memory.oom.group": "1",
    }  # fmt: skip
    assert (kernel.unit / "cgroup.subtree_control").read_text(encoding="ascii") == "+memory +pids"
    assert (kernel.unit / "agent" / "cgroup.procs").read_text(encoding="ascii") == "42", "the agent has moved"
    for path in group.iterdir():  # the kernel's files vanish with their group
        path.unlink()
    remove_group(group)
    assert not group.exists()


def test_limits_are_measured_where_no_group_can_be_made(tmp_path: Path) -> None:
    assert Sandbox(groups=ControlGroups(tmp_path / "missing")).make_group("task-1") is None
    assert Sandbox().make_group("task-1") is None


@pytest.mark.parametrize(("events", "message"), [("low 0\noom_kill 2\n", "limit of 1000000000 for memory"), ("", "")])
def test_program_runs_in_its_group_and_the_limit_of_the_group_is_named(
    tmp_path: Path, events: str, message: str
) -> None:
    (tmp_path / "memory.events").write_text(events, encoding="ascii")
    output: list[str] = []
    code = f"cat {tmp_path}/cgroup.procs; echo; kill -KILL $$"
    supervision = {"group": str(tmp_path), "totals": {"memory": 1_000_000_000}}
    program = Program(["sh", "-c", code], tmp_path, dict(os.environ), supervision=supervision)

    if message:
        with pytest.raises(TaskFailedError, match=message):
            run_program(program, CancelToken(), output.append)
    else:
        assert run_program(program, CancelToken(), output.append) == -9
    assert output == ["0"], "the process that becomes the program has joined the group"
    assert (tmp_path / "cgroup.kill").read_text(encoding="ascii") == "1"
