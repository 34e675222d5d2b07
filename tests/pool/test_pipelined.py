# SPDX-License-Identifier: MIT
"""create_pool(..., pipelined=True): calls of different tasks share connections, and none harms another."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

import fastpg
from fastpg import _depth, exceptions
from tests.bouncer import bouncer, program
from tests.pool.test_pool import check
from tests.wiretap import Wiretap, wiretap
from tools.stress_pipelined import stress

WAIT = 30
TAG = "SELECT $1::int"
LOCK = "SELECT $1::int + (pg_advisory_xact_lock($2)::text = 'x')::int"
PID = "SELECT pg_backend_pid()"


@contextlib.asynccontextmanager
async def pipelined(dsn: str, size: int = 1, eager: bool = True, **options: Any) -> AsyncIterator[fastpg.Pool]:
    """A pipelined pool whose connections know the statements; checked at its end.

    eager: calls share connections also where a busy machine makes every statement slow.
    """
    async with fastpg.create_pool(dsn, min_size=size, max_size=size, pipelined=True, **options) as pool:
        if eager:
            pool._queue.target = pool._queue.slow = 1000
        await warm(pool, size)
        yield pool
        await settled(pool)


async def warm(pool: fastpg.Pool, size: int) -> None:
    connections = [await pool.acquire() for _ in range(size)]
    for connection in connections:
        await connection.fetchval(TAG, 0)
        await connection.fetchval("SELECT 1 / $1::int", 1)
        await connection.fetchval(LOCK, 0, 0)
        await connection.fetchval(PID)
        await pool.release(connection)
    for _ in range(20):
        await pool.fetchval(TAG, 0)
        await pool.fetchval("SELECT 1 / $1::int", 1)
        await pool.fetchval(LOCK, 0, 0)
        await pool.fetchval(PID)


async def settled(pool: fastpg.Pool) -> None:
    for _ in range(1000):
        if pool._queue.qsize() == pool.get_max_size() and not pool._releases:
            break
        await asyncio.sleep(0.01)
    check(pool)


def in_flight(pool: fastpg.Pool) -> list[int]:
    """Operations in each connection's queue."""
    return [holder._con._client.session.pending for holder in pool._holders if holder.is_connected()]


@contextlib.asynccontextmanager
async def locked(dsn: str, key: int) -> AsyncIterator[fastpg.Connection]:
    """An advisory lock, held by another connection until the block or the transaction ends."""
    connection = await fastpg.connect(dsn)
    try:
        await connection.execute("SELECT pg_advisory_lock($1)", key)
        yield connection
    finally:
        await connection.close()


async def started(pool: fastpg.Pool, number: int) -> None:
    """Until so many calls are under way."""
    for _ in range(1000):
        if sum(in_flight(pool)) >= number:
            return
        await asyncio.sleep(0.005)
    raise AssertionError(f"{in_flight(pool)} are under way, not {number}")


async def test_answers_have_their_tags(dsn: str) -> None:
    async with pipelined(dsn, 2) as pool:
        calls = [asyncio.ensure_future(pool.fetchval(TAG, tag)) for tag in range(1000)]
        most = 0
        while not all(call.done() for call in calls):
            await asyncio.sleep(0)
            most = max([most, *in_flight(pool)])
        assert [call.result() for call in calls] == list(range(1000))
        assert most > 1, "they do share"
        rows = await asyncio.gather(*[pool.fetch(TAG, tag) for tag in range(100)])
        assert rows == [[(tag,)] for tag in range(100)]
        assert await asyncio.gather(*[pool.fetchrow(TAG, tag) for tag in range(100)]) == [(t,) for t in range(100)]
        assert await asyncio.gather(*[pool.execute(TAG, tag) for tag in range(100)]) == ["SELECT 1"] * 100


async def test_an_error_has_one_reader(dsn: str) -> None:
    async with pipelined(dsn) as pool:

        async def call(number: int) -> Any:
            if number % 3 == 0:
                with pytest.raises(exceptions.DivisionByZeroError) as caught:
                    await pool.fetchval("SELECT 1 / $1::int", 0)
                assert caught.value.fastpg.outcome == "failed"
                return number
            if number % 3 == 1:
                with pytest.raises(exceptions.DataError):
                    await pool.fetchval(TAG, "a word")
                return number
            return await pool.fetchval(TAG, number)

        assert await asyncio.gather(*[call(number) for number in range(300)]) == list(range(300))


