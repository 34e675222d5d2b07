# SPDX-License-Identifier: MIT
"""LISTEN on the driver's connection of a SQLAlchemy engine."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine

URL = sa.engine.make_url(sys.argv[1]).set(drivername="postgresql+asyncpg")


async def main() -> None:
    engine = create_async_engine(URL)
    heard: asyncio.Queue[Any] = asyncio.Queue()
    async with engine.connect() as connection:
        driver: Any = (await connection.get_raw_connection()).driver_connection
        await driver.add_listener("client_channel", lambda connection, pid, *what: heard.put_nowait(what))
        async with engine.begin() as other:
            await other.execute(sa.text("SELECT pg_notify('client_channel', 'hello')"))
        print("heard", await asyncio.wait_for(heard.get(), 10))
    await engine.dispose()


asyncio.run(main())
