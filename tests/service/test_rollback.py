"""Rollback: an earlier version must be able to read the rows that this version has written.

tests/fixtures/rows contains the rows that each earlier version has written, which are also what it reads. This version
runs the same story again. Its rows must contain every attribute of the earlier version's rows, with the same type. This
test needs only the fixture files. If git has the code of the previous version, that code also runs with the new rows.
"""

import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.rows.record import HERE, TABLES
from tests.support import environment

pytestmark = pytest.mark.timeout(900)  # the tests start processes, possibly on a slow machine
ROOT = Path(__file__).parents[2]
VERSIONS = sorted(directory.name for directory in HERE.iterdir() if (directory / "recorded.json").exists())
TIMEOUT_SECONDS = 600
RECORD = "import sys, pathlib; from tests.fixtures.rows import record; record.main('v-now', pathlib.Path(sys.argv[1]))"
CLOSED = ("status", "state", "type", "event", "enabled", "attempt", "progress", "sends")
"""Attributes whose values earlier code branches on or calculates with."""

Row = dict[str, Any]


def run(directory: Path, *command: str) -> None:
    """Run Python in a directory, without the settings of this process."""
    env = environment.outside() | {"PYTHONPATH": os.fspath(directory), "PYTHONDONTWRITEBYTECODE": "1"}
    completed = subprocess.run(
        [sys.executable, *command],
        cwd=directory,
        env=env,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )
    assert completed.returncode == 0, completed.stdout[-10_000:] + completed.stderr[-10_000:]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory with the rows that this version writes, in the format of the fixtures."""
    directory = tmp_path_factory.mktemp("rows")
    run(ROOT, "-c", RECORD, os.fspath(directory))
    return directory / "v-now"


def kind(table: str, row: Row) -> str:
    """Identifies a row of the story. It is the same in every version, because it contains no generated ids."""
    if table == "users":
        return "the user"
    if table == "logins":
        return str(row["login"]["S"]).partition("#")[0]
    if table == "agents":
        return str(row["agent"]["S"])
    part = str(row["sk"]["S"]).partition("#")[0]
    if table == "credentials":
        return f"{part} {_text(row, 'name')}"
    if table == "webhooks":
        return f"{part} {_text(row, 'description') or _text(row, 'event')}"
    return "usage" if part == "U" else _task_row_kind(row, part)


def _task_row_kind(row: Row, part: str) -> str:
    task = str(row["pk"]["S"]).partition("#")[2]
    return f"{'retry' if task.startswith('task-') else task} {part} {_text(row, 'type')}"


def _text(row: Row, name: str) -> str:
    return str(row.get(name, {}).get("S", ""))


def rows_by_kind(directory: Path, table: str) -> dict[str, list[Row]]:
    """The recorded rows of a table by their kind."""
    found: dict[str, list[Row]] = {}
    for row in json.loads((directory / f"{table}.json").read_text(encoding="utf-8")):
        found.setdefault(kind(table, row), []).append(row)
    return found


def typed(row: Row) -> set[tuple[str, str]]:
    """The attributes of a row with their types."""
    return {(name, tag) for name, value in row.items() for tag in value}


def lost(before: list[Row], after: list[Row]) -> Iterator[str]:
    """The differences that earlier code cannot handle: missing rows and attributes, other types, other values."""
    if not after:
        yield "no such row"
        return
    old, new = [typed(row) for row in before], [typed(row) for row in after]
    for name, tag in sorted(old[0].intersection(*old) - new[0].intersection(*new)):
        yield f"no {name} of type {tag}"
    known: dict[str, set[str]] = {}
    for name, tag in set().union(*old):
        known.setdefault(name, set()).add(tag)
    for name, tag in sorted(set().union(*new)):
        if name in known and tag not in known[name]:
            yield f"{name} of type {tag}, which was {' or '.join(sorted(known[name]))}"
    for name in CLOSED:
        values = [{json.dumps(row.get(name)) for row in rows} for rows in (before, after)]
        if name in known and values[0] != values[1]:
            yield f"{name} is {values[1]} and was {values[0]}"


@pytest.mark.parametrize("version", VERSIONS)
def test_rows_contain_everything_that_an_earlier_version_stored(version: str, written: Path) -> None:
    found = []
    for table in [name for name in TABLES if (HERE / version / f"{name}.json").exists()]:
        before, after = rows_by_kind(HERE / version, table), rows_by_kind(written, table)
        found += [f"{table}, {name}: {what}" for name in before for what in lost(before[name], after.get(name, []))]
    assert found == []


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"status": None}, ["no status of type S", "status is {'null'} and was {'{\"S\": \"queued\"}'}"]),
        ({"priority": {"S": "5"}}, ["no priority of type N", "priority of type S, which was N"]),
        ({"status": {"S": "waiting"}}, ['status is {\'{"S": "waiting"}\'} and was {\'{"S": "queued"}\'}']),
        ({"note": {"S": "an attribute that only newer code knows"}}, []),
    ],
)
def test_lost_attribute_is_detected(change: dict[str, Any], expected: list[str]) -> None:
    before = {"status": {"S": "queued"}, "priority": {"N": "5"}}
    after = {name: value for name, value in (before | change).items() if value is not None}
    assert list(lost([before], [after])) == expected


def test_previous_version_works_with_the_rows_of_this_version(written: Path, tmp_path: Path) -> None:
    """The previous version runs its own test_stored_rows.py with the rows and the tables of this version.

    Its log.py is replaced by this version's, because the library that it uses may no longer be installed.
    """
    earlier, project = archived(VERSIONS[-1]), tmp_path / "project"
    with tarfile.open(fileobj=BytesIO(earlier)) as opened:
        opened.extractall(project, filter="data")
    for recorded in VERSIONS:  # the fixtures of earlier versions were tested by that version
        shutil.rmtree(project / "tests" / "fixtures" / "rows" / recorded, ignore_errors=True)
    shutil.copy(ROOT / "infra" / "template.yaml", project / "infra" / "template.yaml")
    log = (ROOT / "chalicelib" / "core" / "log.py").read_text(encoding="utf-8")
    (project / "chalicelib" / "log.py").write_text(log.replace("chalicelib.core.", "chalicelib."), encoding="utf-8")
    rows = project / "tests" / "fixtures" / "rows" / "v-now"
    shutil.copytree(written, rows)
    recorded_now = json.loads((rows / "recorded.json").read_text(encoding="utf-8"))
    recorded_now["answers"] = {
        path: as_previous_version(path, response) for path, response in recorded_now["answers"].items()
    }
    (rows / "recorded.json").write_text(json.dumps(recorded_now), encoding="utf-8")
    selected = ("tests/service/test_stored_rows.py", "-k", "not first_version")
    run(project, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:cov", *selected)


def as_previous_version(path: str, response: dict[str, Any]) -> dict[str, Any]:
    """A recorded response without what the previous version does not know, or defines in another way.

    A log has `openUntil` since then, and `complete` is false until that time. It is true for an earlier attempt.
    """
    differs = response.get("openUntil") or "?attempt=" in path
    later = {"openUntil", *(["complete"] if differs else [])}
    return {name: value for name, value in response.items() if name not in later}


def archived(version: str) -> bytes:
    """A tar archive of the code that recorded these rows. Skips the test if git does not have that commit."""
    recorded = f"tests/fixtures/rows/{version}/recorded.json"
    if _git("rev-parse", "--is-shallow-repository").strip() != b"false":
        pytest.skip("this clone is shallow, so its first commit is not the commit that added the rows")
    commit = _git("log", "-1", "--diff-filter=A", "--format=%H", "--", recorded).decode().strip()
    if not commit:
        pytest.skip(f"git does not know the commit that added {recorded}")
    return _git("archive", commit)


def _git(*arguments: str) -> bytes:
    try:
        return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"there is no git history with earlier code: {error}")
