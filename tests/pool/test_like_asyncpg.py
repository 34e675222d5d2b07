# SPDX-License-Identifier: MIT
"""What a pool counts, replaces and forgets, beside asyncpg's."""

from __future__ import annotations

import asyncio
import gc
import warnings
from typing import Any

import fastpg
from tests.contract import covers
from tests.sidebyside import Diary, compare


async def test_what_counts_as_a_query(dsn: str) -> None:
    """For max_queries: what executes, not what prepares or binds."""

    async def scenario(diary: Diary) -> None:
        con = await diary.driver.connect(diary.dsn)
        client = con._protocol if diary.driver is not fastpg else con._client

        async def count(label: str, call: Any) -> None:
            before = client.queries_count
            await diary.attempt(label, call)
            diary.note(label, "counts", client.queries_count - before)

        async def iterate() -> None:
            async for _ in con.cursor("SELECT generate_series(1, 100)", prefetch=10):
                pass

        await count("execute", lambda: con.execute("SELECT 1"))
        for _ in range(2):
            await count("arguments", lambda: con.execute("SELECT $1::int", 1))
            await count("fetch", lambda: con.fetch("SELECT 1"))
            await count("fetchrow", lambda: con.fetchrow("SELECT 2"))
            await count("fetchval", lambda: con.fetchval("SELECT 3"))
            await count("executemany", lambda: con.executemany("SELECT $1::int8", [(1,), (2,)]))
            await count("fetchmany", lambda: con.fetchmany("SELECT $1::int8", [(1,), (2,)]))
        statement = await con.prepare("SELECT 4")
        await count("statement", statement.fetch)
        await count("statement.executemany", lambda: statement.executemany([()]))
        transaction = con.transaction()
        await count("start", transaction.start)
        await count("iterate", iterate)
        cursor = await con.cursor("SELECT generate_series(1, 9)")
        await count("cursor", lambda: cursor.fetch(2))
        await count("forward", lambda: cursor.forward(2))
        await count("commit", transaction.commit)
        await count("division", lambda: con.fetch("SELECT 1/0"))
        await count("division", lambda: con.execute("SELECT 1/0"))
        await count("argument", lambda: con.fetch("SELECT $1::int", "x"))
        await count("syntax", lambda: con.fetch("nonsense"))
        await count("listen", lambda: con.add_listener("x", print))
        await count("reset", con.reset)
        con.terminate()

    await compare(dsn, scenario)


@covers("pool: max_queries")
async def test_max_queries(dsn: str) -> None:
    async def scenario(diary: Diary) -> None:
        async def execute(con: Any) -> None:
            await con.execute("SELECT 1")

        async def fetch(con: Any) -> None:
            await con.fetch("SELECT 1")

        async def prepare(con: Any) -> None:
            await (await con.prepare("SELECT 1")).fetch()

        async def transaction(con: Any) -> None:
            async with con.transaction():
                await con.fetchval("SELECT $1::int", 1)

        for use in (execute, fetch, prepare, transaction):
            for limit in (1, 2, 5, 6):
                async with diary.driver.create_pool(diary.dsn, min_size=1, max_size=1, max_queries=limit) as pool:
                    pids = []
                    for _ in range(8):
                        async with pool.acquire() as con:
                            pids.append(con.get_server_pid())
                            await use(con)
                diary.note(use.__name__, limit, [pids.index(pid) for pid in pids])

    await compare(dsn, scenario)


