"""`make mutate`: which tests run on a change of a line."""

from pathlib import Path

import pytest
from coverage import CoverageData

from tools.covering_tests import CoveringTests, statement_lines

MODULE = Path("package/module.py")
SOURCE = """\
LIMIT = 5

def add(one, other):
    if one is None:
        return (
            other
        )
    return one + other
"""

REPORT = """\
<testsuites><testsuite>
<testcase classname="tests.unit.test_add" name="test_add[1]" time="0.5" />
<testcase classname="tests.unit.test_add" name="test_none" time="2.0" />
<testcase classname="tests.http.test_all" name="test_all" time="30.0" />
</testsuite></testsuites>
"""

ADD, NONE, ALL = (
    "tests/unit/test_add.py::test_add[1]",
    "tests/unit/test_add.py::test_none",
    "tests/http/test_all.py::test_all",
)


@pytest.fixture
def recorded(tmp_path: Path) -> CoveringTests:
    """`test_add` runs line 8, `test_none` the lines 5 and 6, and `test_all` all of them and another module."""
    data = CoverageData(basename=str(tmp_path / "coverage"))
    module, other = str(tmp_path / MODULE), str(tmp_path / "package/other.py")
    for context, arcs in (
        ("", {module: [(-1, 1), (1, 3), (3, -1)]}),
        (f"{ADD}|run", {module: [(-3, 4), (4, 8), (8, -3)]}),
        (f"{NONE}|run", {module: [(-3, 4), (4, 5), (5, 6), (6, -3)]}),
        (f"{ALL}|setup", {module: [(-3, 4), (4, 8), (8, -3)], other: [(-1, 1), (1, 2), (2, -1)]}),
        (f"{ALL}|run", {module: [(-3, 4), (4, 5), (5, 6), (6, -3)]}),
    ):
        data.set_context(context)
        data.add_arcs(arcs)
    data.write()
    report = tmp_path / "report.xml"
    report.write_text(REPORT, encoding="utf-8")
    return CoveringTests(Path(data.data_filename()), report, tmp_path)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (8, [ADD, ALL]),
        (4, [ADD, NONE, ALL]),
        (5, [NONE, ALL]),
        (7, [NONE, ALL]),  # the end of a statement of several lines
        (1, [ADD, NONE, ALL]),  # it runs when the module is imported
        (3, [ADD, NONE, ALL]),
    ],
)
def test_tests_of_a_line_come_with_the_most_specific_one_first(
    recorded: CoveringTests, line: int, expected: list[str]
) -> None:
    selected = recorded.select(MODULE, SOURCE, line, limit=100)
    assert selected.tests == expected
    assert selected.is_complete


def test_tests_above_the_limit_are_left_out(recorded: CoveringTests) -> None:
    selected = recorded.select(MODULE, SOURCE, 4, limit=31)
    assert (selected.tests, selected.seconds, selected.covering) == ([ADD, NONE], 2.5, 3)
    assert not selected.is_complete
    assert recorded.select(MODULE, SOURCE, 5, limit=1).tests == [NONE]


def test_module_that_no_test_runs_has_no_tests(recorded: CoveringTests) -> None:
    assert recorded.select(Path("package/unused.py"), SOURCE, 1, limit=100).tests == []


@pytest.mark.parametrize(
    ("line", "expected"), [(1, range(1, 2)), (3, range(3, 4)), (4, range(4, 5)), (6, range(5, 8)), (8, range(8, 9))]
)
def test_statement_has_its_own_lines_and_not_those_of_its_body(line: int, expected: range) -> None:
    assert statement_lines(SOURCE, line) == expected
