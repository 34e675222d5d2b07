# SPDX-License-Identifier: MIT
"""The part of a Connection that runs statements when the one step of `fastpg.call` does not do: deadlines, cancels that
have to end first, plans that have to be made or are stale.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from fastpg import exceptions
from fastpg._hooks import PreparedStatementState
from fastpg._row_factory import check_exclusive, new_sink, row_sink
from fastpg._statements import StatementMixin
from fastpg.codecs._unknown import UnknownTypeError
from fastpg.protocol.begin import Synchronize
from fastpg.protocol.operation import Execute, ExecuteMany, SimpleQuery, StatementPlan
from fastpg.protocol.record import check_record_class
from fastpg.sinks.base import ListSink
from fastpg.sinks.record import RecordSink
from fastpg.types import CommandStatus

if TYPE_CHECKING:
    from fastpg.client import ClientProtocol

AGAIN = object()  # see RunMixin._mend()


class Section:
    """``with Section(client):`` several round trips of one call, and nobody comes in between."""

    __slots__ = ("_client",)

    def __init__(self, client: ClientProtocol) -> None:
        self._client = client

    def __enter__(self) -> None:
        self._client.section = self

    def __exit__(self, *error: object) -> None:
        self._client.section = None


class RunMixin(StatementMixin):
    """Methods of Connection."""

    __slots__ = ()

    if TYPE_CHECKING:
        _record_class: type
        _rerouted: bool
        _rows: type | ListSink

    def _mend(self, error: BaseException, waiter: asyncio.Future[Any]) -> Any:
        """What is to be done about the failure of a call of `fastpg.call`.

        None: raise it. AGAIN: nothing has happened on the server, the call goes the long way. Otherwise an awaitable of
        what the call's sink makes of the rows, now that more is known of their types.
        """
        if not isinstance(error, Exception):
            self._client.abandon(waiter, error)
            return None
        if isinstance(error, UnknownTypeError):
            return self._resume(error, error.deadline)
        return AGAIN if self._on_call_error(error) else None

    def _on_call_error(self, error: Exception) -> bool:
        """Forget what the error shows to be stale: whether the call can be made again."""
        if isinstance(error, (exceptions.PostgresError, exceptions.OutdatedSchemaCacheError)):
            self._on_type_error(error)
        return isinstance(error, exceptions.PostgresError) and self._is_stale(error)

    def _rows_of(self, record_class: type | None, row_factory: Any) -> type | ListSink:
        """What new_sink() takes for the rows of a call; when that does not say, it is the connection's own."""
        if record_class is not None:
            check_record_class(record_class)
        if row_factory is None:
            return record_class or self._rows
        check_exclusive(record_class, row_factory)
        return row_sink(row_factory, self._record_class)

    def _sink(self, record_class: type | None, row_factory: Any) -> ListSink:
        return new_sink(self._rows_of(record_class, row_factory))

    async def _run_query(
        self, query: str, args: tuple[Any, ...], limit: int, sink: Any, timeout: float | None
    ) -> tuple[StatementPlan, Any]:
        deadline = await self._ready(timeout)
        with self._section():
            if self._warming:
                self._take_warm()
            if self._cache.get(query) is None:
                first = self._guess(query, args, sink, limit)
                if first is not None:
                    done, result = await self._run_first(first, deadline)
                    if done:
                        return first.statement, result
                    sink = sink.again()
            plan = await self._statement(query, deadline)
            try:
                return plan, await self._wait(
                    self._client.query(plan, args, sink, limit, self._left(deadline)), deadline
                )
            except exceptions.PostgresError as error:
                if not self._is_stale(error):
                    raise
            # The plan was made stale by DDL, or the server has forgotten the statement: once more with a new one.
            self._cache.remove(query)
            plan = await self._statement(query, deadline)
            return plan, await self._wait(
                self._client.query(plan, args, sink.again(), limit, self._left(deadline)), deadline
            )

    def _is_stale(self, error: exceptions.PostgresError) -> bool:
        stale = isinstance(error, (exceptions.InvalidCachedStatementError, exceptions.InvalidSQLStatementNameError))
        if stale:
            self._cache.clear()
        return stale and (not self.is_in_transaction() or self._begin_again())

    async def _run_all(self, query: str, args: Iterable[Sequence[Any]], sink: Any, timeout: float | None) -> Any:
        deadline = await self._ready(timeout)
        with self._section():
            plan = await self._statement(query, deadline)
            operation = ExecuteMany(plan, args, sink)
            return await self._wait(self._client.run(operation, self._left(deadline)), deadline)

    async def _run_statement(
        self, plan: StatementPlan, args: tuple[Any, ...], limit: int, sink: Any, timeout: float | None
    ) -> Any:
        if self._rerouted:
            state = PreparedStatementState(self, plan, sink=sink)
            return await self._protocol.bind_execute(state, args, "", limit, False, timeout)
        return await self._run_plan(plan, args, limit, sink, timeout)

    async def _run_plan(
        self, plan: StatementPlan, args: Sequence[Any], limit: int, sink: Any, timeout: float | None
    ) -> Any:
        deadline = await self._ready(timeout)
        waiter = self._client.query(plan, args, sink, limit, self._left(deadline))
        return await self._wait(waiter, deadline)

    async def _run_many(
        self, plan: StatementPlan, args: Iterable[Sequence[Any]], sink: Any, timeout: float | None
    ) -> Any:
        if self._rerouted:
            state = PreparedStatementState(self, plan, sink=sink)
            return await self._protocol.bind_execute_many(state, args, "", timeout, True)
        deadline = await self._ready(timeout)
        waiter = self._client.run(ExecuteMany(plan, args, sink), self._left(deadline))
        return await self._wait(waiter, deadline)

    async def _run_portal(
        self,
        plan: StatementPlan,
        args: tuple[Any, ...] | None,
        portal: bytes,
        step: int,
        limit: int,
        sink: Any,
        timeout: float | None,
    ) -> tuple[Any, bool]:
        if not self._rerouted:
            return await self._move_portal(plan, args, portal, step, limit, sink, timeout)
        state = PreparedStatementState(self, plan, sink=sink)
        if args is not None:
            await self._protocol.bind(state, args, portal.decode(), timeout)
            return None, False
        rows, _, completed = await self._protocol.execute(state, portal.decode(), limit, True, timeout)
        return rows, not completed

    async def _move_portal(
        self,
        plan: StatementPlan,
        args: Sequence[Any] | None,
        portal: bytes,
        step: int,
        limit: int,
        sink: Any,
        timeout: float | None,
    ) -> tuple[Any, bool]:
        deadline = await self._ready(timeout)
        if sink is None:
            sink = RecordSink(None, keep=False)
        operation = Execute(plan, args, sink, None, limit, portal, step)
        result = await self._wait(self._client.run(operation, self._left(deadline)), deadline)
        return result, operation.is_suspended

    async def _run_script(self, query: str, timeout: float | None) -> CommandStatus:
        limit = await self._ready_for_script(timeout)
        status: CommandStatus = await self._wait(self._client.run(SimpleQuery(query), self._left(limit)))
        return status

    async def _ready_for_script(self, timeout: float | None) -> float | None:
        """_ready(), for what goes by the simple protocol.

        When a BEGIN fails the server throws away the Query behind it. PgBouncer in transaction mode waits for its
        answer then, and lends the session to nobody else.
        """
        deadline = await self._ready(timeout)
        if self._config.proxy is not None and not self._config.proxy.session:
            await self._begin_now(deadline)
        return deadline

    async def _begin_now(self, deadline: float | None) -> None:
        """Send the BEGIN that waits for its first statement, and wait until it is executed."""
        if self._client.session.opening is not None:
            await self._wait(self._client.run(Synchronize(), self._left(deadline)))

    # ----------------------------------------------------- waiting and deadlines

    async def _wait(self, waiter: Awaitable[Any], deadline: float | None = None) -> Any:
        try:
            return await waiter
        except (asyncio.CancelledError, GeneratorExit) as error:
            self._client.abandon(waiter, error)
            raise
        except UnknownTypeError as error:
            return await self._resume(error, deadline)
        except (exceptions.OutdatedSchemaCacheError, exceptions.DatatypeMismatchError) as error:
            self._on_type_error(error)
            raise

    async def _ready(self, timeout: float | None) -> float | None:
        """The deadline of a call, after a pending cancel has ended. Evicted statements are closed in front of it."""
        deadline = self._deadline(timeout)
        client = self._client
        if client.cancelling is not None:
            await self._settle(deadline)
        client.check_usable()
        if client.to_close:
            names, client.to_close = client.to_close, []
            client.session.close_statements(names)
        return deadline

    async def _settle(self, deadline: float | None = None) -> None:
        """Wait until no cancel is under way: the transaction status is true then."""
        client = self._client
        while client.cancelling is not None:
            client.check()
            try:
                await self._wait_cancelled(client.cancelling, deadline)
            except (asyncio.CancelledError, asyncio.TimeoutError) as error:
                self._not_sent(error)
                raise

    def _not_sent(self, error: BaseException) -> BaseException:
        return exceptions.annotate(
            error, phase="query", bytes_sent=False, outcome="not_sent", backend_pid=self._client.session.backend_pid
        )

    async def _wait_cancelled(self, cancelling: asyncio.Future[None], deadline: float | None) -> None:
        # The cancel is bounded by its own deadline, which closes the connection.
        if deadline is None:
            await asyncio.shield(cancelling)
            return
        _, pending = await asyncio.wait([cancelling], timeout=max(self._left(deadline), 0))
        if pending:
            raise asyncio.TimeoutError

    def _deadline(self, timeout: float | None) -> float | None:
        if timeout is None:
            timeout = self._config.command_timeout
            if timeout is None:
                return None
        elif isinstance(timeout, (bool, str)) or timeout != timeout:
            raise ValueError(f"invalid timeout value: expected non-negative float (got {timeout!r})")
        if timeout <= 0:
            raise self._not_sent(asyncio.TimeoutError())
        return self._loop.time() + timeout

    def _left(self, deadline: float | None) -> float:
        """Seconds left, -1 for no limit. Raises TimeoutError when there is nothing left."""
        if deadline is None:
            return -1
        left = deadline - self._loop.time()
        if left <= 0:
            raise self._not_sent(asyncio.TimeoutError())
        return left

    def _section(self) -> Section:
        """Several round trips of one call: nobody comes in between."""
        return Section(self._client)
