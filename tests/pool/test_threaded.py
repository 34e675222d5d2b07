# SPDX-License-Identifier: MIT
"""ThreadedPool: several loops in several threads, one limit of connections."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import sys
import threading
import weakref
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future
from typing import Any

import pytest

import fastpg
from fastpg import _limit, threaded
from tests import messages as m
from tests.fakeserver import FIN, FakeServer, message, packet

WAIT = 30
LOOPS: list[Callable[[], asyncio.AbstractEventLoop]] = [asyncio.new_event_loop]
if sys.platform != "win32":
    import uvloop

    LOOPS.append(uvloop.new_event_loop)


class Worker:
    """A thread with a running loop."""

    def __init__(self, new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
        self.loop = new_loop()
        self.thread = threading.Thread(target=self.main)
        self.thread.start()

    def main(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    def start(self, work: Awaitable[Any]) -> Future[Any]:
        async def main() -> Any:
            return await work

        return asyncio.run_coroutine_threadsafe(main(), self.loop)

    async def run(self, work: Awaitable[Any]) -> Any:
        return await asyncio.wait_for(asyncio.wrap_future(self.start(work)), WAIT)

    def stop(self) -> None:
        """Stop the loop, and leave it as it is."""
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(WAIT)

    def end(self) -> None:
        """As asyncio.run() does."""
        if self.thread.is_alive():
            self.stop()
        if not self.loop.is_closed():
            self.loop.run_until_complete(self.loop.shutdown_asyncgens())
            self.loop.close()


@pytest.fixture
def workers() -> Iterator[list[Worker]]:
    """Four threads with loops of the kinds there are."""
    workers = [Worker(LOOPS[i % len(LOOPS)]) for i in range(4)]
    yield workers
    for worker in workers:
        worker.end()


@pytest.fixture
def role(server: Any, dsn: str) -> Iterator[Callable[[int], Awaitable[str]]]:
    """The URI of a role that the server allows so many connections and no more."""

    async def make(limit: int) -> str:
        con = await fastpg.connect(dsn)
        await con.execute(f"DROP ROLE IF EXISTS threaded; CREATE ROLE threaded LOGIN CONNECTION LIMIT {limit}")
        await con.close()
        return dsn.replace(f"//{server.user}@", "//threaded@").replace(f"user={server.user}", "user=threaded")

    yield make


def is_settled(pool: fastpg.ThreadedPool) -> bool:
    """Nothing is lost: what is not free is a connection of a shard, and nobody waits."""
    limiter = pool._limiter
    return (
        limiter.free + limiter.held() == limiter.size and not limiter.line
        and limiter.wanted == 0 and limiter.promised == 0
        and all(share.outstanding == 0 for share in limiter.shares)
    )  # fmt: skip


async def check(pool: fastpg.ThreadedPool) -> None:
    await until(lambda: is_settled(pool))


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(WAIT * 100):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it has not come true")


class Peak:
    """Counts the connections there are, as a pool's `connect`."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.now = self.peak = self.made = 0

    async def connect(self, *args: Any, **kwargs: Any) -> Any:
        with self.lock:
            self.now += 1
            self.made += 1
            self.peak = max(self.peak, self.now)
        con = await fastpg.connect(*args, **kwargs)
        con._client.closed.add_done_callback(self.ended)
        return con

    def ended(self, closed: object) -> None:
        with self.lock:
            self.now -= 1


