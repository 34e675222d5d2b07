# SPDX-License-Identifier: MIT
"""COPY against a live server: every option, source and sink, records of every kind; beside asyncpg."""

from __future__ import annotations

import asyncio
import datetime
import functools
import inspect
import io
import os
import uuid
from collections.abc import AsyncIterator, Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import given, settings
from hypothesis import strategies as st

import fastpg
from fastpg import exceptions
from tests import strategies

TABLE = 'CREATE TEMP TABLE t (a int, b text, "we ""ird" text)'
ROWS = [(1, "x", None), (2, "a'\"b\\,\t\n", "")]


@pytest_asyncio.fixture
async def connection(dsn: str) -> AsyncIterator[fastpg.Connection]:
    connection = await fastpg.connect(dsn)
    await connection.execute(TABLE)
    yield connection
    connection.terminate()


async def usable(connection: fastpg.Connection) -> bool:
    """Nothing is in progress, no transaction is open, and queries get their own answers."""
    assert not connection.is_in_transaction()
    return bool(await asyncio.wait_for(connection.fetchval("SELECT $1::int", 42), 10) == 42)


class Chunks:
    """A coroutine function that keeps what it gets."""

    def __init__(self) -> None:
        self.chunks: list[bytes] = []

    async def __call__(self, data: bytes) -> None:
        assert type(data) is bytes and data
        await asyncio.sleep(0)
        self.chunks.append(data)

    @property
    def data(self) -> bytes:
        return b"".join(self.chunks)


def written_in(directory: Path) -> list[bytes]:
    return [path.read_bytes() for path in directory.iterdir()]


async def agen(*items: Any) -> AsyncIterator[Any]:
    """The items, one a turn of the loop; an exception is raised."""
    for item in items:
        await asyncio.sleep(0)
        if isinstance(item, BaseException):
            raise item
        yield item


# ---------------------------------------------------------------- beside asyncpg

OPTIONS_OUT: list[dict[str, Any]] = [
    {},
    {"columns": ["a", 'we "ird']},
    {"columns": ("b",)},
    {"columns": []},
    {"columns": ["nonsense"]},
    {"columns": ['a"), ("b']},
    {"schema_name": "pg_temp"},
    {"schema_name": "nonsense"},
    {"format": "csv"},
    {"format": "text"},
    {"format": "binary"},
    {"format": "xml"},
    {"format": "csv', header 'true"},
    {"oids": True},
    {"oids": False},
    {"delimiter": ","},
    {"delimiter": "'"},
    {"delimiter": "ab"},
    {"delimiter": "\\"},
    {"null": "N'U"},
    {"null": ""},
    {"header": True},
    {"header": False},
    {"format": "csv", "header": True},
    {"format": "csv", "header": "match"},
    {"format": "csv", "quote": "'"},
    {"format": "csv", "escape": "'"},
    {"format": "csv", "escape": "ab"},
    {"format": "csv", "force_quote": True},
    {"format": "csv", "force_quote": False},
    {"format": "csv", "force_quote": ["a", 'we "ird']},
    {"format": "csv", "force_quote": ["nonsense"]},
    {"force_quote": ["a"]},
    {"encoding": "latin1"},
    {"encoding": "non'sense"},
]
SOURCE = b"1\tx\t\\N\n2\ty\tz\n"
OPTIONS_IN: list[dict[str, Any]] = [
    {},
    {"columns": ["b", "a", 'we "ird'], "source": b"x\t1\t\n"},
    {"columns": ["nonsense"]},
    {"freeze": True},
    {"freeze": False},
    {"format": "csv", "source": b"1,x,\n2,\"y\",z\n"},
    {"format": "csv", "force_not_null": ["b"], "source": b"1,,\n"},
    {"format": "csv", "force_null": ["b"], "source": b'1,"",\n'},
    {"format": "csv", "header": True, "source": b"whatever\n1,x,\n"},
    {"format": "csv", "quote": "'", "escape": "'", "delimiter": ";", "source": b"1;'''';\n"},
    {"null": "nix", "source": b"1\tnix\tn\n"},
    {"encoding": "latin1", "source": b"1\t\xe9\tn\n"},
    {"where": "a > 1"},
    {"where": "a >"},
    {"where": "no_column > 1"},
    {"source": b"x\t\\N\t\\N\n"},
    {"source": b"1\n"},
    {"source": b"1\t2\t3\t4\n"},
    {"source": b"1\t\xff\t\n"},
    {"source": b""},
]