async def test_a_slow_statement_is_in_front_of_nobody(dsn: str) -> None:
    sleep = "SELECT $1::int + (pg_sleep($2)::text = 'x')::int"
    async with pipelined(dsn, 2, eager=False) as pool, locked(dsn, 4711) as other:
        # Both know it, and it is slow.
        await asyncio.gather(*[pool.fetchval(sleep, 1, 0.05) for _ in range(2)])
        waits = "SELECT pg_sleep(0.01), pg_advisory_xact_lock(4711)"
        slow = asyncio.ensure_future(pool.fetchval(waits))
        await started(pool, 1)
        calls = [pool.fetchval(TAG, tag) for tag in range(100)]
        assert await asyncio.wait_for(asyncio.gather(*calls), WAIT) == list(range(100))
        assert not slow.done()
        await other.execute("SELECT pg_advisory_unlock(4711)")
        await asyncio.wait_for(slow, WAIT)


async def test_what_hangs_gets_nobody_behind_it(dsn: str) -> None:
    async with pipelined(dsn, 2, eager=False) as pool, locked(dsn, 4712) as other:
        # Quick by all experience, but not today.
        slow = asyncio.ensure_future(pool.fetchval(LOCK, 7, 4712))
        await started(pool, 1)
        await asyncio.sleep(0.05)
        for tag in range(50):
            assert await asyncio.wait_for(pool.fetchval(TAG, tag), WAIT) == tag
        assert not slow.done()
        await other.execute("SELECT pg_advisory_unlock(4712)")
        assert await asyncio.wait_for(slow, WAIT) == 7


OTHERS = ["SHOW search_path", "SET work_mem = '5MB'", "EXPLAIN SELECT 1", "TABLE pg_am", "BEGIN",
          "/* /* */ select */ SHOW search_path"]  # fmt: skip


@pytest.mark.parametrize("query", OTHERS)
async def test_other_statements_have_a_connection_for_themselves(dsn: str, query: str) -> None:
    async with pipelined(dsn) as pool:
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)  # the rollback of BEGIN is reported
        for _ in range(3):
            await pool.fetch(query)
        before = pool._holders[0]._con._client.queries_count
        work = [asyncio.ensure_future(pool.fetch(query)) for _ in range(3)]
        while not all(task.done() for task in work):
            # A reset may stand in front of it, and nothing else.
            assert in_flight(pool)[0] <= 2
            await asyncio.sleep(0)
        await settled(pool)
        assert await pool.fetchval("SELECT current_setting('work_mem')") != "5MB"
        assert pool._holders[0]._con._client.queries_count >= before + 6, "there is a reset behind each"


async def test_scripts_and_copy(dsn: str) -> None:
    async with pipelined(dsn) as pool:
        assert await pool.execute("SET work_mem = '5MB'; SELECT 5") == "SELECT 1"
        for call in (pool.fetch, pool.execute):
            with pytest.raises(fastpg.InterfaceError, match="COPY"):
                await call("COPY (SELECT 1) TO STDOUT")
        assert await pool.fetchval("SELECT current_setting('work_mem')") != "5MB"
        assert await pool.copy_from_query("SELECT 1", output=lambda data: None) == "COPY 1"
        assert await pool.fetchval(TAG, 1) == 1


@pytest.mark.parametrize("name", ["setup", "reset"])
async def test_callbacks_see_every_use(dsn: str, name: str) -> None:
    used = []

    async def callback(connection: Any) -> None:
        used.append(connection)

    async with fastpg.create_pool(dsn, min_size=2, max_size=2, pipelined=True, **{name: callback}) as pool:
        assert await asyncio.gather(*[pool.fetchval(TAG, tag) for tag in range(20)]) == list(range(20))
        assert len(used) == 20
        await settled(pool)