async def test_methods(dsn: str) -> None:
    async with fastpg.ThreadedPool(dsn, max_size=2) as pool:
        assert await pool is pool
        assert await pool.execute("SELECT 1") == "SELECT 1"
        for _ in range(3):
            assert await pool.fetchval("SELECT $1::int", 7) == 7
            assert await pool.fetchrow("SELECT 1 AS a, 2") == (1, 2)
            assert await pool.fetch("SELECT generate_series(1, 2) AS a", row_factory="dict") == [{"a": 1}, {"a": 2}]
        assert await pool.fetchmany("SELECT $1::int", [(1,), (2,)]) == [(1,), (2,)]
        await pool.execute("CREATE TABLE IF NOT EXISTS threaded_methods (a int); TRUNCATE threaded_methods")
        await pool.executemany("INSERT INTO threaded_methods VALUES ($1)", [(1,), (2,)])
        assert await pool.copy_records_to_table("threaded_methods", records=[(3,)]) == "COPY 1"
        lines: list[bytes] = []

        async def output(data: bytes) -> None:
            lines.append(bytes(data))

        assert await pool.copy_from_table("threaded_methods", output=output) == "COPY 3"
        assert await pool.copy_from_query("SELECT 4", output=output) == "COPY 1"
        assert b"".join(lines) == b"1\n2\n3\n4\n"
        await pool.execute("DROP TABLE threaded_methods")
        async with pool.acquire() as con:
            assert isinstance(con, fastpg.Connection)
            assert pool.stats() == fastpg.pool.PoolStats(1, 0, 1, 0, 0, 2)
        con = await pool.acquire(timeout=WAIT)
        pid = con.get_server_pid()
        await pool.release(con)
        await pool.release(con)
        assert (pool.get_size(), pool.get_idle_size(), pool.get_min_size(), pool.get_max_size()) == (1, 1, 0, 2)
        await pool.expire_connections()
        assert await pool.fetchval("SELECT pg_backend_pid()") != pid
        await check(pool)
    assert pool.is_closing() and pool.get_size() == 0


def test_parameters(dsn: str) -> None:
    wrong: list[tuple[str, Any]] = [("min_size", 1), ("init_size", 1), ("loop", None)]
    for name, value in wrong:
        with pytest.raises(TypeError, match=f"ThreadedPool has no parameter {name}: it opens connections when"):
            fastpg.ThreadedPool(dsn, **{name: value})
    with pytest.raises(ValueError, match="max_size is expected to be greater than zero"):
        fastpg.ThreadedPool(dsn, max_size=0)
    with pytest.raises(ValueError, match="max_queries is expected to be greater than zero"):
        fastpg.ThreadedPool(dsn, max_queries=0)
    with pytest.raises(TypeError, match=r"connection_class is expected to be a subclass of fastpg.Connection"):
        fastpg.ThreadedPool(dsn, connection_class=int)
    with pytest.raises(fastpg.InterfaceError, match="row_factory is expected to be"):
        fastpg.ThreadedPool(dsn, row_factory=5)


async def test_each_loop_has_its_own_connections(dsn: str, workers: list[Worker]) -> None:
    pool = fastpg.ThreadedPool(dsn, max_size=8)

    async def pids() -> set[int]:
        return {await pool.fetchval("SELECT pg_backend_pid()") for _ in range(5)}

    found = [await worker.run(pids()) for worker in workers]
    assert all(len(one) == 1 for one in found) and len(set.union(*found)) == 4
    assert pool.stats() == fastpg.pool.PoolStats(4, 4, 0, 0, 0, 8)
    await pool.close()
    assert pool.get_size() == 0
    await check(pool)


@pytest.mark.parametrize("pipelined", [False, True])
async def test_stress(role: Callable[[int], Awaitable[str]], workers: list[Worker], pipelined: bool) -> None:
    """A few thousand queries on four threads with three connections; the server allows no more either."""
    peak = Peak()
    pool = fastpg.ThreadedPool(await role(3), max_size=3, connect=peak.connect, pipelined=pipelined)

    async def task(number: int) -> int:
        for i in range(40):
            if i % 10 == number % 10:
                async with pool.acquire() as con:
                    assert await con.fetchval("SELECT $1::int + 1", i) == i + 1
            else:
                assert await pool.fetchval("SELECT $1::int", number * 1000 + i) == number * 1000 + i
        return 40

    async def main() -> int:
        return sum(await asyncio.gather(*map(task, range(20))))

    counts = await asyncio.gather(*[worker.run(main()) for worker in workers])
    assert counts == [800] * 4
    assert 1 <= peak.peak <= 3
    await check(pool)
    await asyncio.wait_for(pool.close(), WAIT)
    assert peak.now == 0 and pool.get_size() == 0


