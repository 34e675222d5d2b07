# SPDX-License-Identifier: MIT
"""The pool against a live server."""

from __future__ import annotations

import asyncio
import random
import threading
from typing import Any

import pytest

import fastpg
from fastpg import exceptions
from fastpg.pool import PoolAcquireContext

WAIT = 30


def check(pool: fastpg.Pool) -> None:
    """Nothing is lost: every holder is idle, in the queue, and nobody waits."""
    assert pool._queue.qsize() == pool.get_max_size()
    assert pool.get_idle_size() == pool.get_size()
    assert pool._queue.waiting() == 0 and not pool._releases


async def test_queries(dsn: str) -> None:
    async with fastpg.create_pool(dsn, min_size=1, max_size=3) as pool:
        assert await pool.fetchval("SELECT $1::int", 7) == 7
        assert await pool.fetchrow("SELECT 1, 2") == (1, 2)
        assert await pool.fetch("SELECT generate_series(1, 2)") == [(1,), (2,)]
        assert await pool.execute("SELECT 1") == "SELECT 1"
        assert await pool.fetchmany("SELECT $1::int", [(1,), (2,)]) == [(1,), (2,)]
        await pool.executemany("SELECT $1::int", [(1,)])
        assert pool.get_size() == pool.get_idle_size() == 1
        check(pool)
    assert pool.is_closing()
    with pytest.raises(fastpg.InterfaceError, match="pool is closed"):
        await pool.fetchval("SELECT 1")


async def test_proxy(dsn: str) -> None:
    async with fastpg.create_pool(dsn, min_size=1, max_size=1) as pool:
        async with pool.acquire() as con:
            assert isinstance(con, fastpg.Connection)
            assert await con.fetchval("SELECT 1") == 1
        with pytest.raises(
            fastpg.InterfaceError,
            match=r"cannot call Connection.fetchval\(\): connection has been released back to the pool",
        ):
            await con.fetchval("SELECT 1")
        await pool.release(con)
        with pytest.raises(fastpg.InterfaceError, match="is not a member of this pool"):
            await pool.release(object())
        context: PoolAcquireContext = pool.acquire()
        async with context:
            with pytest.raises(fastpg.InterfaceError, match="a connection is already acquired"):
                await context.__aenter__()
        check(pool)


async def test_nothing_survives_a_release(dsn: str) -> None:
    async with fastpg.create_pool(dsn, min_size=1, max_size=1) as pool:
        con = await pool.acquire()
        statement = await con.prepare("SELECT 1")
        transaction = con.transaction()
        await transaction.start()
        cursor = await con.cursor("SELECT 1")
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)  # the rollback is reported
        await pool.release(con)
        for work in (statement.fetchval, transaction.commit, cursor.fetchrow):
            with pytest.raises(fastpg.InterfaceError, match="the underlying connection has been released"):
                await work()
        check(pool)


async def test_connect_callback(dsn: str) -> None:
    async def connect(*args: Any, **kwargs: Any) -> int:
        return 5

    with pytest.raises(fastpg.InterfaceError, match=r"return an instance of 'fastpg.connection.Connection', got 'int'"):
        await fastpg.create_pool(dsn, connect=connect)


async def test_the_floor_is_kept(dsn: str) -> None:
    async with fastpg.create_pool(dsn, min_size=2, max_size=3) as pool:
        async with pool.acquire() as con:
            pid = con.get_server_pid()
        victim = next(h._con for h in pool._holders if h._con is not None and h._con.get_server_pid() != pid)
        lost = victim._client.closed
        await pool.execute("SELECT pg_terminate_backend($1)", victim.get_server_pid())
        await asyncio.wait_for(asyncio.shield(lost), WAIT)
        for _ in range(1000):
            await asyncio.sleep(0.01)
            if pool.get_size() == 2 and pool._maintenance_task is None:
                break
        assert pool.get_size() == 2
        check(pool)


