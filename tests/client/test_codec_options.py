# SPDX-License-Identifier: MIT
"""Options of connect() that say what becomes of values, against a server."""

from __future__ import annotations

import asyncio
import datetime
import json
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import pytest

import fastpg
from fastpg import types

UTC = datetime.timezone.utc
DOCUMENT = {"a": [1, 2.5, None, True, "é\U0001f600"], "b": {"c": {}}}
LIBRARIES = pytest.mark.parametrize("library", [True, "orjson", "msgspec", (json.loads, json.dumps)],
                                    ids=["True", "orjson", "msgspec", "pair"])  # fmt: skip


@asynccontextmanager
async def connected(dsn: str, **options: Any) -> AsyncIterator[Any]:
    connection = await fastpg.connect(dsn, **options)
    try:
        yield connection
    finally:
        await connection.close()


# ------------------------------------------------------------------------- JSON

@LIBRARIES
async def test_json(dsn: str, library: Any) -> None:
    async with connected(dsn, json=library) as connection:
        await connection.execute(
            "CREATE SCHEMA options; SET search_path = options; CREATE DOMAIN doc AS jsonb CHECK (VALUE <> '[]');"
            "CREATE TYPE pair AS (n int, d jsonb, e doc); CREATE TYPE wordy AS (d jsonb, m money, j json);"
            "CREATE TABLE docs (id int, d jsonb, j json[])"
        )
        try:
            for type in ("json", "jsonb", "doc"):
                assert await connection.fetchval(f"SELECT $1::{type}", DOCUMENT) == DOCUMENT
                assert json.loads(await connection.fetchval(f"SELECT ($1::{type})::text", DOCUMENT)) == DOCUMENT
                assert await connection.fetchval(f"SELECT $1::{type}[]", [DOCUMENT, None]) == [DOCUMENT, None]
            assert await connection.fetchval("SELECT $1::pair", (1, DOCUMENT, {})) == (1, DOCUMENT, {})
            assert await connection.fetchval("SELECT $1::wordy", (DOCUMENT, "$1.00", 5)) == (DOCUMENT, "$1.00", 5)
            assert await connection.fetchval("SELECT row(1, $1::jsonb, 'null'::json)", DOCUMENT) == (1, DOCUMENT, None)
            assert await connection.fetchval("SELECT 'null'::jsonb") is None
            assert await connection.fetchval("SELECT $1::jsonb IS NULL", None) is True
            assert await connection.fetchval("SELECT $1::jsonb", "a str is a JSON string") == "a str is a JSON string"
            assert await connection.fetchval("SELECT '$.a'::jsonpath") == '$."a"', "stays text"
            # COPY, executemany, cursors and pipelines go by the same codecs.
            records = [(i, {"i": i}, [i, {}]) for i in range(300)]
            await connection.copy_records_to_table("docs", records=records)
            await connection.executemany("INSERT INTO docs VALUES ($1, $2, $3)", [(300, {"i": 300}, [300, {}])])
            rows = [(i, {"i": i}, [i, {}]) for i in range(301)]
            assert await connection.fetch("SELECT * FROM docs ORDER BY id") == rows
            async with connection.transaction():
                assert [row async for row in connection.cursor("SELECT * FROM docs ORDER BY id", prefetch=50)] == rows
            async with connection.pipeline() as pipeline:
                value = pipeline.fetchval("SELECT $1::jsonb", DOCUMENT)
            assert await value == DOCUMENT
            # A codec that is set later holds, until it is reset.
            await connection.set_type_codec("jsonb", schema="pg_catalog", encoder=str, decoder=len)
            assert await connection.fetchval("SELECT '[1]'::jsonb") == 3
            await connection.reset_type_codec("jsonb", schema="pg_catalog")
            assert await connection.fetchval("SELECT '[1]'::jsonb") == [1]
        finally:
            await connection.execute("DROP SCHEMA options CASCADE")


