# SPDX-License-Identifier: MIT
"""The part of a Connection that comes to the plan of a statement: from its cache, by asking the server, or by a guess.

What the server has described is remembered for all connections (`_shapes`). A statement that is new to one but not to
others is run with the types that it had there, in the round trip that also asks for them (`FirstExecute`): what turns
out to be wrong is thrown away, and the statement is run as if nothing were known.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from functools import partial
from typing import TYPE_CHECKING, Any

from fastpg import _shapes, exceptions
from fastpg._reread import Conversion
from fastpg._types import TypeCodecMixin
from fastpg.codecs._unknown import UnknownTypeError
from fastpg.codecs.registry import Registry
from fastpg.protocol.oneshot import FirstExecute
from fastpg.protocol.operation import Prepare, SimpleQuery, StatementPlan
from fastpg.protocol.row import RowPlan

if TYPE_CHECKING:
    from fastpg.codecs.codec import CodecHandle

FIRST_USER_OID = 16384  # the server gives all objects that are not its own this OID or a higher one


class StatementMixin(TypeCodecMixin):
    """Methods of Connection."""

    __slots__ = ()

    if TYPE_CHECKING:
        _config: Any
        _known_as: _shapes.Known
        _hooked: bool
        _own_shapes: _shapes.Recent
        _protocol: Any
        _warming: dict[str, tuple[str, Prepare]]

        def _forget_statement(self, name: bytes) -> None: ...
        def _get_unique_id(self, prefix: str) -> str: ...
        def is_closed(self) -> bool: ...
        def terminate(self) -> None: ...

    # ----------------------------------------------------------- what is known

    async def _statement(self, query: str, deadline: float | None) -> StatementPlan:
        if self._warming:
            self._take_warm()
        plan = self._cache.get(query)
        if plan is not None:
            return plan
        size = self._config.max_cacheable_statement_size
        cacheable = self._config.statement_cache_size and (not size or len(query) <= size)
        name = self._get_unique_id("stmt") if cacheable else ""
        plan = await self._prepare_plan(name, query, deadline)
        if cacheable:
            self._cache.put(query, plan)
        return plan

    async def _prepare_plan(self, name: str, query: str, deadline: float | None) -> StatementPlan:
        if self._protocol._patched:
            left = None if deadline is None else self._left(deadline)
            return (await self._protocol.prepare(name, query, left)).plan  # type: ignore[no-any-return]
        return await self._describe_plan(name, query, deadline)

    async def _describe_plan(self, name: str, query: str, deadline: float | None) -> StatementPlan:
        return await self._described(name, query, self._ask_for_plan(name, query, deadline), deadline)

    def _ask_for_plan(self, name: str, query: str, deadline: float | None) -> Awaitable[Any]:
        """Write what asks for a statement's types: the Future of the answer, for _described()."""
        self._ask_identity()
        return self._client.run(Prepare(name.encode(), query), self._left(deadline))

    async def _described(
        self, name: str, query: str, waiter: Awaitable[Any], deadline: float | None
    ) -> StatementPlan:
        try:
            oids, columns = await self._wait(waiter)
            self._take_identity()
            await self._learn([*oids, *(column[3] for column in columns or ())], deadline)
        except (
            asyncio.CancelledError, asyncio.TimeoutError, GeneratorExit, exceptions.NotExecutedError,
            exceptions.InterfaceError,
        ):  # fmt: skip
            # The server may have it by then; to close what is not there is no error.
            if name:
                self._forget_statement(name.encode())
            raise
        size = self._config.max_cacheable_statement_size
        if not size or len(query) <= size:
            self._keep_shape(query, oids, columns)
        return self._plan(name, query, oids, columns)

    def _plan(self, name: str, query: str, oids: tuple[int, ...], columns: tuple[Any, ...] | None) -> StatementPlan:
        lookup = self._registry.lookup_or_text
        readers = tuple([lookup(column[3]) for column in columns or ()])
        return self._plan_with(name, query, oids, columns, tuple([lookup(oid) for oid in oids]), readers)

    def _plan_with(
        self, name: str, query: str, oids: tuple[int, ...], columns: tuple[Any, ...] | None,
        writers: tuple[CodecHandle, ...], readers: tuple[CodecHandle, ...],
    ) -> StatementPlan:  # fmt: skip
        rows = None if columns is None else RowPlan(columns, readers, self._registry.encoding or "utf-8")
        return StatementPlan(query, name.encode(), oids, writers, rows)

    # ------------------------------------------------- a guess at the first use

    def _warm_up(self, count: int) -> None:
        """Have the server parse the statements that most other connections use, `count` of them; nobody waits.

        What is run next stands behind them. The cache gets them when their descriptions have come.
        """
        count = min(count, self._config.statement_cache_size)
        if self._hooked or self.is_closed() or self.is_in_transaction():
            return
        for query, (oids, columns) in _shapes.hottest(self._shape_key("")[:-1], count):
            known = self._registry.of_statement(oids, columns) is not None
            if known and query not in self._warming and self._cache.get(query) is None:
                name = self._get_unique_id("stmt")
                self._warming[query] = name, Prepare(name.encode(), query)
                self._client.post(self._warming[query][1])

    def _take_warm(self) -> None:
        for query, (name, operation) in list(self._warming.items()):
            if not operation.done:
                return  # nor are those behind it
            del self._warming[query]
            if operation.error is not None:
                _shapes.forget(self._shape_key(query))
                continue
            oids, columns = operation.result
            codecs = self._registry.of_statement(oids, columns)
            if codecs is None or self._cache.get(query):
                self._forget_statement(name.encode())
            else:
                self._cache.put(query, self._plan_with(name, query, oids, columns, *codecs))

    def _shape_key(self, query: str) -> tuple[Any, ...]:
        # Who it is sees the same tables, as long as nobody sets another role or, before PostgreSQL 18, which reports
        # it, another search_path.
        known, session = self._known_as, self._client.session
        if known.reports != session.reports:
            params, reported = self._params, session.parameters
            settings = params.server_settings
            known.reports, known.session = session.reports, (
                self._addr, params.database, reported.get("session_authorization", params.user),
                reported.get("search_path", settings.get("search_path")), settings.get("options"),
            )  # fmt: skip
        return (*known.session, query)

    def _guess(self, query: str, args: tuple[Any, ...], sink: Any, limit: int) -> FirstExecute | None:
        """What runs a statement that is new here but not to others.

        None for what cannot be run again when the server refuses the guess while it runs: a procedure may commit.
        """
        size = self._config.max_cacheable_statement_size
        if size and len(query) > size or query.lstrip()[:4].lower() == "call":
            return None
        shape = _shapes.get(self._shape_key(query))
        if shape is None:
            return None
        oids, columns = shape
        codecs = self._registry.of_statement(oids, columns)
        if codecs is None:
            return None
        if self.is_in_transaction() and not self._may_guess_in_transaction(query, oids, columns):
            return None
        name = self._get_unique_id("stmt") if self._config.statement_cache_size else ""
        plan = self._plan_with(name, query, oids, columns, *codecs)
        return FirstExecute(plan, args, sink, partial(_replan, self._registry), limit)

    def _may_guess_in_transaction(self, query: str, oids: tuple[int, ...], columns: tuple[Any, ...] | None) -> bool:
        """Whether it is safe: what the server refuses of a guess would end the transaction.

        Before the first statement there is nothing to lose, see _begin_again(). Otherwise it refuses parameter types,
        formats of another number of columns, when they are not all the same, and the binary format of types that have
        none. What this connection itself has run before is no worse than a prepared statement, which keeps its
        parameter types as well; but types of the user's own may be others under another search_path.
        """
        if self._client.session.opening is not None:
            return True
        own = query in self._own_shapes
        if oids and not (own and max(oids) < FIRST_USER_OID):
            return False
        formats = {self._registry.lookup_or_text(column[3]).format for column in columns or ()}
        return len(formats) < 2 if own else 1 not in formats

    def _begin_again(self) -> bool:
        """Take back the beginning of a transaction whose first statement has failed: it goes along with the next."""
        opening = self._client.session.undo()
        if opening is None:
            return False
        self._client.post(SimpleQuery(opening.undo), True)
        self._client.queries_count -= 1
        self._client.session.open(opening)
        return True

    async def _run_first(self, first: FirstExecute, deadline: float | None) -> tuple[bool, Any]:
        """Whether it ran, and its result; if not, nothing has happened on the server."""
        query, name = first.query, first.statement.name
        counted = self._client.queries_count
        try:
            result = await self._wait(self._client.run(first, self._left(deadline)), deadline)
        except (asyncio.CancelledError, asyncio.TimeoutError, GeneratorExit):
            self._forget_statement(name)
            raise
        except Exception as error:
            unsent = not first.phase  # an encoder or a row factory has refused: perhaps only the guess
            failed = not unsent and isinstance(error, exceptions.PostgresError)  # what an encoder raises is one too
            refused = failed and (not first.bound or _is_unwritable(first, error))
            if refused or unsent:
                _shapes.forget(self._shape_key(query))
                if first.parsed:
                    self._forget_statement(name)
                if self.is_closed() or self.is_in_transaction() and refused and not self._begin_again():
                    raise
                self._client.queries_count = counted  # it is counted when it runs
                return False, None
            if failed and not first.misread:
                self._keep_first(first)
            else:
                self._forget_statement(name)
                if first.misread:
                    self._keep_shape(query, first.statement.parameter_oids, first.columns)
            raise
        if first.misread:
            self._keep_shape(query, first.statement.parameter_oids, first.columns)
            try:
                result = await self._reread(first, deadline)
            except BaseException:
                self._forget_statement(name)
                raise
        self._keep_first(first)
        return True, result

    async def _reread(self, first: FirstExecute, deadline: float | None) -> Any:
        """The result of rows that came in other formats than they are read in, or are of types that were not known."""
        guess, columns = first.statement, first.columns
        assert columns is not None
        await self._learn([column[3] for column in columns], deadline)
        statement = self._plan(guess.name.decode(), guess.query, guess.parameter_oids, columns)
        assert statement.plan is not None
        try:
            runs = first.kept
            conversion = Conversion(guess.plan, statement.plan, runs)
            operation = conversion.operation()
            if operation is not None:
                runs = conversion.runs(await self._wait(self._client.run(operation, self._left(deadline)), deadline))
            return first.read(statement, runs)
        except UnknownTypeError as error:
            return await self._resume(error, deadline)
        except exceptions.ProtocolError:
            self.terminate()
            raise

    def _keep_first(self, first: FirstExecute) -> None:
        plan = first.statement
        if plan is not first.guess:
            self._keep_shape(plan.query, plan.parameter_oids, plan.plan.columns if plan.plan else None)
        elif not self._config.statement_cache_size:
            self._own_shapes.add(plan.query)
        if plan.name:
            self._cache.put(plan.query, plan)

    def _keep_shape(self, query: str, oids: tuple[int, ...], columns: tuple[Any, ...] | None) -> None:
        _shapes.put(self._shape_key(query), (oids, columns))
        if not self._config.statement_cache_size:
            self._own_shapes.add(query)


def _replan(registry: Registry, columns: tuple[Any, ...]) -> RowPlan | None:
    # Of the registry alone: an operation must not keep a forgotten connection alive.
    oids = [column[3] for column in columns]
    if registry.missing(oids):
        return None  # the types of new columns may be new too
    return RowPlan(columns, tuple(map(registry.lookup_or_text, oids)), registry.encoding or "utf-8")


# The functions of the server that say "no binary output function available for type ...".
_WITHOUT_BINARY = {"getTypeBinaryOutputInfo", "array_send", "get_range_io_data", "get_multirange_io_data"}


def _is_unwritable(first: FirstExecute, error: Exception) -> bool:
    """Whether a type has no binary form, in which the guess has asked for it: what the statement did is undone then.

    A procedure, which _guess() has not seen behind a comment, may have committed before.
    """
    return (
        first.misread
        and isinstance(error, exceptions.UndefinedFunctionError)
        and error.server_source_function in _WITHOUT_BINARY
        and "call" not in first.query.lower()
    )
