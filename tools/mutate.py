"""`make mutate`: change the code at random places, one at a time, and list the changes that no test notices.

    python tools/mutate.py [--seed SEED] [--count COUNT] [--limit SECONDS] [--no-baseline] [MODULE ...]

Cosmic Ray (https://cosmic-ray.readthedocs.io) finds the places and makes the changes. This program draws the sample,
which depends only on the seed and the code, and chooses the tests. `[tool.cosmic-ray]` in pyproject.toml names the
modules, and the tests of each source tree. Type annotations are never changed, because they do nothing at run time.

First all tests run on the unchanged code, and coverage.py records which tests run which lines. On a change only the
tests run that run the changed line, up to `--limit` seconds of them, and only until the first one fails. Tests that
work in other processes are not recorded, so for the trees of `unrecorded` all tests run. The recording is kept, and is
used again while no file changes.

The changes are made in two copies of the repository in .cache/mutate, two at a time, so that an interrupted run leaves
the original alone. Only one run at a time uses the copies.
The exit status is 0 if the sample was tested, whatever survived. It is 1 if the unchanged code does not pass its tests,
or if tests could not run.
"""

import argparse
import ast
import fcntl
import hashlib
import os
import queue
import random
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, TextIO

import attrs
from cosmic_ray.commands.init import init
from cosmic_ray.mutating import mutate_and_test
from cosmic_ray.testing import run_tests
from cosmic_ray.work_db import WorkDB
from cosmic_ray.work_item import MutationSpec, TestOutcome

from tools.covering_tests import CoveringTests, Selection

ROOT = Path(__file__).parents[1]
COPIES = [ROOT / ".cache" / "mutate" / name for name in ("one", "two")]
"""As many changes are tested at a time."""

RECORDINGS = ROOT / ".cache" / "mutate-recordings"
PYTHON = ROOT / ".venv" / "bin" / "python"

Position = tuple[int, int]
"""A line from 1 and a column from 0."""


class Span(NamedTuple):
    """A part of a module."""

    start: Position
    end: Position


Status = Literal["noticed", "survived", "unclear"]


class Result(NamedTuple):
    """What the tests made of a change. `detail` is the first test that failed, or the diff of a survivor."""

    status: Status
    detail: str
    place: str
    tests: str = ""
    """Which tests ran, if not all that run the changed line."""


def main() -> int:
    options = _parse_options()
    config = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["cosmic-ray"]
    with _lock_copies():
        files = _list_files()
        for copy in COPIES:
            _copy_repository(files, copy)
        os.chdir(COPIES[0])
        return _run(options, config, _digest(files))


def _run(options: argparse.Namespace, config: dict[str, Any], digest: str) -> int:
    modules = [Path(name) for name in options.modules] or _find_modules(config)
    sample = draw_sample(find_mutations(modules), options.seed, options.count)
    recordings: dict[str, CoveringTests] = {}
    for tree in sorted({_tree_of(mutation.module_path, config) for mutation in sample}):
        if tree in config["unrecorded"]:
            if options.baseline and not _passes_unchanged(tree, config):
                return 1
            continue
        if not _has_recording(tree, digest, options) and not _record(tree, config, digest):
            return 1
        recordings[tree] = CoveringTests(_recording(tree, "coverage"), _recording(tree, "xml"), COPIES[0])
    tester = Tester(config, recordings, options.limit)
    results = []
    with ThreadPoolExecutor(len(COPIES)) as pool:
        for result in pool.map(tester.test, sample):
            results.append(result)
            status, detail, place, tests = result
            print(f"{status:8} {place}{tests}{'' if status == 'survived' else f' ({detail})'}", flush=True)
    for result in results:
        if result.status == "survived":
            print(f"\n{result.place}\n{result.detail}")
    counts = Counter(result.status for result in results)
    print(f"\nseed {options.seed}: the tests noticed {counts['noticed']} of {len(results)} changes")
    if counts["unclear"]:
        print(f"{counts['unclear']} are unclear, because the tests could not run", file=sys.stderr)
    return 1 if counts["unclear"] else 0


def _parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make mutate", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seed", type=int, default=1, help="selects the sample")
    parser.add_argument("--count", type=int, default=20, help="the size of the sample")
    parser.add_argument(
        "--limit",
        type=float,
        default=60,
        help="seconds of the tests that run on a change, as long as the code is unchanged",
    )
    parser.add_argument(
        "--no-baseline",
        dest="baseline",
        action="store_false",
        help="do not test the unchanged code, and use the last recording even if files have changed since",
    )
    parser.add_argument("modules", nargs="*", metavar="MODULE", help="only change these, relative to the repository")
    return parser.parse_args()


