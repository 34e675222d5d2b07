# SPDX-License-Identifier: MIT
"""Where tools written for asyncpg put their own functions, and asyncpg's Protocol over a Client.

Monitoring tools replace `Connection._execute`, `Protocol.bind_execute` and the like; subclasses override them. The
metaclasses here notice that, once a class. Only then a call takes the way through these methods: `_hooked` says that it
goes by `_execute` and `_executemany`, `_rerouted` that it goes on by `_do_execute` and the Protocol; `_direct` that a
pool's own calls need none of the methods of a connection.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from fastpg import _copy, exceptions
from fastpg._internals import ExclusiveSection
from fastpg.protocol.operation import ExecuteMany, StatementPlan
from fastpg.settings import ConnectionSettings
from fastpg.sinks.record import RecordSink
from fastpg.types import Attribute, CommandStatus, Type

if TYPE_CHECKING:
    from fastpg.client import ClientProtocol

_WATCHED = ("_execute", "_executemany", "_do_execute", "_get_statement")
_POOLED: dict[str, Any] = {}  # the public methods of Connection that a pool has too
_classes: weakref.WeakSet[HookMeta] = weakref.WeakSet()


class HookMeta(type):
    """Notices whether a Connection class, or one of its bases, has had one of its inner methods replaced."""

    _direct: bool
    _hooked: bool
    _rerouted: bool

    def __init__(cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any]) -> None:
        super().__init__(name, bases, namespace)
        _classes.add(cls)
        cls._look()

    def __setattr__(cls, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name in _WATCHED or name in _POOLED:
            _look_everywhere()

    def __delattr__(cls, name: str) -> None:
        super().__delattr__(name)
        if name in _WATCHED or name in _POOLED:
            _look_everywhere()

    def _look(cls) -> None:
        replaced = {name for name in _WATCHED if getattr(cls, name, None) is not vars(HookMixin)[name]}
        cls._rerouted = bool(replaced & {"_do_execute", "_get_statement"}) or Protocol._patched
        cls._hooked = bool(replaced) or Protocol._patched
        own = any(getattr(cls, name, None) is not method for name, method in _POOLED.items())
        cls._direct = bool(_POOLED) and not own and not cls._hooked


def watch_methods(cls: HookMeta, *names: str) -> None:
    """From now on notice when one of these methods is replaced: a pool's calls then go through them."""
    _POOLED.update({name: getattr(cls, name) for name in names})
    _look_everywhere()


def _look_everywhere() -> None:
    for cls in _classes:
        cls._look()


