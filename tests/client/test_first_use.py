# SPDX-License-Identifier: MIT
"""The first use of a statement on a connection, when another one has used it: one round trip, and never a wrong row."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

import fastpg
from fastpg import _shapes, exceptions
from tests.contract import differs
from tests.wiretap import Wiretap, wiretap

QUERY = "SELECT g AS a, 'x' || $1::int AS b FROM generate_series(1, $1) g"
ROWS = [(1, "x2"), (2, "x2")]


@pytest_asyncio.fixture
async def tapped(dsn: str) -> AsyncIterator[tuple[Wiretap, Any, Any]]:
    """The wire, a connection that nobody watches, and the one that is watched."""
    _shapes.clear()
    async with wiretap(dsn) as (tap, tapped_dsn):
        # Shapes go by the address: both through the proxy.
        other = await fastpg.connect(tapped_dsn)
        watched = await fastpg.connect(tapped_dsn)
        await other.execute("DROP SCHEMA IF EXISTS first CASCADE; CREATE SCHEMA first; SET search_path TO first")
        await watched.execute("SET search_path TO first")
        yield tap, other, watched
        await other.execute("DROP SCHEMA IF EXISTS first CASCADE")
        await watched.close()
        await other.close()


async def test_one_round_trip(tapped: tuple[Wiretap, Any, Any]) -> None:
    tap, other, watched = tapped
    tap.clear()
    assert await other.fetch(QUERY, 2) == ROWS
    assert (tap.round_trips, tap.messages()) == (2, "PDSBES"), "the very first use anywhere"
    for call, expected in [
        (lambda: watched.fetch(QUERY, 2), ROWS),
        (lambda: watched.fetch(QUERY, 2), ROWS),
    ]:
        tap.clear()
        assert await call() == expected
        assert tap.round_trips == 1
    assert tap.messages() == "BES", "and then it is prepared"
    assert await watched.fetchval("SELECT count(*) FROM pg_prepared_statements WHERE statement = $1", QUERY) == 1


@pytest.mark.parametrize("method", ["fetchrow", "fetchval", "execute", "fetch"])
async def test_every_way_to_run_one(tapped: tuple[Wiretap, Any, Any], method: str) -> None:
    tap, other, watched = tapped
    expected = await getattr(other, method)(QUERY, 2)
    tap.clear()
    assert await getattr(watched, method)(QUERY, 2) == expected
    assert (tap.round_trips, tap.messages()) == (1, "PDBES")


async def test_no_statement_cache(tapped: tuple[Wiretap, Any, Any], dsn: str) -> None:
    async with wiretap(dsn) as (tap, tapped_dsn):
        watched = await fastpg.connect(tapped_dsn, statement_cache_size=0)
        assert await watched.fetch(QUERY, 2) == ROWS
        for _ in range(2):
            tap.clear()
            assert await watched.fetch(QUERY, 2) == ROWS
            assert (tap.round_trips, tap.messages()) == (1, "PDBES")
        tap.clear()
        assert await watched.fetch(QUERY + " LIMIT 1", 2) == ROWS[:1]
        assert (tap.round_trips, tap.messages()) == (2, "PDSPBES"), "the first time"
        async with watched.transaction():
            await watched.execute("SELECT 1")
            tap.clear()
            assert await watched.fetch(QUERY + " LIMIT 1", 2) == ROWS[:1]
            assert await watched.executemany(QUERY, [(1,), (2,)]) is None
            assert (tap.round_trips, tap.messages()) == (3, "PDBES" + "PDS" + "PBEBES"), "it has run here before"
            await watched.execute("CREATE TYPE pg_temp.color AS ENUM ('red')")
            for _ in range(2):
                tap.clear()
                assert await watched.fetchval("SELECT $1::pg_temp.color", "red") == "red"
            assert tap.round_trips == 2, "a type of the user's: under another search_path it could be another"
        assert await watched.fetchval("SELECT count(*) FROM pg_prepared_statements") == 0
        await watched.close()


async def test_first_in_a_transaction(tapped: tuple[Wiretap, Any, Any]) -> None:
    tap, other, watched = tapped
    await other.fetch(QUERY, 2)
    tap.clear()
    async with watched.transaction():
        assert await watched.fetch(QUERY, 2) == ROWS
    assert (tap.round_trips, tap.messages()) == (2, "PBEPDBESQ")


async def test_later_in_a_transaction(tapped: tuple[Wiretap, Any, Any]) -> None:
    # Wrong parameter types would end the transaction, and so would a type that has no binary form: they are asked for.
    # Without parameters and binary columns nothing can be wrong.
    tap, other, watched = tapped
    await other.execute("CREATE TABLE t (a int)")
    certain = ["DELETE FROM t", "SELECT 'int4'::regtype AS a"]
    for query in (QUERY, "SELECT 3 AS a", *certain):
        await other.fetch(query, *[2] * query.count("$1::int"))
    async with watched.transaction():
        await watched.execute("SELECT 1")
        tap.clear()
        assert await watched.fetch(QUERY, 2) == ROWS
        assert tap.round_trips == 2
        tap.clear()
        assert await watched.fetch("SELECT 3 AS a") == [(3,)]
        assert tap.round_trips == 2
        for query, rows in zip(certain, ([], [("integer",)]), strict=True):
            tap.clear()
            assert await watched.fetch(query) == rows
            assert (tap.round_trips, tap.messages()) == (1, "PDBES")


@pytest.mark.parametrize("inside", [False, True])
async def test_a_wrong_guess_first_in_a_transaction(tapped: tuple[Wiretap, Any, Any], inside: bool) -> None:
    tap, other, watched = tapped
    await other.execute("CREATE TABLE t (a int); CREATE TABLE u (a int)")
    query = "SELECT a FROM t WHERE a = $1"
    assert await other.fetch(query, 1) == []
    await other.execute("DROP TABLE t; CREATE TABLE t (a uuid)")
    async with watched.transaction(isolation="serializable"):
        if inside:
            await watched.execute("INSERT INTO u VALUES (1)")
            nested = watched.transaction()
            await nested.start()
        # int = uuid is refused; it is begun again, and asked.
        with pytest.raises(exceptions.DataError, match="invalid input for query argument"):
            await watched.fetch(query, 1)
        assert await watched.fetch(query, "12345678-1234-5678-1234-567812345678") == []
        assert await watched.fetchval("SHOW transaction_isolation") == "serializable"
        if inside:
            await nested.rollback()
            assert await watched.fetch("SELECT a FROM u") == [(1,)]
    assert not watched.is_in_transaction()
    assert await watched.fetchval("SELECT count(*) FROM u") == inside


async def test_arguments_that_the_guess_cannot_be_first_in_a_transaction(tapped: tuple[Wiretap, Any, Any]) -> None:
    tap, other, watched = tapped
    await other.execute("CREATE TABLE t (a int)")
    insert = "INSERT INTO t VALUES ($1) RETURNING a"
    await other.fetch(insert, 1)
    await other.execute("ALTER TABLE t ALTER a TYPE text")
    tap.clear()
    async with watched.transaction():
        assert await watched.fetchval(insert, "x") == "x"
    assert tap.messages() == "PBEPDS" + "BES" + "Q"


async def test_a_stale_statement_first_in_a_transaction(tapped: tuple[Wiretap, Any, Any]) -> None:
    _, other, watched = tapped
    await other.execute("CREATE TABLE t (a int); INSERT INTO t VALUES (1)")
    assert await watched.fetch("SELECT * FROM t") == [(1,)]
    await other.execute("ALTER TABLE t ADD b text")
    async with watched.transaction(), watched.transaction():
        assert await watched.fetch("SELECT * FROM t") == [(1, None)]
    await watched.execute("DEALLOCATE ALL")
    async with watched.transaction():
        assert await watched.fetchval("SELECT * FROM t") == 1
    await other.execute("ALTER TABLE t ADD c text")
    with pytest.raises(exceptions.InvalidCachedStatementError):
        async with watched.transaction():
            await watched.execute("SELECT 1")
            await watched.fetch("SELECT * FROM t")
    assert not watched.is_in_transaction()


async def test_who_sees_other_tables(tapped: tuple[Wiretap, Any, Any]) -> None:
    _, other, watched = tapped
    await other.execute("CREATE TABLE t (a int)")
    key = watched._shape_key
    before = key("SELECT")
    await watched.execute("DROP ROLE IF EXISTS first_user; CREATE ROLE first_user")
    await watched.execute("SET SESSION AUTHORIZATION first_user")
    assert key("SELECT") != before
    await watched.execute("RESET SESSION AUTHORIZATION; DROP ROLE first_user")
    assert key("SELECT") == before
    await watched.execute("SET search_path TO public")
    assert (key("SELECT") != before) == (watched.get_server_version().major >= 18)


async def test_other_rows_than_guessed(tapped: tuple[Wiretap, Any, Any]) -> None:
    _, other, watched = tapped
    await other.execute("CREATE TABLE t (a int, b int); INSERT INTO t VALUES (1, 2)")
    assert await other.fetch("SELECT * FROM t") == [(1, 2)]
    await other.execute("ALTER TABLE t ALTER b TYPE text; ALTER TABLE t ADD c timestamptz DEFAULT '2000-01-01Z'")
    (row,) = await watched.fetch("SELECT a, b, c::text IS NOT NULL AS c FROM t")
    assert row == (1, "2", True)
    (row,) = await watched.fetch("SELECT * FROM t")
    assert list(row.keys()) == ["a", "b", "c"] and row["b"] == "2" and row["c"].year == 2000
    assert await watched.fetch("SELECT * FROM t") == [row], "from the cache now, with the right plan"
    prepared = "SELECT count(*) FROM pg_prepared_statements WHERE statement = 'SELECT * FROM t'"
    assert await watched.fetchval(prepared) == 1


@pytest.mark.parametrize("inside", [False, True])
async def test_rows_in_another_format(tapped: tuple[Wiretap, Any, Any], inside: bool) -> None:
    """They were asked for in binary, and money has only a text form here. What has run does not run again."""
    tap, other, watched = tapped
    await other.execute("CREATE TABLE t (a int, b text)")
    insert = "INSERT INTO t SELECT g, 'x' FROM generate_series(1, 3) g RETURNING a, b, NULLIF(a, a) AS none"
    assert await other.fetch(insert) == [(1, "x", None), (2, "x", None), (3, "x", None)]
    await other.execute("DELETE FROM t; ALTER TABLE t ALTER a TYPE money USING a::money")
    tap.clear()
    transaction = watched.transaction()
    if inside:
        await transaction.start()
    rows = await watched.fetch(insert)
    assert rows == [("$1.00", "x", None), ("$2.00", "x", None), ("$3.00", "x", None)]
    assert tap.messages() == "PB" * inside + "E" * inside + "PDBES" + "PBEBEBES", "the server has turned them into text"
    if inside:
        await transaction.commit()
    assert await watched.fetchval("SELECT count(*) FROM t") == 3
    assert await watched.fetchrow(insert) == rows[0], "from the cache, with the right plan"
    other._cache.clear()
    tap.clear()
    assert await other.fetchval(insert, column=2) is None
    assert (tap.round_trips, tap.messages()[-5:]) == (1, "PDBES"), "and others go by what is known now"


async def test_rows_that_nobody_reads_in_another_format(tapped: tuple[Wiretap, Any, Any]) -> None:
    tap, other, watched = tapped
    await other.execute("CREATE TABLE t (a int)")
    insert = "INSERT INTO t VALUES ($1) RETURNING now() AS a"
    await other.fetch(insert, 1)
    await other.execute("ALTER TABLE t ALTER a TYPE bigint")
    _shapes.put(watched._shape_key(insert), ((23,), ((b"a", 0, 0, 790, -1, -1, 0),)))
    tap.clear()
    assert await watched.execute(insert, 2) == "INSERT 0 1"
    assert (tap.round_trips, tap.messages()) == (1, "PDBES")


async def test_a_decoder_that_raises_in_another_format(tapped: tuple[Wiretap, Any, Any]) -> None:
    _, other, watched = tapped
    await other.execute("CREATE TABLE t (a int); INSERT INTO t VALUES (1)")
    await other.fetch("SELECT * FROM t")
    await other.execute("ALTER TABLE t ALTER a TYPE money USING a::money")
    await watched.set_type_codec("money", schema="pg_catalog", encoder=str, decoder=lambda text: 1 / 0)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            await watched.fetch("SELECT * FROM t")
    assert await watched.fetchval("SELECT count(*) FROM t") == 1
    prepared = "SELECT count(*) FROM pg_prepared_statements WHERE statement = 'SELECT * FROM t'"
    assert await watched.fetchval(prepared) == 0, "none is left behind"


async def test_an_error_of_rows_in_another_format(tapped: tuple[Wiretap, Any, Any]) -> None:
    tap, other, watched = tapped
    query = "SELECT a, 1 / (b - 1) AS x FROM t"
    await other.execute("CREATE TABLE t (a int, b int); INSERT INTO t VALUES (1, 2)")
    await other.fetch(query)
    await other.execute("ALTER TABLE t ALTER a TYPE money USING a::money; UPDATE t SET b = 1")
    tap.clear()
    with pytest.raises(exceptions.DivisionByZeroError):
        await watched.fetch(query)
    assert tap.round_trips == 1, "it ran: it is not run again"
    await other.execute("UPDATE t SET b = 2")
    assert await watched.fetch(query) == [("$1.00", 1)]
    assert await watched.fetchval("SELECT count(*) FROM pg_prepared_statements WHERE statement = $1", query) == 1


async def test_records_of_unknown_types_in_another_format(tapped: tuple[Wiretap, Any, Any]) -> None:
    _, other, watched = tapped
    query = "SELECT a, ROW(1, h) AS r FROM t"
    await other.execute("CREATE TABLE t (a int, h text); INSERT INTO t VALUES (1, 'red')")
    assert await other.fetch(query) == [(1, (1, "red"))]
    await other.execute("CREATE TYPE hue AS ENUM ('red'); ALTER TABLE t ALTER h TYPE hue USING h::hue")
    await other.execute("ALTER TABLE t ALTER a TYPE money USING a::money")
    assert await watched.fetch(query) == [("$1.00", (1, "red"))]


async def test_no_binary_form(tapped: tuple[Wiretap, Any, Any]) -> None:
    """The server says so when it has run the statement, and undoes it. But a procedure may have committed."""
    tap, other, watched = tapped
    await other.execute("CREATE TABLE t (a int); CREATE TABLE u (b int)")
    query = "INSERT INTO u SELECT 1 FROM t RETURNING (SELECT a FROM t)"
    await other.execute("INSERT INTO t VALUES (1)")
    assert await other.fetch(query) == [(1,)]
    acl = "makeaclitem(10, 10, 'SELECT', true)"
    await other.execute(f"ALTER TABLE t ALTER a TYPE aclitem USING {acl}; DELETE FROM u")
    tap.clear()
    assert "=r*/" in await watched.fetchval(query)
    assert tap.messages() == "PDBES" + "PDS" + "BES"
    assert await watched.fetchval("SELECT count(*) FROM u") == 1
    await other.execute("CREATE PROCEDURE p(INOUT x int) LANGUAGE SQL AS 'SELECT 1'")
    hidden = "/* by the way */ CALL p(NULL)"
    assert await other.fetch("CALL p(NULL)") == await other.fetch(hidden) == [(1,)]
    await other.execute(
        "DROP PROCEDURE p; CREATE PROCEDURE p(INOUT x aclitem) LANGUAGE plpgsql AS"
        f" $$BEGIN INSERT INTO u VALUES (2); COMMIT; x := {acl}; END$$"
    )
    assert "=r*/" in await watched.fetchval("CALL p(NULL)"), "it is asked about first"
    assert await other.fetchval("SELECT count(*) FROM u WHERE b = 2") == 1
    with pytest.raises(exceptions.UndefinedFunctionError, match="no binary output function"):
        await watched.fetch(hidden)
    assert await other.fetchval("SELECT count(*) FROM u WHERE b = 2") == 2
    assert "=r*/" in await watched.fetchval(hidden)


async def test_a_failing_function_is_not_taken_for_it(tapped: tuple[Wiretap, Any, Any]) -> None:
    tap, other, watched = tapped
    await other.execute(
        "CREATE TABLE t (a int); INSERT INTO t VALUES (1); CREATE FUNCTION f() RETURNS int LANGUAGE plpgsql AS"
        " $$BEGIN PERFORM nextval('s'); EXECUTE 'SELECT nothing()'; RETURN 1; END$$; CREATE SEQUENCE s"
    )
    query = "SELECT f(), a FROM t WHERE a = a"
    with pytest.raises(exceptions.UndefinedFunctionError):
        await other.fetch(query)
    await other.execute("ALTER TABLE t ALTER a TYPE money USING a::money")
    with pytest.raises(exceptions.UndefinedFunctionError):
        await watched.fetch(query)
    assert await other.fetchval("SELECT last_value FROM s") == 2, "each has run it once"


@differs("First use and DDL")
async def test_parameters_that_the_server_accepts(tapped: tuple[Wiretap, Any, Any], dsn: str) -> None:
    tap, other, watched = tapped
    theirs = await asyncpg.connect(dsn, server_settings={"search_path": "first"})
    await other.execute("CREATE TABLE t (a int)")
    insert = "INSERT INTO t VALUES ($1)"
    await other.execute(insert, 1)
    await other.execute("ALTER TABLE t ALTER a TYPE text")
    assert await watched.execute(insert, 2) == "INSERT 0 1"
    with pytest.raises(asyncpg.DataError, match="expected str, got int"):
        await theirs.execute(insert, 2)
    assert await other.fetch("SELECT a FROM t ORDER BY a") == [("1",), ("2",)]
    # What a connection without a cache has run itself counts inside of transactions too.
    plain = await fastpg.connect(tap.dsn, server_settings={"search_path": "first"}, statement_cache_size=0)
    await theirs.close()
    theirs = await asyncpg.connect(dsn, server_settings={"search_path": "first"}, statement_cache_size=0)
    await other.execute("CREATE TABLE u (a int)")
    query = "SELECT * FROM u WHERE a = $1"
    await plain.fetch(query, 1)
    await theirs.fetch(query, 1)
    await other.execute("DROP TABLE u; CREATE TABLE u (a uuid)")
    uuid = "12345678-1234-5678-1234-567812345678"
    for connection, refused in ((plain, True), (theirs, False)):
        async with connection.transaction():
            await connection.execute("SELECT 1")
            assert await connection.fetch(query, uuid) == []
        _shapes.put(plain._shape_key(query), ((23,), ((b"a", 0, 0, 23, 4, -1, 0),)))
        with pytest.raises(fastpg.UndefinedFunctionError if refused else asyncpg.DataError):
            async with connection.transaction():
                await connection.execute("SELECT 1")
                await connection.fetch(query, 1)
        assert await connection.fetch(query, uuid) == []
    await plain.close()
    await theirs.close()


@differs("First use and DDL")
async def test_rows_that_the_server_does_not_convert(tapped: tuple[Wiretap, Any, Any], dsn: str) -> None:
    _, other, watched = tapped
    theirs = await asyncpg.connect(dsn, server_settings={"search_path": "first"})
    query = "SELECT f()"
    await other.execute("CREATE FUNCTION f() RETURNS money LANGUAGE SQL AS $$SELECT '$1'::money$$")
    assert await other.fetchval(query) == "$1.00"
    await other.execute("DROP FUNCTION f; CREATE FUNCTION f() RETURNS record LANGUAGE SQL AS 'SELECT 1, 2'")
    with pytest.raises(exceptions.FeatureNotSupportedError, match="anonymous composite"):
        await watched.fetchval(query)
    assert await watched.fetchval(query) == await theirs.fetchval(query) == (1, 2), "once"
    await theirs.close()


async def test_no_rows_in_another_format(tapped: tuple[Wiretap, Any, Any]) -> None:
    # What is not there need not be read.
    _, other, watched = tapped
    await other.execute("CREATE TABLE t (a int)")
    for query in ("SELECT * FROM t", "DELETE FROM t RETURNING a"):
        await other.fetch(query)
    await other.execute("DELETE FROM t; ALTER TABLE t ALTER a TYPE money USING a::money")
    assert await watched.fetch("SELECT * FROM t") == []
    assert await watched.fetchrow("DELETE FROM t RETURNING a") is None
    await other.execute("INSERT INTO t VALUES (1)")
    assert await watched.fetch("SELECT * FROM t") == [("$1.00",)]
    assert await watched.fetch("DELETE FROM t RETURNING a") == [("$1.00",)]


async def test_rows_of_types_made_since(tapped: tuple[Wiretap, Any, Any]) -> None:
    tap, other, watched = tapped
    types = "DROP TYPE IF EXISTS hue, pair; CREATE TYPE hue AS ENUM ('red'); CREATE TYPE pair AS (a int, h hue);"
    query = "SELECT 'red'::hue AS h, '(1,red)'::pair AS p, 5 AS n, ARRAY['red']::hue[] AS hs FROM generate_series(1, 2)"
    rows = [("red", (1, "red"), 5, ["red"])] * 2
    await other.execute(types)
    assert await other.fetch(query) == rows
    assert await watched.fetchval("SELECT 'red'::hue || ''") == "red"
    assert await watched.fetchval("SELECT 'red'::hue") == "red", "what it knows from the other"
    await other.execute(types)
    tap.clear()
    assert await watched.fetch(query) == rows
    assert tap.round_trips == 2, "the second introspects"
    assert await watched.fetch(query) == rows, "from the cache, with the right plan"
    assert tap.round_trips == 3
    await other.execute(types)
    assert await other.fetchval("SELECT '(1,red)'::pair") == (1, "red")
    await other.execute(types)
    assert await watched.fetchval("SELECT '(1,red)'::pair") == (1, "red")
    # A type that is met without a row of it.
    await other.execute("CREATE TABLE t (p int)")
    assert await other.fetch("SELECT p FROM t") == []
    await other.execute(types + "ALTER TABLE t ALTER p TYPE pair USING NULL")
    assert await watched.fetch("SELECT p FROM t") == []
    await other.execute("INSERT INTO t VALUES ('(1,red)')")
    assert await watched.fetch("SELECT p FROM t") == [((1, "red"),)]


async def test_another_number_of_columns_in_other_formats(tapped: tuple[Wiretap, Any, Any]) -> None:
    """The server refuses the guess for the number of its formats, before it runs anything."""
    _, other, watched = tapped
    insert = "INSERT INTO t VALUES (1, '$1') RETURNING *"
    await other.execute("CREATE TABLE t (a int, m money)")
    assert await other.fetch(insert) == [(1, "$1.00")]
    await other.execute("DROP TABLE t; CREATE TABLE t (a int, t text, m money)")
    assert await watched.fetch(insert) == [(1, "$1", None)]
    assert await watched.fetchval("SELECT count(*) FROM t") == 1


async def test_other_parameters_than_guessed(tapped: tuple[Wiretap, Any, Any]) -> None:
    _, other, watched = tapped
    await other.execute("CREATE TABLE t (a int)")
    insert = "INSERT INTO t VALUES ($1) RETURNING a"
    assert await other.fetchval(insert, 1) == 1
    await other.execute("DROP TABLE t; CREATE TABLE t (a text[])")
    assert await watched.fetchval(insert, ["x"]) == ["x"], "the guess cannot be encoded: nothing was sent"
    await other.execute("DROP TABLE t; CREATE TABLE t (a uuid)")
    _shapes.put(watched._shape_key(insert), ((23,), ((b"a", 0, 0, 23, 4, -1, 0),)))
    watched._cache.clear()
    with pytest.raises(exceptions.DataError, match="invalid input for query argument"):
        await watched.fetchval(insert, 1)
    assert await watched.fetchval("SELECT count(*) FROM t") == 0
    with pytest.raises(exceptions.UndefinedTableError):
        await watched.execute("INSERT INTO nowhere VALUES ($1)", 1)
    assert not watched.is_in_transaction()


async def test_no_rows_any_more_and_rows_at_last(tapped: tuple[Wiretap, Any, Any]) -> None:
    _, other, watched = tapped
    key = watched._shape_key
    columns = ((b"a", 0, 0, 23, 4, -1, 0),)
    _shapes.put(key("DELETE FROM pg_temp.none"), ((), columns))
    with pytest.raises(exceptions.UndefinedTableError):
        await watched.fetch("DELETE FROM pg_temp.none")
    _shapes.put(key("SET application_name TO 'x'"), ((), columns))
    assert await watched.fetch("SET application_name TO 'x'") == []
    _shapes.put(key("SELECT 1::text"), ((), None))
    assert await watched.fetch("SELECT 1::text") == [("1",)], "in the other format"
    assert await watched.fetch("SELECT 1::text") == [("1",)]
    _shapes.put(key("SELECT $1::int"), ((23, 23), columns))
    assert await watched.fetchval("SELECT $1::int", 5) == 5
    _shapes.put(key("SELECT $1::int8, $2::int"), ((20,), columns))
    assert await watched.fetchrow("SELECT $1::int8, $2::int", 5, 6) == (5, 6)


async def test_errors_of_the_statement(tapped: tuple[Wiretap, Any, Any]) -> None:
    tap, other, watched = tapped
    query = "SELECT 1 / (g - $1) FROM generate_series(3, 3) g"
    assert await other.fetchval(query, 2) == 1
    tap.clear()
    with pytest.raises(exceptions.DivisionByZeroError):
        await watched.fetchval(query, 3)
    assert tap.round_trips == 1, "it ran: it is not run again"
    tap.clear()
    assert await watched.fetchval(query, 2) == 1
    assert tap.messages() == "BES", "and it is prepared"


async def test_cancelled(tapped: tuple[Wiretap, Any, Any]) -> None:
    _, other, watched = tapped
    query = "SELECT pg_sleep($1)"
    await other.fetchval(query, 0.0)
    for _ in range(2):
        task = asyncio.ensure_future(watched.fetchval(query, 60.0))
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await watched.fetchval(query, 0.0) is None
        watched._cache.clear()
    assert await watched.fetchval("SELECT 1") == 1
    assert await watched.fetchval("SELECT count(*) FROM pg_prepared_statements WHERE statement = $1", query) <= 1


async def test_users_codecs_and_types_of_ones_own(tapped: tuple[Wiretap, Any, Any]) -> None:
    tap, other, watched = tapped
    await other.execute("CREATE TYPE first.color AS ENUM ('red')")
    await watched.set_type_codec("color", schema="first", encoder=str.lower, decoder=str.upper)
    query = "SELECT $1::color"
    assert await other.fetchval(query, "red") == "red"
    tap.clear()
    assert await watched.fetchval(query, "RED") == "RED", "in the formats of this connection"
    assert tap.messages() == "PDBES"


def test_bounded() -> None:
    _shapes.clear()
    for number in range(_shapes.KEPT + 5):
        _shapes.put(number, ((), None))
    assert _shapes.get(0) is None and _shapes.get(_shapes.KEPT + 4) == ((), None)
    _shapes.forget(_shapes.KEPT + 4)
    assert _shapes.get(_shapes.KEPT + 4) is None
    _shapes.clear()


@differs("Stale plan at the start of a transaction")
@pytest.mark.parametrize("name", ["fastpg", "asyncpg"])
async def test_stale_beside_asyncpg(dsn: str, name: str) -> None:
    driver = pytest.importorskip(name)
    connection, other = await driver.connect(dsn), await driver.connect(dsn)
    await other.execute("DROP TABLE IF EXISTS first_stale; CREATE TABLE first_stale (a int)")
    await connection.fetch("SELECT * FROM first_stale")
    await other.execute("ALTER TABLE first_stale ADD b int")
    async with connection.transaction():
        if name == "fastpg":
            assert await connection.fetch("SELECT * FROM first_stale") == []
        else:
            with pytest.raises(driver.InvalidCachedStatementError):
                await connection.fetch("SELECT * FROM first_stale")
    await other.execute("DROP TABLE first_stale")
    await other.close()
    await connection.close()


async def test_a_new_connection_is_warm(dsn: str) -> None:
    _shapes.clear()
    async with wiretap(dsn) as (tap, tapped_dsn):
        async with fastpg.create_pool(tapped_dsn, min_size=0, max_size=2, warm_statements=2) as pool:
            async with pool.acquire() as one:
                await one.execute("DROP TABLE IF EXISTS warm; CREATE TABLE warm (a int)")
                for query in ("SELECT 'cold'", QUERY, "SELECT a FROM warm"):
                    await one.fetch(query, *[2] * query.count("$1::int"))
                tap.clear()
                for _ in range(2):
                    _shapes.get(one._shape_key(QUERY))
                    _shapes.get(one._shape_key("SELECT a FROM warm"))
                async with pool.acquire() as two:
                    await two.execute("SELECT 1")
                    sent = b"".join(what for who, what in tap.said if who == "client")
                    tap.said[:] = [("client", sent[int.from_bytes(sent[:4], "big") :])]  # without the startup packet
                    assert tap.messages() == "PDSPDSQ", "the hottest of them, and nobody waits"
                    tap.clear()
                    async with two.transaction():
                        await two.execute("SELECT 1")
                        assert await two.fetch(QUERY, 2) == ROWS
                        await two.fetch("SELECT a FROM warm")
                    assert tap.round_trips == 4 and tap.messages().endswith("BESBESQ"), "all are prepared"
                    names = "SELECT count(*) FROM pg_prepared_statements WHERE statement = $1"
                    assert await two.fetchval(names, QUERY) == 1
                await one.execute("DROP TABLE warm")
                await pool.expire_connections()
            async with pool.acquire() as three:
                # At once, and one of them is refused: nobody is harmed.
                assert await three.fetch(QUERY, 2) == ROWS
                assert await three.fetchval("SELECT 3") == 3
                assert await three.fetch(QUERY, 2) == ROWS
                with pytest.raises(exceptions.UndefinedTableError):
                    await three.fetch("SELECT a FROM warm")
                await three.fetchval("SELECT 4")
                assert await three.fetchval(names, QUERY) == 1, "parsed twice, one is closed"
                assert _shapes.get(three._shape_key("SELECT a FROM warm")) is None


async def test_not_warm(dsn: str) -> None:
    async with wiretap(dsn) as (tap, tapped_dsn):
        one = await fastpg.connect(tapped_dsn)
        await one.fetch(QUERY, 2)
        for options in ({}, {"warm_statements": 0}, {"warm_statements": 5, "statement_cache_size": 0}):
            async with fastpg.create_pool(tapped_dsn, min_size=1, max_size=1, **options) as pool:
                tap.clear()
                await pool.execute("SELECT 1")
                assert "P" not in tap.messages()
        await one.close()
    with pytest.raises(ValueError, match="warm_statements is expected to be greater or equal to zero"):
        fastpg.create_pool(dsn, warm_statements=-1)
