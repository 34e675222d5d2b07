# SPDX-License-Identifier: MIT
"""What asyncpg 0.32 gets wrong, and fastpg does not: both sides."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any
from urllib.parse import urlsplit

import pytest

import fastpg
from fastpg import exceptions
from tests.contract import covers, differs
from tests.sidebyside import Diary, both

asyncpg = pytest.importorskip("asyncpg")

_numbers = itertools.count(1)
SETUP = """
    DROP SCHEMA IF EXISTS defects CASCADE; CREATE SCHEMA defects; SET search_path = defects;
    CREATE TYPE color AS ENUM ('red', 'green');
    CREATE DOMAIN age AS int;
    CREATE DOMAIN ints AS int[];
    CREATE TYPE pair AS (a int, b int);
    CREATE TYPE textual AS (a int, m money, r regclass);
    CREATE TYPE addresses AS RANGE (subtype = macaddr);
"""


class Pair:
    """A connection of either driver, with the types of SETUP."""

    def __init__(self, theirs: Any, ours: Any) -> None:
        self.theirs = theirs
        self.ours = ours

    async def refused(self, query: str, *args: Any) -> str:
        """The class of asyncpg's error, after which its connection lives."""
        with pytest.raises(Exception) as caught:
            await self.theirs.fetchval(query, *args)
        assert await self.theirs.fetchval("SELECT 1") == 1
        return caught.type.__name__


@pytest.fixture
def types(dsn: str) -> str:
    import psycopg

    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(SETUP)
    return dsn


async def pair_of(dsn: str) -> Pair:
    settings = {"search_path": "defects"}
    return Pair(
        await asyncpg.connect(dsn, server_settings=settings), await fastpg.connect(dsn, server_settings=settings)
    )


async def close(pair: Pair) -> None:
    pair.theirs.terminate()
    pair.ours.terminate()


# ------------------------------------------------------------------ statements


@covers("defect: COPY by way of execute and fetch")
@differs("COPY by way of a query")
@pytest.mark.parametrize("method", ["execute", "fetch"])
@pytest.mark.parametrize("sql", ["COPY t FROM STDIN", "COPY t TO STDOUT"])
async def test_copy_as_a_query(dsn: str, method: str, sql: str) -> None:
    async def scenario(diary: Diary) -> None:
        con = await diary.driver.connect(diary.dsn)
        await con.execute("CREATE TEMP TABLE t (a int); INSERT INTO t VALUES (1)")
        try:
            diary.note(await getattr(con, method)(sql, timeout=0.1))
        except Exception as error:
            diary.note(type(error).__name__, str(error))
        try:
            diary.note(await asyncio.wait_for(con.fetchval("SELECT 1"), 0.2))
        except asyncio.TimeoutError:
            diary.note("hangs")
        con.terminate()

    theirs, ours = await both(dsn, scenario)
    if "FROM" in sql:
        assert theirs.entries == ["TimeoutError ", "hangs"]
        text = "COPY ... FROM STDIN cannot be run as a query: use copy_to_table() or copy_records_to_table()"
    else:
        assert theirs.entries == ["COPY 1" if method == "execute" else "[]", "1"]
        text = "COPY ... TO STDOUT cannot be run as a query: use copy_from_table() or copy_from_query()"
    assert ours.entries == [f"InterfaceError {text}", "1"]


@covers("defect: empty scripts")
@pytest.mark.parametrize("script", ["", " ", ";", " ; ; ", "-- nothing", "/* nothing */"])
async def test_empty_scripts(dsn: str, script: str) -> None:
    pair = await pair_of(dsn)
    with pytest.raises(AttributeError):
        await pair.theirs.execute(script)
    assert await pair.ours.execute(script) == ""
    assert await pair.theirs.fetch(script) == await pair.ours.fetch(script) == []
    assert await pair.theirs.fetchval(script) is await pair.ours.fetchval(script) is None
    await close(pair)


@covers("defect: NUL in SQL")
async def test_nul_in_sql(dsn: str) -> None:
    pair = await pair_of(dsn)
    for query, args in (("SELECT 1\0", ()), ("SELECT $1::int\0", (1,))):
        with pytest.raises(asyncpg.ProtocolViolationError):
            await pair.theirs.fetch(query, *args)
        with pytest.raises((ValueError, exceptions.InterfaceError), match="NUL") as caught:
            await pair.ours.fetch(query, *args)
        assert not getattr(caught.value, "sqlstate", None), "no word of the server's"
        assert await pair.ours.fetchval("SELECT 1") == 1
    await close(pair)


