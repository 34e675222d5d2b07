# SPDX-License-Identifier: MIT
"""A pool for programs with several event loops, one a thread: a pool of its own on each, under one limit.

The pool of a loop, a *shard*, is made when the loop first uses it. A call goes to the shard of the running loop, which
a thread finds by itself: nothing is locked and no other thread is waited for, unless a connection has to be opened. How
the shards divide the limit among them is in `_limit`.

A shard lives as long as its loop. asyncio.run(), and whatever else shuts down the asynchronous generators of a loop
before it closes it, closes the shard first; the connections of a loop that is just closed are cut off when somebody
wants their places.
"""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from types import TracebackType
from typing import Any

from fastpg import connection, exceptions
from fastpg._limit import Limiter, Share
from fastpg._pool_calls import PoolCalls
from fastpg._row_factory import check_exclusive, row_sink
from fastpg.pool import (
    Pool,
    PoolAcquireContext,
    PoolConnectionHolder,
    PoolConnectionProxy,
    PoolStats,
    check_classes,
    check_lifetimes,
    check_sizes,
)
from fastpg.protocol.record import Record
from fastpg.types import CommandStatus

SHARDS = "_fastpg_shards"  # attribute of a loop: its shards live as long as the loop does
GRACE = 1.0  # seconds that borrowed connections have at the end of a loop
CHECK = 0.1  # seconds from one look to the next for loops that have ended while they are waited for


class Shard(Pool[Any]):
    """The pool of one loop."""

    __slots__ = ("_share", "_watch")

    def __init__(self, share: Share, loop: asyncio.AbstractEventLoop, *args: Any, **options: Any) -> None:
        super().__init__(*args, min_size=0, loop=loop, **options)
        self._share = share
        share.pool = weakref.ref(self)
        self._queue.permits = share
        self._holders = [PoolConnectionHolder(self) for _ in range(self._maxsize)]
        self._queue.holders = self._holders
        self._open()
        # A generator that has begun is closed with its loop.
        self._watch = watch(weakref.ref(self))
        try:
            self._watch.__anext__().send(None)
        except StopIteration:
            pass

    async def _borrow_from(self, holder: PoolConnectionHolder, timeout: float | None) -> PoolConnectionProxy[Any]:
        while not self._closed and not self._share.secure(holder):
            # Its connection was lost before it came here, and the place of that has been given to somebody else.
            holder.put_back()
            holder = await self._queue.get()
        return await super()._borrow_from(holder, timeout)

    async def _wait_until_unused(self) -> None:
        # Who has got a permit may not have begun to use it.
        seen = 0
        while seen < 2:
            await super()._wait_until_unused()
            await asyncio.sleep(0)
            seen = seen + 1 if self._is_unused() else 0


async def watch(shard: weakref.ref[Shard]) -> AsyncGenerator[None, None]:
    """Closes a shard at the end of its loop."""
    try:
        yield
    finally:
        living = shard()
        if living is not None and not living._closed:
            living._thread = threading.get_ident()  # a loop may be run by one thread after the other
            try:
                await asyncio.wait_for(living.close(), GRACE)
            except asyncio.TimeoutError:
                pass  # they have been terminated
            await asyncio.sleep(0)
            living._share.limiter.collect(living._share)


def close_elsewhere(shard: Shard) -> asyncio.Future[None] | None:
    """Close a shard on its own loop, which runs in another thread; None when that has just ended."""
    work = shard.close()
    try:
        return asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, shard._loop))
    except RuntimeError:
        work.close()
        return None