@LIBRARIES
async def test_json_errors(dsn: str, library: Any) -> None:
    async with connected(dsn, json=library) as connection:
        with pytest.raises(fastpg.DataError, match=r"invalid input for query argument \$2: <object.*encoded as jsonb"):
            await connection.fetchval("SELECT $1::int, $2::jsonb", 1, object())
        await connection.execute("CREATE TEMP TABLE docs (id int, d jsonb)")
        with pytest.raises((TypeError, ValueError), match='record #1, column "d" .jsonb.: cannot be encoded as jsonb'):
            await connection.copy_records_to_table("docs", records=[(1, {}), (2, object())])
        assert await connection.fetchval("SELECT 1") == 1


async def test_an_error_of_the_decoder(dsn: str) -> None:
    def refuse(data: bytes) -> Any:
        if data == b"3":
            raise RuntimeError("no 3, please")
        return data

    async with connected(dsn, json=(refuse, json.dumps)) as connection:
        with pytest.raises(fastpg.UnrepresentableValueError) as caught:
            await connection.fetch("SELECT i::text::json AS doc FROM generate_series(1, 5) i")
        assert str(caught.value) == "column 'doc', row #2: value of type json: RuntimeError: no 3, please"
        assert isinstance(caught.value.__cause__, RuntimeError)
        assert (caught.value.column_name, caught.value.row) == ("doc", 2)
        with pytest.raises(fastpg.UnrepresentableValueError, match="column 'json', row #0"):
            await connection.fetchval("SELECT '3'::json")
        assert await connection.fetchval("SELECT '4'::json") == b"4"


async def test_json_in_another_encoding(dsn: str) -> None:
    for library in (None, True, "orjson"):
        async with connected(dsn, json=library, client_encoding="LATIN1") as connection:
            given: Any = {"a": "é"} if library else '{"a": "é"}'
            for type in ("json", "jsonb"):
                assert await connection.fetchval(f"SELECT $1::{type}", given) == given
                assert await connection.fetchval(f"SELECT $1::{type}->>'a' = E'\\u00e9'", given) is True


# --------------------------------------------------------------- numbers and uuid

@pytest.mark.parametrize("type", ["int2", "int4", "int8", "oid"])
async def test_strict_numbers(dsn: str, type: str) -> None:
    async with connected(dsn, strict_numbers=True) as connection:
        for value in (1.9, Decimal("1.9")):
            with pytest.raises(fastpg.DataError, match=r"query argument \$1: .*1\.9.* .a whole number is expected"):
                await connection.fetchval(f"SELECT $1::{type}", value)
            with pytest.raises(fastpg.DataError, match="whole number is expected"):
                await connection.fetchval(f"SELECT $1::{type}[]", [1, value])
        row = await connection.fetchrow(f"SELECT $1::{type}, $2::{type}, $3::{type}", 2.0, Decimal(3), True)
        assert row == (2, 3, 1)
        await connection.execute(f"CREATE TEMP TABLE numbers (n {type})")
        with pytest.raises(ValueError, match="whole number is expected"):
            await connection.copy_records_to_table("numbers", records=[(1,), (1.5,)])
    async with connected(dsn) as connection:
        assert await connection.fetchval(f"SELECT $1::{type}", 1.9) == 1


async def test_plain_uuid(dsn: str) -> None:
    value = uuid.uuid4()
    async with connected(dsn, plain_uuid=True) as connection:
        row = await connection.fetchrow("SELECT $1::uuid, $2::uuid[], row($1::uuid)", value, [value, None])
        assert [type(row[0]), type(row[1][0]), type(row[2][0])] == [uuid.UUID] * 3
        assert row == (value, [value, None], (value,))
        assert await connection.fetchval("SELECT $1::uuid", str(value)) == value


# ------------------------------------------------------------------ dates and times

EXTREMES = [
    ("date", "0044-03-15 BC"), ("date", "10000-01-01"), ("date", "5874897-12-31"), ("time", "24:00:00"),
    ("timetz", "24:00:00+01"), ("timetz", "24:00:00-05:30:30"), ("timestamp", "0044-03-15 01:02:03.45 BC"),
    ("timestamp", "294276-12-31 23:59:59.999999"), ("timestamptz", "0001-12-31 23:00:00+00 BC"),
    ("timestamptz", "10000-01-01 00:00:00+00"), ("interval", "178000000 years"), ("interval", "-178000000 years"),
    ("interval", "-100000000 years -3 mons +4 days -00:00:05.5"), ("interval", "2147483647 days"),
    ("interval", "178000000 years 1 mon 1 day 01:00:00"),
]  # fmt: skip


