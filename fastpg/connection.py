# SPDX-License-Identifier: MIT
"""Connection and connect(): the API over the compiled client."""

from __future__ import annotations

import asyncio
import os
import traceback
import warnings
from collections.abc import AsyncIterable, Iterable, Sequence
from functools import partial
from typing import Any, Generic, Literal, NamedTuple, TypeVar, overload

from fastpg import _copy, _server, _shapes, call, connect_utils, cursor, exceptions, transaction
from fastpg._cancel import send_cancel
from fastpg._hooks import HookMeta, HookMixin, make_protocol, row_options, watch_methods
from fastpg._internals import InternalsMixin
from fastpg._internals import detect_server_capabilities as _detect_server_capabilities  # noqa: F401
from fastpg._listeners import ListenerMixin
from fastpg._proxy import ProxyMode, behind_proxy, proxy_mode
from fastpg._query_log import LoggedQuery as LoggedQuery
from fastpg._query_log import QueryLogMixin, logged
from fastpg._row_factory import check_exclusive, new_sink, row_sink
from fastpg._running import AGAIN, RunMixin
from fastpg._server import ServerCapabilities as ServerCapabilities
from fastpg._type_codecs import NONE_DECLARED, Codecs, DeclaredCodecs, NamedCodec, declared
from fastpg._types import record_maker
from fastpg._typing import RecordT, RowFactory, RowT, T
from fastpg.client import ClientProtocol
from fastpg.codecs.options import CodecOptions
from fastpg.codecs.registry import Registry
from fastpg.connect import Session as WireSession
from fastpg.connect import open_session
from fastpg.dsn import parse
from fastpg.pipeline import Pipeline
from fastpg.prepared_stmt import PreparedStatement
from fastpg.protocol.operation import CloseStatements, Prepare, SimpleQuery
from fastpg.protocol.record import Record, check_record_class
from fastpg.protocol.record import check_record_class as _check_record_class  # noqa: F401
from fastpg.protocol.session import Session
from fastpg.protocol.status import command_status
from fastpg.security import select_profile
from fastpg.settings import ConnectionSettings, parse_server_version
from fastpg.sinks.base import ListSink
from fastpg.sinks.record import RecordSink, ValueSink
from fastpg.statement_cache import StatementCache
from fastpg.statement_cache import StatementCache as _StatementCache  # noqa: F401
from fastpg.types import CommandStatus, ServerVersion

ConnectionT = TypeVar("ConnectionT", bound="Connection[Any]")

_uid = 0  # of the names on servers, in this process

DEFAULT_LIMITS = (100, 300, 1024 * 15)  # of connect(): there is nothing to check about them


class ClientConfiguration(NamedTuple):
    """What connect() was told that is not for the server. Times in seconds, sizes in entries or characters."""

    command_timeout: float | None
    statement_cache_size: int
    max_cached_statement_lifetime: float
    max_cacheable_statement_size: int
    record_class: type
    close_timeout: float
    eager_begin: bool
    proxy: ProxyMode | None
    session: WireSession
    row_factory: Any = None
    codecs: tuple[NamedCodec, ...] = ()
    options: CodecOptions | None = None


def check_limits(sizes: dict[str, Any], command_timeout: Any) -> float | None:
    """Validate connect()'s numbers; the command timeout as a float."""
    for name, value in sizes.items():
        if value is None or isinstance(value, bool) or value < 0:
            raise ValueError(f"{name} is expected to be greater or equal to 0, got {value!r}")
    if command_timeout is None:
        return None
    try:
        if isinstance(command_timeout, bool):
            raise ValueError
        command_timeout = float(command_timeout)
        if not command_timeout > 0:
            raise ValueError
    except (TypeError, ValueError):
        raise ValueError(
            f"invalid command_timeout value: expected greater than 0 float (got {command_timeout!r})"
        ) from None
    return float(command_timeout)


def unclosed(what: Any, made: traceback.StackSummary | None) -> str:
    """The text of the ResourceWarning for a connection that nobody has closed."""
    if made is None:
        return f"unclosed connection {what!r}; run in asyncio debug mode to show the traceback of connection origin"
    return f"unclosed connection {what!r}; created at (most recent call last):\n{''.join(made.format())}"


class _ConnectionProxy(Generic[RowT]):
    """The base of what stands for a Connection: a pool's proxy."""

    __slots__ = ()


class ConnectionMeta(HookMeta):
    """Lets a pool's proxy pass for a Connection in isinstance()."""

    def __instancecheck__(cls, instance: Any) -> bool:
        return super().__instancecheck__(instance) or issubclass(type(instance), _ConnectionProxy)


