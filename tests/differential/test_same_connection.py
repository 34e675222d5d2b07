# SPDX-License-Identifier: MIT
"""Connection: what its queries, statements and transactions return and raise."""

from __future__ import annotations

import re
from typing import Any

import asyncpg
import pytest

import fastpg
from tests.contract import covers, differs
from tests.sidebyside import Diary, both, compare
from tests.wiretap import wiretap


@covers("Connection: the class", "tools: buildpg", "tools: __module__")
async def test_the_class(dsn: str) -> None:
    async def scenario(diary: Diary) -> None:
        cls = diary.driver.Connection
        diary.note(type(cls).__name__, "__weakref__" in cls.__slots__, "_transport" in cls.__slots__)
        async with diary.driver.create_pool(diary.dsn, min_size=1, max_size=1) as pool, pool.acquire() as proxy:
            diary.note(isinstance(proxy, cls), type(proxy).__name__, issubclass(type(proxy), cls))
            diary.note(type(proxy._con) is cls, isinstance(proxy, diary.driver.connection._ConnectionProxy))

        class First:
            __slots__ = ()

            def first(self) -> str:
                return "first"

        class Mixed(First, cls):  # type: ignore[misc, valid-type]
            async def fetchval(self, *args: Any, **kwargs: Any) -> Any:
                return ("mine", await super().fetchval(*args, **kwargs))

        async with diary.connected(connection_class=Mixed) as con:
            con.note = "it has a __dict__"
            diary.note(con.first(), await con.fetchval("SELECT 1"), con.note)

    await compare(dsn, scenario)


@covers("Connection: execute")
async def test_execute(dsn: str) -> None:
    async def scenario(diary: Diary) -> None:
        async with diary.connected() as con:
            for query in (
                "CREATE TEMP TABLE t (a int PRIMARY KEY, b text)", "INSERT INTO t VALUES (1, 'x'), (2, 'y')",
                "SELECT * FROM t", "SELECT 1; SELECT 2, 3; UPDATE t SET b = 'z'", "BEGIN", "COMMIT", "DELETE FROM t",
                "SET work_mem = '5MB'", "SHOW work_mem", "VALUES (1), (2)", "DO $$ BEGIN END $$", "; SELECT 1",
                "SELECT",
                "COPY (SELECT 1) TO '/dev/null'", "INSERT INTO t VALUES (1, 'x'); INSERT INTO t VALUES (1, 'x')",
                "SELECT 1; SELECT 1/0; SELECT 2", "nonsense", "SELECT $1::int",
            ):  # fmt: skip
                await diary.attempt(query, lambda query=query: con.execute(query))
                diary.state(query, con)
            await diary.attempt("one transaction", lambda: con.fetchval("SELECT count(*) FROM t"))
            for args in ((1, "x"), (2, "y"), (2, "y"), (3, None)):
                await diary.attempt(
                    f"insert {args}", lambda args=args: con.execute("INSERT INTO t VALUES ($1, $2)", *args)
                )
            await diary.attempt("two statements", lambda: con.execute("SELECT $1::int; SELECT 2", 1))
            await diary.attempt("rows", lambda: con.execute("SELECT * FROM t WHERE a < $1", 9))
            await diary.attempt("none", lambda: con.execute("SELECT * FROM t WHERE a < $1", 0))
            await diary.attempt("still there", lambda: con.fetchval("SELECT count(*) FROM t"))

    await compare(dsn, scenario)


@covers("Connection: execute", "defect: empty scripts")
@differs("Empty scripts")
async def test_empty_scripts(dsn: str) -> None:
    async def scenario(diary: Diary) -> None:
        async with diary.connected() as con:
            for query in ("", "-- only a comment", ";"):
                await diary.attempt(repr(query), lambda query=query: con.execute(query))
            # The last statement is the empty one.
            await diary.attempt("then", lambda: con.execute("SELECT 1"))

    theirs, ours = await both(dsn, scenario)
    assert all("raised AttributeError" in entry for entry in theirs.entries[:3])
    assert [entry.rsplit("gave ", 1)[1] for entry in ours.entries[:3]] == ["'' : str"] * 3
    assert theirs.entries[3] == ours.entries[3]


