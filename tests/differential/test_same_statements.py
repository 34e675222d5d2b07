# SPDX-License-Identifier: MIT
"""Prepared statements, cursors and transactions: what they return, what they refuse, what the server saw."""

from __future__ import annotations

import gc
import struct
from typing import Any

import pytest

from tests import messages as m
from tests.contract import covers, differs
from tests.fakeserver import FakeServer, message, packet
from tests.sidebyside import Diary, both, compare


@covers("PreparedStatement", "tools: SQLAlchemy", "tools: SQLSpec", "tools: aiosql")
async def test_prepared_statements(dsn: str) -> None:
    async def scenario(diary: Diary) -> None:
        class Own(diary.driver.Record):  # type: ignore[misc, name-defined]
            pass

        async with diary.connected() as con:
            await con.execute("CREATE TEMP TABLE t (a int, b text[], c int4range, d numeric)")
            await con.execute("CREATE TYPE pg_temp.pair AS (a int, b text); CREATE DOMAIN pg_temp.few AS int;"
                              "CREATE TYPE pg_temp.word AS ENUM ('x')")  # fmt: skip
            query = "SELECT $1::int AS a, $2::text[] AS b, '[1,2)'::int4range AS c, NULL::pg_temp.pair AS d, " \
                    "NULL::pg_temp.few AS e, 'x'::pg_temp.word AS f, $3::pg_temp.few AS g"  # fmt: skip
            statement = await con.prepare(query)
            diary.note(statement.get_query() == query, statement.get_statusmsg(), statement._query == query)
            diary.note([(t.name, t.kind, t.schema) for t in statement.get_parameters()])
            diary.note([(a.name, a.type.name, a.type.kind, a.type.schema) for a in statement.get_attributes()])
            diary.value("attribute", statement.get_attributes()[0])
            await diary.attempt("fetch", lambda: statement.fetch(1, ["x"], 2))
            diary.note(statement.get_statusmsg(), statement._last_status)
            await diary.attempt("fetchrow", lambda: statement.fetchrow(1, None, 2))
            for column in (0, "b", 99, "nope"):
                await diary.attempt("fetchval", lambda column=column: statement.fetchval(1, ["x"], 2, column=column))
            await diary.attempt("too few", lambda: statement.fetch(1))
            await diary.attempt("wrong", lambda: statement.fetch("x", None, 2))
            await diary.attempt("keyword", lambda: statement.fetch(1, None, 2, timeout=0))
            insert = await con.prepare("INSERT INTO t (a) VALUES ($1) RETURNING a", record_class=Own)
            await diary.attempt("executemany", lambda: insert.executemany([(1,), (2,)]))
            await diary.attempt("fetchmany", lambda: insert.fetchmany([(3,), (4,)]))
            diary.note(type((await insert.fetch(5))[0]).__name__, insert.get_statusmsg())
            await diary.attempt("explain", lambda: plan(insert, 6))
            await diary.attempt("analyze", lambda: plan(insert, 6, analyze=True))
            diary.note(await con.fetchval("SELECT count(*) FROM t"), con.is_in_transaction())
            update = await con.prepare("UPDATE t SET a = a + 1")
            await diary.attempt("no rows", update.fetch)
            diary.note(update.get_statusmsg(), update.get_attributes(), update.get_parameters())
            async with con.transaction():
                cursor = await statement.cursor(1, ["x"], 2)
                await diary.attempt("cursor", lambda: cursor.fetch(5))
                diary.note([row["a"] async for row in insert.cursor(7, prefetch=1)])
            # The server forgets it with the object.
            count = "SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE 'SELECT ''once%'"
            once = await con.prepare("SELECT 'once'")
            diary.note(await con.fetchval(count))
            del once
            gc.collect()
            await con.prepare("SELECT 'the next one'")
            diary.note(await con.fetchval(count))

    async def plan(statement: Any, *args: Any, **given: Any) -> Any:
        found = await statement.explain(*args, **given)
        return type(found).__name__, found[0]["Plan"]["Node Type"], "Execution Time" in found[0]

    await compare(dsn, scenario)


