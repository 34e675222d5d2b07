# SPDX-License-Identifier: MIT
"""Types that only the catalogs know: found in one round trip, shared between connections, forgotten when stale."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import pytest
import pytest_asyncio

import fastpg
from fastpg import Range, exceptions, introspection
from fastpg.codecs.knowledge import KEPT, TypeInfo, TypeKnowledge, knowledge_for
from tools.try_types import try_types

asyncpg = pytest.importorskip("asyncpg")

TYPES = """
    DROP SCHEMA IF EXISTS intro CASCADE;
    CREATE SCHEMA intro;
    SET search_path = intro;
    CREATE TYPE color AS ENUM ('red', 'gre"en', 'blue, light');
    CREATE DOMAIN posint AS int CHECK (VALUE > 0);
    CREATE DOMAIN posint2 AS posint;
    CREATE DOMAIN ints AS int[];
    CREATE TYPE pair AS (a int, b text);
    CREATE DOMAIN pairdomain AS pair;
    CREATE TYPE colored AS (n posint, c color, more color[]);
    CREATE TYPE deep AS (p pair[], q colored, r intro.ints);
    CREATE TYPE floatrange AS RANGE (subtype = float8);
    CREATE TYPE textual AS (a int, m money, d date, r regclass, t text);
    CREATE TYPE textrange AS RANGE (subtype = macaddr);
    CREATE TABLE wide (x int, dropped text, y pair, z color[]);
    ALTER TABLE wide DROP COLUMN dropped;
"""


@pytest_asyncio.fixture
async def connection(dsn: str) -> AsyncIterator[fastpg.Connection]:
    connection = await fastpg.connect(dsn, server_settings={"search_path": "intro"})
    await connection.execute(TYPES)
    yield connection
    connection.terminate()


@pytest_asyncio.fixture
async def theirs(connection: fastpg.Connection, dsn: str) -> AsyncIterator[Any]:
    theirs = await asyncpg.connect(dsn, server_settings={"search_path": "intro"})
    yield theirs
    theirs.terminate()


class Counting(fastpg.Connection):
    """Counts what is asked of the catalogs."""

    __slots__ = ("asked",)

    async def _introspect_types(self, typeoids: Any, timeout: float) -> Any:
        if not hasattr(self, "asked"):
            self.asked: list[list[int]] = []
        self.asked.append(list(typeoids))
        return await super()._introspect_types(typeoids, timeout)


def asked(connection: Any) -> int:
    """How many times `connection` has introspected."""
    return len(getattr(connection, "asked", []))


def plain(value: Any) -> Any:
    """The values of either driver in one shape, Records and Ranges told apart."""
    if isinstance(value, (fastpg.Record, asyncpg.Record)):
        return "Record", [(name, plain(item)) for name, item in value.items()]
    if isinstance(value, (Range, asyncpg.Range)):
        bounds = plain(value.lower), plain(value.upper)
        return "Range", *bounds, value.lower_inc, value.upper_inc, value.isempty
    if isinstance(value, (list, tuple)):
        return type(value).__name__, [plain(item) for item in value]
    return value


# ------------------------------------------------------------------ as asyncpg does

SAME = [
    ("color", "gre\"en"),
    ("color[]", ["red", None, "blue, light"]),
    ("posint", 5),
    ("posint2", 6),
    ("posint[]", [1, None, 3]),
    ("ints", [1, 2]),
    ("pair", (1, "x")),
    ("pair", {"b": "only"}),
    ("pair", None),
    ("pair[]", [(1, "x"), None, (None, None)]),
    ("pairdomain", (1, "x")),
    ("colored", (1, "red", ["red", "gre\"en"])),
    ("deep", ([(1, "x")], (2, "red", []), [1])),
    ("deep[]", [([(1, "x")], None, None)]),
    ("floatrange", (1.5, None)),
    ("floatmultirange", [(1.5, 2.5), (3.0, None)]),
    ("floatrange[]", [(1.5, 2.5)]),
    ("wide", (1, (2, "y"), ["red"])),
]  # fmt: skip


@pytest.mark.parametrize(("type", "value"), SAME, ids=str)
async def test_values_as_asyncpg(connection: fastpg.Connection, theirs: Any, type: str, value: Any) -> None:
    query = f"SELECT $1::{type} AS v, array[$1::{type}] IS NULL AS n"
    assert plain(await connection.fetchrow(query, value)) == plain(await theirs.fetchrow(query, value))


async def test_descriptions_as_asyncpg(connection: fastpg.Connection, theirs: Any) -> None:
    types = ["color", "color[]", "posint", "posint2", "posint[]", "ints", "pair", "pair[]", "pairdomain", "deep",
             "floatrange", "floatmultirange", "int4", "int4[]", "text[]", "int4range", "int4multirange", "record",
             "money", "macaddr", "xml", "information_schema.sql_identifier"]  # fmt: skip
    for type in types:
        query = f"SELECT NULL::{type} AS v"
        if type != "record":
            query = f"SELECT $1::{type} AS v"
        our = await connection.prepare(query)
        their = await theirs.prepare(query)
        assert [tuple(t) for t in our.get_parameters()] == [tuple(t) for t in their.get_parameters()]
        assert [(a.name, tuple(a.type)) for a in our.get_attributes()] == [
            (a.name, tuple(a.type)) for a in their.get_attributes()
        ]


@pytest.mark.parametrize(
    ("type", "value"),
    [("color", "pink"), ("color", 1), ("pair", ("x", "y")), ("pair", {"zz": 1}), ("posint", -1), ("posint", "x")],
    ids=str,
)
async def test_refusals_as_asyncpg(connection: fastpg.Connection, theirs: Any, type: str, value: Any) -> None:
    with pytest.raises(Exception) as ours:
        await connection.fetchval(f"SELECT $1::{type}", value)
    with pytest.raises(Exception) as their:
        await theirs.fetchval(f"SELECT $1::{type}", value)
    assert type_name(ours.value) == type_name(their.value)
    assert await connection.fetchval("SELECT 1") == 1


def type_name(error: Exception) -> str:
    """An error's class by name."""
    return type(error).__name__