async def test_the_next_user_sees_a_new_session(dsn: str) -> None:
    async with fastpg.create_pool(dsn, min_size=1, max_size=1) as pool:
        async with pool.acquire() as con:
            pid = con.get_server_pid()
            await con.execute("SET work_mem = '8MB'; SELECT pg_advisory_lock(77)")
        async with pool.acquire() as con:
            assert con.get_server_pid() == pid
            assert await con.fetchval("SHOW work_mem") != "8MB"
            assert await con.fetchval("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 77") == 0


async def test_an_open_transaction_is_rolled_back(dsn: str) -> None:
    messages: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: messages.append(context["message"]))
    async with fastpg.create_pool(dsn, min_size=1, max_size=1) as pool:
        async with pool.acquire() as con:
            await con.execute("BEGIN; CREATE TEMP TABLE left_over (a int)")
        assert await pool.fetchval("SELECT to_regclass('left_over')") is None
    assert len(messages) == 1 and messages[0].startswith("Resetting connection with an active transaction")


async def test_a_failing_reset_closes_the_connection(dsn: str) -> None:
    class Bad(fastpg.Connection):
        __slots__ = ()

        def get_reset_query(self) -> str:
            return "SELECT 1/0"

    async with fastpg.create_pool(dsn, min_size=0, max_size=1, connection_class=Bad) as pool:
        async with pool.acquire() as con:
            pid = con.get_server_pid()
            closed = con._client.closed
        await asyncio.wait_for(asyncio.shield(closed), WAIT)
        async with pool.acquire() as con:
            assert con.get_server_pid() != pid
        async with pool.acquire() as con:
            with pytest.raises(exceptions.ConnectionDoesNotExistError, match="could not be reset") as caught:
                await con.fetchval("SELECT 1")
            assert isinstance(caught.value.__cause__, exceptions.DivisionByZeroError)


async def test_a_reset_that_is_cancelled_before_it_begins(dsn: str) -> None:
    async def reset(con: Any) -> None:
        raise AssertionError("it never begins")

    async with fastpg.create_pool(dsn, min_size=1, max_size=1, reset=reset) as pool:
        con = await pool.acquire()
        pid, lent = con.get_server_pid(), con._con
        giving = asyncio.ensure_future(pool.release(con))
        await asyncio.sleep(0)
        for task in pool._releases:
            task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await giving
        assert lent.is_closed() and pool.get_idle_size() == 0
        pool._reset = None
        assert await asyncio.wait_for(pool.fetchval("SELECT pg_backend_pid()"), WAIT) != pid


async def test_callbacks(dsn: str) -> None:
    calls: list[str] = []

    def note(name: str) -> Any:
        async def callback(con: fastpg.Connection) -> None:
            calls.append(f"{name} {type(con).__name__}")

        return callback

    async with fastpg.create_pool(
        dsn, min_size=1, max_size=1, init=note("init"), setup=note("setup"), reset=note("reset")
    ) as pool:
        for _ in range(2):
            await pool.fetchval("SELECT 1")
    proxy = "PoolConnectionProxy"
    assert calls == ["init Connection"] + [f"setup {proxy}", "reset Connection"] * 2


async def test_a_failing_setup_loses_nothing(dsn: str) -> None:
    async def setup(con: fastpg.Connection) -> None:
        raise ZeroDivisionError

    async with fastpg.create_pool(dsn, min_size=0, max_size=1, setup=setup) as pool:
        for _ in range(3):
            with pytest.raises(ZeroDivisionError):
                await pool.acquire()
        check(pool)
        assert pool.get_size() == 0


async def test_timeout_while_waiting(dsn: str) -> None:
    async with fastpg.create_pool(dsn, min_size=1, max_size=1) as pool:
        async with pool.acquire():
            with pytest.raises(asyncio.TimeoutError):
                await pool.acquire(timeout=0.02)
            assert pool.stats().in_use == 1 and pool.stats().waiting == 0
        check(pool)
    async with fastpg.create_pool(dsn, min_size=1, max_size=1, acquire_timeout=0.02) as pool, pool.acquire():
        with pytest.raises(asyncio.TimeoutError):
            await pool.fetchval("SELECT 1")


