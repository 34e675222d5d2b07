# SPDX-License-Identifier: MIT
"""The work that is measured, once for every subject: a driver, a way to use one, or a floor.

`Work.kind` names the method of a driver (bench/drivers) that makes the step of it. A result counts when every value of
it has been read once: `tuple(row)`, inside the measured region, in the same way for all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

ROWS = 10_000
QUERIES = 1_000  # of one pipeline, one fetchmany, one executemany
ACCOUNTS = 10_000
BULK = 20_000  # rows of raw COPY
POOL = 10  # connections
CHUNK = 64 * 1024  # bytes of COPY data at once

SCHEMA = f"""
CREATE SCHEMA bench;
CREATE UNLOGGED TABLE bench.account (aid int PRIMARY KEY, bid int, abalance int, filler text);
INSERT INTO bench.account SELECT i, i % 10, 0, repeat('x', 84) FROM generate_series(1, {ACCOUNTS}) i;
CREATE UNLOGGED TABLE bench.reading (id int, at timestamptz, place text, value float8);
CREATE UNLOGGED TABLE bench.item (id int, name text, price float8);
CREATE UNLOGGED TABLE bench.blob (data bytea);
INSERT INTO bench.blob SELECT decode(repeat(md5(i::text), 32), 'hex') || decode(repeat(md5(i::text), 32), 'hex')
FROM generate_series(1, 100) i;
CREATE UNLOGGED TABLE bench.vector (numbers int4[]);
INSERT INTO bench.vector SELECT array_agg(i * 1000 + j) FROM generate_series(1, 100) i, generate_series(1, 100) j
GROUP BY i;
CREATE UNLOGGED TABLE bench.document (body jsonb);
INSERT INTO bench.document SELECT jsonb_build_object('id', i, 'name', 'name ' || i, 'tags', array['a', 'b', 'c'],
'price', i * 1.25) FROM generate_series(1, 1000) i;
CREATE UNLOGGED TABLE bench.bulk (id int8, name text, value float8);
INSERT INTO bench.bulk SELECT i, 'the name of number ' || i, i * 1.25 FROM generate_series(1, {BULK}) i;
CREATE UNLOGGED TABLE bench.load (LIKE bench.bulk);
ANALYZE;
"""

WIDE = f"""
SELECT i::int4, (i * 1000003::int8 + 10000000000)::int8, (i * 1.25)::float8, 'customer number ' || (10000 + i),
       i % 2 = 0, timestamptz '2024-01-01 00:00+00' + i * interval '1 hour 1 second 1 microsecond',
       md5(i::text)::uuid, (i * 1.01 + 123.45)::numeric(12,2), CASE WHEN i % 3 <> 0 THEN 'remark ' || i END,
       date '2024-01-01' + i % 365
FROM generate_series(1, {ROWS}) i
"""
FLOATS = f"""
SELECT (i + 1000)::int4, (i + 10000000000)::int8, (i * 1.25)::float8, (i + 2000)::int4, (i + 20000000000)::int8,
       (i * 2.5)::float8, (i * 0.5)::float8, (i * 0.75)::float8
FROM generate_series(1, {ROWS}) i
"""
ARRAYS = f"SELECT array_agg(i * 1000), array_agg(i * 1.25::float8) FROM generate_series(1, {ROWS}) i GROUP BY i % 10"
CATALOG = """
SELECT typname, typnamespace, typowner, typlen, typbyval, typispreferred, typisdefined, typrelid, typelem, typarray,
       typnotnull, typndims
