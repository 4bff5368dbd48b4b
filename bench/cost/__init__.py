"""What a stage costs: docs/cost.md, computed from what was measured and AWS's list prices."""

from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "cost.md"
