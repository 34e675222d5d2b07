# SPDX-License-Identifier: MIT
"""Try the type knowledge on a database that nobody here designed: ``python -m tools.try_types DSN``.

Reads every relation of the database, each column and the whole row as a composite. A value is right when the server,
given what it was decoded to as a parameter of the same type, writes the same text as for the value itself. Prints what
is not; the exit status says whether there was anything.

A good database is the one that PostgreSQL's own regression tests leave behind (pg_regress of a source package).
"""

from __future__ import annotations

import asyncio
import re
import sys
from dataclasses import dataclass, field
from typing import Any

import fastpg
from fastpg import exceptions

RELATIONS = """
    SELECT c.oid, format('%I.%I', n.nspname, c.relname) AS name, c.relkind::text AS kind
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'v', 'm', 'p') AND n.nspname NOT LIKE 'pg\\_t%' ORDER BY 2
"""
COLUMNS = """
    SELECT quote_ident(attname) AS name, format_type(atttypid, atttypmod) AS type FROM pg_attribute
    WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped ORDER BY attnum
"""
# The server has no input for these, or anyarray's is that of its elements' type.
NO_INPUT = {
    "anyarray", "pg_node_tree", "pg_ndistinct", "pg_dependencies", "pg_mcv_list", "pg_brin_bloom_summary",
    "pg_brin_minmax_multi_summary",
}  # fmt: skip
# The server does not take these empty, in binary: 'invalid int2vector data'.
VECTORS = {"int2vector", "oidvector"}
# It has no input for the type of a member, or the name of a function stands for several.
NO_ANSWER = {"0A000", "42704", "42883", "42725"}
# Not allowed, not populated, of a rule without end, of a library that is not there (NUMA).
UNREADABLE = {"42501", "55000", "42883", "42809", "42P17", "XX000"}
# What a list does not keep of an array: where its indexes begin.
BOUNDS = re.compile(r"(\[-?\d+:-?\d+\])+=")


@dataclass
class Trial:
    """What was tried, and what was found."""

    relations: int = 0
    values: int = 0
    types: set[str] = field(default_factory=set)
    #: Relations that the server itself cannot read.
    unreadable: list[str] = field(default_factory=list)
    #: Values that fastpg says it cannot decode or encode, by the text of its error.
    refused: dict[str, str] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)


async def same(connection: fastpg.Connection, kind: str, value: Any, text: str) -> str | None:
    """The text, when the value is equal to it and only written in another way: -1 day +23:00 for -01:00."""
    text_of = BOUNDS.sub("", text)
    try:
        equal = await connection.fetchval(f"SELECT $1::{kind} = $2::text::{kind}", value, text_of)
    except exceptions.UndefinedFunctionError:
        return None  # there is no equality of the type
    return text if equal else None


async def returned(connection: fastpg.Connection, kind: str, texts: dict[Any, Any]) -> bool:
    """Whether all values come back as their texts; all in one flight, so that which one does not is not known."""
    try:
        back = await connection.fetchmany(f"SELECT ($1::{kind})::text", [(value,) for value in texts.values()])
    except Exception:
        return False
    return [row[0] for row in back] == list(texts)


async def try_column(
    connection: fastpg.Connection, trial: Trial, relation: str, column: str, kind: str, limit: int,
    known: list[tuple[Any, str | None]] | None = None,
) -> None:  # fmt: skip
    """Compare up to `limit` values of a column, or of the whole row when `column` is the relation's alias.

    known: its values and their texts, when they have been read.
    """
    where = f"{relation} {column}"
    try:
        if known is None:
            query = f"SELECT {column} AS value, {column}::text AS text FROM {relation} AS _row LIMIT {limit}"
            known = [(row["value"], row["text"]) for row in await connection.fetch(query)]
    except exceptions.PostgresError as error:
        if error.sqlstate in UNREADABLE:
            trial.unreadable.append(f"{where}: {error}")
        elif isinstance(error, exceptions.DataError) and error.severity is None:
            trial.refused[f"{kind}: {error}"] = where
        else:
            trial.wrong.append(f"{where} ({kind}): {type(error).__name__}: {error}")
        return
    except Exception as error:
        if isinstance(error, exceptions.UnsupportedClientFeatureError):
            trial.refused[f"{kind}: {error}"] = where
        else:
            trial.wrong.append(f"{where} ({kind}): {type(error).__name__}: {error}")
        return
    trial.types.add(kind)
    trial.values += len(known)
    texts: dict[str | None, Any] = {text: value for value, text in known}
    if (value := texts.pop(None, None)) is not None:
        trial.wrong.append(f"{where} ({kind}): {value!r} for NULL")
    if kind in NO_INPUT or await returned(connection, kind, texts):
        return
    for text, value in texts.items():
        if not text and kind in VECTORS:
            continue
        try:
            back = await connection.fetchval(f"SELECT ($1::{kind})::text", value)
            if back != text:
                back = await same(connection, kind, value, text) or back
        except exceptions.PostgresError as error:
            if error.severity is not None and (error.sqlstate in NO_ANSWER or "vector data" in str(error)):
                return
            back = f"{type(error).__name__}: {error}"
        except Exception as error:
            if "anyarray" in str(error):
                return
            back = f"{type(error).__name__}: {error}"
        if back != text:
            trial.wrong.append(f"{where} ({kind}): {text!r} was decoded to {value!r}, which is {back!r}")
            return


async def try_relation(
    connection: fastpg.Connection, trial: Trial, relation: str, columns: list[fastpg.Record], limit: int
) -> None:
    """Compare its columns and its rows: from one read of them, or where that fails, a read for each."""
    tried = [(f"_row.{column['name']}", column["type"]) for column in columns] + [("_row", relation)]
    outputs = ", ".join(f"{column}, {column}::text" for column, _ in tried)
    rows: list[fastpg.Record] | None
    try:
        rows = await connection.fetch(f"SELECT {outputs} FROM {relation} AS _row LIMIT {limit}")
    except Exception:
        rows = None
    for number, (column, kind) in enumerate(tried):
        known = None if rows is None else [(row[2 * number], row[2 * number + 1]) for row in rows]
        await try_column(connection, trial, relation, column, kind, limit, known)


async def try_types(connection: fastpg.Connection, limit: int = 200, schema: str = "%") -> Trial:
    """Try every relation; at most `limit` rows of each. schema: a LIKE pattern over the names."""
    trial = Trial()
    for relation in await connection.fetch(RELATIONS):
        name = relation["name"]
        if not await connection.fetchval("SELECT $1::text LIKE $2", name, f"{schema}.%"):
            continue
        trial.relations += 1
        columns = await connection.fetch(COLUMNS, relation["oid"])
        if columns:
            await try_relation(connection, trial, name, columns, limit)
    return trial


async def main(dsn: str) -> int:
    connection = await fastpg.connect(dsn)
    try:
        trial = await try_types(connection)
    finally:
        await connection.close()
    for title, lines in (
        ("the server cannot read", trial.unreadable),
        ("refused", [f"{error} ({where})" for error, where in trial.refused.items()]),
        ("WRONG", trial.wrong),
    ):
        print(*(f"{title}: {line}" for line in lines), sep="\n")
    print(f"{trial.relations} relations, {len(trial.types)} types, {trial.values} values: {len(trial.wrong)} wrong")
    return 1 if trial.wrong else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1])))
