# SPDX-License-Identifier: MIT
"""Piccolo: tables, queries, transactions, batches, a pool."""

from __future__ import annotations

import asyncio
import datetime
import decimal
import sys
import uuid
from urllib.parse import unquote, urlsplit

from piccolo.columns import UUID, Array, Boolean, ForeignKey, Integer, Numeric, Timestamptz, Varchar
from piccolo.columns.column_types import JSONB, Interval, Serial, Text
from piccolo.engine.postgres import PostgresEngine
from piccolo.table import Table

parts = urlsplit(sys.argv[1])
config = {
    "host": unquote(parts.hostname or ""), "port": parts.port, "user": parts.username, "password": parts.password,
    "database": parts.path.lstrip("/"),
}  # fmt: skip
DB = PostgresEngine(config={name: value for name, value in config.items() if value})


class Band(Table, db=DB, tablename="client_piccolo_band"):
    id: Serial
    name = Varchar(length=50, unique=True)
    fans = Integer(default=0)
    active = Boolean(default=True)


class Concert(Table, db=DB, tablename="client_piccolo_concert"):
    id = UUID(primary_key=True)
    band = ForeignKey(Band)
    starts = Timestamptz()
    lasts = Interval()
    price = Numeric(digits=(8, 2))
    data = JSONB()
    numbers = Array(base_column=Integer())
    note = Text(null=True)


async def main() -> None:
    await DB.start_connection_pool(min_size=1, max_size=3)
    for table in (Concert, Band):
        await table.alter().drop_table(if_exists=True)
    await Band.create_table()
    await Concert.create_table()
    rows = await Band.insert(*[Band(name=f"band {n}", fans=n * 100) for n in range(10)])
    print(rows)
    starts = datetime.datetime(2024, 1, 2, 3, 4, 5, tzinfo=datetime.timezone.utc)
    await Concert.insert(
        Concert(
            id=uuid.UUID(int=9), band=rows[0]["id"], starts=starts, lasts=datetime.timedelta(hours=2),
            price=decimal.Decimal("12.50"), data={"a": [1, None]}, numbers=[1, 2, 3],
        )
    )  # fmt: skip
    print(await Concert.select(Concert.all_columns(), Concert.band.name).first())
    print(await Concert.select(Concert.data.arrow("a")))
    concert = await Concert.objects(Concert.band).first()
    assert concert is not None
    print(type(concert.id).__name__, concert.band.name)
    print(await Band.select(Band.name).where(Band.fans > 600).order_by(Band.fans))
    await Band.update({Band.fans: Band.fans + 1}).where(Band.name == "band 1")
    print(await Band.select(Band.fans).where(Band.name == "band 1").first(), await Band.count())
    try:
        async with DB.transaction():
            await Band.delete(force=True).where(Band.name == "band 2")
            raise RuntimeError("back")
    except RuntimeError:
        pass
    async with DB.transaction() as transaction:
        savepoint = await transaction.savepoint()
        await Band.delete(force=True).where(Band.name == "band 3")
        await savepoint.rollback_to()
    print(await Band.exists().where(Band.name == "band 2"), await Band.exists().where(Band.name == "band 3"))
    sizes = []
    async with await Band.select().batch(batch_size=4) as batch:
        async for part in batch:
            sizes.append(len(part))
    print("batches", sizes)
    try:
        await Band.insert(Band(name="band 1"))
    except Exception as error:
        print(type(error).__module__, type(error).__name__)
    print(await Band.raw("SELECT {}::int AS x, {} AS y", 5, "z"))
    print(await asyncio.gather(*[Band.count().run() for _ in range(8)]))
    for table in (Concert, Band):
        await table.alter().drop_table(if_exists=True)
    await DB.close_connection_pool()


asyncio.run(main())