@covers("Record: names", "defect: Record.get() without arguments")
async def test_get_without_arguments(dsn: str) -> None:
    pair = await pair_of(dsn)
    texts = []
    for con in (pair.theirs, pair.ours):
        record = await con.fetchrow("SELECT 1 AS a")
        with pytest.raises(TypeError) as caught:
            record.get()
        texts.append(str(caught.value))
    assert texts[0] == texts[1]
    await close(pair)


# ------------------------------------------------------------- types in others


@covers("defect: composites with a text-only attribute", "codec: containers of text-only types")
@differs("Types that travel as text")
async def test_composites_with_a_text_only_attribute(types: str) -> None:
    pair = await pair_of(types)
    query = "SELECT row(1, 5, 'pg_type')::textual"
    assert await pair.refused(query) == "UnsupportedClientFeatureError"
    value = await pair.ours.fetchval(query)
    assert dict(value) == {"a": 1, "m": "$5.00", "r": "pg_type"}
    assert await pair.ours.fetchval("SELECT $1::textual::text", value) == "(1,$5.00,pg_type)"
    query = "SELECT d FROM pg_catalog.pg_database d WHERE datname = current_database()"
    assert await pair.refused(query) == "UnsupportedClientFeatureError"
    assert (await pair.ours.fetchval(query))["datname"] == await pair.ours.fetchval("SELECT current_database()")
    await close(pair)


@covers("defect: ranges with a text-only part", "codec: containers of text-only types")
@differs("Types that travel as text")
async def test_ranges_with_a_text_only_part(types: str) -> None:
    pair = await pair_of(types)
    query = "SELECT addresses('08:00:2b:01:02:03', '08:00:2b:01:02:04')"
    assert await pair.refused(query) == "UnsupportedClientFeatureError"
    value = await pair.ours.fetchval(query)
    assert value == fastpg.Range("08:00:2b:01:02:03", "08:00:2b:01:02:04")
    assert await pair.ours.fetchval("SELECT $1::addresses = " + query.removeprefix("SELECT "), value)
    await close(pair)


@covers("defect: arrays of text-only types")
@differs("Types that travel as text")
async def test_arrays_of_text_only_types(types: str) -> None:
    """An empty element is a value, not NULL, whatever its form."""
    pair = await pair_of(types)
    query = "SELECT ARRAY['', NULL, ' ']::tsvector[]"
    assert str(await pair.theirs.fetchval(query)) != "['', None, '']"
    assert await pair.ours.fetchval(query) == ["", None, ""]
    for value in (["", None], [[""], ["'a'"]], [], ["'a\"b,c{}'", "'\\\\'"]):
        assert await pair.ours.fetchval("SELECT $1::tsvector[]", value) == value
    await close(pair)


@covers("defect: records with a text-only member", "codec: records")
@differs("Types that travel as text")
async def test_records_with_a_text_only_member(types: str) -> None:
    """Read where the binary form is known, and refused where it is not; never made up."""
    pair = await pair_of(types)
    assert await pair.theirs.fetchval("SELECT row('08:00:2b:01:02:03'::macaddr)") == ("\x08\x00+\x01\x02\x03",)
    assert await pair.ours.fetchval("SELECT row('08:00:2b:01:02:03'::macaddr)") == ("08:00:2b:01:02:03",)
    assert await pair.theirs.fetchval("SELECT row('a'::tsvector)") == ("\0\0\0\x01a\0\0\0",)
    with pytest.raises(exceptions.UnsupportedClientFeatureError, match="'tsvector' inside 'record'"):
        await pair.ours.fetchval("SELECT row('a'::tsvector)")
    assert await pair.refused("SELECT row('pg_type'::regclass)") == "UnicodeDecodeError"
    assert await pair.ours.fetchval("SELECT row('pg_type'::regclass)") == ("1247",)
    assert await pair.ours.fetchval("SELECT 1") == 1
    await close(pair)


