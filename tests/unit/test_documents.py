"""The files and tests that the documents name exist. tests/unit/test_document_links.py checks their links."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]

_PATH = re.compile(r"`((?:tests|chalicelib|infra|examples|docs|\.chalice)/[\w./-]+)(?:::(\w+))?`")

every_document = pytest.mark.parametrize("document", DOCUMENTS, ids=[str(path.relative_to(ROOT)) for path in DOCUMENTS])


@every_document
def test_paths_and_tests_that_documents_name_exist(document: Path) -> None:
    for path, test in _PATH.findall(document.read_text(encoding="utf-8")):
        file = ROOT / path
        assert file.exists(), path
        assert not test or f"def {test}(" in file.read_text(encoding="utf-8"), (path, test)


def test_every_letter_in_states_document_has_a_test() -> None:
    states = (ROOT / "docs" / "states.md").read_text(encoding="utf-8")
    rules = (ROOT / "tests" / "unit" / "test_task_rules.py").read_text(encoding="utf-8")
    for letter in "bcdefg":
        assert f"def test_letter_{letter}_" in rules
        assert f"::test_letter_{letter}_" in states


def test_every_threat_to_the_agents_machine_has_a_test() -> None:
    text = (ROOT / "docs" / "agent.md").read_text(encoding="utf-8")
    table = text.partition("| Threat | Mitigation | Test |\n")[2].partition("\n\n")[0]
    rows = [row.strip("| ").split(" | ") for row in table.splitlines()[1:]]

    assert len(rows) > 25
    for threat, mitigation, tests in rows:
        assert mitigation
        names = re.findall(r"`([\w/]+\.py)`", tests)
        assert names, threat
        assert [name for name in names if not (ROOT / "agent" / "tests" / name).is_file()] == [], threat
