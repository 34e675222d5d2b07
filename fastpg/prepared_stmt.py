# SPDX-License-Identifier: MIT
"""Prepared statements."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Generic, Literal, overload

from fastpg import cursor, exceptions
from fastpg._hooks import PreparedStatementState
from fastpg._row_factory import new_sink
from fastpg._stale import check_stale
from fastpg._typing import RowFactory, RowT, T
from fastpg.protocol.operation import StatementPlan
from fastpg.protocol.record import Record
from fastpg.protocol.status import command_status
from fastpg.sinks.record import RecordSink, ValueSink
from fastpg.types import Attribute, CommandStatus, Type

if TYPE_CHECKING:
    from fastpg.connection import Connection
    from fastpg.sinks.base import ListSink


class PreparedStatement(Generic[RowT]):
    """A server-side prepared statement of one connection; made by :meth:`Connection.prepare`."""

    __slots__ = ("__weakref__", "_closed", "_connection", "_last_status", "_owned", "_query", "_releases", "_rows",
                 "_state")  # fmt: skip

    def __init__(
        self, connection: Connection[Any], query: str, state: StatementPlan | PreparedStatementState,
        rows: type | ListSink | None = None, owned: bool = True,
    ) -> None:  # fmt: skip
        if rows is None:
            # Subclasses give three arguments, as asyncpg's class takes them: the state is of _get_statement().
            assert isinstance(state, PreparedStatementState)
            rows = connection._rows_of(state.record_class, state.row_factory)
            state = state.plan
            owned = connection._cache.entries.get(query) is not state
        assert isinstance(state, StatementPlan)
        self._connection = connection
        self._query = query
        self._state = state
        self._rows = rows  # what new_sink() takes
        self._last_status: bytes | None = None
        self._closed = False
        self._owned = owned  # the server's statement ends with this object; else it is the cache's
        self._releases = connection._pool_release_ctr

    def get_name(self) -> str:
        """The statement's name on the server, '' for the unnamed one."""
        self._check_open("get_name")
        return self._state.name.decode()

    def get_query(self) -> str:
        """The SQL text."""
        self._check_open("get_query")
        return self._query

    def get_statusmsg(self) -> CommandStatus | None:
        """The status of the last execution (``'SELECT 1'``), None before the first."""
        self._check_open("get_statusmsg")
        return command_status(self._last_status) if self._last_status is not None else None

    def get_parameters(self) -> tuple[Type, ...]:
        """The type of each parameter."""
        self._check_open("get_parameters")
        return self._connection._types_of(self._state.parameter_oids)

    def get_attributes(self) -> tuple[Attribute, ...]:
        """Name and type of each result column; empty when the statement returns no rows."""
        self._check_open("get_attributes")
        return self._connection._columns_of(self._state)

    @overload
    async def fetch(self, *args: Any, timeout: float | None = None, row_factory: None = None) -> list[RowT]: ...
    @overload
    async def fetch(self, *args: Any, timeout: float | None = None, row_factory: Literal["record"]) -> list[Record]: ...
    @overload
    async def fetch(
        self, *args: Any, timeout: float | None = None, row_factory: Literal["tuple"]
    ) -> list[tuple[Any, ...]]: ...
    @overload
    async def fetch(
        self, *args: Any, timeout: float | None = None, row_factory: Literal["dict"] | type[dict[str, Any]]
    ) -> list[dict[str, Any]]: ...
    @overload
    async def fetch(self, *args: Any, timeout: float | None = None, row_factory: RowFactory[T]) -> list[T]: ...
    async def fetch(self, *args: Any, timeout: float | None = None, row_factory: Any = None) -> list[Any]:
        """Run with these arguments; its rows. timeout in seconds.

        row_factory: what a row is, as :meth:`Connection.fetch` takes it; None: what the statement was prepared with.
        """
        result: list[Any] = await self._run("fetch", args, 0, self._sink(row_factory), timeout)
        return result

    @overload
    async def fetchrow(self, *args: Any, timeout: float | None = None, row_factory: None = None) -> RowT | None: ...
    @overload
    async def fetchrow(
        self, *args: Any, timeout: float | None = None, row_factory: Literal["record"]
    ) -> Record | None: ...
    @overload
    async def fetchrow(
        self, *args: Any, timeout: float | None = None, row_factory: Literal["tuple"]
    ) -> tuple[Any, ...] | None: ...
    @overload
    async def fetchrow(
        self, *args: Any, timeout: float | None = None, row_factory: Literal["dict"] | type[dict[str, Any]]
    ) -> dict[str, Any] | None: ...
    @overload
    async def fetchrow(self, *args: Any, timeout: float | None = None, row_factory: RowFactory[T]) -> T | None: ...
    async def fetchrow(self, *args: Any, timeout: float | None = None, row_factory: Any = None) -> Any:
        """The first row, or None. See :meth:`fetch`."""
        rows = await self._run("fetchrow", args, 1, self._sink(row_factory), timeout)
        return rows[0] if rows else None

    async def fetchval(self, *args: Any, column: int | str = 0, timeout: float | None = None) -> Any:
        """One value of the first row, or None when there is none."""
        return await self._run("fetchval", args, 1, ValueSink(column), timeout)

    @overload
    async def fetchmany(
        self, args: Iterable[Sequence[Any]], *, timeout: float | None = None, row_factory: None = None
    ) -> list[RowT]: ...
    @overload
    async def fetchmany(
        self, args: Iterable[Sequence[Any]], *, timeout: float | None = None, row_factory: Literal["record"]
    ) -> list[Record]: ...
    @overload
    async def fetchmany(
        self, args: Iterable[Sequence[Any]], *, timeout: float | None = None, row_factory: Literal["tuple"]
    ) -> list[tuple[Any, ...]]: ...
    @overload
    async def fetchmany(
        self, args: Iterable[Sequence[Any]], *, timeout: float | None = None,
        row_factory: Literal["dict"] | type[dict[str, Any]],
    ) -> list[dict[str, Any]]: ...  # fmt: skip
    @overload
    async def fetchmany(
        self, args: Iterable[Sequence[Any]], *, timeout: float | None = None, row_factory: RowFactory[T]
    ) -> list[T]: ...
    async def fetchmany(
        self, args: Iterable[Sequence[Any]], *, timeout: float | None = None, row_factory: Any = None
    ) -> list[Any]:
        """Run once for each element; all rows in one list. See :meth:`fetch`."""
        self._check_open("fetchmany")
        result: list[Any] = await self._connection._run_many(self._state, args, self._sink(row_factory), timeout)
        return result

    async def executemany(self, args: Iterable[Sequence[Any]], *, timeout: float | None = None) -> None:
        """Run once for each element; all or nothing outside a transaction."""
        self._check_open("executemany")
        await self._connection._run_many(self._state, args, RecordSink(None, keep=False), timeout)
        self._last_status = self._state.last_status

    @overload
    def cursor(
        self, *args: Any, prefetch: int | None = None, timeout: float | None = None, row_factory: None = None
    ) -> cursor.CursorFactory[RowT]: ...
    @overload
    def cursor(
        self, *args: Any, prefetch: int | None = None, timeout: float | None = None, row_factory: Literal["record"]
    ) -> cursor.CursorFactory[Record]: ...
    @overload
    def cursor(
        self, *args: Any, prefetch: int | None = None, timeout: float | None = None, row_factory: Literal["tuple"]
    ) -> cursor.CursorFactory[tuple[Any, ...]]: ...
    @overload
    def cursor(
        self, *args: Any, prefetch: int | None = None, timeout: float | None = None,
        row_factory: Literal["dict"] | type[dict[str, Any]],
    ) -> cursor.CursorFactory[dict[str, Any]]: ...  # fmt: skip
    @overload
    def cursor(
        self, *args: Any, prefetch: int | None = None, timeout: float | None = None, row_factory: RowFactory[T]
    ) -> cursor.CursorFactory[T]: ...
    def cursor(
        self, *args: Any, prefetch: int | None = None, timeout: float | None = None, row_factory: Any = None
    ) -> cursor.CursorFactory[Any]:
        """A cursor over the rows: await it, or iterate over it with ``async for``. row_factory: see :meth:`fetch`."""
        self._check_open("cursor")
        return cursor.CursorFactory(
            self._connection, self._query, self._state, args, prefetch, timeout,
            self._rows if row_factory is None else self._connection._rows_of(None, row_factory), self,
        )  # fmt: skip

    async def explain(self, *args: Any, analyze: bool = False) -> Any:
        """The plan, as parsed JSON. With analyze the statement really runs, in a transaction that is rolled back."""
        self._check_open("explain")
        query = f"EXPLAIN (FORMAT JSON, VERBOSE{', ANALYZE' if analyze else ''}) {self._query}"
        if not analyze:
            return json.loads(await self._connection.fetchval(query, *args))
        transaction = self._connection.transaction()
        await transaction.start()
        try:
            return json.loads(await self._connection.fetchval(query, *args))
        finally:
            await transaction.rollback()

    def _sink(self, row_factory: Any) -> ListSink:
        return new_sink(self._rows) if row_factory is None else self._connection._sink(None, row_factory)

    async def _run(self, method: str, args: tuple[Any, ...], limit: int, sink: Any, timeout: float | None) -> Any:
        self._check_open(method)
        result = await self._connection._run_statement(self._state, args, limit, sink, timeout)
        self._last_status = self._state.last_status
        return result

    def _check_open(self, method: str) -> None:
        if self._closed:
            raise exceptions.InterfaceError(
                f"cannot call PreparedStmt.{method}(): the prepared statement is closed"
            )
        check_stale(type(self).__name__, method, self._connection, self._releases)

    def __del__(self) -> None:
        if self._owned and self._state.name and not self._closed:
            self._connection._forget_statement(self._state.name)
