# SPDX-License-Identifier: MIT
"""asyncpg, and whatever has its API. It prepares and caches by itself, and speaks binary."""

from __future__ import annotations

from collections.abc import AsyncIterator
from importlib import import_module
from typing import Any

from bench.drivers.base import Driver, Step, bulk, chunks, tasks_step
from bench.works import POOL, Work, known_statements, read


class AsyncpgDriver(Driver):
    """asyncpg has no pipelines: a pipeline is one query after the other."""

    module_name = "asyncpg"

    def __init__(self, dsn: str) -> None:
        super().__init__(dsn)
        self.module: Any = import_module(self.module_name)

    async def connect(self) -> Any:
        """A connection."""
        return await self.module.connect(self.dsn)

    async def fetchval(self, work: Work) -> Step:
        """One value, one query at a time."""
        connection = await self.connect()
        fetchval, query = connection.fetchval, work.query

        async def run() -> None:
            await fetchval(query)

        return Step(run, connection.close)

    async def fetch(self, work: Work) -> Step:
        """All rows of a query."""
        connection = await self.connect()

        async def run() -> None:
            read(await connection.fetch(work.query))

        return Step(run, connection.close)

    async def pool(self, work: Work) -> Step:
        """One row by its key, from a pool."""
        pool = await self.module.create_pool(self.dsn, min_size=POOL, max_size=POOL)
        return Step(tasks_step(work, lambda key: pool.fetchrow(work.query, key)), pool.close)

    async def pipeline(self, work: Work) -> Step:
        """One after the other."""
        connection = await self.connect()

        async def run() -> None:
            for (number,) in work.rows:
                await connection.fetchval(work.query, number)

        return Step(run, connection.close)

    async def atomic(self, work: Work) -> Step:
        """The same inside one transaction would be dearer."""
        return await self.pipeline(work)

    async def fetchmany(self, work: Work) -> Step:
        """Many executions that return rows."""
        connection = await self.connect()

        async def run() -> None:
            read(await connection.fetchmany(work.query, work.rows))

        return Step(run, connection.close)

    async def executemany(self, work: Work) -> Step:
        """Many executions."""
        connection = await self.connect()

        async def run() -> None:
            await connection.executemany(work.query, work.rows)

        return Step(run, connection.close)

    async def transaction(self, work: Work) -> Step:
        """A transaction of one query."""
        connection = await self.connect()

        async def run() -> None:
            async with connection.transaction():
                tuple(await connection.fetchrow(work.query, 1))

        return Step(run, connection.close)

    async def connect_close(self, work: Work) -> Step:
        """A connection that does nothing."""

        async def run() -> None:
            await (await self.connect()).close()

        return Step(run)

    async def first_use(self, work: Work) -> Step:
        """Statements that another connection of the process has used."""
        statements = known_statements()

        async def run() -> None:
            connection = await self.connect()
            for statement in statements:
                tuple(await connection.fetchrow(statement, 1))
            await connection.close()

        return Step(run)

    async def copy_records(self, work: Work) -> Step:
        """Records in."""
        connection = await self.connect()
        schema, table = work.table.split(".")

        async def run() -> None:
            await connection.copy_records_to_table(table, schema_name=schema, records=work.rows)

        return Step(run, connection.close)

    async def copy_out(self, work: Work) -> Step:
        """Bytes out, to a coroutine function that looks at none."""
        connection = await self.connect()

        async def sink(data: bytes) -> None:
            pass

        async def run() -> None:
            await connection.copy_from_table("bulk", schema_name="bench", output=sink, format="binary")

        return Step(run, connection.close)

    async def copy_in(self, work: Work) -> Step:
        """Bytes in, from an asynchronous iterable."""
        connection = await self.connect()
        pieces = chunks(await bulk(self.dsn))
        schema, table = work.table.split(".")

        async def source() -> AsyncIterator[bytes]:
            for piece in pieces:
                yield piece

        async def run() -> None:
            await connection.copy_to_table(table, schema_name=schema, source=source(), format="binary")

        return Step(run, connection.close)
