# SPDX-License-Identifier: MIT
"""Libraries that are written for asyncpg: a program prints the same with asyncpg and with fastpg in its place."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import fastpg

ROOT = Path(__file__).resolve().parent.parent.parent
PROGRAMS = Path(__file__).with_name("programs")
NAMES = [
    "with_databases", "with_opentelemetry", "with_pgvector", "with_piccolo", "with_sentry", "with_sqlalchemy",
    "with_tortoise",
]  # fmt: skip
if hasattr(fastpg.Connection, "add_listener"):
    NAMES.append("sqlalchemy_listen")
ALIAS = ["-m", "fastpg.asyncpg"]


def run(name: str, dsn: str, *, alias: bool) -> list[str]:
    """The lines that a program prints."""
    done = subprocess.run(
        [sys.executable, *(ALIAS if alias else []), str(PROGRAMS / f"{name}.py"), dsn],
        capture_output=True, text=True, timeout=120, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("name", NAMES)
def test_program(name: str, dsn: str) -> None:
    expected = run(name, dsn, alias=False)
    assert expected
    assert run(name, dsn, alias=True) == expected


def test_sqlalchemy_dialect(dsn: str) -> None:
    ours = run("sqlalchemy_dialect", dsn, alias=False)
    assert "driver fastpg.connection Connection 5" in ours
    theirs = run("with_sqlalchemy", dsn, alias=True)
    assert ours == [line.replace("asyncpg.connection", "fastpg.connection") for line in theirs]


def test_both_drivers(dsn: str) -> None:
    assert run("both_drivers", dsn, alias=False) == ["both"]


def test_entry_point() -> None:
    # What an installation will find; the tests run on a tree that is not installed.
    text = (ROOT / "pyproject.toml").read_text()
    assert '[project.entry-points."sqlalchemy.dialects"]\n"postgresql.fastpg" = "fastpg.sqlalchemy:dialect"\n' in text
    from fastpg.sqlalchemy import dialect

    assert dialect.driver == "fastpg" and dialect.import_dbapi().asyncpg is fastpg
