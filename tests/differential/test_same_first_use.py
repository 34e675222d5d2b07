# SPDX-License-Identifier: MIT
"""The first use of a statement on a connection, after another one has used it and DDL has changed what it is about.

fastpg sends the statement by what the other connection was told of it, asyncpg asks first. There must be no difference.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from fastpg import _shapes
from tests.contract import covers
from tests.sidebyside import Diary, compare

METHODS = ["fetch", "fetchrow", "fetchval", "execute"]
MANY = ["executemany", "fetchmany"]
# Outside of transactions, as the first statement of one, as a later one.
WAYS = [("alone", method) for method in METHODS] + [("first", "fetch"), ("later", "fetchval"), ("later", "execute")]
MANY_WAYS = [("alone", method) for method in MANY]


class Case(NamedTuple):
    name: str
    before: str  # makes table t
    change: str
    query: str = "SELECT * FROM t"
    args: tuple[Any, ...] = ()  # before
    then: tuple[Any, ...] = ()  # after the change


def altered(name: str, old: str, value: str, new: str, using: str = "", **given: Any) -> Case:
    """A column that becomes one of another type; three rows, one of them NULL."""
    return Case(
        name,
        f"CREATE TABLE t (a {old}, b int); INSERT INTO t VALUES ({value}, 1), (NULL, 2), ({value}, 3)",
        f"ALTER TABLE t ALTER a TYPE {new} USING {using or f'a::{new}'}",
        **given,
    )


NO_BINARY = "makeaclitem(10, 10, 'SELECT', true)"
NEW_TYPES = (
    "CREATE TYPE hue AS ENUM ('red'); CREATE TYPE pair AS (x int, h hue); CREATE DOMAIN price AS money;"
    "CREATE TYPE span AS RANGE (subtype = money);"
)
CASES = [
    altered("another integer", "int", "5", "bigint"),
    altered("another binary type", "int", "5", "text"),
    altered("date to timestamp", "date", "'2000-01-01'", "timestamptz"),
    altered("to money", "int", "5", "money"),
    altered("from money", "money", "'$5'", "int", "a::numeric::int"),
    altered("to macaddr", "text", "'08:00:2b:01:02:03'", "macaddr"),
    altered("to macaddr8", "text", "'08:00:2b:01:02:03:04:05'", "macaddr8"),
    altered("to tsvector", "text", "'a fat cat'", "tsvector"),
    altered("to tsquery", "text", "'fat & (cat | rat:*)'", "tsquery"),
    altered("to regclass", "oid", "1259", "regclass"),
    altered("to regtype", "int", "23", "regtype", "a::oid::regtype"),
    altered("from regtype", "regtype", "'int4'", "oid"),
    altered(
        "to a type without a binary form", "int", "5", "aclitem", f"(CASE WHEN a IS NOT NULL THEN {NO_BINARY} END)"
    ),
    altered("from a type without one", "aclitem", NO_BINARY, "int", "(CASE WHEN a IS NOT NULL THEN 7 END)"),
    altered("to json", "text", "'[1, 2]'", "json"),
    altered("to an enumeration", "text", "'red'", "hue"),
    altered("to a composite", "text", "'(1,red)'", "pair"),
    altered("to an array of a new type", "text", "'{red,red}'", "hue[]"),
    altered("to a domain", "int", "5", "price", "a::money"),
    altered("wider text", "varchar(5)", "'x'", "char(8)"),
    altered("two columns", "int", "5", "money", "a::money, ALTER b TYPE money USING b::money"),
    altered("no rows", "int", "5", "money", query="SELECT * FROM t WHERE b = 4"),
    altered("not the column that is asked for", "int", "5", "money", query="SELECT b, a FROM t"),
    altered("by a parameter", "int", "5", "money", query="SELECT a, b FROM t WHERE b >= $1", args=(2,), then=(2,)),
    altered("an expression", "int", "5", "money", query="SELECT max(a) AS top FROM t"),
    altered("returning", "int", "5", "money", query="UPDATE t SET b = b + 1 WHERE b > 1 RETURNING a, b"),
    altered("deleting", "int", "5", "money", query="DELETE FROM t WHERE b = $1 RETURNING *", args=(9,), then=(1,)),
    altered(
        "returning what has no binary form", "int", "5", "aclitem", f"(CASE WHEN a IS NOT NULL THEN {NO_BINARY} END)",
        query="WITH n AS (INSERT INTO t (b) VALUES (7) RETURNING b) UPDATE t SET b = 10 * t.b FROM n RETURNING a, t.b",
    ),
    Case("one more column", "CREATE TABLE t (a int); INSERT INTO t VALUES (1)", "ALTER TABLE t ADD b text DEFAULT 'x'"),
    Case(
        "one more column of formats that are not all the same",
        "CREATE TABLE t (a int, m money); INSERT INTO t VALUES (1, '$1')", "ALTER TABLE t ADD b text DEFAULT 'x'",
    ),
    Case("one column less", "CREATE TABLE t (a int, m money); INSERT INTO t VALUES (1, '$1')", "ALTER TABLE t DROP m"),
    Case(
        "one column less, returning", "CREATE TABLE t (a int, m money, b int)", "ALTER TABLE t DROP a",
        "INSERT INTO t (m) VALUES ('$1') RETURNING *",
    ),
    Case(
        "more columns, and others", "CREATE TABLE t (a int)",
        "ALTER TABLE t ALTER a TYPE money USING a::money, ADD b int DEFAULT 7, ADD c regtype DEFAULT 'int4'",
        "INSERT INTO t VALUES ('1') RETURNING *",
    ),
    Case(
        "another table of the name", "CREATE TABLE t (a int, b text); INSERT INTO t VALUES (1, 'x')",
        "DROP TABLE t; CREATE TABLE t (b money, a date); INSERT INTO t VALUES ('$1', '2000-01-01')",
    ),
    Case("none of the name", "CREATE TABLE t (a int)", "DROP TABLE t"),
    Case(
        "another view", "CREATE TABLE t (a int); CREATE VIEW v AS SELECT 1 AS x",
        "DROP VIEW v; CREATE VIEW v AS SELECT 'int4'::regtype AS x, 2 AS y", "SELECT * FROM v",
    ),
    Case(
        "another function",
        "CREATE TABLE t (a int);"
        "CREATE FUNCTION f(int) RETURNS int LANGUAGE SQL AS 'INSERT INTO t VALUES ($1); SELECT 5'",
        "DROP FUNCTION f(int);"
        "CREATE FUNCTION f(int) RETURNS money LANGUAGE SQL AS 'INSERT INTO t VALUES ($1) RETURNING a::money'",
        "SELECT f($1)", (1,), (2,),
    ),
    Case("a wider parameter", "CREATE TABLE t (a int)", "ALTER TABLE t ALTER a TYPE bigint",
         "INSERT INTO t VALUES ($1) RETURNING a", (1,), (2**40,)),
    Case("a parameter of another type", "CREATE TABLE t (a int)", "DROP TABLE t; CREATE TABLE t (a uuid)",
         "SELECT * FROM t WHERE a = $1", (1,), (1,)),
    Case("a parameter that the guess cannot be", "CREATE TABLE t (a int)", "ALTER TABLE t ALTER a TYPE text",
         "INSERT INTO t VALUES ($1) RETURNING a", (1,), ("x",)),
    Case("a parameter that has only a text form", "CREATE TABLE t (a int)",
         "ALTER TABLE t ALTER a TYPE money USING NULL",
         "INSERT INTO t VALUES ($1) RETURNING a", (1,), ("$7",)),
    Case("no rows any more", "CREATE TABLE t (a int); CREATE PROCEDURE p(INOUT x int) LANGUAGE SQL AS 'SELECT 2'",
         "DROP PROCEDURE p; CREATE PROCEDURE p(x int) LANGUAGE SQL AS 'INSERT INTO t VALUES (x)'", "CALL p(1)"),
    Case("rows at last", "CREATE TABLE t (a int); CREATE PROCEDURE p(x int) LANGUAGE SQL AS 'SELECT 1'",
         "DROP PROCEDURE p; CREATE PROCEDURE p(INOUT x int) LANGUAGE SQL AS 'INSERT INTO t VALUES (x) RETURNING 3'",
         "CALL p(1)"),
]  # fmt: skip


async def clean(con: Any) -> None:
    await con.execute("DROP SCHEMA IF EXISTS ddl CASCADE; CREATE SCHEMA ddl")


async def one_way(diary: Diary, one: Any, two: Any, case: Case, method: str, where: str) -> None:
    """The case, with a statement that `one` has used and `two` has not."""
    query = f"{case.query} /* {method} {where} */"
    await clean(one)
    await one.execute(NEW_TYPES + case.before)
    await one.fetch(query, *case.args)
    await one.execute(case.change)
    if diary.is_ours:
        assert _shapes.get(two._shape_key(query)) is not None, "the guess is to be tried"
    transaction = two.transaction()
    if where != "alone":
        await transaction.start()
    if where == "later":
        await two.execute("SELECT 1")
    args = case.then if method not in MANY else ([case.then] * 2,)
    for time in (1, 2):
        label = f"{method} {where} {time}"
        await diary.attempt(label, lambda: getattr(two, method)(query, *args))
        diary.state(label, two)
    if where != "alone":
        await diary.attempt("the end", transaction.commit)
    await two.execute("SELECT 1")  # asyncpg holds the locks of a statement whose arguments it has refused until then
    left = "SELECT coalesce(array_agg(t::text ORDER BY t::text), '{}') FROM t"
    await diary.attempt("what is left", lambda: one.fetchval(f"{left} /* {method} {where} */"))


def playing(case: Case, ways: list[tuple[str, str]] = WAYS, **options: Any) -> Callable[[Diary], Any]:
    async def scenario(diary: Diary) -> None:
        _shapes.clear()
        settings = {"search_path": "ddl"}
        async with diary.connected(server_settings=settings) as one:
            async with diary.connected(server_settings=settings, **options) as two:
                for where, method in ways:
                    await one_way(diary, one, two, case, method, where)
                await one.execute("DROP SCHEMA ddl CASCADE")

    return scenario


BY_NAME = {case.name: case for case in CASES}


@covers("cache: first use")
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.replace(" ", "-"))
async def test_every_change(dsn: str, case: Case) -> None:
    await compare(dsn, playing(case))


@covers("cache: first use")
@pytest.mark.parametrize(
    "name",
    [
        "to money", "from money", "to an enumeration", "returning", "returning what has no binary form",
        "one more column of formats that are not all the same", "a wider parameter",
    ],
)
async def test_without_a_cache(dsn: str, name: str) -> None:
    await compare(dsn, playing(BY_NAME[name], statement_cache_size=0))


@covers("cache: first use")
@pytest.mark.parametrize("name", ["by a parameter", "deleting", "another function", "a wider parameter"])
async def test_many(dsn: str, name: str) -> None:
    await compare(dsn, playing(BY_NAME[name], MANY_WAYS))


TEXT = {"format": "text", "encoder": str, "decoder": "read {}".format}
BINARY = {"format": "binary", "encoder": bytes, "decoder": bytes.hex}


@covers("cache: first use")
@pytest.mark.parametrize(
    ("case", "codecs"),
    [
        (altered("to a user's text", "text", "'1999-12-31'", "date"), {"date": TEXT}),
        (altered("from a user's text", "date", "'1999-12-31'", "timestamptz"), {"date": TEXT}),
        (altered("to a user's json", "text", "'[1,  2]'", "json"), {"json": TEXT}),
        (altered("to a user's jsonb", "json", "'[1,  2]'", "jsonb"), {"jsonb": TEXT}),
        (altered("from a user's number", "numeric", "1.50", "money"), {"numeric": TEXT}),
        (altered("to a user's interval", "text", "'1 mon 3:00'", "interval"), {"interval": TEXT}),
        (altered("to a user's enumeration", "text", "'red'", "hue"), {"hue": {**TEXT, "schema": "ddl"}}),
        (altered("to a user's bytes", "money", "'$5'", "numeric"), {"numeric": BINARY}),
        (altered("from a user's bytes", "int", "5", "money"), {"int4": BINARY}),
        (altered("between a user's", "int", "5", "text"), {"int4": TEXT, "text": BINARY}),
    ],
    ids=lambda given: given.name.replace(" ", "-") if isinstance(given, Case) else "",
)
async def test_codecs_of_the_users(dsn: str, case: Case, codecs: dict[str, Any]) -> None:
    async def scenario(diary: Diary) -> None:
        _shapes.clear()
        settings = {"search_path": "ddl", "client_encoding": "latin1"}
        async with diary.connected(server_settings={"search_path": "ddl"}) as one:
            async with diary.connected(server_settings=settings) as two:
                await clean(one)
                await one.execute(NEW_TYPES)
                # They are shown as the session has them.
                await two.execute("SET DateStyle TO 'SQL, DMY'; SET IntervalStyle TO iso_8601; SET TimeZone TO 'CET'")
                for name, codec in codecs.items():
                    await two.set_type_codec(name, **{"schema": "pg_catalog", **codec})
                for method in METHODS:
                    query = f"{case.query} /* {method} */"
                    await one.execute("DROP TABLE IF EXISTS t;" + case.before)
                    await one.fetch(query)
                    await one.execute(case.change)
                    assert not diary.is_ours or _shapes.get(two._shape_key(query)) is not None
                    for _ in range(2):
                        await diary.attempt(method, lambda method=method, query=query: getattr(two, method)(query))
                await one.execute("DROP SCHEMA ddl CASCADE")

    await compare(dsn, scenario)


@covers("cache: first use")
async def test_tables_of_the_sessions_own(dsn: str) -> None:
    """Nothing needs to change: each session has another table of the name, or another cursor."""

    async def scenario(diary: Diary) -> None:
        _shapes.clear()
        async with diary.connected() as one, diary.connected() as two:
            await one.execute("CREATE TEMP TABLE mine (a int, b text); INSERT INTO mine VALUES (1, 'x')")
            await two.execute("CREATE TEMP TABLE mine (a regtype, b int[]); INSERT INTO mine VALUES ('int4', '{1}')")
            await one.fetch("SELECT * FROM mine")
            await diary.attempt("select", lambda: two.fetch("SELECT * FROM mine"))
            for con, query in ((one, "SELECT 1 AS a"), (two, "SELECT 'int4'::regtype, ROW(1, 'x'::text)")):
                await con.execute(f"PREPARE it AS {query}")
                await diary.attempt("execute", lambda con=con: con.fetch("EXECUTE it"))
                async with con.transaction():
                    await con.execute(f"DECLARE them CURSOR FOR {query}")
                    await diary.attempt("fetch", lambda con=con: con.fetch("FETCH ALL FROM them"))

    await compare(dsn, scenario)


@covers("cache: first use", "pool: order")
@pytest.mark.parametrize("pipelined", [False, True])
@pytest.mark.parametrize(
    "name",
    [
        "to money", "deleting", "a parameter of another type", "returning what has no binary form",
        "one more column of formats that are not all the same",
    ],
)
async def test_calls_of_a_pool(dsn: str, name: str, pipelined: bool) -> None:
    case = BY_NAME[name]

    async def scenario(diary: Diary) -> None:
        _shapes.clear()
        ours = {"pipelined": True} if pipelined and diary.is_ours else {}
        settings = {"search_path": "ddl"}
        async with (
            diary.connected(server_settings=settings) as one,
            diary.driver.create_pool(dsn, min_size=1, max_size=1, server_settings=settings, **ours) as pool,
        ):
            for method in METHODS + MANY * bool(case.then):
                query = f"{case.query} /* {method} */"
                await clean(one)
                await one.execute(case.before)
                await one.fetch(query, *case.args)
                await one.execute(case.change)
                args = case.then if method not in MANY else ([case.then] * 2,)
                for _ in range(2):
                    await diary.attempt(method, lambda method=method, q=query, a=args: getattr(pool, method)(q, *a))
                left = "SELECT coalesce(array_agg(t::text ORDER BY t::text), '{}') FROM t"
                await diary.attempt("what is left", lambda left=left, m=method: one.fetchval(f"{left} /* {m} */"))
                await pool.execute("SELECT 1")
            await one.execute("DROP SCHEMA ddl CASCADE")

    await compare(dsn, scenario)
