# SPDX-License-Identifier: MIT
"""Scenarios that hypothesis makes up, played by both drivers: statements and arguments, codecs, transactions, pools.

The same ones in every run; `pytest --hypothesis-profile=fuzz tests/differential/test_random.py` plays many more.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import uuid
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastpg
from tests import strategies
from tests.contract import covers
from tests.differential.arguments import SETUP
from tests.differential.known import alike, explained, outcome, position

asyncpg = pytest.importorskip("asyncpg")


def examples(count: int) -> settings:
    """So many examples; those of the profile when it asks for more."""
    wanted = settings.default.max_examples if settings.default is not None else 100
    return settings(max_examples=wanted if wanted > 100 else count)


class Players:
    """One connection of either driver, and the loop that they run in."""

    def __init__(self, make_loop: Callable[[], asyncio.AbstractEventLoop], dsn: str) -> None:
        self.loop = make_loop()
        self.dsn = dsn
        self.pair: list[Any] = []
        self.eager: Any = None
        self.reported: list[Any] = []
        self.loop.set_exception_handler(lambda loop, context: self.reported.append(context))

    def run(self, coroutine: Any) -> Any:
        return self.loop.run_until_complete(asyncio.wait_for(coroutine, 60))

    async def connect(self) -> None:
        settings = {"search_path": "played"}
        self.pair = [await driver.connect(self.dsn, server_settings=settings) for driver in (asyncpg, fastpg)]

    async def both_at_once(self, play: Callable[[Any, Any], Awaitable[list[Any]]]) -> tuple[list[Any], list[Any]]:
        """The same with a fastpg that sends BEGIN and SAVEPOINT at once, as asyncpg does."""
        if self.eager is None or self.eager.is_closed():
            self.eager = await fastpg.connect(self.dsn, server_settings={"search_path": "played"}, eager_begin=True)
        lazy, self.pair[1:] = self.pair[1:], [self.eager]
        try:
            return await self.both(play)
        finally:
            self.pair[1:] = lazy

    async def both(self, play: Callable[[Any, Any], Awaitable[list[Any]]]) -> tuple[list[Any], list[Any]]:
        """Play with asyncpg, then with fastpg; what they wrote down."""
        if not self.pair or any(con.is_closed() for con in self.pair):
            await self.connect()
        return await play(asyncpg, self.pair[0]), await play(fastpg, self.pair[1])

    def close(self) -> None:
        for con in (*self.pair, self.eager):
            if con is not None:
                con.terminate()
        self.run(asyncio.sleep(0.01))
        self.loop.close()


@pytest.fixture(scope="module", params=["asyncio", "uvloop"])
def players(request: pytest.FixtureRequest, dsn: str) -> Iterator[Players]:
    if request.param == "uvloop":
        uvloop = pytest.importorskip("uvloop")
        make_loop = uvloop.new_event_loop
    else:
        make_loop = asyncio.new_event_loop
    players = Players(make_loop, dsn)

    async def make_types() -> None:
        con = await fastpg.connect(dsn)
        if not await con.fetchval("SELECT to_regtype('played.floatrange') IS NOT NULL"):
            await con.execute(SETUP)
        await con.close()

    players.run(make_types())
    yield players
    players.close()


def equal(theirs: list[Any], ours: list[Any], script: Any) -> None:
    assert len(theirs) == len(ours)
    for their, our in zip(theirs, ours, strict=True):
        assert their == our, f"{script}\n    asyncpg: {their}\n    fastpg:  {our}"


# ------------------------------------------------------- statements and arguments


@dataclass(frozen=True)
class Typed:
    """A type, and a strategy of its values, made for a driver: its own classes are among them."""

    name: str
    values: st.SearchStrategy[Callable[[Any], Any]]


def constant(name: str, values: st.SearchStrategy[Any]) -> Typed:
    return Typed(name, values.map(lambda value: lambda driver: value))


# Dates at the ends of Python's calendar mean infinity to asyncpg.
DATES = st.dates(dt.date(2, 1, 1), dt.date(9998, 12, 31))
MOMENTS = st.datetimes(dt.datetime(2, 1, 1), dt.datetime(9998, 12, 31))
ZONES = st.integers(-14 * 60, 14 * 60).map(lambda minutes: dt.timezone(dt.timedelta(minutes=minutes)))
DELTAS = st.timedeltas(dt.timedelta(days=-10**6), dt.timedelta(days=10**6))
SMALL_TEXTS = st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)

LEAVES = [
    constant("bool", st.booleans()),
    constant("int2", strategies.integers(16)),
    constant("int4", strategies.integers(32)),
    constant("int8", strategies.integers(64)),
    constant("float8", st.floats(allow_nan=False)),
    constant("numeric", st.decimals(-(10**20), 10**20, allow_nan=False, allow_infinity=False, places=3)),
    constant("text", SMALL_TEXTS),
    constant("bytea", st.binary(max_size=8)),
    constant("uuid", st.uuids()),
    constant("date", DATES),
    constant("time", st.times()),
    constant("timestamp", MOMENTS),
    constant("timestamptz", st.builds(lambda moment, zone: moment.replace(tzinfo=zone), MOMENTS, ZONES)),
    constant("interval", DELTAS),
    constant("inet", st.ip_addresses()),
    constant("jsonb", st.sampled_from(["1", "[1, 2]", '{"a": null}', '"x"'])),
    constant("money", st.sampled_from(["$1.00", "-$2.50"])),
    constant("color", st.sampled_from(["red", 'gre"en', "blue, light"])),
    constant("posint", st.integers(1, 2**31 - 1)),
    Typed("point", st.tuples(st.integers(-9, 9), st.integers(-9, 9)).map(lambda xy: lambda driver: driver.Point(*xy))),
    Typed("varbit", st.text("01", max_size=12).map(lambda bits: lambda driver: driver.BitString(bits))),
]  # fmt: skip


def arrays(element: Typed) -> Typed:
    """Arrays of one or two dimensions, with NULLs."""
    maybe = st.one_of(st.none(), element.values)
    flat = st.lists(maybe, max_size=3)
    rows = [st.lists(maybe, min_size=n, max_size=n) for n in (1, 2)]
    square = st.one_of([st.lists(row, min_size=1, max_size=2) for row in rows])

    def made(values: Any) -> Callable[[Any], Any]:
        def make(driver: Any, value: Any = values) -> Any:
            if isinstance(value, list):
                return [make(driver, item) for item in value]
            return None if value is None else value(driver)

        return make

    return Typed(f"{element.name}[]", st.one_of(flat, square).map(made))


def _pair(a: int | None, b: str | None, mapping: bool) -> Callable[[Any], Any]:
    return lambda driver: {"a": a, "b": b} if mapping else (a, b)


PAIR = Typed(
    "pair",
    st.builds(_pair, st.none() | strategies.integers(32), st.none() | SMALL_TEXTS, st.booleans()),
)


def ranges(name: str, bounds: st.SearchStrategy[Any]) -> Typed:
    def make(pair: tuple[Any, Any], lower_inc: bool, upper_inc: bool, empty: bool) -> Callable[[Any], Any]:
        low, high = sorted(pair)
        return lambda driver: (
            driver.Range(empty=True) if empty else driver.Range(low, high, lower_inc=lower_inc, upper_inc=upper_inc)
        )

    booleans = st.booleans()
    return Typed(name, st.builds(make, st.tuples(bounds, bounds), booleans, booleans, booleans))


RANGES = [
    ranges("int4range", st.integers(-1000, 1000)),
    ranges("numrange", st.integers(-9, 9).map(lambda n: Decimal(n) / 4)),
    ranges("daterange", DATES),
    ranges("floatrange", st.floats(-9, 9)),
]
TYPES = [*LEAVES, PAIR, *RANGES]
TYPES += [arrays(typed) for typed in TYPES]
ANYTHING = st.one_of(st.none(), *[typed.values for typed in TYPES])


@dataclass(frozen=True)
class Statement:
    """A statement, the types of its parameters, and what is passed for them."""

    query: str
    types: tuple[str, ...]
    arguments: tuple[Any, ...]

    def args(self, driver: Any) -> list[Any]:
        return [None if make is None else make(driver) for make in self.arguments]


EXPRESSIONS = [
    "{p} AS {c}", "{p} IS NULL AS {c}", "({p})::text AS {c}", "ARRAY[{p}, NULL] AS {c}", "row({p}, 1) AS {c}",
    "NULL AS {c}", "{p}", "row({p}, row({p}, 'x'::text)) AS {c}", "COALESCE({p}, {p}) AS {c}",
]  # fmt: skip
TAILS = ["", " FROM generate_series(1, 3)", " WHERE false", " FROM generate_series(1, 2) g ORDER BY g DESC"]


@st.composite
def statements(draw: st.DrawFn) -> Statement:
    """Expressions over typed parameters. Some arguments are of another type or NULL; seldom their number is wrong."""
    typed = draw(st.lists(st.sampled_from(TYPES), min_size=1, max_size=4))
    expressions, arguments = [], []
    for n, one in enumerate(typed, 1):
        form = draw(st.sampled_from(EXPRESSIONS))
        if one.name.endswith("[]") and form.startswith("ARRAY"):
            form = EXPRESSIONS[0]
        column = draw(st.sampled_from(["a", "b", '"A b"', '"é"']))
        expressions.append(form.format(p=f"${n}::{one.name}", c=column))
        chance = draw(st.integers(0, 11))
        arguments.append(draw(ANYTHING) if chance < 2 else None if chance == 2 else draw(one.values))
    # Each parameter occurs once at the least.
    expressions += [f"${n}::{one.name} IS NULL AS n{n}" for n, one in enumerate(typed, 1)]
    if draw(st.integers(0, 19)) == 0:
        arguments = draw(st.sampled_from([arguments[1:], [*arguments, None]]))
    query = f"SELECT {', '.join(expressions)}{draw(st.sampled_from(TAILS))}"
    return Statement(query, tuple(one.name for one in typed), tuple(arguments))


METHODS: dict[str, Callable[[Any, Statement, list[Any]], Any]] = {
    "fetch": lambda con, statement, args: con.fetch(statement.query, *args),
    "fetchrow": lambda con, statement, args: con.fetchrow(statement.query, *args),
    "fetchval": lambda con, statement, args: con.fetchval(statement.query, *args),
    "execute": lambda con, statement, args: con.execute(statement.query, *args),
    "fetchmany": lambda con, statement, args: con.fetchmany(statement.query, [args, args]),
    "prepare": lambda con, statement, args: prepared(con, statement.query, args),
    "cursor": lambda con, statement, args: through_cursor(con, statement.query, args),
}


async def prepared(con: Any, query: str, args: list[Any]) -> Any:
    statement = await con.prepare(query)
    described = [tuple(one) for one in statement.get_parameters()], [one.name for one in statement.get_attributes()]
    rows = await statement.fetch(*args)
    return [described, statement.get_statusmsg(), rows]


async def through_cursor(con: Any, query: str, args: list[Any]) -> Any:
    async with con.transaction():
        return [row async for row in con.cursor(query, *args, prefetch=2)]


@covers("arguments: wrong type or value", "arguments: number", "codec: arrays", "codec: composites", "codec: ranges")
@examples(120)
@given(statement=statements(), method=st.sampled_from(sorted(METHODS)))
def test_statements(players: Players, statement: Statement, method: str) -> None:
    async def play(driver: Any, con: Any) -> list[Any]:
        args = statement.args(driver)
        found = await outcome(lambda: METHODS[method](con, statement, args), *args)
        after = await outcome(lambda: con.fetchval("SELECT 'after'"))
        return [found, after, con.is_in_transaction(), con.is_closed()]

    theirs, ours = players.run(players.both(play))
    assert theirs[1:] == ours[1:] or (theirs[1].shown, theirs[2:]) == (ours[1].shown, ours[2:])
    their, our = theirs[0], ours[0]
    if their.same(our) or (not their.error and not our.error and alike(their.value, our.value)):
        return
    args = statement.args(fastpg)
    n = position(our.reason or their.reason) - 1 if our.reason or their.reason else 0
    assert explained(statement.types[n], args[n], their, our), (
        f"{method} {statement.query}\n    {args}\n    asyncpg: {their}\n    fastpg:  {our}"
    )


# ------------------------------------------------------------------------- codecs


def failing(value: Any) -> Any:
    raise ValueError("not today")


FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "itself": lambda value: value,
    "str": str,
    "upper": lambda value: str(value).upper(),
    "bytes": lambda value: str(value).encode(),
    "int": int,
    "None": lambda value: None,
    "list": lambda value: [value],
    "tuple": lambda value: (1, 2, 3),
    "failing": failing,
    "missing": lambda value: {}["missing"],
    "dict": lambda value: {"a": 1},
}  # fmt: skip
CODED = "int4 text date timestamptz interval numeric bytea jsonb color pair uuid point".split()
SCHEMA = {"color": "played", "pair": "played"}


@dataclass(frozen=True)
class Coded:
    """A codec to set, and the values to try it on."""

    type: str
    format: str
    encoder: str
    decoder: str
    value: Any


codecs = st.builds(
    Coded, st.sampled_from(CODED), st.sampled_from(["text", "binary", "tuple", "nonsense"]),
    st.sampled_from(sorted(FUNCTIONS)), st.sampled_from(sorted(FUNCTIONS)),
    st.sampled_from([None, 5, "5", "red", "2024-01-01", b"\0\0\0\5", (1, "x"), dt.date(2024, 1, 1), Decimal("1.5"),
                     (1, 2, 3), uuid.UUID(int=5), "x", [1], {"a": 1}]),
).filter(lambda coded: (coded.type, coded.format) != ("pair", "nonsense"))  # fmt: skip
LITERALS = {
    "int4": "5", "text": "'x'", "date": "'2024-01-01'", "timestamptz": "'2024-01-01Z'", "interval": "'1 day'",
    "numeric": "1.50", "bytea": "'\\x01'", "jsonb": "'[1]'", "color": "'red'", "pair": "'(1,x)'",
    "uuid": "'00000000-0000-0000-0000-000000000005'", "point": "'(1,2)'",
}  # fmt: skip


@covers("codec: custom", "arguments: InterfaceError in a codec", "Connection: set_type_codec")
@examples(120)
@given(coded=codecs)
def test_codecs(players: Players, coded: Coded) -> None:
    schema = SCHEMA.get(coded.type, "pg_catalog")
    literal = LITERALS[coded.type]

    async def play(driver: Any, con: Any) -> list[Any]:
        encoder, decoder = FUNCTIONS[coded.encoder], FUNCTIONS[coded.decoder]
        found = [
            await outcome(
                lambda: con.set_type_codec(
                    coded.type, schema=schema, encoder=encoder, decoder=decoder, format=coded.format
                )
            )
        ]
        for query in (f"SELECT {literal}::{coded.type}", f"SELECT ARRAY[{literal}, NULL]::{coded.type}[]",
                      f"SELECT row(1, {literal}::{coded.type})"):  # fmt: skip
            found.append(await outcome(lambda query=query: con.fetchval(query)))
        for query in (f"SELECT $1::{coded.type}::text", f"SELECT ARRAY[$1::{coded.type}]::text"):
            found.append(await outcome(lambda query=query: con.fetchval(query, coded.value), coded.value))
        await con.reset_type_codec(coded.type, schema=schema)
        found.append(await outcome(lambda: con.fetchval(f"SELECT {literal}::{coded.type}::text")))
        return found

    theirs, ours = players.run(players.both(play))
    for n, (their, our) in enumerate(zip(theirs, ours, strict=True)):
        same = their.same(our) or (not their.error and not our.error and alike(their.value, our.value))
        explanation = explained(coded.type, coded.value, their, our)
        if n == 3 and coded.format == "text":
            # "Types that travel as text": in a record asyncpg gives the decoder binary data.
            rendered = coded.type not in ("text", "int4", "numeric", "jsonb", "color")
            same = rendered or our.error == ours[1].error or alike(our.value[1], ours[1].value)
        if n == 2 and their.error == "ProtocolError" and "malformed array literal" in their.shown:
            same = our.same(ours[1])  # "Exceptions of decoders": it is the one that the decoder raises
        if n == 2 and coded.type == "text":
            same = True  # "Codecs of elements": asyncpg's text[] has none of the user's
        assert same or explanation, f"{coded} {n}\n    asyncpg: {their}\n    fastpg:  {our}"


# ------------------------------------------------------------------- transactions

METHODS_OF_IT = [
    st.sampled_from(["start", "commit", "rollback", "query", "error", "syntax", "cursor", "fetch", "forward", "iterate",
                     "prepare", "reset", "argument", "many", "script"]),
    st.sampled_from(["start", "commit", "rollback", "query"]),
    st.sampled_from(["serializable", "repeatable_read", "read_uncommitted", "readonly"]),
]  # fmt: skip
SQL = st.sampled_from(["BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT s", "ROLLBACK TO s", "SET TRANSACTION READ ONLY"])


class Script:
    """Plays steps of transactions with one connection, and writes down what a program can see of them."""

    def __init__(self, driver: Any, con: Any) -> None:
        self.driver = driver
        self.con = con
        self.open: list[Any] = []
        self.ended: list[Any] = []
        self.cursor: Any = None

    async def step(self, name: str) -> Any:
        con = self.con
        if name in ("serializable", "repeatable_read", "read_uncommitted"):
            transaction = con.transaction(isolation=name)
        elif name == "readonly":
            transaction = con.transaction(readonly=True)
        elif name == "start":
            transaction = con.transaction()
        elif name in ("commit", "rollback"):
            transaction = self.open.pop() if self.open else self.ended[-1] if self.ended else con.transaction()
            self.ended.append(transaction)
            return await getattr(transaction, name)()
        elif name == "cursor":
            self.cursor = await con.cursor("SELECT generate_series(1, 9)")
            return None
        elif name in ("fetch", "forward"):
            return await getattr(self.cursor, name)(2) if self.cursor is not None else None
        elif name == "iterate":
            return [row async for row in con.cursor("SELECT generate_series(1, 5)", prefetch=2)]
        elif name.isupper() or " " in name:
            return await con.execute(name)
        else:
            return await self.call(name)
        await transaction.start()
        self.open.append(transaction)
        return None

    async def call(self, name: str) -> Any:
        con = self.con
        if name == "query":
            return await con.fetch("SELECT $1::int + 1 AS two", 1)
        if name == "error":
            return await con.fetchval("SELECT 1 / $1::int", 0)
        if name == "syntax":
            return await con.execute("NONSENSE")
        if name == "argument":
            return await con.fetchval("SELECT $1::int", "x")
        if name == "prepare":
            return await (await con.prepare("SELECT 3")).fetchval()
        if name == "many":
            return await con.executemany("SELECT $1::int", [(1,), (2,)])
        if name == "script":
            return await con.execute("SELECT 1; SELECT 2, 3")
        return await con.reset()

    async def play(self, steps: list[str]) -> list[Any]:
        found: list[Any] = []
        for name in steps:
            result = await outcome(lambda name=name: self.step(name))
            found.append((name, result.error, result.shown, result.cause, self.con.is_in_transaction()))
        await self.con.reset()
        found.append(("end", "", "", "", self.con.is_in_transaction()))
        return found


@covers("Transaction", "Transaction: errors", "Cursor", "Cursor: errors")
@examples(100)
@given(steps=st.lists(st.one_of(*METHODS_OF_IT), min_size=1, max_size=12))
def test_transactions(players: Players, steps: list[str]) -> None:
    async def play(driver: Any, con: Any) -> list[Any]:
        return await Script(driver, con).play(steps)

    theirs, ours = players.run(players.both(play))
    equal(theirs, ours, steps)


@covers("Transaction", "Transaction: errors", "Cursor: errors")
@examples(100)
@given(steps=st.lists(st.one_of(*METHODS_OF_IT, SQL), min_size=1, max_size=12))
def test_transactions_and_sql(players: Players, steps: list[str]) -> None:
    """With BEGIN, COMMIT and the like in SQL between: how far a statement has come matters then."""

    async def play(driver: Any, con: Any) -> list[Any]:
        return await Script(driver, con).play(steps)

    theirs, ours = players.run(players.both_at_once(play))
    equal(theirs, ours, steps)


# -------------------------------------------------------------------------- pools

POOL_STEPS = st.tuples(
    st.sampled_from(["acquire", "acquire", "release", "release", "use", "error", "setting", "listen", "begin", "close",
                     "expire", "direct", "kill", "foreign", "transaction", "lock"]),
    st.integers(0, 3),
)  # fmt: skip


class PoolScript:
    """Plays steps with one pool of two connections."""

    def __init__(self, driver: Any, pool: Any) -> None:
        self.driver = driver
        self.pool = pool
        self.held: list[Any] = []
        self.pids: list[int] = []

    def number(self, con: Any) -> int:
        pid = con.get_server_pid()
        if pid not in self.pids:
            self.pids.append(pid)
        return self.pids.index(pid)

    async def step(self, name: str, n: int) -> Any:
        if name == "acquire":
            con = await self.pool.acquire(timeout=0.01 if len([c for c in self.held if c._con]) >= 2 else 5)
            self.held.append(con)
            return self.number(con)
        if name == "direct":
            return await self.pool.fetchval("SELECT $1::int", n) if len([c for c in self.held if c._con]) < 2 else None
        if name == "expire":
            return await self.pool.expire_connections()
        if name == "foreign":
            return await self.pool.release("nonsense")
        if not self.held:
            return None
        con = self.held[n % len(self.held)]
        if name == "release":
            return await self.pool.release(con)
        if name == "use":
            return await con.fetchval("SELECT $1::int", n), await con.fetchval("SHOW application_name")
        if name == "error":
            return await con.fetchval("SELECT 1 / 0")
        if name == "setting":
            return await con.execute("SET application_name = 'mine'")
        if name == "listen":
            return await con.execute("LISTEN c"), await con.fetch("SELECT pg_listening_channels()")
        if name == "begin":
            return await con.execute("BEGIN")
        if name == "transaction":
            return await con.transaction().start()
        if name == "lock":
            return await con.fetchval("SELECT pg_try_advisory_lock_shared(5)")
        if name == "kill":
            return con.terminate()
        return await con.close()

    async def play(self, steps: list[tuple[str, int]]) -> list[Any]:
        found = []
        for name, n in steps:
            result = await outcome(lambda name=name, n=n: self.step(name, n))
            sizes = self.pool.get_size(), self.pool.get_idle_size()
            # What the text of a timeout says is a difference of its own.
            shown = result.shown if result.error != "TimeoutError" else ""
            found.append((name, n, result.error, shown, sizes))
        return found


@covers("Pool: acquire", "Pool: release", "Pool: errors", "Pool: proxies", "pool: order", "pool: default release")
@examples(50)
@given(steps=st.lists(POOL_STEPS, min_size=2, max_size=14))
def test_pools(players: Players, steps: list[tuple[str, int]]) -> None:
    async def play(driver: Any, con: Any) -> list[Any]:
        pool = await driver.create_pool(players.dsn, min_size=1, max_size=2)
        found = await PoolScript(driver, pool).play(steps)
        pool.terminate()
        await asyncio.sleep(0)
        return found

    theirs, ours = players.run(players.both(play))
    equal(theirs, ours, steps)