# --------------------------------------------------------------------- what it costs

async def test_one_round_trip_for_all(connection: fastpg.Connection, dsn: str) -> None:
    fresh: Any = await fastpg.connect(dsn, server_settings={"search_path": "intro"}, connection_class=Counting)
    # The fixture may have shared what it knows.
    await fresh.fetchval("SELECT NULL::intro.color")
    await fresh.reload_schema_state()
    before = asked(fresh)
    row = await fresh.fetchrow("SELECT NULL::deep, NULL::color[], NULL::floatrange, $1::pair[] AS p", [(1, "x")])
    assert row["p"] == [(1, "x")] and asked(fresh) == before + 1
    assert await fresh.fetchval("SELECT $1::colored", (1, "red", [])) == (1, "red", [])
    assert asked(fresh) == before + 1, "a member of what was found"
    fresh.terminate()


async def test_nothing_for_builtin_types(dsn: str) -> None:
    fresh: Any = await fastpg.connect(dsn, connection_class=Counting)
    query = "SELECT $1::int[], $2::int4range, $3::uuid[], $4::numeric[], row(1, 'x'), NULL::tstzmultirange, $5::text"
    await fresh.fetch(query, [1], (1, 2), [], [Decimal(1)], "x")
    assert not asked(fresh)
    fresh.terminate()


async def test_shared_between_connections(connection: fastpg.Connection, dsn: str) -> None:
    assert await connection.fetchval("SELECT $1::deep", ([], None, None)) == ([], None, None)
    others: list[Any] = [
        await fastpg.connect(dsn, server_settings={"search_path": "intro"}, connection_class=Counting)
        for _ in range(3)
    ]
    for other in others:
        assert await other.fetchval("SELECT $1::deep", ([(1, "x")], None, None)) == ([(1, "x")], None, None)
        assert await other.fetchval("SELECT row('red'::color)") == ("red",)
        assert not asked(other), "the first connection has asked for all of them"
        assert other._registry.knowledge is connection._registry.knowledge
        other.terminate()


async def test_not_shared_between_databases(connection: fastpg.Connection, dsn: str) -> None:
    await connection.fetchval("SELECT 'red'::color")
    name = f"intro_{id(connection):x}"
    await connection.execute(f"CREATE DATABASE {name}")
    try:
        other = await fastpg.connect(dsn, database=name)
        await other.execute("CREATE TYPE color AS (a int)")
        assert await other.fetchval("SELECT row(1)::color") == (1,)
        assert other._registry.knowledge is not connection._registry.knowledge
        await other.close()
    finally:
        await connection.execute(f"DROP DATABASE {name}")
    # The same name once more: another database, whatever OIDs it has.
    await connection.execute(f"CREATE DATABASE {name}")
    try:
        again = await fastpg.connect(dsn, database=name)
        await again.execute("CREATE TYPE color AS ENUM ('x')")
        assert await again.fetchval("SELECT 'x'::color") == "x"
        assert again._registry.knowledge is not other._registry.knowledge
        await again.close()
    finally:
        await connection.execute(f"DROP DATABASE {name}")


