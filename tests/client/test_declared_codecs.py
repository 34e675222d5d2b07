# SPDX-License-Identifier: MIT
"""codecs= of connect() and create_pool(): codecs that every connection has from its first statement on."""

from __future__ import annotations

import asyncio
import datetime
import json
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

import fastpg
from fastpg import TypeCodec, exceptions
from tests.wiretap import wiretap

TYPES = """
    DROP SCHEMA IF EXISTS declared CASCADE;
    CREATE SCHEMA declared;
    CREATE TYPE declared.mood AS ENUM ('glad', 'sad');
    CREATE TYPE declared.pair AS (a int, b declared.mood);
    CREATE TYPE declared.box AS (p declared.pair, m declared.mood[]);
    CREATE DOMAIN declared.moody AS declared.mood;
"""
MOOD = TypeCodec(
    encoder=lambda value: value.lower().encode(), decoder=lambda data: data.decode().upper(), format="binary",
    schema="declared",
)  # fmt: skip
PAIR = TypeCodec(lambda value: (value.real, value.imag), lambda row: dict(row), format="tuple", schema="declared")
JSON = TypeCodec(json.dumps, json.loads, schema="pg_catalog")


def shown(value: Any) -> str:
    """A value in the name of a test: without the addresses of functions."""
    return re.sub(r" at 0x[0-9a-f]+", "", str(value))


@pytest_asyncio.fixture
async def admin(dsn: str) -> AsyncIterator[Any]:
    admin = await fastpg.connect(dsn)
    await admin.execute(TYPES)
    await admin.reload_schema_state()
    yield admin
    await admin.execute("DROP SCHEMA IF EXISTS declared CASCADE")
    await admin.reload_schema_state()
    await admin.close()


async def check(connection: Any) -> None:
    """Each codec is at work, wherever its type stands."""
    assert await connection.fetchval("SELECT 'glad'::declared.mood") == "GLAD"
    assert await connection.fetchval("SELECT $1::declared.mood::text", "SAD") == "sad"
    assert await connection.fetchval("SELECT $1::declared.mood[]", ["SAD", None]) == ["SAD", None]
    assert await connection.fetchval("SELECT 'sad'::declared.moody") == "SAD"
    assert await connection.fetchval("SELECT (1, 'sad')::declared.pair") == {"a": 1, "b": "SAD"}
    assert await connection.fetchval("SELECT ((1, 'sad'), '{glad}')::declared.box") == ({"a": 1, "b": "SAD"}, ["GLAD"])
    assert await connection.fetchval("SELECT row('sad'::declared.mood, '[1]'::json)") == ("SAD", [1])
    assert await connection.fetchval("SELECT $1::json", {"a": 1}) == {"a": 1}


ALL = {"mood": MOOD, "pair": PAIR, "json": JSON}


async def test_every_connection_has_them(admin: Any, dsn: str) -> None:
    for _ in range(3):
        connection = await fastpg.connect(dsn, codecs=ALL)
        await check(connection)
        await connection.close()


async def test_the_first_statement_may_be_any(admin: Any, dsn: str) -> None:
    """A connection that has been told nothing of the types by the time it meets them."""
    queries = [
        ("SELECT row('sad'::declared.mood, 1)", ("SAD", 1)),
        ("SELECT ARRAY['sad'::declared.mood]", ["SAD"]),
        ("SELECT row(row('sad'::declared.moody))", (("SAD",),)),
        ("SELECT '[1]'::json", [1]),
    ]
    await (await fastpg.connect(dsn, codecs=ALL)).close()
    for query, expected in queries:
        for run in ("fetchval", "prepare", "cursor", "copy", "pipeline", "transaction", "twice"):
            connection = await fastpg.connect(dsn, codecs=ALL)
            try:
                if run == "prepare":
                    value = await (await connection.prepare(query)).fetchval()
                elif run == "cursor":
                    async with connection.transaction():
                        value = [row[0] async for row in connection.cursor(query)][0]
                elif run == "copy":
                    await connection.execute("CREATE TEMP TABLE moods (m declared.mood)")
                    await connection.copy_records_to_table("moods", records=[("SAD",), ("GLAD",)])
                    assert await connection.fetchval("SELECT array_agg(m::text) FROM moods") == ["sad", "glad"]
                    value = await connection.fetchval(query)
                elif run == "pipeline":
                    async with connection.pipeline() as pipeline:
                        waiters = [pipeline.fetchval(query) for _ in range(5)]
                    values = [await waiter for waiter in waiters]
                    assert values == [expected] * 5
                    value = values[0]
                elif run == "transaction":
                    async with connection.transaction():
                        value = await connection.fetchval(query)
                else:
                    await connection.fetchval("SELECT 1")
                    value = await connection.fetchval(query)
                assert value == expected, run
            finally:
                await connection.close()


