# SPDX-License-Identifier: MIT
"""What subclasses override and what tools written for asyncpg replace is called, with asyncpg's arguments."""

from __future__ import annotations

import asyncio
import io
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

import fastpg
from fastpg import connect_utils
from fastpg.protocol import Protocol
from fastpg.protocol.protocol import PreparedStatementState

asyncpg = pytest.importorskip("asyncpg")

QUERY = "SELECT g AS a, g * 10 AS b FROM generate_series(1, $1::int) g"


@pytest_asyncio.fixture
async def connection(dsn: str) -> AsyncIterator[fastpg.Connection]:
    connection = await fastpg.connect(dsn)
    yield connection
    connection.terminate()


@pytest.fixture(autouse=True)
def nothing_stays() -> Any:
    yield
    assert not fastpg.Connection._hooked and not fastpg.Connection._rerouted and not Protocol._patched


def spy(monkeypatch: pytest.MonkeyPatch, cls: type, *names: str) -> list[tuple[Any, ...]]:
    """Put a function around methods, as monitoring tools do; what they are called with."""
    calls: list[tuple[Any, ...]] = []

    def wrap(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        async def wrapper(self: Any, *args: Any, **kwargs: Any) -> Any:
            calls.append((name, *args, *kwargs.items()))
            return await original(self, *args, **kwargs)

        return wrapper

    for name in names:
        monkeypatch.setattr(cls, name, wrap(name, getattr(cls, name)))
    return calls


async def use_everything(connection: fastpg.Connection) -> list[Any]:
    """One of each call that runs SQL; the results."""
    results: list[Any] = [
        await connection.execute("CREATE TEMP TABLE t (a int); SELECT 1"),
        await connection.execute("INSERT INTO t VALUES ($1)", 1),
        await connection.executemany("INSERT INTO t VALUES ($1)", [(2,), (3,)]),
        await connection.fetch(QUERY, 2),
        await connection.fetch("SELECT 1 WHERE false"),
        await connection.fetchrow(QUERY, 2),
        await connection.fetchrow("SELECT 1 WHERE false"),
        await connection.fetchval(QUERY, 3, column="b"),
        await connection.fetchval("SELECT 1 WHERE false"),
        await connection.fetchmany("SELECT $1::int", [(4,), (5,)]),
    ]
    statement = await connection.prepare(QUERY)
    results += [await statement.fetch(1), statement.get_statusmsg(), await statement.fetchval(2, column=1)]
    results += [await statement.fetchrow(1), await statement.fetchmany([(1,), (1,)])]
    await statement.executemany([(1,)])
    async with connection.transaction():
        results.append([row["a"] async for row in connection.cursor(QUERY, 5, prefetch=2)])
        cursor = await connection.cursor(QUERY, 9)
        results += [await cursor.fetch(2), await cursor.forward(3), await cursor.fetchrow(), await cursor.fetch(99)]
        results.append(await cursor.fetch(1))
    for call in (connection.fetchval("SELECT 1/0"), connection.execute("SELECT $1::int", "x")):
        with pytest.raises(fastpg.PostgresError) as caught:
            await call
        results.append(str(caught.value))
    return results


async def test_results_are_the_same(
    connection: fastpg.Connection, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = await use_everything(connection)
    for cls, names in (
        (fastpg.Connection, ["_execute", "_executemany"]),
        (fastpg.Connection, ["_do_execute", "_get_statement"]),
        (Protocol, ["bind_execute", "bind_execute_many", "bind", "execute", "query"]),
    ):
        with monkeypatch.context() as patch:
            calls = spy(patch, cls, *names)
            other = await fastpg.connect(dsn)
            assert await use_everything(other) == expected
            assert {call[0] for call in calls} == set(names)
            await other.close()


async def test_execute(connection: fastpg.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = spy(monkeypatch, fastpg.Connection, "_execute", "_executemany")
    await connection.fetch("SELECT $1::int", 1)
    await connection.fetchrow("SELECT $1::int", 2, timeout=5)
    await connection.fetchval("SELECT $1::int", 3)
    await connection.execute("SELECT $1::int", 4)
    await connection.execute("SELECT 5")
    await connection.executemany("SELECT $1::int", [(6,)])
    record = ("record_class", None)
    assert calls == [
        ("_execute", "SELECT $1::int", (1,), 0, None, record),
        ("_execute", "SELECT $1::int", (2,), 1, 5, record),
        ("_execute", "SELECT $1::int", (3,), 1, None),
        ("_execute", "SELECT $1::int", (4,), 0, None, ("return_status", True)),
        ("_executemany", "SELECT $1::int", [(6,)], None),
    ]
    monkeypatch.undo()
    await connection.fetch("SELECT $1::int", 1)
    assert len(calls) == 5


async def test_protocol_as_monitoring_sees_it(connection: fastpg.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, str]] = []

    def wrap(name: str) -> None:
        original = getattr(Protocol, name)

        async def wrapper(self: Any, *args: Any, **kwargs: Any) -> Any:
            state = args[0] if args else kwargs["state"]
            seen.append((name, state if isinstance(state, str) else state.query))
            assert self.tag == "set by a tool"
            return await original(self, *args, **kwargs)

        monkeypatch.setattr(Protocol, name, wrapper)

    for name in ("execute", "bind_execute", "query", "bind_execute_many", "bind"):
        wrap(name)
    connection._protocol.tag = "set by a tool"  # type: ignore[attr-defined]
    await connection.execute("SELECT 1")
    await connection.fetchval("SELECT $1::int", 1)
    await connection.executemany("SELECT $1::int", [(1,)])
    statement = await connection.prepare("SELECT 2")
    await statement.fetch()
    async with connection.transaction():
        cursor = await connection.cursor("SELECT 3")
        await cursor.fetch(5)
    assert seen == [
        ("query", "SELECT 1"), ("bind_execute", "SELECT $1::int"), ("bind_execute_many", "SELECT $1::int"),
        ("bind_execute", "SELECT 2"), ("query", "BEGIN;"), ("bind", "SELECT 3"), ("execute", "SELECT 3"),
        ("query", "COMMIT;"),
    ]  # fmt: skip


async def test_protocol_by_hand(connection: fastpg.Connection) -> None:
    statement = await connection._get_statement("SELECT $1::int AS a", None)
    assert isinstance(statement, PreparedStatementState) and statement.query == "SELECT $1::int AS a"
    assert statement.name.startswith("__fastpg_stmt_")
    protocol = connection._protocol
    assert await protocol.bind_execute(statement, (1,), "", 0, True, None) == ([(1,)], b"SELECT 1", True)
    assert await protocol.bind_execute(statement, (1,), "", 0, False, None) == [(1,)]
    assert await protocol.bind_execute_many(statement, [(1,), (2,)], "", None, True) == [(1,), (2,)]
    assert await protocol.bind_execute_many(statement, [(1,), (2,)], "", None, False) is None
    assert await protocol.query("SELECT 1; SELECT 2", None) == "SELECT 1"
    async with connection.transaction():
        await protocol.bind(statement, (7,), "hole", None)
        assert await protocol.execute(statement, "hole", 1, True, None) == ([(7,)], None, False)
        assert await protocol.execute(statement, "hole", 1, True, None) == ([], b"SELECT 0", True)
        assert protocol.is_in_transaction()
    count = protocol.queries_count
    await connection.execute("SELECT 1")
    assert protocol.queries_count == count + 1
    assert protocol.is_connected() and not protocol.is_closed()
    encrypted = await connection.fetchval("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
    assert protocol.is_ssl is encrypted
    assert protocol.backend_pid == protocol.get_server_pid() == connection.get_server_pid()
    assert protocol._get_timeout(None) is None and protocol._get_timeout(3) == 3.0 and not protocol._is_cancelling()
    with pytest.raises(ValueError, match="invalid timeout value"):
        protocol._get_timeout("3")  # type: ignore[arg-type]
    protocol.abort()
    assert connection.is_closed() and protocol.is_closed()


async def test_an_executor_of_ones_own(connection: fastpg.Connection) -> None:
    async def executor(statement: Any, timeout: float | None) -> Any:
        assert timeout is None or 0 < timeout <= 9
        return await connection._protocol.bind_execute(statement, (5,), "", 0, True, timeout)

    for limit in (None, 9):
        result, statement = await connection._do_execute("SELECT $1::int", executor, limit)
        assert result == ([(5,)], b"SELECT 1", True) and statement.query == "SELECT $1::int"


async def test_a_stale_plan_under_hooks(connection: fastpg.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = spy(monkeypatch, Protocol, "bind_execute")
    await connection.execute("CREATE TEMP TABLE t AS SELECT 1 AS a")
    assert await connection.fetch("SELECT * FROM t") == [(1,)]
    await connection.execute("ALTER TABLE t ADD COLUMN b int DEFAULT 2")
    assert await connection.fetch("SELECT * FROM t") == [(1, 2)]
    assert len(calls) == 3, "the second fetch was tried again, once"


async def test_timeouts_and_cancels_under_hooks(connection: fastpg.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    spy(monkeypatch, Protocol, "bind_execute", "query")
    spy(monkeypatch, fastpg.Connection, "_execute")
    for call in (connection.fetchval("SELECT pg_sleep(60)", timeout=0.1), connection.execute("SELECT 1", timeout=-1)):
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(call, 20)
    task = asyncio.ensure_future(connection.execute("SELECT pg_sleep(60)"))
    await asyncio.sleep(0.1)
    with pytest.raises(fastpg.InterfaceError, match="another operation is in progress"):
        await connection.fetchval("SELECT 1")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 20)
    assert await asyncio.wait_for(connection.fetchval("SELECT 7"), 20) == 7


class Tagged:
    """A mixin that knows nothing of drivers."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.log: list[str] = []

    async def tagged(self, value: int) -> str:
        return f"<{await self.fetchval('SELECT $1::int', value)}>"  # type: ignore[attr-defined]


class Mixed(Tagged, fastpg.Connection):
    __slots__ = ("extra", "log")

    def _get_unique_id(self, prefix: str) -> str:
        name = f"mine_{prefix}_{len(self.log)}"
        self.log.append(name)
        return name

    async def fetch(self, query: str, *args: Any, **kwargs: Any) -> list[Any]:
        self.log.append("fetch")
        return await super().fetch(query, *args, **kwargs)


async def test_mixin_with_names_of_its_own(dsn: str) -> None:
    connection = await fastpg.connect(dsn, connection_class=Mixed)
    assert type(connection) is Mixed and connection.log == []
    assert await connection.tagged(5) == "<5>"
    statement = await connection.prepare("SELECT 1")
    assert statement.get_name() == "mine_stmt_1"
    assert sorted(await connection.fetch("SELECT name FROM pg_prepared_statements")) == [
        ("mine_stmt_0",), ("mine_stmt_1",), (connection.log[-1],)
    ]  # fmt: skip
    async with connection.transaction():
        async with connection.transaction():
            await connection.cursor("SELECT 1")
    assert {name.split("_")[1] for name in connection.log if name != "fetch"} == {"stmt", "savepoint", "portal"}
    async with fastpg.create_pool(dsn, min_size=1, max_size=1, connection_class=Mixed) as pool:
        async with pool.acquire() as borrowed:
            assert await borrowed.tagged(6) == "<6>" and isinstance(borrowed, fastpg.Connection)
        assert await pool.fetch("SELECT 1") == [(1,)]
        assert pool._holders[0]._con.log.count("fetch") == 1
    await connection.close()


class Overriding(fastpg.Connection):
    """Overrides what asyncpg's subclasses do."""

    async def _execute(self, query: str, args: Any, *rest: Any, **kwargs: Any) -> Any:
        return await super()._execute(f"/* mine */ {query}", args, *rest, **kwargs)

    async def _executemany(self, query: str, *rest: Any, **kwargs: Any) -> Any:
        return await super()._executemany(f"/* many */ {query}", *rest, **kwargs)


class Fetching(fastpg.Connection):
    """Counts the statements that are asked for."""

    asked = 0

    async def _get_statement(self, *args: Any, **kwargs: Any) -> Any:
        type(self).asked += 1
        return await super()._get_statement(*args, **kwargs)


async def test_overridden_methods(dsn: str) -> None:
    assert Overriding._hooked and not Overriding._rerouted and Fetching._rerouted and not Mixed._hooked
    connection = await fastpg.connect(dsn, connection_class=Overriding)
    assert (await connection.fetchval("SELECT current_query()")).startswith("/* mine */")
    assert (await connection.fetchmany("SELECT current_query(), $1::int", [(1,)]))[0][0].startswith("/* many */")
    await connection.close()
    Fetching.asked = 0
    connection = await fastpg.connect(dsn, connection_class=Fetching)
    assert await connection.fetchval("SELECT 1") == 1 and await connection.fetch("SELECT 2") == [(2,)]
    assert Fetching.asked == 2
    await connection.close()


class NoReset(fastpg.Connection):
    def get_reset_query(self) -> str:
        return ""


async def test_reset_query(dsn: str) -> None:
    for cls, kept in ((NoReset, "kept"), (fastpg.Connection, "")):
        async with fastpg.create_pool(dsn, min_size=1, max_size=1, connection_class=cls) as pool:
            await pool.execute("SET application_name TO 'kept'")
            assert await pool.fetchval("SHOW application_name") == kept


async def test_patched_reset(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = spy(monkeypatch, fastpg.Connection, "reset")
    async with fastpg.create_pool(dsn, min_size=1, max_size=1) as pool:
        await pool.execute("SELECT 1")
    assert [call[0] for call in calls] == ["reset"]


async def test_patched_public_methods(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = spy(monkeypatch, fastpg.Connection, "fetch", "fetchval", "execute")
    prepared = spy(monkeypatch, fastpg.prepared_stmt.PreparedStatement, "fetch")
    async with fastpg.create_pool(dsn, min_size=1, max_size=1) as pool:
        assert await pool.fetchval("SELECT 1") == 1
        async with pool.acquire() as connection:
            assert await connection.fetch("SELECT 2") == [(2,)]
            assert await (await connection.prepare("SELECT 3")).fetch() == [(3,)]
    assert [call[:2] for call in calls] == [("fetchval", "SELECT 1"), ("fetch", "SELECT 2")]
    assert prepared == [("fetch",)]


async def test_connect_addr(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    original = connect_utils._connect_addr

    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        assert not args
        seen.append((kwargs["addr"], kwargs["params"].user, kwargs["params"].database))
        return await original(**kwargs)

    monkeypatch.setattr(connect_utils, "_connect_addr", wrapper)
    connection = await fastpg.connect(dsn)
    assert seen == [(connection._addr, connection._params.user, connection._params.database)]
    assert await connection.fetchval("SELECT current_database()") == connection._params.database
    await connection.close()
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        port = busy.getsockname()[1]
        with pytest.raises(OSError):
            await fastpg.connect(host="127.0.0.1", port=port, user="u", database="d", timeout=10)
    assert set(seen[1:]) == {(("127.0.0.1", port), "u", "d")}


async def test_codecs_without_introspection(connection: fastpg.Connection) -> None:
    settings = connection._protocol.get_settings()
    settings.add_python_codec(114, "json", "pg_catalog", [], "scalar", lambda v: f'["{v}"]', lambda v: v[::-1], "text")
    assert await connection.fetchval("SELECT $1::json", "x") == ']"x"['
    settings.remove_python_codec(114, "json", "pg_catalog")
    assert await connection.fetchval("SELECT '1'::json, 'other statement'") == "1"
    assert settings.client_encoding == "UTF8"


async def test_private_shapes(dsn: str) -> None:
    connection = await fastpg.connect(dsn)
    sock = connection._transport.get_extra_info("socket")
    assert sock is not None and "_transport" in fastpg.Connection.__slots__
    assert isinstance(connection._addr, (tuple, str)) and connection._loop is asyncio.get_running_loop()
    assert connection._params.user and connection._params.database and connection._config.statement_cache_size == 100
    assert connection._top_xact is None and connection._pool_release_ctr == 0
    cache = connection._stmt_cache
    for n in range(3):
        await connection.fetchval(f"SELECT {n}")
    assert [plan.query for plan in cache.iter_statements()] == ["SELECT 0", "SELECT 1", "SELECT 2"]
    assert cache.get_max_size() == 100 and cache.get_max_lifetime() == 300
    assert cache.has("SELECT 1") and not cache.has("SELECT 3")
    assert cache.get("SELECT 0", promote=False).query == "SELECT 0", "it stays the one that goes first"
    assert [plan.query for plan in cache.iter_statements()] == ["SELECT 0", "SELECT 1", "SELECT 2"]
    cache.set_max_size(1)
    assert [plan.query for plan in cache.iter_statements()] == ["SELECT 2"]
    assert len(connection._stmts_to_close) == 2
    assert await connection.fetchval("SELECT count(*) FROM pg_prepared_statements") == 2
    assert not connection._stmts_to_close or len(connection._stmts_to_close) == 1
    cache.set_max_lifetime(0)
    assert cache.get_max_lifetime() == 0 and len(cache) == 1
    await connection.close()
    async with fastpg.create_pool(dsn, min_size=1, max_size=3) as pool:
        assert (pool._minsize, pool._maxsize, len(pool._holders), pool._queue.qsize()) == (1, 3, 3, 3)
        async with pool.acquire() as borrowed:
            assert pool._queue.qsize() == 2
            (holder,) = [holder for holder in pool._holders if holder._in_use]
            assert holder._con is borrowed._con and borrowed._holder is holder

async def test_copy_and_prepare_as_monitoring_sees_them(
    dsn: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The same calls with the same statements reach wrappers of asyncpg's Protocol and of ours."""

    async def watch(driver: Any) -> tuple[list[Any], list[Any]]:
        seen: list[Any] = []
        results: list[Any] = []
        connection = await driver.connect(dsn)
        with monkeypatch.context() as patch:
            for name in ("copy_in", "copy_out", "prepare", "bind_execute", "query"):
                original = getattr(driver.protocol.Protocol, name)

                async def wrapper(
                    self: Any, *args: Any, _name: str = name, _call: Any = original, **kwargs: Any
                ) -> Any:
                    first = args[0] if args else kwargs["state"]
                    text = args[1] if _name == "prepare" else first if isinstance(first, str) else first.query
                    call = _name, "".join(text.split())
                    # asyncpg does not ask for the columns of a table again: they may have changed since.
                    if call not in seen or _name != "prepare":
                        seen.append(call)
                    return await _call(self, *args, **kwargs)

                patch.setattr(driver.protocol.Protocol, name, wrapper)

            async def chunks() -> AsyncIterator[bytes]:
                yield b"3\tc\n"

            async def failing() -> AsyncIterator[bytes]:
                yield b"1\n"
                raise ZeroDivisionError

            async def records() -> AsyncIterator[Any]:
                yield 5, "e"

            await connection.execute("CREATE TEMP TABLE watched (a int, b text, c int GENERATED ALWAYS AS (1) STORED)")
            columns = ["a", "b"]
            table = {"columns": columns, "timeout": 10}
            results.append(await connection.copy_to_table("watched", source=io.BytesIO(b"1\ta\n2\tb\n"), **table))
            results.append(await connection.copy_to_table("watched", source=chunks(), columns=columns))
            results.append(await connection.copy_records_to_table("watched", records=[(4, "d")], columns=columns))
            results.append(await connection.copy_records_to_table("watched", records=records(), columns=columns))
            output = tmp_path / driver.__name__
            results.append(await connection.copy_from_table("watched", output=output, **table))
            results.append(output.read_bytes())
            results.append(await connection.copy_from_query("SELECT 1", output=output))
            with pytest.raises(driver.UndefinedTableError):
                await connection.copy_from_table("no_such_table", output=output)
            with pytest.raises(ZeroDivisionError):
                await connection.copy_to_table("watched", columns=["a"], source=failing())
            statement = await connection.prepare("SELECT count(*) FROM watched")
            results.append(await statement.fetchval())
            results.append(await connection.fetchval("SELECT $1::int", 7))
        assert await connection.fetchval("SELECT 1") == 1
        await connection.close()
        return seen, results

    theirs, ours = await watch(asyncpg), await watch(fastpg)
    for their, our in zip(theirs[0], ours[0], strict=True):
        assert our == their
    assert ours[1] == theirs[1]