async def test_the_planner_does_not_compile_it(connection: fastpg.Connection) -> None:
    # What would be compiled shows in EXPLAIN as "JIT"; a generic plan is what a pooler's statement becomes.
    oids = await connection.fetchval("SELECT array_agg(oid) FROM (SELECT oid FROM pg_type LIMIT 200) t")
    for query, args in [
        (introspection.INTRO_LOOKUP_TYPES, (oids,)), (introspection.TYPE_BY_NAME, ("pair", "intro"))
    ]:  # fmt: skip
        for mode in ("force_generic_plan", "force_custom_plan"):
            await connection.execute(f"SET jit = on; SET plan_cache_mode = {mode}")
            lines = await connection.fetch(f"EXPLAIN {query}", *args)
            text = "\n".join(line[0] for line in lines)
            assert "JIT" not in text, text
            assert float(text.split("..")[1].split(" ")[0]) < 50000


async def test_the_user_is_not_in_the_way(connection: fastpg.Connection) -> None:
    # Codecs of the very types that the catalogs are read with; the unnamed statement; the settings.
    for name in ("oid", "text", "name", "char"):
        await connection.set_type_codec(
            name, schema="pg_catalog", encoder=lambda value: 1 / 0, decoder=lambda value: 1 / 0, format="binary"
        )
    assert await connection.fetchval("SELECT 'red'::color") == "red"
    ours = "SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE '%typ' || 'elem%'"
    assert await connection.fetchval(ours) == 0


async def test_without_a_statement_cache(connection: fastpg.Connection, dsn: str) -> None:
    other = await fastpg.connect(dsn, statement_cache_size=0, server_settings={"search_path": "intro"})
    assert await other.fetchval("SELECT $1::deep", ([(1, "x")], None, None)) == ([(1, "x")], None, None)
    other.terminate()


async def test_in_a_transaction(connection: fastpg.Connection, dsn: str) -> None:
    other = await fastpg.connect(dsn, server_settings={"search_path": "intro"})
    transaction = other.transaction(isolation="serializable")
    await transaction.start()
    assert await other.fetchval("SELECT 'red'::color") == "red"
    with pytest.raises(exceptions.DivisionByZeroError):
        await other.execute("SELECT 1/0")
    # A failed transaction can look nothing up; that is said, and the connection lives.
    with pytest.raises(exceptions.InFailedSQLTransactionError):
        await other.set_type_codec("pair", schema="intro", encoder=tuple, decoder=tuple, format="tuple")
    await transaction.rollback()
    assert await other.fetchval("SELECT $1::pair", (1, "x")) == (1, "x")
    other.terminate()


async def test_a_type_made_in_the_same_transaction(connection: fastpg.Connection) -> None:
    transaction = connection.transaction()
    await transaction.start()
    await connection.execute("CREATE TYPE newborn AS (a int, b color)")
    assert await connection.fetchval("SELECT $1::newborn", (1, "red")) == (1, "red")
    await transaction.rollback()
    await connection.execute("CREATE TYPE newborn AS (z text)")
    assert await connection.fetchval("SELECT $1::newborn AS other", ("x",)) == ("x",)


async def test_a_timeout_covers_it(connection: fastpg.Connection, dsn: str) -> None:
    slow: Any = await fastpg.connect(dsn, server_settings={"search_path": "intro"}, connection_class=Counting)
    await connection.reload_schema_state()
    transaction = connection.transaction()
    await transaction.start()
    await connection.execute("LOCK TABLE pg_catalog.pg_range IN ACCESS EXCLUSIVE MODE")
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(slow.fetchval("SELECT NULL::deep", timeout=0.3), 20)
    await transaction.rollback()
    assert asked(slow) == 1
    assert await asyncio.wait_for(slow.fetchval("SELECT $1::pair", (1, "x")), 20) == (1, "x")
    slow.terminate()


