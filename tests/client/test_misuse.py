# SPDX-License-Identifier: MIT
"""Use that must be refused before a byte is written: the wrong time, thread, loop, process; after the end."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any

import pytest
import pytest_asyncio

import fastpg
from fastpg import exceptions

LIMIT = 10  # seconds after which a call is a hang


class Uses:
    """A connection with a prepared statement, an open transaction and an open cursor, and all that can be awaited."""

    def __init__(self, connection: fastpg.Connection) -> None:
        self.connection = connection

    async def open(self) -> None:
        self.transaction = self.connection.transaction()
        await self.transaction.start()
        self.statement = await self.connection.prepare("SELECT $1::int")
        self.cursor = await self.connection.cursor("SELECT generate_series(1, 100)")
        self.iterator = self.connection.cursor("SELECT generate_series(1, 100)", prefetch=2).__aiter__()
        await self.iterator.__anext__()
        await self.connection.fetchval("SELECT 1")

    def calls(self) -> dict[str, Callable[[], Coroutine[Any, Any, Any]]]:
        c, s = self.connection, self.statement

        async def next_row() -> Any:
            self.iterator._buffer.clear()
            return await self.iterator.__anext__()

        return {
            "execute": lambda: c.execute("SELECT 1"),
            "execute_args": lambda: c.execute("SELECT $1::int", 1),
            "fetch": lambda: c.fetch("SELECT 1"),
            "fetchrow": lambda: c.fetchrow("SELECT 1"),
            "fetchval_cached": lambda: c.fetchval("SELECT 1"),
            "fetchval_new": lambda: c.fetchval("SELECT 1 + 1"),
            "fetchmany": lambda: c.fetchmany("SELECT $1::int", [(1,)]),
            "executemany": lambda: c.executemany("SELECT $1::int", [(1,)]),
            "prepare": lambda: c.prepare("SELECT 1"),
            "statement.fetch": lambda: s.fetch(1),
            "statement.fetchrow": lambda: s.fetchrow(1),
            "statement.fetchval": lambda: s.fetchval(1),
            "statement.fetchmany": lambda: s.fetchmany([(1,)]),
            "statement.executemany": lambda: s.executemany([(1,)]),
            "statement.explain": lambda: s.explain(1),
            "cursor.fetch": lambda: self.cursor.fetch(1),
            "cursor.fetchrow": lambda: self.cursor.fetchrow(),
            "cursor.forward": lambda: self.cursor.forward(1),
            "iterator": next_row,
            "savepoint": lambda: c.transaction().start(),
        }

    async def refused(self, text: str) -> None:
        """Each call is refused with this text, and tells that nothing was sent."""
        for name, call in self.calls().items():
            try:
                await asyncio.wait_for(call(), LIMIT)
            except exceptions.InterfaceError as error:
                assert text in str(error), (name, error)
                assert error.fastpg is not None and error.fastpg.outcome == "not_sent", (name, error)
                continue
            raise AssertionError(f"{name} is not refused")

    async def intact(self) -> None:
        """The transaction, the cursor and the statement go on where they were."""
        assert await self.connection.fetchval("SELECT 17") == 17
        assert await self.statement.fetchval(18) == 18
        assert await self.cursor.fetch(2) == [(1,), (2,)]
        assert self.connection.is_in_transaction()
        await self.transaction.commit()
        assert not self.connection.is_in_transaction()


class Tap:
    """Counts the writes to a transport."""

    def __init__(self, transport: Any) -> None:
        self.transport = transport
        self.writes = 0

    def write(self, data: bytes) -> None:
        self.writes += 1
        self.transport.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.transport, name)


@pytest_asyncio.fixture
async def uses(dsn: str) -> AsyncIterator[Uses]:
    connection = await fastpg.connect(dsn)
    client = connection._client
    tap = Tap(client.transport)
    client.connection_made(tap)
    uses = Uses(connection)
    await uses.open()
    yield uses
    connection.terminate()


def writes(uses: Uses) -> int:
    count: int = uses.connection._client.transport.writes
    return count


async def test_another_operation_is_in_progress(uses: Uses) -> None:
    slow = asyncio.ensure_future(uses.connection.fetchval("SELECT pg_sleep(0.2)::text || 'done'"))
    while not uses.connection._client.session.pending:  # noqa: ASYNC110
        await asyncio.sleep(0)
    await asyncio.sleep(0.05)  # past the Prepare
    before = writes(uses)
    await uses.refused("another operation is in progress")
    assert writes(uses) == before
    assert await asyncio.wait_for(slow, LIMIT) == "done"
    await uses.intact()


async def test_between_the_steps_of_another_operation(uses: Uses) -> None:
    """Prepared, not executed yet: the connection is as good as busy."""
    with uses.connection._section():
        await uses.refused("another operation is in progress")
    await uses.intact()


async def in_thread(work: Callable[[], Any]) -> Any:
    result: list[Any] = []

    def run() -> None:
        try:
            result.append(work())
        except BaseException as error:
            result.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    while thread.is_alive():  # noqa: ASYNC110
        await asyncio.sleep(0.005)
    if isinstance(result[0], BaseException):
        raise result[0]
    return result[0]


@pytest.mark.parametrize("cancelling", [False, True])
async def test_another_thread(uses: Uses, cancelling: bool) -> None:
    if cancelling:
        task = asyncio.ensure_future(uses.connection.fetch("SELECT pg_sleep(5)"))
        await asyncio.sleep(0.05)  # past the Prepare
        task.cancel()
        await asyncio.wait([task])
        assert uses.connection._client.cancelling is not None
        thread = threading.Thread(target=lambda: result.append(run_in_new_loop(uses)))
        result: list[Any] = []
        thread.start()
        thread.join(LIMIT)  # this loop does not turn: the cancel is still under way
        assert result == [None]
        await uses.connection.fetch("ROLLBACK")
        return
    before = writes(uses)
    await in_thread(lambda: run_in_new_loop(uses))
    assert writes(uses) == before
    await uses.intact()


def run_in_new_loop(uses: Uses) -> Any:
    """None when everything is refused, else the exception."""
    try:
        asyncio.run(uses.refused("belongs to another thread"))
        asyncio.run(refused_close(uses.connection))
    except BaseException as error:
        return error
    return None


async def refused_close(connection: fastpg.Connection) -> None:
    with pytest.raises(exceptions.InterfaceError, match="belongs to another"):
        await connection.close()
    assert not connection.is_closed()


def test_another_loop(dsn: str) -> None:
    """The same thread, another loop: also after the first loop is closed."""
    first, second = asyncio.new_event_loop(), asyncio.new_event_loop()
    with warnings.catch_warnings():
        # The transport of a closed loop warns for itself.
        warnings.simplefilter("ignore", ResourceWarning)
        try:
            uses = Uses(first.run_until_complete(fastpg.connect(dsn)))
            first.run_until_complete(uses.open())
            second.run_until_complete(uses.refused("belongs to another event loop"))
            second.run_until_complete(refused_close(uses.connection))
            first.run_until_complete(uses.intact())
            first.close()
            second.run_until_complete(uses.refused("belongs to another event loop"))
            uses.connection.terminate()
            assert uses.connection.is_closed()
        finally:
            second.close()
        del uses, first
        gc.collect()


async def test_a_loop_that_only_asyncio_of_now_knows(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """trio-asyncio answers itself for which loop runs, as soon as it is imported, and tells asyncio's C nothing."""
    connection = await fastpg.connect(dsn)
    loop = asyncio.get_running_loop()
    asyncio._set_running_loop(None)
    try:
        with pytest.raises(exceptions.InterfaceError, match="belongs to another event loop"):
            connection._client.check()
        monkeypatch.setattr(asyncio, "_get_running_loop", lambda: loop)
        connection._client.check()
    finally:
        asyncio._set_running_loop(loop)
    await connection.close()


