# SPDX-License-Identifier: MIT
"""The types that users' programs see: mypy --strict understands the programs here, and finds the mistakes in them."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, get_type_hints

import pytest

import fastpg
from fastpg.cursor import Cursor, CursorFactory, CursorIterator
from fastpg.pipeline import Pipeline
from fastpg.pool import PoolAcquireContext, PoolConnectionProxy
from fastpg.prepared_stmt import PreparedStatement
from fastpg.reply import Reply

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
PROGRAMS = [path for path in sorted(HERE.glob("*.py")) if path != Path(__file__).resolve()]


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.name)
def test_mypy(program: Path) -> None:
    """The errors are those that `# E: text` names, and no others."""
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--hide-error-context", "--no-pretty",
         str(program.relative_to(ROOT))],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode in (0, 1), done.stdout + done.stderr
    found: dict[int, list[str]] = {}
    for path, line, text in re.findall(r"^(.+?):(\d+): error: (.*)$", done.stdout, re.MULTILINE):
        assert path == str(program.relative_to(ROOT)), f"{path}:{line}: {text}"
        found.setdefault(int(line), []).append(text)
    wanted = {
        number: match[1]
        for number, line in enumerate(program.read_text().splitlines(), 1)
        if (match := re.search(r"# E: (.+)$", line))
    }
    assert wanted, "no mistake in it shows whether mypy looks"
    assert found.keys() == wanted.keys(), done.stdout
    for number, text in wanted.items():
        assert any(text in error for error in found[number]), found[number]


@pytest.mark.parametrize(("module", "name"), [("connection", "connect"), ("pool", "create_pool")])
def test_the_full_signature_is_an_overload(module: str, name: str) -> None:
    """What an editor shows has every parameter; those that tell the type of rows are in the other overloads."""
    tree = ast.parse((ROOT / "fastpg" / f"{module}.py").read_text())
    *overloads, implementation = [
        node for node in tree.body
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name == name
    ]  # fmt: skip
    apart = {"row_factory", "record_class"} | ({"connection_class"} if name == "connect" else set())
    ours, shown = (
        [(arg.arg, default and ast.unparse(default))
         for arg, default in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)]
        for node in (implementation, overloads[-1])
    )  # fmt: skip
    assert [parameter for parameter in ours if parameter[0] not in apart] == shown


@pytest.mark.parametrize(
    "cls",
    [fastpg.Connection, fastpg.Pool, PoolConnectionProxy, PoolAcquireContext, PreparedStatement, CursorFactory,
     CursorIterator, Cursor, Pipeline, Reply],
)  # fmt: skip
def test_subscripts_at_run_time(cls: Any) -> None:
    """Where annotations are evaluated, by FastAPI for instance."""
    alias = cls[fastpg.Record]
    assert alias.__origin__ is cls and alias.__args__ == (fastpg.Record,)


def test_annotations_at_run_time() -> None:
    def handler(pool: fastpg.Pool[fastpg.Record], connection: fastpg.Connection | None) -> None: ...

    assert get_type_hints(handler)["pool"] == fastpg.Pool[fastpg.Record]


async def test_a_subclass_of_a_subscripted_class(dsn: str) -> None:
    class Mine(fastpg.Connection[dict[str, Any]]):
        pass

    connection = await fastpg.connect(dsn, connection_class=Mine, row_factory="dict")
    assert type(connection) is Mine and await connection.fetchrow("SELECT 1 AS a") == {"a": 1}
    await connection.close()
