"""The generated parts of the reference pages: tables made from the OpenAPI document of the app.

A page in `docs/` is written by hand, with regions that this package fills in:

    <!-- generated: operation POST /api/agents -->
    ...
    <!-- end -->

`make docs` rewrites every region; `tests/http/test_reference.py` fails when a page differs from what it would write.
"""

from pathlib import Path

from infra.reference.regions import PagesError, regions, render

DOCS = Path(__file__).parents[2] / "docs"
PAGES = (DOCS / "api.md", DOCS / "protocol.md")

__all__ = ["DOCS", "PAGES", "PagesError", "regions", "render"]