def test_terminate_after_the_loop_was_closed_in_a_query(dsn: str) -> None:
    loop = asyncio.new_event_loop()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        connection = loop.run_until_complete(fastpg.connect(dsn))
        query = loop.create_task(connection.execute("SELECT pg_sleep(60)"))
        loop.run_until_complete(asyncio.sleep(0.01))
        loop.close()
        connection.terminate()
        assert connection.is_closed() and not query.done()
        query._log_destroy_pending = False  # type: ignore[attr-defined]
        del connection, query, loop
        gc.collect()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
async def test_after_fork(uses: Uses) -> None:
    before = writes(uses)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        # No loop here: each coroutine must raise at its first step, or wait for nothing.
        code = 1
        try:
            for call in uses.calls().values():
                try:
                    call().send(None)
                except exceptions.InterfaceError as error:
                    if "before a fork" not in str(error):
                        os._exit(2)
                else:
                    os._exit(3)
            client = uses.connection._client
            if client.transport.writes != before:
                os._exit(4)
            del call
            try:
                uses.connection.close().send(None)
            except StopIteration:
                pass
            uses.connection.terminate()
            uses.__dict__.clear()
            gc.collect()
            code = 0
        finally:
            os._exit(code)
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            break
        await asyncio.sleep(0.005)
    assert os.waitstatus_to_exitcode(status) == 0
    assert writes(uses) == before
    await uses.intact()


@pytest.mark.parametrize("how", ["close", "terminate"])
async def test_after_close(uses: Uses, how: str) -> None:
    result = getattr(uses.connection, how)()
    if isinstance(result, Awaitable):
        await asyncio.wait_for(result, LIMIT)
    await uses.refused("connection is closed")
    for call in (
        lambda: uses.connection.cursor("SELECT 1"),
        lambda: uses.connection.transaction(),
        lambda: uses.statement.cursor(1),
        lambda: uses.statement.get_attributes(),
        lambda: uses.statement.get_parameters(),
    ):
        with pytest.raises(exceptions.InterfaceError, match="connection is closed"):
            call()
    for end in (uses.transaction.commit, uses.transaction.rollback):
        with pytest.raises(exceptions.InterfaceError):
            await end()
    await uses.connection.close()
    uses.connection.terminate()