@covers("Pool: terminate, expire, sizes", "pool: expire_connections")
async def test_set_connect_args(dsn: str) -> None:
    """New connections have the new parameters; old ones go when they expire, at their next use or release."""

    async def scenario(diary: Diary) -> None:
        async def name(con: Any) -> str:
            return str(await con.fetchval("SHOW application_name"))

        def settings(value: str) -> dict[str, Any]:
            return {"server_settings": {"application_name": value}}

        pool = diary.driver.create_pool(diary.dsn, min_size=1, max_size=3, **settings("one"))
        await pool
        pool.set_connect_args(diary.dsn, **settings("two"))
        held = [await pool.acquire() for _ in range(2)]
        diary.note([await name(con) for con in held])
        for con in held:
            await pool.release(con)
        diary.note(pool.get_size(), pool.get_idle_size())
        await pool.expire_connections()
        diary.note(pool.get_size(), pool.get_idle_size())
        held = [await pool.acquire() for _ in range(2)]
        diary.note([await name(con) for con in held])
        await pool.expire_connections()
        diary.note([await name(con) for con in held], pool.get_size())
        await pool.release(held[0])
        diary.note(pool.get_size(), pool.get_idle_size())
        pool.set_connect_args(dsn=diary.dsn, **settings("three"))
        con = await pool.acquire()
        diary.note(await name(con), await name(held[1]))
        pool.set_connect_args(host="127.0.0.1", port=1)
        await pool.release(held[1])
        diary.note(pool.get_idle_size(), await refused(pool))
        pool.set_connect_args(diary.dsn, **settings("four"))
        async with pool.acquire() as last:
            diary.note(await name(last))
        await pool.release(con)
        diary.note(await name(pool))
        await pool.close()

    async def refused(pool: Any) -> str:
        try:
            await pool.acquire()
        except OSError as error:
            return type(error).__name__
        return "connected"

    diary = await compare(dsn, scenario)
    assert "['one', 'two']" in diary.entries


@covers("pool: idle timer")
async def test_idle_connections_end(dsn: str) -> None:
    async def scenario(diary: Diary) -> None:
        for low in (0, 1):
            async with diary.driver.create_pool(
                diary.dsn, min_size=low, max_size=3, max_inactive_connection_lifetime=0.1
            ) as pool:
                diary.note(pool.get_size())
                held = [await pool.acquire() for _ in range(3)]
                for con in held[1:]:
                    await pool.release(con)
                diary.note(pool.get_size(), pool.get_idle_size())
                await asyncio.sleep(0.3)
                # One is borrowed: it does not end.
                diary.note(pool.get_size(), pool.get_idle_size(), held[0].is_closed())
                await pool.release(held[0])
                await asyncio.sleep(0.3)
                diary.note(pool.get_size(), await pool.fetchval("SELECT 1"), pool.get_size())
        async with diary.driver.create_pool(
            diary.dsn, min_size=0, max_size=1, max_inactive_connection_lifetime=0
        ) as pool:
            await pool.fetchval("SELECT 1")
            await asyncio.sleep(0.1)
            diary.note("for ever", pool.get_size())

    await compare(dsn, scenario)


@covers("Pool: errors")
async def test_a_pool_that_is_not_open(dsn: str) -> None:
    async def scenario(diary: Diary) -> None:
        for state in ("new", "closed"):
            pool = diary.driver.create_pool(diary.dsn, min_size=1, max_size=1)
            if state == "closed":
                await pool
                await pool.close()
            diary.note(state, pool.is_closing(), pool.get_size(), pool.get_idle_size(), pool.get_min_size(),
                       pool.get_max_size(), pool.get_init_size())  # fmt: skip
            for name in ("acquire", "close", "terminate", "expire_connections", "set_connect_args"):
                await diary.attempt(name, getattr(pool, name))
            await diary.attempt("fetch", lambda pool=pool: pool.fetch("SELECT 1"))
            await diary.attempt("release", lambda pool=pool: pool.release(None))

    await compare(dsn, scenario)


@covers("pool: unclosed connections")
async def test_forgotten_pools(dsn: str) -> None:
    """Nobody holds them but the loop: their connections say that nobody has closed them, and are closed."""
    for lent in (False, True):
        pool = await fastpg.create_pool(dsn, min_size=1, max_size=1)
        con = await pool.acquire()
        pid = con.get_server_pid()
        if not lent:
            await pool.release(con)
            await asyncio.sleep(0)  # what the loop is to do in this turn holds it too
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            del pool
            if lent:
                gc.collect()
                assert await con.fetchval("SELECT 1") == 1  # it holds its pool
            del con
            gc.collect()
        assert [warning.category for warning in caught] == [ResourceWarning]
        other = await fastpg.connect(dsn)
        for _ in range(500):
            if not await other.fetchval("SELECT count(*) FROM pg_stat_activity WHERE pid = $1", pid):
                break
            await asyncio.sleep(0.01)
        else:
            raise AssertionError("the backend is left")
        await other.close()
