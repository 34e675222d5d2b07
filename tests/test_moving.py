# SPDX-License-Identifier: MIT
"""The examples of docs/moving-from-asyncpg.md run, each in an interpreter of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
BLOCKS = re.findall(
    r"^```python\n(.*?)^```", (ROOT / "docs" / "moving-from-asyncpg.md").read_text(), re.DOTALL | re.MULTILINE
)
# What SQLAlchemy reads from the metadata of an installed fastpg.
ENTRY_POINT = """
from sqlalchemy.dialects import registry
registry.register("postgresql.fastpg", "fastpg.sqlalchemy", "dialect")
"""


def test_there_are_examples() -> None:
    assert len(BLOCKS) == 3


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_example(number: int, dsn: str) -> None:
    head = ENTRY_POINT if "sqlalchemy" in BLOCKS[number] else ""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", f"{head}dsn = {dsn!r}\n{BLOCKS[number]}"],
        capture_output=True, text=True, timeout=60, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