@covers("defect: records of enums", "defect: records of types not met before", "codec: records")
@differs("Records of any type")
@pytest.mark.parametrize(
    ("member", "value"),
    [("'red'::color", "red"), ("ARRAY[1, 2]", [1, 2]), ("5::age", 5), ("row(1, 2)::pair", (1, 2)),
     ("ARRAY['red']::color[]", ["red"]), ("row('red'::color)", ("red",))],
    ids=str,
)  # fmt: skip
async def test_records_of_types_not_met_before(types: str, member: str, value: Any) -> None:
    pair = await pair_of(types)
    assert await pair.refused(f"SELECT row(1, {member})") == "InternalClientError"
    assert await pair.ours.fetchval(f"SELECT row(1, {member})") == (1, value)
    await close(pair)


@covers("defect: anyarray", "codec: unhandled built-in types")
@differs("anyarray")
async def test_anyarray(dsn: str) -> None:
    pair = await pair_of(dsn)
    await pair.ours.execute("ANALYZE pg_catalog.pg_class")
    query = "SELECT histogram_bounds FROM pg_stats WHERE tablename = 'pg_class' AND attname = 'oid'"
    assert await pair.refused(query) == "InternalClientError"
    bounds = await pair.ours.fetchval(query)
    assert bounds == sorted(bounds) and all(isinstance(bound, int) for bound in bounds)
    assert await pair.refused("SELECT $1::pg_catalog.pg_node_tree", None) == "InternalClientError"
    assert await pair.ours.fetchval("SELECT $1::pg_catalog.pg_node_tree", None) is None
    await close(pair)


@covers("defect: base types with elements")
@differs("Base types with elements")
async def test_base_types_with_elements(types: str) -> None:
    """A type of fixed length whose parts can be subscripted, like point, is no array."""
    pair = await pair_of(types)
    name = f"spot{next(_numbers)}"
    try:
        await pair.ours.execute(f"""
            DROP TYPE IF EXISTS {name} CASCADE;
            CREATE TYPE {name};
            CREATE FUNCTION {name}_in(cstring) RETURNS {name} LANGUAGE internal IMMUTABLE STRICT AS 'point_in';
            CREATE FUNCTION {name}_out({name}) RETURNS cstring LANGUAGE internal IMMUTABLE STRICT AS 'point_out';
            CREATE TYPE {name} (INPUT = {name}_in, OUTPUT = {name}_out, INTERNALLENGTH = 16, ELEMENT = float8,
                                ALIGNMENT = double)
        """)
        assert await pair.ours.fetchval(f"SELECT '(1,2)'::{name}") == "(1,2)"
        assert await pair.ours.fetchval(f"SELECT $1::{name}::text", "(1,2)") == "(1,2)"
        assert await pair.ours.fetchval(f"SELECT ARRAY['(1,2)'::{name}]") == ["(1,2)"]
        with pytest.raises(TypeError):
            await pair.theirs.fetchval(f"SELECT '(1,2)'::{name}")
    finally:
        await pair.ours.execute(f"DROP TYPE IF EXISTS {name} CASCADE")
        await close(pair)


@covers("defect: decoded values refused as arguments", "codec: arrays")
@differs("What was read goes back")
@pytest.mark.parametrize(
    ("literal", "type_"),
    [("'1 2'", "int2vector"), ("'1 2'", "oidvector"), ("ARRAY[NULL, row(1, 2)::pair]", "pair[]"),
     ("ARRAY[NULL, '[(1,2)]'::path]", "path[]"), ("ARRAY[NULL, '((1,2))'::polygon]", "polygon[]"),
     ("ARRAY['{}'::int4multirange, NULL]", "int4multirange[]"), ("ARRAY['{1}'::ints, NULL]", "ints[]"),
     ("ARRAY['{[1,2)}'::int4multirange, '{}']", "int4multirange[]"), ("ARRAY['{}'::ints]", "ints[]")],
    ids=str,
)  # fmt: skip
async def test_what_was_read_goes_back(types: str, literal: str, type_: str) -> None:
    pair = await pair_of(types)
    theirs = await pair.theirs.fetchval(f"SELECT {literal}::{type_}")
    text = await pair.ours.fetchval(f"SELECT {literal}::{type_}::text")
    if literal != "ARRAY['{}'::ints]":
        assert await pair.refused(f"SELECT $1::{type_}::text", theirs)
    else:
        assert await pair.theirs.fetchval(f"SELECT $1::{type_}::text", theirs) != text
    ours = await pair.ours.fetchval(f"SELECT {literal}::{type_}")
    assert await pair.ours.fetchval(f"SELECT $1::{type_}::text", ours) == text
    await close(pair)