async def test_cancelled(connection: fastpg.Connection, dsn: str) -> None:
    other = await fastpg.connect(dsn, server_settings={"search_path": "intro"})
    await connection.reload_schema_state()
    transaction = connection.transaction()
    await transaction.start()
    await connection.execute("LOCK TABLE pg_catalog.pg_range IN ACCESS EXCLUSIVE MODE")
    task = asyncio.ensure_future(other.fetchval("SELECT NULL::deep"))
    await asyncio.sleep(0.2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 20)
    await transaction.rollback()
    assert await asyncio.wait_for(other.fetchval("SELECT $1::pair", (1, "x")), 20) == (1, "x")
    other.terminate()


# ------------------------------------------------------------------- records, anyarray

async def test_anonymous_records_with_anything(connection: fastpg.Connection) -> None:
    query = (
        "SELECT g, row(g, 'red'::color, ARRAY[g], 5::posint, (1, 'x')::pair, NULL::deep) FROM generate_series(1, $1) g"
    )
    await connection.reload_schema_state()
    rows = await connection.fetch(query, 3000)
    assert rows[:2] == [(g, (g, "red", [g], 5, (1, "x"), None)) for g in (1, 2)] and len(rows) == 3000
    assert [row[0] for row in rows] == list(range(1, 3001)), "each row once, in order"
    assert rows[0][1][4]["b"] == "x"
    for ask in (connection.fetchval, connection.fetchrow):
        await connection.reload_schema_state()
        assert await ask("SELECT row('red'::color)") in [("red",), (("red",),)]
    await connection.reload_schema_state()
    statement = await connection.prepare("SELECT row('red'::color, row(1::posint)) FROM generate_series(1, 50)")
    assert await statement.fetch() == [(("red", (1,)),)] * 50
    await connection.reload_schema_state()
    async with connection.transaction():
        assert [r async for r in connection.cursor("SELECT ARRAY[row('red'::color)]", prefetch=5)] == [([("red",)],)]
    await connection.reload_schema_state()
    many = await connection.fetchmany("SELECT row($1::int, 'red'::color)", [(1,), (2,)])
    assert many == [((1, "red"),), ((2, "red"),)]


async def test_records_with_text_only_members(connection: fastpg.Connection) -> None:
    assert await connection.fetchval("SELECT row('08:00:2b:01:02:03'::macaddr, 1)") == ("08:00:2b:01:02:03", 1)
    with pytest.raises(exceptions.UnsupportedClientFeatureError, match=r"'money' inside 'record'") as caught:
        await connection.fetch("SELECT row('$5'::money)")
    assert "::text" in str(caught.value) or "Cast it to text" in str(caught.value)
    assert await connection.fetchval("SELECT row('5'::money::text)") == ("$5.00",)


async def test_anyarray(connection: fastpg.Connection) -> None:
    await connection.execute(
        "CREATE TABLE stats AS SELECT g % 3 AS i, (ARRAY['red', 'gre\"en'])[1 + g % 2]::color AS c, "
        "g % 2 = 0 AS b, '08:00:2b:01:02:03'::macaddr AS m, ('$' || g % 2)::money AS mo, ARRAY[g % 2] AS a "
        "FROM generate_series(1, 100) g; ANALYZE stats"
    )
    rows = await connection.fetch("SELECT attname, most_common_vals v FROM pg_stats WHERE tablename = 'stats'"
                                  " AND attname NOT IN ('mo')")  # fmt: skip
    values = {row["attname"]: row["v"] for row in rows}
    assert sorted(values["i"]) == [0, 1, 2] and sorted(values["c"]) == ["gre\"en", "red"]
    assert sorted(values["b"]) == [False, True] and values["m"] == ["08:00:2b:01:02:03"]
    with pytest.raises(exceptions.UnsupportedClientFeatureError, match="'money' inside 'anyarray'"):
        await connection.fetch("SELECT most_common_vals FROM pg_stats WHERE tablename = 'stats' AND attname = 'mo'")
    assert await connection.fetchval("SELECT 1") == 1


async def test_objects_in_anonymous_records_are_their_oid(connection: fastpg.Connection) -> None:
    # The message has no name of theirs.
    assert await connection.fetchval("SELECT row('pg_class'::regclass, 0::regproc)") == ("1259", "-")
    assert await connection.fetchval("SELECT $1::regclass = 'pg_class'::regclass", "1259") is True


