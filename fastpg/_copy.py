# SPDX-License-Identifier: MIT
"""COPY for Connection: statements, and the data between the user's source or sink and the session.

The user's code runs in the task that called the method, never in another one. While it runs, two things interrupt it
by cancelling the task: the deadline, and a COPY that has failed on the server (a source only: what a sink has been
given is the end of it anyway). Both end as the exception that they are, not as CancelledError.

A source or sink that raises ends the COPY: CopyFail, or a cancel and reading on to the end. Its exception is raised
when the server is done, so that the transaction status is known by then.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Callable, Coroutine
from typing import Any

from fastpg import _copy_sql, exceptions
from fastpg._copy_io import Closing, open_output, open_source, pieces
from fastpg._startup import Deadline
from fastpg.protocol.copy import BufferSink, CopyIn, CopyOut, IteratorSource, PushSource, RowSource
from fastpg.protocol.copy_records import RecordEncoder, RecordSource, TextRecordEncoder
from fastpg.protocol.operation import Operation, Prepare, StatementPlan
from fastpg.protocol.row import RowPlan
from fastpg.sinks.record import RecordSink
from fastpg.types import CommandStatus

GRACE = 1.0  # seconds that the server has to end a COPY by itself after CopyFail
TURN = 256 * 1024  # bytes of a source that never waits, until other tasks get a turn


class Transfer:
    """One COPY under way. Use as a context manager around everything that waits."""

    def __init__(self, connection: Any, limit: float | None) -> None:
        self.connection = connection
        self.client = connection._client
        self.loop = connection._loop
        self.limit = limit
        self.waiter: Any = None
        self.task: Any = None
        self.timer: asyncio.TimerHandle | None = None
        self.signal: asyncio.Future[None] | None = None
        self.outside = False  # the user's source runs
        self.expired = False
        self.interrupted = False
        self.cancels = 0

    def start(self, operation: Operation) -> None:
        left = self.connection._left(self.limit)
        self.task = asyncio.current_task()
        self.cancels = self.cancel_requests()
        self.waiter = self.client.run(operation)
        self.waiter.add_done_callback(self.on_end)
        if left >= 0:
            self.timer = self.loop.call_later(left, self.on_deadline)

    def cancel_requests(self) -> int:
        # Python 3.10 does not count them.
        return int(self.task.cancelling()) if hasattr(self.task, "cancelling") else 0

    def on_end(self, waiter: Any) -> None:
        self.notify()
        if self.outside and not self.interrupted:
            self.interrupted = True
            self.task.cancel()

    def on_deadline(self) -> None:
        self.expired = True
        if not self.interrupted:
            self.interrupted = True
            self.task.cancel()

    def notify(self) -> None:
        """Something has happened that changed() waits for."""
        if self.signal is not None and not self.signal.done():
            self.signal.set_result(None)

    async def changed(self, unless: Callable[[], Any]) -> None:
        """Wait for notify(), if it is still to be waited for."""
        while not self.waiter.done() and not unless():
            self.signal = self.loop.create_future()
            try:
                await self.signal
            finally:
                self.signal = None

    async def run(self, operation: Operation, work: Callable[[], Any]) -> CommandStatus:
        """Start the operation, let `work` move its data; the status."""
        self.start(operation)
        waiter = self.waiter
        try:
            await work()
            status: CommandStatus = await waiter
            return status
        except BaseException as error:
            ours = self.stop(error)
            if ours and waiter.done() and not self.expired:
                waiter.result()  # raises what it failed with
            if ours and self.expired:
                timeout = asyncio.TimeoutError()
                self.client.abandon(waiter, timeout)
                raise timeout from None
            if not isinstance(error, Exception):
                self.client.abandon(waiter, error)
            elif not (waiter.done() and not waiter.cancelled() and waiter.exception() is error):
                await self.give_up(error)
            raise
        finally:
            self.stop(None)
            self.connection = self.client = self.task = None  # no cycle keeps them

    def stop(self, error: BaseException | None) -> bool:
        """Interrupt no more. Whether `error` comes from the cancel that we asked for, and from nobody else's."""
        self.outside = False
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        if not self.interrupted:
            return False
        self.interrupted = False
        left = self.task.uncancel() if hasattr(self.task, "uncancel") else 0
        # What a source makes of the interruption is no error of its own.
        return left <= self.cancels or not isinstance(error, asyncio.CancelledError)

    async def give_up(self, error: Exception) -> None:
        """End the COPY because of the user's own error, and wait for the server to agree."""
        try:
            await self.end_because(error)
            await self.connection._settle(self.limit)
        except (exceptions.InterfaceError, asyncio.TimeoutError):
            pass  # the connection is lost, or the time is over: the user's error says why the COPY ended

    async def end_because(self, error: Exception) -> None:
        self.client.abandon(self.waiter)