class ThreadedPool(PoolCalls[Any]):
    """A pool that any number of event loops, in any threads, may use at the same time.

    Each loop gets connections of its own, `max_size` is the most that there are of them all together. A loop that needs
    more than are left gets those that others do not use, and its fair part of those that they do use.

    dsn and the rest go to connect(); max_size, max_queries, max_inactive_connection_lifetime, connect, setup, init,
    reset, connection_class, record_class, row_factory, acquire_timeout, max_lifetime, warm_statements and pipelined are
    those of :func:`create_pool`, and so are the methods. Callbacks run on the loop that the connection belongs to.
    Connections are opened when they are needed. Raises ValueError and TypeError for bad parameters.

    A connection belongs to the loop that has acquired it. Awaiting the pool is allowed and does nothing.
    """

    def __init__(
        self,
        dsn: str | None = None,
        *,
        max_size: int = 10,
        max_queries: int = 50000,
        max_inactive_connection_lifetime: float = 300.0,
        connect: Callable[..., Awaitable[Any]] | None = None,
        setup: Callable[..., Awaitable[Any]] | None = None,
        init: Callable[..., Awaitable[Any]] | None = None,
        reset: Callable[..., Awaitable[Any]] | None = None,
        connection_class: type = connection.Connection,
        record_class: type = Record,
        row_factory: Any = None,
        acquire_timeout: float | None = None,
        max_lifetime: float | None = None,
        warm_statements: int = 0,
        pipelined: bool = False,
        **connect_kwargs: Any,
    ) -> None:
        for name in ("min_size", "init_size", "loop"):
            if name in connect_kwargs:
                raise TypeError(f"ThreadedPool has no parameter {name}: it opens connections when a loop needs them")
        check_sizes(0, 0, max_size)
        check_lifetimes(max_queries, max_inactive_connection_lifetime, max_lifetime, warm_statements)
        check_classes(connection_class, record_class)
        check_exclusive(record_class, row_factory)
        if row_factory is not None:
            row_sink(row_factory)
        self._args: tuple[Any, ...] = (dsn,)
        self._connect_kwargs = connect_kwargs
        self._options = {
            "max_size": max_size, "max_queries": max_queries,
            "max_inactive_connection_lifetime": max_inactive_connection_lifetime, "connect": connect, "setup": setup,
            "init": init, "reset": reset, "connection_class": connection_class, "record_class": record_class,
            "row_factory": row_factory, "acquire_timeout": acquire_timeout, "max_lifetime": max_lifetime,
            "warm_statements": warm_statements, "pipelined": pipelined,
        }  # fmt: skip
        self._acquire_timeout = acquire_timeout
        self._limiter = Limiter(max_size)
        self._lock = threading.Lock()
        self._local = threading.local()
        self._kept: list[Shard] = []  # those of loops that cannot be given an attribute
        self._pid = os.getpid()
        self._closing = self._closed = False

    # ------------------------------------------------------------------ the shards

    def _shard(self) -> Shard:
        """The pool of the running loop."""
        loop = asyncio._get_running_loop()
        try:
            shard: Shard | None = self._local.shard()
        except AttributeError:
            shard = None
        if shard is not None and shard._loop is loop:
            return shard
        return self._enter(loop)

    def _enter(self, loop: asyncio.AbstractEventLoop | None) -> Shard:
        """The same, when this thread has used another loop before, or none."""
        if os.getpid() != self._pid:
            raise exceptions.InterfaceError(
                "cannot use the pool: it was made before a fork; it belongs to the parent process"
            )
        if loop is None:
            raise exceptions.InterfaceError("cannot use the pool: no event loop is running in this thread")
        with self._lock:
            shards = self._shards_of(loop)
            shard = shards.get(self) if shards is not None else None
            if shard is None:
                shard = next((kept for kept in self._kept if kept._loop is loop), None)
            if shard is None:
                if self._closed or self._closing:
                    raise exceptions.InterfaceError("pool is closed" if self._closed else "pool is closing")
                shard = Shard(self._limiter.join(loop), loop, *self._args, **self._options, **self._connect_kwargs)
                if shards is None:
                    self._kept.append(shard)
                else:
                    shards[self] = shard
        shard._thread = threading.get_ident()  # a loop may be run by one thread after the other
        self._local.shard = weakref.ref(shard)
        return shard

    def _shards_of(self, loop: asyncio.AbstractEventLoop) -> weakref.WeakKeyDictionary[ThreadedPool, Shard] | None:
        """The shards that a loop keeps; None when it cannot."""
        shards: weakref.WeakKeyDictionary[ThreadedPool, Shard] | None = getattr(loop, SHARDS, None)
        if shards is None:
            shards = weakref.WeakKeyDictionary()
            try:
                setattr(loop, SHARDS, shards)
            except AttributeError:
                return None
        return shards

    def _living(self) -> list[tuple[Share, Shard]]:
        """The shards of loops that have not ended."""
        self._limiter.sweep()
        with self._limiter.lock:
            shares = list(self._limiter.shares)
        return [(share, pool) for share in shares if isinstance(pool := share.living(), Shard)]

    # ------------------------------------------------------------------ what it is

    def is_closing(self) -> bool:
        """True once close() or terminate() has been called."""
        return self._closed or self._closing

    def get_size(self) -> int:
        """How many connections there are on all loops, with those that are being opened or closed."""
        self._limiter.sweep()
        return self._limiter.held()

    def get_min_size(self) -> int:
        """0: connections are opened when they are needed."""
        return 0

    def get_max_size(self) -> int:
        """How many connections there can be."""
        return self._limiter.size

    def get_idle_size(self) -> int:
        """How many connections nobody uses."""
        return sum(pool._queue.idle() for _, pool in self._living())

    def stats(self) -> PoolStats:
        """All the figures at once; other threads go on while they are collected."""
        pools = [pool for _, pool in self._living()]
        size = self._limiter.held()
        idle = min(sum(pool._queue.idle() for pool in pools), size)
        waiting = sum(pool._queue.waiting() for pool in pools)
        return PoolStats(size, idle, size - idle, waiting, 0, self._limiter.size)

    def set_connect_args(self, dsn: str | None = None, **connect_kwargs: Any) -> None:
        """Parameters for connections made from now on; those of today live on (see expire_connections())."""
        with self._lock:
            self._args, self._connect_kwargs = (dsn,), connect_kwargs
            for _, pool in self._living():
                pool.set_connect_args(dsn, **connect_kwargs)

    async def expire_connections(self) -> None:
        """Replace every connection of now before it is used again."""
        with self._lock:
            for _, pool in self._living():
                pool._queue.generation += 1

    # -------------------------------------------------------------- acquire, release

    def acquire(self, *, timeout: float | None = None) -> PoolAcquireContext[Any]:
        """Borrow a connection: await it, or ``async with``. timeout in seconds, for waiting, connecting and setup."""
        return PoolAcquireContext(self, self._acquire_timeout if timeout is None else timeout)

    async def release(self, connection: Any, *, timeout: float | None = None) -> None:
        """Give a connection back, on its loop; a second time is no error. timeout in seconds, for the reset."""
        pool = connection._holder._pool if isinstance(connection, PoolConnectionProxy) else None
        if not isinstance(pool, Shard) or pool._share.limiter is not self._limiter:
            raise exceptions.InterfaceError(
                f"ThreadedPool.release() received invalid connection: {connection!r} is not a member of this pool"
            )
        await pool.release(connection, timeout=timeout)

    async def _acquire(self, timeout: float | None) -> PoolConnectionProxy[Any]:
        return await self._shard()._acquire(timeout)

    # ------------------------------------------------------------------------- calls

    async def execute(self, query: str, *args: Any, timeout: float | None = None) -> CommandStatus:
        """Connection.execute() on a borrowed connection."""
        return await self._shard().execute(query, *args, timeout=timeout)

    async def fetch(
        self, query: str, *args: Any, timeout: float | None = None, record_class: type | None = None,
        row_factory: Any = None,
    ) -> list[Any]:  # fmt: skip
        """Connection.fetch() on a borrowed connection."""
        return await self._shard().fetch(
            query, *args, timeout=timeout, record_class=record_class, row_factory=row_factory
        )

    async def fetchval(self, query: str, *args: Any, column: int | str = 0, timeout: float | None = None) -> Any:
        """Connection.fetchval() on a borrowed connection."""
        return await self._shard().fetchval(query, *args, column=column, timeout=timeout)

    async def fetchrow(
        self, query: str, *args: Any, timeout: float | None = None, record_class: type | None = None,
        row_factory: Any = None,
    ) -> Any:  # fmt: skip
        """Connection.fetchrow() on a borrowed connection."""
        return await self._shard().fetchrow(
            query, *args, timeout=timeout, record_class=record_class, row_factory=row_factory
        )

    async def _call(self, method: str, *args: Any, **kwargs: Any) -> Any:
        return await self._shard()._call(method, *args, **kwargs)

    # ------------------------------------------------------------------------ ending

    def __await__(self) -> Generator[Any, None, ThreadedPool]:
        return self.__aenter__().__await__()

    async def __aenter__(self) -> ThreadedPool:
        if self.is_closing():
            raise exceptions.InterfaceError("pool is closed")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self, *, timeout: float | None = None) -> None:
        """Close the shards of all loops; may be called on any one, or on a loop that has none.

        Each shard waits on its own loop until its connections are released, then closes them. timeout: seconds until
        those that are still borrowed are terminated, and TimeoutError is raised; None: without limit. The same is done
        when the caller is cancelled. Connections of loops that do not run are cut off at once.
        """
        with self._lock:
            if self._closed or self._closing:
                return
            self._closing = True
        loop = asyncio.get_running_loop()
        until = None if timeout is None else loop.time() + timeout
        works: dict[asyncio.Future[None], Share] = {}
        try:
            for share, pool in self._living():
                if pool._closed:
                    continue
                if pool._loop is loop:
                    works[loop.create_task(pool.close())] = share
                elif share.is_running() and (elsewhere := close_elsewhere(pool)) is not None:
                    works[elsewhere] = share
                else:
                    self._terminate(share, pool)
            await self._finish(works, loop, until)
        except BaseException:
            for work in works:
                work.cancel()
            self.terminate()
            raise
        finally:
            self._closed, self._closing = True, False

    async def _finish(
        self, works: dict[asyncio.Future[None], Share], loop: asyncio.AbstractEventLoop, until: float | None
    ) -> None:
        """Wait for shards that are being closed."""
        errors = []
        while works:
            left = CHECK if until is None else min(CHECK, until - loop.time())
            if left <= 0:
                raise asyncio.TimeoutError("timeout while closing the pool: connections are still in use")
            done, _ = await asyncio.wait(works, timeout=left)
            for work in [work for work, share in works.items() if work in done or share.is_dead()]:
                del works[work]
                # A loop that has ended meanwhile has closed its shard itself.
                if work.done() and not work.cancelled() and work.exception() is not None:
                    errors.append(work.exception())
        for error in errors:
            assert error is not None
            raise error

    def terminate(self) -> None:
        """End every connection at once, borrowed ones too, each on its own loop; may be called from any thread."""
        with self._lock:
            self._closed = True
        for share, pool in self._living():
            self._terminate(share, pool)

    def _terminate(self, share: Share, pool: Shard) -> None:
        if asyncio._get_running_loop() is pool._loop:
            pool.terminate()
            return
        if not share.is_running():
            share.cut_off()
        share.call(pool.terminate)

    def __del__(self) -> None:
        if getattr(self, "_pid", None) != os.getpid():
            return
        # Without a lock: this may be called at any point of a program.
        for share in list(self._limiter.shares):
            pool = share.living()
            if pool is not None:
                share.call(pool.terminate)