class Connection(
    RunMixin, HookMixin, InternalsMixin, ListenerMixin, QueryLogMixin, Generic[RowT], metaclass=ConnectionMeta
):
    """A connection to one PostgreSQL session. Make it with :func:`connect`.

    One operation at a time: a second call while one runs raises InterfaceError.
    """

    __slots__ = (
        "__weakref__", "_addr", "_cache", "_client", "_closed", "_config", "_declared", "_identity", "_known_as",
        "_loop", "_own_shapes", "_params", "_pool_release_ctr", "_protocol", "_query_loggers", "_record_class",
        "_registry", "_reset_query", "_rows", "_settings", "_source_traceback", "_top_xact", "_transport", "_warming",
    )  # fmt: skip

    def __init__(
        self,
        protocol: Any,
        transport: Any,
        loop: asyncio.AbstractEventLoop,
        addr: Any,
        config: Any,
        params: Any,
    ) -> None:
        self._client = protocol
        self._transport = transport
        self._loop = loop
        self._addr = addr
        self._config = config
        self._params = params
        self._record_class: type = config.record_class
        self._rows: type | ListSink = config.record_class  # what new_sink() takes
        if getattr(config, "row_factory", None) is not None:
            self._rows = row_sink(config.row_factory, config.record_class)
        self._top_xact: transaction.Transaction | None = None
        self._pool_release_ctr = 0  # what was made before a release is not usable after it
        self._closed = False
        self._protocol = make_protocol(self)
        self._registry = Registry(None, record_maker, config.options)
        self._declared = DeclaredCodecs(config.codecs) if config.codecs else NONE_DECLARED
        self._identity: Any = None
        self._settings: ConnectionSettings | None = None
        self._own_shapes = _shapes.Recent()
        self._known_as = _shapes.Known()
        self._warming: dict[str, tuple[str, Prepare]] = {}  # query -> name and what has it parsed, see _warm_up()
        self._cache = StatementCache(
            loop, config.statement_cache_size, config.max_cached_statement_lifetime, protocol
        )
        if protocol.session.encoding is not None:
            self._registry.set_encoding(protocol.session.parameters["client_encoding"])
        self._query_loggers = {}
        self._reset_query: str | None = None  # in the place of get_reset_query()'s, when somebody sets it
        self._init_listeners()
        self._source_traceback = traceback.extract_stack() if loop.get_debug() else None
        protocol.owner = self
        protocol.plans = self._cache.entries
        protocol.query_loggers = self._query_loggers
        protocol.command_timeout = -1 if config.command_timeout is None else config.command_timeout

    # ------------------------------------------------------------------ queries

    async def execute(self, query: str, *args: Any, timeout: float | None = None) -> CommandStatus:
        """Run SQL; the status of the (last) statement: a str such as ``'INSERT 0 1'``, with the number of its `rows`.

        Without arguments `query` may hold several statements: they run in one implicit transaction.
        """
        if args:
            if self._hooked:
                _, tag, _ = await self._execute(query, args, 0, timeout, return_status=True)
                return command_status(tag)
            waiter = call.status(self._client, query, args, timeout)
            if waiter is not None:
                try:
                    return await waiter
                except BaseException as error:
                    if self._mend(error, waiter) is None:
                        raise
            statement, _ = await self._run(query, args, 0, RecordSink(None, keep=False), timeout)
            return command_status(statement.last_status)
        script = self._protocol.query(query, timeout) if self._rerouted else self._run_script(query, timeout)
        return await (self._log(script, query, args, timeout) if self._query_loggers else script)

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
        """Run a query; its rows. timeout in seconds.

        row_factory: what a row is: "record", "tuple", "dict", a class that takes the columns as keyword arguments, or
        a function of the columns' names that returns a function of the values (a tuple of them). None: what the
        connection was made with, records by default. record_class: a class of records, instead of a row_factory.
        """
        if self._hooked:
            return await self._execute(  # type: ignore[no-any-return]
                query, args, 0, timeout, **row_options(record_class, row_factory)
            )
        rows = self._rows
        if record_class is not None or row_factory is not None:
            rows = self._rows_of(record_class, row_factory)
        waiter = call.rows(self._client, query, args, rows, 0, timeout)
        if waiter is not None:
            try:
                return await waiter  # type: ignore[no-any-return]
            except BaseException as error:
                mending = self._mend(error, waiter)
                if mending is None:
                    raise
            if mending is not AGAIN:
                return await mending  # type: ignore[no-any-return]
        result: list[Any] = (await self._run(query, args, 0, new_sink(rows), timeout))[1]
        return result

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
        """The first row, or None. See :meth:`fetch`."""
        if self._hooked:
            found = await self._execute(query, args, 1, timeout, **row_options(record_class, row_factory))
            return found[0] if found else None
        rows = self._rows
        if record_class is not None or row_factory is not None:
            rows = self._rows_of(record_class, row_factory)
        waiter = call.rows(self._client, query, args, rows, 1, timeout)
        if waiter is not None:
            try:
                return await waiter
            except BaseException as error:
                mending = self._mend(error, waiter)
                if mending is None:
                    raise
            if mending is not AGAIN:
                found = await mending
                return found[0] if found else None
        found = (await self._run(query, args, 1, new_sink(rows), timeout))[1]
        return found[0] if found else None

    async def fetchval(self, query: str, *args: Any, column: int | str = 0, timeout: float | None = None) -> Any:
        """One value of the first row, or None when there is no row."""
        if self._hooked:
            rows = await self._execute(query, args, 1, timeout)
            return rows[0][column] if rows else None
        waiter = call.value(self._client, query, args, column, timeout)
        if waiter is not None:
            try:
                return await waiter
            except BaseException as error:
                mending = self._mend(error, waiter)
                if mending is None:
                    raise
            if mending is not AGAIN:
                return await mending
        return (await self._run(query, args, 1, ValueSink(column), timeout))[1]

    @overload
    async def fetchmany(
        self, query: str, args: Iterable[Sequence[Any]], *, timeout: float | None = None,
        record_class: None = None, row_factory: None = None,
    ) -> list[RowT]: ...  # fmt: skip
    @overload
    async def fetchmany(
        self, query: str, args: Iterable[Sequence[Any]], *, timeout: float | None = None,
        record_class: type[RecordT], row_factory: None = None,
    ) -> list[RecordT]: ...  # fmt: skip
    @overload
    async def fetchmany(
        self, query: str, args: Iterable[Sequence[Any]], *, timeout: float | None = None, row_factory: Literal["record"]
    ) -> list[Record]: ...
    @overload
    async def fetchmany(
        self, query: str, args: Iterable[Sequence[Any]], *, timeout: float | None = None, row_factory: Literal["tuple"]
    ) -> list[tuple[Any, ...]]: ...
    @overload
    async def fetchmany(
        self, query: str, args: Iterable[Sequence[Any]], *, timeout: float | None = None,
        row_factory: Literal["dict"] | type[dict[str, Any]],
    ) -> list[dict[str, Any]]: ...  # fmt: skip
    @overload
    async def fetchmany(
        self, query: str, args: Iterable[Sequence[Any]], *, timeout: float | None = None, row_factory: RowFactory[T]
    ) -> list[T]: ...
    @logged
    async def fetchmany(
        self,
        query: str,
        args: Iterable[Sequence[Any]],
        *,
        timeout: float | None = None,
        record_class: type | None = None,
        row_factory: Any = None,
    ) -> list[Any]:
        """Run the query once for each element of args; all rows in one list. See :meth:`fetch`."""
        if self._hooked:
            return await self._executemany(  # type: ignore[no-any-return]
                query, args, timeout, True, **row_options(record_class, row_factory)
            )
        result: list[Any] = await self._run_all(query, args, self._sink(record_class, row_factory), timeout)
        return result

    @logged
    async def executemany(
        self, command: str, args: Iterable[Sequence[Any]], *, timeout: float | None = None
    ) -> None:
        """Run the command once for each element of args; all or nothing outside a transaction."""
        if self._hooked:
            await self._executemany(command, args, timeout)
        else:
            await self._run_all(command, args, RecordSink(None, keep=False), timeout)

    @overload
    async def prepare(
        self, query: str, *, name: str | None = None, timeout: float | None = None,
        record_class: None = None, row_factory: None = None,
    ) -> PreparedStatement[RowT]: ...  # fmt: skip
    @overload
    async def prepare(
        self, query: str, *, name: str | None = None, timeout: float | None = None,
        record_class: type[RecordT], row_factory: None = None,
    ) -> PreparedStatement[RecordT]: ...  # fmt: skip
    @overload
    async def prepare(
        self, query: str, *, name: str | None = None, timeout: float | None = None, row_factory: Literal["record"]
    ) -> PreparedStatement[Record]: ...
    @overload
    async def prepare(
        self, query: str, *, name: str | None = None, timeout: float | None = None, row_factory: Literal["tuple"]
    ) -> PreparedStatement[tuple[Any, ...]]: ...
    @overload
    async def prepare(
        self, query: str, *, name: str | None = None, timeout: float | None = None,
        row_factory: Literal["dict"] | type[dict[str, Any]],
    ) -> PreparedStatement[dict[str, Any]]: ...  # fmt: skip
    @overload
    async def prepare(
        self, query: str, *, name: str | None = None, timeout: float | None = None, row_factory: RowFactory[T]
    ) -> PreparedStatement[T]: ...
    async def prepare(
        self, query: str, *, name: str | None = None, timeout: float | None = None, record_class: type | None = None,
        row_factory: Any = None,
    ) -> PreparedStatement[Any]:  # fmt: skip
        """Prepare a statement on the server. name: its name there; generated when None.

        record_class, row_factory: what its rows are, see :meth:`fetch`.
        """
        return await self._prepare(query, name=name, timeout=timeout, **row_options(record_class, row_factory))

    async def _prepare(
        self, query: str, *, name: str | None = None, timeout: float | None = None, use_cache: bool = False,
        record_class: type | None = None, row_factory: Any = None,
    ) -> PreparedStatement[Any]:  # fmt: skip
        rows = self._rows_of(record_class, row_factory)
        limit = await self._ready(timeout)
        with self._section():
            if use_cache:
                plan = await self._statement(query, limit)
            else:
                plan = await self._prepare_plan(self._statement_name(True if name is None else name), query, limit)
        return PreparedStatement(self, query, plan, rows, owned=not use_cache)

    def _statement_name(self, named: str | bool) -> str:
        """A name for a statement: as given, or generated (True), if statements are cached at all."""
        if isinstance(named, str):
            return named
        return self._get_unique_id("stmt") if named and self._config.statement_cache_size else ""

    @overload
    def cursor(
        self, query: str, *args: Any, prefetch: int | None = None, timeout: float | None = None,
        record_class: None = None, row_factory: None = None,
    ) -> cursor.CursorFactory[RowT]: ...  # fmt: skip
    @overload
    def cursor(
        self, query: str, *args: Any, prefetch: int | None = None, timeout: float | None = None,
        record_class: type[RecordT], row_factory: None = None,
    ) -> cursor.CursorFactory[RecordT]: ...  # fmt: skip
    @overload
    def cursor(
        self, query: str, *args: Any, prefetch: int | None = None, timeout: float | None = None,
        row_factory: Literal["record"],
    ) -> cursor.CursorFactory[Record]: ...  # fmt: skip
    @overload
    def cursor(
        self, query: str, *args: Any, prefetch: int | None = None, timeout: float | None = None,
        row_factory: Literal["tuple"],
    ) -> cursor.CursorFactory[tuple[Any, ...]]: ...  # fmt: skip
    @overload
    def cursor(
        self, query: str, *args: Any, prefetch: int | None = None, timeout: float | None = None,
        row_factory: Literal["dict"] | type[dict[str, Any]],
    ) -> cursor.CursorFactory[dict[str, Any]]: ...  # fmt: skip
    @overload
    def cursor(
        self, query: str, *args: Any, prefetch: int | None = None, timeout: float | None = None,
        row_factory: RowFactory[T],
    ) -> cursor.CursorFactory[T]: ...  # fmt: skip
    def cursor(
        self,
        query: str,
        *args: Any,
        prefetch: int | None = None,
        timeout: float | None = None,
        record_class: type | None = None,
        row_factory: Any = None,
    ) -> cursor.CursorFactory[Any]:
        """A cursor, inside a transaction: await it, or iterate with ``async for`` (prefetch rows a round trip).

        record_class, row_factory: what its rows are, see :meth:`fetch`.
        """
        self._check_open()
        rows = self._rows_of(record_class, row_factory)
        return cursor.CursorFactory(self, query, None, args, prefetch, timeout, rows)

    def transaction(
        self, *, isolation: str | None = None, readonly: bool = False, deferrable: bool = False
    ) -> transaction.Transaction:
        """A transaction, or a savepoint inside one; for ``async with``."""
        self._check_open()
        return transaction.Transaction(self, isolation, readonly, deferrable)

    def pipeline(self, *, atomic: bool = False, timeout: float | None = None) -> Pipeline[RowT]:
        """Send many statements in few writes: ``async with connection.pipeline() as p:``.

        `p` has execute, fetch, fetchrow, fetchval, executemany and fetchmany. They send at once, without waiting, and
        return a Reply, like a Future, which can be awaited inside the block or after it. The server runs the
        statements in this order. Leaving the block waits for all; it raises the first failure that nobody awaited.

        By default each statement stands for itself: an error is that of one. atomic: they are one transaction, when
        none is open; after an error nothing of them stays, and the others raise NotExecutedError.

        timeout: seconds for each statement that is given none, or for the whole of an atomic pipeline. Meanwhile the
        connection is in use; transactions, cursors and COPY are not possible inside. One statement a call.
        """
        self._check_open()
        return Pipeline(self, self._client, atomic, timeout)

    # --------------------------------------------------------------------- COPY

    async def copy_from_table(
        self, table_name: str, *, output: Any, columns: Iterable[str] | None = None, schema_name: str | None = None,
        timeout: float | None = None,
        format: str | None = None, oids: bool | None = None, delimiter: str | None = None, null: str | None = None,
        header: bool | str | None = None, quote: str | None = None, escape: str | None = None,
        force_quote: bool | Iterable[str] | None = None, encoding: str | None = None,
    ) -> CommandStatus:  # fmt: skip
        """COPY a table TO `output`; the status, such as ``'COPY 3'``.

        output: a path, a file object (its write() runs in the loop's executor), or a coroutine function that takes
        bytes. What it has not yet taken stays on the server. timeout in seconds, for all of it. The other parameters
        are the options of COPY; force_quote may be True for all columns.
        """
        return await _copy.from_table(self, table_name, columns, schema_name, output, timeout, dict(
            format=format, oids=oids, delimiter=delimiter, null=null, header=header, quote=quote, escape=escape,
            force_quote=force_quote, encoding=encoding,
        ))  # fmt: skip

    async def copy_from_query(
        self, query: str, *args: Any, output: Any, timeout: float | None = None,
        format: str | None = None, oids: bool | None = None, delimiter: str | None = None, null: str | None = None,
        header: bool | str | None = None, quote: str | None = None, escape: str | None = None,
        force_quote: bool | Iterable[str] | None = None, encoding: str | None = None,
    ) -> CommandStatus:  # fmt: skip
        """COPY the rows of a query TO `output`; see :meth:`copy_from_table`.

        COPY takes no parameters: the server turns the arguments into literals of the parameters' types first.
        """
        return await _copy.from_query(self, query, args, output, timeout, dict(
            format=format, oids=oids, delimiter=delimiter, null=null, header=header, quote=quote, escape=escape,
            force_quote=force_quote, encoding=encoding,
        ))  # fmt: skip

    async def copy_to_table(
        self, table_name: str, *, source: Any, columns: Iterable[str] | None = None, schema_name: str | None = None,
        timeout: float | None = None,
        format: str | None = None, oids: bool | None = None, freeze: bool | None = None,
        delimiter: str | None = None, null: str | None = None, header: bool | str | None = None,
        quote: str | None = None, escape: str | None = None, force_quote: bool | Iterable[str] | None = None,
        force_not_null: bool | Iterable[str] | None = None, force_null: bool | Iterable[str] | None = None,
        encoding: str | None = None, where: str | None = None,
    ) -> CommandStatus:  # fmt: skip
        """COPY a table FROM `source`; the status, such as ``'COPY 3'``.

        source: a path, a file object (its read() runs in the loop's executor), an asynchronous iterable of bytes, or
        a bytes-like object. It is read as fast as the server takes it. When it raises, nothing is copied.
        where: a condition in SQL. timeout in seconds, for all of it. The other parameters are the options of COPY, but
        for force_quote, which COPY ... FROM does not have and which is not sent.
        """
        return await _copy.to_table(self, table_name, columns, schema_name, source, timeout, where, dict(
            format=format, oids=oids, freeze=freeze, delimiter=delimiter, null=null, header=header, quote=quote,
            escape=escape, force_not_null=force_not_null, force_null=force_null, encoding=encoding,
        ))  # fmt: skip

    async def copy_records_to_table(
        self, table_name: str, *, records: Iterable[Any] | AsyncIterable[Any], columns: Iterable[str] | None = None,
        schema_name: str | None = None, timeout: float | None = None, where: str | None = None,
    ) -> CommandStatus:  # fmt: skip
        """COPY records into a table; the status, such as ``'COPY 3'``.

        In binary; when a column's type has no binary form (money, regclass, tsvector ...), all in text.

        records: an iterable or asynchronous iterable of sequences, one value a column; read as fast as the server
        takes them. columns: the names of the columns, all when None. where: a condition in SQL. timeout in seconds.
        All or nothing: when a value does not fit or the iterable raises, nothing is copied.
        """
        return await _copy.records_to_table(self, table_name, columns, schema_name, records, timeout, where)

    def _get_unique_id(self, prefix: str) -> str:
        global _uid
        _uid += 1
        return f"__fastpg_{prefix}_{_uid:x}__"

    def _forget_statement(self, name: bytes) -> None:
        if name and not self._closed:
            self._client.to_close.append(name)

    def _forget_portal(self, portal: bytes) -> None:
        # A portal ends with its transaction; closing it early frees the server's memory.
        # Not while a cancel is under way: it could hit the Close.
        client = self._client
        if self.is_in_transaction() and not client.foreign_process and client.cancelling is None:
            try:
                self._client.check_usable()
                self._client.post(CloseStatements([portal], None, "P"))
            except exceptions.InterfaceError:
                pass

    # ------------------------------------------------------------------- state

    def is_closed(self) -> bool:
        """True when the connection is closed or lost."""
        return self._closed or not self._client.is_connected

    def is_in_transaction(self) -> bool:
        """True inside a transaction block, failed ones included; and from Transaction.start() on."""
        return self._client.session.in_transaction

    def get_settings(self) -> ConnectionSettings:
        """The parameters that the server reports: one object, whose attributes are always those of now."""
        if self._settings is None:
            self._settings = ConnectionSettings(self._client.session.parameters, self._registry)
        return self._settings

    def get_server_pid(self) -> int:
        """Process id of the backend."""
        pid: int = self._config.session.backend_pid
        return pid

    def get_server_version(self) -> ServerVersion:
        """Version of the server."""
        return parse_server_version(self._client.session.parameters.get("server_version", ""))

    @property
    def _server_caps(self) -> ServerCapabilities:
        return _server.capabilities(self.get_server_version(), self._client.session.parameters)

    def _check_open(self) -> None:
        if self.is_closed():
            raise self._not_sent(exceptions.InterfaceError("connection is closed"))

    def _begins_at_once(self) -> bool:
        """Whether BEGIN and SAVEPOINT are run by execute(): because somebody watches it, or their error is due now."""
        return (
            self._config.eager_begin
            or self._hooked
            or bool(self._query_loggers)
            or type(self).execute is not ORIGINAL_EXECUTE
            or self._client.session.tx_status == ord("E")
        )

    # -------------------------------------------------------------- the session

    def _on_parameter(self, name: str, value: str) -> None:
        if name == "client_encoding":
            self._registry.set_encoding(value)
            self._cache.clear()

    def _on_connection_lost(self) -> None:
        self._closed = True
        self._cache.clear()
        self._client.to_close.clear()
        self._end_listeners()

    def get_reset_query(self) -> str:
        """The SQL that a pool runs when a connection comes back; a subclass may return another, or ''."""
        if self._reset_query is not None:
            return self._reset_query
        if self._config.proxy is not None and not self._config.proxy.session:
            return ""  # it would run in a session that is anybody's
        return _server.reset_query(self._server_caps)

    def _before_reset(self) -> str:
        """What is run before get_reset_query(), unless somebody has his own: the role is reset."""
        changed = getattr(type(self), "get_reset_query", None) is not ORIGINAL_RESET_QUERY
        if changed or self._reset_query is not None:
            return ""
        if self._config.proxy is not None and not self._config.proxy.session:
            return ""
        return _server.before_reset(self._server_caps, self._params.security.reset_discard_all)

    def _on_release(self) -> None:
        """A pool takes the connection back, or its borrower has lost it."""
        self._pool_release_ctr += 1
        self._release_listeners()

    async def reset(self, *, timeout: float | None = None) -> None:
        """Make the session as new: roll back what is open, then run :meth:`get_reset_query`. timeout in seconds."""
        await self._reset(timeout=timeout)
        query = self.get_reset_query()
        before = self._before_reset()
        if before:
            # No round trip of its own, and no business of query loggers. Behind a cancel: that is of what runs then.
            await self._ready(timeout)
            self._client.check_usable()
            self._client.post(SimpleQuery(before), True)
            self._client.queries_count -= 1  # of the two one counts
        if query:
            await self._execute_plainly(query, timeout)

    async def _execute_plainly(self, query: str, timeout: float | None) -> None:
        """execute(), without a keyword when it is a subclass's own: that need not take any."""
        if type(self).execute is ORIGINAL_EXECUTE:
            await self.execute(query, timeout=timeout)
        else:
            await asyncio.wait_for(self.execute(query), timeout)

    async def _reset(self, *, timeout: float | None = None) -> None:
        """End the transaction; the part of reset() that also runs before a pool's own reset callback."""
        self._check_open()
        self._clear_listeners()
        if not self.is_in_transaction() and self._top_xact is None:
            return
        # One that a COMMIT in SQL has ended is not forgotten by itself.
        if self._top_xact is None or not self._top_xact._managed:
            self._loop.call_exception_handler({
                "message": f"Resetting connection with an active transaction {self!r}",
            })
        self._top_xact = None
        session = self._client.session
        session.withdraw(session.opening)
        if self.is_in_transaction():
            await self._execute_plainly("ROLLBACK", timeout)

    # ------------------------------------------------------------------ closing

    async def close(self, *, timeout: float | None = None) -> None:
        """Close politely: a running query is cancelled, Terminate is sent. timeout in seconds, for all of it."""
        if self.is_closed():
            return
        client = self._client
        if client.foreign_process:
            self._closed = True
            return
        client.check()
        self._closed = True
        limit = self._config.close_timeout if timeout is None else timeout
        watchdog = self._loop.call_later(max(limit, 0), client.abort)
        try:
            client.interrupt()
            while client.cancelling is not None:
                await asyncio.shield(client.cancelling)
            await client.terminate_politely()
        except BaseException:
            client.abort()
            raise
        finally:
            watchdog.cancel()

    def terminate(self) -> None:
        """Close at once."""
        self._closed = True
        self._client.abort()

    def __repr__(self) -> str:
        return f"<{type(self).__module__}.{type(self).__name__} {id(self):#x}>"

    def __del__(self) -> None:
        client = getattr(self, "_client", None)
        if client is None or self._closed or not client.is_connected or client.foreign_process:
            return
        warnings.warn(unclosed(self, self._source_traceback), ResourceWarning, stacklevel=2, source=self)
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(client.abort)


