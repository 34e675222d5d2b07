# SPDX-License-Identifier: MIT
"""Every public coroutine cancelled at every suspension, in every way: the connection answers right, or is closed."""

from __future__ import annotations

import asyncio
import gc
import io
import itertools
import os
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest
import pytest_asyncio

import fastpg
import fastpg.transaction
from fastpg import exceptions
from tests.stepper import HOWS, run_cancelled, settle

Scenario = Callable[[fastpg.Connection], Coroutine[Any, Any, Any]]
SCENARIOS: dict[str, Scenario] = {}
unique = itertools.count(1)


def scenario(function: Scenario) -> Scenario:
    SCENARIOS[function.__name__] = function
    return function


def sql(text: str) -> str:
    """A text that no statement cache knows yet."""
    return f"{text} /* {next(unique)} */"


@scenario
async def execute(c: fastpg.Connection) -> None:
    await c.execute(sql("SELECT 1"))


@scenario
async def execute_args(c: fastpg.Connection) -> None:
    await c.execute(sql("SELECT $1::int"), 1)


@scenario
async def fetch(c: fastpg.Connection) -> None:
    query = sql("SELECT g, $1::int FROM generate_series(1, 3000) g")
    await c.fetch(query, 1)
    await c.fetch(query, 2)


@scenario
async def fetch_slow(c: fastpg.Connection) -> None:
    await c.fetch("SELECT pg_sleep(0.05)")


@scenario
async def fetch_with_timeout(c: fastpg.Connection) -> None:
    await c.fetch(sql("SELECT 1"), timeout=10)


@scenario
async def fetchrow(c: fastpg.Connection) -> None:
    await c.fetchrow(sql("SELECT 1"))


@scenario
async def fetchval(c: fastpg.Connection) -> None:
    query = sql("SELECT $1::int8")
    await c.fetchval(query, 1)
    await c.fetchval(query, 2)


@scenario
async def fetchmany(c: fastpg.Connection) -> None:
    await c.fetchmany(sql("SELECT $1::int8"), [(i,) for i in range(20)])


@scenario
async def executemany(c: fastpg.Connection) -> None:
    await c.executemany(sql("SELECT $1::text"), [("x" * 2000,)] * 400)


@scenario
async def server_error(c: fastpg.Connection) -> None:
    try:
        await c.fetch(sql("SELECT 1 / $1::int"), 0)
    except exceptions.DivisionByZeroError:
        pass
    try:
        await c.fetch(sql("SELECT nonsense"))
    except exceptions.UndefinedColumnError:
        pass


@scenario
async def evicted(c: fastpg.Connection) -> None:
    # What was evicted is closed in front of the query.
    c._cache.clear()
    await c.fetchval("SELECT 1")
    c._cache.clear()
    await c.execute("SELECT pg_sleep(0.02)")


@scenario
async def prepare(c: fastpg.Connection) -> None:
    await c.prepare(sql("SELECT $1::int"))


@scenario
async def statement(c: fastpg.Connection) -> None:
    s = await c.prepare(sql("SELECT $1::int"))
    await s.fetch(1)
    await s.fetchrow(1)
    await s.fetchval(1)
    await s.fetchmany([(1,), (2,)])
    await s.executemany([(1,), (2,)])
    await s.explain(1)
    await s.explain(1, analyze=True)


@scenario
async def transaction(c: fastpg.Connection) -> None:
    async with c.transaction():
        await c.execute("SELECT 1")
        async with c.transaction():
            await c.fetchval(sql("SELECT 1"))


@scenario
async def transaction_of_a_script(c: fastpg.Connection) -> None:
    async with c.transaction():
        await c.execute("SELECT pg_sleep(0.02)")


@scenario
async def transaction_of_one_prepared(c: fastpg.Connection) -> None:
    await c.fetchval("SELECT $1::int8", 1)
    async with c.transaction(), c.transaction():
        await c.fetchval("SELECT $1::int8", 2)