async def outcome(call: Callable[[], Any]) -> tuple[Any, ...]:
    """What a call ends with, in words that do not depend on the driver."""
    try:
        return ("status", await asyncio.wait_for(call(), 10))
    except Exception as error:
        names = [kind.__name__ for kind in type(error).__mro__ if kind.__module__.split(".")[0] != "fastpg"]
        own = [type(error).__name__] if hasattr(error, "sqlstate") else names[:1]
        return ("error", own, str(error), getattr(error, "sqlstate", None), getattr(error, "context", None))


@pytest_asyncio.fixture
async def both(dsn: str) -> AsyncIterator[list[Any]]:
    """A connection of fastpg and one of asyncpg, each with a table of its own."""
    asyncpg = pytest.importorskip("asyncpg")
    connections = [await fastpg.connect(dsn), await asyncpg.connect(dsn)]
    for connection in connections:
        await connection.execute(TABLE)
        await connection.executemany("INSERT INTO t VALUES ($1, $2, $3)", ROWS)
    yield connections
    for connection in connections:
        connection.terminate()


async def test_copy_from_table_like_asyncpg(both: list[Any]) -> None:
    for options in OPTIONS_OUT:
        results = []
        for connection in both:
            sink = io.BytesIO()
            call = functools.partial(connection.copy_from_table, "t", output=sink, **options)
            results.append((await outcome(call), sink.getvalue()))
        assert results[0] == results[1], options
    assert await usable(both[0])


async def test_copy_to_table_like_asyncpg(both: list[Any]) -> None:
    for options in OPTIONS_IN:
        results = []
        for connection in both:
            await connection.execute("DELETE FROM t")
            given = {"source": SOURCE, **options}
            given["source"] = io.BytesIO(given["source"])
            result = await outcome(functools.partial(connection.copy_to_table, "t", **given))
            results.append((result, list(map(tuple, await connection.fetch("SELECT * FROM t")))))
        assert results[0] == results[1], options
    assert await usable(both[0])


async def test_copy_records_like_asyncpg(both: list[Any]) -> None:
    cases: list[dict[str, Any]] = [
        {"records": ROWS},
        {"records": [list(row) for row in ROWS]},
        {"records": []},
        {"records": [(5,)], "columns": ["a"]},
        {"records": [(5,), (6,)], "columns": ["a"], "where": "a = 5"},
        {"records": [("x", 1)], "columns": ["b", "a"]},
        {"records": [(1,)], "columns": ["nonsense"]},
        {"records": [(1, 2)], "columns": ["a", "a"]},
        {"records": ROWS, "schema_name": "pg_temp"},
        {"records": ROWS, "schema_name": "nonsense"},
        {"records": ROWS, "where": "a >"},
    ]
    for options in cases:
        results = []
        for connection in both:
            await connection.execute("DELETE FROM t")
            result = await outcome(functools.partial(connection.copy_records_to_table, "t", **options))
            results.append((result, list(map(tuple, await connection.fetch("SELECT * FROM t")))))
        assert results[0] == results[1], options
    # The class of an error is the same, its text says where.
    for record in [(1, 2, None), (2**31, "x", None), ("x", "x", None)]:
        kinds = [(await outcome(functools.partial(c.copy_records_to_table, "t", records=[record])))[1] for c in both]
        assert kinds[0] == kinds[1], record


TEXTUAL = """
    CREATE TEMP TABLE textual (
        a int, b text, c money, d macaddr, e regclass, f tsvector, g numeric, h timestamptz, i int[], j text[],
        k bytea, l interval, m int4range, n money[], o uuid, p jsonb, q bool, r float8, s date
    )
"""
RECORDS: list[tuple[Any, ...]] = [
    (
        1, "tab\t line\n return\r back\\slash \\N \\. é", "$12.50", "08:00:2b:01:02:03", "pg_type", "'a':1 'b':2",
        Decimal("1.50"), datetime.datetime(2024, 2, 29, 1, 2, 3, 4, tzinfo=datetime.timezone.utc), [1, None, 3],
        ["x\t", None, 'q"\\', ""], b"\x00\\\xff", datetime.timedelta(days=1, microseconds=-5), fastpg.Range(1, 5),
        ["$1.00", None], uuid.UUID(int=5), '{"a": "\\t"}', True, 0.1, datetime.date(1, 1, 1),
    ),
    (None,) * 19,
    (2, "", "-$0.01", "ff:ff:ff:ff:ff:ff", "-", "", Decimal("0.00"), None, [], [], b"", None, fastpg.Range(empty=True),
     [], None, "null", False, float("inf"), None),
    (3, "\\.", None, None, None, "'\\\\'", *[None] * 13),
]  # fmt: skip


