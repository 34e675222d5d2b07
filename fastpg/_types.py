# SPDX-License-Identifier: MIT
"""The part of a Connection that knows types: introspection, user codecs, stale schemas.

What is introspected is shared by all connections of the process to the same database. A database is told by the start
of its postmaster and its OID: a name, host or port may lead to another server after a failover or behind a pooler, a
dropped database comes back under its name with other types under the same OIDs, and the system identifier is the same
on a clone that has gone its own way since. A restart costs one introspection anew.

Codecs that connect() was told of (codecs=) are set as soon as their types are known: the first connection to a database
looks up all of their names with one query, the others go by what it has found.

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
from fastpg._type_codecs import DeclaredCodecs, TypeCodec
from fastpg.codecs._oids import NAMES
from fastpg.codecs._unknown import UnknownTypeError
from fastpg.codecs.codec import builtin_handle
from fastpg.codecs.knowledge import TypeInfo, TypeKnowledge, knowledge_for, known_at
from fastpg.codecs.registry import ALIASES, Registry
from fastpg.protocol.oneshot import OneShot
from fastpg.protocol.record import Record, RecordDescriptor, make_record
from fastpg.sinks.record import RecordSink
from fastpg.types import Attribute, Type

if TYPE_CHECKING:
    from fastpg.client import ClientProtocol
    from fastpg.protocol.operation import StatementPlan
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
        _declared: DeclaredCodecs
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
        Where encoder or decoder is None, the type's own codec does its work.

        Arrays, ranges, composites and domains over the type follow. Cached statements are dropped.
        Raises ValueError when there is no such type, InterfaceError when it or the format cannot have a codec.
        """
        self._check_open()
        if format not in ("text", "binary", "tuple"):
            raise exceptions.InterfaceError(
                f"invalid `format` argument, expected 'text', 'binary' or 'tuple', got {format!r}"
            )
        oid, _ = await self._find_type(typename, schema)
        self._set_functions(oid, typename, schema, encoder, decoder, format)
        self._declared.forget(schema, typename)
        self._cache.clear()

    def _set_functions(self, oid: int, name: str, schema: str, encoder: Any, decoder: Any, format: str) -> None:
        kind = self._kind_of(oid)
        if kind == "domain":
            raise exceptions.UnsupportedClientFeatureError(
                "custom codecs on domain types are not supported",
                detail="In results the server names the base type of a domain, not the domain.",
                hint="Set the codec on the base type.",
            )
        if kind not in ("scalar", "enum", "composite"):
            raise exceptions.InterfaceError(
                f"cannot use custom codec on type {schema}.{name}: it is neither a scalar type nor a composite type"
            )
        if kind == "composite" and format != "tuple":
            raise exceptions.UnsupportedClientFeatureError(
                "only tuple-format codecs can be used on composite types",
                hint="Use set_type_codec(..., format='tuple'); the functions take and return a tuple of the members.",
            )
        self._registry.set_python(oid, name, encoder, decoder, format)

    def _kind_of(self, oid: int) -> str:
        info = self._registry.knowledge.get(oid) if builtin_handle(oid) is None else None
        return info.kind if info is not None else self._registry.describe(oid)[1]

    async def reset_type_codec(self, typename: str, *, schema: str = "public") -> None:
        """Undo set_type_codec() and set_builtin_type_codec(). ValueError when there is no such type."""
        self._check_open()
        oid, _ = await self._find_type(typename, schema)
        self._registry.reset(oid)
        self._declared.forget(schema, typename)
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
        oid, _ = await self._find_type(typename, schema)
        self._set_builtin(oid, typename, schema, codec_name, format)
        self._declared.forget(schema, typename)
        self._cache.clear()

    def _set_builtin(self, oid: int, name: str, schema: str, codec_name: str, format: str | None) -> None:
        if self._kind_of(oid) not in ("scalar", "enum", "domain"):
            raise exceptions.InterfaceError(f"cannot alias non-scalar type {schema}.{name}")
        self._registry.set_alias(oid, name, codec_name, format)

    async def reload_schema_state(self) -> None:
        """Forget all types and statements: the schema has changed. All connections to this database do."""
        self._check_open()
        self._forget_types()

    # -------------------------------------------------------- codecs of connect()

    async def _declare_codecs(self, deadline: float | None) -> None:
        """Set the codecs that connect() was told of. Asks the server for types that nobody knows here."""
        self._set_declared()
        names = [(codec.schema, name) for name, codec in self._declared.pending]
        candidates = known_at(self._type_address())
        if names and not any(all(known.named(*key) for key in names) for known in candidates):
            with self._section():
                await self._find_declared(deadline)

    def _set_declared(self) -> None:
        """Set those of which the types are known, also when a type has another OID than before."""
        declared = self._declared
        for name, codec in declared.given:
            key = codec.schema, name
            oid = _BY_NAME.get(ALIASES.get(name, name)) if codec.schema == "pg_catalog" else None
            if oid is None:
                info = self._registry.knowledge.named(*key)
                if info is None or self._registry.missing([info.oid]):
                    continue
                oid = info.oid
            if declared.oids.get(key) != oid:
                self._set_one(oid, name, codec)
                declared.oids[key] = oid

    def _set_one(self, oid: int, name: str, codec: TypeCodec) -> None:
        try:
            if codec.codec_name is not None:
                self._set_builtin(oid, name, codec.schema, codec.codec_name, None)
            else:
                self._set_functions(oid, name, codec.schema, codec.encoder, codec.decoder, codec.format)
        except exceptions.InterfaceError as error:
            raise error.with_msg(f"codecs: type {codec.schema}.{name}: {error.args[0]}") from error

    async def _find_declared(self, deadline: float | None) -> None:
        """Look up the types of those that are left. Raises ValueError when there is no such type."""
        pending = self._declared.pending
        names = [name for name, _ in pending], [codec.schema for _, codec in pending]
        rows = await self._query_types(introspection.TYPES_BY_NAME, names, self._left(deadline))
        knowledge = self._adopt(rows)
        found = [knowledge.named(codec.schema, name) for name, codec in pending]
        await self._learn_members([info.oid for info in found if info is not None], deadline)
        self._set_declared()
        if self._declared.pending:
            name, codec = self._declared.pending[0]
            raise ValueError(f"unknown type: {codec.schema}.{name}, for which codecs has a codec")

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
                    await self._learn_members([info.oid], deadline)
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
        if self._declared.pending and (
            isinstance(self._identity, tuple) or any(builtin_handle(oid) is None for oid in wanted)
        ):
            await self._find_declared(deadline)
        await self._learn_members(wanted, deadline)

    async def _learn_members(self, wanted: list[int], deadline: float | None) -> None:
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
        if self._declared.given:
            self._set_declared()
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
            if self._declared.given:
                self._set_declared()
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

    def _types_of(self, oids: Iterable[int]) -> tuple[Type, ...]:
        """A Type for each OID (kind: scalar, array, composite, range or multirange)."""
        return tuple([Type(oid, *self._registry.describe(oid)) for oid in oids])

    def _columns_of(self, statement: StatementPlan) -> tuple[Attribute, ...]:
        """Name and type of each column of a statement's result."""
        plan = statement.plan
        if plan is None:
            return ()
        types = self._types_of([column[3] for column in plan.columns])
        return tuple([Attribute(name, kind) for name, kind in zip(plan.names, types, strict=True)])

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
        if not isinstance(self._identity, tuple):
            # Which database it has, it does not know yet: those that it may be.
            for knowledge in known_at(self._type_address()):
                knowledge.reload()

    def _drop_type_caches(self) -> None:
        self._registry.clear()
        self._cache.clear()
        # A type may be there again, under another OID.
        self._declared.oids.clear()

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