@covers("Connection: executemany", "Connection: fetchmany")
async def test_executemany(dsn: str) -> None:
    async def scenario(diary: Diary) -> None:
        async with diary.connected() as con:
            await con.execute("CREATE TEMP TABLE t (a int PRIMARY KEY, b text)")
            insert, drawn = "INSERT INTO t VALUES ($1, $2)", []

            def rows(n: int, bad: int | None = None) -> Any:
                for i in range(n):
                    drawn.append(i)
                    yield (i, "x") if i != bad else ("x", "x")

            async def count(label: str) -> None:
                diary.note(label, await con.fetchval("SELECT count(*) FROM t"))
                await con.execute("TRUNCATE t")

            for label, args in (
                ("list", [(1, "a"), [2, "b"], (3, None)]), ("generator", rows(50)), ("nothing", []),
                ("bad", rows(9, 5)),
                ("twice", [(1, "a"), (1, "b")]), ("too few", [(1, "a"), (1,)]), ("no sequence", [(1, "a"), 7]),
                ("a string", [(1, "a"), "ab"]), ("no iterable", 7), ("records", [{"a": 1}]), ("a set", [{1, 2}]),
            ):  # fmt: skip
                await diary.attempt(label, lambda args=args: con.executemany(insert, args))
                diary.state(label, con)
                await count(label)
            diary.note(drawn)
            # In a transaction what was done before stays.
            transaction = con.transaction()
            await transaction.start()
            await con.executemany(insert, [(1, "a")])
            await diary.attempt("in a transaction", lambda: con.executemany(insert, [(2, "a"), (1, "a")]))
            diary.state("in a transaction", con)
            await transaction.rollback()
            await diary.attempt("returning", lambda: con.fetchmany(insert + " RETURNING a, b", [(1, "a"), (2, "b")]))
            await diary.attempt("no rows", lambda: con.fetchmany(insert, [(3, "a")]))
            await diary.attempt("nothing", lambda: con.fetchmany(insert + " RETURNING a", []))
            await diary.attempt("bad", lambda: con.fetchmany(insert + " RETURNING a", [(4, "c"), ("x", "c")]))
            await diary.attempt("constraint", lambda: con.fetchmany(insert + " RETURNING a", [(5, "c"), (1, "c")]))
            await count("fetchmany")
            await diary.attempt("select", lambda: con.executemany("SELECT $1::int", [(1,), (2,)]))
            await diary.attempt("no arguments", lambda: con.executemany("SELECT 1", [(), ()]))

    await compare(dsn, scenario)


@covers("Connection: fetch", "Connection: fetchrow", "Connection: fetchval")
async def test_fetching(dsn: str) -> None:
    async def scenario(diary: Diary) -> None:
        class Own(diary.driver.Record):  # type: ignore[misc, name-defined]
            def __getattr__(self, name: str) -> Any:
                return self[name]

        rows = "SELECT g AS a, g::text AS b FROM generate_series(1, $1::int) g"
        async with diary.connected() as con:
            for n in (0, 1, 3):
                for method in (con.fetch, con.fetchrow, con.fetchval):
                    await diary.attempt(f"{method.__name__} {n}", lambda method=method, n=n: method(rows, n))
            for column in (0, 1, -1, "a", "b", 2, "c", 1.5):
                await diary.attempt(f"column {column!r}", lambda column=column: con.fetchval(rows, 2, column=column))
            await diary.attempt("no columns", lambda: con.fetch("SELECT"))
            await diary.attempt("no columns", lambda: con.fetchrow("SELECT"))
            await diary.attempt("no rows", lambda: con.fetch("CREATE TEMP TABLE t (a int)"))
            await diary.attempt("no rows", lambda: con.fetchrow("INSERT INTO t VALUES (1)"))
            await diary.attempt("no rows", lambda: con.fetchval("INSERT INTO t VALUES (1)"))
            await diary.attempt("returning", lambda: con.fetchval("INSERT INTO t VALUES (1), (2) RETURNING a"))
            # With a limit of one row the server stops, but a statement that writes has written all.
            await diary.attempt("written", lambda: con.fetchval("SELECT count(*) FROM t"))
            for method in (con.fetch, con.fetchrow):
                found = await method("SELECT 7 AS number", record_class=Own)
                found = found[0] if isinstance(found, list) else found
                diary.note(type(found).__name__, found.number)
            await diary.attempt("empty", lambda: con.fetch(""))
            await diary.attempt("duplicates", lambda: con.fetchrow("SELECT 1 AS a, 2 AS a"))
            await diary.attempt("no query", lambda: con.fetch(None))
            await diary.attempt("scripts", lambda: con.fetch("SELECT 1; SELECT 2"))
            await diary.attempt("two", lambda: con.fetchrow(rows))
            await diary.attempt("positional", lambda: con.fetch(rows, 1, 2))
            diary.state("after all", con)

    await compare(dsn, scenario)


@covers("Connection: cursor")
async def test_cursor(dsn: str) -> None:
    async def scenario(diary: Diary) -> None:
        async with diary.connected() as con:
            factory = con.cursor("SELECT generate_series(1, $1::int) AS a", 5, prefetch=2)
            diary.note(type(factory).__name__)
            await diary.attempt("outside", lambda: con.cursor("SELECT 1"))
            await diary.attempt("outside", con.cursor("SELECT 1").__aiter__().__anext__)
            await con.execute("BEGIN")
            await diary.attempt("by hand", lambda: collect(con.cursor("SELECT generate_series(1, $1::int) AS a", 5)))
            await con.execute("COMMIT")
            async with con.transaction():
                await diary.attempt("iterated", lambda: collect(factory))
                cursor = await con.cursor("SELECT generate_series(1, 5) AS a")
                diary.note(type(cursor).__name__)
                await diary.attempt("fetch", lambda: cursor.fetch(2))
                await diary.attempt("record class", lambda: collect(con.cursor(
                    "SELECT 1 AS a", record_class=diary.driver.Record)))  # fmt: skip

    async def collect(factory: Any) -> Any:
        return [row async for row in factory]

    await compare(dsn, scenario)


