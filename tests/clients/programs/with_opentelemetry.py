# SPDX-License-Identifier: MIT
"""OpenTelemetry's instrumentation: the spans that it makes."""

from __future__ import annotations

import asyncio
import sys

import asyncpg
from opentelemetry.instrumentation.asyncpg import AsyncPGInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter


async def main() -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    AsyncPGInstrumentor(capture_parameters=True).instrument(tracer_provider=provider)
    connection = await asyncpg.connect(sys.argv[1])
    await connection.execute("CREATE TEMP TABLE t (a int)")
    await connection.execute("INSERT INTO t VALUES ($1)", 1)
    await connection.executemany("INSERT INTO t VALUES ($1)", [(2,), (3,)])
    print(await connection.fetch("SELECT * FROM t WHERE a > $1", 1))
    print(await connection.fetchrow("/* comment */ SELECT 5 AS five"), await connection.fetchval("SELECT 6"))
    statement = await connection.prepare("SELECT $1::int")
    print(await statement.fetch(1), await statement.fetchval(2), await statement.fetchrow(3))
    await statement.executemany([(4,)])
    print(await statement.fetchmany([(5,), (6,)]))
    async with connection.transaction():
        print([row["a"] async for row in connection.cursor("SELECT a FROM t ORDER BY a", prefetch=2)])
        cursor = await connection.cursor("SELECT g FROM generate_series(1, 9) g")
        print(await cursor.fetch(2), await cursor.forward(3), await cursor.fetchrow())
    try:
        await connection.fetchval("SELECT 1/0")
    except asyncpg.DivisionByZeroError as error:
        print(error)
    async with asyncpg.create_pool(sys.argv[1], min_size=1, max_size=2) as pool:
        print(await pool.fetchval("SELECT 'pool'"))
        async with pool.acquire() as borrowed:
            print(await borrowed.fetchval("SELECT 'borrowed'"))
    await connection.close()
    for span in exporter.get_finished_spans():
        attributes = {name: value for name, value in (span.attributes or {}).items() if "peer" not in name}
        # fastpg's pool resets a connection without a call of execute() that could be traced.
        if "pg_advisory_unlock_all" not in str(attributes):
            print(span.name, span.kind.name, span.status.status_code.name, attributes)
    exporter.clear()
    AsyncPGInstrumentor().uninstrument()
    connection = await asyncpg.connect(sys.argv[1])
    print(await connection.fetchval("SELECT 7"), len(exporter.get_finished_spans()))
    await connection.close()


asyncio.run(main())
