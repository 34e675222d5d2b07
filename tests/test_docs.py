# SPDX-License-Identifier: MIT
"""The Python examples of README.md run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

README = Path(__file__).resolve().parent.parent / "README.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```", README.read_text(), re.DOTALL | re.MULTILINE)


def test_there_are_examples() -> None:
    assert len(BLOCKS) >= 8


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_example(number: int, dsn: str) -> None:
    namespace: dict[str, Any] = {"__name__": f"example_{number}", "dsn": dsn}
    exec(compile(BLOCKS[number], f"README.md, example {number + 1}", "exec"), namespace)