async def test_close_inside_a_transaction_block(dsn: str) -> None:
    connection = await fastpg.connect(dsn)
    with pytest.raises(exceptions.InterfaceError, match="connection is closed"):
        async with connection.transaction():
            await connection.close()
    connection = await fastpg.connect(dsn)
    with pytest.raises(ZeroDivisionError):
        async with connection.transaction():
            connection.terminate()
            raise ZeroDivisionError


async def test_close_at_once_by_many(dsn: str) -> None:
    connection = await fastpg.connect(dsn)
    query = asyncio.ensure_future(connection.fetch("SELECT pg_sleep(60)"))
    await asyncio.sleep(0.02)
    await asyncio.wait_for(asyncio.gather(*(connection.close() for _ in range(5))), LIMIT)
    with pytest.raises(exceptions.ConnectionDoesNotExistError):
        await query
    assert connection.is_closed()


async def test_collected_while_a_cancel_is_under_way(dsn: str) -> None:
    """Nobody holds the connection any longer: a warning, and the backend goes."""
    other = await fastpg.connect(dsn)
    connection = await fastpg.connect(dsn)
    pid = connection.get_server_pid()
    query = asyncio.ensure_future(connection.fetch("SELECT pg_sleep(60)"))
    await asyncio.sleep(0.05)
    query.cancel()
    await asyncio.wait([query])
    with pytest.warns(ResourceWarning, match="unclosed connection"):
        del connection, query
        gc.collect()
    for _ in range(300):
        if not await other.fetchval("SELECT count(*) FROM pg_stat_activity WHERE pid = $1", pid):
            break
        await asyncio.sleep(0.01)
    else:
        raise AssertionError("the backend is left behind")
    await other.close()


async def test_a_coroutine_that_is_closed_gives_the_connection_back(dsn: str) -> None:
    connection = await fastpg.connect(dsn)
    call = connection.fetch("SELECT pg_sleep(60)")
    call.send(None)
    call.close()
    assert await asyncio.wait_for(connection.fetchval("SELECT 5"), LIMIT) == 5
    await connection.close()


async def test_a_cancel_that_comes_too_early_is_sent_again(dsn: str) -> None:
    """The server forgets a CancelRequest that reaches it before the query does."""
    connection = await fastpg.connect(dsn)
    client = connection._client
    requests = 0
    cancel = client.canceller
    assert cancel is not None

    async def forgotten_once(timeout: float) -> None:
        nonlocal requests
        requests += 1
        if requests > 1:
            await cancel(timeout)

    client.canceller = forgotten_once
    with pytest.raises(asyncio.TimeoutError):
        await connection.fetch("SELECT pg_sleep(60)", timeout=0.01)
    assert await asyncio.wait_for(connection.fetchval("SELECT 5"), LIMIT) == 5
    assert requests == 2
    await connection.close()


async def test_a_query_nothing_of_which_was_written_never_is(dsn: str) -> None:
    """The transport takes no more: what is cancelled while it waits is not sent later."""
    connection = await fastpg.connect(dsn)
    await connection.execute("CREATE TEMP TABLE t (a int)")
    plan = await connection.prepare("INSERT INTO t VALUES ($1)")
    connection._client.pause_writing()
    query = asyncio.ensure_future(plan.fetch(1))
    await asyncio.sleep(0)
    query.cancel()
    with pytest.raises(asyncio.CancelledError):
        await query
    connection._client.resume_writing()
    assert await connection.fetchval("SELECT count(*) FROM t") == 0
    await connection.close()


class Ends:
    """A number that ends a connection when it is asked for its value."""

    def __init__(self, connection: fastpg.Connection) -> None:
        self.connection = connection

    def __index__(self) -> int:
        self.connection.terminate()
        return 1


CALLS: dict[str, Callable[[fastpg.Connection, Ends], Awaitable[Any]]] = {
    "fetchval": lambda c, ends: c.fetchval(NUMBER, ends),
    "execute": lambda c, ends: c.execute(NUMBER, ends),
    "executemany": lambda c, ends: c.executemany(NUMBER, [(1,), (ends,), (3,)]),
    "fetchmany": lambda c, ends: c.fetchmany(NUMBER, [(ends,), (2,)]),
    "copy": lambda c, ends: c.copy_records_to_table("t", records=[(1,), (ends,), (3,)]),
}
NUMBER = "SELECT $1::oid"


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("name", CALLS)
async def test_an_argument_that_ends_the_connection(dsn: str, name: str, known: bool) -> None:
    reported: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
    connection = await fastpg.connect(dsn)
    await connection.execute("CREATE TEMP TABLE t(a oid)")
    if known:
        await connection.fetchval(NUMBER, 1)
    with pytest.raises((exceptions.ConnectionDoesNotExistError, exceptions.InterfaceError)):
        await asyncio.wait_for(CALLS[name](connection, Ends(connection)), LIMIT)
    assert connection.is_closed()
    await asyncio.sleep(0)
    gc.collect()
    assert not reported
