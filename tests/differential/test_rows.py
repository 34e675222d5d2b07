# SPDX-License-Identifier: MIT
"""Every row of rows.txt has a scenario, and every difference of docs/compatibility.md a test."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from tests.contract import DIFFERENCES, ROWS

TESTS = Path(__file__).resolve().parent.parent


def marks(name: str) -> set[str]:
    """The arguments of all decorators of this name in the tests, read without importing them."""
    found: set[str] = set()
    for path in sorted(TESTS.rglob("test_*.py")):
        text = path.read_text()
        if f"@{name}(" not in text:
            continue
        for node in ast.walk(ast.parse(text)):
            for call in getattr(node, "decorator_list", ()):
                if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == name:
                    found |= {ast.literal_eval(argument) for argument in call.args}
    return found


def test_every_row_has_a_scenario() -> None:
    covered = marks("covers")
    missing = [row for row, difference in ROWS.items() if difference is None and row not in covered]
    assert not missing, "\n".join(["no scenario covers:", *missing])


def test_rows_without_a_scenario_are_explained() -> None:
    for row, difference in ROWS.items():
        assert difference is None or difference in DIFFERENCES, row


def test_every_difference_is_tested() -> None:
    missing = sorted(DIFFERENCES - marks("differs"))
    assert not missing, "\n".join(["no test asserts both sides of:", *missing])


def test_the_document_is_short() -> None:
    text = (TESTS.parent / "docs" / "compatibility.md").read_text()
    assert re.findall("^## (.*)", text, re.MULTILINE) == ["Mended", "Safer defaults", "Other deliberate differences"]
    assert len(text.splitlines()) < 150
