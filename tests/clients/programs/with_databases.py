# SPDX-License-Identifier: MIT
"""The package `databases`: queries, rows, transactions, iteration, the raw connection."""

from __future__ import annotations

import asyncio
import datetime
import sys
import uuid

import sqlalchemy as sa
from databases import Database

metadata = sa.MetaData()
notes = sa.Table(
    "client_databases",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("text", sa.String(100)),
    sa.Column("data", sa.JSON),
    sa.Column("made", sa.DateTime),
    sa.Column("uid", sa.Uuid),
)


async def main() -> None:
    async with Database(sys.argv[1], min_size=1, max_size=3) as database:
        await database.execute("DROP TABLE IF EXISTS client_databases")
        await database.execute(
            "CREATE TABLE client_databases (id serial PRIMARY KEY, text varchar, data json, made timestamp, uid uuid)"
        )
        made = datetime.datetime(2024, 1, 2, 3, 4, 5)
        first = await database.execute(
            notes.insert().values(text="one", data={"a": [1, None]}, made=made, uid=uuid.UUID(int=7))
        )
        await database.execute_many(notes.insert(), [{"text": f"note {n}"} for n in range(20)])
        row = await database.fetch_one(notes.select().where(notes.c.id == first))
        assert row is not None
        print(dict(row._mapping), row.text, row["text"], len(row))
        query = "SELECT id, text FROM client_databases WHERE id > :low ORDER BY id"
        rows = await database.fetch_all(query, {"low": 18})
        print([tuple(row) for row in rows], await database.fetch_val("SELECT count(*) FROM client_databases"))
        total = 0
        async for row in database.iterate("SELECT id FROM client_databases"):
            total += row[0]
        print("total", total)
        try:
            async with database.transaction():
                await database.execute("DELETE FROM client_databases")
                async with database.transaction():
                    print("inside", await database.fetch_val("SELECT count(*) FROM client_databases"))
                raise RuntimeError("back")
        except RuntimeError:
            pass
        print("kept", await database.fetch_val("SELECT count(*) FROM client_databases"))
        transaction = await database.transaction(isolation="serializable")
        print(await database.fetch_val("SHOW transaction_isolation"))
        await transaction.rollback()
        async with database.connection() as connection:
            raw = connection.raw_connection
            print(type(raw).__name__, await raw.fetchval("SELECT $1::text", "raw"))
        print(await asyncio.gather(*[database.fetch_val(f"SELECT {n}") for n in range(10)]))
        try:
            await database.execute("INSERT INTO client_databases (id) VALUES (1)")
        except Exception as error:
            print(type(error).__module__, type(error).__name__, error)
        await database.execute("DROP TABLE client_databases")


asyncio.run(main())
