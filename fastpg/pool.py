# SPDX-License-Identifier: MIT
"""A pool of connections.

How a connection comes back. The session must be as new for the next user: the reset query runs on every release. It is
sent within the same turn of the event loop, but nobody waits for its answer: the connection is free again in the same
moment, and the next query stands behind the reset in the connection's queue, so it can never see the old session. A
reset that fails closes the connection. release() waits for the reset instead when something could go wrong that its
caller has to hear of: a transaction is open, a query is being cancelled, there is a `reset` callback, or a subclass has
its own reset().

The pool's own execute() and fetch methods take, run and give back a connection in one compiled step (`_dispatch`, and
`_sharing` for a pipelined pool), when nothing stands in between: no callbacks, no overridden methods, no statement that
is new to the connection.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import threading
import time
import weakref
from collections.abc import Awaitable, Callable, Generator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Generic, Literal, overload

from fastpg import _depth, connection, exceptions
from fastpg._dispatch import Dispatcher
from fastpg._holder import ORIGINAL_RESET
from fastpg._holder import PoolConnectionHolder as PoolConnectionHolder
from fastpg._holder import PoolConnectionProxy as PoolConnectionProxy
from fastpg._holder import PoolConnectionProxyMeta as PoolConnectionProxyMeta
from fastpg._hooks import row_options
from fastpg._pool_calls import PoolCalls
from fastpg._row_factory import check_exclusive, row_sink
from fastpg._sharing import SharingDispatcher
from fastpg._startup import Deadline
from fastpg._typing import RecordT, RowFactory, RowT, T
from fastpg.protocol.record import Record, check_record_class
from fastpg.types import CommandStatus

logger = logging.getLogger(__name__)

BACKOFF_FIRST = 1.0  # seconds between attempts to refill the floor
BACKOFF_LAST = 60.0
CLOSE_WARNING_AFTER = 60.0
ORIGINAL_CLEAN_UP = connection.Connection._reset


def on_inactive(pool: weakref.ref[Pool[Any]]) -> None:
    living = pool()
    if living is not None:
        living._end_inactive()


def take_back(pool: weakref.ref[Pool[Any]], holder: PoolConnectionHolder) -> None:
    """A call has ended on a connection that cannot just be used again."""
    living = pool()
    if living is None:
        holder.drop()
        return
    try:
        living._take_back(holder, None)
    except Exception as error:
        # Of a get_reset_query() of the user's; nobody waits here.
        context = {"message": "a pool could not reset a connection, and has closed it", "exception": error}
        living._loop.call_exception_handler(context)


@dataclass(frozen=True)
class PoolStats:
    """What a pool is doing now, in connections and tasks."""

    size: int
    idle: int
    in_use: int
    waiting: int
    min_size: int
    max_size: int


def check_sizes(init_size: int, min_size: int, max_size: int) -> None:
    """ValueError when these cannot be the sizes of a pool."""
    if max_size <= 0:
        raise ValueError("max_size is expected to be greater than zero")
    if min_size < 0:
        raise ValueError("min_size is expected to be greater or equal to zero")
    if min_size > max_size:
        raise ValueError("min_size is greater than max_size")
    if init_size < 0:
        raise ValueError("init_size is expected to be greater or equal to zero")
    if init_size > max_size:
        raise ValueError("init_size is greater than max_size")
    if init_size < min_size:
        raise ValueError("init_size is smaller than min_size")


def check_lifetimes(
    max_queries: int, max_inactive_connection_lifetime: float, max_lifetime: float | None, warm_statements: int
) -> None:
    """ValueError when these cannot be the options of a pool."""
    if max_queries <= 0:
        raise ValueError("max_queries is expected to be greater than zero")
    if max_inactive_connection_lifetime < 0:
        raise ValueError("max_inactive_connection_lifetime is expected to be greater or equal to zero")
    if max_lifetime is not None and max_lifetime <= 0:
        raise ValueError("max_lifetime is expected to be greater than zero, or None")
    if warm_statements < 0:
        raise ValueError("warm_statements is expected to be greater or equal to zero")


def check_classes(connection_class: type, record_class: type) -> None:
    """TypeError when these are not the classes of connections and of records."""
    if not isinstance(connection_class, type) or not issubclass(connection_class, connection.Connection):
        raise TypeError(f"connection_class is expected to be a subclass of fastpg.Connection, got {connection_class}")
    if not isinstance(record_class, type) or not issubclass(record_class, Record):
        raise TypeError(f"record_class is expected to be a subclass of fastpg.Record, got {record_class}")


_open_pools: weakref.WeakSet[Pool[Any]] = weakref.WeakSet()


class PoolMeta(type):
    """Notices when a method that the one-step calls leave out is replaced, also while pools are in use."""

    def __setattr__(cls, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        look_again()

    def __delattr__(cls, name: str) -> None:
        super().__delattr__(name)
        look_again()


def look_again() -> None:
    """Decide once more which pools take their calls in one step."""
    for pool in list(_open_pools):
        pool._queue.direct = pool._is_plain()


class Pool(PoolCalls[RowT], Generic[RowT], metaclass=PoolMeta):
    """A pool of connections; make it with :func:`create_pool`. It belongs to one event loop."""

    __slots__ = (
        "__weakref__", "_acquire_timeout", "_closed", "_closing", "_connect", "_connect_args", "_connect_kwargs",
        "_connection_class", "_fast_reset", "_holders", "_inactive", "_init", "_initialized", "_initializing",
        "_initsize", "_loop", "_maintenance_task", "_max_inactive", "_max_lifetime", "_max_queries", "_maxsize",
        "_minsize", "_queue", "_record_class", "_releases", "_reset", "_row_factory", "_setup", "_thread",
        "_warm_statements",
    )  # fmt: skip

    def __init__(
        self,
        *connect_args: Any,
        init_size: int | None = None,
        min_size: int,
        max_size: int,
        max_queries: int,
        max_inactive_connection_lifetime: float,
        connect: Callable[..., Awaitable[Any]] | None = None,
        setup: Callable[..., Awaitable[Any]] | None = None,
        init: Callable[..., Awaitable[Any]] | None = None,
        reset: Callable[..., Awaitable[Any]] | None = None,
        loop: asyncio.AbstractEventLoop | None,
        connection_class: type,
        record_class: type,
        row_factory: Any = None,
        acquire_timeout: float | None = None,
        max_lifetime: float | None = None,
        warm_statements: int = 0,
        pipelined: bool = False,
        **connect_kwargs: Any,
    ) -> None:
        if init_size is None:
            init_size = min_size
        check_sizes(init_size, min_size, max_size)
        check_lifetimes(max_queries, max_inactive_connection_lifetime, max_lifetime, warm_statements)
        check_classes(connection_class, record_class)
        check_exclusive(record_class, row_factory)
        if row_factory is not None:
            row_sink(row_factory)
            connect_kwargs["row_factory"] = row_factory
        self._loop = asyncio.get_event_loop() if loop is None else loop
        self._thread = threading.get_ident()
        self._initsize, self._minsize, self._maxsize = init_size, min_size, max_size
        self._max_queries = max_queries
        self._max_inactive = max_inactive_connection_lifetime
        self._max_lifetime = max_lifetime
        self._warm_statements = warm_statements
        self._acquire_timeout = acquire_timeout
        self._connect = connection.connect if connect is None else connect
        self._setup, self._init, self._reset = setup, init, reset
        self._connection_class: type[connection.Connection] = connection_class
        self._record_class, self._row_factory = record_class, row_factory
        self._fast_reset = (
            getattr(connection_class, "reset", None) is ORIGINAL_RESET
            and getattr(connection_class, "_reset", None) is ORIGINAL_CLEAN_UP
        )
        self._connect_args, self._connect_kwargs = connect_args, connect_kwargs
        self._initialized = self._initializing = self._closing = self._closed = False
        self._holders: list[PoolConnectionHolder] = []
        make_queue = SharingDispatcher if pipelined else Dispatcher
        self._queue = make_queue(self._loop, connection_class, functools.partial(take_back, weakref.ref(self)))
        self._queue.max_queries = max_queries
        self._queue.max_size = max_size
        self._inactive: asyncio.TimerHandle | None = None
        self._maintenance_task: asyncio.Task[None] | None = None
        self._releases: set[asyncio.Task[None]] = set()

    @property
    def _generation(self) -> int:
        return self._queue.generation

    # ------------------------------------------------------------- what it is

    def is_closing(self) -> bool:
        """True once close() or terminate() has been called."""
        return self._closed or self._closing

    def get_size(self) -> int:
        """How many connections there are."""
        return sum(holder.is_connected() for holder in self._holders)

    def get_init_size(self) -> int:
        """How many connections the pool opened at its start."""
        return self._initsize

    def get_min_size(self) -> int:
        """How many connections the pool keeps."""
        return self._minsize

    def get_max_size(self) -> int:
        """How many connections there can be."""
        return self._maxsize

    def get_idle_size(self) -> int:
        """How many connections nobody uses."""
        return sum(holder.is_connected() and holder.is_idle() for holder in self._holders)

    def stats(self) -> PoolStats:
        """All the figures at once."""
        size, idle = self.get_size(), self.get_idle_size()
        return PoolStats(size, idle, size - idle, self._queue.waiting(), self._minsize, self._maxsize)

    def set_connect_args(self, dsn: str | None = None, **connect_kwargs: Any) -> None:
        """Parameters for connections made from now on; those of today live on (see expire_connections())."""
        self._connect_args, self._connect_kwargs = (dsn,), connect_kwargs
        if self._row_factory is not None:
            connect_kwargs.setdefault("row_factory", self._row_factory)

    def resize(self, *, min_size: int | None = None, max_size: int | None = None) -> None:
        """Change the sizes; None keeps one. Borrowed connections above max_size end when they are released."""
        low = self._minsize if min_size is None else min_size
        high = self._maxsize if max_size is None else max_size
        if high <= 0:
            raise ValueError("max_size is expected to be greater than zero")
        if low < 0:
            raise ValueError("min_size is expected to be greater or equal to zero")
        if low > high:
            raise ValueError("min_size is greater than max_size")
        self._check_init()
        self._minsize, self._maxsize = low, high
        self._queue.max_size = high
        while len(self._holders) < high:
            holder = PoolConnectionHolder(self)
            self._holders.append(holder)
            self._queue.put(holder)
        # The unconnected ones first.
        for holder in sorted(self._holders, key=PoolConnectionHolder.is_connected):
            if len(self._holders) > high and self._queue.remove(holder):
                holder.retire()
        self._keep_floor()

    # -------------------------------------------------------------- the start

    def __await__(self) -> Generator[Any, None, Pool[RowT]]:
        return self._initialize().__await__()

    async def __aenter__(self) -> Pool[RowT]:
        await self._initialize()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _initialize(self) -> Pool[RowT]:
        if self._initialized:
            return self
        if self._initializing:
            raise exceptions.InterfaceError("pool is being initialized in another task")
        if self._closed:
            raise exceptions.InterfaceError("pool is closed")
        self._check_loop()
        self._initializing = True
        try:
            holders = self._holders = [PoolConnectionHolder(self) for _ in range(self._maxsize)]
            self._queue.holders = holders
            wanted = holders[: self._initsize]
            try:
                # The first alone: a wrong password is tried once.
                if wanted:
                    await wanted[0].connect()
                if len(wanted) > 1:
                    tasks = [self._loop.create_task(holder.connect()) for holder in wanted[1:]]
                    try:
                        await asyncio.gather(*tasks)
                    finally:
                        for task in tasks:
                            task.cancel()
                        await asyncio.gather(*tasks, return_exceptions=True)
            except BaseException:
                for holder in holders:
                    holder.drop()
                self._holders = []
                raise
            self._open()
            return self
        finally:
            self._initializing = False

    def _open(self) -> None:
        """Let the holders be used."""
        for holder in reversed(self._holders):
            holder.put_back()
        self._initialized = True
        self._queue.direct = self._is_plain()
        _open_pools.add(self)
        self._keep_floor()

    def _is_plain(self) -> bool:
        """Whether nobody has to be asked when a connection is taken or given back."""
        return (
            self._fast_reset and self._setup is None and self._reset is None and self._acquire_timeout is None
            and all(getattr(type(self), name) is method for name, method in OWN_METHODS.items())
        )  # fmt: skip

    def _check_loop(self) -> None:
        if threading.get_ident() != self._thread:
            raise exceptions.InterfaceError("cannot use the pool: it belongs to another thread")
        running = asyncio._get_running_loop()  # none in a program that is at its end
        if running is not None and running is not self._loop:
            raise exceptions.InterfaceError("cannot use the pool: it is attached to a different loop")

    def _check_init(self) -> None:
        if not self._initialized:
            if self._initializing:
                raise exceptions.InterfaceError(
                    "pool is being initialized, but not yet ready: "
                    "likely there is a race between creating a pool and using it"
                )
            raise exceptions.InterfaceError("pool is not initialized")
        if self._closed:
            raise exceptions.InterfaceError("pool is closed")
        self._check_loop()

    async def _may_pipeline(self, con: Any, queue: SharingDispatcher) -> bool:
        """Set how much is under way on the connections of a pipelined pool. False: and this one is closed."""
        try:
            seconds = await _depth.round_trip(con._client, con._addr)
        except BaseException:
            con.terminate()
            raise
        if seconds is not None:
            queue.round_trip = queue.round_trip or seconds
            return True
        if queue.depth == 1:
            return True
        # A proxy loses what is written behind a statement: not even a reset may be on its way in front of one. And a
        # warm-up may have been lost already.
        queue.depth = 1
        queue.direct = self._fast_reset = False
        con.terminate()
        return False

    async def _get_new_connection(self) -> Any:
        con = await self._connect(
            *self._connect_args, loop=self._loop, connection_class=self._connection_class,
            record_class=self._record_class, **self._connect_kwargs,
        )  # fmt: skip
        if not isinstance(con, self._connection_class):
            kind = type(con).__name__
            if type(con).__module__ != "builtins":
                kind = f"{type(con).__module__}.{kind}"
            name = f"{self._connection_class.__module__}.{self._connection_class.__name__}"
            raise exceptions.InterfaceError(
                f"expected pool connect callback to return an instance of '{name}', got '{kind}'"
            )
        if self._init is not None:
            try:
                await self._init(con)
            except BaseException:
                con.terminate()
                raise
        if self._warm_statements and self._queue.depth > 1 and isinstance(con, connection.Connection):
            con._warm_up(self._warm_statements)
        return con

    # -------------------------------------------------------------- the floor

    def _keep_floor(self) -> None:
        """See to it that min_size connections are there again, soon."""
        if not self._initialized or self._closing or self._closed or self._maintenance_task is not None:
            return
        if self.get_size() < self._minsize:
            self._maintenance_task = self._loop.create_task(self._maintain())

    async def _maintain(self) -> None:
        delay = BACKOFF_FIRST
        try:
            while not self._closing and self.get_size() < self._minsize:
                holder = next((h for h in self._holders if h.is_idle() and not h.is_connected()), None)
                if holder is None or not self._queue.remove(holder):
                    return  # they are being connected by their borrowers
                try:
                    await holder.connect()
                    delay = BACKOFF_FIRST
                except Exception as error:
                    logger.warning("the pool cannot connect, next attempt in %s s: %r", delay, error)
                finally:
                    if self._closed:
                        holder.drop()
                    holder.put_back()
                if not holder.is_connected():
                    await asyncio.sleep(delay)
                    delay = min(delay * 2, BACKOFF_LAST)
        finally:
            self._maintenance_task = None

    def _watch_inactive(self) -> None:
        """One timer for all idle connections: of those the one that was released first ends first."""
        longest = self._queue.idle_longest()
        left = self._max_inactive
        if longest is not None:
            left = max(longest[1] + self._max_inactive - time.monotonic(), 0)
        self._inactive = self._loop.call_later(left, on_inactive, weakref.ref(self))

    def _end_inactive(self) -> None:
        self._inactive = None
        if self._closed:
            return
        while self.get_size() > self._minsize:
            longest = self._queue.idle_longest()
            if longest is None or longest[1] + self._max_inactive > time.monotonic() + 0.0005:
                break
            holder, _ = longest
            self._queue.remove(holder)
            holder.drop()
            self._queue.put(holder)
        if self.get_size() > self._minsize:
            self._watch_inactive()

    # ------------------------------------------------------ acquire and release

    def acquire(self, *, timeout: float | None = None) -> PoolAcquireContext[RowT]:
        """Borrow a connection: await it, or ``async with``. timeout in seconds, for waiting, connecting and setup."""
        return PoolAcquireContext(self, self._acquire_timeout if timeout is None else timeout)

    async def _acquire(self, timeout: float | None) -> PoolConnectionProxy[Any]:
        if self._closing:
            raise exceptions.InterfaceError("pool is closing")
        self._check_init()
        if timeout is None:
            return await self._borrow(None)
        deadline = Deadline(self._loop, timeout)
        deadline.stage = "acquiring a connection from the pool"
        proxy = None
        try:
            with deadline:
                proxy = await self._borrow(timeout)
        except BaseException:
            if proxy is not None:
                self._give_back(proxy, None)
            raise
        return proxy

    async def _borrow(self, timeout: float | None) -> PoolConnectionProxy[Any]:
        return await self._borrow_from(await self._queue.get(), timeout)

    async def _borrow_from(self, holder: PoolConnectionHolder, timeout: float | None) -> PoolConnectionProxy[Any]:
        try:
            if self._closed:
                raise exceptions.InterfaceError("pool is closed")
            proxy = await holder.acquire()
            holder._timeout = timeout
        except BaseException:
            holder.put_back()
            raise
        return proxy

    def _give_back(self, proxy: PoolConnectionProxy[Any], timeout: float | None) -> asyncio.Task[None] | None:
        holder = proxy._holder
        if timeout is None:
            timeout = holder._timeout
        con = proxy._detach()
        holder._proxy = None
        try:
            con._on_release()  # may raise: a warning that is made an error, a subclass's own
        finally:
            task = self._take_back(holder, timeout)
        return task

    def _take_back(self, holder: PoolConnectionHolder, timeout: float | None) -> asyncio.Task[None] | None:
        rest = holder.release(timeout)
        if rest is None:
            return None
        return self._finish_later(rest, functools.partial(holder.give_up, rest))

    def _finish_later(self, rest: Awaitable[None], give_up: Callable[[], None]) -> asyncio.Task[None]:
        """In a task of its own: the caller may be cancelled, the work goes on. give_up: if that is cancelled itself."""
        task: asyncio.Task[None] = self._loop.create_task(rest)  # type: ignore[arg-type]
        self._releases.add(task)
        task.add_done_callback(functools.partial(self._released, give_up))
        return task

    def _released(self, give_up: Callable[[], None], task: asyncio.Task[None]) -> None:
        self._releases.discard(task)
        if task.cancelled():
            give_up()  # a task that is cancelled before its first step never takes one
        else:
            task.exception()  # the caller has it, unless it was cancelled

    async def release(self, connection: Any, *, timeout: float | None = None) -> None:
        """Give a connection back; a second time is no error. timeout in seconds, for resetting the session."""
        if not isinstance(connection, PoolConnectionProxy) or connection._holder._pool is not self:
            raise exceptions.InterfaceError(
                f"Pool.release() received invalid connection: {connection!r} is not a member of this pool"
            )
        if connection._con is None or connection._holder._proxy is not connection:
            connection._detach()
            return
        self._check_loop()
        task = self._give_back(connection, timeout)
        if task is not None:
            await asyncio.shield(task)

    # -------------------------------------------------------------------- ending

    async def close(self) -> None:
        """Wait until every connection is released, then close them all."""
        if self._closed:
            return
        self._check_init()
        self._closing = True
        self._queue.direct = False
        warner = self._loop.call_later(CLOSE_WARNING_AFTER, self._warn_slow_close)
        try:
            if self._maintenance_task is not None:
                self._maintenance_task.cancel()
            await self._wait_until_unused()
            await asyncio.gather(*[holder.close() for holder in self._holders])
            if self._releases:
                await asyncio.wait(self._releases)
        except BaseException:
            self.terminate()
            raise
        finally:
            warner.cancel()
            self._end()

    def _is_unused(self) -> bool:
        return not self._queue.waiting() and all(holder.is_idle() for holder in self._holders)

    async def _wait_until_unused(self) -> None:
        while not self._is_unused():
            await asyncio.shield(self._queue.when_less())

    def _end(self) -> None:
        self._closed = True
        self._closing = False
        self._queue.direct = False
        if self._inactive is not None:
            self._inactive.cancel()
            self._inactive = None
        for holder in list(self._holders):
            holder.terminate()
        for task in self._releases:
            task.cancel()
        self._queue.fail(exceptions.InterfaceError("pool is closed"))

    def _warn_slow_close(self) -> None:
        logger.warning(
            "Pool.close() is taking over 60 seconds to complete. Check if you have any unreleased connections left. "
            "Use asyncio.wait_for() to set a timeout for Pool.close()."
        )

    def terminate(self) -> None:
        """End every connection at once, borrowed ones too."""
        if self._closed:
            return
        self._check_init()
        if self._maintenance_task is not None:
            self._maintenance_task.cancel()
        self._end()

    async def expire_connections(self) -> None:
        """Replace every connection of now before it is used again."""
        self._queue.generation += 1

    # ------------------------------------------------ one call on any connection

    async def execute(self, query: str, *args: Any, timeout: float | None = None) -> CommandStatus:
        """Connection.execute() on a borrowed connection."""
        waiter = self._queue.status(query, args, timeout) if args else None
        if waiter is not None:
            try:
                status = await waiter
            except BaseException as error:
                if not self._again(waiter, error):
                    raise
            else:
                if type(status) is not PoolConnectionHolder:
                    return status  # type: ignore[no-any-return]
                return await self._call_on(status, "execute", query, *args, timeout=timeout)  # type: ignore[no-any-return]
        return await self._call("execute", query, *args, timeout=timeout)  # type: ignore[no-any-return]

    @overload
    async def fetch(
        self, query: str, *args: Any, timeout: float | None = None, record_class: None = None, row_factory: None = None
    ) -> list[RowT]: ...
    @overload
    async def fetch(
        self, query: str, *args: Any, timeout: float | None = None,
        record_class: type[RecordT], row_factory: None = None,
    ) -> list[RecordT]: ...  # fmt: skip
    @overload
    async def fetch(
        self, query: str, *args: Any, timeout: float | None = None, row_factory: Literal["record"]
    ) -> list[Record]: ...
    @overload
    async def fetch(
        self, query: str, *args: Any, timeout: float | None = None, row_factory: Literal["tuple"]
    ) -> list[tuple[Any, ...]]: ...
    @overload
    async def fetch(
        self, query: str, *args: Any, timeout: float | None = None, row_factory: Literal["dict"] | type[dict[str, Any]]
    ) -> list[dict[str, Any]]: ...
    @overload
    async def fetch(
        self, query: str, *args: Any, timeout: float | None = None, row_factory: RowFactory[T]
    ) -> list[T]: ...
    async def fetch(
        self, query: str, *args: Any, timeout: float | None = None, record_class: type | None = None,
        row_factory: Any = None,
    ) -> list[Any]:  # fmt: skip
        """Connection.fetch() on a borrowed connection."""
        waiter = self._queue.rows(query, args, self._rows_of(record_class, row_factory), 0, timeout)
        if waiter is not None:
            try:
                result = await waiter
            except BaseException as error:
                if not self._again(waiter, error):
                    raise
            else:
                if type(result) is not PoolConnectionHolder:
                    return result  # type: ignore[no-any-return]
                return await self._call_on(  # type: ignore[no-any-return]
                    result, "fetch", query, *args, timeout=timeout, **row_options(record_class, row_factory)
                )
        rows: list[Any] = await self._call(
            "fetch", query, *args, timeout=timeout, **row_options(record_class, row_factory)
        )
        return rows

    async def fetchval(self, query: str, *args: Any, column: int | str = 0, timeout: float | None = None) -> Any:
        """Connection.fetchval() on a borrowed connection."""
        waiter = self._queue.value(query, args, column, timeout)
        if waiter is not None:
            try:
                value = await waiter
            except BaseException as error:
                if not self._again(waiter, error):
                    raise
            else:
                if type(value) is not PoolConnectionHolder:
                    return value
                return await self._call_on(value, "fetchval", query, *args, column=column, timeout=timeout)
        return await self._call("fetchval", query, *args, column=column, timeout=timeout)

    @overload
    async def fetchrow(
        self, query: str, *args: Any, timeout: float | None = None, record_class: None = None, row_factory: None = None
    ) -> RowT | None: ...
    @overload
    async def fetchrow(
        self, query: str, *args: Any, timeout: float | None = None,
        record_class: type[RecordT], row_factory: None = None,
    ) -> RecordT | None: ...  # fmt: skip
    @overload
    async def fetchrow(
        self, query: str, *args: Any, timeout: float | None = None, row_factory: Literal["record"]
    ) -> Record | None: ...
    @overload
    async def fetchrow(
        self, query: str, *args: Any, timeout: float | None = None, row_factory: Literal["tuple"]
    ) -> tuple[Any, ...] | None: ...
    @overload
    async def fetchrow(
        self, query: str, *args: Any, timeout: float | None = None, row_factory: Literal["dict"] | type[dict[str, Any]]
    ) -> dict[str, Any] | None: ...
    @overload
    async def fetchrow(
        self, query: str, *args: Any, timeout: float | None = None, row_factory: RowFactory[T]
    ) -> T | None: ...
    async def fetchrow(
        self, query: str, *args: Any, timeout: float | None = None, record_class: type | None = None,
        row_factory: Any = None,
    ) -> Any:  # fmt: skip
        """Connection.fetchrow() on a borrowed connection."""
        waiter = self._queue.rows(query, args, self._rows_of(record_class, row_factory), 1, timeout)
        if waiter is not None:
            try:
                row = await waiter
            except BaseException as error:
                if not self._again(waiter, error):
                    raise
            else:
                if type(row) is not PoolConnectionHolder:
                    return row
                return await self._call_on(
                    row, "fetchrow", query, *args, timeout=timeout, **row_options(record_class, row_factory)
                )
        return await self._call("fetchrow", query, *args, timeout=timeout, **row_options(record_class, row_factory))

    def _rows_of(self, record_class: type | None, row_factory: Any) -> Any:
        """What the rows of a call are made of; None: of what those of the connection are."""
        if record_class is not None:
            check_record_class(record_class)
        if row_factory is None:
            return record_class
        check_exclusive(record_class, row_factory)
        return row_sink(row_factory, self._record_class)

    def _again(self, waiter: asyncio.Future[Any], error: BaseException) -> bool:
        """A call of one step has failed: whether nothing has happened on the server, and it can go the long way."""
        if not isinstance(error, Exception):
            self._queue.abandon(self._holders, waiter, error)
            return False
        # The plan was made stale by DDL, or the server has forgotten the statement.
        return isinstance(error, (exceptions.InvalidCachedStatementError, exceptions.InvalidSQLStatementNameError))

    async def _call_on(self, holder: PoolConnectionHolder, method: str, *args: Any, **kwargs: Any) -> Any:
        """Call a method of the connection of a holder that has been taken from the queue."""
        return await self._call_with(await self._borrow_from(holder, None), method, *args, **kwargs)

    async def _call(self, method: str, *args: Any, **kwargs: Any) -> Any:
        if type(self).acquire is not OWN_METHODS["acquire"]:
            async with self.acquire() as borrowed:
                return await getattr(borrowed, method)(*args, **kwargs)
        return await self._call_with(await self._acquire(self._acquire_timeout), method, *args, **kwargs)

    async def _call_with(self, proxy: PoolConnectionProxy, method: str, *args: Any, **kwargs: Any) -> Any:
        try:
            result = await getattr(proxy._con, method)(*args, **kwargs)
        except BaseException as error:
            await self._end_borrowing(proxy, error)
            raise
        await self._end_borrowing(proxy, None)
        return result

    async def _end_borrowing(self, proxy: PoolConnectionProxy[Any], error: BaseException | None) -> None:
        """Give a connection back, unless it went by itself. error: what its borrower ends with."""
        if proxy._holder._proxy is not proxy:
            return
        try:
            if type(self).release is not OWN_METHODS["release"]:
                await self.release(proxy)
                return
            task = self._give_back(proxy, None)
            if task is not None:
                await asyncio.shield(task)
        except Exception:
            # A cancelled task ends as cancelled; the connection has been closed.
            if error is None or isinstance(error, Exception):
                raise


OWN_METHODS = {
    name: getattr(Pool, name) for name in ("acquire", "release", "_acquire", "_call", "_get_new_connection")
}


class PoolAcquireContext(Generic[RowT]):
    """What acquire() returns: await it, or use it with ``async with``, once."""

    __slots__ = ("connection", "done", "pool", "timeout")

    def __init__(self, pool: Any, timeout: float | None) -> None:
        self.pool = pool
        self.timeout = timeout
        self.connection: PoolConnectionProxy[RowT] | None = None
        self.done = False

    async def __aenter__(self) -> PoolConnectionProxy[RowT]:
        if self.connection is not None or self.done:
            raise exceptions.InterfaceError("a connection is already acquired")
        self.connection = await self.pool._acquire(self.timeout)
        return self.connection

    async def __aexit__(
        self, kind: type[BaseException] | None = None, error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:  # fmt: skip
        self.done = True
        con: PoolConnectionProxy[Any] | None = self.connection
        self.connection = None
        if con is not None:
            await con._holder._pool._end_borrowing(con, error)

    def __await__(self) -> Generator[Any, None, PoolConnectionProxy[RowT]]:
        self.done = True
        waiting: Generator[Any, None, PoolConnectionProxy[RowT]] = self.pool._acquire(self.timeout).__await__()
        return waiting


@overload
def create_pool(dsn: str | None = None, *, record_class: type[RecordT], **options: Any) -> Pool[RecordT]: ...
@overload
def create_pool(dsn: str | None = None, *, row_factory: Literal["record"], **options: Any) -> Pool[Record]: ...
@overload
def create_pool(dsn: str | None = None, *, row_factory: Literal["tuple"], **options: Any) -> Pool[tuple[Any, ...]]: ...
@overload
def create_pool(
    dsn: str | None = None, *, row_factory: Literal["dict"] | type[dict[str, Any]], **options: Any
) -> Pool[dict[str, Any]]: ...
@overload
def create_pool(dsn: str | None = None, *, row_factory: RowFactory[T], **options: Any) -> Pool[T]: ...
@overload
def create_pool(
    dsn: str | None = None,
    *,
    init_size: int | None = None,
    min_size: int = 10,
    max_size: int = 10,
    max_queries: int = 50000,
    max_inactive_connection_lifetime: float = 300.0,
    connect: Callable[..., Awaitable[Any]] | None = None,
    setup: Callable[..., Awaitable[Any]] | None = None,
    init: Callable[..., Awaitable[Any]] | None = None,
    reset: Callable[..., Awaitable[Any]] | None = None,
    loop: asyncio.AbstractEventLoop | None = None,
    connection_class: type = connection.Connection,
    **connect_kwargs: Any,
) -> Pool[Record]: ...
def create_pool(
    dsn: str | None = None,
    *,
    init_size: int | None = None,
    min_size: int = 10,
    max_size: int = 10,
    max_queries: int = 50000,
    max_inactive_connection_lifetime: float = 300.0,
    connect: Callable[..., Awaitable[Any]] | None = None,
    setup: Callable[..., Awaitable[Any]] | None = None,
    init: Callable[..., Awaitable[Any]] | None = None,
    reset: Callable[..., Awaitable[Any]] | None = None,
    loop: asyncio.AbstractEventLoop | None = None,
    connection_class: type = connection.Connection,
    record_class: type = Record,
    row_factory: Any = None,
    **connect_kwargs: Any,
) -> Any:
    """A pool of connections: await it, or ``async with``.

    init_size: connections opened at the start (min_size when None). min_size: connections kept, max_size: the most
    there can be. max_queries: operations until a connection is replaced. max_inactive_connection_lifetime: seconds an
    idle connection above min_size lives, 0 for ever. connect: a coroutine function instead of :func:`connect`. init:
    called with each new connection; setup: with each borrowed one; reset: with each released one, instead of the reset
    query. record_class, row_factory: what rows are, as connect() takes them. acquire_timeout: seconds acquire() waits
    unless told otherwise (None: without limit). max_lifetime: seconds until a connection is replaced, shortened at
    random by up to a tenth. warm_statements: how many of the statements that most connections use are parsed on a new
    one at its start, without waiting; what is run on it first stands behind them, also when one waits for the lock of a
    table that is being altered (0: none).

    pipelined: the pool's own execute(), fetch(), fetchrow() and fetchval() share connections: several tasks have
    statements under way on one at the same time. Only for single SELECT, VALUES, INSERT, UPDATE, DELETE, MERGE and WITH
    statements; a statement that is slow, any other one, and what is done after acquire() has a connection for itself.
    Between statements that share a connection it is not reset: they must not change the session (by set_config(),
    advisory locks and the like).

    Everything else goes to connect().

    Raises ValueError and TypeError for bad parameters; awaiting it raises what connect() raises.
    """
    return Pool(
        dsn, init_size=init_size, min_size=min_size, max_size=max_size, max_queries=max_queries,
        max_inactive_connection_lifetime=max_inactive_connection_lifetime, connect=connect, setup=setup, init=init,
        reset=reset, loop=loop, connection_class=connection_class, record_class=record_class,
        row_factory=row_factory, **connect_kwargs,
    )  # fmt: skip