FROM pg_type WHERE typtypmod = -1 AND typisdefined
"""
PLUS = "SELECT 1 + $1::int4"
ACCOUNT = "SELECT aid, bid, abalance, filler FROM bench.account WHERE aid = $1"


@dataclass(frozen=True)
class Work:
    """One thing to do.

    name: its key in the results. title: what it is, for people. kind: the drivers' method. units: of one step, by
    which its cost is divided; unit: what they are called. counted: steps under callgrind, 0 to leave it out. query:
    with $1 ... parameters. rows: the arguments of many executions, or records to copy. tasks: at the same time.
    table: emptied between the slices. pgbench: one of the seven that MagicStack's benchmark of drivers made known.
    """

    name: str
    title: str
    kind: str
    units: int
    unit: str
    counted: int
    query: str = ""
    rows: Sequence[Sequence[Any]] = ()
    tasks: int = 1
    table: str = ""
    pgbench: bool = False


def _items() -> list[tuple[int, str, float]]:
    return [(i, f"item number {i}", i * 1.25) for i in range(QUERIES)]


def _readings() -> list[tuple[Any, ...]]:
    from datetime import datetime, timedelta, timezone

    start = datetime(2024, 1, 1, tzinfo=timezone.utc)
    return [(i, start + timedelta(seconds=i), f"place number {i % 100}", i * 0.25) for i in range(ROWS)]


KNOWN = 50  # statements of first_use
NUMBERS = [(i,) for i in range(QUERIES)]

WORKS = {
    work.name: work
    for work in [
        Work("fetchval", "prepared fetchval of SELECT 1", "fetchval", 1, "query", 1000, "SELECT 1"),
        Work("pool10", "pool.fetchrow by key, 10 tasks, 10 connections", "pool", 200, "query", 4, ACCOUNT,
             tasks=10),
        Work("pool100", "pool.fetchrow by key, 100 tasks, 10 connections", "pool", 500, "query", 2, ACCOUNT,
             tasks=100),
        Work("pipeline", "1000 independent queries, a Sync each", "pipeline", QUERIES, "query", 4, PLUS,
             NUMBERS),
        Work("atomic", "1000 independent queries, one Sync", "atomic", QUERIES, "query", 4, PLUS,
             NUMBERS),
        Work("fetchmany", "fetchmany of 1000 executions", "fetchmany", QUERIES, "execution", 4, PLUS,
             NUMBERS),
        Work("executemany", "executemany of 1000 rows of 3 columns", "executemany", QUERIES, "row", 4,
             "INSERT INTO bench.item VALUES ($1, $2, $3)", _items(), table="bench.item", pgbench=True),
        Work("transaction", "a transaction of one query", "transaction", 1, "transaction", 200, ACCOUNT),
        Work("connect", "connect and close, trust, no TLS", "connect_close", 1, "connection", 10),
        Work("first_use", f"{KNOWN} first uses of known statements on a new connection", "first_use", KNOWN,
             "statement", 4),
        Work("wide", "fetch of 10,000 rows of ten types", "fetch", ROWS, "row", 1, WIDE),
        Work("floats", "fetch of 10,000 rows of eight numbers", "fetch", ROWS, "row", 2, FLOATS),
        Work("arrays", "fetch of 10 rows of 1,000 int4 and 1,000 float8", "fetch", ROWS, "pair", 4, ARRAYS),
        Work("catalog", "fetch of 12 columns of pg_type", "fetch", 1, "query", 4, CATALOG, pgbench=True),
        Work("series", "fetch of generate_series(1, 1000)", "fetch", 1, "query", 4,
             "SELECT i FROM generate_series(1, 1000) AS i", pgbench=True),
        Work("bytea", "fetch of 100 rows of 1 kB bytea", "fetch", 1, "query", 5, "SELECT data FROM bench.blob",
             pgbench=True),
        Work("int4s", "fetch of 100 rows of int4[100]", "fetch", 1, "query", 5, "SELECT numbers FROM bench.vector",
             pgbench=True),
        Work("jsonb", "fetch of 1,000 jsonb, as text", "fetch", 1, "query", 4, "SELECT body FROM bench.document"),
        Work("one", "fetch of SELECT 1 + 1", "fetch", 1, "query", 500, "SELECT 1 + 1", pgbench=True),
        Work("copy_records", "COPY of 10,000 records of 4 columns", "copy_records", ROWS, "row", 1,
             rows=_readings(), table="bench.reading", pgbench=True),
        Work("copy_out", "COPY of 20,000 rows to raw binary", "copy_out", 1, "copy", 1,
             "COPY bench.bulk TO STDOUT (FORMAT binary)"),
        Work("copy_in", "COPY of 20,000 rows from raw binary", "copy_in", 1, "copy", 1,
             "COPY bench.load FROM STDIN (FORMAT binary)", table="bench.load"),
    ]
}  # fmt: skip


def known_statements() -> list[str]:
    """The statements of first_use; nothing but first_use runs them."""
    return [f"SELECT {i}::int4, $1::int4 AS number, 'name {i}'::text AS name" for i in range(KNOWN)]


def account(task: int, turn: int) -> int:
    """The primary key that one task asks for in its turn."""
    return (task * 7919 + turn * 104729) % ACCOUNTS + 1


def read(rows: Any) -> None:
    """Read every value once."""
    for row in rows:
        tuple(row)
