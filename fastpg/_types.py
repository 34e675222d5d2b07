# SPDX-License-Identifier: MIT
"""The part of a Connection that knows types: introspection, user codecs, stale schemas.

What is introspected is shared by all connections of the process to the same database. A database is told by the start
of its postmaster and its OID: a name, host or port may lead to another server after a failover or behind a pooler, a
dropped database comes back under its name with other types under the same OIDs, and the system identifier is the same
on a clone that has gone its own way since. A restart costs one introspection anew.

The identity costs no round trip. It comes with the first introspection, or, where others have introspected at the same
address before, along with the first statement that is prepared.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from fastpg import _shapes, exceptions, introspection
from fastpg.codecs._oids import NAMES
from fastpg.codecs._unknown import UnknownTypeError
from fastpg.codecs.codec import builtin_handle
from fastpg.codecs.knowledge import TypeInfo, TypeKnowledge, knowledge_for
from fastpg.codecs.registry import ALIASES, Registry
from fastpg.protocol.oneshot import OneShot
from fastpg.protocol.record import Record, RecordDescriptor, make_record
from fastpg.sinks.record import RecordSink

if TYPE_CHECKING:
    from fastpg.client import ClientProtocol
    from fastpg.statement_cache import StatementCache

__all__ = ["TypeCodecMixin", "record_maker"]

ROUNDS = 6  # of introspection, for what one query leaves open: members below the first OID that the query follows

_BY_NAME = {name: oid for oid, name in NAMES.items() if builtin_handle(oid) is not None}

# Addresses where a connection of this process has introspected types.
_seen: set[Any] = set()
_seen_lock = threading.Lock()


def record_maker(names: tuple[str, ...]) -> Callable[[tuple[Any, ...]], Record]:
    """What makes the value of a composite type from its members: a Record."""
    descriptor = RecordDescriptor(names)
    return lambda values: make_record(Record, descriptor, values)


class TypeCodecMixin:
    """Methods of Connection."""

    __slots__ = ()

    if TYPE_CHECKING:
        _addr: Any
        _cache: StatementCache
        _client: ClientProtocol
        _identity: Any  # None: not asked for; an operation: its answer is on the way; a key: known
        _loop: asyncio.AbstractEventLoop
        _params: Any
        _registry: Registry

        def _check_open(self) -> None: ...
        def _left(self, deadline: float | None) -> float: ...
        def _section(self) -> Any: ...
        def is_in_transaction(self) -> bool: ...
        async def _ready(self, timeout: float | None) -> float | None: ...
        async def _wait(self, waiter: Any, deadline: float | None = None) -> Any: ...

    # ------------------------------------------------------------- user codecs

    async def set_type_codec(
        self,
        typename: str,
        *,
        schema: str = "public",
        encoder: Callable[[Any], Any],
        decoder: Callable[[Any], Any],
        format: str = "text",
    ) -> None:
        """Use these functions for the values of a type, on this connection.

        typename, schema: as in pg_type and pg_namespace (built-in types: schema='pg_catalog').
        format 'text': encoder returns str, decoder gets str. 'binary': bytes, in the type's binary form. 'tuple': a
        tuple: date (days,), time (microseconds,), timetz (microseconds, seconds west of Greenwich), timestamp and
        timestamptz (microseconds,), interval (months, days, microseconds), days and microseconds of dates being
        counted from 2000-01-01; a composite type: its members, as a Record in the decoder.

        Arrays, ranges, composites and domains over the type follow. Cached statements are dropped.
        Raises ValueError when there is no such type, InterfaceError when it or the format cannot have a codec.
        """
        self._check_open()
        if format not in ("text", "binary", "tuple"):
            raise exceptions.InterfaceError(
                f"invalid `format` argument, expected 'text', 'binary' or 'tuple', got {format!r}"
            )
        oid, info = await self._find_type(typename, schema)
        kind = info.kind if info is not None else self._registry.describe(oid)[1]
        if kind == "domain":
            raise exceptions.UnsupportedClientFeatureError(
                "custom codecs on domain types are not supported",
                detail="In results the server names the base type of a domain, not the domain.",
                hint="Set the codec on the base type.",
            )
        if kind not in ("scalar", "enum", "composite"):
            raise exceptions.InterfaceError(
                f"cannot use custom codec on type {schema}.{typename}: "
                "it is neither a scalar type nor a composite type"
            )
        if kind == "composite" and format != "tuple":
            raise exceptions.UnsupportedClientFeatureError(
                "only tuple-format codecs can be used on composite types",
                hint="Use set_type_codec(..., format='tuple'); the functions take and return a tuple of the members.",
            )
        self._registry.set_python(oid, typename, encoder, decoder, format)
        self._cache.clear()

    async def reset_type_codec(self, typename: str, *, schema: str = "public") -> None:
        """Undo set_type_codec() and set_builtin_type_codec(). ValueError when there is no such type."""
        self._check_open()
        oid, _ = await self._find_type(typename, schema)
        self._registry.reset(oid)
        self._cache.clear()

    async def set_builtin_type_codec(
        self, typename: str, *, schema: str = "public", codec_name: str, format: str | None = None
    ) -> None:
        """Use a built-in codec for a scalar type that has the same text or binary form.

        codec_name: the name of a built-in type, or 'pg_contrib.hstore' (dict of str to str or None).
        format: 'text', 'binary', or None for what the codec has.
        Raises ValueError when there is no such type, InterfaceError when there is no such codec.
        """
        self._check_open()
        if format not in (None, "text", "binary"):
            raise exceptions.InterfaceError(
                f"invalid `format` argument, expected 'text' or 'binary', got {format!r}"
            )
        oid, info = await self._find_type(typename, schema)
        kind = info.kind if info is not None else self._registry.describe(oid)[1]
        if kind not in ("scalar", "enum", "domain"):
            raise exceptions.InterfaceError(f"cannot alias non-scalar type {schema}.{typename}")
        self._registry.set_alias(oid, typename, codec_name, format)
        self._cache.clear()

    async def reload_schema_state(self) -> None:
        """Forget all types and statements: the schema has changed. All connections to this database do."""
        self._check_open()
        self._forget_types()

    # ----------------------------------------------------------- introspection

    async def _find_type(self, typename: str, schema: str) -> tuple[int, TypeInfo | None]:
        # OID, and what was introspected; None for a type with a built-in codec.
        if schema == "pg_catalog":
            oid = _BY_NAME.get(ALIASES.get(typename, typename))
            if oid is not None:
                return oid, None
        deadline = await self._ready(None)
        with self._section():
            rows = await self._query_types(introspection.TYPE_BY_NAME, (typename, schema), self._left(deadline))
            self._adopt(rows)
            for info in introspection.type_infos(rows):
                if info.name == typename and info.schema == schema:
                    await self._learn([info.oid], deadline)
                    return info.oid, info
        raise ValueError(f"unknown type: {schema}.{typename}")

    async def _introspect_types(self, typeoids: Sequence[int], timeout: float) -> tuple[list[Any], None]:
        """Ask the catalogs; the rows of introspection.INTRO_LOOKUP_TYPES. timeout in seconds, negative for none."""
        return await self._query_types(introspection.INTRO_LOOKUP_TYPES, (list(typeoids),), timeout), None

    async def _query_types(self, query: str, args: tuple[Any, ...], timeout: float) -> list[Any]:
        operation = OneShot(introspection.plan(self._registry, query), args, RecordSink(Record))
        rows: list[Any] = await self._wait(self._client.run(operation, timeout))
        return rows

    async def _learn(self, oids: Iterable[int], deadline: float | None) -> None:
        """Introspect those of these types, and of their members, of which nothing is known."""
        wanted = list(oids)
        asked: set[int] = set()
        for _ in range(ROUNDS):
            # One that the catalogs did not have is not asked for twice.
            missing = [oid for oid in self._registry.missing(wanted) if oid not in asked]
            if not missing:
                return
            asked.update(missing)
            knowledge, epoch = self._registry.knowledge, self._registry.knowledge.epoch
            rows, _statement = await self._introspect_types(missing, self._left(deadline))
            if self._adopt(rows, epoch) is not knowledge or knowledge.epoch != epoch:
                # Another database than we thought, or the schema was reloaded meanwhile: what is missing is so anew.
                asked.clear()

    def _adopt(self, rows: Sequence[Any], epoch: int | None = None) -> TypeKnowledge:
        # Every answer says whose it is.
        before = knowledge = self._registry.knowledge
        if rows:
            knowledge = self._identify(rows[0]["started"], rows[0]["database"])
        knowledge.add(introspection.type_infos(rows), epoch if knowledge is before else None)
        return knowledge

    def _identify(self, started: int, database: int) -> TypeKnowledge:
        address = self._type_address()
        key = (address, started, database)
        with _seen_lock:
            _seen.add(address)
        if self._identity != key:
            self._registry.knowledge.unwatch(self)
            self._identity = key
            self._registry.use(knowledge_for(key))
            self._registry.knowledge.watch(self)
        return self._registry.knowledge

    def _type_address(self) -> Any:
        return self._addr, getattr(self._params, "database", None)

    def _ask_identity(self) -> None:
        """Along with the statement that is about to be prepared, when others have learned types at this address.

        Never inside a transaction, where it would take the snapshot or, failing, abort it.
        """
        if self._identity is None and not self.is_in_transaction() and self._type_address() in _seen:
            self._identity = OneShot(
                introspection.plan(self._registry, introspection.IDENTITY), (), RecordSink(Record)
            )
            self._client.post(self._identity)

    def _take_identity(self) -> None:
        operation = self._identity
        if isinstance(operation, OneShot) and operation.done:
            self._identity = None
            if operation.result:
                self._identify(*operation.result[0])

    async def _resume(self, error: UnknownTypeError, deadline: float | None) -> Any:
        """Introspect what a record in a result was made of, and decode the rows that were kept."""
        tried: set[int] = set()
        while error.sink is not None and not tried.issuperset(error.oids):
            tried.update(error.oids)
            with self._section() if self._client.section is None else nullcontext():
                await self._learn(error.oids, deadline)
            try:
                return error.sink.resume()
            except UnknownTypeError as again:
                error = again
        raise error

    # ---------------------------------------------------------- stale knowledge

    def _on_type_error(self, error: Exception) -> None:
        """A value did not fit what is known of its type: forget it, the next try looks it up."""
        if isinstance(error, exceptions.OutdatedSchemaCacheError) or (
            # The server's word on a composite that was sent.
            isinstance(error, exceptions.DatatypeMismatchError) and error.server_source_function == "record_recv"
        ):
            self._forget_types()

    def _forget_types(self) -> None:
        # The others that share the knowledge hear of it from the knowledge.
        self._drop_type_caches()
        _shapes.clear()
        self._registry.knowledge.reload()

    def _drop_type_caches(self) -> None:
        self._registry.clear()
        self._cache.clear()

    def _on_types_reloaded(self) -> None:
        if self._loop.is_closed():
            return
        try:
            running: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
        except RuntimeError:
            running = None
        if running is self._loop:
            self._drop_type_caches()
        else:
            self._loop.call_soon_threadsafe(self._drop_type_caches)