@pytest.mark.parametrize("schema", ["pg_catalog", "information_schema"])
async def test_every_relation_of_the_catalogs(dsn: str, schema: str) -> None:
    async with fastpg.create_pool(dsn, min_size=1, max_size=1) as pool, pool.acquire() as connection:
        await connection.execute("ANALYZE pg_proc")
        trial = await try_types(connection, limit=20, schema=schema)
    assert not trial.wrong and not trial.refused
    assert trial.relations > 60 and trial.values > 2_000 and len(trial.types) > 20


# ----------------------------------------------------------------------- text forms

async def test_composites_and_ranges_over_text_only_members(connection: fastpg.Connection) -> None:
    value = (1, "$5.00", datetime.date(2020, 2, 29), "pg_class", 'q"u\\o,t(e)')
    assert await connection.fetchval("SELECT $1::textual", value) == value
    assert await connection.fetchval("SELECT $1::textual[]", [value, None]) == [value, None]
    assert await connection.fetchval("SELECT $1::textual", (None,) * 5) == (None,) * 5
    assert await connection.fetchval("SELECT $1::textual", {"t": ""}) == (None, None, None, None, "")
    macs = Range("08:00:2b:01:02:03", "08:00:2b:01:02:05")
    assert await connection.fetchval("SELECT $1::textrange", macs) == macs
    assert await connection.fetchval("SELECT $1::textmultirange", [macs, Range("08:00:2b:01:02:09")]) == [
        macs, Range("08:00:2b:01:02:09"),
    ]  # fmt: skip
    assert await connection.fetchval("SELECT 'empty'::textrange") == Range(empty=True)
    assert await connection.fetchval("SELECT '{}'::textmultirange") == []


async def test_rows_of_catalogs(connection: fastpg.Connection) -> None:
    for table in ("pg_type", "pg_class", "pg_proc", "pg_attribute", "pg_namespace", "pg_index", "pg_database"):
        rows = await connection.fetch(f"SELECT t, t.* FROM pg_catalog.{table} t LIMIT 200")
        for row in rows:
            assert tuple(row[0]) == tuple(row)[1:], "the row as a composite, and its columns"


# --------------------------------------------------------------------- stale knowledge

async def test_stale_composites(connection: fastpg.Connection, theirs: Any, dsn: str) -> None:
    other = await fastpg.connect(dsn, server_settings={"search_path": "intro"})
    await connection.execute("CREATE TYPE changing AS (a int, b text)")

    async def outcomes(driver: Any) -> list[Any]:
        result: list[Any] = []
        for _ in range(2):
            try:
                result.append(plain(await driver.fetchval(QUERY)))
            except Exception as error:
                result.append((type_name(error), str(error)))
        return result

    QUERY = "SELECT (1, 'x')::changing"
    assert await outcomes(connection) == await outcomes(theirs) == await outcomes(other)
    await connection.execute("ALTER TYPE changing ADD ATTRIBUTE c int")
    QUERY = "SELECT (1, 'x', 3)::changing"
    first = await outcomes(connection)
    assert first == await outcomes(theirs)
    assert first[0][0] == "OutdatedSchemaCacheError"
    # The one that stumbled has told the others.
    assert (await outcomes(other))[0] == first[1]
    await connection.execute("ALTER TYPE changing DROP ATTRIBUTE c; ALTER TYPE changing ALTER ATTRIBUTE b TYPE int")
    QUERY = "SELECT (1, 2)::changing"
    assert await outcomes(connection) == await outcomes(theirs)
    other.terminate()


async def test_a_changed_member_type(connection: fastpg.Connection, theirs: Any) -> None:
    await connection.execute("CREATE TYPE changing AS (a int, b text)")
    for driver in (connection, theirs):
        await driver.fetchval("SELECT (1, 'x')::changing")
    await connection.execute("ALTER TYPE changing ALTER ATTRIBUTE b TYPE int")
    texts = []
    for driver in (connection, theirs):
        with pytest.raises(Exception, match="unexpected data type of composite type attribute 1") as caught:
            await driver.fetchval("SELECT (1, 2)::changing")
        texts.append((type_name(caught.value), str(caught.value)))
        assert await driver.fetchval("SELECT (1, 2)::changing") == (1, 2)
    assert texts[0] == texts[1]