async def test_acquire_is_served(dsn: str) -> None:
    async with pipelined(dsn, 2) as pool:
        stop = False

        async def busy() -> None:
            while not stop:
                await pool.fetchval(TAG, 1)

        tasks = [asyncio.ensure_future(busy()) for _ in range(40)]
        try:
            for _ in range(20):
                async with pool.acquire(timeout=WAIT) as one, pool.acquire(timeout=WAIT) as two:
                    assert in_flight(pool) == [0, 0] or sum(in_flight(pool)) <= 2  # resets
                    assert await one.fetchval(TAG, 1) + await two.fetchval(TAG, 2) == 3
        finally:
            stop = True
            await asyncio.wait_for(asyncio.gather(*tasks), WAIT)


async def test_calls_are_served_beside_borrowers(dsn: str) -> None:
    async with pipelined(dsn) as pool:
        stop = False

        async def borrow() -> None:
            while not stop:
                async with pool.acquire() as connection:
                    await connection.fetchval(TAG, 1)

        tasks = [asyncio.ensure_future(borrow()) for _ in range(5)]
        try:
            for tag in range(20):
                assert await asyncio.wait_for(pool.fetchval(TAG, tag), WAIT) == tag
        finally:
            stop = True
            await asyncio.wait_for(asyncio.gather(*tasks), WAIT)


async def test_slow_and_new_statements_are_not_overtaken_for_ever(dsn: str) -> None:
    async with pipelined(dsn, 2) as pool:
        nap = "SELECT $1::int + (pg_sleep(0.0005)::text = 'x')::int"
        async with pool.acquire() as one, pool.acquire() as two:
            await one.fetchval(nap, 0)
            await two.fetchval(nap, 0)
        await asyncio.gather(*[pool.fetchval(nap, 0) for _ in range(2)])
        stop = False

        async def busy() -> None:
            while not stop:
                await pool.fetchval(nap, 1)

        async with pool.acquire() as lent:
            tasks = [asyncio.ensure_future(busy()) for _ in range(20)]
            try:
                await started(pool, 15)
                for n in range(3):
                    # The other connection, which is never empty by itself, has not seen it; how slow it is, nobody has.
                    new = f"SELECT {n}, $1::int"
                    await lent.fetchval(new, 5)
                    assert await asyncio.wait_for(pool.fetchrow(new, 5), WAIT) == (n, 5)
                    assert await asyncio.wait_for(pool.fetchrow(new, 5), WAIT) == (n, 5)
            finally:
                stop = True
                await asyncio.wait_for(asyncio.gather(*tasks), WAIT)


async def test_a_borrower_has_a_new_session(dsn: str) -> None:
    async with pipelined(dsn) as pool:
        for _ in range(3):
            await pool.fetchval("SELECT set_config('work_mem', '5MB', false)")
        async with pool.acquire() as connection:
            assert await connection.fetchval("SELECT current_setting('work_mem')") != "5MB"


async def test_a_lost_connection(dsn: str) -> None:
    async with pipelined(dsn, 2) as pool, locked(dsn, 4713) as other:
        assert pool._queue.direct
        pid = await pool.fetchval(PID)
        calls = [asyncio.ensure_future(pool.fetchval(LOCK, tag, 4713)) for tag in range(3)]
        await started(pool, 3)
        for holder in pool._holders:
            if holder._con._client.session.pending > 1:
                pid = holder._con.get_server_pid()
        behind = max(in_flight(pool))
        assert behind > 1, "they do share"
        await other.execute("SELECT pg_terminate_backend($1)", pid)
        await asyncio.sleep(0.05)
        await other.execute("SELECT pg_advisory_unlock(4713)")
        results = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), WAIT)
        errors = [result for result in results if isinstance(result, BaseException)]
        assert len(errors) == behind
        for error in errors:
            assert isinstance(error, (exceptions.ConnectionDoesNotExistError, exceptions.AdminShutdownError)), error
            assert error.fastpg.bytes_sent and error.fastpg.outcome in ("unknown", "failed")
        assert await asyncio.wait_for(pool.fetchval(TAG, 5), WAIT) == 5
        await warm(pool, 2)


async def test_a_server_that_dies(dsn: str) -> None:
    async with wiretap(dsn) as (tap, through), pipelined(through) as pool:
        async with locked(dsn, 4714):
            calls = [asyncio.ensure_future(pool.fetchval(LOCK, tag, 4714)) for tag in range(5)]
            await started(pool, 3)
            waiting = sum(in_flight(pool))
            for task in tap.tasks:
                task.cancel()
            results = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), WAIT)
        lost = [result for result in results if isinstance(result, exceptions.ConnectionDoesNotExistError)]
        assert len(lost) == waiting and {error.fastpg.outcome for error in lost} == {"unknown"}
        assert len({id(error) for error in lost}) == waiting, "each has an exception of its own"
        assert await asyncio.wait_for(pool.fetchval(TAG, 5), WAIT) == 5