@scenario
async def transaction_of_a_copy(c: fastpg.Connection) -> None:
    async with c.transaction():
        await c.copy_to_table("step", source=chunks(b"1\tx\n", b"2\ty\n"))
    async with c.transaction():
        await c.copy_from_query(LONG, output=slow_sink)


@scenario
async def transaction_of_pipelines(c: fastpg.Connection) -> None:
    for atomic in (False, True):
        async with c.transaction():
            async with c.pipeline(atomic=atomic) as p:
                p.fetchval("SELECT 1")
                p.fetchval(sql("SELECT $1::int"), 1)


@scenario
async def transaction_of_nothing(c: fastpg.Connection) -> None:
    async with c.transaction(), c.transaction():
        pass
    await c.execute("SELECT 1")


class Unable(fastpg.transaction.Transaction):
    def _begin(self) -> str:
        return "BEGIN NONSENSE"


@scenario
async def transaction_that_cannot_begin(c: fastpg.Connection) -> None:
    for query, args in (("SELECT $1::int8", (1,)), ("SELECT 1", ())):
        try:
            async with Unable(c, None, False, False):
                await c.execute(query, *args)
        except exceptions.PostgresSyntaxError:
            pass


@scenario
async def transaction_rolled_back(c: fastpg.Connection) -> None:
    try:
        async with c.transaction():
            try:
                async with c.transaction():
                    await c.execute("SELECT 1")
                    raise ZeroDivisionError
            finally:
                await c.execute("SELECT 2")
    except ZeroDivisionError:
        pass


@scenario
async def transaction_by_hand(c: fastpg.Connection) -> None:
    t = c.transaction()
    await t.start()
    try:
        await c.execute("SELECT 1")
    except BaseException:
        await t.rollback()
        raise
    await t.commit()
    t = c.transaction(isolation="serializable")
    await t.start()
    await t.rollback()


@scenario
async def deadline_in_a_transaction(c: fastpg.Connection) -> None:
    try:
        async with c.transaction():
            # Short: when the helper that sends the CancelRequest is cancelled, the server goes on to the end of it.
            await c.execute("SELECT pg_sleep(0.5)", timeout=0.01)
    except asyncio.TimeoutError:
        pass


@scenario
async def cursors(c: fastpg.Connection) -> None:
    async with c.transaction():
        cursor = await c.cursor(sql("SELECT generate_series(1, $1::int)"), 20)
        await cursor.fetch(3)
        await cursor.forward(2)
        await cursor.fetchrow()
        async for _ in c.cursor(sql("SELECT generate_series(1, 5)"), prefetch=2):
            pass
        s = await c.prepare(sql("SELECT generate_series(1, 5)"))
        async for _ in s.cursor(prefetch=3):
            pass
        del cursor


async def chunks(*data: bytes) -> AsyncIterator[bytes]:
    for chunk in data:
        await asyncio.sleep(0)
        yield chunk


async def records(n: int) -> AsyncIterator[tuple[int, str]]:
    for i in range(n):
        if i % 1000 == 0:
            await asyncio.sleep(0)
        yield i, "x" * 100


async def slow_sink(data: bytes) -> None:
    await asyncio.sleep(0)


async def failing_sink(data: bytes) -> None:
    await asyncio.sleep(0)
    raise ZeroDivisionError


LONG = "SELECT g, repeat('x', 1000) FROM generate_series(1, 2000) g"


@scenario
async def copy_out(c: fastpg.Connection) -> None:
    await c.copy_from_query(LONG, output=slow_sink)
    await c.copy_from_query("SELECT g FROM generate_series(1, $1) g", 10, output=slow_sink, timeout=10)
    await c.copy_from_table("pg_am", output=io.BytesIO())


@scenario
async def copy_out_to_a_failing_sink(c: fastpg.Connection) -> None:
    for query in ("SELECT 1", LONG):
        try:
            await c.copy_from_query(query, output=failing_sink)
        except ZeroDivisionError:
            pass


@scenario
async def copy_out_in_a_transaction(c: fastpg.Connection) -> None:
    async with c.transaction():
        await c.copy_from_query(LONG, output=slow_sink)


