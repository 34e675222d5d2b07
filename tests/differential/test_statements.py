# SPDX-License-Identifier: MIT
"""Which statements a connection keeps on the server, how they are named, and when they go."""

from __future__ import annotations

import asyncio
import itertools
import uuid
from typing import Any

import pytest

from tests.contract import covers, differs
from tests.sidebyside import Diary, both, compare


def query(n: int | str) -> str:
    """A statement that kept() counts."""
    return f"SELECT /*kept*/ {n}"


async def kept(con: Any) -> str:
    """How many of them the server has. The status of a script: nothing is prepared for it."""
    status = await con.execute("SELECT 1 FROM pg_prepared_statements WHERE statement LIKE 'SELECT /*kept*/%'")
    return str(status).removeprefix("SELECT ")


async def settle(con: Any) -> None:
    """What was evicted is closed along with one of the next new statements."""
    for n in range(3):
        await con.fetchval(f"SELECT {n}::int8")


@covers("cache: size", "cache: eviction", "cache: first use")
@pytest.mark.parametrize("size", [0, 1, 3, 100])
async def test_size(dsn: str, size: int) -> None:
    """The least recently used one goes."""

    async def scenario(diary: Diary) -> None:
        con = await diary.driver.connect(diary.dsn, statement_cache_size=size)
        for n in range(5):
            for _ in range(2):
                diary.value(str(n), await con.fetchval(query(n)))
        if size > 3:
            await settle(con)
            diary.note("kept", await kept(con))
        for n in (0, 1, 2, 0, 3, 4, 0):
            diary.value(str(n), await con.fetch(query(n)))
        diary.value("arguments", await con.fetchval("SELECT $1::int", 5))
        diary.value("arguments", await con.fetchval("SELECT $1::int", 6))
        if size == 0:
            diary.note("kept", await kept(con))
        con.terminate()

    await compare(dsn, scenario)


@covers("cache: eviction")
async def test_evicted_ones_are_closed(dsn: str) -> None:
    async def scenario(diary: Diary) -> None:
        con = await diary.driver.connect(diary.dsn, statement_cache_size=5)
        for n in range(50):
            await con.fetchval(query(n))
        await settle(con)
        diary.note("kept", await kept(con))
        con.terminate()

    await compare(dsn, scenario)


@covers("cache: lifetime")
@pytest.mark.parametrize("lifetime", [0, 0.05])
async def test_lifetime(dsn: str, lifetime: float) -> None:
    """From its first use on, however often it is used meanwhile."""

    async def scenario(diary: Diary) -> None:
        con = await diary.driver.connect(diary.dsn, max_cached_statement_lifetime=lifetime)
        for _ in range(8):
            await con.fetchval(query(1))
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        await settle(con)
        diary.note("kept", await kept(con))
        diary.value("again", await con.fetchval(query(1)))
        con.terminate()

    await compare(dsn, scenario)


@covers("cache: cacheable size")
@pytest.mark.parametrize("limit", [None, 0, 20])
async def test_cacheable_size(dsn: str, limit: int | None) -> None:
    """In characters, not bytes."""

    async def scenario(diary: Diary) -> None:
        options = {} if limit is None else {"max_cacheable_statement_size": limit}
        con = await diary.driver.connect(diary.dsn, **options)
        for length in (4, 5, 15360 - 19, 15360 - 18, 15361):
            text = query("'" + "é" * (length - 2) + "'")
            diary.note(len(text))
            diary.value("length", len(await con.fetchval(text)))
            diary.value("length", len(await con.fetchval(text)))
            diary.note("kept", await kept(con))
        con.terminate()

    await compare(dsn, scenario)


@covers("cache: names", "cache: poolers")
async def test_names(dsn: str) -> None:
    """Come from _get_unique_id(), which may be overridden; a user's own name is taken as it is."""

    async def scenario(diary: Diary) -> None:
        numbers = itertools.count(1)

        class Named(diary.driver.Connection):  # type: ignore[misc, name-defined]
            def _get_unique_id(self, prefix: str) -> str:
                return f"own_{prefix}_{next(numbers)}_{uuid.UUID(int=7)}"

        con = await diary.driver.connect(diary.dsn, connection_class=Named)
        await con.fetchval(query(1))
        statement = await con.prepare(query(2))
        named = await con.prepare(query(3), name="the third")
        diary.note(statement.get_name(), named.get_name())
        rows = await con.fetch("SELECT name FROM pg_prepared_statements ORDER BY prepare_time, name")
        diary.note(sorted(row["name"].split("_")[0] for row in rows))
        await diary.attempt("twice", lambda: con.prepare(query(4), name="the third"))
        con.terminate()

    await compare(dsn, scenario)


