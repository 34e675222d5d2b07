# SPDX-License-Identifier: MIT
"""What a test is for: the row of differential/rows.txt, or the difference of docs/compatibility.md, that it shows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent


def _rows() -> dict[str, str | None]:
    """The rows, and the title of the difference that stands for a row without a scenario."""
    found: dict[str, str | None] = {}
    for line in (HERE / "differential" / "rows.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            row, _, difference = line.partition("  -> ")
            assert row not in found, f"rows.txt names it twice: {row}"
            found[row] = difference or None
    return found


ROWS = _rows()
DIFFERENCES = set(
    re.findall(r"^- \*\*(.*?)\.\*\*", (HERE.parent / "docs" / "compatibility.md").read_text(), re.MULTILINE)
)
"""The titles: each entry of the document begins with `- **Title.**`."""


def covers(*rows: str) -> pytest.MarkDecorator:
    """The test plays a scenario of these rows with both drivers, or asserts what they say."""
    for row in rows:
        assert row in ROWS, f"no such row in tests/differential/rows.txt: {row}"
    return pytest.mark.covers(*rows)


def differs(*titles: str) -> pytest.MarkDecorator:
    """The test asserts both sides of these deliberate differences: what asyncpg does, and what fastpg does."""
    for title in titles:
        assert title in DIFFERENCES, f"no such difference in docs/compatibility.md: {title}"
    return pytest.mark.differs(*titles)
