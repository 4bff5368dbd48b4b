"""The lock files: complete, exact, with hashes, in agreement with each other and with what they are made from."""

import re
import tomllib
from pathlib import Path

import pytest

from infra.deploy.dependencies import selected
from infra.deploy.stage import PROJECT

SOURCES = {
    "requirements.lock": ["requirements.txt"],
    "requirements-dev.lock": ["requirements.txt", "requirements-dev.txt", "agent/pyproject.toml"],
    "agent/requirements.lock": ["agent/pyproject.toml"],
    "bench/requirements.lock": ["bench/requirements.txt"],
    "infra/requirements-check.lock": ["infra/requirements-check.txt"],
    "infra/requirements-lock.lock": ["infra/requirements-lock.txt"],
    "infra/requirements-mutate.lock": ["infra/requirements-mutate.txt"],
}
EXACT = re.compile(r"([A-Za-z0-9._-]+)(?:\[[^\]]+\])?==([^\s;]+)(?: ; .+)?")
EXAMPLE = """\
first==1.0 \\
    --hash=sha256:1
    # via -r requirements.txt
second==2.0 ; python_full_version < '3.12' \\
    --hash=sha256:2
    # via first
second==2.1 ; python_full_version >= '3.12' \\
    --hash=sha256:3
    # via
    #   -r requirements.txt
    #   first
third==3.0 \\
    --hash=sha256:4
    # via
    #   other
    #   second
other==4.0 \\
    --hash=sha256:5
    # via -r requirements.txt
"""

every_lock = pytest.mark.parametrize("lock", SOURCES)


def read(name: str) -> str:
    return (PROJECT / name).read_text(encoding="utf-8")


def pins(lines: list[str]) -> set[tuple[str, str]]:
    """Names and versions. Fails for a requirement that is not exact."""
    found = [EXACT.fullmatch(line) for line in lines]
    assert all(found), [line for line, match in zip(lines, found, strict=True) if not match]
    return {(re.sub("[-_.]+", "-", match[1]).lower(), match[2]) for match in found if match}


def direct(name: str) -> set[tuple[str, str]]:
    """What a person wrote into a file of requirements."""
    if name.endswith(".toml"):
        project = tomllib.loads(read(name))["project"]
        extras = [line for lines in project["optional-dependencies"].values() for line in lines]
        return pins([*project["dependencies"], *extras])
    lines = [line.partition("#")[0].strip() for line in read(name).splitlines()]
    return pins([line for line in lines if line and not line.startswith("-r ")])


def locked(name: str) -> set[tuple[str, str]]:
    """What a lock file has."""
    return pins([line.removesuffix(" \\") for line in read(name).splitlines() if line[:1] not in ("", " ", "#")])


@every_lock
def test_lock_has_every_direct_requirement_at_its_version(lock: str) -> None:
    assert set().union(*(direct(source) for source in SOURCES[lock])) <= locked(lock)


@every_lock
def test_every_locked_package_has_hashes_and_no_address(lock: str) -> None:
    for entry in re.split(r"^(?=\w)", read(lock), flags=re.MULTILINE)[1:]:
        assert "    --hash=sha256:" in entry, entry
    assert "://" not in read(lock)
    assert "index" not in re.findall(r"^--?(\S+)", read(lock), re.MULTILINE)


def test_every_lock_file_is_tested_here() -> None:
    folders = [PROJECT, *(PROJECT / name for name in ("agent", "bench", "infra"))]
    found = {path.relative_to(PROJECT) for folder in folders for path in folder.glob("*.lock")}
    assert found == {Path(name) for name in SOURCES}


def test_development_runs_the_versions_that_are_deployed_and_installed() -> None:
    assert locked("requirements.lock") <= locked("requirements-dev.lock")
    assert locked("agent/requirements.lock") <= locked("requirements-dev.lock")


def test_benchmarks_run_the_versions_of_development() -> None:
    shared = {name for name, _ in locked("requirements-dev.lock")} & {
        name for name, _ in locked("bench/requirements.lock")
    }
    assert shared
    for name in shared:
        assert {pin for pin in locked("bench/requirements.lock") if pin[0] == name} <= locked("requirements-dev.lock")


def test_build_tool_of_the_agent_is_locked() -> None:
    required = tomllib.loads(read("agent/pyproject.toml"))["build-system"]["requires"]
    assert pins(required) <= locked("requirements-dev.lock")


def test_selected_packages_come_with_all_that_they_depend_on() -> None:
    part = selected(EXAMPLE, "first")
    assert re.findall(r"^\S+", part, re.MULTILINE) == ["first==1.0", "second==2.0", "second==2.1", "third==3.0"]
    assert selected(EXAMPLE, "third", "other") == EXAMPLE[EXAMPLE.index("third==") :]


def test_selecting_a_package_that_is_not_locked_fails() -> None:
    with pytest.raises(ValueError, match="does not have nothing"):
        selected(EXAMPLE, "first", "nothing")
