# SPDX-License-Identifier: MIT
"""The text of COPY statements: quoting, options, parameters put into a query."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastpg._copy_sql import option_list, quote_ident, quote_literal, replace_parameters, table

VALUES = ["(1::int)", "(E'\\\\$2'::text)", "(NULL::x)"]
# Tokens in which nothing is a parameter, and some that are strings only when backslashes escape in them.
PLAIN = [
    "'$1'", "''", "'it''s $1'", "E'\\'$1'", "e'\\\\'", "E'a'\n'\\'$1'", "E'a' -- x\n -- '\n  '\\'$1'", '"$1"',
    '"a""$1"', "$$ $1 $$", "$$$$", "$a$ $1 $$ $b$ $a$", "$_é1$ $1 $_é1$", "-- $1 '\n", "/* $1 */", "/* /* ' */ $1 */",
    "a$1", "é$1", "_$1$2", "B'01'", "X'ff'", "U&'$1'", 'U&"$1"', "N'$1'", "1", "1.5e3", "::", "+", "-", "*", "/", "(",
    ")", "[1]", ";", "eE",
]  # fmt: skip
ESCAPED = ["'\\'$1'", "'\\\\'", "'a\\''''"]
PARAMETERS = ["$1", "$2", "$3", "$01"]
WANTED = dict(zip(PARAMETERS, [*VALUES, VALUES[0]], strict=True))
SPACES = [" ", "\n", "\t", " \r\n"]


@given(st.lists(st.tuples(st.sampled_from(PLAIN + ESCAPED + PARAMETERS), st.sampled_from(SPACES))), st.booleans())
def test_only_parameters_are_replaced(tokens: list[tuple[str, str]], standard: bool) -> None:
    tokens = [(token, space) for token, space in tokens if not standard or token not in ESCAPED]
    # A string after the end of a line goes on with the one before: then it is not the token we think it is.
    tokens = [(token, " " if token[-1] == "'" else space) for token, space in tokens]
    query = "".join(token + space for token, space in tokens)
    wanted = "".join(WANTED.get(token, token) + space for token, space in tokens)
    assert replace_parameters(query, VALUES, standard_strings=standard) == wanted


@pytest.mark.parametrize("text", ["'", '"', "/*", "$$", "E'", "$a$", "/* /* */", "--", "$", "$a", "''' $1", "E'\\"])
def test_what_has_no_end(text: str) -> None:
    # The server has refused such a query before; nothing may hang or fail here.
    assert replace_parameters(text, VALUES) == text


def test_parameters_without_spaces() -> None:
    assert replace_parameters("SELECT$1,-$2+$1::int", ["(a)", "(b)"]) == "SELECT$1,-(b)+(a)::int", "SELECT$1 is a name"
    assert replace_parameters("f($1)[$2]", ["(a)", "(b)"]) == "f((a))[(b)]"
    assert replace_parameters("'a'$1'b'", ["(a)"]) == "'a'(a)'b'"
    assert replace_parameters("$12", [str(i) for i in range(12)]) == "11"


def test_names() -> None:
    assert quote_ident('a"b', "x") == '"a""b"'
    assert table("t", None) == '"t"' and table("t", 's"') == '"s"""."t"'
    with pytest.raises(TypeError, match="table_name is expected to be str, not NoneType"):
        table(None, None)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="table_name cannot have a NUL character"):
        table("a\0", None)


def test_literals() -> None:
    assert quote_literal("a'b") == "'a''b'"
    assert quote_literal("a\\'b") == " E'a\\\\''b'"


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({}, ""),
        ({"format": None, "force_quote": False}, ""),
        ({"encoding": "x", "format": "csv"}, " (FORMAT 'csv', ENCODING 'x')"),
        ({"null": ""}, " (NULL '')"),
        ({"header": 1, "oids": 0, "freeze": True}, " (OIDS false, FREEZE true, HEADER true)"),
        ({"header": "match"}, " (HEADER 'match')"),
        ({"force_null": ["a", 'b"'], "force_not_null": True}, ' (FORCE_NOT_NULL *, FORCE_NULL ("a", "b"""))'),
    ],
)
def test_options(options: dict[str, Any], text: str) -> None:
    assert option_list(options) == text