@covers("CursorFactory", "Cursor", "Cursor: errors")
async def test_cursors(dsn: str) -> None:
    async def scenario(diary: Diary) -> None:
        async with diary.connected() as con:
            query = "SELECT generate_series(1, $1::int) AS a"
            statement = await con.prepare(query)
            for prefetch in (0, -1):
                for make in (lambda prefetch: con.cursor(query, 5, prefetch=prefetch),
                             lambda prefetch: statement.cursor(5, prefetch=prefetch)):  # fmt: skip
                    factory = diary.try_now(f"prefetch {prefetch}", lambda prefetch=prefetch, make=make: make(prefetch))
                    diary.try_now("iterated", factory.__aiter__)
                    await diary.attempt("awaited", lambda factory=factory: factory)
            async with con.transaction():
                await diary.attempt("awaited", lambda: con.cursor(query, 5, prefetch=2))
                cursor = await con.cursor(query, 9)
                diary.note(repr(cursor))
                await diary.attempt("fetch", lambda: cursor.fetch(2))
                await diary.attempt("fetchrow", cursor.fetchrow)
                await diary.attempt("forward", lambda: cursor.forward(2))
                for n in (0, -1):
                    await diary.attempt(f"fetch {n}", lambda n=n: cursor.fetch(n))
                    await diary.attempt(f"forward {n}", lambda n=n: cursor.forward(n))
                await diary.attempt("the rest", lambda: cursor.fetch(99))
                diary.note(repr(cursor))
                for call in (lambda: cursor.fetch(1), cursor.fetchrow, lambda: cursor.forward(1)):
                    await diary.attempt("at the end", call)
                for prefetch in (None, 1, 3, 1000):
                    diary.note(prefetch, [row["a"] async for row in con.cursor(query, 7, prefetch=prefetch)])
                # Two at once, and statements in between.
                one, two = await con.cursor(query, 4), await statement.cursor(3)
                diary.note(await one.fetch(1), await two.fetch(2), await con.fetchval("SELECT 1"), await one.fetch(9))
                factory = con.cursor(query, 2)
                diary.note([row["a"] async for row in factory], [row["a"] async for row in factory])
                iterator = con.cursor("SELECT 1 AS a").__aiter__()
                await diary.attempt("next", iterator.__anext__)
                try:
                    await iterator.__anext__()
                except StopAsyncIteration:
                    diary.note("the end")
                await diary.attempt("no rows", lambda: drain(con.cursor("CREATE TEMP TABLE t (a int)")))
                await diary.attempt("timeout", lambda: drain(con.cursor("SELECT pg_sleep(60)", timeout=0.05)))
                diary.state("after", con)
            for call in (lambda: con.cursor(query, 1), lambda: drain(con.cursor(query, 1)), lambda: cursor.fetch(1),
                         lambda: statement.cursor(1), lambda: cursor.forward(1)):  # fmt: skip
                await diary.attempt("outside", call)
            async with con.transaction():
                await diary.attempt("wrong arguments", lambda: con.cursor(query))
                await diary.attempt("wrong argument", lambda: con.cursor(query, "x"))
                diary.state("after", con)

    async def drain(factory: Any) -> Any:
        return [row async for row in factory]

    await compare(dsn, scenario)


async def test_cursors_of_statements_nobody_holds(dsn: str) -> None:
    async def scenario(diary: Diary) -> None:
        async with diary.connected() as con:
            async with con.transaction():
                async for row in (await con.prepare("SELECT generate_series(1, $1::int) AS a")).cursor(3, prefetch=1):
                    diary.note(row["a"], await con.fetchval("SELECT 'between'"))
                statement = await con.prepare("SELECT generate_series(1, $1::int) AS b")
                factory = statement.cursor(4)
                del statement
                gc.collect()
                await con.execute("SELECT")
                cursor = await factory
                diary.note([row["b"] async for row in factory])
                del factory
                gc.collect()
                diary.note(await cursor.fetch(2), await con.fetchval("SELECT 'between'"), await cursor.forward(1))
                diary.note(await cursor.fetch(2))
            # Their statements end with the cursors.
            del cursor
            gc.collect()
            await con.execute("SELECT")
            count = "SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE '%series%'"
            diary.note(await con.fetchval(count))

    await compare(dsn, scenario)


