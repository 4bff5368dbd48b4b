"""The screenshots of the README and the documents, taken from the real pages (`make screenshots`)."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.e2e.browser.conftest import NARROW, SCHEMES, Scheme, Visitor
from tests.e2e.browser.sample_data import SampleData

ROOT = Path(__file__).parents[3]
KB = 1_024
DESK, PHONE = (1_100, 740), NARROW

PICTURES = {
    "overview": (DESK, "/dashboard", "Let customers download their invoices"),
    "task": (DESK, "/dashboard/tasks/{running}", "Executed 45 of 69 tests"),
    "api": (DESK, "/docs#submit_task", "Repeat a task that has ended"),
    "phone": (PHONE, "/dashboard", "Let customers download their invoices"),
}
"""By name: the size, the page, and a text that must be visible."""


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("name", PICTURES)
def test_screenshot_shows_its_subject(
    visitor: Callable[..., Visitor], sample_data: SampleData, pictures: Path, name: str, scheme: Scheme
) -> None:
    size, path, text = PICTURES[name]
    page = visitor(token=sample_data.user.token, size=size, scheme=scheme).open(
        path.format(running=sample_data.running)
    )
    expect(page.get_by_text(text).first).to_be_visible()
    pictures.mkdir(exist_ok=True)
    page.screenshot(path=pictures / f"{name}-{scheme}.png")


def test_documents_use_these_screenshots_in_light_and_dark() -> None:
    documents = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    used = {
        found for one in documents for found in re.findall(r"images/([\w-]+\.png)", one.read_text(encoding="utf-8"))
    }
    assert used
    assert used <= {f"{name}-{scheme}.png" for name in PICTURES for scheme in SCHEMES}
    weights = {picture.name: picture.stat().st_size for picture in (ROOT / "docs" / "images").iterdir()}
    assert used == set(weights)
    assert max(weights.values()) < 150 * KB