class FeedingTransfer(Transfer):
    """COPY FROM STDIN out of a producer."""

    def __init__(self, connection: Any, limit: float | None) -> None:
        super().__init__(connection, limit)
        self.source = PushSource(self.notify)
        self.pushed = 0

    async def push(self, chunk: Any) -> None:
        """Hand over a chunk, and wait while there is too much of it under way."""
        self.outside = False
        if isinstance(chunk, (bytes, bytearray, memoryview)) and len(chunk) > TURN:
            for piece in pieces(memoryview(chunk).cast("B")):
                await self.push(piece)
            return
        self.pushed += self.source.push(chunk)
        self.client.wake()
        if self.source.is_aborted:
            await self.changed(lambda: False)  # until the server has ended it
        elif self.source.is_full:
            await self.changed(lambda: not self.source.is_full)
        if self.pushed >= TURN:
            self.pushed = 0
            await asyncio.sleep(0)

    async def end_because(self, error: Exception) -> None:
        # CopyFail is enough, unless the server has stopped reading: then it is cancelled too.
        self.source.end(error)
        self.client.wake()
        await self.wait_for_end(min(GRACE, self.client.cancel_timeout))
        if not self.waiter.done():
            self.client.abandon(self.waiter)
        elif not self.waiter.cancelled():
            self.waiter.exception()  # it is being raised

    async def wait_for_end(self, seconds: float) -> None:
        try:
            await asyncio.wait([self.waiter], timeout=seconds)
        except BaseException as error:
            self.client.abandon(self.waiter, error)
            raise

    async def feed(self, operation: CopyIn, chunks: AsyncIterable[Any]) -> None:
        await self.changed(lambda: operation.started)
        if self.waiter.done():
            return
        self.outside = True
        async for chunk in chunks:
            if self.waiter.done():
                return
            await self.push(chunk)
            if self.waiter.done():
                return
            self.outside = True
        self.finish()

    async def feed_records(self, operation: CopyIn, encoder: RecordEncoder, records: AsyncIterable[Any]) -> None:
        await self.changed(lambda: operation.started)
        if self.waiter.done():
            return
        encoder.begin()
        if operation.columns == encoder.columns:
            self.outside = True
            async for record in records:
                if self.waiter.done():
                    return
                if encoder.add(record):
                    await self.push(encoder.take())
                    if self.waiter.done():
                        return
                    self.outside = True
        self.outside = False
        encoder.end()
        await self.push(encoder.take())
        self.finish()

    def finish(self) -> None:
        self.outside = False
        if not self.waiter.done():
            self.source.end()
            self.client.wake()


async def copy_in(connection: Any, sql: str, source: RowSource, limit: float | None) -> tuple[CommandStatus, CopyIn]:
    """COPY FROM STDIN of what is there already."""
    operation = CopyIn(sql, source)
    return await connection._wait(connection._client.run(operation, connection._left(limit))), operation


async def opened(
    connection: Any, open_it: Callable[[Any], Coroutine[Any, Any, Any]], what: Any, limit: float | None
) -> Any:
    """What open_it() opens, within the time that is left: a path may be that of a FIFO."""
    if limit is None:
        return await open_it(what)
    deadline = Deadline(connection._loop, connection._left(limit))
    deadline.stage = "opening the file of a COPY"
    try:
        with deadline:
            return await open_it(what)
    except asyncio.TimeoutError as error:
        connection._not_sent(error)
        raise


def time_left(connection: Any, limit: float | None) -> float | None:
    return None if limit is None else connection._left(limit)


async def send(connection: Any, sql: str, source: Any, limit: float | None) -> CommandStatus:
    """COPY FROM STDIN of a path, a file, bytes or an iterable of them."""
    chunks = await opened(connection, open_source, source, limit)
    if not hasattr(chunks, "__aiter__"):
        status, _ = await copy_in(connection, sql, IteratorSource(chunks), limit)
        return status
    async with Closing(chunks, chunks is not source):
        transfer = FeedingTransfer(connection, limit)
        operation = CopyIn(sql, transfer.source)
        return await transfer.run(operation, lambda: transfer.feed(operation, chunks))


