"""Times in the format that people and clients read."""

from datetime import UTC, datetime


def iso(instant: int) -> str:
    """Epoch milliseconds as ISO 8601 in UTC, to the second, as in the specification: `2025-01-24T00:00:00Z`."""
    return datetime.fromtimestamp(instant // 1_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def iso_or_none(instant: int | None) -> str | None:
    return None if instant is None else iso(instant)
