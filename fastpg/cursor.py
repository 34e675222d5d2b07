# SPDX-License-Identifier: MIT
"""Cursors: portals of the extended protocol, read in pieces inside a transaction."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator
from typing import TYPE_CHECKING, Any, Generic, Literal, overload

from fastpg import exceptions
from fastpg._hooks import PreparedStatementState
from fastpg._row_factory import new_sink
from fastpg._stale import check_stale
from fastpg._typing import RowFactory, RowT, T
from fastpg.protocol.record import Record

if TYPE_CHECKING:
    from fastpg.connection import Connection
    from fastpg.prepared_stmt import PreparedStatement
    from fastpg.protocol.operation import StatementPlan
    from fastpg.sinks.base import ListSink

PREFETCH = 50
SHOWN = 30  # characters of a query in a repr()


def short(query: str) -> str:
    """A query for a repr()."""
    return query[:SHOWN]


def given(row_factory: Any) -> tuple[Any, ...]:
    """For what may be replaced by a function with asyncpg's parameters: nothing more than those, when none is given."""
    return () if row_factory is None else (row_factory,)


class CursorFactory(Generic[RowT]):
    """What ``connection.cursor()`` gives: await it for a Cursor, or iterate over it with ``async for``."""

    __slots__ = ("_args", "_connection", "_owner", "_prefetch", "_query", "_releases", "_rows", "_state", "_timeout")

    def __init__(
        self,
        connection: Connection[Any],
        query: str,
        state: StatementPlan | None,
        args: tuple[Any, ...],
        prefetch: int | None,
        timeout: float | None,
        rows: type | ListSink,
        owner: PreparedStatement[Any] | None = None,
    ) -> None:
        self._connection = connection
        self._query = query
        self._state = state
        self._args = args
        self._prefetch = prefetch
        self._timeout = timeout
        self._rows = rows  # what new_sink() takes
        self._owner = owner  # the server's statement, and its portals with it, ends with this object
        self._releases = connection._pool_release_ctr

    def __aiter__(self) -> CursorIterator[RowT]:
        check_stale(type(self).__name__, "__aiter__", self._connection, self._releases)
        return CursorIterator(
            self._connection, self._query, self._state, self._args, self._rows,
            PREFETCH if self._prefetch is None else self._prefetch, self._timeout, self._owner,
        )  # fmt: skip

    def __await__(self) -> Generator[Any, None, Cursor[RowT]]:
        check_stale(type(self).__name__, "__await__", self._connection, self._releases)
        if self._prefetch is not None:
            raise exceptions.InterfaceError("prefetch argument can only be specified for iterable cursor")
        made: Cursor[RowT] = Cursor(self._connection, self._query, self._state, self._args, self._rows, self._owner)
        return made._init(self._timeout).__await__()


class BaseCursor(Generic[RowT]):
    """A portal, made at the first use."""

    __slots__ = ("_args", "_connection", "_exhausted", "_owner", "_portal", "_query", "_releases", "_rows", "_state")

    def __init__(
        self,
        connection: Connection[Any],
        query: str,
        state: StatementPlan | None,
        args: tuple[Any, ...],
        rows: type | ListSink,
        owner: PreparedStatement[Any] | None = None,
    ) -> None:
        self._connection = connection
        self._query = query
        self._state = state
        self._args = args
        self._rows = rows  # what new_sink() takes
        self._owner = owner
        self._portal: bytes | None = None
        self._exhausted = False
        self._releases = connection._pool_release_ctr

    async def _bind(self, timeout: float | None) -> None:
        portal, state = await self._new_portal(timeout)
        await self._connection._run_portal(state, self._args, portal, 1, 0, None, timeout)
        self._portal = portal

    async def _new_portal(self, timeout: float | None) -> tuple[bytes, StatementPlan]:
        connection = self._connection
        if self._portal is not None:
            raise exceptions.InterfaceError("cursor already has an open portal")
        self._check_transaction()
        if self._state is None:
            self._state = (await connection._get_statement(self._query, timeout)).plan
        return connection._get_unique_id("portal").encode(), self._state

    def _check_transaction(self) -> None:
        if not self._connection.is_in_transaction():
            self._connection._client.check()  # of another loop or thread there is no saying
            raise exceptions.NoActiveSQLTransactionError("cursor cannot be created outside of a transaction")

    # _bind_exec and _exec are what tools put functions around: none of them calls the other.
    async def _bind_exec(self, n: int, timeout: float | None) -> list[Any]:
        connection = self._connection
        if not connection._rerouted:
            await self._bind(timeout)
            return await self._fetch(n, timeout)
        portal, plan = await self._new_portal(timeout)
        state = PreparedStatementState(connection, plan, sink=new_sink(self._rows))
        rows, _, completed = await connection._protocol.bind_execute(
            state, self._args, portal.decode(), n, True, timeout
        )
        self._portal, self._exhausted = portal, completed
        return rows or []

    async def _exec(self, n: int, timeout: float | None, row_factory: Any = None) -> list[Any]:
        return await self._fetch(n, timeout, row_factory)

    async def _fetch(self, limit: int, timeout: float | None, row_factory: Any = None) -> list[Any]:
        if self._portal is None or self._state is None:
            raise exceptions.InterfaceError("cursor does not have an open portal")
        self._check_transaction()
        if self._exhausted:
            return []
        sink = new_sink(self._rows) if row_factory is None else self._connection._sink(None, row_factory)
        rows: list[Any]
        rows, suspended = await self._connection._run_portal(
            self._state, None, self._portal, 2, limit, sink, timeout
        )
        self._exhausted = not suspended
        return rows or []

    def _check_ready(self, method: str) -> None:
        check_stale(type(self).__name__, method, self._connection, self._releases)

    def __repr__(self) -> str:
        state = " exhausted" if self._exhausted else ""
        return f'<fastpg.{type(self).__name__} "{short(self._query)}"{state} {id(self):#x}>'

    def __del__(self) -> None:
        if self._portal is not None:
            self._connection._forget_portal(self._portal)