class ProtocolMeta(type):
    """Notices whether a method of Protocol has been replaced, or Protocol itself."""

    _patched: bool
    _replaced: bool

    def __setattr__(cls, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if not name.startswith("_"):
            cls._look()

    def _look(cls) -> None:
        patched = any(getattr(cls, method) is not original for method, original in _PROTOCOL.items())
        super().__setattr__("_patched", patched or cls._replaced)
        _look_everywhere()


class PreparedStatementState:
    """A prepared statement as the Protocol takes it."""

    __slots__ = ("_connection", "_sink", "plan", "record_class", "row_factory", "same_columns")

    def __init__(
        self, connection: Any, plan: StatementPlan, record_class: type | None = None, sink: Any = None
    ) -> None:
        self._connection = connection
        self._sink = sink
        self.plan = plan
        self.record_class = record_class
        self.row_factory: Any = None
        self.same_columns = True  # the table of a COPY has them, and no others

    @property
    def query(self) -> str:
        """The SQL text."""
        return self.plan.query

    @property
    def name(self) -> str:
        """The statement's name on the server."""
        return self.plan.name.decode()

    def _get_parameters(self) -> tuple[Type, ...]:
        return self._connection._types_of(self.plan.parameter_oids)  # type: ignore[no-any-return]

    def _get_attributes(self) -> tuple[Attribute, ...]:
        return self._connection._columns_of(self.plan)  # type: ignore[no-any-return]

    def _make_sink(self) -> Any:
        if self._sink is not None:
            return self._sink
        return self._connection._sink(self.record_class, self.row_factory)


class Protocol(metaclass=ProtocolMeta):
    """asyncpg's view of a connection's lower half. Its methods are real, and may be replaced.

    state: what Connection._get_statement() gives. timeout: seconds, or None for the connection's command_timeout.
    """

    _patched = False
    _replaced = False

    def __init__(self, addr: Any, connection: Any, params: Any, record_class: type, loop: Any) -> None:
        # With asyncpg's arguments, at which tools look that are called in its place; the second is a Future there.
        self._owner = weakref.ref(connection)

    @property
    def _connection(self) -> Any:
        connection = self._owner()
        if connection is None:
            raise exceptions.InterfaceError("the connection of this protocol is gone")
        return connection

    @property
    def _client(self) -> ClientProtocol:
        client: ClientProtocol = self._connection._client
        return client

    # ------------------------------------------------------------- operations

    async def query(self, query: str, timeout: float | None) -> CommandStatus:
        """Run SQL, several statements perhaps; the status of the last."""
        status: CommandStatus = await self._connection._run_script(query, timeout)
        return status

    async def bind_execute(
        self, state: Any, args: Sequence[Any], portal_name: str, limit: int, return_extra: bool, timeout: float | None
    ) -> Any:
        """Execute; the rows, and with return_extra a tuple of the rows, the status and whether there are no more."""
        if portal_name:
            # Not by way of bind() and execute(): to tools this is one call.
            await self._open_portal(state, args, portal_name, timeout)
            return await self._fetch_portal(state, portal_name, limit, return_extra, timeout)
        plan = state.plan
        rows = await self._connection._run_plan(plan, args, limit, state._make_sink(), timeout)
        if not return_extra:
            return rows
        return rows, plan.last_status, not limit or len(rows) < limit

    async def bind_execute_many(
        self, state: Any, args: Iterable[Sequence[Any]], portal_name: str, timeout: float | None, return_rows: bool
    ) -> Any:
        """Execute once for each element of args; all rows, or None."""
        sink = state._make_sink() if return_rows else RecordSink(None, keep=False)
        connection = self._connection
        deadline = await connection._ready(timeout)
        operation = ExecuteMany(state.plan, args, sink)
        rows = await connection._wait(connection._client.run(operation, connection._left(deadline)), deadline)
        return rows if return_rows else None

    async def bind(self, state: Any, args: Sequence[Any], portal_name: str, timeout: float | None) -> None:
        """Open a portal."""
        await self._open_portal(state, args, portal_name, timeout)

    async def _open_portal(
        self, state: Any, args: Sequence[Any], portal_name: str, timeout: float | None
    ) -> None:
        portal = portal_name.encode()
        await self._connection._move_portal(state.plan, args, portal, 1, 0, None, timeout)

    async def execute(
        self, state: Any, portal_name: str, limit: int, return_extra: bool, timeout: float | None
    ) -> Any:
        """Fetch rows of a portal; like bind_execute()."""
        return await self._fetch_portal(state, portal_name, limit, return_extra, timeout)

    async def _fetch_portal(
        self, state: Any, portal_name: str, limit: int, return_extra: bool, timeout: float | None
    ) -> Any:
        plan = state.plan
        rows, suspended = await self._connection._move_portal(
            plan, None, portal_name.encode(), 2, limit, state._make_sink(), timeout
        )
        return (rows, None if suspended else plan.last_status, not suspended) if return_extra else rows

    async def prepare(
        self, stmt_name: str, query: str, timeout: float | None, *, state: Any = None,
        ignore_custom_codec: bool = False, record_class: type | None = None,
    ) -> PreparedStatementState:  # fmt: skip
        """Prepare a statement under this name."""
        connection = self._connection
        return PreparedStatementState(
            connection, await connection._describe_plan(stmt_name, query, self._limit(timeout)), record_class
        )

    async def copy_in(
        self, copy_stmt: str, reader: Any, data: Any, records: Any, record_stmt: Any, timeout: float | None
    ) -> str:
        """Run COPY ... FROM STDIN with what a reader gives, with bytes, or with records of a statement's columns."""
        connection, limit = self._connection, self._limit(timeout)
        if records is None:
            return await _copy.send(connection, copy_stmt, data if reader is None else reader, limit)
        status, record_stmt.same_columns = await _copy.send_records(
            connection, copy_stmt, record_stmt.plan.plan, records, limit
        )
        return status

    async def copy_out(self, copy_stmt: str, sink: Any, timeout: float | None) -> str:
        """Run COPY ... TO STDOUT into a sink."""
        return await _copy.receive(self._connection, copy_stmt, sink, self._limit(timeout))

    def _state(self, plan: StatementPlan) -> PreparedStatementState:
        return PreparedStatementState(self._connection, plan)

    def _limit(self, timeout: float | None) -> float | None:
        timeout = self._get_timeout(timeout)
        return None if timeout is None else float(self._connection._loop.time() + timeout)

    # ------------------------------------------------------------------ state

    @property
    def queries_count(self) -> int:
        """Operations that somebody waited for."""
        return self._client.queries_count

    @property
    def is_ssl(self) -> bool:
        """Whether the connection is encrypted."""
        return bool(self._connection._config.session.tls)

    @property
    def backend_pid(self) -> int:
        """Process id of the backend."""
        return self.get_server_pid()

    def get_server_pid(self) -> int:
        """Process id of the backend."""
        pid: int = self._connection.get_server_pid()
        return pid

    def get_settings(self) -> ConnectionSettings:
        """The server's parameters, and the connection's codecs."""
        settings: ConnectionSettings = self._connection.get_settings()
        return settings

    def is_connected(self) -> bool:
        """Whether the connection is there."""
        return self._client.is_connected

    def is_closed(self) -> bool:
        """Whether the connection is closed or lost."""
        return bool(self._connection.is_closed())

    def is_in_transaction(self) -> bool:
        """Whether a transaction is open."""
        return bool(self._connection.is_in_transaction())

    def abort(self) -> None:
        """Close at once."""
        self._client.abort()

    def _is_cancelling(self) -> bool:
        return self._client.cancelling is not None

    def _get_timeout(self, timeout: float | None) -> float | None:
        if timeout is None:
            timeout = self._connection._config.command_timeout
            return timeout
        if isinstance(timeout, (bool, str)) or timeout != timeout:
            raise ValueError(f"invalid timeout value: expected non-negative float (got {timeout!r})")
        return float(timeout)


_PROTOCOL = {
    name: vars(Protocol)[name]
    for name in ("bind", "bind_execute", "bind_execute_many", "copy_in", "copy_out", "execute", "prepare", "query")
}


def make_protocol(connection: Any) -> Protocol:
    """The Protocol of a new connection, made by what a tool has put in the place of the class, if one has."""
    make: Any = vars(sys.modules["fastpg.protocol"]).get("Protocol", Protocol)
    if Protocol._replaced is not (make is not Protocol):
        Protocol._replaced = make is not Protocol
        Protocol._look()
    protocol: Protocol = make(
        connection._addr, connection, connection._params, connection._record_class, connection._loop
    )
    return protocol


def row_options(record_class: type | None, row_factory: Any) -> dict[str, Any]:
    """Keywords for _execute() and _executemany(), which may be somebody's with asyncpg's parameters alone."""
    return {"record_class": record_class} if row_factory is None else {
        "record_class": record_class, "row_factory": row_factory,
    }  # fmt: skip


class HookMixin:
    """The part of Connection that tools written for asyncpg reach into."""

    __slots__ = ()

    _direct = False
    _hooked = False
    _rerouted = False

    if TYPE_CHECKING:
        _cache: Any
        _client: ClientProtocol
        _log: Any
        _protocol: Protocol
        _query_loggers: Any

        def _is_stale(self, error: exceptions.PostgresError) -> bool: ...
        def _left(self, deadline: float | None) -> float: ...
        def _section(self) -> Any: ...
        def _sink(self, record_class: type | None, row_factory: Any) -> Any: ...
        async def _ready(self, timeout: float | None) -> float | None: ...
        async def _run(
            self, query: str, args: tuple[Any, ...], limit: int, sink: Any, timeout: float | None
        ) -> tuple[StatementPlan, Any]: ...
        async def _run_all(
            self, query: str, args: Iterable[Sequence[Any]], sink: Any, timeout: float | None
        ) -> Any: ...
        def _statement_name(self, named: str | bool) -> str: ...
        async def _prepare_plan(self, name: str, query: str, deadline: float | None) -> StatementPlan: ...
        async def _statement(self, query: str, deadline: float | None) -> StatementPlan: ...

    @property
    def _stmt_cache(self) -> Any:
        return self._cache

    @property
    def _stmts_to_close(self) -> set[bytes]:
        return set(self._client.to_close)

    async def _get_statement(
        self,
        query: str,
        timeout: float | None,
        *,
        named: Any = False,
        use_cache: bool = True,
        ignore_custom_codec: bool = False,
        record_class: type | None = None,
    ) -> PreparedStatementState:
        deadline = await self._ready(timeout)
        with self._section():
            if use_cache:
                plan = await self._statement(query, deadline)
            else:
                plan = await self._prepare_plan(self._statement_name(named), query, deadline)
        return PreparedStatementState(self, plan, record_class)

    async def _execute(
        self,
        query: str,
        args: Sequence[Any],
        limit: int,
        timeout: float | None,
        *,
        return_status: bool = False,
        ignore_custom_codec: bool = False,
        record_class: type | None = None,
        row_factory: Any = None,
    ) -> Any:
        if not self._rerouted:
            sink = self._sink(record_class, row_factory)
            plan, rows = await self._run(query, tuple(args), limit, sink, timeout)
            return (rows, plan.last_status, True) if return_status else rows

        async def execute(statement: Any, timeout: float | None) -> Any:
            statement.row_factory = row_factory
            return await self._protocol.bind_execute(statement, args, "", limit, return_status, timeout)

        running = self._do_execute(query, execute, timeout, record_class=record_class)
        result, _ = await (self._log(running, query, args, timeout) if self._query_loggers else running)
        return result

    async def _executemany(
        self,
        query: str,
        args: Iterable[Sequence[Any]],
        timeout: float | None,
        return_rows: bool = False,
        record_class: type | None = None,
        row_factory: Any = None,
    ) -> Any:
        if not self._rerouted:
            sink = self._sink(record_class, row_factory) if return_rows else RecordSink(None, keep=False)
            rows = await self._run_all(query, args, sink, timeout)
            return rows if return_rows else None

        async def execute(statement: Any, timeout: float | None) -> Any:
            statement.row_factory = row_factory
            return await self._protocol.bind_execute_many(statement, args, "", timeout, return_rows)

        result, _ = await self._do_execute(query, execute, timeout, record_class=record_class)
        return result

    async def _do_execute(
        self,
        query: str,
        executor: Callable[[Any, float | None], Awaitable[Any]],
        timeout: float | None,
        retry: bool = True,
        *,
        ignore_custom_codec: bool = False,
        record_class: type | None = None,
    ) -> tuple[Any, Any]:
        """Prepare or find the statement, and call executor(statement, timeout); its result and the statement."""
        client = self._client
        if isinstance(client.section, ExclusiveSection):
            # It is the caller's own.
            section, client.section = client.section, None
            try:
                return await self._do_execute(query, executor, timeout, retry, record_class=record_class)
            finally:
                client.section = section
        deadline = await self._ready(timeout)
        statement = await self._get_statement(query, timeout, record_class=record_class)
        try:
            return await executor(statement, None if deadline is None else self._left(deadline)), statement
        except exceptions.PostgresError as error:
            if not (self._is_stale(error) and retry):
                raise
        self._cache.remove(query)
        left = None if deadline is None else self._left(deadline)
        return await self._do_execute(query, executor, left, False, record_class=record_class)