def is_binary(plan: RowPlan) -> bool:
    """Whether every column has a binary form."""
    return all([handle.format == 1 for handle in plan.handles])


def record_encoder(connection: Any, plan: RowPlan) -> RecordEncoder:
    """What encodes records for these columns: in binary, or all in text where one has no other form."""
    if is_binary(plan):
        return RecordEncoder(plan)
    registry = connection._registry
    handles = tuple([registry.in_text(handle) for handle in plan.handles])
    texts = RowPlan(plan.columns, handles, registry.encoding or "utf-8")
    return TextRecordEncoder(texts, registry.encoding)


async def send_records(
    connection: Any, sql: str, plan: RowPlan, records: Any, limit: float | None
) -> tuple[CommandStatus, bool]:
    """COPY FROM STDIN of records; the status, and whether the columns are those that the server expects.

    When they are not, no record has been taken.
    """
    encoder = record_encoder(connection, plan)
    if hasattr(records, "__aiter__"):
        transfer = FeedingTransfer(connection, limit)
        operation = CopyIn(sql, transfer.source)
        status = await transfer.run(operation, lambda: transfer.feed_records(operation, encoder, records))
    else:
        status, operation = await copy_in(connection, sql, RecordSource(encoder, records), limit)
    return status, operation.columns == encoder.columns


# -------------------------------------------------------------------- the calls


async def copy_out(connection: Any, sql: str, output: Any, limit: float | None) -> CommandStatus:
    """Run COPY ... TO STDOUT; its data goes to `output`."""
    protocol = connection._protocol
    if protocol._patched:
        status: CommandStatus = await protocol.copy_out(sql, output, time_left(connection, limit))
        return status
    return await receive(connection, sql, output, limit)


async def receive(connection: Any, sql: str, output: Any, limit: float | None) -> CommandStatus:
    write = await opened(connection, open_output, output, limit)
    async with Closing(write):
        transfer = Transfer(connection, limit)
        buffer = BufferSink(transfer.notify)

        async def drain() -> None:
            while True:
                data = buffer.take()
                if data:
                    transfer.client.resume_reading()
                    await write(data)
                elif transfer.waiter.done():
                    return
                else:
                    await transfer.changed(lambda: buffer.size)

        return await transfer.run(CopyOut(sql, buffer), drain)


async def from_table(
    connection: Any, table_name: str, columns: Any, schema_name: str | None, output: Any, timeout: float | None,
    options: dict[str, Any],
) -> CommandStatus:  # fmt: skip
    """Connection.copy_from_table()."""
    target = _copy_sql.table(table_name, schema_name)
    if columns:
        target += f" ({_copy_sql.column_list(columns)})"
    sql = f"COPY {target} TO STDOUT{_copy_sql.option_list(options)}"
    limit = await connection._ready_for_script(timeout)
    with connection._section():
        return await copy_out(connection, sql, output, limit)


async def from_query(
    connection: Any, query: str, args: tuple[Any, ...], output: Any, timeout: float | None, options: dict[str, Any]
) -> CommandStatus:
    """Connection.copy_from_query()."""
    tail = f"\n) TO STDOUT{_copy_sql.option_list(options)}"
    limit = await connection._ready_for_script(timeout)
    with connection._section():
        if args:
            query = await with_arguments(connection, query, args, limit)
        return await copy_out(connection, f"COPY (\n{query.rstrip().rstrip(';')}{tail}", output, limit)


async def with_arguments(connection: Any, query: str, args: tuple[Any, ...], limit: float | None) -> str:
    """The query with its arguments in it: COPY takes no parameters.

    The arguments are encoded as for any query and sent as parameters of the same types; the server itself gives
    each as a literal and the name of its type.
    """
    client = connection._client
    plan: StatementPlan = await connection._prepare_plan("", query, limit)
    oids = plan.parameter_oids
    literals = ", ".join([f"pg_catalog.format('%L', ${n})" for n in range(1, len(oids) + 1)])
    types = ", ".join([f"pg_catalog.format_type({oid}, -1)" for oid in oids])
    sql = f"SELECT ARRAY[{literals}]::text[], ARRAY[{types}]::text[]"
    _, columns = await connection._wait(client.run(Prepare(b"", sql, None, oids), connection._left(limit)))
    lookup = connection._registry.lookup_or_text
    rows = RowPlan(columns, tuple([lookup(column[3]) for column in columns]))
    quoting = StatementPlan(sql, b"", oids, plan.parameters, rows)
    [[values, names]] = await connection._wait(
        client.query(quoting, args, RecordSink(None), 0, connection._left(limit))
    )
    texts = [f"({value}::{name})" for value, name in zip(values, names, strict=True)]
    standard = client.session.parameters.get("standard_conforming_strings", "on") == "on"
    return _copy_sql.replace_parameters(query, texts, standard_strings=standard)


