# SPDX-License-Identifier: MIT
"""BEGIN goes along with the first statement of a transaction, whatever that is; an untouched one is not sent."""

from __future__ import annotations

import asyncio
import io
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import pytest_asyncio

import fastpg
from fastpg import exceptions, transaction
from tests.contract import differs
from tests.wiretap import Wiretap, wiretap

unique = itertools.count(1)


@pytest_asyncio.fixture
async def tapped(dsn: str) -> AsyncIterator[tuple[Wiretap, Any]]:
    """The wire, and a connection that is watched."""
    async with wiretap(dsn) as (tap, tapped_dsn):
        connection = await fastpg.connect(tapped_dsn)
        await connection.execute("CREATE TEMP TABLE t (a int)")
        yield tap, connection
        await connection.close()


async def cursor(c: Any) -> None:
    assert await (await c.cursor("INSERT INTO t SELECT 1 RETURNING a")).fetch(5) == [(1,)]


async def prepare(c: Any) -> None:
    await (await c.prepare("INSERT INTO t SELECT $1")).fetch(1)


async def pipeline(c: Any) -> None:
    async with c.pipeline() as p:
        p.execute("INSERT INTO t SELECT 1")
        p.execute("INSERT INTO t SELECT 2")


async def atomic_pipeline(c: Any) -> None:
    async with c.pipeline(atomic=True) as p:
        p.execute("INSERT INTO t SELECT 1")
        p.execute("INSERT INTO t SELECT 2")


async def savepoint(c: Any) -> None:
    async with c.transaction():
        await c.execute("INSERT INTO t VALUES (1)")


async def savepoints(c: Any) -> None:
    async with c.transaction(), c.transaction():
        await c.execute("INSERT INTO t SELECT $1", 1)


FIRST: dict[str, Callable[[Any], Awaitable[Any]]] = {
    "script": lambda c: c.execute("INSERT INTO t VALUES (1); INSERT INTO t VALUES (2)"),
    "execute": lambda c: c.execute("INSERT INTO t SELECT $1", 1),
    "fetch": lambda c: c.fetch("INSERT INTO t SELECT $1 RETURNING a", 1),
    "fetchrow": lambda c: c.fetchrow("INSERT INTO t SELECT $1 RETURNING a", 1),
    "fetchval": lambda c: c.fetchval("INSERT INTO t SELECT $1 RETURNING a", 1),
    "executemany": lambda c: c.executemany("INSERT INTO t SELECT $1", [(i,) for i in range(40_000)]),
    "fetchmany": lambda c: c.fetchmany("INSERT INTO t SELECT $1 RETURNING a", [(i,) for i in range(5)]),
    "prepare": prepare,
    "cursor": cursor,
    "pipeline": pipeline,
    "atomic_pipeline": atomic_pipeline,
    "savepoint": savepoint,
    "savepoints": savepoints,
    "copy_out": lambda c: c.copy_from_query("INSERT INTO t SELECT 1 RETURNING a", output=io.BytesIO()),
    "copy_out_args": lambda c: c.copy_from_query("INSERT INTO t SELECT $1 RETURNING a", 1, output=io.BytesIO()),
    "copy_in": lambda c: c.copy_to_table("t", source=b"1\n" * 400_000),
    "copy_file": lambda c: c.copy_to_table("t", source=io.BytesIO(b"1\n2\n")),
    "copy_records": lambda c: c.copy_records_to_table("t", records=[(1,), (2,)]),
    "notify": lambda c: c.execute("INSERT INTO t VALUES (1); NOTIFY news"),
}
NO_ROW = {
    "listen": lambda c: c.add_listener("news", print),
    "type": lambda c: c.set_type_codec("feeling", schema="public", encoder=str, decoder=str),
}


@pytest.mark.parametrize("first", FIRST)
async def test_it_is_inside(tapped: tuple[Wiretap, Any], first: str) -> None:
    tap, connection = tapped
    for _ in range(2):  # the second time most statements are prepared
        tap.clear()
        transaction = connection.transaction()
        await transaction.start()
        assert connection.is_in_transaction()
        assert tap.said == [], "nothing is sent yet"
        await FIRST[first](connection)
        assert b"BEGIN" in tap.said[0][1], "it goes with what is sent first"
        assert connection._client.session.tx_status == ord("T")
        assert await connection.fetchval("SELECT count(*) FROM t") > 0
        await transaction.rollback()
        assert not connection.is_in_transaction()
        assert await connection.fetchval("SELECT count(*) FROM t") == 0, "what ran first was inside"


