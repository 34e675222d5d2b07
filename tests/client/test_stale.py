# SPDX-License-Identifier: MIT
"""Statements, cursors, transactions and proxies whose connection is closed or back in its pool; what else they tell."""

from __future__ import annotations

import asyncio
from typing import Any

import fastpg
from tests.contract import covers
from tests.sidebyside import Diary, compare


async def make(con: Any) -> tuple[Any, ...]:
    statement = await con.prepare("SELECT $1::int AS a")
    transaction = con.transaction()
    await transaction.start()
    cursor = await con.cursor("SELECT generate_series(1, 5)")
    iterator = con.cursor("SELECT 1").__aiter__()
    return statement, cursor, iterator, con.cursor("SELECT 1"), transaction


async def use(diary: Diary, things: tuple[Any, ...]) -> None:
    statement, cursor, iterator, factory, transaction = things
    for name in ("get_name", "get_query", "get_statusmsg", "get_parameters", "get_attributes", "cursor", "explain",
                 "fetch", "fetchval", "fetchrow"):  # fmt: skip
        await diary.attempt(f"statement.{name}", getattr(statement, name))
    for name in ("fetchmany", "executemany"):
        await diary.attempt(f"statement.{name}", lambda name=name: getattr(statement, name)([(1,)]))
    await diary.attempt("cursor.fetch", lambda: cursor.fetch(1))
    await diary.attempt("cursor.fetchrow", cursor.fetchrow)
    await diary.attempt("cursor.forward", lambda: cursor.forward(1))
    await diary.attempt("iterator.__aiter__", iterator.__aiter__)
    await diary.attempt("iterator.__anext__", iterator.__anext__)
    await diary.attempt("await factory", lambda: factory)
    await diary.attempt("factory.__aiter__", factory.__aiter__)
    for name in ("start", "commit", "rollback", "__aenter__"):
        await diary.attempt(f"transaction.{name}", getattr(transaction, name))


CALLS: dict[str, tuple[Any, ...]] = {
    "execute": ("SELECT 1",), "executemany": ("SELECT $1::int", [(1,)]), "fetch": ("SELECT 1",),
    "fetchrow": ("SELECT 1",), "fetchval": ("SELECT 1",), "fetchmany": ("SELECT $1::int", [(1,)]),
    "prepare": ("SELECT 1",), "cursor": ("SELECT 1",), "transaction": (), "is_closed": (), "is_in_transaction": (),
    "get_reset_query": (), "reset": (), "add_listener": ("x", print), "remove_listener": ("x", print),
    "add_log_listener": (print,), "remove_log_listener": (print,), "add_termination_listener": (print,),
    "remove_termination_listener": (print,), "add_query_logger": (print,), "remove_query_logger": (print,),
    "close": (), "terminate": (),
}  # fmt: skip


async def call_all(diary: Diary, con: Any) -> None:
    for name, args in CALLS.items():
        await diary.attempt(name, lambda name=name, args=args: getattr(con, name)(*args))


@covers("stale objects", "busy: after close")
async def test_closed(dsn: str) -> None:
    async def scenario(diary: Diary) -> None:
        con = await diary.driver.connect(diary.dsn)
        things = await make(con)
        await con.close()
        await use(diary, things)
        await call_all(diary, con)

    diary = await compare(dsn, scenario)
    assert "the underlying connection is closed" in " ".join(diary.entries)
    assert not diary.reported


@covers("stale objects", "Pool: proxies")
async def test_released(dsn: str) -> None:
    async def scenario(diary: Diary) -> None:
        async with diary.driver.create_pool(diary.dsn, min_size=1, max_size=1) as pool:
            con = await pool.acquire()
            things = await make(con)
            diary.note(repr(con))
            await pool.release(con)
            diary.note(repr(con))
            await use(diary, things)
            for name in CALLS:
                await diary.attempt(name, getattr(con, name))
            await diary.attempt("query_logger", lambda: con.query_logger(print))
            await diary.attempt("nonsense", lambda: con.nonsense)
            async with pool.acquire() as con:
                await diary.attempt("nonsense", lambda: con.nonsense)

    diary = await compare(dsn, scenario)
    assert "has been released back to the pool" in " ".join(diary.entries)


