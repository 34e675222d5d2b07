# SPDX-License-Identifier: MIT
"""Bounds that are dropped, numbers that are cut off, errors in arguments, encodings, extensions."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

import fastpg
from fastpg import exceptions
from tests.contract import covers, differs
from tests.server import AnyServer
from tests.sidebyside import Diary, compare

asyncpg = pytest.importorskip("asyncpg")


async def connections(dsn: str, **options: Any) -> tuple[Any, Any]:
    return await asyncpg.connect(dsn), await fastpg.connect(dsn, **options)


def close(*connections: Any) -> None:
    for con in connections:
        con.terminate()


@covers("defect: values that change on a round trip")
async def test_lower_bounds_of_arrays(dsn: str) -> None:
    """Are dropped by both, unless they are asked for."""
    theirs, ours = await connections(dsn, array_bounds=True)
    query, literal = "SELECT $1::int[]::text", "[5:6]={1,2}"
    assert await theirs.fetchval(query, await theirs.fetchval(f"SELECT '{literal}'::int[]")) == "{1,2}"
    value = await ours.fetchval(f"SELECT '{literal}'::int[]")
    assert value == [1, 2] and await ours.fetchval(query, value) == literal
    close(theirs, ours)


@covers("codec: integers", "defect: truncated numbers")
async def test_truncated_numbers(dsn: str) -> None:
    """By both, unless it is asked for that they are refused."""
    theirs, ours = await connections(dsn)
    strict = await fastpg.connect(dsn, strict_numbers=True)
    for value in (1.9, Decimal("1.9")):
        assert await theirs.fetchval("SELECT $1::int", value) == await ours.fetchval("SELECT $1::int", value) == 1
        with pytest.raises(exceptions.DataError):
            await strict.fetchval("SELECT $1::int", value)
    close(theirs, ours, strict)


@differs("Numbers beyond numeric")
async def test_numbers_beyond_numeric(dsn: str) -> None:
    theirs, ours = await connections(dsn)
    value = Decimal("1E+200000")
    assert await theirs.fetchval("SELECT $1::numeric", value) == 0
    with pytest.raises(exceptions.DataError, match="exponent is too large"):
        await ours.fetchval("SELECT $1::numeric", value)
    close(theirs, ours)


@differs("Numbers as bits")
def test_numbers_as_bits() -> None:
    assert asyncpg.BitString.from_int(-20, 5, signed=True).to_int(signed=True) == 12
    with pytest.raises(OverflowError):
        fastpg.BitString.from_int(-20, 5, signed=True)


@differs("Status of executemany()")
async def test_status_of_executemany(dsn: str) -> None:
    statuses = []
    for con in await connections(dsn):
        await con.execute("CREATE TEMP TABLE t (a int)")
        statement = await con.prepare("INSERT INTO t SELECT generate_series(1, $1::int)")
        await statement.executemany([(1,), (3,)])
        statuses.append(statement.get_statusmsg())
        close(con)
    assert statuses == [None, "INSERT 0 3"]


@differs("Bytes in steps")
async def test_bytes_in_steps(dsn: str) -> None:
    theirs, ours = await connections(dsn)
    value = memoryview(b"abcd")[::2]
    with pytest.raises(asyncpg.DataError, match="not C-contiguous"):
        await theirs.fetchval("SELECT $1::bytea", value)
    assert await ours.fetchval("SELECT $1::bytea", value) == b"ac"
    close(theirs, ours)


@covers("arguments: executemany", "arguments: number", "arguments: NUL")
async def test_errors_in_arguments(dsn: str) -> None:
    async def scenario(diary: Diary) -> None:
        con = await diary.driver.connect(diary.dsn)
        await con.execute("CREATE TEMP TABLE t (a int, b text)")
        insert = "INSERT INTO t VALUES ($1, $2)"
        statement = await con.prepare(insert)
        rows: dict[str, Any] = {
            "right": [(1, "x"), [2, None], {"a": 1, "b": 2}.values()],
            "wrong value": [(1, "x"), (2, "y"), ("z", "y")],
            "second argument": [(1, "x"), (2, 5)],
            "no sequence": [5],
            "None among them": [(1, "x"), None, (2, "y")],
            "None first": [None],
            "a str": ["ab"],
            "too few": [(1, "x"), (2,)],
            "too many": [(1, "x", 3)],
            "none": [],
            "generator": ((i, str(i)) for i in range(3)),
            "no iterable": 5,
        }
        for name, args in rows.items():
            if name in ("right", "generator", "no iterable", "a str"):
                continue
            await diary.attempt(name, lambda args=args: con.executemany(insert, args))
            await diary.attempt(f"statement {name}", lambda args=args: statement.executemany(args))
            diary.value(name, await con.fetchval("SELECT count(*) FROM t"))
        await con.executemany(insert, rows["generator"])
        diary.value("rows", await con.fetchval("SELECT count(*) FROM t"))
        for query, arguments in {
            "SELECT 1": (1,), "SELECT $1::int": (), "SELECT $1::int, $2::int": (1,), "SELECT $1::int AS one": (1, 2, 3),
            "CREATE TABLE t2 (a int)": (1, 2),
        }.items():  # fmt: skip
            with pytest.raises(diary.driver.InterfaceError) as caught:
                await con.fetch(query, *arguments)
            diary.note(query, " ".join(str(caught.value).split()))  # asyncpg's hint has some spaces too many
        await diary.attempt("NUL", lambda: con.fetchval("SELECT $1::text", "a\0b"))
        await diary.attempt("NUL", lambda: con.executemany(insert, [(1, "a\0b")]))
        con.terminate()

    await compare(dsn, scenario)


@covers("arguments: too many")
@differs("More parameters")
async def test_too_many_arguments(dsn: str) -> None:
    """The protocol's limit is 65,535; asyncpg's 32,767."""
    theirs, ours = await connections(dsn)
    query = f"SELECT cardinality(ARRAY[{', '.join(f'${n}::int' for n in range(1, 40_001))}])"
    with pytest.raises(asyncpg.InterfaceError, match="the number of query arguments cannot exceed 32767"):
        await theirs.fetchval(query, *[1] * 40_000)
    assert await ours.fetchval(query, *[1] * 40_000) == 40_000
    with pytest.raises(exceptions.InterfaceError, match="the number of query arguments cannot exceed 65535"):
        await ours.fetchval(query, *[1] * 65_536)
    close(theirs, ours)


@covers("codec: client_encoding")
@pytest.mark.parametrize("encoding", ["UTF8", "LATIN1", "SQL_ASCII", "WIN1252", "EUC_JP", "SJIS", "KOI8R"])
async def test_client_encoding(dsn: str, encoding: str) -> None:
    async def scenario(diary: Diary) -> None:
        con = await diary.driver.connect(diary.dsn, server_settings={"client_encoding": encoding})
        diary.note(con.get_settings().client_encoding)
        texts = {"KOI8R": "да", "EUC_JP": "日本", "SJIS": "表ソ"}
        text = texts.get(encoding, "é" if encoding != "SQL_ASCII" else "e")
        diary.value("argument", await con.fetchval("SELECT $1::text || '!'", text))
        diary.value("array", await con.fetchval("SELECT ARRAY[$1::text, NULL]", text))
        diary.value("record", await con.fetchval("SELECT row($1::text, 5)", text))
        diary.value("json", await con.fetchval("SELECT to_jsonb($1::text)", text))
        diary.value("length", await con.fetchval("SELECT length($1::varchar)", text))
        con.terminate()

    await compare(dsn, scenario)


EXTENSIONS: dict[str, list[str]] = {
    "hstore": ["'a=>1, b=>NULL'::hstore", "''::hstore"],
    "citext": ["'Abc'::citext", "ARRAY['Abc', NULL]::citext[]"],
    "ltree": ["'a.b.c'::ltree", "'a.*{1}'::lquery"],
}


@covers("codec: extension types", "Connection: reset_type_codec and set_builtin_type_codec")
async def test_extension_types(server_with: Callable[..., AnyServer]) -> None:
    """As text, until a codec is set."""
    server = server_with("contrib")
    setup = await fastpg.connect(server.dsn)
    for extension in EXTENSIONS:
        await setup.execute(f"CREATE EXTENSION IF NOT EXISTS {extension}")
    await setup.close()

    async def scenario(diary: Diary) -> None:
        con = await diary.driver.connect(diary.dsn)
        for expressions in EXTENSIONS.values():
            for expression in expressions:
                diary.value(expression, await con.fetchval(f"SELECT {expression}"))
        for type_, value in (("hstore", '"a"=>"1"'), ("citext", "Abc"), ("ltree", "a.b"), ("hstore", 5)):
            await diary.attempt(type_, lambda type_=type_, value=value: con.fetchval(f"SELECT $1::{type_}", value))
        await con.set_builtin_type_codec("hstore", codec_name="pg_contrib.hstore")
        diary.value("with codec", await con.fetchval("SELECT 'a=>1, b=>NULL'::hstore"))
        diary.value("with codec", await con.fetchval("SELECT $1::hstore", {"x": "y", "z": None}))
        diary.value("array", await con.fetchval("SELECT ARRAY['a=>1'::hstore]"))
        await diary.attempt("wrong", lambda: con.fetchval("SELECT $1::hstore", {"x": 5}))
        await con.reset_type_codec("hstore")
        diary.value("without", await con.fetchval("SELECT 'a=>1'::hstore"))
        con.terminate()

    await compare(server.dsn, scenario)
