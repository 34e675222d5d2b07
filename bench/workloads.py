# SPDX-License-Identifier: MIT
"""The work that is measured, once for every subject (a driver, or a floor).

A result counts when every value of it has been read once; that happens here, inside the measured region, in the same
way for all: `tuple(row)`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

ROWS = 10_000

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
ONE = "SELECT 1"
QUERIES = 1000  # of one pipeline
ECHO = "SELECT $1::int4"

Step = Callable[[], Awaitable[Any]]


def read(rows: Any) -> None:
    """Read every value once."""
    for row in rows:
        tuple(row)


async def driver(name: str, dsn: str, work: str) -> tuple[Step, Callable[[], Awaitable[Any]]]:
    """(one unit of work, close) of an asyncpg-like driver: by prepared statements, as it does by itself."""
    module: Any = __import__(name)
    connection = await module.connect(dsn, ssl="disable")  # the floors know no TLS
    if work in ("pipeline", "atomic"):
        return await pipeline(name, connection, work == "atomic"), connection.close
    if work == "fetchval":
        statement = ONE

        async def step() -> None:
            await connection.fetchval(statement)
    else:
        statement = {"wide": WIDE, "floats": FLOATS, "arrays": ARRAYS}[work]

        async def step() -> None:
            read(await connection.fetch(statement))

    return step, connection.close


async def pipeline(name: str, connection: Any, atomic: bool) -> Step:
    """A thousand queries; of a driver that has no pipelines one after the other."""
    if name != "fastpg":

        async def step() -> None:
            for i in range(QUERIES):
                await connection.fetchval(ECHO, i)

        return step

    async def piped() -> None:
        async with connection.pipeline(atomic=atomic) as p:
            results = [p.fetchval(ECHO, i) for i in range(QUERIES)]
        for result in results:
            result.result()

    return piped


async def floor(dsn: str, work: str) -> tuple[Step, Callable[[], Awaitable[Any]]]:
    """The same of the floor: bench/floor.pyx, or bench/protocol_floor.py."""
    if work in ("pipeline", "atomic"):
        from bench import protocol_floor

        protocol = await protocol_floor.connect(dsn)
        data, size = await protocol_floor.pipeline(protocol, ECHO, QUERIES, work == "atomic")

        async def ask() -> None:
            await protocol.ask_for(data, size)

        async def end() -> None:
            protocol.close()

        return ask, end
    if work == "fetchval":
        from bench import protocol_floor

        protocol = await protocol_floor.connect(dsn)
        execute = await protocol_floor.prepare(protocol, ONE)

        async def step() -> None:
            await protocol.ask(execute)

        async def close() -> None:
            protocol.close()

        return step, close
    from bench import floor as objects

    make = getattr(objects, work)

    async def make_and_read() -> None:
        read(make(ROWS))

    async def nothing() -> None:
        pass

    return make_and_read, nothing


async def subject(name: str, dsn: str, work: str) -> tuple[Step, Callable[[], Awaitable[Any]]]:
    """The named subject: fastpg, asyncpg or floor."""
    if name == "floor":
        return await floor(dsn, work)
    return await driver(name, dsn, work)


def new_event_loop() -> Any:
    """uvloop's where it exists: what all subjects run on."""
    try:
        import uvloop
    except ImportError:
        import asyncio

        return asyncio.new_event_loop()
    return uvloop.new_event_loop()
