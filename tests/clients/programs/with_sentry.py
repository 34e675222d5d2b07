# SPDX-License-Identifier: MIT
"""Sentry's integration: the spans that it makes, of connecting too."""

from __future__ import annotations

import asyncio
import re
import sys
from typing import Any

import asyncpg
import sentry_sdk
from sentry_sdk.integrations.asyncpg import AsyncPGIntegration

events: list[Any] = []


class Transport(sentry_sdk.transport.Transport):
    def capture_envelope(self, envelope: Any) -> None:
        events.extend(item.payload.json for item in envelope.items)


async def main() -> None:
    sentry_sdk.init(
        dsn="http://key@127.0.0.1:1/1", traces_sample_rate=1.0, transport=Transport, default_integrations=False,
        integrations=[AsyncPGIntegration(record_params=True)],
    )  # fmt: skip
    with sentry_sdk.start_transaction(name="work"):
        connection = await asyncpg.connect(sys.argv[1])
        await connection.execute("CREATE TEMP TABLE t (a int)")
        await connection.execute("INSERT INTO t VALUES ($1)", 1)
        await connection.executemany("INSERT INTO t VALUES ($1)", [(2,), (3,)])
        print(await connection.fetch("SELECT * FROM t WHERE a > $1", 1), await connection.fetchrow("SELECT 5 AS five"))
        print(await connection.fetchval("SELECT 6, 7", column=1), await connection.fetchval("SELECT 1 WHERE false"))
        print(await connection.fetchmany("SELECT $1::int AS x", [(1,), (2,)]))
        statement = await connection.prepare("SELECT $1::int")
        print(await statement.fetchval(2))
        async with connection.transaction():
            print([row["a"] async for row in connection.cursor("SELECT a FROM t ORDER BY a", prefetch=2)])
            cursor = await connection.cursor("SELECT g FROM generate_series(1, 9) g")
            print(await cursor.fetch(2), await cursor.forward(3), await cursor.fetchrow())
        try:
            await connection.fetchval("SELECT 1/0")
        except asyncpg.DivisionByZeroError as error:
            print(error)
        await connection.close()
    sentry_sdk.flush()
    for event in events:
        for span in event.get("spans", ()):
            data = {name: value for name, value in span["data"].items() if name.startswith("db.")}
            data.pop("db.cursor", None)
            text = re.sub("__[a-z]*pg_", "__pg_", span["description"])
            print(span["op"], text, sorted(data.items()))


asyncio.run(main())
