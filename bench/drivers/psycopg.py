# SPDX-License-Identifier: MIT
"""psycopg 3: asynchronous, with its C core, results in binary, statements prepared at their first use.

A pipeline of it has one Sync at its end, whether in autocommit or not; it stands in both rows.
"""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg.types.string import TextLoader
from psycopg_pool import AsyncConnectionPool

from bench.drivers.base import Driver, Step, bulk, chunks, tasks_step
from bench.works import POOL, Work, known_statements, read


class PsycopgDriver(Driver):
    """By psycopg's own calls."""

    # libpq tries GSSAPI first otherwise.
    options: dict[str, Any] = {"autocommit": True, "prepare_threshold": 0, "cursor_factory": psycopg.AsyncRawCursor,
                               "gssencmode": "disable"}  # fmt: skip

    async def connect(self) -> Any:
        """A connection."""
        connection: Any = await psycopg.AsyncConnection.connect(self.dsn, **self.options)
        # jsonb stays text, as asyncpg leaves it: a compiled loader, which is one of the text format.
        connection.adapters.register_loader("jsonb", TextLoader)
        return connection

    async def fetchval(self, work: Work) -> Step:
        """One value, one query at a time."""
        connection = await self.connect()
        cursor = connection.cursor(binary=True)

        async def run() -> None:
            await cursor.execute(work.query)
            (await cursor.fetchone())[0]

        return Step(run, connection.close)

    async def fetch(self, work: Work) -> Step:
        """All rows of a query."""
        connection = await self.connect()
        cursor = connection.cursor(binary=work.name != "jsonb")

        async def run() -> None:
            await cursor.execute(work.query)
            read(await cursor.fetchall())

        return Step(run, connection.close)

    async def pool(self, work: Work) -> Step:
        """One row by its key, from a pool."""
        pool: Any = AsyncConnectionPool(self.dsn, min_size=POOL, max_size=POOL, kwargs=self.options, open=False)
        await pool.open(wait=True)

        async def fetchrow(key: int) -> Any:
            async with pool.connection() as connection:
                cursor = connection.cursor(binary=True)
                await cursor.execute(work.query, (key,))
                return await cursor.fetchone()

        return Step(tasks_step(work, fetchrow), pool.close)

    async def pipeline(self, work: Work) -> Step:
        """One Sync at the end."""
        connection = await self.connect()

        async def run() -> None:
            cursors = []
            async with connection.pipeline():
                for row in work.rows:
                    cursors.append(cursor := connection.cursor(binary=True))
                    await cursor.execute(work.query, row)
            for cursor in cursors:
                (await cursor.fetchone())[0]

        return Step(run, connection.close)

    atomic = pipeline

    async def fetchmany(self, work: Work) -> Step:
        """Many executions that return rows."""
        connection = await self.connect()
        cursor = connection.cursor(binary=True)

        async def run() -> None:
            await cursor.executemany(work.query, work.rows, returning=True)
            more = True
            while more:
                read(await cursor.fetchall())
                more = cursor.nextset()

        return Step(run, connection.close)

    async def executemany(self, work: Work) -> Step:
        """Many executions."""
        connection = await self.connect()
        cursor = connection.cursor(binary=True)

        async def run() -> None:
            await cursor.executemany(work.query, work.rows)

        return Step(run, connection.close)

    async def transaction(self, work: Work) -> Step:
        """A transaction of one query."""
        connection = await self.connect()
        cursor = connection.cursor(binary=True)

        async def run() -> None:
            async with connection.transaction():
                await cursor.execute(work.query, (1,))
                tuple(await cursor.fetchone())

        return Step(run, connection.close)

    async def connect_close(self, work: Work) -> Step:
        """A connection that does nothing."""

        async def run() -> None:
            connection: Any = await psycopg.AsyncConnection.connect(self.dsn, **self.options)
            await connection.close()

        return Step(run)

    async def first_use(self, work: Work) -> Step:
        """Statements that are used once on a connection: not prepared, which is one round trip."""
        statements = known_statements()
        options = self.options | {"prepare_threshold": None}

        async def run() -> None:
            connection: Any = await psycopg.AsyncConnection.connect(self.dsn, **options)
            cursor = connection.cursor(binary=True)
            for statement in statements:
                await cursor.execute(statement, (1,))
                tuple(await cursor.fetchone())
            await connection.close()

        return Step(run)

    async def copy_records(self, work: Work) -> Step:
        """Records in, in binary."""
        connection = await self.connect()
        cursor = connection.cursor()
        query = f"COPY {work.table} FROM STDIN (FORMAT binary)"
        types = ["int4", "timestamptz", "text", "float8"]

        async def run() -> None:
            async with cursor.copy(query) as copy:
                copy.set_types(types)
                for row in work.rows:
                    await copy.write_row(row)

        return Step(run, connection.close)

    async def copy_out(self, work: Work) -> Step:
        """Bytes out."""
        connection = await self.connect()
        cursor = connection.cursor()

        async def run() -> None:
            async with cursor.copy(work.query) as copy:
                async for _ in copy:
                    pass

        return Step(run, connection.close)

    async def copy_in(self, work: Work) -> Step:
        """Bytes in."""
        connection = await self.connect()
        cursor = connection.cursor()
        pieces = chunks(await bulk(self.dsn))

        async def run() -> None:
            async with cursor.copy(work.query) as copy:
                for piece in pieces:
                    await copy.write(piece)

        return Step(run, connection.close)