async def test_cancelling_one_harms_no_other(dsn: str) -> None:
    async with pipelined(dsn) as pool, locked(dsn, 4715) as other:
        pool._holders[0]._con._client.cancel_timeout = 0.05
        first = asyncio.ensure_future(pool.fetchval(LOCK, 1, 4715))
        second = asyncio.ensure_future(pool.fetchval(TAG, 2))
        third = asyncio.ensure_future(pool.fetchval(TAG, 3))
        await started(pool, 3)
        third.cancel()  # behind one that is wanted and takes longer than a cancel may
        await asyncio.sleep(0.2)
        await other.execute("SELECT pg_advisory_unlock(4715)")
        assert await asyncio.wait_for(asyncio.gather(first, second), WAIT) == [1, 2]
        with pytest.raises(asyncio.CancelledError):
            await third
    async with pipelined(dsn) as pool, locked(dsn, 4716) as other:
        first = asyncio.ensure_future(pool.fetchval(LOCK, 1, 4716))
        second = asyncio.ensure_future(pool.fetchval(TAG, 2))
        await started(pool, 2)
        first.cancel()  # it is what the server runs, but by the time a cancel comes it could be the second
        await asyncio.sleep(0.05)
        await other.execute("SELECT pg_advisory_unlock(4716)")
        assert await asyncio.wait_for(second, WAIT) == 2
        pid = await pool.fetchval(PID)
    async with pipelined(dsn) as pool, locked(dsn, 4717):
        pid = await pool.fetchval(PID)
        calls = [asyncio.ensure_future(pool.fetchval(LOCK, tag, 4717)) for tag in range(2)]
        await started(pool, 2)
        for call in calls:
            call.cancel()
        # Nobody wants anything of it: the server is told to stop. This call begins before the two tasks hear of it.
        assert await pool.fetchval(PID, timeout=WAIT) == pid


async def test_timeouts(dsn: str) -> None:
    async with pipelined(dsn) as pool, locked(dsn, 4718):
        pid = await pool.fetchval(PID)
        calls = [asyncio.ensure_future(pool.fetchval(LOCK, 1, 4718, timeout=0.05)) for _ in range(2)]
        calls.append(asyncio.ensure_future(pool.fetchval(TAG, 1, timeout=0.1)))
        began = time.monotonic()
        for error in await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), WAIT):
            assert isinstance(error, asyncio.TimeoutError)
            assert error.fastpg.outcome == "unknown"  # type: ignore[attr-defined]
        assert time.monotonic() - began >= 0.099
        assert await asyncio.wait_for(pool.fetchval(PID), WAIT) == pid


async def test_cancelled_before_it_has_a_connection(dsn: str) -> None:
    async with pipelined(dsn) as pool:
        connection = await pool.acquire()
        told: list[Any] = []

        async def call(tag: int) -> Any:
            try:
                return await pool.fetchval(TAG, tag)
            except asyncio.CancelledError as error:
                told.append(error.fastpg.outcome)  # type: ignore[attr-defined]
                raise

        calls = [asyncio.ensure_future(call(tag)) for tag in range(10)]
        await asyncio.sleep(0)
        assert pool.stats().waiting == 10
        calls[0].cancel()
        await asyncio.sleep(0)
        await pool.release(connection)
        calls[1].cancel()  # by now it has been started
        results = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), WAIT)
        assert results[2:] == list(range(2, 10))
        for error in results[:2]:
            assert isinstance(error, asyncio.CancelledError)
        assert told == ["not_sent", "unknown"]


