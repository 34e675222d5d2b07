# SPDX-License-Identifier: MIT
"""Query loggers: who wants to know of every call that runs SQL, and how it ended."""

from __future__ import annotations

import asyncio
import functools
import inspect
import time
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextlib import contextmanager
from typing import Any, NamedTuple, ParamSpec, TypeVar

from fastpg._callbacks import Callback, check_callback

P = ParamSpec("P")
R = TypeVar("R")


class LoggedQuery(NamedTuple):
    """A call that ran SQL, or was refused."""

    query: str
    args: Any
    """The arguments; of executemany() and fetchmany() what the caller gave, which may be used up."""
    timeout: float | None
    """Seconds that the call had."""
    elapsed: float
    """Seconds that it took."""
    exception: BaseException | None
    """What it raised."""
    conn_addr: Any
    """(host, port), or the socket's path."""
    conn_params: Any
    """The connection's parameters: user, database and others. The password cannot be read."""


class QueryLogMixin:
    """The part of Connection that keeps query loggers. Covers execute, executemany and the fetch methods.

    Prepared statements, cursors and COPY are not reported.
    """

    __slots__ = ()

    _query_loggers: dict[Callable[..., Any], Callback]
    _loop: asyncio.AbstractEventLoop
    _addr: Any
    _params: Any
    _config: Any
    _run_query: Callable[..., Coroutine[Any, Any, Any]]

    def add_query_logger(self, callback: Callable[..., Any]) -> None:
        """Call ``callback(record)`` with a :class:`LoggedQuery` after every call that runs SQL, failed ones too.

        The callback may be a coroutine function. Raises InterfaceError for what is not callable.
        """
        check_callback(callback)
        self._query_loggers.setdefault(callback, Callback(callback))

    def remove_query_logger(self, callback: Callable[..., Any]) -> None:
        """Call the callback no more; one that is not registered is no error, what is not callable is."""
        check_callback(callback)
        # What has been logged so far it still gets.
        self._query_loggers.pop(callback, None)

    @contextmanager
    def query_logger(self, callback: Callable[..., Any]) -> Generator[None, None, None]:
        """Log the queries of a ``with`` block: add the callback, and remove it at the end."""
        self.add_query_logger(callback)
        try:
            yield
        finally:
            self.remove_query_logger(callback)

    def _run(
        self, query: str, args: tuple[Any, ...], limit: int, sink: Any, timeout: float | None
    ) -> Coroutine[Any, Any, Any]:
        running = self._run_query(query, args, limit, sink, timeout)
        if not self._query_loggers:
            return running
        return self._log(running, query, args, self._timeout_of(timeout))

    def _timeout_of(self, timeout: Any) -> Any:
        if timeout is None:
            return self._config.command_timeout
        return float(timeout) if isinstance(timeout, int) else timeout

    async def _log(self, running: Awaitable[R], query: str, args: Any, timeout: Any) -> R:
        started = time.monotonic()
        failure: BaseException | None = None
        try:
            return await running
        except BaseException as error:
            failure = error
            raise
        finally:
            elapsed = time.monotonic() - started
            record = LoggedQuery(query, args, timeout, elapsed, failure, self._addr, self._params)
            failure = None  # or the frame and the exception would hold each other
            for callback in self._query_loggers.values():
                callback.schedule(self._loop, record)
            del record


def logged(method: Callable[P, Coroutine[Any, Any, R]]) -> Callable[P, Coroutine[Any, Any, R]]:
    """Make a method of (SQL, arguments, *, timeout) report to the query loggers."""
    signature = inspect.signature(method)

    @functools.wraps(method)
    async def call(*args: P.args, **named: P.kwargs) -> R:
        running = method(*args, **named)
        connection: Any = args[0]
        if not connection._query_loggers:
            return await running
        _, query, values = list(signature.bind(*args, **named).arguments.values())[:3]
        logging: R = await connection._log(running, query, values, connection._timeout_of(named.get("timeout")))
        return logging

    return call
