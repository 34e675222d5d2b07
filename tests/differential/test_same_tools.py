# SPDX-License-Identifier: MIT
"""What monitoring tools and libraries do to asyncpg's classes, done to both: the same calls come the same way.

Programs of the real libraries are in tests/clients.
"""

from __future__ import annotations

import importlib
import inspect
import io
import ssl
import subprocess
import sys
from collections import OrderedDict
from collections.abc import Callable
from typing import Any
from unittest import mock

import asyncpg
import pytest

import fastpg
from fastpg._alias import OWN
from tests.contract import covers, differs
from tests.sidebyside import Diary, both, compare, compare_now


def module(diary: Diary, name: str) -> Any:
    return importlib.import_module(f"{diary.driver.__name__}.{name}")


def shown(value: Any) -> Any:
    """An argument in words that both drivers share."""
    if hasattr(value, "query") and hasattr(value, "name"):
        return f"statement {value.query!r}"
    if inspect.iscoroutinefunction(value) or inspect.isfunction(value):
        return "function"
    return type(value).__name__ if "asyncpg" in type(value).__module__ or "fastpg" in type(value).__module__ else value


def wrap(diary: Diary, patch: pytest.MonkeyPatch, cls: Any, *names: str) -> None:
    """Put a function around each method, that writes its call down."""

    def around(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        async def wrapper(self: Any, *args: Any, **kwargs: Any) -> Any:
            keywords = {key: shown(value) for key, value in sorted(kwargs.items()) if value is not None}
            diary.note("call", cls.__name__, name, [shown(argument) for argument in args], keywords)
            return await original(self, *args, **kwargs)

        return wrapper

    for name in names:
        patch.setattr(cls, name, around(name, getattr(cls, name)))


async def use(con: Any) -> None:
    """One of each call that monitoring looks at."""
    await con.execute("CREATE TEMP TABLE IF NOT EXISTS t (a int)")
    await con.execute("INSERT INTO t VALUES ($1)", 1)
    await con.executemany("INSERT INTO t VALUES ($1)", [(2,), (3,)])
    await con.fetch("SELECT a FROM t WHERE a > $1", 1)
    await con.fetchrow("SELECT a FROM t", timeout=9)
    await con.fetchval("SELECT a FROM t", column=0)
    statement = await con.prepare("SELECT $1::int")
    await statement.fetch(1)
    await statement.fetchval(2)
    await statement.fetchrow(3)
    async with con.transaction():
        cursor = await con.cursor("SELECT generate_series(1, 9)")
        await cursor.fetch(2)
        await cursor.forward(2)
        await cursor.fetchrow()
        async for _ in con.cursor("SELECT generate_series(1, 3)", prefetch=2):
            pass


@covers("tools: OpenTelemetry")
async def test_opentelemetry(dsn: str) -> None:
    async def scenario(diary: Diary) -> None:
        with pytest.MonkeyPatch.context() as patch:
            cursor, prepared = module(diary, "cursor"), module(diary, "prepared_stmt")
            wrap(diary, patch, diary.driver.Connection, "execute", "executemany", "fetch", "fetchval", "fetchrow")
            wrap(diary, patch, cursor.Cursor, "fetch", "forward", "fetchrow")
            wrap(diary, patch, cursor.CursorIterator, "__anext__")
            wrap(diary, patch, prepared.PreparedStatement, "fetch", "fetchval", "fetchrow")
            async with diary.connected() as con:
                await use(con)
                diary.note(con._params.user, con._params.database, type(con._addr).__name__, len(con._addr))
                async with con.transaction():
                    cursor = await con.cursor("SELECT $1::int", 7)
                    diary.note(cursor._connection is con, cursor._query, cursor._args)

    # BEGIN goes with the first statement, unless somebody watches execute().
    diary = await compare(dsn, scenario)
    assert any("'BEGIN;'" in entry for entry in diary.entries)


@covers("tools: Sentry")
async def test_sentry(dsn: str) -> None:
    async def scenario(diary: Diary) -> None:
        with pytest.MonkeyPatch.context() as patch:
            cursor = module(diary, "cursor")
            wrap(diary, patch, diary.driver.Connection, "execute", "_execute", "_executemany", "prepare")
            wrap(diary, patch, cursor.BaseCursor, "_bind_exec", "_exec")
            utils = module(diary, "connect_utils")
            original = utils._connect_addr

            async def connect_addr(*args: Any, **kwargs: Any) -> Any:
                params = kwargs["params"]
                diary.note("connects", args, "addr" in kwargs, params.user, params.database)
                return await original(*args, **kwargs)

            patch.setattr(utils, "_connect_addr", connect_addr)
            async with diary.connected() as con:
                await use(con)

    await compare(dsn, scenario)


@covers("tools: Datadog", "tools: Elastic APM", "tools: New Relic")
async def test_methods_of_the_protocol(dsn: str) -> None:
    async def scenario(diary: Diary) -> None:
        protocol = module(diary, "protocol").Protocol
        assert protocol is module(diary, "protocol.protocol").Protocol
        with pytest.MonkeyPatch.context() as patch:
            calls: list[Any] = []

            def around(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
                async def wrapper(self: Any, *args: Any, **kwargs: Any) -> Any:
                    state = args[0] if args else kwargs["state"]
                    calls.append((name, state if isinstance(state, str) else state.query))
                    return await original(self, *args, **kwargs)

                return wrapper

            for name in ("execute", "bind_execute", "query", "bind_execute_many", "bind"):
                patch.setattr(protocol, name, around(name, getattr(protocol, name)))
            async with diary.connected() as con:
                con._protocol.tag = "a tool's"
                await use(con)
                for call in [con._protocol.tag, *calls]:
                    diary.note(str(call).replace('"', ""))  # the name of a portal is quoted, or not

    await compare(dsn, scenario)


@covers("tools: New Relic")
async def test_replacing_the_class(dsn: str) -> None:
    async def scenario(diary: Diary) -> None:
        calls: list[Any] = []
        inner = module(diary, "protocol")
        original = inner.Protocol

        class Proxy:
            def __init__(self, wrapped: Any) -> None:
                self.__dict__["wrapped"] = wrapped

            def __getattr__(self, name: str) -> Any:
                found = getattr(self.wrapped, name)
                if name not in ("bind", "bind_execute", "bind_execute_many", "execute", "query"):
                    return found

                def wrapper(*args: Any, **kwargs: Any) -> Any:
                    first = args[0] if args else kwargs["state"]
                    text = first if isinstance(first, str) else first.query
                    if "UNLISTEN" not in text:  # the reset of a pool
                        calls.append(f"{name} {text}".replace('"', ""))  # that of a portal's name
                    return found(*args, **kwargs)

                return wrapper

            async def prepare(self, name: str, query: str, *args: Any, **kwargs: Any) -> Any:
                calls.append(("prepare", query))
                return await self.wrapped.prepare(name, query, *args, **kwargs)

            async def copy_out(self, query: str, *args: Any, **kwargs: Any) -> Any:
                calls.append("copy_out")
                return await self.wrapped.copy_out(query, *args, **kwargs)

        def make(*args: Any, **kwargs: Any) -> Any:
            addr, _, params = args[:3]
            calls.append(("made", type(addr), len(args), sorted(kwargs), params.database == "postgres"))
            return Proxy(original(*args, **kwargs))

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(inner, "Protocol", make, raising=False)
            async with diary.connected() as con:
                await use(con)
                await con.copy_from_query("SELECT 1", output=io.BytesIO())
            async with diary.driver.create_pool(diary.dsn, min_size=1, max_size=1) as pool:
                diary.note(await pool.fetchval("SELECT 'pool'"), await pool.fetchval("SELECT 'pool'"))
        diary.note(*calls)
        calls.clear()
        async with diary.connected() as con:
            diary.note(await con.fetchval("SELECT 1"), calls)

    await compare(dsn, scenario)
    assert not fastpg.Connection._hooked and not fastpg.Connection._rerouted


@covers("tools: add_python_codec")
async def test_add_python_codec(dsn: str) -> None:
    async def scenario(diary: Diary) -> None:
        async with diary.connected() as con:
            settings = con._protocol.get_settings()
            settings.add_python_codec(
                3802, "jsonb", "pg_catalog", [], "scalar", lambda value: f'"{value}"', lambda text: f"<{text}>", "text"
            )
            await diary.attempt("jsonb", lambda: con.fetchval("SELECT $1::jsonb", "x"))
            await diary.attempt("in an array", lambda: con.fetchval("SELECT ARRAY['1'::jsonb]"))

    await compare(dsn, scenario)


@covers("tools: APScheduler", "Connection: listeners")
async def test_listening(dsn: str) -> None:
    async def scenario(diary: Diary) -> None:
        con = await diary.driver.connect(diary.dsn, timeout=10)
        diary.note(con.is_closed())

        def callback(connection: Any, pid: int, channel: str, payload: str) -> None:
            diary.note("heard", connection is con, pid == con.get_server_pid(), channel, payload)

        await con.add_listener("events", callback)
        await con.execute("SELECT pg_notify($1, $2)", "events", "x")
        await diary.turns()
        await con.remove_listener("events", callback)
        await con.execute("NOTIFY events, 'nobody'")
        await diary.turns()
        await con.close(timeout=3)
        diary.note(con.is_closed())
        await diary.attempt("closed", lambda: con.add_listener("events", callback))

    await compare(dsn, scenario)


@covers("Connection: listeners", "Connection: log listeners", "Connection: termination listeners")
async def test_removing_what_is_no_callback(dsn: str) -> None:
    async def scenario(diary: Diary) -> None:
        async with diary.connected() as con:
            for value in (5, None, "x", print):
                await diary.attempt("unknown channel", lambda value=value: con.remove_listener("c", value))
                diary.try_now("log", lambda value=value: con.remove_log_listener(value))
                diary.try_now("termination", lambda value=value: con.remove_termination_listener(value))
                diary.try_now("query", lambda value=value: con.remove_query_logger(value))
            await con.add_listener("c", print)
            await diary.attempt("known channel", lambda: con.remove_listener("c", 5))
        await diary.attempt("closed", lambda: con.remove_listener("c", 5))

    await compare(dsn, scenario)


@differs("Names of channels")
async def test_names_of_channels(dsn: str) -> None:
    """The server cuts a long name off, and notifies by what is left of it."""

    async def scenario(diary: Diary) -> None:
        heard: list[Any] = []
        async with diary.connected() as con:
            try:
                await con.add_listener("x" * 64, lambda *args: heard.append(args))
            except diary.driver.InterfaceError as error:
                diary.note(error)
                return
            await con.execute("SELECT pg_notify(repeat('x', 63), 'payload')")
            await diary.turns()
            diary.note(heard)

    theirs, ours = await both(dsn, scenario)
    assert theirs.entries == ["[]"]
    assert ours.entries[0].startswith("channel is 64 bytes long")


@covers("Connection: termination listeners")
async def test_termination_listeners(dsn: str) -> None:
    async def scenario(diary: Diary) -> None:
        for how in ("close", "terminate"):
            ends: list[str] = []
            con = await diary.driver.connect(diary.dsn)

            def ended(connection: Any, con: Any = con, ends: list[str] = ends) -> None:
                ends.append(f"ended {connection is con}")

            async def later(connection: Any, con: Any = con, ends: list[str] = ends) -> None:
                ends.append(f"ended later {connection is con}")

            diary.try_now("not callable", lambda con=con: con.add_termination_listener(7))
            for listener in (ended, ended, later, print):
                con.add_termination_listener(listener)
            con.remove_termination_listener(print)
            con.remove_termination_listener(repr)
            result = getattr(con, how)()
            if result is not None:
                await result
            await diary.turns()
            diary.note(how, sorted(ends))  # asyncpg calls them in no order

    await compare(dsn, scenario)


@covers("tools: SQLAlchemy", "Connection: prepare")
@differs("Prepared before a transaction")
async def test_prepared_before_a_transaction(dsn: str) -> None:
    """asyncpg does not end what the server began when it analyzed the statement."""

    async def scenario(diary: Diary) -> None:
        async with diary.connected() as con:
            await con.prepare("SELECT 1")
            try:
                async with con.transaction(isolation="serializable"):
                    diary.note(await con.fetchval("SHOW transaction_isolation"))
            except diary.driver.ActiveSQLTransactionError:
                diary.note("too late")

    theirs, ours = await both(dsn, scenario)
    assert theirs.entries == ["too late"] and ours.entries == ["serializable"]


@covers("tools: SQLAlchemy")
async def test_sqlalchemy(dsn: str) -> None:
    """What the dialect calls that has no scenario elsewhere."""

    async def scenario(diary: Diary) -> None:
        async with diary.connected() as con:
            await diary.attempt("ping", lambda: con.fetchrow(";"))
            transaction = con.transaction(isolation="serializable", readonly=True, deferrable=True)
            await transaction.start()
            statement = await con.prepare("SELECT $1::int AS a, 'x'::varchar AS b", name=None)
            diary.note([(attribute.name, attribute.type.oid) for attribute in statement.get_attributes()])
            cursor = await statement.cursor(5)
            await diary.attempt("fetch", lambda: cursor.fetch(50))
            await transaction.rollback()
            for name, encode, decode in (("json", str.encode, bytes.decode), ("jsonb", jsonb, lambda data: data[1:])):
                await con.set_type_codec(name, encoder=encode, decoder=decode, schema="pg_catalog", format="binary")
                await diary.attempt(name, lambda name=name: con.fetchval(f"SELECT $1::{name}", '{"a": 1}'))
            for name in ("inet", "cidr"):
                await con.set_type_codec(name, encoder=str, decoder=str, schema="pg_catalog", format="text")
                await diary.attempt(name, lambda name=name: con.fetchval(f"SELECT $1::{name}", "10.0.0.0/8"))
            await diary.attempt("reload", con.reload_schema_state)
            try:
                await con.fetch("SELECT 1/0")
            except diary.driver.exceptions.PostgresError as error:
                families = [base.__name__ for base in type(error).__mro__ if base.__name__ not in OWN]
                diary.note(families, error.args[0], error.sqlstate, error.detail)
            con.terminate()
            await diary.attempt("closed", lambda: con.fetch("SELECT 1"))

    def jsonb(text: str) -> bytes:
        return b"\x01" + text.encode()

    diary = await compare(dsn, scenario)
    assert "connection is closed" in diary.entries[-1]


@covers("tools: pgvector", "tools: asyncpg-stubs")
async def test_an_unknown_type(dsn: str) -> None:
    async def scenario(diary: Diary) -> None:
        async with diary.connected() as con:
            for schema in ("public", "nowhere"):
                await diary.attempt(schema, lambda schema=schema: con.set_type_codec(
                    "no_such_vector", schema=schema, encoder=str, decoder=str, format="binary"))  # fmt: skip

    diary = await compare(dsn, scenario)
    assert "ValueError: unknown type: public.no_such_vector" in diary.entries[0]


def test_records_made_by_hand() -> None:
    # By asyncpg-recorder, which replays what it has recorded.
    def scenario(diary: Diary) -> None:
        create = module(diary, "protocol.protocol")._create_record
        for given in (({"a": 0, "b": 1}, (1, "x")), (OrderedDict(a=0), (None,)), ({}, ()), (None, ()),
                      ({"a": 0}, (1, 2)), (None, (1, 2)), ({"a": 0}, [1]), ({"a": 0}, {"a": 1})):
            shown = diary.try_now("made and shown", lambda given=given: repr(create(*given)))
            if shown is not None:
                record = create(*given)
                diary.note(type(record) is diary.driver.Record, tuple(record), dict(record), list(record.keys()))
        # Names in another order than their values.
        record = create({"b": 1, "a": 0}, elems=("x", "y"))
        diary.note(record["a"], record["b"], tuple(record), dict(record) == {"a": "x", "b": "y"})

    compare_now(scenario)


async def test_statements_of_a_subclass(dsn: str) -> None:
    # As asyncpgx prepares statements with named parameters.
    async def scenario(diary: Diary) -> None:
        class Own(module(diary, "prepared_stmt").PreparedStatement):  # type: ignore[misc]
            __slots__ = ("names",)

            def __init__(self, connection: Any, query: str, state: Any, names: list[str]) -> None:
                super().__init__(connection, query, state)
                self.names = names

            async def named_fetch(self, **given: Any) -> Any:
                return await super().fetch(*[given[name] for name in self.names])

        async with diary.connected() as con:
            query = "SELECT $1::int AS a, $2::text AS b"
            count = "SELECT count(*) FROM pg_prepared_statements WHERE statement = $1"
            for given in ({"named": True, "use_cache": False}, {}):
                statement = Own(con, query, await con._get_statement(query, None, **given), ["a", "b"])
                diary.note(await statement.named_fetch(b="x", a=1), statement.get_query(), statement.get_statusmsg())
                diary.note(await statement.fetchval(2, "y", column=1), [one.name for one in statement.get_attributes()])
                async with con.transaction():
                    diary.note([row async for row in statement.cursor(3, "z")])
                del statement
                await con.execute("SELECT")
                diary.note(await con.fetchval(count, query))
            diary.note(await con.fetch(query, 4, "w"))
            own = type("OwnRecord", (diary.driver.Record,), {})
            state = await con._get_statement(query, None, record_class=own, use_cache=False)
            diary.note(type(await Own(con, query, state, []).fetchrow(5, "v")).__name__)

    await compare(dsn, scenario)


@covers("tools: Cloud SQL", "connect(): direct_tls")
def test_a_context_of_ones_own() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

    def scenario(diary: Diary) -> None:
        names = inspect.signature(asyncpg.connect_utils._parse_connect_dsn_and_args).parameters
        given = {"user": "u", "database": "d", "password": "p", "host": "h", "port": 3307, "ssl": context}
        arguments = {**dict.fromkeys(names), **given, "direct_tls": True}
        addresses, params = module(diary, "connect_utils")._parse_connect_dsn_and_args(**arguments)
        diary.note(addresses, params.ssl is context, params.sslmode.name, params.ssl_negotiation.value)

    compare_now(scenario)


@differs("Specs of mocks")
def test_specs_of_mocks() -> None:
    for driver in (asyncpg, fastpg):
        ours = driver is fastpg
        assert isinstance(mock.Mock(spec=driver.Connection), driver.Connection) is ours
        for kind in ("transaction.Transaction.start", "prepared_stmt.PreparedStatement.fetch", "cursor.Cursor.fetch"):
            package, cls, method = kind.split(".")
            spec = getattr(importlib.import_module(f"{driver.__name__}.{package}"), cls)
            if ours or sys.version_info < (3, 12):  # later ones see through asyncpg's decorators
                assert isinstance(getattr(mock.Mock(spec=spec), method), mock.AsyncMock) is ours
            assert inspect.iscoroutinefunction(getattr(spec, method)) is ours
        # These are alike.
        for spec in (driver.Connection, driver.Pool):
            assert isinstance(mock.Mock(spec=spec).fetch, mock.AsyncMock)
        assert isinstance(mock.Mock(spec=driver.Pool), driver.Pool)


@differs("Installing late")
def test_installing_late() -> None:
    code = "import asyncpg, fastpg; fastpg.install_as_asyncpg()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "RuntimeError: asyncpg is imported already" in done.stderr
    assert not hasattr(asyncpg, "install_as_asyncpg") and callable(fastpg.install_as_asyncpg)
