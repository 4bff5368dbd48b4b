"""`make mutate`: change the code at random places, one at a time, and list the changes that no test notices.

    python tools/mutate.py [--seed SEED] [--count COUNT] [--no-baseline] [MODULE ...]

Cosmic Ray (https://cosmic-ray.readthedocs.io) finds the places and makes the changes. This program draws the sample,
which depends only on the seed and the code, and chooses the tests. `[tool.cosmic-ray]` in pyproject.toml names the
modules, and the tests of each source tree. Type annotations are never changed, because they do nothing at run time.

The changes are made in a copy of the repository, .cache/mutate, so that an interrupted run leaves the original alone.
Only one run at a time uses the copy.
The exit status is 0 if the sample was tested, whatever survived. It is 1 if the unchanged code does not pass its tests,
or if tests could not run.
"""

import argparse
import ast
import fcntl
import os
import random
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Literal, NamedTuple, TextIO

from cosmic_ray.commands.init import init
from cosmic_ray.mutating import mutate_and_test
from cosmic_ray.testing import run_tests
from cosmic_ray.work_db import WorkDB
from cosmic_ray.work_item import MutationSpec, TestOutcome

ROOT = Path(__file__).parents[1]
COPY = ROOT / ".cache" / "mutate"

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


def main() -> int:
    options = _parse_options()
    config = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["cosmic-ray"]
    with _lock_copy():
        _copy_repository()
        os.chdir(COPY)
        return _run(options, config)


def _run(options: argparse.Namespace, config: dict[str, Any]) -> int:
    os.environ["PYTHONPATH"] = os.pathsep.join([str(COPY / "agent" / "src"), str(COPY)])
    modules = [Path(name) for name in options.modules] or _find_modules(config)
    sample = draw_sample(find_mutations(modules), options.seed, options.count)
    trees = sorted({_tree_of(mutation.module_path, config) for mutation in sample})
    if options.baseline and not all(_passes_unchanged(tree, config) for tree in trees):
        return 1
    results = []
    for mutation in sample:
        results.append(_test(mutation, config))
        status, detail, place = results[-1]
        print(f"{status:8} {place}{'' if status == 'survived' else f' ({detail})'}", flush=True)
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
    parser.add_argument("--no-baseline", dest="baseline", action="store_false", help="do not test the unchanged code")
    parser.add_argument("modules", nargs="*", metavar="MODULE", help="only change these, relative to the repository")
    return parser.parse_args()


def _lock_copy() -> TextIO:
    """Let no other run change the copy until this process ends. Raises SystemExit if another run uses it."""
    COPY.parent.mkdir(exist_ok=True)
    lock = COPY.with_suffix(".lock").open("w", encoding="utf-8")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.exit("Another `make mutate` is running in this repository. Wait until it ends, or stop it.")
    return lock


def _copy_repository() -> None:
    """Copy what git tracks or would track, as it is in the working tree."""
    shutil.rmtree(COPY, ignore_errors=True)
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.run(listed, cwd=ROOT, check=True, capture_output=True).stdout.decode().split("\0"):
        source, target = ROOT / name, COPY / name
        if source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
    (COPY / ".venv").symlink_to(ROOT / ".venv")


def _find_modules(config: dict[str, Any]) -> list[Path]:
    return sorted({path for pattern in config["modules"] for path in Path().glob(pattern)})


def find_mutations(modules: list[Path]) -> list[MutationSpec]:
    """Return every change that Cosmic Ray can make to these modules, except to type annotations."""
    database = COPY / "mutations.sqlite"
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


def _test_command(tree: str, config: dict[str, Any], module: Path | None = None) -> str:
    """Return the command that runs the tests of a source tree. The tests that mention a module most come first."""
    tests = sorted(path for directory in config["tests"][tree] for path in Path(directory).rglob("test_*.py"))
    if module is not None:
        package = ".".join(module.relative_to(_import_root(tree)).with_suffix("").parts)
        texts = {path: path.read_text(encoding="utf-8") for path in tests}
        tests.sort(key=lambda path: -_count_mentions(texts[path], package))
    arguments = ["-q", "-x", "-n", "2", "--dist", "worksteal", "-p", "no:cacheprovider"]
    command = shlex.join([str(ROOT / ".venv" / "bin" / "python"), "-m", "pytest", *arguments, *map(str, tests)])
    return shlex.join(["sh", "-c", f"{command} 2>&1"])  # Cosmic Ray returns the standard output only


def _import_root(tree: str) -> Path:
    """Return the directory that the modules of a tree are imported from."""
    return Path(tree).parent


def _count_mentions(text: str, module: str) -> int:
    """Count how often a test mentions a module. An import counts a hundred times as much as the feature's name."""
    parent, _, name = module.rpartition(".")
    imports = re.findall(rf"\b{re.escape(parent)}(?:\.| import .*\b){name}\b", text)
    return 100 * len(imports) + len(re.findall(rf"\b{parent.rpartition('.')[2]}\b", text))


def _passes_unchanged(tree: str, config: dict[str, Any]) -> bool:
    outcome, output = run_tests(_test_command(tree, config), config["timeout"])
    if outcome is TestOutcome.SURVIVED:
        print(f"the unchanged code of {tree} passes its tests", flush=True)
        return True
    print(f"{output}\nthe unchanged code of {tree} does not pass its tests", file=sys.stderr)
    return False


def _test(mutation: MutationSpec, config: dict[str, Any]) -> Result:
    """Make a change, run the tests and undo it."""
    module = mutation.module_path
    done = mutate_and_test([mutation], _test_command(_tree_of(module, config), config, module), config["timeout"])
    place = f"{module}:{mutation.start_pos[0]} {mutation.operator_name.removeprefix('core/')}"
    if done.test_outcome is TestOutcome.SURVIVED:
        return Result("survived", done.diff or "", place)
    return Result(*judge(done.output or ""), place=place)


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