def _lock_copies() -> TextIO:
    """Let no other run change the copies until this process ends. Raises SystemExit if another run uses them."""
    directory = COPIES[0].parent
    directory.mkdir(parents=True, exist_ok=True)
    lock = directory.with_suffix(".lock").open("w", encoding="utf-8")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.exit("Another `make mutate` is running in this repository. Wait until it ends, or stop it.")
    return lock


def _list_files() -> list[str]:
    """What git tracks or would track."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True).stdout.decode().split("\0")
    return sorted(name for name in names if (ROOT / name).is_file())


def _copy_repository(files: list[str], copy: Path) -> None:
    """Copy these files as they are in the working tree."""
    shutil.rmtree(copy, ignore_errors=True)
    for name in files:
        target = copy / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, target)
    (copy / ".venv").symlink_to(ROOT / ".venv")


def _digest(files: list[str]) -> str:
    digest = hashlib.blake2s()
    for name in files:
        digest.update(f"{name}\0".encode() + hashlib.blake2s((ROOT / name).read_bytes()).digest())
    return digest.hexdigest()


def _find_modules(config: dict[str, Any]) -> list[Path]:
    return sorted({path for pattern in config["modules"] for path in Path().glob(pattern)})


def find_mutations(modules: list[Path]) -> list[MutationSpec]:
    """Return every change that Cosmic Ray can make to these modules, except to type annotations."""
    database = COPIES[0] / "mutations.sqlite"
    with closing(WorkDB(database, WorkDB.Mode.create)) as work:
        init(modules, work, {})
        found = [mutation for item in work.work_items for mutation in item.mutations]
    database.unlink()
    annotations = {module: list(find_annotations(module.read_text(encoding="utf-8"))) for module in modules}
    return [
        mutation
        for mutation in found
        if not any(
            span.start <= tuple(mutation.start_pos) and tuple(mutation.end_pos) <= span.end
            for span in annotations[mutation.module_path]
        )
    ]


def find_annotations(source: str) -> Iterator[Span]:
    """Yield the spans of the type annotations of a module."""
    for node in ast.walk(ast.parse(source)):
        found = getattr(node, "annotation", None) or getattr(node, "returns", None)
        if isinstance(found, ast.expr):
            end = (found.end_lineno or found.lineno, found.end_col_offset or 0)
            yield Span((found.lineno, found.col_offset), end)


def draw_sample(mutations: list[MutationSpec], seed: int, count: int) -> list[MutationSpec]:
    """Draw places and then one change to each, so that operators with many variants are not drawn more often."""
    places = defaultdict(list)
    for mutation in mutations:
        places[mutation.module_path.as_posix(), *mutation.start_pos].append(mutation)
    chance = random.Random(seed)  # noqa: S311  # the same seed must draw the same sample
    drawn = chance.sample(sorted(places), min(count, len(places)))
    return [
        chance.choice(sorted(places[place], key=lambda each: (each.operator_name, each.occurrence))) for place in drawn
    ]


def _tree_of(module: Path, config: dict[str, Any]) -> str:
    return next(str(tree) for tree in config["tests"] if module.is_relative_to(tree))


_OPTIONS = ["-q", "-p", "no:cacheprovider", "--hypothesis-profile=ci"]
"""Hypothesis's own profile "ci" generates the same examples in every run, and allows each any time."""


def _pytest(copy: Path, *arguments: str, environment: Mapping[str, str] | None = None) -> str:
    """Return the command that runs pytest in a copy of the repository."""
    paths = os.pathsep.join([str(copy / "agent" / "src"), str(copy)])
    variables = [f"{name}={value}" for name, value in {"PYTHONPATH": paths, **(environment or {})}.items()]
    command = shlex.join(["env", *variables, str(PYTHON), "-m", "pytest", *_OPTIONS, *arguments])
    # Cosmic Ray returns the standard output only.
    return shlex.join(["sh", "-c", f"cd {shlex.quote(str(copy))} && exec {command} 2>&1"])


def _find_tests(tree: str, config: dict[str, Any]) -> list[Path]:
    """Return the modules of the tests of a source tree."""
    return sorted(path for directory in config["tests"][tree] for path in Path(directory).rglob("test_*.py"))


def _by_mentions(tests: list[Path], tree: str, module: Path) -> list[Path]:
    """Return the tests in another order: those that mention a module most come first."""
    package = ".".join(module.relative_to(Path(tree).parent).with_suffix("").parts)
    texts = {path: path.read_text(encoding="utf-8") for path in tests}
    return sorted(tests, key=lambda path: -_count_mentions(texts[path], package))


def _count_mentions(text: str, module: str) -> int:
    """Count how often a test mentions a module. An import counts a hundred times as much as the feature's name."""
    parent, _, name = module.rpartition(".")
    imports = re.findall(rf"\b{re.escape(parent)}(?:\.| import .*\b){name}\b", text)
    return 100 * len(imports) + len(re.findall(rf"\b{parent.rpartition('.')[2]}\b", text))


