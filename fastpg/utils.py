# SPDX-License-Identifier: MIT
"""SQL text: identifiers, literals, a query with its arguments written into it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

# What a $1 does not count in: strings, quoted identifiers, comments, dollar quotes.
_TOKENS = re.compile(
    r"""(?P<other> [eE]'(?:[^'\\]|\\.|'')*' | '(?:[^']|'')*' | "(?:[^"]|"")*" | --[^\n]* | /\*.*?\*/
        | \$(?P<tag>(?:[^\W\d]\w*)?)\$.*?\$(?P=tag)\$ | [\w$]*\w\$\d+ ) | \$(?P<number>\d+)""",
    re.DOTALL | re.VERBOSE,
)


def _quote_ident(ident: str) -> str:
    doubled = ident.replace('"', '""')
    return f'"{doubled}"'


def _quote_literal(string: str) -> str:
    # The same string whether standard_conforming_strings is on or off.
    prefix = "E" if "\\" in string else ""
    doubled = string.replace("'", "''").replace("\\", "\\\\")
    return f"{prefix}'{doubled}'"


async def _mogrify(conn: Any, query: str, args: Sequence[Any]) -> str:
    """The query with its arguments as literals, as the server writes them. One or two round trips."""
    if not args:
        return query
    statement = await conn.prepare(query)
    casts = []
    for number, kind in enumerate(statement.get_parameters(), 1):
        element, array = (kind.name[:-2], "[]") if kind.name.endswith("[]") else (kind.name, "")
        name = f"{_quote_ident(kind.schema)}.{_quote_ident(element)}{array}"
        casts.append(f"pg_catalog.quote_literal(${number}::{name}::pg_catalog.text)")
    literals = await conn.fetchrow(f"SELECT {', '.join(casts)}", *args) if casts else ()

    def write(match: re.Match[str]) -> str:
        if match["other"] is not None:
            return match["other"]
        literal = literals[int(match["number"]) - 1]
        return "NULL" if literal is None else str(literal)

    return _TOKENS.sub(write, query)