@pytest.mark.parametrize("how", ["list", "asynchronous"])
async def test_records_of_types_that_have_only_a_text_form(dsn: str, how: str) -> None:
    async def asynchronous() -> AsyncIterator[tuple[Any, ...]]:
        for record in RECORDS:
            yield record

    connection = await fastpg.connect(dsn)
    await connection.execute(TEXTUAL)
    records: Any = RECORDS if how == "list" else asynchronous()
    assert await connection.copy_records_to_table("textual", records=records) == "COPY 4"
    assert [tuple(row) for row in await connection.fetch("SELECT * FROM textual")][1:] == RECORDS[1:]
    assert tuple(await connection.fetchrow("SELECT * FROM textual")) == RECORDS[0]
    with pytest.raises(TypeError, match=r'record #1, column "d" \(macaddr\): expected str, got int'):
        await connection.copy_records_to_table("textual", records=[("$1", "x"), ("$2", 5)], columns=["c", "d"])
    with pytest.raises(fastpg.InterfaceError, match="record #0 has 1 value, 2 are expected: c, d"):
        await connection.copy_records_to_table("textual", records=[("$1",)], columns=["c", "d"])
    with pytest.raises(TypeError, match="record #0: expected a sequence"):
        await connection.copy_records_to_table("textual", records=["x"], columns=["c"])
    assert await connection.fetchval("SELECT count(*) FROM textual") == 4
    await connection.close()


async def test_text_records_with_a_generated_column_and_another_encoding(dsn: str) -> None:
    connection = await fastpg.connect(dsn, client_encoding="SJIS")
    await connection.execute("CREATE TEMP TABLE sjis (a text, b money, c text GENERATED ALWAYS AS (a || '!') STORED)")
    text = "\u30bd\u8868\\\t"  # the second byte of both letters is a backslash's
    assert await connection.copy_records_to_table("sjis", records=[(text, "$1.00")]) == "COPY 1"
    assert tuple(await connection.fetchrow("SELECT * FROM sjis")) == (text, "$1.00", text + "!")
    await connection.close()


def test_signatures_like_asyncpg() -> None:
    asyncpg = pytest.importorskip("asyncpg")
    for ours, theirs in ((fastpg.Connection, asyncpg.Connection), (fastpg.Pool, asyncpg.Pool)):
        for name in ("copy_from_table", "copy_from_query", "copy_to_table", "copy_records_to_table"):
            signatures = [
                [(p.name, p.kind, p.default) for p in inspect.signature(getattr(kind, name)).parameters.values()]
                for kind in (ours, theirs)
            ]
            assert sorted(signatures[0]) == sorted(signatures[1]), name
            assert inspect.iscoroutinefunction(getattr(ours, name))


# ------------------------------------------------------------- sources and sinks


async def test_sinks(connection: fastpg.Connection, tmp_path: Path) -> None:
    await connection.copy_records_to_table("t", records=ROWS)
    sink = Chunks()
    assert await connection.copy_from_table("t", output=sink) == "COPY 2"
    wanted = sink.data
    assert wanted == b"1\tx\t\\N\n2\ta'\"b\\\\,\\t\\n\t\n"
    for path in (str(tmp_path / "a"), tmp_path / "b", os.fsencode(tmp_path / "c")):
        assert await connection.copy_from_table("t", output=path) == "COPY 2"
    assert written_in(tmp_path) == [wanted] * 3
    buffer = io.BytesIO()
    await connection.copy_from_table("t", output=buffer)
    assert buffer.getvalue() == wanted and not buffer.closed
    chunks: list[bytes] = []
    await connection.copy_from_table("t", output=chunks.append)
    assert b"".join(chunks) == wanted
    await connection.copy_from_table("t", output=functools.partial(Chunks.__call__, sink))
    assert sink.data == wanted * 2

    class AsyncFile:
        async def write(self, data: bytes) -> None:
            await sink(data)

    await connection.copy_from_table("t", output=AsyncFile())
    assert sink.data == wanted * 3

    class Raw(io.RawIOBase):
        data = b""

        def writable(self) -> bool:
            return True

        def write(self, data: Any) -> int:
            self.data += bytes(data[:3])
            return min(3, len(data))

    raw = Raw()
    await connection.copy_from_table("t", output=raw)
    assert raw.data == wanted
    assert await usable(connection)


