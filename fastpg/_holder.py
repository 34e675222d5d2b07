# SPDX-License-Identifier: MIT
"""A place in a pool, and what stands for its connection while somebody has borrowed it."""

from __future__ import annotations

import asyncio
import functools
import inspect
import random
import time
import weakref
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from fastpg import connection, exceptions
from fastpg._dispatch import Holder
from fastpg._sharing import SharingDispatcher
from fastpg._startup import Deadline
from fastpg._typing import RowT

if TYPE_CHECKING:
    from fastpg.pool import Pool

HOME = "fastpg.pool"  # where these classes are public
ORIGINAL_RESET = connection.Connection.reset
JITTER = 0.1  # max_lifetime is shortened by up to this part, so that connections do not end all at once


class PoolConnectionProxyMeta(type):
    """Gives the proxy every public method of Connection."""

    __module__ = HOME

    def __new__(mcls, name: str, bases: tuple[type, ...], namespace: dict[str, Any]) -> PoolConnectionProxyMeta:
        for attribute in dir(connection.Connection):
            method = getattr(connection.Connection, attribute)
            if attribute.startswith("_") or attribute in namespace or not callable(method):
                continue
            namespace[attribute] = forward(attribute, method)
        return super().__new__(mcls, name, bases, namespace)


def forward(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def call(self: PoolConnectionProxy[Any], *args: Any, **kwargs: Any) -> Any:
        con = self._con
        if con is None:
            raise exceptions.InterfaceError(
                f"cannot call Connection.{name}(): connection has been released back to the pool"
            )
        # By name, at every call: a class may be patched, a subclass may have its own.
        return getattr(con, name)(*args, **kwargs)

    mark = getattr(inspect, "markcoroutinefunction", None)
    if mark is not None and inspect.iscoroutinefunction(method):
        mark(call)
    return call


if TYPE_CHECKING:
    # It has all methods of a Connection, and passes for one in isinstance().
    ConnectionProxy = connection.Connection
else:
    ConnectionProxy = connection._ConnectionProxy


class PoolConnectionProxy(ConnectionProxy[RowT], metaclass=PoolConnectionProxyMeta):  # type: ignore[metaclass]
    """A borrowed connection: everything that Connection has, until it is released."""

    __module__ = HOME

    __slots__ = ("_con", "_holder")

    def __init__(self, holder: PoolConnectionHolder, con: Any) -> None:
        self._holder = holder
        self._con = con

    def __getattr__(self, name: str) -> Any:
        return getattr(self._con, name)

    def _detach(self) -> Any:
        con, self._con = self._con, None
        return con

    def __repr__(self) -> str:
        what = "[released]" if self._con is None else repr(self._con)
        return f"<{type(self).__name__} {what} {id(self):#x}>"


class PoolConnectionHolder(Holder):
    """A place in the pool, with or without a connection in it."""

    __module__ = HOME

    __slots__ = ("_pool", "_proxy", "_timeout", "_unfinished")

    def __init__(self, pool: Pool[Any]) -> None:
        super().__init__(pool._queue)
        self._pool = pool
        self._proxy: PoolConnectionProxy[Any] | None = None
        self._timeout: float | None = None
        self._unfinished: Awaitable[None] | None = None  # what release() left, until it begins

    async def connect(self) -> None:
        pool = self._pool
        if self._con is not None:
            if not self._con.is_closed():
                raise exceptions.InternalClientError("the pool's holder is connected already")
            self._con = None
        con = await pool._get_new_connection()
        if isinstance(pool._queue, SharingDispatcher) and not await pool._may_pipeline(con, pool._queue):
            con = await pool._get_new_connection()
        if pool._closed:
            con.terminate()
            raise exceptions.InterfaceError("pool is closed")
        self._con = con
        if self.permit is not None:
            self.lease, self.permit = self.permit, None
            self.lease.bind(con._client.closed)
        # Weak: what holds the loop's transport must not hold a pool that everybody else has forgotten.
        con._client.closed.add_done_callback(functools.partial(on_lost, weakref.ref(self), weakref.ref(con)))
        self.generation = pool._queue.generation
        self.expires = 0.0
        if pool._max_lifetime is not None:
            self.expires = time.monotonic() + pool._max_lifetime * (1 - JITTER * random.random())  # noqa: S311
        own = None
        if getattr(type(con), "get_reset_query", None) is not connection.ORIGINAL_RESET_QUERY:
            own = functools.partial(reset_query, weakref.ref(con))
        self.how_to_reset(con._before_reset() + con.get_reset_query(), own)

    def is_stale(self) -> bool:
        return self.generation != self._pool._queue.generation or (
            self.expires > 0 and time.monotonic() >= self.expires
        )

    async def acquire(self) -> PoolConnectionProxy[Any]:
        """Called with the holder taken out of the queue."""
        pool = self._pool
        self.take()
        if self._con is not None and (self._con.is_closed() or self.is_stale()):
            self.drop()
        if self._con is None:
            await self.connect()
        proxy = self._con._proxy = PoolConnectionProxy(self, self._con)
        if pool._setup is not None:
            try:
                await pool._setup(proxy)
            except BaseException:
                # The session may be half set up.
                proxy._detach()
                self.drop()
                raise
        self._proxy = proxy
        return proxy

    def _on_lost(self, con: Any) -> None:
        if self._con is not con:
            return
        if self._proxy is not None:
            # Its borrower closed it or will see it closed, and may never give it back.
            self._proxy._detach()
            self._proxy = None
            try:
                con._on_release()
            finally:
                self.put_back()
        elif not self.in_use:
            self._pool._keep_floor()

    def drop(self) -> None:
        """End the connection at once."""
        con, self._con = self._con, None
        if con is not None and not con.is_closed():
            con.terminate()

    def release(self, timeout: float | None) -> Awaitable[None] | None:
        """Take the connection back. None when that is all, else what is left to wait for."""
        pool, con = self._pool, self._con
        if con is None or con.is_closed():
            self._con = None
        elif pool._closing or self.is_stale() or con._client.queries_count >= pool._max_queries:
            return self._rest(functools.partial(con.close, timeout=timeout))
        elif (
            pool._reset is None
            and pool._fast_reset
            and con._client.cancelling is None
            and con._client.section is None
            and not con._query_loggers
            # What is written behind the reset must be in the encoding that the reset goes back to.
            and con._client.session.encoding == con._client.session.first_encoding
            and not con.is_in_transaction()
        ):
            try:
                con._client.check_usable()
                self.soiled()
                con._top_xact = None
            except exceptions.InterfaceError:
                # A query still runs in another task, which broke the rules: nobody else may get its session.
                self.drop()
            except BaseException:
                self.drop()
                self.put_back()
                raise
        else:
            return self._rest(functools.partial(self.reset, timeout))
        self.put_back()
        return None

    async def reset(self, timeout: float | None) -> None:
        pool, con = self._pool, self._con
        if timeout is None and pool._reset is None:
            timeout = con._config.close_timeout
        deadline = Deadline(pool._loop, timeout)
        deadline.stage = "resetting a connection that was released to the pool"
        with deadline:
            if con._client.cancelling is not None:
                await asyncio.shield(con._client.cancelling)
            if con.is_closed():
                return
            if pool._reset is None and (pool._queue.depth > 1 or type(con).reset is not ORIGINAL_RESET):
                await con.reset(timeout=timeout)
            elif pool._reset is None:
                await con._reset(timeout=timeout)
                if query := con._before_reset() + con.get_reset_query():
                    await con._execute_plainly(query, timeout)
            else:
                await con._reset(timeout=timeout)
                await pool._reset(con)

    def _rest(self, work: Callable[[], Awaitable[None]]) -> Awaitable[None]:
        self._unfinished = self._finish(work)
        return self._unfinished

    async def _finish(self, work: Callable[[], Awaitable[None]]) -> None:
        self._unfinished = None
        try:
            await work()
        except BaseException:
            self.drop()
            raise
        finally:
            self.put_back()

    def give_up(self, rest: Awaitable[None]) -> None:
        """What release() left has been cancelled. When that was before it began, it has put nothing back."""
        if self._unfinished is rest:
            self._unfinished = None
            self.drop()
            self.put_back()

    def put_back(self) -> None:
        pool = self._pool
        if pool._closed:
            self.drop()
        if not self.is_connected():
            self._con = None
        self._timeout = None
        if len(pool._holders) > pool._maxsize:
            self.retire()
        else:
            pool._queue.put(self)
        if self._con is None:
            pool._keep_floor()
        elif pool._max_inactive and pool._inactive is None:
            pool._watch_inactive()

    def retire(self) -> None:
        """Leave the pool, which has been made smaller."""
        self.terminate()
        self._con = None
        self.free()
        self._pool._holders.remove(self)

    async def close(self) -> None:
        if self._con is not None:
            con, self._con = self._con, None
            await con.close()

    def terminate(self) -> None:
        if self._con is not None:
            self._con.terminate()


def on_lost(holder: weakref.ref[PoolConnectionHolder], con: weakref.ref[Any], closed: Any) -> None:
    place, lost = holder(), con()
    if place is not None and lost is not None:
        place._on_lost(lost)


def reset_query(con: weakref.ref[Any]) -> str:
    """What a class with a get_reset_query() of its own wants to run."""
    living = con()
    return "" if living is None else str(living._before_reset() + living.get_reset_query())
