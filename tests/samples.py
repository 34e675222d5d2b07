# SPDX-License-Identifier: MIT
"""The table of built-in types that many tests walk through."""

from __future__ import annotations

import importlib
import math
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

from tests import strategies

Strategy = st.SearchStrategy[Any]

#: Modules that register the codecs used here.
CODEC_MODULES = ("number", "numeric", "text", "bytea", "json", "uuid", "bit", "misc")


@dataclass(frozen=True)
class Sample:
    """One built-in type.

    type: its SQL name. oid: its OID. strategy: makes the strategy of its Python values.
    literals: (SQL literal, Python value) pairs, each checked against a live server.
    wrong: values its encoder has to refuse. framed: whether every proper prefix of a payload is malformed.
    version: the first server major version that has the type.
    """

    type: str
    oid: int
    strategy: Callable[[], Strategy]
    literals: tuple[tuple[str, Any], ...] = ()
    wrong: tuple[Any, ...] = ()
    framed: bool = False
    version: int = 14

    def __str__(self) -> str:
        return self.type


def same(left: Any, right: Any) -> bool:
    """Equal, of equal type, NaN included."""
    if type(left) is not type(right):
        # A UUID may come back as a subclass.
        return isinstance(left, uuid.UUID) and isinstance(right, uuid.UUID) and left == right
    if isinstance(left, float):
        if math.isnan(left):
            return math.isnan(right)
        return left == right and math.copysign(1, left) == math.copysign(1, right)
    if isinstance(left, Decimal) and left.is_nan():
        return bool(right.is_nan())
    return bool(left == right)


def _of(strategy: Strategy) -> Callable[[], Strategy]:
    return lambda: strategy


def _text(type: str, oid: int, *literals: tuple[str, str], version: int = 14) -> Sample:
    return Sample(type, oid, _of(strategies.texts), literals, (1, b"a", None, "\ud800", ["a"]), version=version)


def _unsigned(type: str, oid: int, bits: int, *literals: tuple[str, int], version: int = 14) -> Sample:
    wrong = (2**bits, -1, "1", None, [1], float("nan"))
    return Sample(
        type, oid, _of(strategies.integers(bits, signed=False)), literals, wrong, framed=True, version=version
    )


def _signed(type: str, oid: int, bits: int) -> Sample:
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    literals = tuple((str(v), v) for v in (0, 1, -1, low, high))
    wrong = (low - 1, high + 1, "1", None, [1], float("nan"), float("inf"))
    return Sample(type, oid, _of(strategies.integers(bits)), literals, wrong, framed=True)


NUMBERS = (
    Sample("bool", 16, _of(strategies.booleans), (("t", True), ("f", False)), (1, 0, "t", None), framed=True),
    _signed("int2", 21, 16),
    _signed("int4", 23, 32),
    _signed("int8", 20, 64),
    _unsigned("oid", 26, 32, ("0", 0), ("4294967295", 4294967295)),
    _unsigned("xid", 28, 32, ("4294967295", 4294967295)),
    _unsigned("cid", 29, 32, ("5", 5)),
    _unsigned("xid8", 5069, 64, ("18446744073709551615", 2**64 - 1)),
    _unsigned("pg_lsn", 3220, 64, ("0/16B3748", 0x16B3748), ("FFFFFFFF/FFFFFFFF", 2**64 - 1)),
    _unsigned("oid8", 6437, 64, ("18446744073709551615", 2**64 - 1), version=19),
    Sample(
        "float4",
        700,
        _of(strategies.floats32),
        (("1.5", 1.5), ("-0", -0.0), ("NaN", math.nan), ("Infinity", math.inf), ("-Infinity", -math.inf)),
        ("1", None, 1e39, 10**400, []),
        framed=True,
    ),
    Sample(
        "float8",
        701,
        _of(strategies.floats),
        (("1.1", 1.1), ("-0", -0.0), ("NaN", math.nan), ("Infinity", math.inf), ("5e-324", 5e-324)),
        ("1", None, 10**400, []),
        framed=True,
    ),
)

NUMERIC = Sample(
    "numeric",
    1700,
    _of(strategies.decimals),
    tuple(
        (text, Decimal(text))
        for text in (
            "0", "0.00", "1", "-1", "1.00000", "10000", "9999", "100000000", "0.0001", "0.00001", "1234567.89",
            "-1234567.8900", "12345678901234567890.1234567890", "0.1", "0.01", "0.001", "1000000000000000000000",
            "NaN", "Infinity", "-Infinity", "99999999.99999999", "0.0000000000000000000001", "999999999999999999",
            "1234500000000", "0.5000", "10000.0001",
        )
    ),
    ("abc", None, [], b"1", object(), Decimal("1E+131072"), Decimal("1E-16384"), "1e999999"),
    framed=True,
)  # fmt: skip

