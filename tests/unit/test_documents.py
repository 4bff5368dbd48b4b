"""What the documents point at is there: files, links between them, and the tests that hold a promise."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "bench" / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]

_PATH = re.compile(r"`((?:tests|chalicelib|infra|examples|docs|\.chalice)/[\w./-]+)(?:::(\w+))?`")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)

every_document = pytest.mark.parametrize("document", DOCUMENTS, ids=[str(path.relative_to(ROOT)) for path in DOCUMENTS])


@every_document
def test_every_path_and_every_test_that_is_named_is_there(document: Path) -> None:
    for path, test in _PATH.findall(document.read_text(encoding="utf-8")):
        named = ROOT / path
        assert named.exists(), path
        assert not test or f"def {test}(" in named.read_text(encoding="utf-8"), (path, test)


@every_document
def test_every_link_leads_somewhere(document: Path) -> None:
    for link in _LINK.findall(document.read_text(encoding="utf-8")):
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = document.parent / path if path else document
        assert target.exists(), link
        assert not anchor or anchor in _anchors(target), link


def _anchors(document: Path) -> set[str]:
    """The anchors of a document's headings, as they are made of them where it is read."""
    headings = _HEADING.findall(document.read_text(encoding="utf-8"))
    return {re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


def test_every_letter_of_a_tasks_life_has_a_test_of_that_letter() -> None:
    states = (ROOT / "docs" / "states.md").read_text(encoding="utf-8")
    rules = (ROOT / "tests" / "unit" / "test_task_model.py").read_text(encoding="utf-8")
    for letter in "bcdefg":
        assert f"def test_letter_{letter}_" in rules
        assert f"::test_letter_{letter}_" in states
