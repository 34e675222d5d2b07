# SPDX-License-Identifier: MIT
"""The types of one database, shared by all its connections: OIDs and names, no codecs, nothing of a user."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Hashable, Iterable
from typing import Any


class TypeInfo:
    """One introspected type. kind: scalar, array, composite, range, multirange, domain or enum."""

    __slots__ = ("attributes", "delimiter", "element", "kind", "name", "oid", "schema", "send")

    def __init__(
        self,
        oid: int,
        name: str,
        schema: str,
        kind: str,
        element: int = 0,
        attributes: tuple[tuple[str, int], ...] = (),
        delimiter: str = ",",
        send: str = "",
    ) -> None:
        self.oid = oid
        self.name = name
        self.schema = schema
        self.kind = kind
        self.element = element  # element, range bound, range of a multirange, or base type
        self.attributes = attributes  # ((name, OID), ...) of a composite
        self.delimiter = delimiter
        self.send = send  # the function that makes the binary form; '' for none

    def __repr__(self) -> str:
        return f"<TypeInfo {self.oid} {self.schema}.{self.name} {self.kind}>"


class TypeKnowledge:
    """Introspected types of one database, for all its connections and threads. epoch grows with each reload."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._types: dict[int, TypeInfo] = {}
        self._names: dict[tuple[str, str], TypeInfo] = {}
        self._watchers: weakref.WeakSet[Any] | None = None  # made when somebody watches: most connections never do
        self.epoch = 0

    def get(self, oid: int) -> TypeInfo | None:
        """The TypeInfo of an OID, or None."""
        return self._types.get(oid)

    def named(self, schema: str, name: str) -> TypeInfo | None:
        """The TypeInfo of a type by schema and name, or None."""
        return self._names.get((schema, name))

    def __len__(self) -> int:
        return len(self._types)

    def add(self, types: Iterable[TypeInfo], epoch: int | None = None) -> None:
        """Add what was introspected. epoch: when it was asked for; what is older than a reload is dropped."""
        with self._lock:
            if epoch is None or epoch == self.epoch:
                # Readers hold no lock: they see the one dictionary or the other.
                types = list(types)
                self._types = {**self._types, **{info.oid: info for info in types}}
                self._names = {**self._names, **{(info.schema, info.name): info for info in types}}

    def watch(self, watcher: Any) -> None:
        """Call watcher._on_types_reloaded() after each reload, on the thread of the reload; held weakly."""
        with self._lock:
            if self._watchers is None:
                self._watchers = weakref.WeakSet()
            self._watchers.add(watcher)

    def unwatch(self, watcher: Any) -> None:
        """No longer."""
        with self._lock:
            if self._watchers is not None:
                self._watchers.discard(watcher)

    def reload(self) -> None:
        """Forget everything: the schema has changed."""
        with self._lock:
            self._types = {}
            self._names = {}
            self.epoch += 1
            watchers = list(self._watchers or ())
        for watcher in watchers:
            watcher._on_types_reloaded()


KEPT = 64  # databases of which the types are kept; a connection keeps those of its own in any case
_lock = threading.Lock()
_knowledge: dict[Hashable, TypeKnowledge] = {}


def knowledge_for(key: Hashable) -> TypeKnowledge:
    """The shared knowledge of (server identity, database)."""
    with _lock:
        if key not in _knowledge:
            if len(_knowledge) >= KEPT:
                del _knowledge[next(iter(_knowledge))]
            _knowledge[key] = TypeKnowledge()
        return _knowledge[key]


def known_at(address: Hashable) -> list[TypeKnowledge]:
    """The knowledge of the databases that have been met at an address, the first part of their keys.

    One of them is, more likely than not, what a connection to that address has that cannot tell its database yet.
    """
    with _lock:
        return [knowledge for key, knowledge in _knowledge.items() if isinstance(key, tuple) and key[0] == address]