@scenario
async def copy_in(c: fastpg.Connection) -> None:
    await c.copy_to_table("step", source=chunks(b"1\tx\n", b"2\t", b"y\n" * 1))
    await c.copy_to_table("step", source=b"3\tz\n" * 100_000)
    await c.copy_to_table("step", source=io.BytesIO(b"4\tz\n"), timeout=10)


@scenario
async def copy_records(c: fastpg.Connection) -> None:
    await c.copy_records_to_table("step", records=[(1, "x" * 100)] * 5000)
    await c.copy_records_to_table("step", records=records(5000), timeout=10)


# A cancelled open() goes on in its thread and may create its file late: the directory outlives the scenario.
files = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)


@scenario
async def copy_files(c: fastpg.Connection) -> None:
    path = os.path.join(files.name, "rows")
    await c.copy_from_query("SELECT g, repeat('x', 1000) FROM generate_series(1, 600) g", output=path)
    await c.copy_to_table("step", source=path, timeout=10)
    await c.copy_from_query("SELECT 1", output=path, timeout=10)
    await c.copy_to_table("step", source=path, columns=["a"])


@scenario
async def copy_in_that_fails(c: fastpg.Connection) -> None:
    async def source() -> AsyncIterator[bytes]:
        yield b"1\tx\n"
        await asyncio.sleep(0)
        raise ZeroDivisionError

    try:
        await c.copy_to_table("step", source=chunks(b"no number\tx\n"))
    except exceptions.InvalidTextRepresentationError:
        pass
    try:
        await c.copy_to_table("step", source=source())
    except ZeroDivisionError:
        pass
    try:
        await c.copy_records_to_table("step", records=[(1, "x"), (2, 3)])
    except TypeError:
        pass


@scenario
async def listeners(c: fastpg.Connection) -> None:
    heard = asyncio.Event()

    def listener(*_: object) -> None:
        heard.set()

    await c.add_listener("news", listener)
    try:
        await c.execute("NOTIFY news")
        await heard.wait()
    finally:
        await c.remove_listener("news", listener)
    await c.fetch("SELECT 1")


@scenario
async def pipeline(c: fastpg.Connection) -> None:
    async with c.pipeline() as p:
        first = p.fetchval(sql("SELECT $1::int"), 1)
        p.executemany("SELECT $1::int", [(1,), (2,)])
        assert await first == 1
        rows = p.fetch(sql("SELECT g FROM generate_series(1, 1000) g"))
        p.execute("SELECT pg_sleep(0.01)")
    assert len(await rows) == 1000


@scenario
async def atomic_pipeline(c: fastpg.Connection) -> None:
    async with c.pipeline(atomic=True, timeout=10) as p:
        first = p.fetchval(sql("SELECT $1::int"), 1)
        assert await first == 1
        p.execute("SELECT pg_sleep(0.01)")
        rows = p.fetchmany(sql("SELECT $1::int"), [(1,), (2,)])
    assert len(await rows) == 2


@scenario
async def pipeline_that_fails(c: fastpg.Connection) -> None:
    for atomic in (False, True):
        try:
            async with c.pipeline(atomic=atomic) as p:
                p.fetchval("SELECT 1 / $1::int", 0)
                p.fetchval(sql("SELECT 1"))
                await asyncio.sleep(0)
                p.fetchval("SELECT 2")
        except exceptions.DivisionByZeroError:
            pass


@scenario
async def close(c: fastpg.Connection) -> None:
    await c.close()