@pytest.mark.parametrize(("type", "literal"), EXTREMES)
async def test_what_python_cannot_hold(dsn: str, type: str, literal: str) -> None:
    query = f"SELECT i, '{literal}'::{type} AS v FROM generate_series(1, 3) i WHERE i <> 2 OR NOT $1"
    async with connected(dsn) as connection:
        with pytest.raises(fastpg.UnrepresentableValueError) as caught:
            await connection.fetch(
                f"SELECT CASE i WHEN 3 THEN '{literal}' END::{type} AS v FROM generate_series(1, 5) i"
            )
        error = caught.value
        assert (error.column_name, error.row, error.value) == ("v", 2, literal)
        assert str(error) == f"column 'v', row #2: value of type {type} cannot be represented in Python: {literal}"
        assert isinstance(error, ValueError) and isinstance(error, OverflowError)
        assert await connection.fetchval("SELECT 1") == 1
    async with connected(dsn, out_of_range="text", server_settings={"timezone": "UTC"}) as connection:
        rows = await connection.fetch(query, False)
        assert [row["v"] for row in rows] == [literal] * 3
        assert await connection.fetchval(f"SELECT '{literal}'::{type}::text") == literal, "the server's own text"
        # What was read goes back as it was, alone and in everything.
        assert await connection.fetchval(f"SELECT $1::{type} = '{literal}'::{type}", literal) is True
        value: Any = [literal, None]
        assert await connection.fetchval(f"SELECT $1::{type}[]", value) == value
        assert await connection.fetchval(f"SELECT ARRAY['{literal}'::{type}]") == [literal]
        assert await connection.fetchval(f"SELECT row('{literal}'::{type}, 1)") == (literal, 1)
        if type in ("date", "timestamp", "timestamptz"):
            name = {"date": "daterange", "timestamp": "tsrange", "timestamptz": "tstzrange"}[type]
            found = await connection.fetchval(f"SELECT {name}('{literal}', 'infinity', '[)')")
            assert found.lower == literal and "infinity" in repr(found.upper)
            assert await connection.fetchval(f"SELECT $1::{name} = {name}('{literal}', 'infinity', '[)')", found)
    async with connected(dsn, out_of_range="clamp") as connection:
        value = await connection.fetchval(f"SELECT '{literal}'::{type}")
        assert value in (
            datetime.date.min, datetime.date.max, datetime.time.max, datetime.datetime.min, datetime.datetime.max,
            datetime.datetime.min.replace(tzinfo=UTC), datetime.datetime.max.replace(tzinfo=UTC),
            datetime.timedelta.min, datetime.timedelta.max,
        ) or type == "timetz" and value.replace(tzinfo=None) == datetime.time.max  # fmt: skip


async def test_infinity_and_the_largest_date(dsn: str) -> None:
    cases: list[tuple[str, Any, Any]] = [
        ("date", datetime.date.max, datetime.date.min), ("timestamp", datetime.datetime.max, datetime.datetime.min),
        ("timestamptz", datetime.datetime.max.replace(tzinfo=UTC), datetime.datetime.min.replace(tzinfo=UTC)),
    ]  # fmt: skip
    async with connected(dsn) as connection, connected(dsn, max_is_infinity=True) as like_asyncpg:
        for type, high, low in cases:
            for literal, equal in (("infinity", high), ("-infinity", low)):
                for driver in (connection, like_asyncpg):
                    value = await driver.fetchval(f"SELECT '{literal}'::{type}")
                    assert value == equal and literal in repr(value)
                    assert await driver.fetchval(f"SELECT ($1::{type})::text", value) == literal
                assert await connection.fetchval(f"SELECT ($1::{type})::text", equal) != literal, "it goes as itself"
                assert await connection.fetchval(f"SELECT $1::{type}", equal) == equal
                assert await like_asyncpg.fetchval(f"SELECT ($1::{type})::text", equal) == literal
                assert await like_asyncpg.fetchval(f"SELECT $1::{type}[]", [equal]) == [equal]


