# SPDX-License-Identifier: MIT
"""COPY: every option, sort of source and sort of sink."""

from __future__ import annotations

import asyncio
import io
from typing import Any

from tests.contract import covers, differs
from tests.sidebyside import Diary, both, compare


@differs("Queries of copy_from_query()")
async def test_queries_of_copy_from_query(dsn: str) -> None:
    queries = [("SELECT '$1', $1::int", 4), ("SELECT 1;",), ("SELECT 1 -- all",)]
    found: list[list[Any]] = []

    async def scenario(diary: Diary) -> None:
        found.append([])
        async with diary.connected() as con:
            for query in queries:
                output = io.BytesIO()
                try:
                    await con.copy_from_query(*query, output=output)
                except diary.driver.PostgresSyntaxError:
                    found[-1].append(None)
                else:
                    found[-1].append(output.getvalue())

    await both(dsn, scenario)
    assert found == [[None] * 3, [b"$1\t4\n", b"1\n", b"1\n"]]


@differs("A str for columns")
async def test_a_str_for_columns(dsn: str) -> None:
    async def scenario(diary: Diary) -> None:
        async with diary.connected() as con:
            await con.execute("CREATE TEMP TABLE t (a int, b int); INSERT INTO t VALUES (1, 2)")
            try:
                diary.note(await con.copy_from_table("t", columns="ab", output=io.BytesIO()))
            except TypeError as error:
                diary.note(error)

    theirs, ours = await both(dsn, scenario)
    assert theirs.entries == ["COPY 1"] and ours.entries == ["columns is expected to be an iterable of str, not str"]


@covers("Connection: copy_from_table", "Connection: copy_from_query")
async def test_copy_out(dsn: str, tmp_path: Any) -> None:
    async def scenario(diary: Diary) -> None:
        async with diary.connected() as con:
            await con.execute(
                'CREATE TEMP TABLE t (a int, b text, "C d" text); '
                "INSERT INTO t VALUES (1, 'x', NULL), (2, 'y,\"', 'ö')"
            )
            chunks: list[Any] = []

            async def sink(data: Any) -> None:
                chunks.append((type(data).__name__, bytes(data)))

            for options in (
                {}, {"columns": ["a"]}, {"columns": ("a", "C d")}, {"format": "csv"}, {"format": "binary"},
                {"format": "csv", "header": True, "delimiter": ";", "null": "NIL"}, {"columns": []},
                {"format": "csv", "quote": "'", "escape": "!", "force_quote": True},
                {"format": "csv", "force_quote": ["a"]}, {"format": "csv", "force_quote": ("a", "C d")},
                {"encoding": "latin1"}, {"delimiter": "long"}, {"columns": ["nope"]}, {"format": "nope"},
                {"schema_name": "pg_temp"}, {"schema_name": "nope"}, {"null": "it's"}, {"timeout": 0},
            ):  # fmt: skip
                file = io.BytesIO()
                await diary.attempt(f"{options}", lambda options=options, file=file: con.copy_from_table(
                    "t", output=file, **options))  # fmt: skip
                diary.note(file.getvalue())
            await diary.attempt("coroutine", lambda: con.copy_from_table("t", output=sink))
            path = tmp_path / "out"
            for output in (path, str(path)):
                await diary.attempt(
                    "path", lambda output=output: con.copy_from_table("t", output=output, columns=["a"])
                )
                diary.note(path.read_bytes())
            for args in ((), (1,), (1, "it's"), (1, "x", 3), ("x",)):
                where = ["true", "a > $1", "a > $1 OR b = $2"][min(len(args), 2)]
                file = io.BytesIO()
                await diary.attempt(f"query {args}", lambda args=args, where=where, file=file: con.copy_from_query(
                    f"SELECT * FROM t WHERE {where}", *args, output=file))  # fmt: skip
                diary.note(file.getvalue())
            for output in (None, 7, b""):
                await diary.attempt("no output", lambda output=output: con.copy_from_table("t", output=output))
            diary.state("after", con)

            diary.note(await con.fetchval("SELECT 1"), b"".join(data for _, data in chunks))

    await compare(dsn, scenario)


@covers("Connection: copy_from_table", "defect: a cancelled COPY out")
@differs("COPY out that fails", "Chunks of COPY")
async def test_a_failing_sink(dsn: str) -> None:
    """asyncpg then waits for ever in every later call."""

    async def scenario(diary: Diary) -> None:
        async def sink(data: Any) -> None:
            diary.note(type(data).__name__)
            raise ZeroDivisionError

        async with diary.connected() as con:
            for call in (con.copy_from_query("SELECT 1", output=sink), con.fetchval("SELECT 1")):
                task = asyncio.ensure_future(call)
                done, _ = await asyncio.wait([task], timeout=10 if diary.is_ours else 0.3)
                if done:
                    diary.note(task.exception() and type(task.exception()).__name__ or task.result())
                else:
                    diary.note("hangs")
                    task.cancel()

    theirs, ours = await both(dsn, scenario)
    assert theirs.entries == ["bytearray", "ZeroDivisionError", "hangs"]
    assert ours.entries == ["bytes", "ZeroDivisionError", "1"]