async def test_replacement(dsn: str) -> None:
    async with fastpg.create_pool(dsn, min_size=1, max_size=1) as pool:
        pid = await pool.fetchval("SELECT pg_backend_pid()")
        assert await pool.fetchval("SELECT pg_backend_pid()") == pid
        await pool.expire_connections()
        other = await pool.fetchval("SELECT pg_backend_pid()")
        assert other != pid
    async with fastpg.create_pool(dsn, min_size=1, max_size=1, max_queries=1) as pool:
        pids = [await pool.fetchval("SELECT pg_backend_pid()") for _ in range(3)]
        assert len(set(pids)) == 3


async def test_lost_and_closed_connections_are_replaced(dsn: str) -> None:
    async with fastpg.create_pool(dsn, min_size=1, max_size=1) as pool:
        con = await pool.acquire()
        await con.close()
        assert await asyncio.wait_for(pool.fetchval("SELECT 1"), WAIT) == 1
        await pool.release(con)
        async with pool.acquire() as con:
            con.terminate()
        assert await asyncio.wait_for(pool.fetchval("SELECT 1"), WAIT) == 1


async def test_inactive_connections_end(dsn: str) -> None:
    async with fastpg.create_pool(
        dsn, init_size=2, min_size=1, max_size=2, max_inactive_connection_lifetime=0.01
    ) as pool:
        for _ in range(1000):
            if pool.get_size() == 1:
                break
            await asyncio.sleep(0.01)
        assert pool.get_size() == 1
        check(pool)


async def test_terminate(dsn: str) -> None:
    pool = await fastpg.create_pool(dsn, min_size=1, max_size=1)
    con = (await pool.acquire())._con
    waiting = asyncio.ensure_future(pool.fetchval("SELECT 1"))
    await asyncio.sleep(0)
    pool.terminate()
    with pytest.raises(fastpg.InterfaceError):
        await asyncio.wait_for(waiting, WAIT)
    assert con.is_closed()


async def test_close_waits(dsn: str) -> None:
    pool = await fastpg.create_pool(dsn, min_size=1, max_size=2)
    con = await pool.acquire()
    closing = asyncio.ensure_future(pool.close())
    await asyncio.sleep(0)
    with pytest.raises(fastpg.InterfaceError, match="pool is closing"):
        await pool.acquire()
    assert await con.fetchval("SELECT 1") == 1 and not closing.done()
    await pool.release(con)
    await asyncio.wait_for(closing, WAIT)
    await pool.close()