async def test_sources(connection: fastpg.Connection, tmp_path: Path) -> None:
    path = tmp_path / "source"
    path.write_bytes(SOURCE)

    class AsyncFile:
        def __init__(self) -> None:
            self.rest = SOURCE

        async def read(self, n: int) -> bytes:
            part, self.rest = self.rest[:5], self.rest[5:]
            return part

    with path.open("rb") as file, path.open("rb", buffering=0) as raw:
        sources: list[Any] = [
            str(path), path, file, raw, io.BytesIO(SOURCE), AsyncFile(), SOURCE, bytearray(SOURCE), memoryview(SOURCE),
            memoryview(SOURCE[::-1])[::-1], agen(SOURCE), agen(*[bytes([byte]) for byte in SOURCE]),
            agen(b"", SOURCE[:7], b"", memoryview(SOURCE)[7:], b""), agen(bytearray(SOURCE)),
        ]  # fmt: skip
        for source in sources:
            await connection.execute("DELETE FROM t")
            assert await connection.copy_to_table("t", source=source) == "COPY 2", source
            assert await connection.fetchval("SELECT sum(a) FROM t") == 3
        assert not file.closed
    assert await connection.copy_to_table("t", source=b"") == "COPY 0"
    assert await connection.copy_to_table("t", source=agen()) == "COPY 0"


async def test_a_buffer_that_the_source_uses_again(connection: fastpg.Connection) -> None:
    async def source() -> AsyncIterator[bytearray]:
        buffer = bytearray(4)
        for i in range(1000):
            buffer[:] = b"%03d\n" % i
            yield buffer

    await connection.copy_to_table("t", source=source(), columns=["a"])
    assert await connection.fetchval("SELECT array_agg(a ORDER BY a) FROM t") == list(range(1000))


@pytest.mark.parametrize("source", [None, 3, [b"1\n"], ("x",), object()])
async def test_what_is_no_source(connection: fastpg.Connection, source: Any) -> None:
    with pytest.raises(TypeError, match=f"source is expected to be .* not {type(source).__name__}"):
        await connection.copy_to_table("t", source=source)
    with pytest.raises(TypeError, match="output is expected to be a file-like object, a path-like object or a corou"):
        await connection.copy_from_table("t", output=source)
    assert await usable(connection)


async def test_paths_that_cannot_be_opened(connection: fastpg.Connection, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        await connection.copy_to_table("t", source=tmp_path / "nothing")
    with pytest.raises(IsADirectoryError):
        await connection.copy_from_table("t", output=tmp_path)
    async with connection.transaction():
        with pytest.raises(FileNotFoundError):
            await connection.copy_from_table("t", output=tmp_path / "no" / "thing")
        assert await connection.fetchval("SELECT 1") == 1, "nothing was sent, the transaction goes on"


async def test_text_is_no_data(connection: fastpg.Connection) -> None:
    with pytest.raises(TypeError, match=r"source.read\(\) is expected to return bytes, not str: open the file in bin"):
        await connection.copy_to_table("t", source=io.StringIO("1\n"))
    with pytest.raises(TypeError, match="a bytes-like object is required, not 'str'"):
        await connection.copy_to_table("t", source=agen("1\n"))
    with pytest.raises(TypeError, match="a bytes-like object is required, not 'int'"):
        await connection.copy_to_table("t", source=agen(5))
    await connection.copy_records_to_table("t", records=ROWS)
    with pytest.raises(TypeError, match="string argument expected, got 'bytes'"):
        await connection.copy_from_table("t", output=io.StringIO())
    assert await usable(connection)


async def test_bad_options(connection: fastpg.Connection) -> None:
    cases: list[tuple[dict[str, Any], type[Exception], str]] = [
        ({"format": 1}, TypeError, "format is expected to be str, not int"),
        ({"null": b"x"}, TypeError, "null is expected to be str, not bytes"),
        ({"null": "\0"}, ValueError, "null cannot have a NUL character"),
        ({"columns": "a"}, TypeError, "columns is expected to be an iterable of str, not str"),
        ({"columns": [1]}, TypeError, "an element of columns is expected to be str, not int"),
        ({"force_quote": "a"}, TypeError, "force_quote is expected to be an iterable of str, not str"),
        ({"schema_name": 5}, TypeError, "schema_name is expected to be str, not int"),
        ({"schema_name": "a\0b"}, ValueError, "schema_name cannot have a NUL character"),
        ({"timeout": "5"}, ValueError, "invalid timeout value"),
    ]
    for options, kind, text in cases:
        with pytest.raises(kind, match=text):
            await connection.copy_from_table("t", output=Chunks(), **options)
    with pytest.raises(TypeError, match="where is expected to be str, not int"):
        await connection.copy_to_table("t", source=b"", where=1)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="records is expected to be an iterable .* not NoneType"):
        await connection.copy_records_to_table("t", records=None)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="NUL"):
        await connection.copy_to_table("t", source=b"", where="a = 1 \0")
    assert await usable(connection)