TEXTS = (
    _text("text", 25, ("", ""), ("abc", "abc"), ("é€\U0001f600", "é€\U0001f600")),
    _text("varchar", 1043, ("abc", "abc")),
    _text("bpchar", 1042, ("abc ", "abc ")),
    _text("name", 19, ("abc", "abc")),
    _text("xml", 142, ("<a>é</a>", "<a>é</a>")),
    _text("refcursor", 1790, ("c1", "c1")),
    _text("cstring", 2275),
    _text("unknown", 705),
    _text("money", 790),        # its text depends on lc_monetary
    _text("macaddr", 829, ("08:00:2b:01:02:03", "08:00:2b:01:02:03")),
    _text("macaddr8", 774, ("08:00:2b:01:02:03:04:05", "08:00:2b:01:02:03:04:05")),
    _text("tsvector", 3614, ("a:1 b", "'a':1 'b'")),
    _text("tsquery", 3615, ("a & b", "'a' & 'b'")),
    _text("regproc", 24, ("int4in", "int4in")),
    _text("regprocedure", 2202, ("int4in(cstring)", "int4in(cstring)")),
    _text("regoper", 2203, ("||/", "||/")),
    _text("regoperator", 2204, ("+(integer,integer)", "+(integer,integer)")),
    _text("regclass", 2205, ("pg_type", "pg_type")),
    _text("regtype", 2206, ("int4", "integer")),
    _text("regconfig", 3734, ("english", "english")),
    _text("regdictionary", 3769, ("simple", "simple")),
    _text("regnamespace", 4089, ("pg_catalog", "pg_catalog")),
    _text("regrole", 4096),
    _text("regcollation", 4191, ('"C"', '"C"')),
    _text("regdatabase", 6490, version=19),
    _text("aclitem", 1033),
    _text("pg_node_tree", 194),
)  # fmt: skip

_JSON_WRONG: tuple[Any, ...] = (1, {}, b"{}", None, "\ud800")

MISC = (
    Sample(
        "bytea",
        17,
        _of(strategies.binary),
        (("", b""), (r"\x00ff61", b"\x00\xffa")),
        ("a", 1, None, [1]),
    ),
    Sample("json", 114, _of(strategies.json_texts), (('{"a":  1}', '{"a":  1}'),), _JSON_WRONG),
    Sample("jsonb", 3802, _of(strategies.json_texts), (('{"a":  1}', '{"a": 1}'), ("null", "null")), _JSON_WRONG),
    Sample("jsonpath", 4072, _of(strategies.json_texts), (("$.a[*]", '$."a"[*]'),), _JSON_WRONG),
    Sample(
        "uuid",
        2950,
        _of(strategies.uuids),
        (
            ("12345678-1234-5678-1234-56789abcdef0", uuid.UUID("12345678-1234-5678-1234-56789abcdef0")),
            ("00000000-0000-0000-0000-000000000000", uuid.UUID(int=0)),
        ),
        ("zz", 1, b"x" * 16, None, "z" * 32, "0" * 33, "-" * 32),
        framed=True,
    ),
    Sample('"char"', 18, _of(strategies.one_byte), (("x", b"x"), ("", b"\0")), ("a", 1, None, b"ab", b""), framed=True),
    Sample(
        "tid",
        27,
        _of(strategies.tids),
        (("(1,2)", (1, 2)), ("(4294967295,65535)", (4294967295, 65535))),
        ("(1,2)", 1, None, (1,), (1, 2, 3), (-1, 0), (0, 65536), ("1", 2), (1, "2")),
        framed=True,
    ),
    Sample(
        "pg_snapshot",
        5038,
        _of(strategies.snapshots),
        (("1:10:2,3", (1, 10, (2, 3))), ("5:5:", (5, 5, ()))),
        ("1:10:", 1, None, (1, 2), (1, 2, 3), (-1, 2, ()), ("1", 2, ()), (1, 2, (-1,))),
        framed=True,
    ),
    Sample(
        "txid_snapshot",
        2970,
        _of(strategies.snapshots),
        (("1:10:2,3", (1, 10, (2, 3))),),
        ("1:10:", (1, 2), (1, 2, 3)),
        framed=True,
    ),
)


def _bits() -> tuple[Sample, ...]:
    from fastpg.types import BitString

    wrong = ("101", 5, None, [1])
    literals = tuple((text, BitString(text)) for text in ("1", "10101010", "101010101"))
    return (
        Sample("varbit", 1562, strategies.bit_strings, (("", BitString("")), *literals), wrong, framed=True),
        # Plain bit is bit(1), whose cast cuts.
        Sample("bit", 1560, strategies.bit_strings, literals[:1], wrong, framed=True),
    )


def load() -> tuple[Sample, ...]:
    """Import the codec modules and return the samples of their types."""
    for name in CODEC_MODULES:
        importlib.import_module(f"fastpg.codecs.{name}")
    return (*NUMBERS, NUMERIC, *TEXTS, *MISC, *_bits())


SAMPLES: tuple[Sample, ...] = load()