def copy_from_stdin(target: str, columns: str, tail: str, where: Any) -> str:
    if where is not None and not isinstance(where, str):
        raise TypeError(f"where is expected to be str, not {type(where).__name__}")
    condition = f" WHERE {where}" if where else ""
    return f"COPY {target}{f' ({columns})' if columns else ''} FROM STDIN{tail}{condition}"


def check_where(connection: Any, where: Any) -> None:
    if where and connection.get_server_version() < (12, 0):
        raise exceptions.UnsupportedServerFeatureError("the `where` parameter requires PostgreSQL 12 or later")


async def to_table(
    connection: Any, table_name: str, columns: Any, schema_name: str | None, source: Any, timeout: float | None,
    where: str | None, options: dict[str, Any],
) -> CommandStatus:  # fmt: skip
    """Connection.copy_to_table()."""
    target = _copy_sql.table(table_name, schema_name)
    names = _copy_sql.column_list(columns) if columns else ""
    sql = copy_from_stdin(target, names, _copy_sql.option_list(options), where)
    check_where(connection, where)
    limit = await connection._ready_for_script(timeout)
    with connection._section():
        protocol = connection._protocol
        if protocol._patched:
            status: CommandStatus = await protocol.copy_in(sql, source, None, None, None, time_left(connection, limit))
            return status
        return await send(connection, sql, source, limit)


async def records_to_table(
    connection: Any, table_name: str, columns: Any, schema_name: str | None, records: Any, timeout: float | None,
    where: str | None,
) -> CommandStatus:  # fmt: skip
    """Connection.copy_records_to_table()."""
    target = _copy_sql.table(table_name, schema_name)
    names = _copy_sql.column_list(columns) if columns else ""
    copy_from_stdin(target, names, "", where)
    check_where(connection, where)
    if not hasattr(records, "__aiter__"):
        try:
            records = iter(records)
        except TypeError:
            raise TypeError(
                f"records is expected to be an iterable or an asynchronous iterable of records, "
                f"not {type(records).__name__}"
            ) from None
    limit = await connection._ready_for_script(timeout)
    with connection._section():
        while True:
            # Only to learn the types of the columns.
            plan = await connection._prepare_plan("", f"SELECT {names or '*'} FROM {target} LIMIT 1", limit)
            if plan.plan is None:
                raise exceptions.InternalClientError("the server has described a SELECT as a statement without rows")
            sql = copy_from_stdin(target, names, " (FORMAT binary)" if is_binary(plan.plan) else "", where)
            protocol = connection._protocol
            if protocol._patched:
                left = time_left(connection, limit)
                state = protocol._state(plan)
                status: CommandStatus = await protocol.copy_in(sql, None, None, records, state, left)
                same = state.same_columns
            else:
                status, same = await send_records(connection, sql, plan.plan, records, limit)
            if same:
                return status
            if names:
                raise exceptions.InternalClientError("COPY and SELECT disagree about the columns")
            # The table has generated columns. Not a record was taken or sent.
            names = await stored_columns(connection, target, limit)


async def stored_columns(connection: Any, target: str, limit: float | None) -> str:
    """The columns of a table that are not generated."""
    sql = (
        "SELECT pg_catalog.quote_ident(attname) FROM pg_catalog.pg_attribute "
        f"WHERE attrelid = {_copy_sql.quote_literal(target)}::pg_catalog.regclass "
        "AND attnum > 0 AND NOT attisdropped AND attgenerated = '' ORDER BY attnum"
    )
    plan = await connection._prepare_plan("", sql, limit)
    rows = await connection._wait(
        connection._client.query(plan, (), RecordSink(None), 0, connection._left(limit))
    )
    return ", ".join([row[0] for row in rows])