async def test_a_pool_looks_types_up_once(admin: Any, dsn: str) -> None:
    async with wiretap(dsn) as (tap, tapped):
        async with fastpg.create_pool(tapped, min_size=1, max_size=5, codecs=ALL) as pool:
            asked = sum(b"pg_namespace" in what for who, what in tap.said if who == "client")
            assert asked == 1
            tap.clear()
            values = await asyncio.gather(
                *(pool.fetchval("SELECT 'glad'::declared.mood FROM pg_sleep(0.05)") for _ in range(5))
            )
            assert values == ["GLAD"] * 5 and pool.get_size() == 5
            assert not any(b"pg_namespace" in what for who, what in tap.said if who == "client")
            async with pool.acquire() as connection:
                await check(connection)


async def test_no_round_trip_more(admin: Any, dsn: str) -> None:
    """What is known of the types costs a new connection nothing: as many round trips as without the codecs."""
    async with wiretap(dsn) as (tap, tapped):
        counts = []
        for codecs in (ALL, None, ALL):     # the first one is there to use everything once
            tap.clear()
            connection = await fastpg.connect(tapped, codecs=codecs)
            numbers = [tap.round_trips]
            for query in ("SELECT 1", "SELECT 'sad'::declared.mood", "SELECT (1, 'sad')::declared.pair"):
                await connection.fetchval(query)
                numbers.append(tap.round_trips)
            counts.append(numbers)
            await connection.close()
        assert counts[2] == counts[1] < counts[0]


async def test_hstore_by_its_name(dsn: str, server_with: Any) -> None:
    dsn = server_with("contrib").dsn
    admin = await fastpg.connect(dsn)
    await admin.execute("CREATE EXTENSION IF NOT EXISTS hstore")
    for codec in ("hstore", "pg_contrib.hstore", TypeCodec(codec_name="hstore")):
        async with fastpg.create_pool(dsn, min_size=1, max_size=2, codecs={"hstore": codec}) as pool:
            value = {"a": "1", "b": None}
            assert await pool.fetchval("SELECT $1::hstore", value) == value
            assert await pool.fetchval("SELECT ARRAY[$1::hstore]", value) == [value]
            assert await pool.fetchval("SELECT row($1::hstore, 1)", value) == (value, 1)
    await admin.close()


# --------------------------------------------------------------- one function only

@pytest.mark.parametrize(
    ("type", "codec", "given", "expected"),
    [
        ("int4", TypeCodec(decoder=lambda text: f"<{text}>"), 5, "<5>"),
        ("int4", TypeCodec(encoder=lambda value: str(value + 1)), 5, 6),
        ("int4", TypeCodec(decoder=bytes.hex, format="binary"), 5, "00000005"),
        ("int4", TypeCodec(encoder=lambda value: value.to_bytes(4, "big"), format="binary"), 5, 5),
        ("text", TypeCodec(decoder=len), "abc", 3),
        ("jsonb", TypeCodec(decoder=json.loads), '{"a": 1}', {"a": 1}),
        ("jsonb", TypeCodec(encoder=json.dumps), {"a": 1}, '{"a": 1}'),
        ("date", TypeCodec(decoder=lambda fields: fields[0], format="tuple"), datetime.date(2000, 1, 2), 1),
        ("date", TypeCodec(encoder=lambda day: (day,), format="tuple"), 1, datetime.date(2000, 1, 2)),
        ("money", TypeCodec(decoder=lambda text: text.strip("$")), "$5.00", "5.00"),
        ("numeric", TypeCodec(decoder=float), 1, 1.0),
    ],
    ids=shown,
)  # fmt: skip
async def test_one_function(dsn: str, type: str, codec: TypeCodec, given: Any, expected: Any) -> None:
    codec = TypeCodec(codec.encoder, codec.decoder, codec.format, "pg_catalog")
    connection = await fastpg.connect(dsn, codecs={type: codec})
    try:
        assert await connection.fetchval(f"SELECT $1::{type}", given) == expected
        assert await connection.fetchval(f"SELECT $1::{type}[]", [given, None]) == [expected, None]
        if codec.decoder is not None and type != "money":
            value = (expected, None)
            assert await connection.fetchval(f"SELECT row($1::{type}, NULL)", given) == value
    finally:
        await connection.close()


async def test_one_function_of_set_type_codec(admin: Any, dsn: str) -> None:
    connection = await fastpg.connect(dsn)
    await connection.set_type_codec("mood", schema="declared", encoder=None, decoder=str.upper)
    assert await connection.fetchval("SELECT $1::declared.mood", "sad") == "SAD"
    assert await connection.fetchval("SELECT $1::declared.pair", (1, "sad")) == (1, "SAD")
    await connection.set_type_codec("pair", schema="declared", encoder=None, decoder=tuple, format="tuple")
    assert type(await connection.fetchval("SELECT $1::declared.pair", (1, "sad"))) is tuple
    with pytest.raises(exceptions.InterfaceError, match="type 'money' has no codec of its own in binary format"):
        await connection.set_type_codec(
            "money", schema="pg_catalog", encoder=None, decoder=bytes.hex, format="binary"
        )
    await connection.close()


# -------------------------------------------------------------------------- errors

