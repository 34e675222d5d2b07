# SPDX-License-Identifier: MIT
"""Transactions and savepoints.

BEGIN and SAVEPOINT go along with the first statement behind them, in the same round trip; a transaction or savepoint in
which nothing is run is never sent. The server does not execute that statement unless its BEGIN has succeeded.
"""

from __future__ import annotations

import asyncio
import enum
from types import TracebackType
from typing import TYPE_CHECKING, Any

from fastpg import exceptions
from fastpg._stale import check_stale
from fastpg.protocol.opening import Opening

if TYPE_CHECKING:
    from fastpg.connection import Connection


class TransactionState(enum.Enum):
    """Where a Transaction object is in its life."""

    NEW = 0
    STARTED = 1
    COMMITTED = 2
    ROLLEDBACK = 3
    FAILED = 4


ISOLATION_LEVELS = {"read_committed", "read_uncommitted", "serializable", "repeatable_read"}
ISOLATION_LEVELS_BY_VALUE = {
    "read committed": "read_committed",
    "read uncommitted": "read_uncommitted",
    "serializable": "serializable",
    "repeatable read": "repeatable_read",
}


class Transaction:
    """A transaction block, or a savepoint when one is open already.

    Made by :meth:`Connection.transaction`. Use it with ``async with``, or call start(), commit() and rollback().
    """

    __slots__ = ("_connection", "_deferrable", "_isolation", "_managed", "_name", "_nested", "_opening", "_readonly",
                 "_releases", "_state")  # fmt: skip

    def __init__(self, connection: Connection[Any], isolation: str | None, readonly: bool, deferrable: bool) -> None:
        if isolation and isolation not in ISOLATION_LEVELS:
            raise ValueError(f"isolation is expected to be either of {ISOLATION_LEVELS!r}, got {isolation!r}")
        self._connection = connection
        self._isolation = isolation
        self._readonly = readonly
        self._deferrable = deferrable
        self._state = TransactionState.NEW
        self._nested = False
        self._opening: Opening | None = None  # what goes along with the first statement
        self._name: str | None = None
        self._managed = False
        self._releases = connection._pool_release_ctr

    async def __aenter__(self) -> None:
        if self._managed:
            raise exceptions.InterfaceError("cannot enter context: already in an `async with` block")
        self._managed = True
        await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is GeneratorExit and self._connection._pool_release_ctr != self._releases:
                # An abandoned generator: its connection went back to the pool first, and was rolled back there.
                self._state = TransactionState.FAILED
                return
            if self._connection.is_closed():
                # The server has rolled back; the error that ended the connection is on its way already.
                self._state = TransactionState.FAILED
                if kind is None:
                    raise self._connection._not_sent(exceptions.InterfaceError("connection is closed"))
                return
            if kind is None:
                await self._commit()
            else:
                try:
                    await self._rollback()
                except Exception:
                    # The connection was lost meanwhile: the server has rolled back, what came first says why.
                    if not self._connection.is_closed():
                        raise
        finally:
            self._managed = False

    async def start(self) -> None:
        """Begin: BEGIN, or SAVEPOINT, is sent along with the first statement, which also gets its error.

        It is sent at once with ``eager_begin=True`` and when somebody watches execute(). Raises InterfaceError when
        already started.
        """
        self._check_state_base("start")
        if self._state is TransactionState.STARTED:
            raise exceptions.InterfaceError("cannot start; the transaction is already started")
        connection = self._connection
        # After a cancel is_in_transaction() is true to the server only when the cancelled operation has ended.
        await connection._settle()
        if connection._top_xact is None:
            if connection.is_in_transaction():
                raise exceptions.InterfaceError(
                    "cannot use Connection.transaction() in a manually started transaction"
                )
            connection._top_xact = self
        else:
            outer = connection._top_xact
            level = outer._isolation
            if self._isolation and not level:
                # The server's default, which the session may have changed.
                level = ISOLATION_LEVELS_BY_VALUE[await connection.fetchval("SHOW transaction_isolation")]
            if self._isolation and level != self._isolation:
                raise exceptions.InterfaceError(
                    "nested transaction has a different isolation level: "
                    f"current {self._isolation!r} != outer {level!r}"
                )
            self._nested = True
        if self._nested:
            self._name = connection._get_unique_id("savepoint")
            query = f"SAVEPOINT {self._name};"
        else:
            query = self._begin()
        try:
            if connection._begins_at_once():
                await connection.execute(query)
            else:
                connection._client.check_usable()
                self._opening = Opening(query, self._name)
                connection._client.session.open(self._opening)
                connection._client.queries_count += 1
        except BaseException as error:
            self._state = TransactionState.FAILED
            if not self._nested:
                connection._top_xact = None
                self._give_up(error)
            raise
        self._state = TransactionState.STARTED

    def _begin(self) -> str:
        query = "BEGIN"
        if self._isolation:
            query += " ISOLATION LEVEL " + self._isolation.replace("_", " ").upper()
        if self._readonly:
            query += " READ ONLY"
        if self._deferrable:
            query += " DEFERRABLE"
        return query + ";"

    def _check_state_base(self, action: str) -> None:
        check_stale(type(self).__name__, action, self._connection, self._releases)
        if self._state is TransactionState.COMMITTED:
            raise exceptions.InterfaceError(f"cannot {action}; the transaction is already committed")
        if self._state is TransactionState.ROLLEDBACK:
            raise exceptions.InterfaceError(f"cannot {action}; the transaction is already rolled back")
        if self._state is TransactionState.FAILED:
            raise exceptions.InterfaceError(f"cannot {action}; the transaction is in error state")

    def _check_state(self, action: str) -> None:
        check_stale(type(self).__name__, action, self._connection, self._releases)
        if self._state is TransactionState.NEW:
            raise exceptions.InterfaceError(f"cannot {action}; the transaction is not yet started")
        self._check_state_base(action)

    async def _finish(self, query: str, state: TransactionState) -> None:
        if self._connection._top_xact is self:
            self._connection._top_xact = None
        if self._opening is not None and self._connection._client.session.withdraw(self._opening):
            self._state = state
            return
        try:
            await self._connection.execute(query)
        except BaseException as error:
            self._state = TransactionState.FAILED
            if not self._nested:
                self._give_up(error)
            raise
        self._state = state

    def _give_up(self, error: BaseException) -> None:
        # Cancelled or timed out in BEGIN, COMMIT or ROLLBACK: if that leaves a transaction open, nobody is there to
        # end it and to let go of its locks. An Exception of another kind has its own reason and state.
        if isinstance(error, asyncio.TimeoutError) or not isinstance(error, Exception):
            self._connection._client.roll_back()

    async def _commit(self) -> None:
        self._check_state("commit")
        query = f"RELEASE SAVEPOINT {self._name};" if self._nested else "COMMIT;"
        await self._finish(query, TransactionState.COMMITTED)

    async def _rollback(self) -> None:
        self._check_state("rollback")
        if self._nested and self._opening is not None and not self._opening.done:
            # There is no such savepoint: nothing was run in it, or its SAVEPOINT has failed with what is around it.
            self._connection._client.session.withdraw(self._opening)
            self._state = TransactionState.ROLLEDBACK
            return
        query = f"ROLLBACK TO {self._name};" if self._nested else "ROLLBACK;"
        await self._finish(query, TransactionState.ROLLEDBACK)

    async def commit(self) -> None:
        """Commit, or release the savepoint."""
        if self._managed:
            raise exceptions.InterfaceError("cannot manually commit from within an `async with` block")
        await self._commit()

    async def rollback(self) -> None:
        """Roll back, to the savepoint if this is one."""
        if self._managed:
            raise exceptions.InterfaceError("cannot manually rollback from within an `async with` block")
        await self._rollback()

    def __repr__(self) -> str:
        attributes: list[Any] = [f"state:{self._state.name.lower()}"]
        if self._isolation:
            attributes.append(self._isolation)
        if self._readonly:
            attributes.append("readonly")
        if self._deferrable:
            attributes.append("deferrable")
        name = "asyncpg" if type(self).__module__.startswith("asyncpg") else "fastpg"
        return f"<{name}.{type(self).__name__} {' '.join(attributes)} {id(self):#x}>"