class Rig:
    """A connection that is replaced when it is closed, and another one that looks at its backend."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn
        self.monitor: fastpg.Connection
        self.complaints: list[dict[str, Any]] = []

    async def state(self, pid: int) -> tuple[str, str] | None:
        row = await self.monitor.fetchrow("SELECT state, query FROM pg_stat_activity WHERE pid = $1", pid)
        return None if row is None else (row[0], row[1])

    async def eventually(self, pid: int, states: set[str | None]) -> None:
        """The backend comes into one of these states; None stands for gone."""
        for _ in range(300):
            state = await self.state(pid)
            if (state and state[0]) in states:
                return
            await asyncio.sleep(0.01)
        raise AssertionError(f"the backend is left with {state}, not in {states}")

    async def verify(self, connection: fastpg.Connection) -> None:
        """In order, or closed; nothing in between."""
        pid = connection.get_server_pid()
        if connection.is_closed():
            with pytest.raises(exceptions.InterfaceError, match="connection is closed"):
                await connection.fetchval("SELECT 1")
            await self.eventually(pid, {None})
            return
        tag = next(unique)
        if connection.is_in_transaction():
            # A cancelled operation is on its way to its end: the next one waits for that.
            await asyncio.wait_for(connection.execute(""), 10)
        assert not connection.is_in_transaction(), "a transaction that nobody owns"
        assert connection._top_xact is None
        assert await asyncio.wait_for(connection.fetchval("SELECT $1::int8", tag), 10) == tag
        await self.eventually(pid, {"idle"})
        async with connection.transaction():
            assert await connection.fetchval("SELECT $1::text", str(tag)) == str(tag)
        gc.collect()
        await connection.fetchval("SELECT 1")
        names = {row[0] for row in await connection.fetch("SELECT name FROM pg_prepared_statements")}
        known = {plan.name.decode() for plan in connection._cache.entries.values()}
        assert names == known, "the server's statements are not those of the cache"
        assert not connection.is_closed()


@pytest_asyncio.fixture
async def rig(dsn: str) -> AsyncIterator[Rig]:
    rig = Rig(dsn)
    rig.monitor = await fastpg.connect(dsn)
    await rig.monitor.execute("CREATE TABLE IF NOT EXISTS step (a int, b text)")
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: rig.complaints.append(context))
    gc.collect()
    gc.freeze()  # the collections after each step have only what the test made to look at
    yield rig
    rig.monitor.terminate()
    gc.collect()
    gc.unfreeze()
    await asyncio.sleep(0)
    assert not rig.complaints


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("name", SCENARIOS)
async def test_every_suspension(rig: Rig, name: str, how: str) -> None:
    before = asyncio.all_tasks()
    connection = await fastpg.connect(rig.dsn)
    for n in itertools.count():
        hit, result = await run_cancelled(SCENARIOS[name](connection), n, how)
        if hit:
            wanted: tuple[type, ...] = (asyncio.CancelledError,)
            if how == "deadline":
                wanted = (asyncio.CancelledError, asyncio.TimeoutError)
            assert isinstance(result, wanted), f"cancelled at {n}, ended with {result!r}"
        else:
            assert result is None, f"not cancelled, ended with {result!r}"
        del result
        if how == "helpers":
            await settle(before)  # a cancelled helper closes the connection at its next step
        try:
            await rig.verify(connection)
        except BaseException as error:
            raise AssertionError(f"after the cancel at suspension {n}: {error!r}") from error
        await settle(before)
        if not hit:
            break
        if connection.is_closed():
            connection = await fastpg.connect(rig.dsn)
    assert n > 0, "never suspended"
    connection.terminate()
    await settle(before)


@pytest.mark.parametrize("how", HOWS)
async def test_connect(rig: Rig, how: str) -> None:
    before = asyncio.all_tasks()
    name = f"fastpg-step-{how}"
    count = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1"
    for n in itertools.count():
        connecting = fastpg.connect(rig.dsn, application_name=name)
        hit, result = await run_cancelled(connecting, n, how)
        if not hit:
            break
        assert isinstance(result, (asyncio.CancelledError, asyncio.TimeoutError)), f"at {n}: {result!r}"
        await settle(before)
        for _ in range(300):
            if await rig.monitor.fetchval(count, name) == 0:
                break
            await asyncio.sleep(0.01)
        else:
            raise AssertionError(f"a backend is left after the cancel at suspension {n}")
    assert n > 1
    assert await result.fetchval("SELECT 7") == 7
    await result.close()
    await settle(before)
