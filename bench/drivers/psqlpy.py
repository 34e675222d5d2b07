# SPDX-License-Identifier: MIT
"""psqlpy: a driver in Rust over tokio-postgres, whose threads count as the client. Rows are asked for as tuples."""

from __future__ import annotations

from typing import Any

import psqlpy

from bench.drivers.base import Call, Driver, Step, bulk, tasks_step
from bench.works import POOL, Work, known_statements, read


class PsqlpyDriver(Driver):
    """By psqlpy's own calls. It has no raw COPY out, and its pipelines are of a transaction."""

    async def connect(self) -> Any:
        """A connection."""
        return await psqlpy.connect(self.dsn)

    async def fetchval(self, work: Work) -> Step:
        """One value, one query at a time."""
        connection = await self.connect()

        async def run() -> None:
            await connection.fetch_val(work.query)

        return _step(run, connection)

    async def fetch(self, work: Work) -> Step:
        """All rows of a query."""
        connection = await self.connect()

        async def run() -> None:
            read((await connection.fetch(work.query)).result(as_tuple=True))

        return _step(run, connection)

    async def pool(self, work: Work) -> Step:
        """One row by its key, from a pool."""
        pool = psqlpy.ConnectionPool(self.dsn, max_db_pool_size=POOL)

        async def fetchrow(key: int) -> Any:
            async with pool.acquire() as connection:
                return (await connection.fetch_row(work.query, [key])).result(as_tuple=True)

        return _step(tasks_step(work, fetchrow), pool)

    async def pipeline(self, work: Work) -> Step:
        """A pipeline of a transaction."""
        connection = await self.connect()
        queries: list[Any] = [(work.query, list(row)) for row in work.rows]

        async def run() -> None:
            async with connection.transaction() as transaction:
                for result in await transaction.pipeline(queries):
                    read(result.result(as_tuple=True))

        return _step(run, connection)

    atomic = pipeline
    fetchmany = pipeline

    async def executemany(self, work: Work) -> Step:
        """Many executions."""
        connection = await self.connect()
        rows = [list(row) for row in work.rows]

        async def run() -> None:
            await connection.execute_many(work.query, rows)

        return _step(run, connection)

    async def transaction(self, work: Work) -> Step:
        """A transaction of one query."""
        connection = await self.connect()

        async def run() -> None:
            async with connection.transaction() as transaction:
                (await transaction.fetch_row(work.query, [1])).result(as_tuple=True)

        return _step(run, connection)

    async def connect_close(self, work: Work) -> Step:
        """A connection that does nothing."""

        async def run() -> None:
            (await self.connect()).close()

        return Step(run)

    async def first_use(self, work: Work) -> Step:
        """Statements that another connection of the process has used."""
        statements = known_statements()

        async def run() -> None:
            connection = await self.connect()
            for statement in statements:
                (await connection.fetch_row(statement, [1])).result(as_tuple=True)
            connection.close()

        return Step(run)

    async def copy_records(self, work: Work) -> Step:
        """Records in."""
        connection = await self.connect()
        schema, table = work.table.split(".")

        async def run() -> None:
            await connection.copy_records_to_table(table, work.rows, schema_name=schema)

        return _step(run, connection)

    async def copy_in(self, work: Work) -> Step:
        """Bytes in, all at once."""
        connection = await self.connect()
        data = await bulk(self.dsn)
        schema, table = work.table.split(".")

        async def run() -> None:
            await connection.binary_copy_to_table(data, table, schema_name=schema)

        return _step(run, connection)


def _step(run: Call, connection: Any) -> Step:
    async def close() -> None:
        connection.close()

    return Step(run, close)