@covers("defect: copy_records_to_table without a binary codec")
@differs("Records of any columns")
async def test_copy_records_of_any_columns(dsn: str) -> None:
    records = [(1, "$1.00", "08:00:2b:01:02:03", "'a':1", "pg_type", None), (2, None, None, None, None, "x\t\\N\n")]
    pair = await pair_of(dsn)
    for con in (pair.theirs, pair.ours):
        await con.execute("CREATE TEMP TABLE t (n int, a money, b macaddr, c tsvector, d regclass, e text)")
    with pytest.raises(asyncpg.InternalClientError, match="no binary format encoder for type money"):
        await pair.theirs.copy_records_to_table("t", records=records)
    assert await pair.ours.copy_records_to_table("t", records=records) == "COPY 2"
    assert [tuple(row) for row in await pair.ours.fetch("SELECT * FROM t ORDER BY n")] == records
    await close(pair)


# ---------------------------------------------------------------- life and time


@covers("defect: a cancelled COPY out")
async def test_a_cancelled_copy_out(dsn: str) -> None:
    """Whenever it comes, the connection can be used at once."""
    con = await fastpg.connect(dsn)
    for wait in range(8):
        started = asyncio.Event()

        async def sink(data: bytes, wait: int = wait, started: asyncio.Event = started) -> None:
            started.set()
            await asyncio.sleep(30 if wait % 2 else 0)

        query = "SELECT repeat('x', 1000) FROM generate_series(1, 20000)"
        task = asyncio.ensure_future(con.copy_from_query(query, output=sink))
        await started.wait()
        await asyncio.sleep(0.002 * wait)
        task.cancel()
        await asyncio.wait([task])
        assert await asyncio.wait_for(con.fetchval("SELECT 1"), 10) == 1
    await con.close()


@covers("defect: a backend that ends under load")
async def test_a_backend_that_ends_under_load(dsn: str) -> None:
    """What the user sees is the server's word or that of a lost connection, in whatever phase it ends."""
    other = await fastpg.connect(dsn)
    for wait in range(8):
        con = await fastpg.connect(dsn)

        async def work(con: Any = con) -> None:
            n = 0
            while True:
                n += 1
                await con.fetch(f"SELECT generate_series(1, $1::int), {n % 7}", 200)
                async with con.transaction():
                    await con.executemany("SELECT $1::int", [(i,) for i in range(20)])

        task = asyncio.ensure_future(work())
        await asyncio.sleep(0.005 + 0.001 * wait)
        await other.execute("SELECT pg_terminate_backend($1, 5000)", con.get_server_pid())
        with pytest.raises((exceptions.AdminShutdownError, exceptions.ConnectionDoesNotExistError)) as caught:
            await task
        assert not isinstance(caught.value, exceptions.InternalClientError)
        assert con.is_closed()
    await other.close()


@covers("defect: fairness of a pool", "pool: order")
@differs("First come, first served")
async def test_fairness(dsn: str) -> None:
    """Nobody takes the connection that has been released from the one who waits for it."""

    async def scenario(diary: Diary) -> None:
        order: list[str] = []

        async def wait(pool: Any) -> None:
            async with pool.acquire():
                order.append("who waited")

        async def come_late(pool: Any) -> None:
            for _ in range(1000):
                if pool.get_idle_size():
                    break
                await asyncio.sleep(0)
            async with pool.acquire():
                order.append("who came late")

        async with diary.driver.create_pool(diary.dsn, min_size=1, max_size=1) as pool:
            con = await pool.acquire()
            tasks = [asyncio.ensure_future(task(pool)) for task in (come_late, wait, come_late)]
            await asyncio.sleep(0)
            await pool.release(con)
            await asyncio.gather(*tasks)
        diary.note(", ".join(order))

    theirs, ours = await both(dsn, scenario)
    if isinstance(asyncio.get_running_loop(), asyncio.SelectorEventLoop):
        # Where the turns of a loop go round like this.
        assert theirs.entries[0].startswith("who came late, ")
    assert ours.entries == ["who waited, who came late, who came late"]