@covers("Connection: copy_to_table")
async def test_copy_in(dsn: str, tmp_path: Any) -> None:
    path = tmp_path / "in"
    path.write_bytes(b"7\tfrom a path\n")

    async def scenario(diary: Diary) -> None:
        async with diary.connected() as con:
            await con.execute("CREATE TEMP TABLE t (a int, b text)")

            async def show(label: str) -> None:
                diary.note(label, [tuple(row) for row in await con.fetch("SELECT * FROM t ORDER BY a, b")])
                await con.execute("TRUNCATE t")

            async def pieces(*data: Any) -> Any:
                for piece in data:
                    yield piece

            async def broken() -> Any:
                yield b"1\tx\n"
                raise ZeroDivisionError("the source")

            sources: dict[str, Any] = {
                "several": bytearray(b"1\tx\n2\t\\N\n"), "bytearray": bytearray(b"1\tx\n"),
                "memoryview": memoryview(b"1\tx\n"),
                "file": io.BytesIO(b"1\tx\n"), "path": path, "str": str(path), "pieces": pieces(b"1\t", b"x", b"\n"),
                "bad": bytearray(b"x\ty\n"), "short": bytearray(b"1\n"), "broken": broken(), "nothing": bytearray(),
                "nowhere": tmp_path / "nowhere",
            }  # fmt: skip
            for label, source in sources.items():
                await diary.attempt(label, lambda source=source: con.copy_to_table("t", source=source))
                diary.state(label, con)
                await show(label)
            for options, data in (
                ({"format": "csv"}, b"1,x\n"), ({"format": "csv", "header": True}, b"a,b\n1,x\n"),
                ({"columns": ["b", "a"]}, b"x\t1\n"), ({"delimiter": ";"}, b"1;x\n"), ({"null": "NIL"}, b"1\tNIL\n"),
                ({"format": "csv", "quote": "'", "escape": "!"}, b"1,'a!'b'\n"), ({"where": "a > 1"}, b"1\tx\n2\ty\n"),
                ({"format": "csv", "force_not_null": ["b"]}, b"1,\n"), 
                ({"format": "csv", "force_null": ("b",)}, b'1,""\n'),
                ({"encoding": "latin1"}, b"1\t\xf6\n"), ({"schema_name": "pg_temp"}, b"1\tx\n"), 
                ({"where": "nope"}, b""),
                ({"freeze": True}, b"1\tx\n"), 
                ({"timeout": 0}, b""),
                ({"columns": ["nope"]}, b""), ({"force_quote": True}, b""), ({"delimiter": "\\"}, b""),
            ):  # fmt: skip
                await diary.attempt(f"{options}", lambda options=options, data=data: con.copy_to_table(
                    "t", source=bytearray(data), **options))  # fmt: skip
                await show(f"{options}")
            for source in (7, pieces("1\tx\n")):
                try:
                    await con.copy_to_table("t", source=source)
                except TypeError:
                    diary.note("refused")

    await compare(dsn, scenario)


@covers("Connection: copy_to_table")
@differs("COPY of bytes")
async def test_copy_of_bytes(dsn: str) -> None:
    """They are data, as other buffers are, and not the name of a file."""

    async def scenario(diary: Diary) -> None:
        async with diary.connected() as con:
            await con.execute("CREATE TEMP TABLE t (a int)")
            await diary.attempt("bytes", lambda: con.copy_to_table("t", source=b"1\n"))

    theirs, ours = await both(dsn, scenario)
    assert "FileNotFoundError" in theirs.entries[0] and ours.entries == ["bytes gave 'COPY 1' : str"]


@covers("Connection: copy_records_to_table")
@differs("Records that do not fit")
async def test_records_that_do_not_fit(dsn: str) -> None:
    async def scenario(diary: Diary) -> None:
        async with diary.connected() as con:
            await con.execute("CREATE TEMP TABLE t (a int, b int)")
            for record in ((1,), (1, 2, 3), (1, "x")):
                try:
                    await con.copy_records_to_table("t", records=[record])
                except Exception as error:
                    diary.note(type(error).__name__, "record #0" in str(error))
                else:
                    diary.note("copied", await con.fetchval("SELECT count(*) FROM t"))

    theirs, ours = await both(dsn, scenario)
    assert theirs.entries == ["IndexError False", "copied 1", "TypeError False"]
    assert ours.entries == ["InterfaceError True", "InterfaceError True", "TypeError True"]


@covers("Connection: copy_records_to_table")
async def test_copy_records(dsn: str) -> None:
    async def scenario(diary: Diary) -> None:
        async with diary.connected() as con:
            await con.execute("CREATE TEMP TABLE t (a int, b text, c float8[])")

            async def show(label: str) -> None:
                diary.note(label, [tuple(row) for row in await con.fetch("SELECT * FROM t ORDER BY a, b")])
                await con.execute("TRUNCATE t")

            async def asynchronous() -> Any:
                yield (1, "x", [1.5])
                yield (2, "y", None)

            record = await con.fetchrow("SELECT 1 AS a, 'x' AS b, '{2}'::float8[] AS c")
            for label, records, options in (
                ("tuples", [(1, "x", [1.0]), (2, None, [])], {}), ("lists", [[1, "x", None]], {}),
                ("records", [record], {}), ("generator", ((i, "x", None) for i in range(3)), {}),
                ("asynchronous", asynchronous(), {}), ("nothing", [], {}), 
                ("columns", [("x", 1)], {"columns": ["b", "a"]}),
                ("where", [(1, "x", None), (2, "x", None)], {"where": "a > 1"}),
                ("no table", [], {"schema_name": "nope"}), ("no column", [], {"columns": ["nope"]}), 
                ("timeout", [], {"timeout": 0}),
                ("schema", [(1, "x", None)], {"schema_name": "pg_temp"}),
            ):  # fmt: skip
                await diary.attempt(label, lambda records=records, options=options: con.copy_records_to_table(
                    "t", records=records, **options))  # fmt: skip
                diary.state(label, con)
                await show(label)

    await compare(dsn, scenario)