@pytest.mark.parametrize("ending", ["served", "cancelled"])
async def test_close_sleeps_while_tasks_wait_and_no_holder_is_in_use(
    dsn: str, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    gate, cancelled = asyncio.Event(), asyncio.Event()
    gate.set()

    async def connect(*args: Any, **options: Any) -> Any:
        try:
            await gate.wait()
        except asyncio.CancelledError:
            cancelled.set()
            await gate.wait()  # it takes its time
            raise
        return await fastpg.connect(*args, **options)

    looks = 0
    original = fastpg.Pool._is_unused

    def count(pool: fastpg.Pool) -> bool:
        nonlocal looks
        looks += 1
        return original(pool)

    monkeypatch.setattr(fastpg.Pool, "_is_unused", count)
    pool = await fastpg.create_pool(dsn, min_size=1, max_size=1, connect=connect)
    gate.clear()
    async with pool.acquire() as con:
        con.terminate()
    await asyncio.sleep(0)  # the pool has begun to replace it
    value = asyncio.ensure_future(pool.fetchval("SELECT 1"))
    await asyncio.sleep(0)
    assert pool._queue.waiting() == 1 and pool.get_size() == 0
    closing = asyncio.ensure_future(pool.close())
    await asyncio.wait_for(cancelled.wait(), WAIT)
    for _ in range(100):
        await asyncio.sleep(0)
    assert looks == 1 and not closing.done()
    if ending == "served":
        gate.set()
        assert await asyncio.wait_for(value, WAIT) == 1
    else:
        value.cancel()
    await asyncio.wait_for(closing, WAIT)
    gate.set()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"max_size": 0}, "max_size is expected to be greater than zero"),
        ({"min_size": -1}, "min_size is expected to be greater or equal to zero"),
        ({"min_size": 11}, "min_size is greater than max_size"),
        ({"init_size": 11}, "init_size is greater than max_size"),
        ({"init_size": 1}, "init_size is smaller than min_size"),
        ({"max_queries": 0}, "max_queries is expected to be greater than zero"),
    ],
)
async def test_bad_options(options: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        fastpg.create_pool(**options)


async def test_not_initialized(dsn: str) -> None:
    pool = fastpg.create_pool(dsn)
    with pytest.raises(fastpg.InterfaceError, match="pool is not initialized"):
        await pool.fetchval("SELECT 1")


async def test_cancel_after_every_number_of_turns(dsn: str) -> None:
    async with fastpg.create_pool(dsn, min_size=0, max_size=1) as pool:

        async def use() -> None:
            async with pool.acquire() as con:
                assert await con.fetchval("SELECT $1::int", 5) == 5

        for turns in range(40):
            if turns % 2:
                await pool.expire_connections()
            task = asyncio.ensure_future(use())
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await asyncio.wait_for(use(), WAIT)
            check(pool)


async def test_many_tasks_with_cancels_and_killed_backends(dsn: str) -> None:
    chance = random.Random(4711)
    wrong: list[Any] = []
    async with fastpg.create_pool(dsn, min_size=0, max_size=4) as pool:

        async def use(tag: int) -> None:
            try:
                if chance.random() < 0.03:
                    await pool.execute("SELECT pg_terminate_backend(pg_backend_pid())")
                for _ in range(3):
                    if await pool.fetchval("SELECT $1::int", tag, timeout=chance.choice([None, 5])) != tag:
                        wrong.append(tag)
            except (fastpg.PostgresError, fastpg.InterfaceError, OSError):
                pass

        tasks = [asyncio.ensure_future(use(tag)) for tag in range(300)]
        while not all(task.done() for task in tasks):
            chance.choice(tasks[: len(tasks) // 2]).cancel()
            await asyncio.sleep(0.002)
        await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), WAIT)
        for _ in range(1000):
            if not pool._releases:
                break
            await asyncio.sleep(0.01)
        assert not wrong
        check(pool)
        answers = await asyncio.gather(*[pool.fetchval("SELECT $1::int", tag) for tag in range(20)])
        assert answers == list(range(20))
        check(pool)


async def test_resize(dsn: str) -> None:
    async with fastpg.create_pool(dsn, min_size=1, max_size=1) as pool:
        first = await pool.acquire()
        waiting = asyncio.ensure_future(pool.acquire())
        await asyncio.sleep(0)
        pool.resize(max_size=2)
        second = await asyncio.wait_for(waiting, WAIT)
        pool.resize(max_size=1)
        await pool.release(second)
        assert pool.get_size() == 1 and len(pool._holders) == 1
        assert await first.fetchval("SELECT 1") == 1
        await pool.release(first)
        check(pool)
        assert await pool.fetchval("SELECT 2") == 2
        with pytest.raises(ValueError, match="min_size is greater than max_size"):
            pool.resize(min_size=2)


async def test_max_lifetime(dsn: str) -> None:
    async with fastpg.create_pool(dsn, min_size=1, max_size=1, max_lifetime=0.01) as pool:
        pid = await pool.fetchval("SELECT pg_backend_pid()")
        await asyncio.sleep(0.02)
        assert await pool.fetchval("SELECT pg_backend_pid()") != pid
        # By now that one may be too old as well, and be closed or replaced while nobody waits for it.


async def test_another_thread_is_refused(dsn: str) -> None:
    async with fastpg.create_pool(dsn, min_size=1, max_size=1) as pool:
        errors: list[BaseException] = []

        def run() -> None:
            try:
                asyncio.run(pool.fetchval("SELECT 1"))
            except BaseException as error:
                errors.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        await asyncio.get_running_loop().run_in_executor(None, thread.join)
        assert len(errors) == 1 and isinstance(errors[0], fastpg.InterfaceError) and "another thread" in str(errors[0])
        check(pool)


async def test_cancels_while_a_transaction_is_rolled_back(dsn: str) -> None:
    chance = random.Random(3)
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)  # the rollbacks are reported
    async with fastpg.create_pool(dsn, min_size=0, max_size=2) as pool:

        async def use() -> None:
            async with pool.acquire() as con:
                await con.execute("BEGIN; SELECT 1")
                await con.fetchval("SELECT pg_sleep(0.001)")

        for _ in range(40):
            tasks = [asyncio.ensure_future(use()) for _ in range(4)]
            for task in tasks:
                for _ in range(chance.randrange(25)):
                    await asyncio.sleep(0)
                await asyncio.sleep(chance.choice([0, 0.001, 0.003]))
                task.cancel()
                await asyncio.sleep(0)
                task.cancel()
            await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), WAIT)
            assert await asyncio.wait_for(pool.fetchval("SELECT 5"), WAIT) == 5
        while pool._releases:
            await asyncio.wait_for(asyncio.gather(*pool._releases, return_exceptions=True), WAIT)
        check(pool)