class CursorIterator(BaseCursor[RowT]):
    """Rows one by one, fetched `prefetch` at a time."""

    __slots__ = ("_buffer", "_prefetch", "_timeout")

    def __init__(
        self,
        connection: Connection[Any],
        query: str,
        state: StatementPlan | None,
        args: tuple[Any, ...],
        rows: type | ListSink,
        prefetch: int,
        timeout: float | None,
        owner: PreparedStatement[Any] | None = None,
    ) -> None:
        super().__init__(connection, query, state, args, rows, owner)
        if prefetch <= 0:
            raise exceptions.InterfaceError("prefetch argument must be greater than zero")
        self._buffer: deque[RowT] = deque()
        self._prefetch = prefetch
        self._timeout = timeout

    def __aiter__(self) -> CursorIterator[RowT]:
        self._check_ready("__aiter__")
        return self

    async def __anext__(self) -> RowT:
        self._check_ready("__anext__")
        if self._portal is None:
            self._buffer.extend(await self._bind_exec(self._prefetch, self._timeout))
        elif not self._buffer and not self._exhausted:
            self._buffer.extend(await self._exec(self._prefetch, self._timeout))
        if self._buffer:
            return self._buffer.popleft()
        raise StopAsyncIteration


class Cursor(BaseCursor[RowT]):
    """A cursor whose rows are fetched on demand."""

    __slots__ = ()

    async def _init(self, timeout: float | None) -> Cursor[RowT]:
        await self._bind(timeout)
        return self

    @overload
    async def fetch(self, n: int, *, timeout: float | None = None, row_factory: None = None) -> list[RowT]: ...
    @overload
    async def fetch(self, n: int, *, timeout: float | None = None, row_factory: Literal["record"]) -> list[Record]: ...
    @overload
    async def fetch(
        self, n: int, *, timeout: float | None = None, row_factory: Literal["tuple"]
    ) -> list[tuple[Any, ...]]: ...
    @overload
    async def fetch(
        self, n: int, *, timeout: float | None = None, row_factory: Literal["dict"] | type[dict[str, Any]]
    ) -> list[dict[str, Any]]: ...
    @overload
    async def fetch(self, n: int, *, timeout: float | None = None, row_factory: RowFactory[T]) -> list[T]: ...
    async def fetch(self, n: int, *, timeout: float | None = None, row_factory: Any = None) -> list[Any]:
        """The next n rows; fewer at the end. timeout in seconds.

        row_factory: what a row is, as :meth:`Connection.fetch` takes it; None: what the cursor was made with.
        """
        self._check_ready("fetch")
        if n <= 0:
            raise exceptions.InterfaceError("n must be greater than zero")
        return await self._exec(n, timeout, *given(row_factory))

    @overload
    async def fetchrow(self, *, timeout: float | None = None, row_factory: None = None) -> RowT | None: ...
    @overload
    async def fetchrow(self, *, timeout: float | None = None, row_factory: Literal["record"]) -> Record | None: ...
    @overload
    async def fetchrow(
        self, *, timeout: float | None = None, row_factory: Literal["tuple"]
    ) -> tuple[Any, ...] | None: ...
    @overload
    async def fetchrow(
        self, *, timeout: float | None = None, row_factory: Literal["dict"] | type[dict[str, Any]]
    ) -> dict[str, Any] | None: ...
    @overload
    async def fetchrow(self, *, timeout: float | None = None, row_factory: RowFactory[T]) -> T | None: ...
    async def fetchrow(self, *, timeout: float | None = None, row_factory: Any = None) -> Any:
        """The next row, or None at the end. See :meth:`fetch`."""
        self._check_ready("fetchrow")
        rows = await self._exec(1, timeout, *given(row_factory))
        return rows[0] if rows else None

    async def forward(self, n: int, *, timeout: float | None = None) -> int:
        """Skip n rows; how many there were."""
        self._check_ready("forward")
        if n <= 0:
            raise exceptions.InterfaceError("n must be greater than zero")
        self._check_transaction()
        if self._portal is None or self._exhausted:
            return 0
        connection = self._connection
        move = connection._protocol.query if connection._rerouted else connection._run_script
        status = await move(f'MOVE FORWARD {n:d} "{self._portal.decode()}"', timeout)
        moved = int(status.split()[-1])
        if moved < n:
            self._exhausted = True
        return moved