async def test_close_and_resize_while_calls_run(dsn: str) -> None:
    pool = await fastpg.create_pool(dsn, min_size=3, max_size=3, pipelined=True)
    await warm(pool, 3)
    calls = [asyncio.ensure_future(pool.fetchval(TAG, tag)) for tag in range(200)]
    await asyncio.sleep(0)
    pool.resize(min_size=1, max_size=1)
    assert await asyncio.wait_for(asyncio.gather(*calls), WAIT) == list(range(200))
    await settled(pool)
    assert len(pool._holders) == pool.get_size() == 1
    calls = [asyncio.ensure_future(pool.fetchval(TAG, tag)) for tag in range(200)]
    await asyncio.sleep(0)
    await asyncio.wait_for(pool.close(), WAIT)
    assert await asyncio.gather(*calls) == list(range(200))
    assert pool._queue.waiting() == 0


@pytest.mark.parametrize("pipeline", [False, True])
async def test_resize_while_only_one_shot_calls_run(dsn: str, pipeline: bool) -> None:
    async with fastpg.create_pool(dsn, min_size=3, max_size=3, pipelined=pipeline) as pool:
        await warm(pool, 3)
        stop = False

        async def busy() -> None:
            while not stop:
                await pool.fetchval(TAG, 1)

        tasks = [asyncio.ensure_future(busy()) for _ in range(30)]
        await asyncio.sleep(0)
        pool.resize(min_size=1, max_size=1)
        for _ in range(1000):
            if len(pool._holders) == 1:
                break
            await asyncio.sleep(0.005)
        stop = True
        await asyncio.wait_for(asyncio.gather(*tasks), WAIT)
        assert len(pool._holders) == 1
        await settled(pool)


async def test_max_queries_and_expiry(dsn: str) -> None:
    async with pipelined(dsn, 2, max_queries=200) as pool:
        for _ in range(20):
            assert await asyncio.gather(*[pool.fetchval(TAG, tag) for tag in range(100)]) == list(range(100))
        pids = set(await asyncio.gather(*[pool.fetchval(PID) for _ in range(10)]))
        await pool.expire_connections()
        assert not pids & set(await asyncio.gather(*[pool.fetchval(PID) for _ in range(10)]))
        await settled(pool)


async def test_ddl_while_calls_run(dsn: str) -> None:
    async with pipelined(dsn, 2) as pool:
        await pool.execute("DROP TABLE IF EXISTS pipelined; CREATE TABLE pipelined AS SELECT 1 AS a")
        query = "SELECT * FROM pipelined"
        for kind, row in (("text", ("1",)), ("int", (1,)), ("numeric", (1,))):
            await asyncio.gather(*[pool.fetchrow(query) for _ in range(20)])
            await pool.execute(f"ALTER TABLE pipelined ALTER a TYPE {kind} USING a::{kind}")
            assert await asyncio.gather(*[pool.fetchrow(query) for _ in range(20)]) == [row] * 20
        await pool.execute("DROP TABLE pipelined")


async def test_statements_are_evicted_while_calls_run(dsn: str) -> None:
    async with pipelined(dsn, 2, statement_cache_size=3) as pool:
        calls = [pool.fetchval(f"SELECT $1::int + {n % 7}", n) for n in range(300)]
        assert await asyncio.wait_for(asyncio.gather(*calls), WAIT) == [n + n % 7 for n in range(300)]


class Unsure(fastpg.Connection):
    """Its reset query cannot be had."""

    fails = False

    def get_reset_query(self) -> str:
        if self.fails:
            raise ZeroDivisionError
        return super().get_reset_query()


async def test_a_reset_query_that_cannot_be_had(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context["exception"]))
    async with fastpg.create_pool(dsn, min_size=1, max_size=1, connection_class=Unsure) as pool:
        for _ in range(3):
            assert await pool.fetchval("SHOW search_path")
        monkeypatch.setattr(Unsure, "fails", True)
        assert await pool.fetchval("SHOW search_path")
        assert isinstance(told.pop(), ZeroDivisionError)
        monkeypatch.setattr(Unsure, "fails", False)
        connection = await asyncio.wait_for(pool.acquire(), WAIT)
        monkeypatch.setattr(Unsure, "fails", True)
        with pytest.raises(ZeroDivisionError):
            await pool.release(connection)
        monkeypatch.setattr(Unsure, "fails", False)
        await settled(pool)
        assert not told


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
@pytest.mark.parametrize("pipeline", [False, True])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_call_after_a_fork(dsn: str, pipeline: bool) -> None:
    """Of a loop that does not run at that moment, and then runs in the child."""
    loop = asyncio.new_event_loop()

    async def start() -> fastpg.Pool:
        pool: fastpg.Pool = await fastpg.create_pool(dsn, min_size=1, max_size=1, pipelined=pipeline)
        await warm(pool, 1)
        # The answer to the last reset would be read by the parent or by the child.
        for _ in range(1000):
            await asyncio.sleep(0.005)
            if not sum(in_flight(pool)):
                break
        return pool

    try:
        pool = loop.run_until_complete(start())
        child = os.fork()
        if child == 0:
            code = 1
            try:
                loop.run_until_complete(pool.fetchval(TAG, 1))
            except exceptions.InterfaceError as error:
                code = 0 if "before a fork" in str(error) else 2
            finally:
                os._exit(code)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        assert loop.run_until_complete(asyncio.wait_for(pool.fetchval(TAG, 2), WAIT)) == 2
        loop.run_until_complete(pool.close())
    finally:
        loop.close()


