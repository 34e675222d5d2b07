# SPDX-License-Identifier: MIT
"""Row factories: what rows become, on every level and by every method; and what goes wrong in them."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, TypedDict, TypeVar

import pydantic
import pytest
import pytest_asyncio

import fastpg
from fastpg import exceptions
from fastpg.exceptions import InterfaceError

QUERY = "SELECT g AS x, g * 10 AS y FROM generate_series(1, 3) g"
TUPLES = [(1, 10), (2, 20), (3, 30)]
T = TypeVar("T")


@dataclass
class Point:
    x: int
    y: int


@dataclass(frozen=True, slots=True)
class Frozen:
    y: int
    x: int
    label: str = field(default="none", kw_only=True)


@dataclass
class Pair(Generic[T]):
    x: T
    y: T


class Named(NamedTuple):
    x: int
    y: int = 0
    z: int = 7


class Keys(TypedDict, total=False):
    x: int
    y: int


class Plain:
    def __init__(self, y: int, *, x: int, **more: int) -> None:
        self.seen = (x, y, more)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Plain) and self.seen == other.seen


class ByPosition:
    def __init__(self, x: int, /, y: int) -> None:
        self.seen = x, y

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ByPosition) and self.seen == other.seen


class Model(pydantic.BaseModel):
    x: int
    why: str = pydantic.Field(validation_alias="y")

    @pydantic.field_validator("why", mode="before")
    @classmethod
    def text(cls, value: Any) -> str:
        return str(value)


class MyRecord(fastpg.Record):
    __slots__ = ()


class MyTuple(tuple[Any, ...]):
    __slots__ = ()


def total(names: tuple[str, ...]) -> Callable[[tuple[Any, ...]], int]:
    assert names == ("x", "y")
    return sum


class Factory:
    """A callable that cannot be hashed."""

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return "Factory()"

    def __call__(self, names: tuple[str, ...]) -> Callable[[tuple[Any, ...]], Any]:
        return lambda values: dict(zip(names, values, strict=True))


DICTS = [{"x": x, "y": y} for x, y in TUPLES]
# A factory, and what it makes of QUERY.
FACTORIES: list[tuple[Any, list[Any]]] = [
    ("record", TUPLES),
    ("tuple", TUPLES),
    ("dict", DICTS),
    (tuple, TUPLES),
    (dict, DICTS),
    (list, [list(values) for values in TUPLES]),
    (dict[str, Any], DICTS),
    (fastpg.Record, TUPLES),
    (MyRecord, TUPLES),
    (MyTuple, [MyTuple(values) for values in TUPLES]),
    (Point, [Point(x, y) for x, y in TUPLES]),
    (Frozen, [Frozen(y, x) for x, y in TUPLES]),
    (Pair[int], [Pair(x, y) for x, y in TUPLES]),
    (Named, [Named(x, y) for x, y in TUPLES]),
    (Keys, DICTS),
    (OrderedDict, [OrderedDict(row) for row in DICTS]),
    (Plain, [Plain(x=x, y=y) for x, y in TUPLES]),
    (ByPosition, [ByPosition(x, y) for x, y in TUPLES]),
    (Model, [Model.model_validate(row) for row in DICTS]),
    (total, [11, 22, 33]),
    (Factory(), DICTS),
]
IDS = [getattr(factory, "__name__", str(factory)) for factory, _ in FACTORIES]


@pytest_asyncio.fixture
async def connection(dsn: str) -> AsyncIterator[fastpg.Connection]:
    connection = await fastpg.connect(dsn)
    yield connection
    connection.terminate()


def same(rows: list[Any], expected: list[Any]) -> bool:
    return rows == expected and [type(row) for row in rows] in (
        [type(row) for row in expected], [fastpg.Record] * len(rows), [MyRecord] * len(rows)
    )  # fmt: skip


@pytest.mark.parametrize(("factory", "expected"), FACTORIES, ids=IDS)
async def test_by_every_method(connection: fastpg.Connection, factory: Any, expected: list[Any]) -> None:
    for _ in range(2):  # described first, then known
        rows = await connection.fetch(QUERY, row_factory=factory)
        assert same(rows, expected)
        assert await connection.fetchrow(QUERY, row_factory=factory) == expected[0]
    assert same(await connection.fetchmany(QUERY, [(), ()], row_factory=factory), expected * 2)
    for statement, options in (
        (await connection.prepare(QUERY, row_factory=factory), {}),
        (await connection.prepare(QUERY), {"row_factory": factory}),
    ):
        assert same(await statement.fetch(**options), expected)
        assert await statement.fetchrow(**options) == expected[0]
        assert same(await statement.fetchmany([()], **options), expected)
        async with connection.transaction():
            assert same([row async for row in statement.cursor(prefetch=2, **options)], expected)
    async with connection.transaction():
        assert same([row async for row in connection.cursor(QUERY, prefetch=2, row_factory=factory)], expected)
        cursor = await connection.cursor(QUERY)
        assert same(await cursor.fetch(2, row_factory=factory), expected[:2])
        assert await cursor.fetchrow(row_factory=factory) == expected[2]
        assert await cursor.fetchrow(row_factory=factory) is None
    async with connection.pipeline() as p:
        found = p.fetch(QUERY, row_factory=factory), p.fetchrow(QUERY, row_factory=factory)
        many = p.fetchmany(QUERY, [()], row_factory=factory)
    assert same(await found[0], expected) and await found[1] == expected[0] and same(await many, expected)


@pytest.mark.parametrize(("factory", "expected"), FACTORIES, ids=IDS)
async def test_of_a_connection_and_a_pool(dsn: str, factory: Any, expected: list[Any]) -> None:
    connection = await fastpg.connect(dsn, row_factory=factory)
    assert same(await connection.fetch(QUERY), expected)
    assert await connection.fetchval(QUERY) == 1
    assert (await connection.fetchrow("SELECT 1 AS a", row_factory="dict")) == {"a": 1}
    await connection.close()
    async with fastpg.create_pool(dsn, min_size=1, max_size=1, row_factory=factory) as pool:
        assert same(await pool.fetch(QUERY), expected)
        assert await pool.fetchrow(QUERY) == expected[0]
        assert same(await pool.fetchmany(QUERY, [()]), expected)
        assert await pool.fetchrow(QUERY, row_factory="dict") == DICTS[0]
        pool.set_connect_args(dsn)
        await pool.expire_connections()
        async with pool.acquire() as connection:
            assert same(await connection.fetch(QUERY), expected)


async def test_the_nearest_level_counts(dsn: str) -> None:
    connection = await fastpg.connect(dsn, row_factory="dict")
    assert type(await connection.fetchrow(QUERY)) is dict
    assert type(await connection.fetchrow(QUERY, row_factory="tuple")) is tuple
    assert type(await connection.fetchrow(QUERY, record_class=MyRecord)) is MyRecord
    assert type(await connection.fetchrow(QUERY, row_factory="record")) is fastpg.Record
    statement = await connection.prepare(QUERY, record_class=MyRecord)
    assert type(await statement.fetchrow()) is MyRecord
    assert type(await statement.fetchrow(row_factory="dict")) is dict
    assert type(await (await connection.prepare(QUERY)).fetchrow()) is dict
    async with connection.transaction():
        cursor = await statement.cursor()
        assert type(await cursor.fetchrow()) is MyRecord
        assert type(await cursor.fetchrow(row_factory=tuple)) is tuple
        assert type(await (await connection.cursor(QUERY)).fetchrow()) is dict
    await connection.close()
    connection = await fastpg.connect(dsn, record_class=MyRecord)
    assert type(await connection.fetchrow(QUERY, row_factory="record")) is MyRecord
    await connection.close()


async def test_not_together(connection: fastpg.Connection, dsn: str) -> None:
    both: dict[str, Any] = {"record_class": MyRecord, "row_factory": "dict"}
    for call in (
        lambda: connection.fetch(QUERY, **both),
        lambda: connection.fetch(QUERY, record_class=MyRecord, row_factory=MyRecord),  # type: ignore[call-overload]
        lambda: connection.fetchrow(QUERY, **both),
        lambda: connection.fetchmany(QUERY, [()], **both),
        lambda: connection.prepare(QUERY, **both),
        lambda: connection.cursor(QUERY, **both),
        lambda: fastpg.connect(dsn, **both),
        lambda: fastpg.create_pool(dsn, **both),
    ):
        with pytest.raises(InterfaceError, match="record_class and row_factory cannot be given together"):
            await call()
    async with connection.pipeline() as p:
        with pytest.raises(InterfaceError, match="cannot be given together"):
            p.fetch(QUERY, **both)
    assert await connection.fetchval("SELECT 1") == 1


@pytest.mark.parametrize("wrong", ["", "dicts", 3, [], pytest.param(object(), id="object"), b"dict"], ids=repr)
async def test_no_row_factory(connection: fastpg.Connection, dsn: str, wrong: Any) -> None:
    for call in (
        lambda: connection.fetch(QUERY, row_factory=wrong),
        lambda: connection.prepare(QUERY, row_factory=wrong),
        lambda: fastpg.connect(dsn, row_factory=wrong),
        lambda: fastpg.create_pool(dsn, row_factory=wrong),
    ):
        with pytest.raises(InterfaceError, match="row_factory is expected to be 'record', 'tuple', 'dict', a class"):
            await call()


class Unmakeable(fastpg.Record):
    def __init__(self) -> None:
        pass


async def test_a_record_class_has_the_same_rules(connection: fastpg.Connection) -> None:
    with pytest.raises(InterfaceError, match="must not redefine"):
        await connection.fetch(QUERY, row_factory=Unmakeable)


@pytest.mark.parametrize(
    ("factory", "query", "text"),
    [
        (Point, "SELECT 1 AS x, 2 AS z", "do not make a Point: no column for the parameter 'y'; "
                                         "no parameter for the column 'z'"),
        (Point, "SELECT 1 AS x, 2 AS y, 3 AS x", "do not make a Point: more than one column 'x'"),
        (Named, "SELECT 1 AS y", "do not make a Named: no column for the parameter 'x'"),
        (Plain, "SELECT 1 AS z", "no column for the parameter 'y', 'x'"),
        (Keys, "SELECT 1 AS x, 2 AS w, 3 AS v", "do not make a Keys: no key for the column 'w', 'v'"),
        (object, "SELECT 1 AS x", "no parameter for the column 'x'"),
        (OrderedDict, "SELECT 1 AS x, 2 AS x", "more than one column 'x'"),
    ],
)  # fmt: skip
async def test_columns_that_do_not_fit(connection: fastpg.Connection, factory: Any, query: str, text: str) -> None:
    """The error does not wait for a row."""
    for _ in range(2):
        with pytest.raises(InterfaceError) as caught:
            await connection.fetch(f"{query} WHERE false", row_factory=factory)
        assert text in str(caught.value)
    assert await connection.fetchval("SELECT 5") == 5


async def test_columns_that_do_not_fit_are_found_before_the_statement_runs(connection: fastpg.Connection) -> None:
    await connection.execute("CREATE TEMP SEQUENCE runs")
    for _ in range(2):
        with pytest.raises(InterfaceError) as caught:
            await connection.fetch("SELECT nextval('runs') AS n", row_factory=Point)
        assert caught.value.fastpg.outcome == "not_sent"
    assert await connection.fetchval("SELECT nextval('runs')") == 1


async def test_no_columns(connection: fastpg.Connection) -> None:
    assert await connection.fetch("SELECT", row_factory="tuple") == [()]
    assert await connection.fetch("SELECT", row_factory="dict") == [{}]
    assert len(await connection.fetch("SELECT", row_factory=object)) == 1
    assert await connection.fetch("SELECT", row_factory=lambda names: lambda values: (names, values)) == [((), ())]
    assert await connection.fetch("SET DateStyle TO ISO", row_factory=Point) == []


async def test_equal_names(connection: fastpg.Connection) -> None:
    row = await connection.fetchrow("SELECT 1 AS a, 2 AS b, 3 AS a", row_factory="dict")
    assert row == {"a": 3, "b": 2} and list(row) == ["a", "b"]


async def test_once_a_statement(connection: fastpg.Connection) -> None:
    asked = []

    def factory(names: tuple[str, ...]) -> Callable[[tuple[Any, ...]], Any]:
        asked.append(names)
        return list

    for _ in range(5):
        await connection.fetch(QUERY, row_factory=factory)
        await connection.fetchrow(QUERY, row_factory=factory)
    assert asked == [("x", "y")]
    await connection.fetch("SELECT 1 AS a", row_factory=factory)
    assert asked == [("x", "y"), ("a",)]


async def test_factories_of_a_moment_are_forgotten(connection: fastpg.Connection) -> None:
    statement = await connection.prepare(QUERY)
    alive = []
    for i in range(100):
        factory = eval(f"lambda names: lambda values: (values, {i})")
        alive.append(weakref.ref(factory))
        assert (await statement.fetchrow(row_factory=factory)) == ((1, 10), i)
        del factory
    gc.collect()
    assert sum(ref() is not None for ref in alive) <= 10


class Broken(Exception):
    pass


def broken_names(names: tuple[str, ...]) -> Any:
    raise Broken("names")


def broken_values(names: tuple[str, ...]) -> Any:
    def make(values: tuple[Any, ...]) -> Any:
        if values[0] == 2:
            raise Broken("values")
        return values

    return make


class BrokenClass:
    def __init__(self, x: int, y: int) -> None:
        raise Broken("class")


@pytest.mark.parametrize("factory", [broken_names, broken_values, BrokenClass])
async def test_an_exception_is_that_of_its_query(connection: fastpg.Connection, factory: Any) -> None:
    for _ in range(2):
        with pytest.raises(Broken) as caught:
            await connection.fetch(QUERY, row_factory=factory)
        assert caught.value.fastpg.phase == "query"
        assert await connection.fetch(QUERY) == TUPLES
    async with connection.transaction():
        with pytest.raises(Broken):
            await connection.fetch(QUERY, row_factory=factory)
        assert await connection.fetchval("SELECT 1") == 1, "the transaction goes on"
        cursor = await connection.cursor(QUERY)
        with pytest.raises(Broken):
            await cursor.fetch(3, row_factory=factory)
    with pytest.raises(Broken):
        await connection.fetchmany(QUERY, [()], row_factory=factory)
    async with connection.pipeline() as p:
        before, bad, after = p.fetch(QUERY), p.fetch(QUERY, row_factory=factory), p.fetch(QUERY, row_factory="tuple")
        with pytest.raises(Broken):
            await bad
    assert await before == TUPLES and await after == TUPLES


async def test_an_exception_at_the_first_use(connection: fastpg.Connection, dsn: str) -> None:
    """Where the statement is described while it runs."""
    other = await fastpg.connect(dsn)
    for number, factory in enumerate((broken_names, broken_values, BrokenClass)):
        query = f"{QUERY} -- {number}"
        await other.fetch(query)
        with pytest.raises(Broken):
            await connection.fetch(query, row_factory=factory)
        assert await connection.fetch(query, row_factory="tuple") == TUPLES
    await other.close()


@pytest.mark.parametrize(
    "error", [StopIteration(1), StopAsyncIteration(), exceptions.ProtocolError("no"), asyncio.CancelledError()]
)
async def test_exceptions_that_mean_something_here(connection: fastpg.Connection, error: BaseException) -> None:
    """They are no end of a generator, no broken stream, no cancelled task."""

    def names_fail(names: tuple[str, ...]) -> Any:
        raise error

    def values_fail(names: tuple[str, ...]) -> Any:
        def make(values: tuple[Any, ...]) -> Any:
            raise error

        return make

    for factory in (names_fail, values_fail):
        with pytest.raises(RuntimeError, match="the row factory .* raised"):
            await connection.fetch(QUERY, row_factory=factory)
        with pytest.raises(RuntimeError, match="the row factory .* raised"):
            async with connection.transaction():
                async for _ in connection.cursor(QUERY, row_factory=factory):
                    pass
        assert await connection.fetchval("SELECT 5") == 5


async def test_a_factory_returns_no_function(connection: fastpg.Connection) -> None:
    with pytest.raises(InterfaceError, match="is expected to return a function of the values"):
        await connection.fetch(QUERY, row_factory=lambda names: None)
    assert await connection.fetchval("SELECT 5") == 5


async def test_a_factory_that_closes_the_connection(connection: fastpg.Connection) -> None:
    def make(values: tuple[Any, ...]) -> Any:
        connection.terminate()
        return values

    with pytest.raises((InterfaceError, exceptions.ConnectionDoesNotExistError)):
        await connection.fetch("SELECT g FROM generate_series(1, 10000) g", row_factory=lambda names: make)
    assert connection.is_closed()


@pytest.mark.parametrize("factory", ["record", "tuple", "dict", Pair, Model, lambda names: lambda values: values])
async def test_types_that_are_learnt_on_the_way(connection: fastpg.Connection, dsn: str, factory: Any) -> None:
    """A record in the result has a type that nobody knows; no row is made twice."""
    await connection.execute("DROP TYPE IF EXISTS rowmood; CREATE TYPE rowmood AS ENUM ('fine')")
    made = 0

    def counted(names: tuple[str, ...]) -> Any:
        def make(values: tuple[Any, ...]) -> Any:
            nonlocal made
            made += 1
            return values

        return make

    query = "SELECT g AS x, CASE WHEN g > 2 THEN ROW('fine'::rowmood) ELSE ROW(1) END AS y FROM generate_series(1, 4) g"
    try:
        for wanted in (factory, counted):
            other = await fastpg.connect(dsn)
            await other.reload_schema_state()
            rows = await other.fetch(query, row_factory=wanted)
            values = [row["y"] if isinstance(row, dict) else row.y if hasattr(row, "y") else
                      getattr(row, "why", None) or row[1] for row in rows]  # fmt: skip
            if wanted is not Model:
                assert values == [(1,), (1,), ("fine",), ("fine",)]
            assert len(rows) == 4
            await other.close()
        assert made == 4
    finally:
        await connection.execute("DROP TYPE rowmood")


async def test_a_value_that_python_cannot_hold(connection: fastpg.Connection) -> None:
    query = "SELECT 1 AS x, CASE WHEN g = 2 THEN '294276-01-01'::timestamp ELSE '2000-01-01' END AS y " \
            "FROM generate_series(1, 3) g"  # fmt: skip
    for factory in ("record", "tuple", "dict", Point, lambda names: list):
        with pytest.raises(exceptions.UnrepresentableValueError, match="column 'y'"):
            await connection.fetch(query, row_factory=factory)
    assert await connection.fetchval("SELECT 5") == 5


async def test_a_stale_statement_is_tried_again(connection: fastpg.Connection, dsn: str) -> None:
    await connection.execute("DROP TABLE IF EXISTS grown; CREATE TABLE grown (x int)")
    try:
        await connection.execute("INSERT INTO grown VALUES (1)")
        for factory, before, after in (
            ("dict", {"x": 1}, {"x": 1, "y": 2}),
            ("tuple", (1,), (1, 2)),
            (Named, Named(1), Named(1, 2)),
        ):
            assert await connection.fetchrow("SELECT * FROM grown", row_factory=factory) == before
            other = await fastpg.connect(dsn)
            await other.execute("ALTER TABLE grown ADD COLUMN y int DEFAULT 2")
            assert await connection.fetchrow("SELECT * FROM grown", row_factory=factory) == after
            await other.execute("ALTER TABLE grown DROP COLUMN y")
            await other.close()
            await connection.reload_schema_state()
    finally:
        await connection.execute("DROP TABLE grown")


async def test_where_private_hooks_are_replaced(dsn: str) -> None:
    class Strict(fastpg.Connection):
        async def _execute(self, query, args, limit, timeout, **options):  # type: ignore[no-untyped-def]
            seen.append(options)
            return await super()._execute(query, args, limit, timeout, **options)

        async def _do_execute(self, query, executor, timeout, retry=True, **options):  # type: ignore[no-untyped-def]
            return await super()._do_execute(query, executor, timeout, retry, **options)

    seen: list[dict[str, Any]] = []
    connection = await fastpg.connect(dsn, connection_class=Strict)
    assert await connection.fetch(QUERY) == TUPLES
    assert seen == [{"record_class": None}], "nothing that asyncpg does not have"
    assert await connection.fetch(QUERY, row_factory="dict") == DICTS
    assert await connection.fetchrow(QUERY, row_factory=Point) == Point(1, 10)
    assert await connection.fetchmany(QUERY, [()], row_factory="dict") == DICTS
    statement = await connection.prepare(QUERY, row_factory="dict")
    assert await statement.fetch() == DICTS
    await connection.close()
    connection = await fastpg.connect(dsn, connection_class=Strict, row_factory="dict")
    assert await connection.fetch(QUERY) == DICTS
    await connection.close()


async def test_atomic_values_are_left_to_no_collector(connection: fastpg.Connection) -> None:
    rows = await connection.fetch(QUERY, row_factory="tuple")
    assert not any(map(gc.is_tracked, rows))
    rows = await connection.fetch("SELECT ARRAY[1] AS x", row_factory="tuple")
    assert all(map(gc.is_tracked, rows))
