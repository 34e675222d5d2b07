# SPDX-License-Identifier: MIT
"""Libraries that are written for asyncpg: a program prints the same with asyncpg and with fastpg in its place."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import fastpg

ROOT = Path(__file__).resolve().parent.parent.parent
PROGRAMS = Path(__file__).with_name("programs")
NAMES = [
    "sqlalchemy_listen", "with_databases", "with_opentelemetry", "with_pgvector", "with_piccolo", "with_sentry",
    "with_sqlalchemy", "with_tortoise",
]  # fmt: skip
ALIAS = ["-m", "fastpg.asyncpg"]


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All that is installed, but for the asyncpg distribution."""
    directory = tmp_path_factory.mktemp("packages")
    for installed in Path(sysconfig.get_path("purelib")).iterdir():
        if not installed.name.startswith("asyncpg"):
            (directory / installed.name).symlink_to(installed)
    return directory


def run(name: str, dsn: str, *, alias: bool, packages: Path | None = None) -> list[str]:
    """The lines that a program prints. packages: where installed packages are found, instead of everywhere."""
    isolated, path = [], [str(ROOT)]
    if packages is not None:
        isolated = ["-S"]
        path.append(str(packages))
    done = subprocess.run(
        [sys.executable, *isolated, *(ALIAS if alias else []), str(PROGRAMS / f"{name}.py"), dsn],
        capture_output=True, text=True, timeout=120, env={**os.environ, "PYTHONPATH": os.pathsep.join(path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("name", NAMES)
def test_program(name: str, dsn: str, packages: Path) -> None:
    expected = run(name, dsn, alias=False)
    assert expected
    assert run(name, dsn, alias=True) == expected
    assert run(name, dsn, alias=True, packages=packages) == expected


def test_there_is_an_environment_without_asyncpg(packages: Path) -> None:
    code = (
        "import importlib.metadata as m, importlib.util as u, fastpg, sqlalchemy\n"
        "assert u.find_spec('asyncpg') is None\n"
        "assert not [d for d in m.distributions() if d.name == 'asyncpg']\n"
        "fastpg.install_as_asyncpg()\n"
        "import asyncpg.pool\n"
        "assert m.version('asyncpg') == asyncpg.__version__ == '0.32.0'\n"
    )
    path = os.pathsep.join([str(ROOT), str(packages)])
    subprocess.run([sys.executable, "-S", "-c", code], check=True, timeout=60, env={**os.environ, "PYTHONPATH": path})


@pytest.mark.parametrize("alone", [False, True])
def test_sqlalchemy_dialect(dsn: str, packages: Path, alone: bool) -> None:
    ours = run("sqlalchemy_dialect", dsn, alias=False, packages=packages if alone else None)
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
