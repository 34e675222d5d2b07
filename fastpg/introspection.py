# SPDX-License-Identifier: MIT
"""What the catalogs say of types: one query for everything that is not known yet, in one round trip.

The query follows elements, bounds, base types and members by index, from the wanted types on; it never touches the
types that nobody asked for. The planner cannot know how few they are. It takes a recursive query for a large one and
would compile it (jit_above_cost), which takes longer than the query itself. So its estimates are kept low: the wanted
types are taken from a scalar subquery, and the recursion has a condition that is always true and that the planner
believes to hold for one row in 200. No setting is changed, which would cost round trips and does not survive poolers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from fastpg.codecs.knowledge import TypeInfo
from fastpg.codecs.registry import Registry
from fastpg.protocol.operation import StatementPlan
from fastpg.protocol.row import RowPlan

__all__ = (
    "INTRO_LOOKUP_TYPES",
    "INTRO_LOOKUP_TYPES_13",
    "SCALAR_TYPE_KINDS",
    "TYPE_BY_NAME",
    "TypeRecord",
    "is_composite_type",
    "is_domain_type",
    "is_scalar_type",
)

TypeRecord = Mapping[str, Any]
"""A row of the queries below."""

SCALAR_TYPE_KINDS: Final = (b"b", b"d", b"e")
"""pg_type.typtype of base types, domains and enums."""

# OIDs below are assigned by hand, to types that have built-in codecs. Composites there are rows of catalogs.
_FIRST_UNPINNED = 10000

_INFO = """
    SELECT t.oid, n.nspname::pg_catalog.text AS ns, t.typname::pg_catalog.text AS name, t.typtype AS kind,
      CASE t.typtype
        WHEN 'd' THEN t.typbasetype
        WHEN 'r' THEN (SELECT r.rngsubtype FROM pg_catalog.pg_range r WHERE r.rngtypid = t.oid)
        WHEN 'm' THEN (SELECT r.rngtypid FROM pg_catalog.pg_range r WHERE r.rngmultitypid = t.oid)
        ELSE (SELECT e.oid FROM pg_catalog.pg_type e WHERE e.oid = t.typelem AND e.typarray = t.oid)
      END AS elemtype,
      COALESCE((SELECT e.typdelim FROM pg_catalog.pg_type e WHERE e.oid = t.typelem), ',') AS elemdelim,
      a.attrtypoids, a.attrnames,
      COALESCE((SELECT p.prosrc FROM pg_catalog.pg_proc p WHERE p.oid = t.typsend), '') AS send
    FROM pg_catalog.pg_type t
    JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
    CROSS JOIN LATERAL (
      SELECT pg_catalog.array_agg(a.atttypid ORDER BY a.attnum) AS attrtypoids,
        pg_catalog.array_agg(a.attname::pg_catalog.text ORDER BY a.attnum) AS attrnames
      FROM pg_catalog.pg_attribute a
      WHERE a.attrelid = t.typrelid AND a.attrelid <> 0 AND a.attnum > 0 AND NOT a.attisdropped
    ) a
    WHERE t.oid = wanted.oid"""

# The postmaster's start and the database's OID tell servers and databases apart, see _types.py.
_IDENTITY = """
  SELECT (EXTRACT(epoch FROM pg_catalog.pg_postmaster_start_time()) * 1000000)::pg_catalog.int8 AS started,
    d.oid AS database
  FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()"""

_LOOKUP = f"""
WITH RECURSIVE known AS (
  SELECT info.* FROM ({{wanted}}) wanted CROSS JOIN LATERAL ({_INFO}
  ) info
UNION
  SELECT info.*
  FROM (SELECT pg_catalog.unnest(known.attrtypoids || known.elemtype) AS oid FROM known) wanted
  CROSS JOIN LATERAL ({_INFO} AND (t.oid >= {_FIRST_UNPINNED}::pg_catalog.oid OR t.typtype = 'c')
  ) info
  WHERE wanted.oid::pg_catalog.int8 = wanted.oid::pg_catalog.int8 + 0
)
SELECT i.started, i.database, k.oid, k.ns, k.name, k.kind, k.elemtype, k.elemdelim, k.attrtypoids, k.attrnames, k.send
FROM ({_IDENTITY}
) i LEFT JOIN known k ON true"""

INTRO_LOOKUP_TYPES: Final = _LOOKUP.format(
    wanted="SELECT pg_catalog.unnest((SELECT $1::pg_catalog.oid[])) AS oid"
)
"""Types by OID ($1: oid[]), and all they consist of."""

INTRO_LOOKUP_TYPES_13: Final = INTRO_LOOKUP_TYPES

TYPE_BY_NAME: Final = _LOOKUP.format(
    wanted="SELECT t.oid FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace"
    " WHERE t.typname = $1::pg_catalog.name AND n.nspname = $2::pg_catalog.name"
)
"""A type by name and schema ($1, $2: name), and all it consists of."""

TYPES_BY_NAME: Final = _LOOKUP.format(
    wanted="SELECT t.oid FROM (SELECT pg_catalog.unnest((SELECT $1::pg_catalog.name[])) AS name,"
    " pg_catalog.unnest((SELECT $2::pg_catalog.name[])) AS schema) n"
    " JOIN pg_catalog.pg_namespace s ON s.nspname = n.schema"
    " JOIN pg_catalog.pg_type t ON t.typname = n.name AND t.typnamespace = s.oid"
)
"""Types by names and schemas ($1, $2: name[] of the same length), and all they consist of."""

IDENTITY: Final = _IDENTITY

_OID, _NAME, _TEXT, _CHAR, _INT8, _OIDS, _TEXTS, _NAMES = 26, 19, 25, 18, 20, 1028, 1009, 1003
_COLUMNS: Final = (
    ("started", _INT8), ("database", _OID), ("oid", _OID), ("ns", _TEXT), ("name", _TEXT), ("kind", _CHAR),
    ("elemtype", _OID), ("elemdelim", _CHAR), ("attrtypoids", _OIDS), ("attrnames", _TEXTS), ("send", _TEXT),
)  # fmt: skip
_PARAMETERS: Final = {INTRO_LOOKUP_TYPES: (_OIDS,), TYPE_BY_NAME: (_NAME, _NAME), IDENTITY: (),
                       TYPES_BY_NAME: (_NAMES, _NAMES)}  # fmt: skip


def plan(registry: Registry, query: str) -> StatementPlan:
    """The plan of one of these queries: its types are known, nothing needs to be described.

    The codecs are the built-in ones in the connection's encoding, whatever its user has set.
    """
    columns = _COLUMNS[:2] if query == IDENTITY else _COLUMNS
    described = tuple((name.encode(), 0, 0, oid, -1, -1, 0) for name, oid in columns)
    rows = RowPlan(described, tuple(registry.lookup_builtin(oid) for _, oid in columns))
    oids = _PARAMETERS[query]
    return StatementPlan(query, b"__fastpg_types__", oids, tuple(map(registry.lookup_builtin, oids)), rows)


_KINDS = {b"c": "composite", b"d": "domain", b"e": "enum", b"r": "range", b"m": "multirange"}


def type_infos(rows: Iterable[TypeRecord]) -> list[TypeInfo]:
    """The types in the rows of a lookup."""
    result = []
    for row in rows:
        if row["oid"] is None:
            continue
        kind = _KINDS.get(row["kind"], "array" if row["elemtype"] else "scalar")
        attributes = tuple(zip(row["attrnames"] or (), row["attrtypoids"] or (), strict=True))
        delimiter = row["elemdelim"].decode("latin-1")
        result.append(
            TypeInfo(
                row["oid"], row["name"], row["ns"], kind, row["elemtype"] or 0, attributes, delimiter, row["send"]
            )
        )
    return result


def is_scalar_type(typeinfo: TypeRecord) -> bool:
    """A base type, domain or enum that is no array."""
    return typeinfo["kind"] in SCALAR_TYPE_KINDS and not (typeinfo["kind"] == b"b" and typeinfo["elemtype"])


def is_domain_type(typeinfo: TypeRecord) -> bool:
    """A domain."""
    return bool(typeinfo["kind"] == b"d")


def is_composite_type(typeinfo: TypeRecord) -> bool:
    """A composite type."""
    return bool(typeinfo["kind"] == b"c")
