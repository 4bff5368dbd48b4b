"""`make demo`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from agent.tests.support.bubblewrap import PROBLEM

ROOT = Path(__file__).parents[3]
SECONDS = 120


def git(*arguments: str, cwd: Path) -> str:
    return subprocess.run(["git", *arguments], cwd=cwd, check=True, capture_output=True, text=True).stdout.strip()


def hide_bubblewrap(directory: Path) -> str:
    """Return a PATH with all programs of the present one, except for bubblewrap."""
    directory.mkdir()
    for place in os.environ["PATH"].split(os.pathsep):
        for program in Path(place).glob("*"):
            if program.name != "bwrap" and not (directory / program.name).is_symlink():
                (directory / program.name).symlink_to(program)
    return str(directory)


@pytest.mark.timeout(2 * SECONDS)
@pytest.mark.parametrize("installed", [True, False])
def test_demo_pushes_a_branch_on_which_the_test_passes(tmp_path: Path, *, installed: bool) -> None:
    """With bubblewrap and without it, which the demo says in one line."""
    path = os.environ["PATH"] if installed else hide_bubblewrap(tmp_path / "bin")
    demo = subprocess.run(
        # Do not rebuild the environment that runs this test, even if the requirements have changed.
        ["make", "--silent", "--old-file=.venv/installed", "demo"],
        cwd=ROOT,
        env=os.environ | {"DEMO_DIR": str(tmp_path), "PATH": path},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )

    assert demo.returncode == 0, demo.stdout + demo.stderr
    assert "python -m unittest: FAILED" in demo.stdout
    where = "without a sandbox. " if PROBLEM or not installed else "in a sandbox (bubblewrap)."
    (line,) = [line for line in demo.stdout.splitlines() if "The engine runs" in line]
    assert f"The engine runs {where}" in line
    assert installed or "apt install bubblewrap" in line
    assert demo.stdout.rstrip().endswith("Done: the agent pushed a branch on which the test passes.")
    for step in ("step: Making the change", "step: Running the tests", "step: Pushing the branch", "Z completed"):
        assert step in demo.stderr, "progress is printed"
    origin = tmp_path / "origin.git"
    assert len(git("branch", "--list", "main", "devflow/*", cwd=origin).splitlines()) == 2
    branch = git("for-each-ref", "--format=%(refname:short)", "refs/heads/devflow", cwd=origin)
    assert git("diff", "--name-only", "main", branch, cwd=origin) == "login.py"
    assert git("rev-parse", f"{branch}~1", cwd=origin) == git("rev-parse", "main", cwd=origin)
    assert git("rev-parse", branch, cwd=origin) in demo.stdout, "the result contains the commit"
    assert "DevFlow-Attempt: 1" in git("log", "-1", "--format=%B", branch, cwd=origin)
    fixed = tmp_path / "checked"
    git("clone", "--branch", branch, str(origin), str(fixed), cwd=tmp_path)
    tests = subprocess.run([sys.executable, "-m", "unittest"], cwd=fixed, capture_output=True, text=True, check=False)
    assert tests.returncode == 0, tests.stderr
    assert "Ran 2 tests" in tests.stderr