# ------------------------------------------------------------------ random cancels


@pytest.mark.parametrize("pipeline", [True, False])
async def test_nothing_goes_astray(dsn: str, pipeline: bool) -> None:
    counts = await stress(dsn, 3000, 7, pipelined=pipeline)
    assert min(counts["answered"], counts["cancelled"]) > 500 and counts["timed out"] > 20, counts


# ----------------------------------------------------------------------- proxies


class Forgetful(Wiretap):
    """Forwards what comes up to the first Sync of a write, and loses the rest of it."""

    async def carry(self, who: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if who == "client":
            original = writer.write

            def write(data: bytes) -> None:
                end = data.find(b"S\0\0\0\4")
                original(data if end < 0 else data[: end + 5])

            writer.write = write  # type: ignore[method-assign, assignment]
        await super().carry(who, reader, writer)


async def test_a_proxy_that_loses_statements(
    dsn: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(_depth, "LIMIT", 0.2)
    monkeypatch.setattr("tests.wiretap.Wiretap", Forgetful)
    async with wiretap(dsn) as (_, through):
        for attempt in range(2):
            caplog.clear()
            with caplog.at_level(logging.WARNING, "fastpg"):
                async with fastpg.create_pool(
                    through, min_size=2, max_size=2, pipelined=True, warm_statements=5
                ) as pool:
                    assert pool._queue.depth == 1
                    calls = [pool.fetchval(TAG, tag) for tag in range(50)]
                    assert await asyncio.wait_for(asyncio.gather(*calls), WAIT) == list(range(50))
                    async with pool.acquire() as connection, connection.transaction():
                        assert await connection.fetchval(TAG, 1) == 1
                    await settled(pool)
            warnings = [record.message for record in caplog.records if "answers only the first" in record.message]
            assert len(warnings) == 1 - attempt, "once for each address"


async def test_the_probe_costs_one_round_trip_for_each_address(dsn: str) -> None:
    async with wiretap(dsn) as (tap, through):
        took = []
        for pipeline in (False, True, True):
            tap.clear()
            async with fastpg.create_pool(through, min_size=3, max_size=3, pipelined=pipeline) as pool:
                assert pool._queue.depth > 1 and (getattr(pool._queue, "round_trip", 0) > 0) == pipeline
                took.append(b"".join(data for _, data in tap.said).count(b"SELECT WHERE false"))
        assert took == [0, 3, 0]


@pytest.mark.skipif(program() is None, reason="no PgBouncer here")
@pytest.mark.parametrize("mode", ["session", "transaction"])
async def test_behind_pgbouncer(dsn: str, mode: str) -> None:
    with bouncer(dsn, mode, size=3 if mode == "session" else 2) as through:
        async with fastpg.create_pool(through, proxy=mode, min_size=3, max_size=3, pipelined=True) as pool:
            assert pool._queue.depth > 1
            for _ in range(5):
                calls = [pool.fetchval(TAG, tag) for tag in range(200)]
                assert await asyncio.wait_for(asyncio.gather(*calls), WAIT) == list(range(200))
            with pytest.raises(asyncio.TimeoutError):
                await pool.fetchval("SELECT pg_sleep($1)", 20, timeout=0.05)
            assert await asyncio.wait_for(pool.fetchval(TAG, 1), WAIT) == 1
            await settled(pool)