async def test_a_stale_parameter_heals(connection: fastpg.Connection, dsn: str) -> None:
    other = await fastpg.connect(dsn, server_settings={"search_path": "intro"})
    await connection.execute("CREATE TYPE changing AS (a int, b text)")
    assert await other.fetchval("SELECT ($1::changing).a", (1, "x")) == 1
    await connection.execute("ALTER TYPE changing ALTER ATTRIBUTE b TYPE int")
    with pytest.raises(exceptions.DatatypeMismatchError):
        await other.fetchval("SELECT ($1::changing).a", (1, "x"))
    assert await other.fetchval("SELECT ($1::changing).b", (1, 2)) == 2
    other.terminate()


async def test_reload_schema_state(connection: fastpg.Connection, dsn: str) -> None:
    other = await fastpg.connect(dsn, server_settings={"search_path": "intro"})
    for driver in (connection, other):
        assert (await driver.fetchval("SELECT (1, 'x')::pair"))["b"] == "x"
    await connection.execute("ALTER TYPE pair RENAME ATTRIBUTE b TO bee")
    epoch = connection._registry.knowledge.epoch
    await connection.reload_schema_state()
    assert connection._registry.knowledge.epoch == epoch + 1
    for driver in (connection, other):
        assert (await driver.fetchval("SELECT (1, 'x')::pair"))["bee"] == "x", "another connection heard of it"
    other.terminate()
    with pytest.raises(exceptions.InterfaceError):
        await other.reload_schema_state()


async def test_stale_plans(connection: fastpg.Connection, theirs: Any) -> None:
    await connection.execute("CREATE TABLE growing (a int); INSERT INTO growing VALUES (1)")
    prepared = []
    for driver in (connection, theirs):
        assert await driver.fetch("SELECT * FROM growing") == [(1,)]
        prepared.append(await driver.prepare("SELECT * FROM growing"))
        assert await prepared[-1].fetch() == [(1,)]
    await connection.execute("ALTER TABLE growing ADD b text DEFAULT 'x'")
    texts = []
    for driver, statement in zip((connection, theirs), prepared, strict=True):
        assert await driver.fetch("SELECT * FROM growing") == [(1, "x")], "made anew and run once more"
        with pytest.raises(Exception, match="cached statement plan is invalid") as caught:
            await statement.fetch()
        texts.append((type_name(caught.value), str(caught.value)))
    await connection.execute("ALTER TABLE growing DROP b")
    for driver in (connection, theirs):
        transaction = driver.transaction()
        await transaction.start()
        await driver.execute("SELECT 1")  # with nothing done before, fastpg begins it again
        with pytest.raises(Exception, match="cached statement plan is invalid") as caught:
            await driver.fetch("SELECT * FROM growing")
        texts.append((type_name(caught.value), str(caught.value)))
        await transaction.rollback()
        assert await driver.fetch("SELECT * FROM growing") == [(1,)]
    assert len(set(texts)) == 1


# ------------------------------------------------------------------------ the knowledge

def test_older_answers_do_not_survive_a_reload() -> None:
    knowledge = TypeKnowledge()
    epoch = knowledge.epoch
    knowledge.reload()
    knowledge.add([TypeInfo(1, "a", "s", "enum")], epoch)
    assert knowledge.get(1) is None and len(knowledge) == 0
    knowledge.add([TypeInfo(1, "a", "s", "enum")], knowledge.epoch)
    assert len(knowledge) == 1


def test_databases_without_number_are_not_kept() -> None:
    first = knowledge_for(("test", 0))
    for number in range(KEPT + 1):
        knowledge_for(("test", number))
    assert knowledge_for(("test", 0)) is not first


def test_rows_of_introspection() -> None:
    row: dict[str, Any] = {
        "oid": 1, "name": "n", "ns": "s", "kind": b"b", "elemtype": None, "elemdelim": b",", "attrnames": None,
        "attrtypoids": None, "send": "",
    }  # fmt: skip
    array, composite, domain, enum = ({**row, "elemtype": 23}, *({**row, "kind": kind} for kind in (b"c", b"d", b"e")))
    assert introspection.is_scalar_type(row) and introspection.is_scalar_type(enum)
    assert not introspection.is_scalar_type(array) and not introspection.is_composite_type(row)
    assert introspection.is_composite_type(composite) and introspection.is_domain_type(domain)
    (info,) = introspection.type_infos([row, {**row, "oid": None}])
    assert (info.oid, info.kind) == (1, "scalar")
