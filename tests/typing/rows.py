# SPDX-License-Identifier: MIT
"""A program that mypy understands: what each call gives. A comment that begins with E and a colon names the error
of its line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, TypedDict

import pydantic
from typing_extensions import assert_type

import fastpg
from fastpg.cursor import Cursor, CursorFactory
from fastpg.pool import PoolConnectionProxy
from fastpg.prepared_stmt import PreparedStatement
from fastpg.transaction import Transaction
from fastpg.types import CommandStatus


@dataclass
class Point:
    x: int
    y: int


class Named(NamedTuple):
    x: int


class Keys(TypedDict):
    x: int


class Model(pydantic.BaseModel):
    x: int


class MyRecord(fastpg.Record):
    def __getattr__(self, name: str) -> Any:
        return self[name]


class MyConnection(fastpg.Connection[MyRecord]):
    pass


def total(names: tuple[str, ...]) -> Callable[[tuple[Any, ...]], int]:
    return sum


async def plain(connection: fastpg.Connection) -> None:
    assert_type(await connection.fetch("SELECT 1"), list[fastpg.Record])
    assert_type(await connection.fetchrow("SELECT 1", 2, timeout=1), fastpg.Record | None)
    assert_type(await connection.fetchmany("SELECT $1", [(1,)]), list[fastpg.Record])
    assert_type(await connection.execute("SELECT 1"), CommandStatus)
    assert_type((await connection.execute("SELECT 1")).rows, int | None)
    assert_type(await connection.executemany("SELECT 1", [()]), None)
    for row in await connection.fetch("SELECT 1"):
        assert_type(row["a"], Any)
        assert_type(row[0], Any)
        assert_type(row[:1], tuple[Any, ...])
    assert_type(connection.transaction(), Transaction)


async def classes_of_records(connection: fastpg.Connection) -> None:
    assert_type(await connection.fetch("SELECT 1", record_class=MyRecord), list[MyRecord])
    assert_type(await connection.fetchrow("SELECT 1", record_class=MyRecord), MyRecord | None)
    assert_type(await connection.fetchmany("SELECT 1", [()], record_class=MyRecord), list[MyRecord])
    assert_type(await connection.prepare("SELECT 1", record_class=MyRecord), PreparedStatement[MyRecord])
    assert_type(connection.cursor("SELECT 1", record_class=MyRecord), CursorFactory[MyRecord])


async def row_factories(connection: fastpg.Connection) -> None:
    assert_type(await connection.fetch("SELECT 1", row_factory="record"), list[fastpg.Record])
    assert_type(await connection.fetch("SELECT 1", row_factory="tuple"), list[tuple[Any, ...]])
    assert_type(await connection.fetch("SELECT 1", row_factory="dict"), list[dict[str, Any]])
    assert_type(await connection.fetch("SELECT 1", row_factory=tuple), list[tuple[Any, ...]])
    assert_type(await connection.fetch("SELECT 1", row_factory=dict), list[dict[str, Any]])
    assert_type(await connection.fetch("SELECT 1", row_factory=Point), list[Point])
    assert_type(await connection.fetch("SELECT 1", row_factory=Named), list[Named])
    assert_type(await connection.fetch("SELECT 1", row_factory=Keys), list[Keys])
    assert_type(await connection.fetch("SELECT 1", row_factory=Model), list[Model])
    assert_type(await connection.fetch("SELECT 1", row_factory=MyRecord), list[MyRecord])
    assert_type(await connection.fetch("SELECT 1", row_factory=total), list[int])
    assert_type(await connection.fetch("SELECT 1", row_factory=lambda names: lambda values: len(values)), list[int])
    assert_type(await connection.fetchrow("SELECT 1", row_factory=Point), Point | None)
    assert_type(await connection.fetchmany("SELECT 1", [()], row_factory=Point), list[Point])


async def statements_and_cursors(connection: fastpg.Connection) -> None:
    statement = await connection.prepare("SELECT 1", row_factory=Point)
    assert_type(statement, PreparedStatement[Point])
    assert_type(await statement.fetch(1), list[Point])
    assert_type(await statement.fetchrow(1), Point | None)
    assert_type(await statement.fetchrow(1, row_factory="dict"), dict[str, Any] | None)
    assert_type(await statement.fetchmany([(1,)], row_factory="tuple"), list[tuple[Any, ...]])
    assert_type(statement.get_statusmsg(), CommandStatus | None)
    async with connection.transaction():
        async for point in statement.cursor():
            assert_type(point, Point)
        async for row in connection.cursor("SELECT 1"):
            assert_type(row, fastpg.Record)
        cursor = await connection.cursor("SELECT 1", row_factory="tuple")
        assert_type(cursor, Cursor[tuple[Any, ...]])
        assert_type(await cursor.fetch(1), list[tuple[Any, ...]])
        assert_type(await cursor.fetchrow(row_factory=Point), Point | None)
        assert_type(await cursor.forward(1), int)


async def pipelines(connection: fastpg.Connection) -> None:
    async with connection.pipeline() as p:
        assert_type(await p.fetch("SELECT 1"), list[fastpg.Record])
        assert_type(await p.fetchrow("SELECT 1", row_factory=Point), Point | None)
        assert_type(await p.fetchmany("SELECT 1", [()], row_factory="dict"), list[dict[str, Any]])
        assert_type(await p.execute("SELECT 1"), CommandStatus)


async def connecting() -> None:
    connection = await fastpg.connect("postgresql://", host="localhost", timeout=3)
    assert_type(connection, fastpg.Connection[fastpg.Record])
    points = await fastpg.connect(row_factory=Point, host="localhost")
    assert_type(points, fastpg.Connection[Point])
    assert_type(await points.fetch("SELECT 1"), list[Point])
    assert_type(await fastpg.connect(record_class=MyRecord), fastpg.Connection[MyRecord])
    assert_type(await fastpg.connect(row_factory="dict"), fastpg.Connection[dict[str, Any]])
    mine = await fastpg.connect(connection_class=MyConnection)
    assert_type(mine, MyConnection)
    assert_type(await mine.fetch("SELECT 1"), list[MyRecord])


async def pools() -> None:
    pool = await fastpg.create_pool("postgresql://", max_size=3)
    assert_type(pool, fastpg.Pool[fastpg.Record])
    assert_type(await pool.fetch("SELECT 1"), list[fastpg.Record])
    assert_type(await pool.fetchrow("SELECT 1", row_factory=Point), Point | None)
    assert_type(await pool.fetchmany("SELECT 1", [()], row_factory="dict"), list[dict[str, Any]])
    async with pool.acquire() as borrowed:
        assert_type(borrowed, PoolConnectionProxy[fastpg.Record])
        assert_type(await borrowed.fetch("SELECT 1"), list[fastpg.Record])
        await plain(borrowed)
    async with fastpg.create_pool(row_factory=Point, min_size=1) as points:
        assert_type(points, fastpg.Pool[Point])
        connection = await points.acquire()
        assert_type(await connection.fetchrow("SELECT 1"), Point | None)
        await points.release(connection)


# As people annotate who have type stubs for asyncpg.
async def as_with_stubs(
    pool: fastpg.Pool[fastpg.Record],
    plain_pool: fastpg.Pool,
    connection: fastpg.Connection[fastpg.Record] | PoolConnectionProxy[fastpg.Record],
) -> None:
    assert_type(await pool.fetch("SELECT 1"), list[fastpg.Record])
    assert_type(await plain_pool.fetch("SELECT 1"), list[fastpg.Record])
    assert_type(await connection.fetch("SELECT 1"), list[fastpg.Record])


async def narrower_is_wider(connection: fastpg.Connection[MyRecord]) -> None:
    await plain(connection)


async def mistakes(connection: fastpg.Connection, points: fastpg.Connection[Point]) -> None:
    await connection.fetch("SELECT 1", row_factory="dicts")  # E: No overload variant
    await connection.fetch("SELECT 1", row_factory=3)  # E: No overload variant
    await connection.fetch("SELECT 1", record_class=Point)  # E: cannot be "Point"
    await connection.fetch("SELECT 1", record_class=MyRecord, row_factory=Point)  # E: No overload variant
    await connection.fetch("SELECT 1", row_factory=lambda names: 3)  # E: Incompatible
    await connection.fetch(1)  # E: No overload variant
    await connection.fetch("SELECT 1", timeout="1")  # E: No overload variant
    _ = (await connection.fetchrow("SELECT 1"))["a"]  # E: not indexable
    _ = (await points.fetch("SELECT 1"))[0].z  # E: has no attribute "z"
    await plain(points)  # E: incompatible type "Connection[Point]"
    await fastpg.connect(statement_cache_size="many")  # E: No overload variant
    async with fastpg.create_pool(max_size="many"):  # E: No overload variant
        pass
    _status: int = await connection.execute("SELECT 1")  # E: Incompatible types in assignment