@covers("cache: invalidation")
async def test_invalidated(dsn: str) -> None:
    """A plan that DDL has made stale is made again; inside a transaction that is an error."""

    async def scenario(diary: Diary) -> None:
        con = await diary.driver.connect(diary.dsn)
        await con.execute("CREATE TEMP TABLE stale (a int); INSERT INTO stale VALUES (1)")
        for change in ("ADD b text", "ALTER a TYPE text", "DROP b", "RENAME a TO c"):
            diary.value("before", await con.fetch("SELECT * FROM stale"))
            await con.execute(f"ALTER TABLE stale {change}")
            diary.value("after", await con.fetch("SELECT * FROM stale"))
        statement = await con.prepare("SELECT * FROM stale")
        await statement.fetch()
        await con.execute("ALTER TABLE stale ADD d int")
        await diary.attempt("statement", statement.fetch)
        await diary.attempt("statement again", statement.fetch)
        diary.value("now", await con.fetch("SELECT * FROM stale"))
        async with con.transaction():
            await con.execute("ALTER TABLE stale ADD e int")
            await diary.attempt("inside", lambda: con.fetch("SELECT * FROM stale"))
            diary.state("inside", con)
            await diary.attempt("and", lambda: con.fetch("SELECT 1"))
        diary.value("outside", await con.fetch("SELECT * FROM stale"))
        con.terminate()

    await compare(dsn, scenario)


@covers("cache: invalidation", "introspection")
async def test_outdated_types(dsn: str) -> None:
    """What a composite is made of has changed since it was looked up: an error once, then right."""

    async def scenario(diary: Diary) -> None:
        con = await diary.driver.connect(diary.dsn)
        other = await diary.driver.connect(diary.dsn)
        for n, change in enumerate(("ADD ATTRIBUTE c int", "ALTER ATTRIBUTE a TYPE text", "DROP ATTRIBUTE b")):
            await other.execute(f"DROP TYPE IF EXISTS outdated{n}; CREATE TYPE outdated{n} AS (a int, b int)")
            diary.value("before", await con.fetchval(f"SELECT '(1,2)'::outdated{n}"))
            await other.execute(f"ALTER TYPE outdated{n} {change}")
            text = f"SELECT x FROM json_populate_record(NULL::outdated{n}, '{{}}') x"
            await diary.attempt(change, lambda text=text: con.fetch(text))
            await diary.attempt(change, lambda text=text: con.fetch(text))
            await other.execute(f"DROP TYPE outdated{n}")
        con.terminate()
        other.terminate()

    await compare(dsn, scenario)


@covers("cache: on codec change", "cache: key")
async def test_what_follows_a_change_of_codec(dsn: str) -> None:
    """Statements are prepared anew; other classes of records need no other statement."""

    async def scenario(diary: Diary) -> None:
        class Own(diary.driver.Record):  # type: ignore[misc, name-defined]
            pass

        con = await diary.driver.connect(diary.dsn)
        diary.value("before", await con.fetch(query("5 AS five")))
        diary.value("own", await con.fetch(query("5 AS five"), record_class=Own))
        diary.value("plain", await con.fetchrow(query("5 AS five")))
        await con.set_type_codec("int4", schema="pg_catalog", encoder=str, decoder=lambda text: f"<{text}>")
        diary.value("with codec", await con.fetch(query("5 AS five")))
        diary.value("array", await con.fetch(query("ARRAY[5] AS five")))
        await con.reset_type_codec("int4", schema="pg_catalog")
        diary.value("after", await con.fetch(query("5 AS five")))
        await settle(con)
        con.terminate()

    await compare(dsn, scenario)


@covers("cache: poolers")
@differs("Forgotten statements")
async def test_a_server_that_has_forgotten(dsn: str) -> None:
    """As another backend behind a pooler has: asyncpg's user gets the error, fastpg's the result."""

    async def scenario(diary: Diary) -> None:
        con = await diary.driver.connect(diary.dsn)
        await con.fetchval(query(1))
        await con.execute("DEALLOCATE ALL")
        try:
            diary.note(await con.fetchval(query(1)))
        except diary.driver.InvalidSQLStatementNameError:
            diary.note("does not exist")
        async with con.transaction():
            await con.fetchval(query(2))
            await con.execute("DEALLOCATE ALL")
            await diary.attempt("inside", lambda: con.fetchval(query(2)))
        con.terminate()

    theirs, ours = await both(dsn, scenario)
    assert (theirs.entries[0], ours.entries[0]) == ("does not exist", "1")
    assert theirs.entries[1].split("\n")[0].replace("_0__", "_N__").split('"')[0] == ours.entries[1].split('"')[0]


@covers("defect: statements left behind by prepare()")
@differs("Statements of prepare()")
async def test_prepare_what_is_cached(dsn: str) -> None:
    """Each handle is one statement on the server, closed when the handle is gone."""

    async def scenario(diary: Diary) -> None:
        con = await diary.driver.connect(diary.dsn)
        await con.fetchval(query(1))
        for _ in range(30):
            statement = await con.prepare(query(1))
            await statement.fetchval()
        del statement
        await settle(con)
        await settle(con)
        diary.note(int(await kept(con)))
        con.terminate()

    theirs, ours = await both(dsn, scenario)
    assert int(theirs.entries[0]) >= 30
    assert int(ours.entries[0]) <= 2


