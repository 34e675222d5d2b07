# SPDX-License-Identifier: MIT
"""The Python examples of README.md, docs/types.md and docs/pool.md run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
BLOCKS = {
    f"{name}, example {number}": block
    for name in ("README.md", "docs/types.md", "docs/pool.md")
    for number, block in enumerate(
        re.findall(r"^```python\n(.*?)^```", (ROOT / name).read_text(), re.DOTALL | re.MULTILINE), 1
    )
}


def test_there_are_examples() -> None:
    assert len(BLOCKS) >= 12


@pytest.mark.parametrize("name", BLOCKS)
def test_example(name: str, dsn: str) -> None:
    namespace: dict[str, Any] = {"__name__": "example", "dsn": dsn}
    # As it stands: without the future of this module, in which annotations are text.
    exec(compile(BLOCKS[name], name, "exec", dont_inherit=True), namespace)
