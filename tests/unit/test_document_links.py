"""Every relative link of the documents leads to a file that exists, and to a heading that this file has."""

import re
from pathlib import Path

import pytest

from infra.reference.regions import to_anchor

ROOT = Path(__file__).parents[2]
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *(path for path in [ROOT / "agent" / "README.md"] if path.exists()),
]

_LINK = re.compile(r"\]\(([^)\s]+)\)")
_SOURCE = re.compile(r"""(?:src|srcset|href)="([^"]+)\"""")
_FENCE = re.compile(r"^ *```.*?^ *```", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`[^`\n]*`")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


@pytest.mark.parametrize("document", DOCUMENTS, ids=[str(path.relative_to(ROOT)) for path in DOCUMENTS])
def test_every_link_leads_to_a_file_and_a_heading(document: Path) -> None:
    assert [link for link in links(document) if not _resolves(document, link)] == []


def links(document: Path) -> list[str]:
    """The relative links and pictures of a document, outside of code."""
    text = _FENCE.sub("", document.read_text(encoding="utf-8"))
    found = [*_LINK.findall(_CODE.sub("`code`", text)), *_SOURCE.findall(_CODE.sub("`code`", text))]
    return [link for link in found if not link.startswith(("https://", "http://", "mailto:"))]


def _resolves(document: Path, link: str) -> bool:
    path, _, anchor = link.partition("#")
    target = document.parent / path if path else document
    return target.exists() and (not anchor or target.suffix != ".md" or anchor in anchors(target))


def anchors(document: Path) -> set[str]:
    """The anchors that GitHub gives to a document's headings; a heading that comes twice gets a number."""
    found: dict[str, int] = {}
    for heading in _HEADING.findall(_FENCE.sub("", document.read_text(encoding="utf-8"))):
        anchor = to_anchor(heading)
        found[anchor] = found.get(anchor, -1) + 1
    return {f"{anchor}-{number}" if number else anchor for anchor, last in found.items() for number in range(last + 1)}
