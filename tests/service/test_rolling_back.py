"""Rolling back: code of an earlier version, over the rows that this one has written meanwhile.

Of every earlier version it is known what it wrote (tests/fixtures/rows), which is what it reads. So this version tells
the same story again, and whatever the earlier one had in its rows, these must have, in the same type. That needs
nothing but the files. Where git knows the code of the version before, that very code is run over them as well.
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

pytestmark = pytest.mark.timeout(900)  # processes of their own, on whatever machine
ROOT = Path(__file__).parents[2]
VERSIONS = sorted(directory.name for directory in HERE.iterdir() if (directory / "recorded.json").exists())
PATIENCE = 600
RECORD = "import sys, pathlib; from tests.fixtures.rows import record; record.main('v-now', pathlib.Path(sys.argv[1]))"
CLOSED = ("status", "state", "type", "event", "enabled", "attempt", "progress", "sends")
"""What earlier code branches on, or reckons with."""

Row = dict[str, Any]


def run(directory: Path, *command: str) -> None:
    """Run Python there, with nothing of this process's settings."""
    env = environment.outside() | {"PYTHONPATH": os.fspath(directory), "PYTHONDONTWRITEBYTECODE": "1"}
    ran = subprocess.run(
        [sys.executable, *command],
        cwd=directory,
        env=env,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout[-10_000:] + ran.stderr[-10_000:]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of the rows that this version writes, in the form of the fixtures."""
    here = tmp_path_factory.mktemp("rows")
    run(ROOT, "-c", RECORD, os.fspath(here))
    return here / "v-now"


def kind(table: str, row: Row) -> str:
    """Which row of the story it is; the same in every version, but for ids that are made up."""
    if table == "users":
        return "the user"
    if table == "logins":
        return str(row["login"]["S"]).partition("#")[0]
    if table == "agents":
        return str(row["agent"]["S"])
    part = str(row["sk"]["S"]).partition("#")[0]
    if table == "webhooks":
        return f"{part} {_text(row, 'description') or _text(row, 'event')}"
    task = str(row["pk"]["S"]).partition("#")[2]
    return f"{'retry' if task.startswith('task-') else task} {part} {_text(row, 'type')}"


def _text(row: Row, name: str) -> str:
    return str(row.get(name, {}).get("S", ""))


def told(directory: Path, table: str) -> dict[str, list[Row]]:
    """The rows of a table by their kind."""
    found: dict[str, list[Row]] = {}
    for row in json.loads((directory / f"{table}.json").read_text(encoding="utf-8")):
        found.setdefault(kind(table, row), []).append(row)
    return found


def typed(row: Row) -> set[tuple[str, str]]:
    """The attributes of a row with their types."""
    return {(name, tag) for name, value in row.items() for tag in value}


def lost(before: list[Row], after: list[Row]) -> Iterator[str]:
    """What earlier code finds in every such row, or knows the values of, and would not find as it was."""
    if not after:
        yield "no such row"
        return
    had, has = [typed(row) for row in before], [typed(row) for row in after]
    for name, tag in sorted(had[0].intersection(*had) - has[0].intersection(*has)):
        yield f"no {name} of type {tag}"
    known: dict[str, set[str]] = {}
    for name, tag in set().union(*had):
        known.setdefault(name, set()).add(tag)
    for name, tag in sorted(set().union(*has)):
        if name in known and tag not in known[name]:
            yield f"{name} of type {tag}, which was {' or '.join(sorted(known[name]))}"
    for name in CLOSED:
        values = [{json.dumps(row.get(name)) for row in rows} for rows in (before, after)]
        if name in known and values[0] != values[1]:
            yield f"{name} is {values[1]} and was {values[0]}"


@pytest.mark.parametrize("version", VERSIONS)
def test_whatever_an_earlier_version_had_in_its_rows_is_in_those_of_this_one(version: str, written: Path) -> None:
    wrong = []
    for table in [name for name in TABLES if (HERE / version / f"{name}.json").exists()]:
        before, after = told(HERE / version, table), told(written, table)
        wrong += [f"{table}, {name}: {what}" for name in before for what in lost(before[name], after.get(name, []))]
    assert wrong == []


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"status": None}, ["no status of type S", "status is {'null'} and was {'{\"S\": \"queued\"}'}"]),
        ({"priority": {"S": "5"}}, ["no priority of type N", "priority of type S, which was N"]),
        ({"status": {"S": "waiting"}}, ['status is {\'{"S": "waiting"}\'} and was {\'{"S": "queued"}\'}']),
        ({"note": {"S": "what only newer code knows"}}, []),
    ],
)
def test_what_would_be_lost_is_noticed(change: dict[str, Any], expected: list[str]) -> None:
    before = {"status": {"S": "queued"}, "priority": {"N": "5"}}
    after = {name: value for name, value in (before | change).items() if value is not None}
    assert list(lost([before], [after])) == expected


def test_the_code_of_the_version_before_goes_on_from_the_rows_of_this_one(written: Path, tmp_path: Path) -> None:
    """The version before, with its own test_stored_rows.py, over this version's rows and this version's tables.

    Its log.py is replaced by ours, since the library that it uses may not be installed any more.
    """
    earlier, project = archived(VERSIONS[-1]), tmp_path / "project"
    with tarfile.open(fileobj=BytesIO(earlier)) as opened:
        opened.extractall(project, filter="data")
    for recorded in VERSIONS:  # the fixtures of earlier versions were tested by that version
        shutil.rmtree(project / "tests" / "fixtures" / "rows" / recorded, ignore_errors=True)
    shutil.copy(ROOT / "infra" / "template.yaml", project / "infra" / "template.yaml")
    log = (ROOT / "chalicelib" / "core" / "log.py").read_text(encoding="utf-8")
    (project / "chalicelib" / "log.py").write_text(log.replace("chalicelib.core.", "chalicelib."), encoding="utf-8")
    shutil.copytree(written, project / "tests" / "fixtures" / "rows" / "v-now")
    asked = ("tests/service/test_stored_rows.py", "-k", "not first_version")
    run(project, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:cov", *asked)


def archived(version: str) -> bytes:
    """The code that recorded these rows, as git has it; skips where there is no git, or it does not go back so far."""
    recorded = f"tests/fixtures/rows/{version}/recorded.json"
    if _git("rev-parse", "--is-shallow-repository").strip() != b"false":
        pytest.skip("this clone is shallow: what git knows as the first commit is none")
    commit = _git("log", "-1", "--diff-filter=A", "--format=%H", "--", recorded).decode().strip()
    if not commit:
        pytest.skip(f"git does not know the commit that added {recorded}")
    return _git("archive", commit)


def _git(*arguments: str) -> bytes:
    try:
        return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"there is no history to take earlier code from: {error}")