ORIGINAL_RESET_QUERY = Connection.get_reset_query
watch_methods(Connection, "execute", "fetch", "fetchrow", "fetchval")
ORIGINAL_EXECUTE = Connection.execute


@overload
async def connect(dsn: str | None = None, *, connection_class: type[ConnectionT], **options: Any) -> ConnectionT: ...
@overload
async def connect(dsn: str | None = None, *, record_class: type[RecordT], **options: Any) -> Connection[RecordT]: ...
@overload
async def connect(dsn: str | None = None, *, row_factory: Literal["record"], **options: Any) -> Connection[Record]: ...
@overload
async def connect(
    dsn: str | None = None, *, row_factory: Literal["tuple"], **options: Any
) -> Connection[tuple[Any, ...]]: ...
@overload
async def connect(
    dsn: str | None = None, *, row_factory: Literal["dict"] | type[dict[str, Any]], **options: Any
) -> Connection[dict[str, Any]]: ...
@overload
async def connect(dsn: str | None = None, *, row_factory: RowFactory[T], **options: Any) -> Connection[T]: ...
@overload
async def connect(
    dsn: str | None = None,
    *,
    host: str | Sequence[str] | None = None,
    port: int | str | Sequence[int] | None = None,
    user: str | None = None,
    password: Any = None,
    passfile: Any = None,
    service: str | None = None,
    servicefile: Any = None,
    database: str | None = None,
    loop: asyncio.AbstractEventLoop | None = None,
    timeout: float | None = None,
    statement_cache_size: int = 100,
    max_cached_statement_lifetime: float = 300,
    max_cacheable_statement_size: int = 1024 * 15,
    command_timeout: float | None = None,
    ssl: Any = None,
    direct_tls: bool | None = None,
    server_settings: dict[str, str] | None = None,
    target_session_attrs: Any = None,
    krbsrvname: str | None = None,
    gsslib: str | None = None,
    connector: Any = None,
    sock: Any = None,
    eager_begin: bool = False,
    proxy: str | None = None,
    codecs: Codecs | None = None,
    json: Any = None,
    strict_numbers: bool = False,
    plain_uuid: bool = False,
    out_of_range: Literal["error", "text", "clamp"] = "error",
    max_is_infinity: bool = False,
    array_bounds: bool = False,
    **libpq: Any,
) -> Connection[Record]: ...
async def connect(
    dsn: str | None = None,
    *,
    host: str | Sequence[str] | None = None,
    port: int | str | Sequence[int] | None = None,
    user: str | None = None,
    password: Any = None,
    passfile: Any = None,
    service: str | None = None,
    servicefile: Any = None,
    database: str | None = None,
    loop: asyncio.AbstractEventLoop | None = None,
    timeout: float | None = None,
    statement_cache_size: int = 100,
    max_cached_statement_lifetime: float = 300,
    max_cacheable_statement_size: int = 1024 * 15,
    command_timeout: float | None = None,
    ssl: Any = None,
    direct_tls: bool | None = None,
    connection_class: type[Connection[Any]] = Connection,
    record_class: type[Record] = Record,
    row_factory: Any = None,
    server_settings: dict[str, str] | None = None,
    target_session_attrs: Any = None,
    krbsrvname: str | None = None,
    gsslib: str | None = None,
    connector: Any = None,
    sock: Any = None,
    eager_begin: bool = False,
    proxy: str | None = None,
    codecs: Codecs | None = None,
    json: Any = None,
    strict_numbers: bool = False,
    plain_uuid: bool = False,
    out_of_range: Literal["error", "text", "clamp"] = "error",
    max_is_infinity: bool = False,
    array_bounds: bool = False,
    **libpq: Any,
) -> Any:
    """Connect to PostgreSQL; a :class:`Connection`.

    dsn: a ``postgresql://`` URI or a libpq ``key=value`` string. Every libpq parameter is taken as a keyword too
    (``sslmode=``, ``application_name=`` ...), and from the ``PG*`` environment, the password and the service file.
    timeout: seconds from name resolution to ready, all hosts together (60 unless connect_timeout is given).
    connect_timeout: seconds for each address; the next host is tried after that.
    record_class, row_factory: what rows are, where a call does not say: a class of records, or what
    :meth:`Connection.fetch` takes as row_factory.
    security="strict": refuse everything that is not verified and encrypted.
    eager_begin: send BEGIN and SAVEPOINT when a transaction starts, not along with its first statement.
    proxy: what stands before the server, such as PgBouncer. "session": it gives a client one session while it is
    connected. "transaction": another one for each transaction. No statement gets a name on the server then, no session
    is reset, and there are no listeners; set nothing that is to outlast a transaction. In both modes nothing is sent at
    the start that proxies refuse; your own server_settings are sent, so PgBouncer has to know them or to have them in
    its ignore_startup_parameters.

    What becomes of values (docs/types.md), on this connection or all of a pool:
    codecs: type name -> :class:`TypeCodec` or the name of a built-in codec.
    json: json and jsonb as Python objects, by True or 'stdlib', 'orjson', 'msgspec', a pair of functions (loads, dumps)
    or an object that has them. None: as str.
    strict_numbers: a value with a fraction is refused for an integer, not cut off.
    plain_uuid: values of uuid are of the class uuid.UUID itself.
    out_of_range: dates, times and intervals that Python's types cannot hold are an 'error', a str ('text'), or the
    nearest value that they can hold ('clamp').
    max_is_infinity: date.max, datetime.max and their like are sent as the infinities, as asyncpg does.
    array_bounds: arrays are of the class types.Array, which keeps their lower bounds.

    Raises OSError when no host can be reached, ConnectionDoesNotExistError when the server hangs up, TimeoutError,
    ClientConfigurationError for bad parameters, and the server's own errors (InvalidPasswordError,
    InvalidCatalogNameError ...).
    """
    if not isinstance(connection_class, type) or not issubclass(connection_class, Connection):
        raise exceptions.InterfaceError(
            f"connection_class is expected to be a subclass of fastpg.Connection, got {connection_class!r}"
        )
    check_record_class(record_class)
    check_exclusive(record_class, row_factory)
    if row_factory is not None:
        row_sink(row_factory)
    wanted = declared(codecs)
    options = None
    if not (
        json is None and strict_numbers is plain_uuid is max_is_infinity is array_bounds is False
        and out_of_range == "error"
    ):  # fmt: skip
        options = CodecOptions(
            json=json, strict_numbers=strict_numbers, plain_uuid=plain_uuid, out_of_range=out_of_range,
            max_is_infinity=max_is_infinity, array_bounds=array_bounds,
        )  # fmt: skip
        if options.changes_nothing:
            options = None
    limits = (statement_cache_size, max_cached_statement_lifetime, max_cacheable_statement_size)
    if command_timeout is not None or limits != DEFAULT_LIMITS:
        command_timeout = check_limits(
            {
                "statement_cache_size": statement_cache_size,
                "max_cached_statement_lifetime": max_cached_statement_lifetime,
                "max_cacheable_statement_size": max_cacheable_statement_size,
            },
            command_timeout,
        )
    mode = proxy_mode(proxy)
    if mode is not None:
        libpq["security"] = behind_proxy(select_profile(libpq.get("security"), os.environ))
    if (
        host is port is user is password is direct_tls is ssl is server_settings is target_session_attrs
        is passfile is service is servicefile is database is krbsrvname is gsslib is None
    ):  # fmt: skip
        params = parse(dsn, **libpq)  # most often the string says it all
    else:
        arguments = {
            "host": host, "port": port, "user": user, "password": password, "passfile": passfile, "service": service,
            "servicefile": servicefile, "database": database, "ssl": ssl, "direct_tls": direct_tls,
            "server_settings": server_settings, "target_session_attrs": target_session_attrs, "krbsrvname": krbsrvname,
            "gsslib": gsslib,
        }  # fmt: skip
        params = parse(dsn, **{name: value for name, value in arguments.items() if value is not None}, **libpq)
    if loop is None:
        loop = asyncio.get_running_loop()
    if timeout is None:
        # connect_timeout is each address's own limit, like libpq's; open_session applies it.
        timeout = None if params.connect_timeout else params.security.connect_timeout
    deadline = None if timeout is None else loop.time() + timeout
    try:
        session = await open_session(
            params, loop=loop, timeout=timeout, connector=connector, sock=sock, around=connect_utils.around_attempt()
        )
    except BaseException as error:
        # No statement has been sent, whatever happened. `failed`: the server itself has refused us.
        refused = isinstance(error, exceptions.PostgresError) and not isinstance(
            error, exceptions.ConnectionDoesNotExistError
        )
        exceptions.annotate(error, phase="connect", bytes_sent=refused, outcome="failed" if refused else "not_sent")
        raise
    security = params.security
    config = ClientConfiguration(
        security.command_timeout if command_timeout is None else command_timeout,
        statement_cache_size if mode is None or mode.session else 0,
        max_cached_statement_lifetime,
        max_cacheable_statement_size,
        record_class,
        security.close_timeout,
        bool(eager_begin),
        mode,
        session,
        row_factory,
        wanted,
        options,
    )
    wire = Session(session.parameters, session.tx_status)
    wire.backend_pid = session.backend_pid
    wire.max_result_bytes = security.max_result_bytes or 0
    client = ClientProtocol(loop, wire, tls=session.tls, cancel_timeout=security.cancel_timeout)
    client.reuse_after_cancel = security.reuse_after_cancel
    client.canceller = partial(send_cancel, session)
    connection = connection_class(client, session.transport, loop, session.addr, config, params)
    client.attach(session.transport, session.leftover)
    if wanted:
        try:
            if deadline is None and params.connect_timeout:
                deadline = loop.time() + params.connect_timeout
            await connection._declare_codecs(deadline)
        except BaseException:
            connection.terminate()
            raise
    return connection