@covers("Transaction", "Transaction: errors", "tools: Tortoise", "tools: databases")
async def test_transactions(dsn: str) -> None:
    async def scenario(diary: Diary) -> None:
        async with diary.connected() as con:
            await con.execute("CREATE TEMP TABLE t (a int)")

            async def count(label: str) -> None:
                diary.note(label, await con.fetchval("SELECT count(*) FROM t"), con.is_in_transaction())

            transaction = con.transaction()
            diary.note(type(transaction).__name__, repr(transaction))
            for name in ("commit", "rollback"):
                await diary.attempt(f"new {name}", getattr(transaction, name))
            await diary.attempt("start", transaction.start)
            diary.note(repr(transaction), con._top_xact is transaction)
            await diary.attempt("start again", transaction.start)
            await con.execute("INSERT INTO t VALUES (1)")
            await diary.attempt("commit", transaction.commit)
            for name in ("start", "commit", "rollback"):
                await diary.attempt(f"committed {name}", getattr(transaction, name))
            await count("committed")
            transaction = con.transaction(isolation="serializable", readonly=True, deferrable=True)
            await transaction.start()
            diary.note(repr(transaction))
            await diary.attempt("read only", lambda: con.execute("INSERT INTO t VALUES (1)"))
            await diary.attempt("rollback", transaction.rollback)
            for name in ("start", "commit", "rollback"):
                await diary.attempt(f"rolled back {name}", getattr(transaction, name))
            diary.note(repr(transaction))
            # Blocks.
            async with con.transaction() as entered:
                diary.note(entered)
                await con.execute("INSERT INTO t VALUES (2)")
            await count("block")
            try:
                async with con.transaction():
                    await con.execute("INSERT INTO t VALUES (3)")
                    raise ZeroDivisionError
            except ZeroDivisionError:
                await count("raised")
            transaction = con.transaction()
            async with transaction:
                for name in ("commit", "rollback", "start", "__aenter__"):
                    await diary.attempt(f"managed {name}", getattr(transaction, name))
            diary.note(repr(transaction))
            # Savepoints.
            async with con.transaction():
                await con.execute("INSERT INTO t VALUES (4)")
                inner = con.transaction()
                await inner.start()
                await con.execute("INSERT INTO t VALUES (5)")
                await inner.rollback()
                await count("rolled back to")
                async with con.transaction():
                    await con.execute("INSERT INTO t VALUES (6)")
                try:
                    async with con.transaction():
                        await con.execute("SELECT 1/0")
                except diary.driver.DivisionByZeroError:
                    await count("inner error")
                await diary.attempt("same isolation", con.transaction(isolation="read_committed").start)
            await count("nested")
            async with con.transaction(isolation="repeatable_read"):
                await diary.attempt("same", con.transaction(isolation="repeatable_read").start)
                await diary.attempt("other", con.transaction(isolation="serializable").start)
                await diary.attempt("none", con.transaction().start)
            # By hand.
            await con.execute("BEGIN")
            await diary.attempt("in a manual one", con.transaction().start)
            await con.execute("ROLLBACK")
            # One that the server ends.
            transaction = con.transaction()
            await transaction.start()
            await con.execute("COMMIT")
            await diary.attempt("committed by hand", transaction.commit)
            diary.state("by hand", con)
            # A failed one.
            await con.execute("ALTER TABLE t ADD UNIQUE (a) DEFERRABLE INITIALLY DEFERRED")
            transaction = con.transaction()
            await transaction.start()
            await con.execute("INSERT INTO t VALUES (1)")
            await diary.attempt("commit fails", transaction.commit)
            diary.note(repr(transaction))
            for name in ("start", "commit", "rollback"):
                await diary.attempt(f"failed {name}", getattr(transaction, name))
            diary.state("at the end", con)

    await compare(dsn, scenario)