async def test_a_statement_tells(dsn: str) -> None:
    async def scenario(diary: Diary) -> None:
        con = await diary.driver.connect(diary.dsn)
        try:
            statement = await con.prepare("SELECT $1::int AS a, $2::text AS b", name="told")
            diary.note(statement.get_name(), statement.get_query(), statement.get_statusmsg())
            diary.note([tuple(t) for t in statement.get_parameters()])
            diary.note([(a.name, *a.type) for a in statement.get_attributes()])
            await statement.fetch(1, "x")
            diary.note(statement.get_statusmsg())
            await diary.attempt("taken", lambda: con.prepare("SELECT 2", name="told"))
            silent = await con.prepare("CREATE TEMP TABLE told (a int)")
            diary.note(silent.get_attributes(), silent.get_parameters(), silent.get_statusmsg())
            await silent.fetch()
            diary.note(silent.get_statusmsg())
            many = await con.prepare("INSERT INTO told VALUES ($1) RETURNING a")
            diary.note(await many.fetchmany([(1,), (2,)]))
            diary.note(await many.executemany([(3,)]))
            diary.note(await many.fetchval(4), await many.fetchval(4, column="a"), await many.fetchrow(5))
            await diary.attempt("column", lambda: many.fetchval(4, column=1))
            await diary.attempt("few", many.fetch)
            await diary.attempt("bad", lambda: many.fetchmany([(1,), ("x",)]))
            diary.note(await con.fetchval("SELECT count(*) FROM told"))
        finally:
            con.terminate()

    await compare(dsn, scenario)


def shape(plan: Any) -> Any:
    """A plan without its numbers."""
    if isinstance(plan, dict):
        return {key: shape(value) for key, value in plan.items() if not key.endswith(("Time", "Cost"))}
    return [shape(part) for part in plan] if isinstance(plan, list) else plan


@covers("PreparedStatement")
async def test_explain(dsn: str) -> None:
    async def scenario(diary: Diary) -> None:
        con = await diary.driver.connect(diary.dsn)
        try:
            await con.execute("CREATE TEMP TABLE t (a int)")
            statement = await con.prepare("INSERT INTO t SELECT g FROM generate_series(1, $1::int) g")
            diary.note(shape(await statement.explain(3)))
            diary.note(await con.fetchval("SELECT count(*) FROM t"))
            diary.note(shape(await statement.explain(3, analyze=True)))
            # It has run, and has been rolled back.
            diary.note(await con.fetchval("SELECT count(*) FROM t"), con.is_in_transaction())
            async with con.transaction():
                await statement.fetch(2)
                diary.note(shape(await statement.explain(3, analyze=True)))
                diary.note(await con.fetchval("SELECT count(*) FROM t"), con.is_in_transaction())
            await con.execute("BEGIN")
            await diary.attempt("by hand", lambda: statement.explain(3, analyze=True))
            await con.execute("ROLLBACK")
            await diary.attempt("few", statement.explain)
            await diary.attempt("many", lambda: statement.explain(1, 2))
            await diary.attempt("bad", lambda: statement.explain("x"))
            broken = await con.prepare("SELECT 1 / $1::int")
            await diary.attempt("error", lambda: broken.explain(0, analyze=True))
            diary.note(con.is_in_transaction())
            no_plan = await con.prepare("SHOW TimeZone")
            await diary.attempt("no plan", no_plan.explain)
        finally:
            con.terminate()

    await compare(dsn, scenario)


@covers("ConnectionSettings", "Connection: what the server is")
async def test_the_connection_tells(dsn: str) -> None:
    async def scenario(diary: Diary) -> None:
        con = await diary.driver.connect(diary.dsn)
        settings = con.get_settings()
        diary.note(settings, settings.server_encoding, hasattr(settings, "nonsense"))
        await con.execute("SET TimeZone TO 'Asia/Tokyo'")
        diary.note(settings.TimeZone, con.get_settings().TimeZone)
        await diary.attempt("item", lambda: settings.nonsense)
        diary.note(con.get_server_version(), con.get_reset_query(), con.is_in_transaction())
        diary.note(con.get_server_pid() == await con.fetchval("SELECT pg_backend_pid()"))
        diary.note(repr(con))
        pid = con.get_server_pid()
        await con.close()
        diary.note(con.get_server_pid() == pid, con.get_settings(), con.get_server_version(), con.is_in_transaction())

    await compare(dsn, scenario)


async def test_reprs(dsn: str) -> None:
    async def scenario(diary: Diary) -> None:
        con = await diary.driver.connect(diary.dsn)
        transaction = con.transaction(isolation="serializable", readonly=True, deferrable=True)
        diary.note(repr(transaction))
        await transaction.start()
        diary.note(repr(transaction))
        cursor = await con.cursor("SELECT generate_series(1, 2)")
        diary.note(repr(cursor))
        await cursor.fetch(5)
        diary.note(repr(cursor))
        await transaction.rollback()
        diary.note(repr(transaction))
        con.terminate()

    await compare(dsn, scenario)


async def test_a_long_query_is_cut_in_a_repr(dsn: str) -> None:
    con = await fastpg.connect(dsn)
    async with con.transaction():
        cursor = await con.cursor(f"SELECT 1 /* {'x' * 10_000} */")
        assert len(repr(cursor)) < 200
        del cursor
    await asyncio.wait_for(con.close(), 10)