async def test_infinite_intervals(server_with: Any) -> None:
    async with connected(server_with("pg17").dsn) as connection:
        for literal, equal in (("infinity", datetime.timedelta.max), ("-infinity", datetime.timedelta.min)):
            value = await connection.fetchval(f"SELECT '{literal}'::interval")
            assert value == equal and isinstance(value, types.InfinityInterval)
            assert await connection.fetchval("SELECT ($1::interval)::text", value) == literal
            assert await connection.fetchval("SELECT ($1::interval)::text", equal) != literal


async def test_seconds_of_an_offset(dsn: str) -> None:
    async with connected(dsn) as connection:
        for literal in ("12:00:00+01:02:03", "12:00:00-15:59:59"):
            value = await connection.fetchval(f"SELECT '{literal}'::timetz")
            assert value.isoformat() == literal
            assert await connection.fetchval("SELECT ($1::timetz)::text", value) == literal


async def test_intervals_keep_their_months(dsn: str) -> None:
    async with connected(dsn) as connection:
        for literal in ("1 year 2 mons", "-1 years -2 mons +3 days -04:05:06.7", "13 mons", "30 days"):
            value = await connection.fetchval(f"SELECT '{literal}'::interval")
            assert await connection.fetchval("SELECT ($1::interval)::text = $2::interval::text", value, value)
            assert await connection.fetchval(f"SELECT ($1::interval)::text = '{literal}'::interval::text", value)


# --------------------------------------------------------------------- lower bounds

async def test_lower_bounds(dsn: str) -> None:
    literal = "[0:1][-2:0]={{1,2,3},{4,NULL,6}}"
    async with connected(dsn, array_bounds=True) as connection:
        value = await connection.fetchval(f"SELECT '{literal}'::int[]")
        assert value == [[1, 2, 3], [4, None, 6]] and value.lower_bounds == (0, -2)
        assert await connection.fetchval("SELECT ($1::int[])::text", value) == literal
        money = await connection.fetchval("SELECT '[5:6]={$1.00,$2.00}'::money[]")
        assert money == ["$1.00", "$2.00"] and money.lower_bounds == (5,)
        assert await connection.fetchval("SELECT ($1::money[])::text", money) == "[5:6]={$1.00,$2.00}"
        # The first subscript is one; pg_stats shows it is anyarray.
        await connection.execute("CREATE TEMP TABLE numbers AS SELECT i % 3 AS n FROM generate_series(1, 100) i")
        await connection.execute("ANALYZE numbers")
        common = await connection.fetchval("SELECT most_common_vals FROM pg_stats WHERE tablename = 'numbers'")
        assert sorted(common) == [0, 1, 2] and common.lower_bounds == (1,)
    async with connected(dsn) as connection:
        plain = await connection.fetchval(f"SELECT '{literal}'::int[]")
        assert type(plain) is list and plain == value
        assert await connection.fetchval("SELECT ($1::int[])::text", value) == literal, "sent with its bounds"


# ----------------------------------------------------------------------- the pool

async def test_a_pool_has_the_options_too(dsn: str) -> None:
    async with fastpg.create_pool(
        dsn, min_size=2, max_size=3, json="orjson", plain_uuid=True, out_of_range="text", strict_numbers=True
    ) as pool:
        rows = await asyncio.gather(
            *(pool.fetchrow("SELECT '[1]'::jsonb, gen_random_uuid(), '24:00'::time, pg_sleep(0.05)") for _ in range(6))
        )
        assert all(row[0] == [1] and type(row[1]) is uuid.UUID and row[2] == "24:00:00" for row in rows)
        with pytest.raises(fastpg.DataError, match="whole number"):
            await pool.fetchval("SELECT $1::int", 1.5)


async def test_wrong_options_before_anything_is_sent() -> None:
    for options in ({"json": "yaml"}, {"out_of_range": "raise"}, {"strict_numbers": "yes"}, {"codecs": "hstore"}):
        with pytest.raises(fastpg.ClientConfigurationError):
            await fastpg.connect("postgresql://localhost:1/none", **options)  # type: ignore[arg-type]
