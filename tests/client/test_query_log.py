# SPDX-License-Identifier: MIT
"""Query loggers: every call, its arguments, time and end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

import fastpg
from fastpg.connection import LoggedQuery
from tests.contract import covers
from tests.sidebyside import Diary, compare


@pytest_asyncio.fixture
async def con(dsn: str) -> AsyncIterator[fastpg.Connection]:
    con = await fastpg.connect(dsn)
    yield con
    con.terminate()
    await asyncio.sleep(0)


@covers("Connection: query loggers")
async def test_like_asyncpg(dsn: str) -> None:
    async def scenario(diary: Diary) -> None:
        con = await diary.driver.connect(diary.dsn, command_timeout=9)

        def log(record: Any) -> None:
            assert record.elapsed >= 0
            error = record.exception
            diary.note("log", type(record).__name__, record._fields, record.query, record.args, record.timeout,
                       type(error).__name__, error, record.conn_addr == con._addr, record.conn_params.user)  # fmt: skip

        async def wrong(how: str, call: Any) -> None:
            await diary.attempt(how, call)
            await diary.turns(0)

        await diary.attempt("not callable", lambda: con.add_query_logger(None))
        con.add_query_logger(log)
        con.add_query_logger(log)
        await con.execute("SELECT 1")
        await con.execute("SELECT $1::int", 1, timeout=3)
        await con.fetch("SELECT $1::int", 1)
        await con.fetchrow("SELECT $1::int", 1, timeout=2.5)
        await con.fetchval("SELECT $1::int", 1)
        await con.fetchval("SELECT $1::int", 1)
        await con.executemany("SELECT $1::int", [(1,), (2,)])
        await con.executemany(command="SELECT $1::int", args=[(1,), (2,)], timeout=5)
        await con.fetchmany(args=[(1,), (2,)], query="SELECT $1::int")
        statement = await con.prepare("SELECT $1::int")
        await statement.fetch(1)
        await statement.fetchval(1)
        await statement.executemany([(1,)])
        await statement.explain(1)
        async with con.transaction():
            cursor = await con.cursor("SELECT generate_series(1, 9)")
            await cursor.fetch(2)
            await cursor.forward(2)
            async for _ in con.cursor("SELECT 1"):
                pass
            async with con.transaction(isolation=None):
                pass
        await wrong("division", lambda: con.fetch("SELECT 1/0"))
        await wrong("division", lambda: con.execute("SELECT 1/0"))
        await wrong("division", lambda: con.executemany("SELECT 1/$1::int", [(0,)]))
        await wrong("syntax", lambda: con.fetchval("nonsense"))
        await wrong("argument", lambda: con.fetch("SELECT $1::int", "x"))
        await wrong("arguments", lambda: con.fetch("SELECT $1::int"))
        await wrong("argument", lambda: con.executemany("SELECT $1::int", [("x",)]))
        for call in (con.execute, con.fetch):
            await wrong("timeout", lambda call=call: call("SELECT pg_sleep(9)", timeout=0.05))
            await con.execute("SELECT 1")  # which waits for the cancel, for as long as that takes
        for call in (con.execute, con.fetch):
            task = asyncio.ensure_future(call("SELECT pg_sleep(9)"))
            await asyncio.sleep(0.05)
            task.cancel()
            await wrong("cancelled", lambda task=task: task)
        await con.reset()
        con.remove_query_logger(log)
        con.remove_query_logger(log)
        await con.fetch("SELECT 'nobody logs'")
        with con.query_logger(log) as nothing:
            diary.note(nothing)
            await con.fetch("SELECT 'in the block'")
        await con.fetch("SELECT 'after the block'")
        try:
            with con.query_logger(log):
                raise ZeroDivisionError
        except ZeroDivisionError:
            await con.fetch("SELECT 'after the block'")
        con.terminate()

    diary = await compare(dsn, scenario)
    assert sum(entry.startswith("log") for entry in diary.entries) == 29
    assert not diary.reported


async def test_pooled(dsn: str) -> None:
    async def scenario(diary: Diary) -> None:
        async with diary.driver.create_pool(diary.dsn, min_size=1, max_size=1) as pool:

            def log(record: Any) -> None:
                diary.note(record.query)

            async with pool.acquire() as con:
                con.add_query_logger(log)
                with con.query_logger(print):
                    pass
                await con.fetch("SELECT 1")
            async with pool.acquire() as con:
                await con.fetch("SELECT 'again'")
            await pool.fetch("SELECT 'by the pool'")
            await diary.turns()

    diary = await compare(dsn, scenario)
    assert len(diary.entries) == 6


async def test_several_in_order(con: fastpg.Connection) -> None:
    """Plain ones and coroutine functions; one that raises harms nobody and is reported once."""
    calls: list[Any] = []
    reported: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: reported.append(context["exception"]))

    def raises(record: LoggedQuery) -> None:
        raise ZeroDivisionError

    async def coroutine(record: LoggedQuery) -> None:
        await asyncio.sleep(0)
        calls.append(("coroutine", record.query))

    con.add_query_logger(raises)
    con.add_query_logger(coroutine)
    con.add_query_logger(lambda record: calls.append(("plain", record.query)))
    assert await con.fetchval("SELECT 7") == 7
    assert await con.execute("SELECT 8") == "SELECT 1"
    await asyncio.sleep(0.01)
    assert [call for call in calls if call[0] == "plain"] == [("plain", "SELECT 7"), ("plain", "SELECT 8")]
    assert [call for call in calls if call[0] != "plain"] == [("coroutine", "SELECT 7"), ("coroutine", "SELECT 8")]
    assert [type(error) for error in reported] == [ZeroDivisionError] * 2


async def test_refused_calls_are_logged(con: fastpg.Connection) -> None:
    """asyncpg logs some of them: that of execute() on a busy connection, not that of fetch()."""
    records: list[LoggedQuery] = []
    con.add_query_logger(records.append)
    busy = asyncio.ensure_future(con.execute("SELECT pg_sleep(0.1)"))
    await asyncio.sleep(0.01)
    for method in (con.execute, con.fetch, con.fetchrow, con.fetchval):
        with pytest.raises(fastpg.InterfaceError, match="another operation is in progress"):
            await method("SELECT 1")
    with pytest.raises(fastpg.InterfaceError, match="another operation is in progress"):
        await con.executemany("SELECT $1", [(1,)])
    await busy
    with pytest.raises(asyncio.TimeoutError):
        await con.fetch("SELECT 1", timeout=0)
    con.terminate()
    with pytest.raises(fastpg.InterfaceError, match="connection is closed"):
        await con.fetch("SELECT 1")
    await asyncio.sleep(0)
    kinds = [type(record.exception).__name__ for record in records]
    assert kinds == ["InterfaceError"] * 5 + ["NoneType", "TimeoutError", "InterfaceError"]


async def test_the_password_is_not_in_the_record(dsn: str) -> None:
    con = await fastpg.connect(dsn, password="of-no-use")
    records: list[LoggedQuery] = []
    con.add_query_logger(records.append)
    await con.fetchval("SELECT 1")
    await asyncio.sleep(0)
    assert len(records) == 1 and "of-no-use" not in repr(records[0])
    con.terminate()


async def test_signatures_are_kept() -> None:
    assert asyncio.iscoroutinefunction(fastpg.Connection.executemany)
    assert fastpg.Connection.fetchmany.__name__ == "fetchmany"