@covers("defect: timeout of copy_records_to_table", "timeouts")
@differs("One deadline for a COPY")
async def test_timeout_of_copy_records_to_table(dsn: str) -> None:
    """It bounds the preparation as well."""

    async def scenario(diary: Diary) -> None:
        holder = await diary.driver.connect(diary.dsn)
        await holder.execute("DROP TABLE IF EXISTS locked; CREATE TABLE locked (a int)")
        con = await diary.driver.connect(diary.dsn)
        transaction = holder.transaction()
        await transaction.start()
        await holder.execute("LOCK TABLE locked")
        copying = asyncio.ensure_future(con.copy_records_to_table("locked", records=[(1,)], timeout=0.05))
        await asyncio.wait([copying], timeout=0.5)
        diary.note("waits" if not copying.done() else type(copying.exception()).__name__)
        await transaction.rollback()
        await asyncio.wait([copying])
        copying.exception()
        await holder.execute("DROP TABLE locked")
        con.terminate()
        holder.terminate()

    theirs, ours = await both(dsn, scenario)
    assert (theirs.entries, ours.entries) == (["waits"], ["TimeoutError"])


@covers("defect: forks, threads and loops")
@differs("Other loops")
def test_another_loop(dsn: str) -> None:
    """asyncpg sends, and then cannot wait for the answer; fastpg refuses and nothing has happened."""

    async def use(con: Any) -> Any:
        return await con.fetchval("SELECT 1")

    outcomes = []
    for driver in (asyncpg, fastpg):
        first, second = asyncio.new_event_loop(), asyncio.new_event_loop()
        con = first.run_until_complete(driver.connect(dsn))
        with pytest.raises((RuntimeError, exceptions.InterfaceError)) as caught:
            second.run_until_complete(use(con))
        outcomes.append(caught.type.__name__)
        if driver is fastpg:
            outcomes.append(first.run_until_complete(use(con)))
        con.terminate()
        first.run_until_complete(asyncio.sleep(0.01))
        first.close()
        second.close()
    assert outcomes == ["RuntimeError", "InterfaceError", 1]


class Proxy:
    """Carries bytes both ways until it is told to be silent."""

    def __init__(self, dsn: str) -> None:
        self.parts = urlsplit(dsn)
        self.silent = False
        self.tasks: list[asyncio.Task[None]] = []
        self.writers: list[asyncio.StreamWriter] = []

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                if not self.silent:
                    writer.write(data)
        finally:
            writer.close()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        up, down = await asyncio.open_connection(self.parts.hostname, self.parts.port)
        self.writers.append(down)
        self.tasks += [asyncio.ensure_future(self.carry(reader, down)), asyncio.ensure_future(self.carry(up, writer))]

    async def __aenter__(self) -> Proxy:
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        port = self.server.sockets[0].getsockname()[1]
        self.dsn = f"postgresql://{self.parts.username}@127.0.0.1:{port}{self.parts.path}?sslmode=disable"
        return self

    async def __aexit__(self, *error: object) -> None:
        self.server.close()
        await asyncio.sleep(0.05)  # one may be about to connect
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        for writer in self.writers:
            writer.close()
        await asyncio.sleep(0.05)


@covers("defect: release from a silent server")
@differs("Silent servers")
async def test_release_from_a_silent_server(dsn: str) -> None:
    """The cancel that a release waits for has a deadline."""

    async def scenario(diary: Diary) -> None:
        async with Proxy(dsn) as proxy:
            pool = await diary.driver.create_pool(proxy.dsn, min_size=1, max_size=1)
            con = await pool.acquire()
            if diary.is_ours:
                con._con._client.cancel_timeout = 0.1
            proxy.silent = True
            with pytest.raises(asyncio.TimeoutError):
                await con.fetchval("SELECT 1", timeout=0.02)
            release = asyncio.ensure_future(pool.release(con))
            await asyncio.wait([release], timeout=1)
            diary.note("returns" if release.done() else "waits")
            pool.terminate()
            release.cancel()
            await asyncio.wait([release], timeout=1)

    theirs, ours = await both(dsn, scenario)
    assert (theirs.entries, ours.entries) == (["waits"], ["returns"])


@differs("Arguments that do not fit into memory")
async def test_arguments_that_do_not_fit_into_memory(dsn: str) -> None:
    class Huge:
        def __index__(self) -> int:
            raise MemoryError

    pair = await pair_of(dsn)
    with pytest.raises(asyncpg.DataError, match="invalid input for query argument"):
        await pair.theirs.fetchval("SELECT $1::int", Huge())
    with pytest.raises(MemoryError):
        await pair.ours.fetchval("SELECT $1::int", Huge())
    await close(pair)