def _passes_unchanged(tree: str, config: dict[str, Any], **more: Any) -> bool:
    arguments = ["-x", "-n", "2", "--dist", "worksteal", *more.pop("arguments", ())]
    command = _pytest(COPIES[0], *arguments, *map(str, _find_tests(tree, config)), **more)
    outcome, output = run_tests(command, config["timeout"])
    if outcome is TestOutcome.SURVIVED:
        print(f"the unchanged code of {tree} passes its tests", flush=True)
        return True
    print(f"{output}\nthe unchanged code of {tree} does not pass its tests", file=sys.stderr)
    return False


# Recordings: which tests run which lines.


def _recording(tree: str, kind: str) -> Path:
    return RECORDINGS / f"{tree.replace('/', '-')}.{kind}"


def _has_recording(tree: str, digest: str, options: argparse.Namespace) -> bool:
    stored = _recording(tree, "digest")
    return stored.exists() and (not options.baseline or stored.read_text(encoding="utf-8") == digest)


def _record(tree: str, config: dict[str, Any], digest: str) -> bool:
    """Run all tests of a tree on the unchanged code, and keep which lines each runs. False if a test fails."""
    RECORDINGS.mkdir(parents=True, exist_ok=True)
    _recording(tree, "digest").unlink(missing_ok=True)
    passes = _passes_unchanged(
        tree,
        config,
        arguments=[f"--cov={tree}", "--cov-context=test", "--cov-report=", f"--junitxml={_recording(tree, 'xml')}"],
        environment={"COVERAGE_FILE": str(_recording(tree, "coverage"))},
    )
    if passes:
        _recording(tree, "digest").write_text(digest, encoding="utf-8")
    return passes


@dataclass
class Tester:
    """Tests changes, each in a copy that no other change uses at the time."""

    config: dict[str, Any]
    recordings: dict[str, CoveringTests]
    limit: float

    def __post_init__(self) -> None:
        self._copies: queue.SimpleQueue[Path] = queue.SimpleQueue()
        for copy in COPIES:
            self._copies.put(copy)

    def test(self, mutation: MutationSpec) -> Result:
        """Make a change, run the tests and undo it."""
        copy = self._copies.get()
        try:
            return self._test_in(copy, mutation)
        finally:
            self._copies.put(copy)

    def _test_in(self, copy: Path, mutation: MutationSpec) -> Result:
        module = mutation.module_path
        tree = _tree_of(module, self.config)
        place = f"{module}:{mutation.start_pos[0]} {mutation.operator_name.removeprefix('core/')}"
        timeout, selection = self.config["timeout"], self._select(copy, tree, mutation)
        if selection is None:
            tests = [str(path) for path in _by_mentions(_find_tests(tree, self.config), tree, module)]
        elif selection.tests:
            timeout = min(timeout, 60 + 10 * selection.seconds)
            tests = selection.tests
        else:
            return Result("survived", "no test runs the module", place)
        names = copy.with_suffix(".tests")
        names.write_text("\n".join(tests), encoding="utf-8")
        command = _pytest(copy, "-x", "-n", "0", f"--timeout={TEST_TIMEOUT}", f"@{names}")
        done = mutate_and_test([attrs.evolve(mutation, module_path=copy / module)], command, timeout)
        if done.test_outcome is TestOutcome.SURVIVED:
            diff = (done.diff or "").replace(f"/{copy}", "")
            return Result("survived", diff, place, _describe(selection))
        return Result(*judge(done.output or ""), place=place)

    def _select(self, copy: Path, tree: str, mutation: MutationSpec) -> Selection | None:
        """The tests to run on a change. None: all of its tree."""
        if tree not in self.recordings:
            return None
        source = (copy / mutation.module_path).read_text(encoding="utf-8")
        return self.recordings[tree].select(mutation.module_path, source, mutation.start_pos[0], self.limit)


TEST_TIMEOUT = 60
"""Seconds after which a test has noticed a change that makes it endless."""


def _describe(selection: Selection | None) -> str:
    if selection is None or selection.is_complete:
        return ""
    return f" ({len(selection.tests)} of {selection.covering} tests ran; --limit sets how many)"


def judge(output: str) -> tuple[Status, str]:
    """Return what the output of tests that did not pass means, and why.

    A failure counts only if pytest reports it. Otherwise a missing package would look like a change that was noticed.
    """
    if output == "timeout":
        return "noticed", "the tests did not end in time"
    failed = re.search(r"^(?:FAILED|ERROR) (\S+)", output, re.MULTILINE)
    if failed is not None:
        return "noticed", failed[1]
    lines = output.strip().splitlines() or ["no output"]
    return ("noticed" if "while loading conftest" in output else "unclear"), lines[-1]


if __name__ == "__main__":
    sys.exit(main())
