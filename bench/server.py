# SPDX-License-Identifier: MIT
"""The server of a benchmark: one of our own with the tables of bench/works.py, or the one that is named."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from bench.works import SCHEMA, known_statements
from tools.pgserver import Server, find_binaries

SETTINGS = ("max_connections=100", "shared_buffers=256MB", "max_wal_size=4GB", "autovacuum=off", "jit=off")


def new_event_loop() -> Any:
    """uvloop's where it exists: what all subjects run on."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


def without_tls(dsn: str) -> str:
    """The floors know no TLS, so nobody gets it."""
    return dsn if "sslmode=" in dsn else dsn + ("&" if "?" in dsn else "?") + "sslmode=disable"


async def _make_tables(dsn: str) -> None:
    import fastpg

    connection = await fastpg.connect(dsn)
    await connection.execute("DROP SCHEMA IF EXISTS bench CASCADE")
    await connection.execute(SCHEMA)
    for statement in known_statements():
        await connection.fetch(statement, 1)
    await connection.close()


@contextmanager
def prepared_server(dsn: str | None) -> Iterator[str]:
    """The DSN of a server with our tables in the schema `bench`; without a DSN a server is started for it."""
    if dsn is not None:
        dsn = without_tls(dsn)
        new_event_loop().run_until_complete(_make_tables(dsn))
        yield dsn
        return
    with Server(find_binaries(), SETTINGS) as server:
        dsn = without_tls(server.dsn)
        new_event_loop().run_until_complete(_make_tables(dsn))
        yield dsn
