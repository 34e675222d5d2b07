# SPDX-License-Identifier: MIT
"""Cancels and deadlines at random moments against a live server: no answer ever goes to another query."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest

import fastpg
from fastpg import exceptions

TASKS = 4
QUERIES = 300  # for each task
tags = itertools.count(1)


async def value(c: fastpg.Connection, tag: int, nap: float, timeout: float | None) -> Any:
    return await c.fetchval("SELECT $1::int8 + (pg_sleep($2)::text = 'x')::int", tag, nap, timeout=timeout)


async def uncached(c: fastpg.Connection, tag: int, nap: float, timeout: float | None) -> Any:
    return await c.fetchval(f"SELECT {tag}::int8 FROM pg_sleep($1)", nap, timeout=timeout)


async def rows(c: fastpg.Connection, tag: int, nap: float, timeout: float | None) -> Any:
    found = await c.fetch("SELECT $1::int8, pg_sleep($2), g FROM generate_series(1, 500) g LIMIT 500", tag, 0.0,
                          timeout=timeout)  # fmt: skip
    assert [row[2] for row in found] == list(range(1, 501))
    (one,) = {row[0] for row in found}
    return one


async def many(c: fastpg.Connection, tag: int, nap: float, timeout: float | None) -> Any:
    found = await c.fetchmany("SELECT $1::int8, $2::int", [(tag, i) for i in range(50)], timeout=timeout)
    assert [row[1] for row in found] == list(range(50))
    (one,) = {row[0] for row in found}
    return one


async def in_transaction(c: fastpg.Connection, tag: int, nap: float, timeout: float | None) -> Any:
    async with c.transaction():
        cursor = await c.cursor("SELECT $1::int8 + g FROM generate_series(0, 9) g", tag)
        first = await cursor.fetch(4, timeout=timeout)
        rest = await cursor.fetch(10)
    assert [row[0] for row in [*first, *rest]] == [tag + i for i in range(10)]
    return tag


async def server_error(c: fastpg.Connection, tag: int, nap: float, timeout: float | None) -> Any:
    with pytest.raises(exceptions.InvalidTextRepresentationError) as caught:
        await c.fetchval("SELECT $1::text::int, pg_sleep($2)", f"x{tag}", nap, timeout=timeout)
    assert f'"x{tag}"' in str(caught.value)  # the error is this query's own, too
    return tag


async def copy_out(c: fastpg.Connection, tag: int, nap: float, timeout: float | None) -> Any:
    chunks: list[bytes] = []
    query = "SELECT $1::int8, repeat('x', 300), pg_sleep($2) FROM generate_series(1, 2000) g"
    await c.copy_from_query(query, tag, 0.0, output=chunks.append, timeout=timeout)
    found = {line.split(b"\t")[0] for line in b"".join(chunks).splitlines()}
    assert len(found) == 1
    return int(found.pop())


async def copy_in(c: fastpg.Connection, tag: int, nap: float, timeout: float | None) -> Any:
    async def source() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b"%d\n" % tag
            await asyncio.sleep(nap / 100)

    await c.execute("CREATE TEMP TABLE IF NOT EXISTS tagged (tag int8)")
    await c.copy_to_table("tagged", source=source(), timeout=timeout)
    await c.copy_records_to_table("tagged", records=[(tag,)] * 3000, timeout=timeout)
    found = await c.fetchmany("SELECT count(*) FROM tagged WHERE tag = $1", [(tag,)])
    assert found == [(3100,)]
    return tag


CALLS = [value, uncached, rows, many, in_transaction, server_error, copy_out, copy_in]


async def work(dsn: str, chance: random.Random, counts: dict[str, int]) -> None:
    connection = await fastpg.connect(dsn)
    try:
        for _ in range(QUERIES):
            tag = next(tags)
            nap, timeout = chance.choice([0.0, 0.001, 0.003]), chance.choice([None, None, 0.001, 0.003])
            task = asyncio.ensure_future(chance.choice(CALLS)(connection, tag, nap, timeout))
            for _ in range(chance.randrange(5)):
                await asyncio.sleep(0)
            if chance.random() < 0.4:
                await asyncio.sleep(chance.random() * 0.004)
            if chance.random() < 0.6:
                for _ in range(chance.choice([1, 1, 2, 3])):
                    task.cancel()
                    await asyncio.sleep(0)
            done, _ = await asyncio.wait([task], timeout=20)
            assert done, "hangs"
            # Nothing else may come of it: a QueryCanceledError would be the cancel of an earlier query.
            try:
                assert task.result() == tag
                counts["answered"] += 1
            except (asyncio.CancelledError, asyncio.TimeoutError) as error:
                counts[type(error).__name__] += 1
            assert not connection.is_closed()
        assert await connection.fetchval("SELECT 42") == 42
        assert not connection.is_in_transaction()
        await connection.close(timeout=10)
    finally:
        connection.terminate()


@pytest.mark.parametrize("seed", [1, 2])
async def test_every_answer_has_its_own_tag(dsn: str, seed: int) -> None:
    complaints: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: complaints.append(context))
    counts = {"answered": 0, "CancelledError": 0, "TimeoutError": 0}
    workers = [asyncio.ensure_future(work(dsn, random.Random(f"{seed}-{i}"), counts)) for i in range(TASKS)]
    done, pending = await asyncio.wait(workers, timeout=500)  # a hang shows itself above, each query's own
    for worker in pending:
        worker.cancel()
    assert not pending, "hangs"
    for worker in done:
        worker.result()
    assert counts["answered"] > 100 and counts["CancelledError"] > 100 and counts["TimeoutError"] > 20, counts
    assert not complaints