@covers("Connection: fetch", "Connection: prepare", "Connection: cursor", "Record: record_class")
async def test_record_class_of_a_call(dsn: str) -> None:
    """It is looked at by every call that takes one, of a connection, a statement and a pool."""

    async def scenario(diary: Diary) -> None:
        class Made(diary.driver.Record):  # type: ignore[misc, name-defined]
            def __new__(cls) -> Any:
                raise AssertionError("never called")

        class Begun(diary.driver.Record):  # type: ignore[misc, name-defined]
            def __init__(self) -> None:
                raise AssertionError("never called")

        pool = await diary.driver.create_pool(diary.dsn, min_size=1, max_size=1)
        async with diary.connected() as con:
            for cls in (Made, Begun, int, tuple, "Record", 0, "", diary.driver.Record):
                await calls(diary, con, cls)
                await calls(diary, pool, cls)
                await statements(diary, con, cls)
        await pool.close()

    async def calls(diary: Diary, caller: Any, cls: Any) -> None:
        query = "SELECT $1::int AS a"
        await diary.attempt("fetch", lambda: caller.fetch(query, 1, record_class=cls))
        await diary.attempt("fetchrow", lambda: caller.fetchrow(query, 1, record_class=cls))
        await diary.attempt("fetchmany", lambda: caller.fetchmany(query, [(1,)], record_class=cls))

    async def statements(diary: Diary, con: Any, cls: Any) -> None:
        statement = await diary.attempt("prepare", lambda: con.prepare("SELECT 1 AS a", record_class=cls))
        if statement is not None:
            await diary.attempt("its rows", statement.fetch)
        async with con.transaction():
            await diary.attempt("cursor", lambda: con.cursor("SELECT 1 AS a", record_class=cls))

    await compare(dsn, scenario)


@covers("Connection: prepare", "cache: names")
async def test_prepare(dsn: str) -> None:
    async def scenario(diary: Diary) -> None:
        own = "SELECT name, statement FROM pg_prepared_statements WHERE statement LIKE '%told%' ORDER BY name"
        for size in (100, 0):
            async with diary.connected(statement_cache_size=size) as con:
                kept = []
                for name in (None, "mine", ""):
                    kept.append(statement := await con.prepare(f"SELECT 1 AS told_{name}", name=name))
                    diary.note(size, "named", repr(statement.get_name()), type(statement).__name__)
                    await diary.attempt("runs", statement.fetch)
                    found = await con.fetch(own)
                    diary.note([(row["statement"], row["name"].startswith("__")) for row in found
                                if "pg_prepared" not in row["statement"]])  # fmt: skip
                # Never from the cache.
                await con.fetch("SELECT 'told twice'")
                again = await con.prepare("SELECT 'told twice'")
                diary.note(len([row for row in await con.fetch(own) if "twice" in row["statement"]]), again.get_query())
                await diary.attempt("wrong", lambda: con.prepare("nonsense"))
                await diary.attempt("no name", lambda: con.prepare("SELECT 1", name=7))

    await compare(dsn, scenario)


@covers("Connection: transaction", "Connection: is_in_transaction")
async def test_transactions(dsn: str) -> None:
    async def scenario(diary: Diary) -> None:
        shows = "SELECT current_setting('transaction_isolation'), current_setting('transaction_read_only'), " \
                "current_setting('transaction_deferrable')"  # fmt: skip
        async with diary.connected() as con:
            for isolation in (None, "read_committed", "read_uncommitted", "repeatable_read", "serializable", ""):
                for readonly, deferrable in ((False, False), (True, False), (True, True)):
                    given = {"isolation": isolation, "readonly": readonly, "deferrable": deferrable}
                    async with con.transaction(**given):
                        diary.note(given, tuple((await con.fetch(shows))[0]), con.is_in_transaction())
            for isolation in ("nonsense", "READ COMMITTED", 7):
                try:
                    con.transaction(isolation=isolation)
                except ValueError as error:
                    # A set is named: in any order.
                    diary.note(isolation, sorted(re.split("[{}, ]+", str(error))))
            diary.note(con.is_in_transaction())
            await con.execute("BEGIN")
            diary.note(con.is_in_transaction())
            await diary.attempt("error", lambda: con.execute("SELECT 1/0"))
            diary.note(con.is_in_transaction())
            await diary.attempt("aborted", lambda: con.fetch("SELECT 1"))
            await con.execute("COMMIT")
            diary.note(con.is_in_transaction())

    await compare(dsn, scenario)


@covers("defect: NUL in SQL", "Connection: execute")
@differs("NUL characters")
async def test_nul(dsn: str) -> None:
    async with wiretap(dsn) as (tap, through):
        for driver in (asyncpg, fastpg):
            con = await driver.connect(through)
            try:
                tap.clear()
                with pytest.raises(asyncpg.ProtocolViolationError if driver is asyncpg else ValueError):
                    await con.fetch("SELECT 'a\0b'")
                assert bool(tap.messages()) is (driver is asyncpg)
            finally:
                con.terminate()
