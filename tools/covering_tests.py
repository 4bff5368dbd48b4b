"""Which tests run a line of code. `make mutate` runs only these on a change of the line.

The answer comes from one run of all tests, with coverage by test (`--cov-context=test`) and with the duration of each
test (`--junitxml`).
"""

import ast
import sqlite3
import xml.etree.ElementTree as ET  # the name that everybody uses
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

DEFAULT_SECONDS = 0.1
"""The assumed duration of a test that has none."""


class Selection(NamedTuple):
    """Some of the tests that run a line."""

    tests: list[str]
    """In the order in which they are to run."""
    seconds: float
    """How long they take on the unchanged code."""
    covering: int
    """The number of all tests that run the line."""

    @property
    def is_complete(self) -> bool:
        return len(self.tests) == self.covering


class CoveringTests:
    """The tests by the lines that they run."""

    def __init__(self, data: Path, report: Path, root: Path) -> None:
        """Read the data file of coverage.py, which must have branches, and the report of the same run.

        `root`: the repository that the tests ran in.
        """
        self._durations = dict(_read_durations(report))
        self._lines: dict[str, dict[int, set[str]]] = defaultdict(lambda: defaultdict(set))
        self._sizes: Counter[str] = Counter()
        with closing(sqlite3.connect(data)) as database:
            query = (
                "SELECT path, context, fromno, tono FROM arc"
                " JOIN file ON file.id = file_id JOIN context ON context.id = context_id WHERE context <> ''"
            )
            for path, context, start, end in database.execute(query):
                test = context.rpartition("|")[0]  # without the phase of the test
                self._sizes[test] += 1
                of_module = self._lines[str(Path(path).relative_to(root))]
                for line in (start, end):
                    if line > 0:  # the others are entries and exits of functions
                        of_module[line].add(test)

    def select(self, module: Path, source: str, line: int, limit: float) -> Selection:
        """The tests that run the statement at a line, as many as take at most `limit` seconds together, at least one.

        If no test runs it, because it runs when the module is imported, these are the tests that run anything in the
        module. The tests that run the least code come first, because they test this line rather than others.
        """
        lines = self._lines.get(str(module), {})
        found = {test for each in statement_lines(source, line) for test in lines.get(each, ())}
        found = found or {test for tests in lines.values() for test in tests}
        chosen: list[str] = []
        seconds = 0.0
        for test in sorted(found, key=lambda each: (self._sizes[each], each)):
            duration = self._durations.get(test, DEFAULT_SECONDS)
            if chosen and seconds + duration > limit:
                continue
            chosen.append(test)
            seconds += duration
        return Selection(chosen, seconds, len(found))


def _read_durations(report: Path) -> Iterator[tuple[str, float]]:
    for case in ET.parse(report).iter("testcase"):  # noqa: S314  # pytest has written it
        path = case.attrib["classname"].replace(".", "/") + ".py"
        yield f"{path}::{case.attrib['name']}", float(case.attrib["time"])


def statement_lines(source: str, line: int) -> range:
    """The lines of the innermost statement that contains a line; of a compound statement, those of its head."""
    lines = range(line, line + 1)
    for node in ast.walk(ast.parse(source)):  # from the outside to the inside
        if isinstance(node, ast.stmt) and node.lineno <= line <= (node.end_lineno or node.lineno):
            body = getattr(node, "body", None)
            end = body[0].lineno if body else (node.end_lineno or node.lineno) + 1
            if line < end or not body:
                lines = range(node.lineno, max(end, node.lineno + 1))
    return lines