# ----------------------------------------------------------------------- records


async def test_records(connection: fastpg.Connection) -> None:
    assert await connection.copy_records_to_table("t", records=iter(ROWS)) == "COPY 2"
    rows = await connection.fetch("SELECT * FROM t ORDER BY a")
    assert rows == ROWS
    # Records of a query are records of a COPY.
    assert await connection.copy_records_to_table("t", records=rows) == "COPY 2"
    assert await connection.copy_records_to_table("t", records=agen(*ROWS)) == "COPY 2"
    assert await connection.copy_records_to_table("t", records=agen()) == "COPY 0"
    assert await connection.copy_records_to_table("t", records=zip([7], "x", "y", strict=True)) == "COPY 1"
    assert await connection.fetchval("SELECT count(*) FROM t") == 7


async def test_a_failing_record_undoes_all(connection: fastpg.Connection) -> None:
    bad = (3, "x", 5)
    many = [(i, "x" * 1000, None) for i in range(2000)]
    for records in ([*many, bad], agen(*many, bad), iter([*many, bad])):
        with pytest.raises(TypeError, match=r'record #2000, column "we "ird" \(text\): expected str, got int'):
            await connection.copy_records_to_table("t", records=records)
        assert await usable(connection)
    for records in ([*many, (1,)], agen(*many, (1,))):
        with pytest.raises(exceptions.InterfaceError, match='record #2000 has 1 value, 3 are expected: a, b, we "ird'):
            await connection.copy_records_to_table("t", records=records)
    for records in (agen(*many, KeyError("mine")), (1 // 0 for _ in "x")):
        with pytest.raises((KeyError, ZeroDivisionError)):
            await connection.copy_records_to_table("t", records=records)
    assert await connection.fetchval("SELECT count(*) FROM t") == 0


async def test_generated_columns(connection: fastpg.Connection) -> None:
    await connection.execute('CREATE TEMP TABLE g ("A" int, b int GENERATED ALWAYS AS ("A" + 1) STORED, c text)')
    async with connection.transaction():
        await connection.copy_records_to_table("g", records=[(1, "x")])
        await connection.copy_records_to_table("g", records=agen((2, "y")), where='"A" > 1')
    assert await connection.fetch("SELECT * FROM g") == [(1, 2, "x"), (2, 3, "y")]
    with pytest.raises(exceptions.InterfaceError, match="record #0 has 3 values, 2 are expected: A, c"):
        await connection.copy_records_to_table("g", records=[(1, 2, "x")])
    assert await usable(connection)


async def test_hostile_names(connection: fastpg.Connection) -> None:
    names = ["a'b", 'a"b', "a\\b", "{0}", "%s", "; DROP TABLE t; --", "é" * 20, "$1", "/*", "A", "select", "a b"]
    columns = ", ".join([f"{_quoted(name)} text" for name in names])
    for table in names:
        await connection.execute(f"CREATE TEMP TABLE {_quoted(table)} ({columns})")
        record = tuple(name + table for name in names)
        await connection.copy_records_to_table(table, records=[record], columns=names, schema_name="pg_temp")
        sink = Chunks()
        await connection.copy_from_table(table, output=sink, columns=names, format="binary")
        await connection.copy_to_table(table, source=sink.data, columns=names, format="binary")
        assert await connection.fetch(f"SELECT * FROM {_quoted(table)}") == [record, record]
        await connection.execute(f"DROP TABLE {_quoted(table)}")


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


async def test_types_that_change_between_two_copies(connection: fastpg.Connection) -> None:
    await connection.execute("CREATE TEMP TABLE c (a int)")
    await connection.copy_records_to_table("c", records=[(1,)])
    await connection.execute("ALTER TABLE c ALTER a TYPE text")
    await connection.copy_records_to_table("c", records=[("x",)])
    assert await connection.fetchval("SELECT array_agg(a) FROM c") == ["1", "x"]
    left = "SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE 'SELECT * FROM \"c\"%'"
    assert await connection.fetchval(left) == 0


RECORD = st.tuples(
    st.none() | strategies.integers(32), st.none() | strategies.texts, st.none() | strategies.floats,
    st.none() | strategies.binary, st.none() | st.lists(strategies.integers(64), max_size=3),
    st.none() | st.decimals(allow_nan=False, allow_infinity=False, places=3),
    st.none() | st.datetimes().map(lambda value: value.replace(fold=0)),
)  # fmt: skip


@settings(max_examples=30)
@given(records=st.lists(RECORD, max_size=20), asynchronous=st.booleans())
def test_records_come_back(dsn: str, records: list[tuple[Any, ...]], asynchronous: bool) -> None:
    async def run() -> None:
        connection = await fastpg.connect(dsn)
        try:
            await connection.execute(
                "CREATE TEMP TABLE r (n serial, a int, b text, c float8, d bytea, e int8[], f numeric, g timestamp)"
            )
            names = ["a", "b", "c", "d", "e", "f", "g"]
            given = agen(*records) if asynchronous else iter(records)
            status = await connection.copy_records_to_table("r", records=given, columns=names)
            assert status == f"COPY {len(records)}"
            sink = Chunks()
            query = "SELECT a, b, c, d, e, f, g FROM r ORDER BY n"
            await connection.copy_from_query(query, output=sink, format="binary")
            await connection.execute("CREATE TEMP TABLE s AS SELECT a, b, c, d, e, f, g FROM r LIMIT 0")
            await connection.copy_to_table("s", source=sink.data, format="binary")
            for table in ("r ORDER BY n", "s"):
                rows = await connection.fetch(f"SELECT a, b, c, d, e, f, g FROM {table}")
                assert repr([tuple(row) for row in rows]) == repr(records)  # repr: NaN, -0.0
        finally:
            connection.terminate()

    asyncio.run(run())


# ----------------------------------------------------------------- queries' rows


async def test_arguments_of_a_query(connection: fastpg.Connection) -> None:
    await connection.execute("CREATE TYPE pg_temp.\"Od'd\" AS ENUM ('a\\b', 'c''d')")
    values: list[tuple[str, Any]] = [
        ("int4", -1), ("text", "'; DROP TABLE t; --"), ("text", "a\\'b\\"), ("text", "$1 $2 %s {0}\n\t"), ("text", ""),
        ("bytea", bytes(range(256))), ("float8", -0.1), ("float8", float("inf")), ("bool", True),
        ("numeric", Decimal("-12.340")), ("int4[]", [[1, 2], [3, None]]), ("text[]", ["a,b", '"', None, "\\", "'"]),
        ("jsonb", '{"a": "\'\\\\"}'), ("bpchar", "ab  "), ("bit", fastpg.BitString("101")), ("int4range", (1, 5)),
        ("varchar", None), ('"char"', b"x"), ("name", "n'n"), ("pg_temp.\"Od'd\"", "a\\b"), ("point", (1.5, -2)),
    ]  # fmt: skip
    for strings in ("on", "off"):
        await connection.execute(f"SET standard_conforming_strings = {strings}")
        for kind, value in values:
            query = f"SELECT $1::{kind}, ($1::{kind})::text"
            buffers = [io.BytesIO(), io.BytesIO()]
            wanted = await connection.fetchrow(query, value)
            await connection.execute("SET client_min_messages = error")
            assert await connection.copy_from_query(query, value, output=buffers[0], format="binary") == "COPY 1"
            # What the server gets as a parameter, and as a literal, is the same value.
            table = f"CREATE TEMP TABLE q (a {kind}, b text)"
            await connection.execute(table)
            await connection.copy_to_table("q", source=buffers[0].getvalue(), format="binary")
            assert await connection.fetchrow("SELECT * FROM q") == wanted, (kind, value, strings)
            await connection.execute("DROP TABLE q")
    assert await connection.fetchval("SELECT count(*) FROM t") == 0


async def test_where_parameters_stand(connection: fastpg.Connection) -> None:
    async def rows(query: str, *args: Any) -> list[str]:
        sink = Chunks()
        await connection.copy_from_query(query, *args, output=sink)
        return sink.data.decode().splitlines()

    assert await rows("SELECT -$1::int, - $1, 5-$1", -3) == ["3\t3\t8"]
    assert await rows("SELECT $1::int AS a ORDER BY a LIMIT $2 OFFSET $3;  ", 1, 2, 0) == ["1"]
    assert await rows("SELECT ($1::int[])[2], $1[1] -- $1", [7, 8]) == ["8\t7"]
    assert await rows("SELECT '$1', \"$1\" /* $1 /* $1 */ $2 */ FROM (SELECT $1::int) x(\"$1\")", 5) == ["$1\t5"]
    assert await rows("SELECT $$ $1 $$ || $x$ $1 $$ $x$, a$1 FROM (SELECT $1::int) x(a$1)", 5) == [" $1  $1 $$ \t5"]
    assert await rows("SELECT E'\\'$1', 'a'\n  '$1', E'x' -- '\n '\\'$1', $1::int", 5) == ["'$1\ta$1\tx'$1\t5"]
    query = "SELECT g FROM generate_series(1, 9) g WHERE g = ANY($1) OR g IN ($2)"
    assert await rows(query, [1, 2], 5) == ["1", "2", "5"]
    assert await rows("SELECT $2::text || $1::text || $11::text, $10::int, $3::int + $4 + $5 + $6 + $7 + $8 + $9",
                      "a", "b", *range(1, 8), 10, "z") == ["baz\t10\t28"]  # fmt: skip
    assert await rows("WITH x AS (INSERT INTO t VALUES ($1) RETURNING a) SELECT * FROM x", 9) == ["9"]
    assert await rows("SELECT '$1'") == ["$1"]
    with pytest.raises(exceptions.InterfaceError, match="expects 1 argument for this query, 2 were passed"):
        await rows("SELECT $1::int", 1, 2)
    with pytest.raises(exceptions.InterfaceError, match="expects 0 arguments"):
        await rows("SELECT 1", 1)
    with pytest.raises(exceptions.DataError, match=r"invalid input for query argument \$1: 'x'"):
        await rows("SELECT $1::int", "x")
    with pytest.raises(exceptions.UndefinedParameterError):
        await rows("SELECT $1::int")
    with pytest.raises(exceptions.PostgresSyntaxError):
        await rows("SELECT $1::int +", 1)
    assert await usable(connection)


@settings(max_examples=40)
@given(texts=st.lists(st.text(st.sampled_from("'\"\\$1é\n\t;-/*%EU& x"), max_size=12), min_size=1, max_size=4))
def test_any_text_is_a_literal(dsn: str, texts: list[str]) -> None:
    async def run() -> None:
        connection = await fastpg.connect(dsn)
        try:
            for setting in ("on", "off"):
                await connection.execute(f"SET standard_conforming_strings = {setting}")
                await connection.execute("SET client_min_messages = error; SET escape_string_warning = off")
                sink = Chunks()
                columns = ", ".join([f"${i + 1}::text" for i in range(len(texts))])
                await connection.copy_from_query(f"SELECT {columns}", *texts, output=sink, format="binary")
                for text in texts:
                    size = len(text.encode()).to_bytes(4, "big")
                    assert size + text.encode() in sink.data
                # As an option's value too: one that the server refuses, naming it.
                sink = Chunks()
                null = texts[0].replace("\n", "").replace("\t", "").replace("\\", "")
                await connection.copy_from_query("SELECT NULL", output=sink, null=null)
                assert sink.data.decode() == null + "\n"
        finally:
            connection.terminate()

    asyncio.run(run())


async def test_another_client_encoding(connection: fastpg.Connection) -> None:
    for name, python, text in (
        ("LATIN1", "latin-1", "é'\\"), ("SJIS", "cp932", "表'\\"), ("GBK", "gbk", "中\\' OR 1=1 --"),
        ("UTF8", "utf-8", "中\\'"),
    ):  # fmt: skip
        await connection.execute(f"SET client_encoding = '{name}'")
        sink = Chunks()
        await connection.copy_from_query("SELECT $1::text", text, output=sink, format="binary")
        data = text.encode(python)
        assert len(data).to_bytes(4, "big") + data in sink.data
        await connection.copy_records_to_table("t", records=[(1, text)], columns=["a", "b"])
        assert await connection.fetchval("SELECT b FROM t") == text
        await connection.execute("DELETE FROM t")


# ------------------------------------------------------------- COPY as a query

IN = r"COPY \.\.\. FROM STDIN cannot be run as a query: use copy_to_table\(\) or copy_records_to_table\(\)"
OUT = r"COPY \.\.\. TO STDOUT cannot be run as a query: use copy_from_table\(\) or copy_from_query\(\)"


@pytest.mark.parametrize(("query", "text"), [("COPY t FROM STDIN", IN), ("COPY t TO STDOUT", OUT)])
async def test_copy_through_a_query(connection: fastpg.Connection, query: str, text: str) -> None:
    await connection.copy_records_to_table("t", records=ROWS * 1000)
    statement = await connection.prepare(query)
    calls: list[Callable[[], Any]] = [
        lambda: connection.execute(query),
        lambda: connection.execute(f"SELECT 1; {query}; SELECT 2"),
        lambda: connection.execute(f"{query}; {query}; COPY t TO STDOUT; COPY t FROM STDIN"),
        lambda: connection.fetch(query),
        lambda: connection.fetchrow(query),
        lambda: connection.fetchval(query),
        lambda: connection.fetchmany(query, [()]),
        lambda: connection.executemany(query, [()]),
        lambda: connection.executemany(query, [(), ()]),
        lambda: statement.fetch(),
        lambda: statement.fetchval(),
        lambda: connection.fetchval(query, timeout=10),
    ]
    for call in calls:
        with pytest.raises(exceptions.InterfaceError, match=text):
            await asyncio.wait_for(call(), 10)
        assert await usable(connection)
        with pytest.raises(exceptions.InterfaceError, match=text):
            async with connection.transaction():
                await asyncio.wait_for(call(), 10)
        assert await usable(connection)
    with pytest.raises(exceptions.InterfaceError, match=text):
        async with connection.transaction():
            await (await connection.cursor(query)).fetch(1)
    assert await usable(connection)
    with pytest.raises(exceptions.InterfaceError, match=text):
        async with connection.transaction():
            async for _ in connection.cursor(query):
                pass
    assert await usable(connection)
    assert await connection.fetchval("SELECT count(*) FROM t") == 2000


# ---------------------------------------------------------------------- the pool


async def test_pool(dsn: str, tmp_path: Path) -> None:
    async with fastpg.create_pool(dsn, min_size=1, max_size=2) as pool:
        await pool.execute("DROP TABLE IF EXISTS pool_copy; CREATE TABLE pool_copy (a int, b text)")
        try:
            assert await pool.copy_records_to_table("pool_copy", records=[(1, "x")], columns=["a", "b"]) == "COPY 1"
            assert await pool.copy_to_table("pool_copy", source=b"2;y\n", delimiter=";", where="a > 1") == "COPY 1"
            sink = Chunks()
            assert await pool.copy_from_table("pool_copy", output=sink, format="csv", header=True) == "COPY 2"
            assert sink.data == b"a,b\n1,x\n2,y\n"
            sink = Chunks()
            query = "SELECT b FROM pool_copy WHERE a = $1"
            assert await pool.copy_from_query(query, 2, output=sink, format="csv", force_quote=True) == "COPY 1"
            assert sink.data == b'"y"\n'
            async with pool.acquire() as connection:
                assert await connection.copy_from_table("pool_copy", output=tmp_path / "out") == "COPY 2"
            with pytest.raises(exceptions.UndefinedTableError):
                await pool.copy_to_table("nonsense", source=b"")
            assert await pool.fetchval("SELECT count(*) FROM pool_copy") == 2
        finally:
            await pool.execute("DROP TABLE pool_copy")