@covers("Transaction", "Connection: transaction")
async def test_what_the_server_sees(dsn: str) -> None:
    async def scenario(diary: Diary) -> None:
        async with diary.connected() as con:
            for given in ({}, {"isolation": "serializable", "readonly": True, "deferrable": True}):
                async with con.transaction(**given):
                    await con.fetchval("SELECT 1")
                    await diary.seen("in a transaction", con, "state", "backend_xmin IS NULL")
                    async with con.transaction():
                        await con.fetchval("SELECT 2")
                        await diary.seen("in a savepoint", con, "state")
                await diary.seen("after", con, "state")
            await con.execute("BEGIN")
            await diary.attempt("error", lambda: con.execute("SELECT 1/0"))
            await diary.seen("aborted", con, "state")
            await con.execute("ROLLBACK")

    await compare(dsn, scenario)


ONE = struct.pack("!i", 1)


@pytest.mark.parametrize(
    ("row", "theirs_raises"),
    [
        (m.data_row(ONE), "ProtocolError"),
        (m.data_row(ONE, ONE, ONE), "ProtocolError"),
        (m.data_row(), "ProtocolError"),
        (m.data_row(b"123", ONE), "AssertionError"),
        (m.data_row(b"12345", ONE), "BufferError"),
        (m.message("D", b"\0\2\0\0\0\4" + ONE), "AssertionError"),
        (m.message("D", b"\0\2\0\0\0\4" + ONE + b"\0\0\0\x40" + ONE), "AssertionError"),
        (m.message("D", b"\0\2" + (b"\0\0\0\4" + ONE) * 2 + b"x"), "BufferError"),
    ],
)
@covers("Record: rows that do not fit")
@differs("Rows that do not fit")
async def test_rows_that_do_not_fit(row: bytes, theirs_raises: str) -> None:
    """Of two int4, as the server has said."""
    answers = {
        b"P": m.parse_complete(),
        b"D": m.parameter_description() + m.row_description(("a", 23), ("b", 23)),
        b"B": m.bind_complete(),
        b"E": row + m.command_complete("SELECT 1"),
        b"S": m.ready(),
    }

    def answer(received: list[bytes]) -> bytes:
        return answers.get(received[-1][:1], b"")

    async def scenario(diary: Diary) -> None:
        for method in ("fetch", "fetchrow", "fetchval"):
            with FakeServer([packet(), m.logged_in(), *[message(), answer] * 12]) as fake:
                con = await diary.driver.connect(host=fake.host, port=fake.port, user="u", database="d", ssl=False)
                await diary.attempt(method, lambda con=con, method=method: getattr(con, method)("SELECT a, b"))
                closed.append(con.is_closed())
                con.terminate()

    closed: list[bool] = []
    theirs, ours = await both("", scenario)
    assert closed == [False] * 3 + [True] * 3
    assert all(f" raised {theirs_raises}: " in said for said in theirs.entries) and len(theirs.entries) == 3
    assert all(" raised ProtocolError: " in said for said in ours.entries) and len(ours.entries) == 3
    if theirs_raises == "ProtocolError":
        assert ours.entries == theirs.entries, "in the same words"


@differs("Columns that fetchval() skips")
async def test_what_fetchval_does_not_read(dsn: str) -> None:
    def decode(text: str) -> Any:
        raise LookupError(text)

    async def scenario(diary: Diary) -> None:
        async with diary.connected() as con:
            await con.set_type_codec("int4", schema="pg_catalog", encoder=str, decoder=decode)
            for column in (0, 1):
                await diary.attempt(str(column), lambda column=column: con.fetchval("SELECT 'x', 3", column=column))

    theirs, ours = await both(dsn, scenario)
    assert [said.split(":")[0] for said in theirs.entries] == ["0 raised LookupError", "1 raised LookupError"]
    assert [said.split(":")[0].strip() for said in ours.entries] == ["0 gave 'x'", "1 raised LookupError"]