@pytest.mark.parametrize("begin", ["BEGIN NONSENSE", "SELECT 1/0"])
@pytest.mark.parametrize("first", [*FIRST, *NO_ROW])
async def test_begin_fails(
    tapped: tuple[Wiretap, Any], monkeypatch: pytest.MonkeyPatch, first: str, begin: str
) -> None:
    _, connection = tapped
    await connection.execute("DROP TYPE IF EXISTS feeling; CREATE TYPE feeling AS ENUM ('sad')")
    run = FIRST.get(first) or NO_ROW[first]
    for outside in range(2):
        monkeypatch.setattr(transaction.Transaction, "_begin", lambda self: begin)
        with pytest.raises((exceptions.PostgresSyntaxError, exceptions.DivisionByZeroError)) as caught:
            async with connection.transaction():
                try:
                    await run(connection)
                finally:
                    assert connection.is_in_transaction()
                    # As after any other error.
                    with pytest.raises(exceptions.InFailedSQLTransactionError):
                        await connection.execute("INSERT INTO t VALUES (1)")
                    with pytest.raises(exceptions.InFailedSQLTransactionError):
                        await connection.fetchval("SELECT 1")
        assert caught.value.fastpg.outcome == "failed"
        assert not connection.is_in_transaction() and connection._top_xact is None
        assert await connection.fetchval("SELECT count(*) FROM t") == 0
        monkeypatch.undo()
        if not outside and first not in ("cursor",):
            await run(connection)  # prepared for the second time
            await connection.execute("TRUNCATE t")
            connection._clear_listeners()