async def test_a_shard_in_want_gets_what_lies_idle(dsn: str, workers: list[Worker]) -> None:
    """However many wait, and although the other loop does nothing."""
    peak = Peak()
    pool = fastpg.ThreadedPool(dsn, max_size=3, connect=peak.connect)

    async def fill() -> None:
        await asyncio.gather(*[pool.fetchval("SELECT pg_sleep(0.05)") for _ in range(3)])

    async def many() -> None:
        await asyncio.gather(*[pool.fetchval("SELECT $1::int", i) for i in range(50)])

    for worker in (*workers, *workers):
        await worker.run(fill())
        await worker.run(many())
    assert peak.peak == 3
    await check(pool)
    await pool.close()


async def test_a_busy_shard_gives_its_surplus(dsn: str, workers: list[Worker]) -> None:
    pool = fastpg.ThreadedPool(dsn, max_size=4)
    stop = threading.Event()

    async def busy() -> int:
        """Never idle: there is always somebody who waits."""

        async def one() -> None:
            while not stop.is_set():
                await pool.fetchval("SELECT 1")

        await asyncio.gather(*[one() for _ in range(12)])
        return max(share.held for share in pool._limiter.shares)

    running = workers[0].start(busy())
    await until(lambda: pool.get_size() == 4)

    async def borrow() -> int:
        async with pool.acquire(), pool.acquire():
            return sum(share.held for share in pool._limiter.shares if share.loop() is asyncio.get_running_loop())

    assert await workers[1].run(borrow()) == 2
    stop.set()
    await asyncio.wait_for(asyncio.wrap_future(running), WAIT)
    await check(pool)
    await pool.close()


async def test_more_loops_than_connections(dsn: str, workers: list[Worker]) -> None:
    """All are busy all the time, and all get their turn."""
    peak = Peak()
    pool = fastpg.ThreadedPool(dsn, max_size=1, connect=peak.connect)
    counts = [0] * 4
    stop = threading.Event()

    async def busy(number: int) -> None:
        while not stop.is_set():
            await pool.fetchval("SELECT 1")
            counts[number] += 1

    running = [worker.start(busy(number)) for number, worker in enumerate(workers)]
    try:
        await until(lambda: min(counts) > 20)
    finally:
        stop.set()
    for future in running:
        await asyncio.wait_for(asyncio.wrap_future(future), WAIT)
    assert peak.peak == 1
    await check(pool)
    await pool.close()


async def test_timeouts_and_cancellation_while_waiting(dsn: str, workers: list[Worker]) -> None:
    pool = fastpg.ThreadedPool(dsn, max_size=1)
    con = await pool.acquire()

    async def wait() -> None:
        with pytest.raises(asyncio.TimeoutError, match="timeout while acquiring a connection from the pool"):
            await pool.acquire(timeout=0.05)
        tasks = [asyncio.ensure_future(pool.fetchval("SELECT 1")) for _ in range(3)]
        await asyncio.sleep(0.02)
        assert pool.stats().waiting >= 3
        for task in tasks:
            task.cancel()
        assert all(isinstance(e, asyncio.CancelledError) for e in await asyncio.gather(*tasks, return_exceptions=True))

    await asyncio.gather(*[worker.run(wait()) for worker in workers])
    assert await con.fetchval("SELECT 1") == 1
    assert pool.stats().waiting == 0
    await check(pool)
    # One that is cancelled in the moment in which it gets its permit.
    waiting = workers[0].start(pool.fetchval("SELECT 1"))
    await until(lambda: pool._limiter.wanted == 1)
    await pool.release(con)
    waiting.cancel()
    assert await asyncio.wait_for(pool.fetchval("SELECT 2"), WAIT) == 2
    await until(lambda: pool.stats().waiting == 0)
    await pool.close()


