"""The cost of a stage: docs/cost.md, computed from measured calls and AWS's list prices."""

from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "cost.md"