async def test_unknown_types_are_named(admin: Any, dsn: str) -> None:
    with pytest.raises(ValueError, match=r"^unknown type: declared\.nonesuch, for which codecs has a codec$"):
        await fastpg.connect(dsn, codecs={"mood": MOOD, "nonesuch": MOOD})
    with pytest.raises(ValueError, match=r"unknown type: public\.nonesuch"):
        await fastpg.create_pool(dsn, min_size=1, max_size=1, codecs={"nonesuch": "int4"})


@pytest.mark.parametrize(
    ("codecs", "text"),
    [
        ({"_mood": MOOD}, r"codecs: type declared\._mood: cannot use custom codec on type declared\._mood"),
        ({"moody": MOOD}, r"codecs: type declared\.moody: custom codecs on domain types are not supported"),
        ({"pair": MOOD}, r"codecs: type declared\.pair: only tuple-format codecs can be used on composite types"),
        ({"mood": TypeCodec(str, str, "tuple", "declared")}, r"codecs: type declared\.mood: mood type does not"),
        ({"mood": TypeCodec(codec_name="zzz", schema="declared")}, r"declared\.mood: cannot alias mood to zzz"),
        ({"pair": TypeCodec(codec_name="int4", schema="declared")}, r"declared\.pair: cannot alias non-scalar type"),
    ],
    ids=shown,
)  # fmt: skip
async def test_codecs_that_do_not_fit(admin: Any, dsn: str, codecs: Any, text: str) -> None:
    with pytest.raises(exceptions.InterfaceError, match=text):
        await fastpg.connect(dsn, codecs=codecs)
    assert await admin.fetchval(
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = current_setting('application_name') "
        "AND pid <> pg_backend_pid() AND state = 'active' AND backend_type = 'client backend'"
    ) == 0  # fmt: skip


@pytest.mark.parametrize(
    ("codecs", "text"),
    [
        ("hstore", "codecs is expected to be a mapping"),
        (5, "codecs is expected to be a mapping"),
        ({"a": 5}, "type 'a': a TypeCodec or the name of a built-in codec is expected, got 5"),
        ({5: MOOD}, "a pair of a type name and a TypeCodec is expected"),
        ([("a", MOOD), ("a", MOOD)], r"two codecs for type declared\.a"),
        (["a"], "a pair of a type name and a TypeCodec is expected"),
    ],
    ids=shown,
)  # fmt: skip
async def test_wrong_arguments(codecs: Any, text: str) -> None:
    with pytest.raises(exceptions.ClientConfigurationError, match=text):
        await fastpg.connect("postgresql://localhost:1/none", codecs=codecs)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({}, "an encoder, a decoder or both are expected, or a codec_name"),
        ({"encoder": str, "codec_name": "int4"}, "an encoder, a decoder or both are expected, or a codec_name"),
        ({"encoder": "x"}, "encoder is no function: 'x'"),
        ({"decoder": str, "format": "json"}, "format is expected to be 'text', 'binary' or 'tuple', got 'json'"),
    ],
    ids=shown,
)  # fmt: skip
def test_wrong_type_codecs(arguments: Any, text: str) -> None:
    with pytest.raises(exceptions.ClientConfigurationError, match=text):
        TypeCodec(**arguments)


# --------------------------------------------------------- what happens afterwards

async def test_a_type_that_is_made_anew(admin: Any, dsn: str) -> None:
    connection = await fastpg.connect(dsn, codecs=[("mood", MOOD), ("pair", PAIR)])
    await check_mood(connection)
    await admin.execute(TYPES)
    await admin.reload_schema_state()
    await check_mood(connection)
    await connection.reload_schema_state()
    await check_mood(connection)
    await connection.close()


async def check_mood(connection: Any) -> None:
    assert await connection.fetchval("SELECT 'glad'::declared.mood") == "GLAD"
    assert await connection.fetchval("SELECT (1, 'sad')::declared.pair") == {"a": 1, "b": "SAD"}


async def test_what_is_set_later_holds(admin: Any, dsn: str) -> None:
    connection = await fastpg.connect(dsn, codecs=ALL)
    await connection.set_type_codec("mood", schema="declared", encoder=str, decoder=len)
    await connection.reset_type_codec("json", schema="pg_catalog")
    for _ in range(2):
        assert await connection.fetchval("SELECT 'glad'::declared.mood") == 4
        assert await connection.fetchval("SELECT '[1]'::json") == "[1]"
        assert await connection.fetchval("SELECT (1, 'sad')::declared.pair") == {"a": 1, "b": 3}
        await connection.reload_schema_state()
    await connection.close()


async def test_a_silent_server_does_not_stop_connect_for_ever(admin: Any, dsn: str) -> None:
    await admin.reload_schema_state()
    async with admin.transaction():
        await admin.execute("LOCK TABLE pg_catalog.pg_type")
        with pytest.raises(asyncio.TimeoutError):
            await fastpg.connect(dsn, codecs=ALL, timeout=0.5)