async def test_random_cancellation(dsn: str, workers: list[Worker]) -> None:
    pool = fastpg.ThreadedPool(dsn, max_size=2)

    async def task(number: int) -> None:
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(pool.fetchval("SELECT pg_sleep($1::float8)", number % 3 / 1000), number % 7 / 500)

    async def main() -> None:
        for turn in range(5):
            await asyncio.gather(*[task(number + turn) for number in range(20)])

    await asyncio.gather(*[worker.run(main()) for worker in workers])
    for worker in workers:
        assert await worker.run(pool.fetchval("SELECT 1")) == 1
    await check(pool)
    await asyncio.wait_for(pool.close(), WAIT)
    assert pool.get_size() == 0


async def test_failing_connections_return_their_permits(dsn: str, workers: list[Worker]) -> None:
    failing = True

    async def connect(*args: Any, **kwargs: Any) -> Any:
        if failing:
            raise ZeroDivisionError
        return await fastpg.connect(*args, **kwargs)

    pool = fastpg.ThreadedPool(dsn, max_size=1, connect=connect)

    async def fail() -> None:
        results = await asyncio.gather(*[pool.fetchval("SELECT 1") for _ in range(5)], return_exceptions=True)
        assert [type(result) for result in results] == [ZeroDivisionError] * 5

    await asyncio.gather(*[worker.run(fail()) for worker in workers])
    await check(pool)
    assert pool.get_size() == 0
    failing = False
    async with pool.acquire() as con:
        con.terminate()
    assert await pool.fetchval("SELECT 1") == 1
    victim = await pool.fetchval("SELECT pg_backend_pid()")
    other = await fastpg.connect(dsn)
    await other.execute("SELECT pg_terminate_backend($1)", victim)
    await other.close()
    await until(lambda: pool.get_size() == 0)
    assert await workers[0].run(pool.fetchval("SELECT 1")) == 1
    await check(pool)
    await pool.close()


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("new_loop", LOOPS)
def test_loops_that_end(dsn: str, new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """asyncio.run() and its kin close the shard; that of a loop that is just closed is collected."""
    pool = fastpg.ThreadedPool(dsn, max_size=1)
    for graceful in (True, True, False, True):
        loop = new_loop()
        assert loop.run_until_complete(asyncio.wait_for(pool.fetchval("SELECT 1"), WAIT)) == 1
        assert pool.get_size() == 1
        if graceful:
            loop.run_until_complete(loop.shutdown_asyncgens())
            assert pool._limiter.held() == 0 and not pool._limiter.shares
        else:
            shard = weakref.ref(pool._limiter.shares[0].living())
        loop.close()
        if not graceful:
            assert pool.get_size() == 0 and not pool._limiter.shares
            del loop
            gc.collect()
            assert shard() is None
    assert is_settled(pool)


async def test_a_loop_that_ends_while_others_wait(dsn: str, workers: list[Worker]) -> None:
    pool = fastpg.ThreadedPool(dsn, max_size=1)
    await workers[0].run(pool.acquire())
    waiting = workers[1].start(pool.fetchval("SELECT 1"))
    await until(lambda: pool._limiter.wanted == 1)
    await asyncio.to_thread(workers[0].end)
    assert await asyncio.wait_for(asyncio.wrap_future(waiting), WAIT) == 1
    await check(pool)
    await pool.close()


async def test_close_from_any_loop(dsn: str, workers: list[Worker]) -> None:
    """It waits for what is borrowed on other loops; waiters are served first."""
    pool = fastpg.ThreadedPool(dsn, max_size=2)
    borrowed = await workers[0].run(pool.acquire())
    other = await workers[1].run(pool.acquire())
    waiting = workers[2].start(pool.fetchval("SELECT 5"))
    await until(lambda: pool._limiter.wanted == 1)
    closing = workers[3].start(pool.close())
    await until(pool.is_closing)
    await until(lambda: all(share.living()._closing for share in pool._limiter.shares))  # type: ignore[union-attr]
    for worker in workers:
        with pytest.raises(fastpg.InterfaceError, match="pool is closing"):
            await worker.run(pool.fetchval("SELECT 1"))
    assert not closing.done()
    await workers[0].run(pool.release(borrowed))
    assert await asyncio.wrap_future(waiting) == 5
    assert not closing.done()
    await workers[1].run(pool.release(other))
    await asyncio.wait_for(asyncio.wrap_future(closing), WAIT)
    for use in (pool.fetchval("SELECT 1"), pool.acquire(), pool.__aenter__()):
        with pytest.raises(fastpg.InterfaceError, match="pool is closed"):
            await use
    await pool.close()
    pool.terminate()
    assert pool.get_size() == 0


async def test_close_with_a_deadline(dsn: str, workers: list[Worker]) -> None:
    pool = fastpg.ThreadedPool(dsn, max_size=2)
    con = await workers[0].run(pool.acquire())
    with pytest.raises(asyncio.TimeoutError, match="timeout while closing the pool: connections are still in use"):
        await pool.close(timeout=0.05)
    await until(lambda: pool.get_size() == 0)
    assert con._con is None and pool.is_closing()
    pool = fastpg.ThreadedPool(dsn, max_size=2)
    await workers[1].run(pool.acquire())
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(pool.close(), 0.05)
    await until(lambda: pool.get_size() == 0)


async def test_terminate(dsn: str, workers: list[Worker]) -> None:
    pool = fastpg.ThreadedPool(dsn, max_size=2)
    con = await workers[0].run(pool.acquire())
    await pool.fetchval("SELECT 1")
    waiting = workers[1].start(pool.acquire())
    await asyncio.to_thread(pool.terminate)
    await until(lambda: pool.get_size() == 0)
    assert con._con is None
    with contextlib.suppress(fastpg.InterfaceError):
        await asyncio.wrap_future(waiting)
    with pytest.raises(fastpg.InterfaceError, match="pool is closed"):
        await workers[2].run(pool.fetchval("SELECT 1"))


async def test_wrong_places(dsn: str, workers: list[Worker]) -> None:
    async with fastpg.ThreadedPool(dsn, max_size=2) as pool:
        con = await workers[0].run(pool.acquire())
        with pytest.raises(fastpg.InterfaceError, match="cannot use the pool: it belongs to another thread"):
            await pool.release(con)
        with pytest.raises(fastpg.InterfaceError, match="the connection belongs to another thread"):
            await con.fetchval("SELECT 1")
        await workers[0].run(pool.release(con))
        with pytest.raises(
            fastpg.InterfaceError, match=r"ThreadedPool.release\(\) received invalid connection: .* is not a member"
        ):
            await pool.release(object())
        async with fastpg.create_pool(dsn, min_size=1, max_size=1) as other, other.acquire() as con:
            with pytest.raises(fastpg.InterfaceError, match="is not a member of this pool"):
                await pool.release(con)
        call = pool.fetchval("SELECT 1")
        with pytest.raises(fastpg.InterfaceError, match="no event loop is running in this thread"):
            await asyncio.to_thread(call.send, None)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_fork(dsn: str) -> None:
    pool = fastpg.ThreadedPool(dsn, max_size=2)
    loop = asyncio.new_event_loop()
    loop.run_until_complete(pool.fetchval("SELECT 1"))
    child = os.fork()
    if not child:
        code = 1
        try:
            asyncio.new_event_loop().run_until_complete(pool.fetchval("SELECT 1"))
        except fastpg.InterfaceError as error:
            code = 0 if "it was made before a fork; it belongs to the parent process" in str(error) else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert loop.run_until_complete(pool.fetchval("SELECT 1")) == 1
    loop.run_until_complete(pool.close())
    loop.close()


async def test_a_forgotten_pool(dsn: str, workers: list[Worker]) -> None:
    pool = fastpg.ThreadedPool(dsn, max_size=2)
    limiter = pool._limiter
    await workers[0].run(pool.fetchval("SELECT 1"))
    assert limiter.held() == 1
    del pool
    gc.collect()
    await until(lambda: limiter.held() == 0)


@pytest.mark.parametrize("cancelled", [True, False])
async def test_a_connection_that_is_being_given_away_is_closed(dsn: str, cancelled: bool) -> None:
    # As at the end of asyncio.run(), which cancels tasks that may not have begun.
    async with fastpg.ThreadedPool(dsn, max_size=1) as pool:
        assert await pool.fetchval("SELECT 1") == 1
        shard = pool._shard()
        holder, share = shard._holders[0], shard._share
        con = holder._con
        with share.limiter.lock:
            share.limiter.promised += 1
            share.promised += 1
        share.give(shard, holder)
        (task,) = shard._releases
        if cancelled:
            task.cancel()
            await asyncio.wait([task])
            await asyncio.sleep(0)
            assert con.is_closed() and not con._client.is_connected
        else:
            await shard.close()
            assert task.done() and not con._client.is_connected
    assert not shard._releases and pool.get_size() == 0


@pytest.mark.parametrize("patience", [0, 0.05, WAIT])
async def test_a_permit_waits_until_the_server_has_ended(patience: float) -> None:
    """Whose process counts as a connection for as long."""
    gone = threading.Event()
    script = [packet(), m.logged_in(), message(), lambda _: b"" if gone.wait(WAIT) else b"", FIN]
    with FakeServer(script) as server:
        con = await fastpg.connect(host=server.host, port=server.port, user="u", database="d", ssl=False)
        con._client.patience = patience
        closing = asyncio.ensure_future(con.close(timeout=WAIT))
        await until(lambda: server.received[0][-1:] == [b"X\0\0\0\4"])
        if patience == WAIT:
            await asyncio.sleep(0.05)
            assert not closing.done()
            gone.set()
        await asyncio.wait_for(closing, WAIT / 2)
        gone.set()
        assert con._client.closed.done()


async def test_old_connections(dsn: str) -> None:
    async with fastpg.ThreadedPool(dsn, max_size=2, max_inactive_connection_lifetime=0.05) as pool:
        await pool.fetchval("SELECT 1")
        await until(lambda: pool.get_size() == 0)
        await check(pool)
    async with fastpg.ThreadedPool(dsn, max_size=1, max_queries=1) as pool:
        assert len({await pool.fetchval("SELECT pg_backend_pid()") for _ in range(3)}) == 3
    async with fastpg.ThreadedPool(dsn, max_size=1) as pool:
        pid = await pool.fetchval("SELECT pg_backend_pid()")
        pool.set_connect_args(dsn, server_settings={"application_name": "another"})
        await pool.expire_connections()
        assert await pool.fetchval("SHOW application_name") == "another"
        assert await pool.fetchval("SELECT pg_backend_pid()") != pid
        await check(pool)


def test_shares() -> None:
    """Who gets a permit: who has the fewest; of equals, who came first."""
    limiter = _limit.Limiter(2)
    loop = asyncio.new_event_loop()
    shares = [limiter.join(loop) for _ in range(3)]
    first, second = shares[0].take(), shares[0].take()
    assert first is not None and second is not None and shares[1].take() is None
    for share in shares:
        share.want(1)
    assert limiter.wanted == 3 and limiter.free == 0
    first.end()
    first.end()
    assert [share.held for share in shares] == [1, 1, 0] and limiter.wanted == 2
    second.end()
    assert [share.held for share in shares] == [1, 1, 0] and limiter.wanted == 1
    limiter.collect(shares[1])
    limiter.collect(shares[1])
    assert [share.held for share in shares] == [1, 0, 1] and limiter.wanted == 0 and limiter.free == 0
    limiter.give_back(shares[1], False)
    assert limiter.held() == 2
    assert threaded.GRACE > 0
    loop.close()
