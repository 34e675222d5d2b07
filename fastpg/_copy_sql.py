# SPDX-License-Identifier: MIT
"""The text of COPY statements: identifiers and options quoted, parameters of a query put into its text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

# In the order in which the statement has them; the ones whose value is a list of columns, and the truth values.
OPTIONS = (
    "format", "oids", "freeze", "delimiter", "null", "header", "quote", "escape", "force_quote", "force_not_null",
    "force_null", "encoding",
)  # fmt: skip
COLUMN_LISTS = {"force_quote", "force_not_null", "force_null"}
FLAGS = {"oids", "freeze", "header"}


def quote_ident(name: Any, what: str) -> str:
    """A name as an identifier. what: the parameter, for the error."""
    if not isinstance(name, str):
        raise TypeError(f"{what} is expected to be str, not {type(name).__name__}")
    if "\0" in name:
        raise ValueError(f"{what} cannot have a NUL character: {name!r}")
    return '"' + name.replace('"', '""') + '"'


def quote_literal(text: str) -> str:
    """A text as a literal that means the same whatever standard_conforming_strings is."""
    quoted = "'" + text.replace("'", "''") + "'"
    return " E" + quoted.replace("\\", "\\\\") if "\\" in text else quoted


def column_list(columns: Any, what: str = "columns") -> str:
    """Quoted names, separated by commas."""
    if isinstance(columns, (str, bytes)) or not isinstance(columns, Iterable):
        raise TypeError(f"{what} is expected to be an iterable of str, not {type(columns).__name__}")
    return ", ".join([quote_ident(column, f"an element of {what}") for column in columns])


def table(name: str, schema: str | None) -> str:
    """The quoted name of a table."""
    quoted = quote_ident(name, "table_name")
    return quoted if schema is None else quote_ident(schema, "schema_name") + "." + quoted


def option_list(options: dict[str, Any]) -> str:
    """The statement's list of options, from what the caller gave (None: not given); "" when there is none."""
    parts = []
    for name in OPTIONS:
        value = options.get(name)
        if value is None:
            continue
        if name in COLUMN_LISTS:
            if value is False:
                continue
            text = "*" if value is True else "(" + column_list(value, name) + ")"
        elif name in FLAGS and not isinstance(value, str):
            text = "true" if value else "false"
        elif isinstance(value, str):
            if "\0" in value:
                raise ValueError(f"{name} cannot have a NUL character: {value!r}")
            text = quote_literal(value)
        else:
            raise TypeError(f"{name} is expected to be str, not {type(value).__name__}")
        parts.append(f"{name.upper()} {text}")
    return f" ({', '.join(parts)})" if parts else ""


# ----------------------------------------------------- parameters of a query

# A string that goes on after a line's end is one string: of the kind that it began as.
ESCAPED = r"'(?:[^'\\]|\\.|'')*'"
CONTINUED = rf"(?:[ \t\f\v]*(?:--[^\n\r]*)?[\n\r](?:\s|--[^\n\r]*[\n\r])*{ESCAPED})*"
IDENTIFIER = r"[A-Za-z_\x80-\U0010ffff][\w$\x80-\U0010ffff]*"
TOKEN = re.compile(
    rf"""
      (?P<comment> /\*)
    | (?P<skip>
        --[^\n\r]*
      | "(?:[^"]|"")*"
      | [eE]{ESCAPED}{CONTINUED}
      | \$(?P<tag>(?:[A-Za-z_\x80-\U0010ffff][\w\x80-\U0010ffff]*)?)\$.*?\$(?P=tag)\$
      )
    | (?P<string> ')
    | \$(?P<parameter>[0-9]+)
    | {IDENTIFIER}
    """,
    re.DOTALL | re.VERBOSE,
)
STRING = re.compile(r"'(?:[^']|'')*'", re.DOTALL)
ESCAPED_STRING = re.compile(ESCAPED, re.DOTALL)
COMMENT = re.compile(r"/\*|\*/")


def replace_parameters(query: str, values: Sequence[str], *, standard_strings: bool = True) -> str:
    """The query with each parameter $n replaced by values[n - 1], but not in strings, names and comments.

    standard_strings: the session's standard_conforming_strings. The query is one that the server has parsed.
    """
    pieces = []
    at = 0
    done = 0
    string = STRING if standard_strings else ESCAPED_STRING
    while True:
        found = TOKEN.search(query, at)
        if found is None:
            break
        at = found.end()
        if found["comment"]:
            at = end_of_comment(query, at)
        elif found["string"]:
            closed = string.match(query, found.start())
            at = closed.end() if closed else len(query)
        elif found["parameter"]:
            pieces.append(query[done : found.start()])
            pieces.append(values[int(found["parameter"]) - 1])
            done = at
    pieces.append(query[done:])
    return "".join(pieces)


def end_of_comment(query: str, at: int) -> int:
    """Where a comment ends whose text starts at `at`; comments nest."""
    depth = 1
    while depth:
        found = COMMENT.search(query, at)
        if found is None:
            return len(query)
        depth += 1 if found[0] == "/*" else -1
        at = found.end()
    return at
