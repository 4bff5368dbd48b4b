"""The pictures in the README and the documents: taken here, so that they show what is there (`make screenshots`)."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.e2e.browser.conftest import NARROW, SCHEMES, Scheme, Visitor
from tests.e2e.browser.furniture import Furnished

ROOT = Path(__file__).parents[3]
KB = 1_024
DESK, PHONE = (1_100, 740), NARROW

PICTURES = {
    "overview": (DESK, "/dashboard", "Let customers download their invoices"),
    "task": (DESK, "/dashboard/tasks/{running}", "Executed 45 of 69 tests"),
    "api": (DESK, "/docs#submit_task", "Do a task that has ended again"),
    "phone": (PHONE, "/dashboard", "Let customers download their invoices"),
}
"""By name: at what size, of which page, and what is to be seen there."""


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_shows_what_it_is_of(
    visitor: Callable[..., Visitor], furnished: Furnished, pictures: Path, name: str, scheme: Scheme
) -> None:
    size, path, shown = PICTURES[name]
    page = visitor(token=furnished.user.token, size=size, scheme=scheme).open(path.format(running=furnished.running))
    expect(page.get_by_text(shown).first).to_be_visible()
    pictures.mkdir(exist_ok=True)
    page.screenshot(path=pictures / f"{name}-{scheme}.png")


def test_every_picture_in_the_documents_is_one_of_these_and_small_and_there_in_light_and_dark() -> None:
    documents = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    used = {
        found for one in documents for found in re.findall(r"images/([\w-]+\.png)", one.read_text(encoding="utf-8"))
    }
    assert used
    assert used <= {f"{name}-{scheme}.png" for name in PICTURES for scheme in SCHEMES}
    weights = {picture.name: picture.stat().st_size for picture in (ROOT / "docs" / "images").iterdir()}
    assert used == set(weights)
    assert max(weights.values()) < 150 * KB
