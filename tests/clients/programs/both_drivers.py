# SPDX-License-Identifier: MIT
"""asyncpg and fastpg side by side: connections, pools, exceptions, SQLAlchemy's dialects of both."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import asyncpg
import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.dialects import registry
from sqlalchemy.ext.asyncio import create_async_engine

import fastpg

registry.register("postgresql.fastpg", "fastpg.sqlalchemy", "dialect")


async def plain(driver: Any) -> None:
    async with driver.create_pool(sys.argv[1], min_size=1, max_size=2) as pool:
        async with pool.acquire() as connection:
            assert isinstance(connection, driver.Connection)
            other = fastpg if driver is asyncpg else asyncpg
            assert not isinstance(connection, other.Connection)
            row = await connection.fetchrow("SELECT 1 AS a, $1::uuid AS b", "12345678123456781234567812345678")
            assert type(row) is driver.Record and row["a"] == 1
            assert isinstance(connection.get_server_pid(), int)
            try:
                await connection.execute("SELECT 1/0")
            except other.PostgresError:
                raise AssertionError from None
            except driver.DivisionByZeroError:
                pass


async def engine(dialect: str, driver: Any) -> None:
    url = sa.engine.make_url(sys.argv[1]).set(drivername=f"postgresql+{dialect}")
    database = create_async_engine(url)
    async with database.connect() as connection:
        raw: Any = (await connection.get_raw_connection()).driver_connection
        assert type(raw) is driver.Connection
        assert (await connection.execute(sa.text("SELECT 5"))).scalar() == 5
        try:
            await connection.execute(sa.text("SELECT * FROM nowhere"))
        except exc.ProgrammingError as error:
            assert error.orig is not None
            assert type(error.orig.__cause__) is driver.UndefinedTableError
        else:
            raise AssertionError
    await database.dispose()


async def main() -> None:
    await asyncio.gather(plain(asyncpg), plain(fastpg), engine("asyncpg", asyncpg), engine("fastpg", fastpg))
    assert asyncpg.Connection.__module__ == "asyncpg.connection"
    assert fastpg.Connection.__module__ == "fastpg.connection"
    print("both")


asyncio.run(main())
