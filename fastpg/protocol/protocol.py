# SPDX-License-Identifier: MIT
"""The names that programs import from asyncpg.protocol.protocol."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from fastpg._encodings import ENCODINGS
from fastpg._hooks import PreparedStatementState, Protocol
from fastpg.codecs._oids import NAMES
from fastpg.codecs.codec import builtin_handle
from fastpg.codecs.registry import ALIASES
from fastpg.protocol.record import Record, RecordDescriptor, make_record
from fastpg.settings import ConnectionSettings

__all__ = (
    "ARRAY_TYPES",
    "BUILTIN_TYPE_NAME_MAP",
    "BUILTIN_TYPE_OID_MAP",
    "ENCODINGS_MAP",
    "FLUSH_MESSAGE",
    "NO_TIMEOUT",
    "SYNC_MESSAGE",
    "ConnectionSettings",
    "PreparedStatementState",
    "Protocol",
    "Record",
    "RecordDescriptor",
)

ENCODINGS_MAP: Final = {**ENCODINGS, "unicode": "utf_8"}
"""Python's names of PostgreSQL's client encodings."""

NO_TIMEOUT: Final = object()
"""What tells "no timeout was given" from None."""

FLUSH_MESSAGE: Final = b"H\x00\x00\x00\x04"
SYNC_MESSAGE: Final = b"S\x00\x00\x00\x04"

BUILTIN_TYPE_OID_MAP: Final = {
    oid: f"{name[1:]}[]" if name.startswith("_") else name
    for oid, name in NAMES.items()
    if builtin_handle(oid) is not None
}
"""Names of the types that have a built-in codec, by OID."""

BUILTIN_TYPE_NAME_MAP: Final = {name: oid for oid, name in BUILTIN_TYPE_OID_MAP.items()}
"""Their OIDs by name, the names of the SQL standard too."""
BUILTIN_TYPE_NAME_MAP.update({
    alias: BUILTIN_TYPE_NAME_MAP[name] for alias, name in ALIASES.items() if name in BUILTIN_TYPE_NAME_MAP
})  # fmt: skip
BUILTIN_TYPE_NAME_MAP.update({
    "char": BUILTIN_TYPE_NAME_MAP["bpchar"],
    "time with timezone": BUILTIN_TYPE_NAME_MAP["timetz"],
    "time without timezone": BUILTIN_TYPE_NAME_MAP["time"],
    "timestamp with timezone": BUILTIN_TYPE_NAME_MAP["timestamptz"],
    "timestamp without timezone": BUILTIN_TYPE_NAME_MAP["timestamp"],
})

ARRAY_TYPES: Final = {oid for oid, name in BUILTIN_TYPE_OID_MAP.items() if name.endswith("[]")}


def _create_record(mapping: Mapping[str, int] | None, elems: tuple[Any, ...]) -> Record:
    """A record of these values; mapping: the index of each column's value by the column's name.

    Tools that replay what they have recorded make their rows so.
    """
    if not isinstance(elems, tuple):
        raise TypeError(f"Argument 'elems' has incorrect type (expected tuple, got {type(elems).__name__})")
    indices = dict(mapping or {})
    names = sorted(indices, key=indices.__getitem__)
    if [indices[name] for name in names] != list(range(len(elems))):
        raise RuntimeError("invalid record mapping")
    return make_record(Record, RecordDescriptor(tuple(names)), elems)