async def test_the_next_user_has_the_first_client_encoding(dsn: str) -> None:
    async with fastpg.create_pool(dsn, min_size=1, max_size=1) as pool:
        for _ in range(2):
            await pool.execute("SET client_encoding TO latin1")
            assert await pool.fetchrow("SELECT $1::text, '€'", "ä€") == ("ä€", "€")
    settings = {"client_encoding": "latin1"}
    async with fastpg.create_pool(dsn, min_size=1, max_size=1, server_settings=settings) as pool:
        await pool.execute("SET client_encoding TO utf8")
        assert await pool.fetchrow("SELECT $1::text, octet_length('ä')", "ä") == ("ä", 2)


@pytest.mark.parametrize("pipelined", [False, True])
async def test_an_argument_that_ends_the_connection(dsn: str, pipelined: bool) -> None:
    class Ends:
        def __index__(self) -> int:
            pool._holders[0]._con.terminate()
            return 1

    query = "SELECT $1::oid"
    async with fastpg.create_pool(dsn, min_size=1, max_size=1, pipelined=pipelined) as pool:
        for _ in range(3):
            assert await pool.fetchval(query, 5) == 5
            with pytest.raises(exceptions.ConnectionDoesNotExistError) as caught:
                await asyncio.wait_for(pool.fetchval(query, Ends()), WAIT)
            assert caught.value.fastpg is not None and caught.value.fastpg.outcome == "not_sent"
            assert await asyncio.wait_for(pool.fetchval(query, 7), WAIT) == 7


async def test_a_failing_reset_does_not_hide_a_cancel(dsn: str) -> None:
    async def reset(con: Any) -> None:
        raise ValueError("reset")

    async with fastpg.create_pool(dsn, min_size=0, max_size=1, reset=reset) as pool:

        async def borrow() -> None:
            async with pool.acquire() as con:
                await con.execute("SELECT pg_sleep(60)")

        for call in (borrow(), pool.execute("SELECT pg_sleep(60)")):
            task: asyncio.Task[Any] = asyncio.ensure_future(call)  # type: ignore[arg-type]
            await asyncio.sleep(0.1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asyncio.wait_for(asyncio.gather(task), WAIT)
        with pytest.raises(ValueError, match="reset"):
            await pool.fetchval("SELECT 1")
        with pytest.raises(ValueError, match="reset"):
            async with pool.acquire():
                pass


@pytest.mark.parametrize("pipelined", [False, True])
async def test_a_timeout_that_is_too_large_for_a_float(dsn: str, pipelined: bool) -> None:
    async with fastpg.create_pool(dsn, min_size=1, max_size=1, pipelined=pipelined) as pool:
        assert await pool.fetchval("SELECT 1") == 1
        with pytest.raises(OverflowError):
            await pool.fetchval("SELECT 1", timeout=10**400)
        assert await asyncio.wait_for(pool.fetchval("SELECT 1", timeout=WAIT), WAIT) == 1
