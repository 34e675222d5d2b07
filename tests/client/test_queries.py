# SPDX-License-Identifier: MIT
"""Queries against a live server."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import threading
import warnings
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import pytest
import pytest_asyncio

import fastpg
from fastpg import exceptions


@pytest_asyncio.fixture
async def connection(dsn: str) -> AsyncIterator[fastpg.Connection]:
    connection = await fastpg.connect(dsn)
    yield connection
    connection.terminate()


async def test_values(connection: fastpg.Connection) -> None:
    assert await connection.fetchval("SELECT 1") == 1
    assert await connection.fetchval("SELECT $1::numeric", Decimal("1.50")) == Decimal("1.50")
    assert await connection.fetchval("SELECT $1::int4[]", [[1, 2], [3, None]]) == [[1, 2], [3, None]]
    assert await connection.fetchval("SELECT 'x' WHERE false") is None
    row = await connection.fetchrow("SELECT 1 AS a, 'zwölf' AS b, NULL::int AS c")
    assert row == (1, "zwölf", None) and row["b"] == "zwölf" and list(row.keys()) == ["a", "b", "c"]
    assert await connection.fetchrow("SELECT 1 WHERE false") is None
    assert await connection.fetchval("SELECT 1 AS a, 2 AS b", column="b") == 2
    assert await connection.fetchval("SELECT 1 AS a, 2 AS b", column=-1) == 2
    with pytest.raises(IndexError, match="record index out of range"):
        await connection.fetchval("SELECT 1", column=1)
    assert await connection.fetchval("SELECT 3") == 3


async def test_execute_status(connection: fastpg.Connection) -> None:
    assert await connection.execute("SELECT 1; SELECT 2") == "SELECT 1"
    assert await connection.execute("") == ""
    assert await connection.execute("-- nothing") == ""
    await connection.execute("CREATE TEMP TABLE t (a int, b text)")
    assert await connection.execute("INSERT INTO t VALUES ($1, $2)", 1, "x") == "INSERT 0 1"
    await connection.executemany("INSERT INTO t VALUES ($1, $2)", [(i, str(i)) for i in range(2, 5000)])
    assert await connection.fetchval("SELECT count(*) FROM t") == 4999
    rows = await connection.fetchmany("INSERT INTO t VALUES ($1, 'y') RETURNING a", [(1,), (2,)])
    assert rows == [(1,), (2,)]


@pytest.mark.parametrize("count", [32767, 32768, 65535])
async def test_many_parameters(connection: fastpg.Connection, count: int) -> None:
    places = ",".join(f"(${i}::int)" for i in range(1, count + 1))
    query = f"SELECT count(*), min(v), max(v), sum(v) FROM (VALUES {places}) t (v)"
    expected = (count, 0, count - 1, count * (count - 1) // 2)
    assert await connection.fetchrow(query, *range(count)) == expected
    statement = await connection.prepare(query)
    assert len(statement.get_parameters()) == count
    assert await statement.fetchmany([range(count), tuple(range(count))]) == [expected, expected]


async def test_too_many_parameters(connection: fastpg.Connection) -> None:
    places = ",".join(f"(${i}::int)" for i in range(1, 65537))
    query = f"SELECT count(*) FROM (VALUES {places}) t (v)"
    text = "the number of query arguments cannot exceed 65535"
    for call in (
        lambda: connection.fetch(query, *range(65536)),
        lambda: connection.fetch("SELECT 1", *range(65536)),
        lambda: connection.executemany(query, [range(65536)]),
        lambda: connection.prepare(query),
    ):
        with pytest.raises(exceptions.InterfaceError, match=text):
            await call()
    for atomic in (False, True):
        with pytest.raises(exceptions.InterfaceError, match=text):
            async with connection.pipeline(atomic=atomic) as p:
                p.fetch(query, *range(65536))
    left = await connection.fetch("SELECT statement FROM pg_prepared_statements WHERE length(statement) > 100000")
    assert left == []


async def test_many_rows(connection: fastpg.Connection) -> None:
    rows = await connection.fetch("SELECT g, repeat('x', g % 100) FROM generate_series(1, 100000) g")
    assert len(rows) == 100000 and sum(row[0] for row in rows) == 5000050000
    assert all(len(row[1]) == row[0] % 100 for row in rows)


async def test_executemany_is_atomic(connection: fastpg.Connection) -> None:
    await connection.execute("CREATE TEMP TABLE t (a int PRIMARY KEY)")
    with pytest.raises(exceptions.UniqueViolationError):
        await connection.executemany("INSERT INTO t VALUES ($1)", [(1,), (2,), (1,)])
    with pytest.raises(exceptions.DataError, match=r"\$1 in element #90000 of executemany"):
        await connection.executemany("INSERT INTO t VALUES ($1)", [(i,) for i in range(90000)] + [("x",)])
    assert await connection.fetchval("SELECT count(*) FROM t") == 0


async def test_both_sides_write_at_once(connection: fastpg.Connection) -> None:
    big = "x" * 100_000
    rows = await connection.fetchmany("SELECT repeat($1::text, 3)", [(big,)] * 300)
    assert len(rows) == 300 and all(len(row[0]) == 300_000 for row in rows)


async def test_errors_carry_the_servers_fields(connection: fastpg.Connection) -> None:
    await connection.execute("CREATE TEMP TABLE t (a int CONSTRAINT one PRIMARY KEY)")
    await connection.execute("INSERT INTO t VALUES (1)")
    with pytest.raises(exceptions.PgIntegrityError) as caught:
        await connection.execute("INSERT INTO t VALUES ($1)", 1)
    error = caught.value
    assert isinstance(error, exceptions.UniqueViolationError) and isinstance(error, exceptions.PgError)
    assert (error.code, error.sqlstate, error.constraint_name) == ("23505", "23505", "one")
    assert error.detail == "Key (a)=(1) already exists."
    assert await connection.fetchval("SELECT 1") == 1


@pytest.mark.parametrize(
    "args, error, text",
    [
        (("x",), exceptions.DataError, r"invalid input for query argument \$1: 'x' \("),
        ((2**40,), exceptions.DataError, "value out of int32 range"),
        ((), exceptions.InterfaceError, "the server expects 1 argument for this query, 0 were passed"),
        ((1, 2), exceptions.InterfaceError, "the server expects 1 argument for this query, 2 were passed"),
    ],
)
async def test_bad_arguments(
    connection: fastpg.Connection, args: tuple[Any, ...], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        await connection.fetchval("SELECT $1::int4", *args)
    assert await connection.fetchval("SELECT $1::int4", 5) == 5


async def test_nul_is_refused(connection: fastpg.Connection) -> None:
    for call in (connection.execute, connection.fetch, connection.prepare):
        with pytest.raises(ValueError, match="NUL"):
            await call("SELECT 1\0; SELECT 2")
    with pytest.raises(exceptions.CharacterNotInRepertoireError):
        await connection.fetchval("SELECT $1::text", "a\0b")
    assert await connection.fetchval("SELECT 1") == 1


async def test_copy_as_a_query_is_refused(connection: fastpg.Connection) -> None:
    await connection.execute("CREATE TEMP TABLE t (a int)")
    for query in ("COPY t FROM STDIN", "COPY t TO STDOUT"):
        for call in (connection.execute, connection.fetch, connection.fetchval):
            with pytest.raises(exceptions.InterfaceError, match="cannot be run as a query"):
                await call(query)
            assert await connection.fetchval("SELECT 1") == 1


async def test_two_operations_at_once(connection: fastpg.Connection) -> None:
    slow = asyncio.ensure_future(connection.fetchval("SELECT pg_sleep(0.3)::text"))
    await asyncio.sleep(0.05)
    for call in (connection.fetch, connection.execute, connection.fetchval, connection.prepare):
        with pytest.raises(exceptions.InterfaceError, match="another operation is in progress"):
            await call("SELECT 1")
    assert await slow == ""


async def test_timeout(connection: fastpg.Connection) -> None:
    with pytest.raises(asyncio.TimeoutError) as caught:
        await connection.fetchval("SELECT pg_sleep(10)", timeout=0.1)
    assert caught.value.fastpg.outcome == "unknown"
    assert await connection.fetchval("SELECT 1", timeout=5) == 1
    with pytest.raises(asyncio.TimeoutError):
        await connection.fetchval("SELECT 1", timeout=0)
    for bad in (True, "1"):
        with pytest.raises(ValueError, match="invalid timeout value: expected non-negative float"):
            await connection.fetchval("SELECT 1", timeout=bad)  # type: ignore[arg-type]


async def test_command_timeout(dsn: str) -> None:
    connection = await fastpg.connect(dsn, command_timeout=0.1)
    with pytest.raises(asyncio.TimeoutError):
        await connection.execute("SELECT pg_sleep(10)")
    assert await connection.fetchval("SELECT 1") == 1
    await connection.close()


async def test_cancel(connection: fastpg.Connection) -> None:
    task = asyncio.ensure_future(connection.fetch("SELECT pg_sleep(10)"))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await connection.fetchval("SELECT 1") == 1


async def test_random_cancellation_delivers_nothing_to_others(connection: fastpg.Connection) -> None:
    """Every query returns its own tag; cancels and timeouts at random moments."""
    chance = random.Random(7)
    answered = 0
    for tag in range(400):
        call = connection.fetchval(
            "SELECT $1::int8 + (pg_sleep($2)::text = 'x')::int", tag, chance.choice([0.0, 0.001, 0.003]),
            timeout=chance.choice([None, None, 0.001, 0.002]),
        )  # fmt: skip
        task = asyncio.ensure_future(call)
        for _ in range(chance.randrange(4)):
            await asyncio.sleep(0)
        if chance.random() < 0.3:
            await asyncio.sleep(chance.random() * 0.004)
        if chance.random() < 0.5:
            task.cancel()
        try:
            assert await task == tag
            answered += 1
        except (asyncio.CancelledError, asyncio.TimeoutError):
            pass
    assert answered > 50
    assert await connection.fetchval("SELECT 42") == 42
    assert not connection.is_closed()


async def test_transactions(connection: fastpg.Connection) -> None:
    await connection.execute("CREATE TEMP TABLE t (a int)")
    async with connection.transaction():
        assert connection.is_in_transaction()
        await connection.execute("INSERT INTO t VALUES (1)")
        with pytest.raises(exceptions.DivisionByZeroError):
            async with connection.transaction():
                await connection.execute("INSERT INTO t VALUES (2)")
                await connection.execute("SELECT 1/0")
        await connection.execute("INSERT INTO t VALUES (3)")
    assert not connection.is_in_transaction()
    assert await connection.fetch("SELECT a FROM t ORDER BY a") == [(1,), (3,)]
    with pytest.raises(RuntimeError):
        async with connection.transaction():
            await connection.execute("INSERT INTO t VALUES (4)")
            raise RuntimeError
    assert await connection.fetchval("SELECT count(*) FROM t") == 2
    async with connection.transaction(isolation="serializable", readonly=True, deferrable=True):
        assert await connection.fetchval("SHOW transaction_isolation") == "serializable"
        assert await connection.fetchval("SHOW transaction_read_only") == "on"
        with pytest.raises(exceptions.InterfaceError, match="different isolation level"):
            await connection.transaction(isolation="repeatable_read").start()


async def test_transaction_misuse(connection: fastpg.Connection) -> None:
    with pytest.raises(ValueError, match="isolation is expected to be either of"):
        connection.transaction(isolation="x")
    transaction = connection.transaction()
    with pytest.raises(exceptions.InterfaceError, match="cannot commit; the transaction is not yet started"):
        await transaction.commit()
    await transaction.start()
    with pytest.raises(exceptions.InterfaceError, match="cannot start; the transaction is already started"):
        await transaction.start()
    await transaction.rollback()
    calls = {"commit": transaction.commit, "rollback": transaction.rollback, "start": transaction.start}
    for word, call in calls.items():
        with pytest.raises(exceptions.InterfaceError, match=f"cannot {word}; the transaction is already rolled back"):
            await call()
    await connection.execute("BEGIN")
    with pytest.raises(exceptions.InterfaceError, match="manually started transaction"):
        await connection.transaction().start()
    await connection.execute("ROLLBACK")
    async with connection.transaction() as _:
        with pytest.raises(exceptions.InterfaceError, match="from within an `async with` block"):
            await connection._top_xact.commit()  # type: ignore[union-attr]


async def test_cursors(connection: fastpg.Connection) -> None:
    with pytest.raises(exceptions.NoActiveSQLTransactionError):
        await connection.cursor("SELECT 1")
    async with connection.transaction():
        seen = [row[0] async for row in connection.cursor("SELECT generate_series(1, $1::int)", 120, prefetch=50)]
        assert seen == list(range(1, 121))
        cursor = await connection.cursor("SELECT generate_series(1, 10)")
        assert await cursor.fetch(3) == [(1,), (2,), (3,)]
        assert await cursor.forward(2) == 2
        assert await cursor.fetchrow() == (6,)
        assert await cursor.fetch(100) == [(7,), (8,), (9,), (10,)]
        assert await cursor.fetchrow() is None
        with pytest.raises(exceptions.InterfaceError, match="n must be greater than zero"):
            await cursor.fetch(0)
        with pytest.raises(exceptions.InterfaceError, match="prefetch argument can only be specified"):
            await connection.cursor("SELECT 1", prefetch=1)


async def test_prepared_statements(connection: fastpg.Connection) -> None:
    statement = await connection.prepare("SELECT $1::int AS a, $2::text AS b")
    assert statement.get_query() == "SELECT $1::int AS a, $2::text AS b"
    assert [t.name for t in statement.get_parameters()] == ["int4", "text"]
    assert [(a.name, a.type.name, a.type.kind) for a in statement.get_attributes()] == [
        ("a", "int4", "scalar"),
        ("b", "text", "scalar"),
    ]
    assert await statement.fetchval(1, "x", column=1) == "x"
    assert await statement.fetchrow(1, "x") == (1, "x")
    assert await statement.fetch(1, "x") == [(1, "x")]
    assert statement.get_statusmsg() == "SELECT 1"
    assert await statement.fetchmany([(1, "a"), (2, "b")]) == [(1, "a"), (2, "b")]
    plan = await (await connection.prepare("SELECT 1")).explain()
    assert plan[0]["Plan"]["Node Type"] == "Result"
    named = await connection.prepare("SELECT 2", name="mine")
    assert named.get_name() == "mine" and await named.fetchval() == 2
    names = "SELECT count(*) FROM pg_prepared_statements WHERE name = 'mine'"
    assert await connection.fetchval(names) == 1
    del named
    gc.collect()
    assert await connection.fetchval(names) == 0


async def test_statement_cache(dsn: str) -> None:
    connection = await fastpg.connect(dsn, statement_cache_size=3)
    for number in range(10):
        assert await connection.fetchval(f"SELECT {number}") == number
    count = await connection.fetchval("SELECT count(*) FROM pg_prepared_statements")
    assert count <= 4
    await connection.close()
    connection = await fastpg.connect(dsn, statement_cache_size=0)
    for _ in range(3):
        assert await connection.fetchval("SELECT $1::int", 5) == 5
    assert await connection.fetchval("SELECT count(*) FROM pg_prepared_statements") == 0
    await connection.close()


async def test_uses_of_statements_are_counted_by_each_connection(dsn: str) -> None:
    # Connections may be on different threads: they share no counter.
    first, second = await fastpg.connect(dsn), await fastpg.connect(dsn)
    for connection in (first, second):
        await connection.fetchval("SELECT 1")
    plan = first._cache.entries["SELECT 1"]
    before = plan.used
    for _ in range(3):
        await second.fetchval("SELECT 1")
    await first.fetchval("SELECT 1")
    assert plan.used == before + 1
    await first.close()
    await second.close()


async def test_the_least_recently_used_statement_leaves(dsn: str) -> None:
    connection = await fastpg.connect(dsn, statement_cache_size=3)
    for number in (1, 2, 3, 1, 4):
        await connection.fetchval(f"SELECT {number}")
    assert [plan.query for plan in connection._cache.iter_statements()] == ["SELECT 3", "SELECT 1", "SELECT 4"]
    await connection.close()


async def test_stale_plans_are_made_again(connection: fastpg.Connection) -> None:
    await connection.execute("CREATE TEMP TABLE t (a int); INSERT INTO t VALUES (1)")
    assert await connection.fetch("SELECT * FROM t") == [(1,)]
    await connection.execute("ALTER TABLE t ADD COLUMN b text DEFAULT 'x'")
    assert await connection.fetch("SELECT * FROM t") == [(1, "x")]
    assert await connection.fetchval("SELECT a FROM t") == 1
    await connection.execute("DEALLOCATE ALL")
    assert await connection.fetchval("SELECT a FROM t") == 1
    assert await connection.fetch("SELECT * FROM t") == [(1, "x")]
    await connection.execute("ALTER TABLE t ALTER COLUMN a TYPE text")
    async with connection.transaction():
        await connection.execute("SELECT 1")  # what has been done before would be lost
        with pytest.raises(exceptions.InvalidCachedStatementError):
            await connection.fetch("SELECT * FROM t")


async def test_settings(connection: fastpg.Connection) -> None:
    assert connection.get_settings().client_encoding == "UTF8"
    version = connection.get_server_version()
    assert version.major >= 14
    assert connection.get_server_pid() == await connection.fetchval("SELECT pg_backend_pid()")
    with pytest.raises(AttributeError):
        _ = connection.get_settings().no_such_thing


async def test_other_client_encoding(connection: fastpg.Connection) -> None:
    await connection.execute("SET client_encoding TO 'LATIN1'")
    assert await connection.fetchval("SELECT 'ä' || $1::text", "ö") == "äö"
    assert await connection.fetchval("SELECT chr(228)") == "ä"
    assert await connection.fetchval("SELECT ascii($1)", "ö") == 246
    await connection.execute("RESET client_encoding")
    assert await connection.fetchval("SELECT chr(8364)") == "€"


@pytest.mark.parametrize(
    "encoding, word",
    [
        ("LATIN1", "ä"), ("WIN1251", "ж"), ("SJIS", "表ソ"), ("GBK", "誠中"), ("EUC_JP", "表"), ("BIG5", "功"),
        ("UTF8", "€"),
    ],
)
async def test_text_in_another_client_encoding(connection: fastpg.Connection, encoding: str, word: str) -> None:
    # The second byte of some of these is a backslash in ASCII.
    await connection.execute(f"SET client_encoding TO '{encoding}'")
    assert connection.get_settings().client_encoding == encoding
    length = "SELECT octet_length($1::text), octet_length('" + word + "')"
    assert await connection.fetchrow(length, word) == (len(word.encode()),) * 2
    await connection.execute(f"SET fastpg.word = '{word}'; SET fastpg.other = 'x{word}'")
    assert await connection.fetchval("SELECT current_setting('fastpg.word')") == word
    (row,) = await connection.fetch(f'SELECT 1 AS "{word}", $1::text[] AS words', [word, None])
    assert dict(row) == {word: 1, "words": [word, None]}
    statement = await connection.prepare(f'SELECT \'{word}\' AS "{word}"')
    assert statement.get_attributes()[0].name == word and await statement.fetchval() == word
    async with connection.transaction():
        assert await (await connection.cursor(f"SELECT '{word}' FROM generate_series(1, 3)")).fetch(2) == [(word,)] * 2
    await connection.executemany(f"SELECT $1::text = '{word}'", [(word,), (word,)])
    with pytest.raises(exceptions.UndefinedTableError, match=f'relation "{word}" does not exist') as caught:
        await connection.fetch(f'SELECT FROM "{word}"')
    assert caught.value.query == f'SELECT FROM "{word}"'
    heard: list[str] = []
    connection.add_log_listener(lambda _, message: heard.append(message.message))
    await connection.execute(f"DO $$ BEGIN RAISE NOTICE '{word}'; END $$")
    await asyncio.sleep(0)
    assert heard == [word]
    if encoding != "UTF8":
        with pytest.raises(UnicodeEncodeError):
            await connection.fetchval("SELECT '€ß\u1e9e'")
        assert await connection.fetchval("SELECT 1") == 1


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "EUC_TW"])
async def test_client_encodings_without_a_codec_in_python(connection: fastpg.Connection, encoding: str) -> None:
    await connection.execute(f"SET client_encoding TO '{encoding}'")
    assert await connection.fetchval("SELECT 'a' || $1::text", "b") == "ab"
    if encoding == "SQL_ASCII":
        assert await connection.fetchval("SELECT 'é' || $1::text", "è") == "éè"
        return
    with pytest.raises(exceptions.UnrepresentableValueError, match="'ascii' codec can't decode"):
        await connection.fetchval("SELECT U&'\\4E2D'")
    with pytest.raises(exceptions.DataError, match="'ascii' codec can't encode"):
        await connection.fetchval("SELECT $1::text", "中")
    assert await connection.fetchval("SELECT 1") == 1


async def test_terminated_by_the_server(connection: fastpg.Connection) -> None:
    with pytest.raises(exceptions.ConnectionDoesNotExistError, match="connection was closed in the middle") as caught:
        await connection.fetchval("SELECT pg_terminate_backend(pg_backend_pid())")
    assert isinstance(caught.value.__cause__, exceptions.AdminShutdownError)
    assert connection.is_closed()
    with pytest.raises(exceptions.InterfaceError, match="connection is closed"):
        await connection.fetchval("SELECT 1")


async def test_close(dsn: str) -> None:
    connection = await fastpg.connect(dsn)
    await connection.close()
    await connection.close()
    assert connection.is_closed()
    with pytest.raises(exceptions.InterfaceError, match="connection is closed"):
        await connection.execute("SELECT 1")
    with pytest.raises(exceptions.InterfaceError, match="connection is closed"):
        connection.transaction()


async def test_unclosed_connection_warns(dsn: str) -> None:
    connection = await fastpg.connect(dsn)
    with pytest.warns(ResourceWarning, match="unclosed connection"):
        del connection
        gc.collect()
    await asyncio.sleep(0)


async def test_other_thread_and_loop(connection: fastpg.Connection) -> None:
    failures: list[BaseException] = []

    def use() -> None:
        try:
            asyncio.run(connection.fetchval("SELECT 1"))
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=use)
    thread.start()
    await asyncio.get_running_loop().run_in_executor(None, thread.join)
    assert isinstance(failures[0], exceptions.InterfaceError)
    assert "thread" in str(failures[0])
    assert await connection.fetchval("SELECT 1") == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
async def test_fork(connection: fastpg.Connection) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        try:
            connection.fetchval("SELECT 1").send(None)
        except exceptions.InterfaceError as error:
            connection.terminate()
            os._exit(0 if "fork" in str(error) else 2)
        finally:
            os._exit(3)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert await connection.fetchval("SELECT 1") == 1