async def test_an_error_of_begin_is_swallowed(tapped: tuple[Wiretap, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    _, connection = tapped
    monkeypatch.setattr(transaction.Transaction, "_begin", lambda self: "BEGIN NONSENSE")
    async with connection.transaction():
        for _ in range(3):
            with pytest.raises(exceptions.PostgresError):
                await connection.execute("INSERT INTO t VALUES (1)")
    assert not connection.is_in_transaction()
    assert await connection.fetchval("SELECT count(*) FROM t") == 0


async def test_a_savepoint_fails(tapped: tuple[Wiretap, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    _, connection = tapped
    for before in (False, True):
        with pytest.raises(exceptions.PostgresSyntaxError):
            async with connection.transaction():
                if before:
                    await connection.execute("INSERT INTO t VALUES (1)")
                monkeypatch.setattr(connection.__class__, "_get_unique_id", lambda self, prefix: "no name")
                try:
                    async with connection.transaction():
                        await connection.execute("INSERT INTO t VALUES (2)")
                finally:
                    monkeypatch.undo()
                    with pytest.raises(exceptions.InFailedSQLTransactionError):
                        await connection.execute("INSERT INTO t VALUES (3)")
        assert not connection.is_in_transaction()
        assert await connection.fetchval("SELECT count(*) FROM t") == 0


async def test_round_trips(tapped: tuple[Wiretap, Any]) -> None:
    tap, connection = tapped
    query = "INSERT INTO t SELECT $1"
    await connection.execute(query, 1)
    tap.clear()
    async with connection.transaction():
        await connection.execute(query, 1)
    assert (tap.round_trips, tap.messages()) == (2, "PBEBESQ")
    tap.clear()
    async with connection.transaction():
        await connection.execute("INSERT INTO t VALUES (1)")
    assert (tap.round_trips, tap.messages()) == (2, "PBEQQ")
    tap.clear()
    async with connection.transaction(isolation="serializable", readonly=True, deferrable=True):
        assert await connection.fetchval("SHOW transaction_isolation") == "serializable"
    assert tap.round_trips == 3, "a statement that is new to the server takes one more"
    tap.clear()
    async with connection.transaction():
        async with connection.transaction():
            await connection.execute(query, 1)
        async with connection.transaction():
            await connection.execute(query, 1)
    assert (tap.round_trips, tap.messages()) == (5, "PBEPBEBES" + "Q" + "PBEBES" + "Q" + "Q")


async def test_untouched(tapped: tuple[Wiretap, Any]) -> None:
    tap, connection = tapped
    tap.clear()
    async with connection.transaction():
        assert connection.is_in_transaction()
    with pytest.raises(ZeroDivisionError):
        async with connection.transaction():
            raise ZeroDivisionError
    async with connection.transaction():
        async with connection.transaction():
            pass
        with pytest.raises(ZeroDivisionError):
            async with connection.transaction():
                raise ZeroDivisionError
    by_hand = connection.transaction()
    await by_hand.start()
    await by_hand.commit()
    by_hand = connection.transaction()
    await by_hand.start()
    await by_hand.rollback()
    assert tap.said == [] and not connection.is_in_transaction()
    async with connection.transaction():
        async with connection.transaction():
            pass
        await connection.execute("INSERT INTO t VALUES (1)")
    assert tap.messages() == "PBEQQ", "the savepoint was not sent"
    assert await connection.fetchval("SELECT count(*) FROM t") == 1


async def test_what_is_not_sent_keeps_it_waiting(tapped: tuple[Wiretap, Any]) -> None:
    tap, connection = tapped
    query = "INSERT INTO t SELECT $1::int"
    await connection.execute(query, 1)
    tap.clear()
    async with connection.transaction():
        with pytest.raises(exceptions.DataError):
            await connection.execute(query, "no number")
        with pytest.raises(exceptions.InterfaceError):
            await connection.execute(query, 1, 2)
        with pytest.raises(asyncio.TimeoutError):
            await connection.execute(query, 1, timeout=0)
        with pytest.raises(exceptions.DataError):
            await connection.executemany(query, [("no number",)])
        assert tap.said == [] and connection.is_in_transaction()
        await connection.execute(query, 2)
    assert tap.messages() == "PBEBESQ"
    assert await connection.fetch("SELECT a FROM t ORDER BY a") == [(1,), (2,)]


async def test_outer_ends_first(tapped: tuple[Wiretap, Any]) -> None:
    _, connection = tapped
    outer, inner = connection.transaction(), connection.transaction()
    await outer.start()
    await inner.start()
    await outer.commit()
    assert not connection.is_in_transaction()
    with pytest.raises(exceptions.NoActiveSQLTransactionError):
        await inner.commit()


async def test_cancelled_and_timed_out(tapped: tuple[Wiretap, Any]) -> None:
    _, connection = tapped
    for query, args in (("SELECT pg_sleep($1)", (60.0,)), ("SELECT pg_sleep(60)", ())):
        with pytest.raises(asyncio.TimeoutError):
            async with connection.transaction():
                await connection.execute(query, *args, timeout=0.1)
        assert not connection.is_in_transaction()
        async with connection.transaction():
            task = asyncio.ensure_future(connection.execute(query, *args))
            await asyncio.sleep(0.1)
            task.cancel()
            assert connection.is_in_transaction()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert connection.is_in_transaction(), "before the server has answered, too"
            with pytest.raises(exceptions.InFailedSQLTransactionError):
                await connection.execute("SELECT 1")
        assert not connection.is_in_transaction()
    assert await connection.fetchval("SELECT 1") == 1


async def test_evicted_statements_are_closed_in_passing(tapped: tuple[Wiretap, Any]) -> None:
    tap, connection = tapped
    await connection.execute("INSERT INTO t SELECT $1", 1)
    connection._cache.clear()
    tap.clear()
    async with connection.transaction():
        await connection.execute("INSERT INTO t VALUES (1)")
    assert (tap.round_trips, tap.messages()) == (2, "CPBEQQ"), "without a Sync"
    for query in ("SELECT 1", "SELECT 2", "SELECT 3"):
        await connection.fetch(query)
    connection._cache.clear()
    tap.clear()
    assert await connection.fetchval("SELECT 4") == 4
    assert (tap.round_trips, tap.messages()) == (2, "CCCPDSBES")
    assert await connection.fetchval("SELECT count(*) FROM pg_prepared_statements") == 2
    for clear in (True, False):
        if clear:
            connection._cache.clear()
        tap.clear()
        with pytest.raises(exceptions.PostgresSyntaxError):
            await connection.execute("NONSENSE")
        assert tap.messages() == ("CCQ" if clear else "Q")
    await connection.fetch("SELECT $1::int", 1)
    await connection.fetch("SELECT 5")
    connection._cache.remove("SELECT 5")
    tap.clear()
    with pytest.raises(exceptions.DataError):
        await connection.fetch("SELECT $1::int", "x")
    assert tap.said == []
    assert await connection.fetchval("SELECT $1::int", 2) == 2
    assert tap.messages() == "CBES", "it goes along with the next one"


async def test_an_unnamed_statement_is_its_owners(dsn: str) -> None:
    connection = await fastpg.connect(dsn, statement_cache_size=0)
    one = await connection.prepare("SELECT $1::int")
    two = await connection.prepare("SELECT $1::text, 2")
    assert await one.fetchval(1) == 1 and await two.fetchrow("x") == ("x", 2)
    async with connection.transaction():
        assert await one.fetchval(1) == 1
        await connection.execute("SELECT 3")
        assert await two.fetch("x") == [("x", 2)]
        assert await one.fetchmany([(1,), (2,)]) == [(1,), (2,)]
        assert [row[0] async for row in one.cursor(5)] == [5]
        assert [tuple(row) async for row in two.cursor("x")] == [("x", 2)]
    async with connection.transaction():
        assert await one.fetchmany([(1,), (2,)]) == [(1,), (2,)]
    async with connection.transaction():
        assert [row[0] async for row in one.cursor(5)] == [5]
    await connection.close()


@pytest.mark.parametrize("how", ["keyword", "logger", "subclass", "patched", "hooked"])
async def test_eager(dsn: str, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    seen: list[str] = []

    class Watched(fastpg.Connection):
        async def execute(self, query: str, *args: Any, **named: Any) -> str:
            seen.append(query)
            return await super().execute(query, *args, **named)

    async with wiretap(dsn) as (tap, tapped_dsn):
        options: dict[str, Any] = {"eager_begin": True} if how == "keyword" else {}
        connection = await fastpg.connect(
            tapped_dsn, connection_class=Watched if how == "subclass" else fastpg.Connection, **options
        )
        if how == "logger":
            connection.add_query_logger(lambda record: seen.append(record.query))
        elif how in ("patched", "hooked"):
            name = "execute" if how == "patched" else "_execute"
            original = getattr(fastpg.Connection, name)

            async def patch(self: Any, query: str, *args: Any, **named: Any) -> Any:
                seen.append(query)
                return await original(self, query, *args, **named)

            monkeypatch.setattr(fastpg.Connection, name, patch)
        tap.clear()
        async with connection.transaction(isolation="serializable"):
            assert tap.messages() == "Q", "BEGIN is sent at once"
            assert connection._client.session.tx_status == ord("T")
            async with connection.transaction():
                pass
        await asyncio.sleep(0)
        assert tap.messages() == "QQQQ"
        if how not in ("keyword", "hooked"):
            assert [query.split()[0] for query in seen] == ["BEGIN", "SAVEPOINT", "RELEASE", "COMMIT;"]
        monkeypatch.undo()
        await connection.close()


async def test_a_pool_gets_it_back_unsent(dsn: str) -> None:
    complaints: list[str] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda loop, context: complaints.append(context["message"]))
    async with wiretap(dsn) as (tap, tapped_dsn), fastpg.create_pool(tapped_dsn, min_size=1, max_size=1) as pool:
        connection = await pool.acquire()
        await connection.transaction().start()
        tap.clear()
        await pool.release(connection)
        assert b"BEGIN" not in tap.said[0][1]
        assert len(complaints) == 1 and "with an active transaction" in complaints[0]
        async with pool.acquire() as connection:
            assert not connection.is_in_transaction()
            async with connection.transaction():
                assert await connection.fetchval("SELECT 1") == 1
        assert len(complaints) == 1


async def test_the_connection_ends(dsn: str) -> None:
    connection = await fastpg.connect(dsn)
    started = connection.transaction()
    await started.start()
    await connection.close()
    assert not connection.is_in_transaction()
    with pytest.raises(exceptions.InterfaceError, match="connection is closed"):
        await started.commit()
    connection = await fastpg.connect(dsn)
    with pytest.raises(exceptions.InterfaceError, match="connection is closed"):
        async with connection.transaction():
            connection.terminate()


async def test_nobody_starts_while_another_operation_runs(dsn: str) -> None:
    connection = await fastpg.connect(dsn)
    task = asyncio.ensure_future(connection.execute("SELECT pg_sleep(0.1)"))
    await asyncio.sleep(0.01)
    with pytest.raises(exceptions.InterfaceError, match="another operation is in progress"):
        async with connection.transaction():
            raise AssertionError
    await task
    assert not connection.is_in_transaction() and connection._top_xact is None
    await connection.close()


@differs("BEGIN with the first statement")
@pytest.mark.parametrize("name", ["fastpg", "asyncpg"])
async def test_beside_asyncpg(dsn: str, name: str) -> None:
    driver = pytest.importorskip(name)
    status = "SELECT state FROM pg_stat_activity WHERE pid = $1"
    observer = await driver.connect(dsn)
    for options, expected in (({}, "idle"), ({"eager_begin": True}, "idle in transaction")):
        if name == "asyncpg":
            options, expected = {}, "idle in transaction"
        connection = await driver.connect(dsn, **options)
        async with connection.transaction():
            assert connection.is_in_transaction()
            assert await observer.fetchval(status, connection.get_server_pid()) == expected
            await connection.execute("SELECT 1")
            assert await observer.fetchval(status, connection.get_server_pid()) == "idle in transaction"
        await connection.close()
    await observer.close()
