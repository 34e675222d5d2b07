# SPDX-License-Identifier: MIT
"""What is given for parameters: types and values, right and wrong, and where the two drivers differ on purpose."""

from __future__ import annotations

import array
import collections
import datetime as dt
import ipaddress
import uuid
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

SETUP = """
    DROP SCHEMA IF EXISTS played CASCADE; CREATE SCHEMA played; SET search_path = played;
    CREATE TYPE pair AS (a int, b text);
    CREATE TYPE nested AS (p pair, ps pair[], n numeric);
    CREATE TYPE color AS ENUM ('red', 'gre"en', 'blue, light');
    CREATE DOMAIN posint AS int CHECK (VALUE > 0);
    CREATE DOMAIN ints AS int[];
    CREATE DOMAIN pairdomain AS pair;
    CREATE TYPE floatrange AS RANGE (subtype = float8);
"""

TYPES: dict[str, str] = {
    "codec: bool": "bool",
    "codec: integers": "int2 int4 int8 oid xid cid xid8 pg_lsn",
    "codec: floats": "float4 float8",
    "codec: numeric": "numeric numeric(10,2)",
    "codec: text": "text varchar varchar(3) char(3) bpchar name xml",
    'codec: "char"': '"char"',
    "codec: bytea": "bytea",
    "codec: json": "json jsonb jsonpath",
    "codec: uuid": "uuid",
    "codec: date": "date",
    "codec: time": "time timetz time(0)",
    "codec: timestamp": "timestamp timestamp(3)",
    "codec: timestamptz": "timestamptz",
    "codec: interval": "interval",
    "codec: networks": "inet cidr",
    "codec: types as text": "macaddr macaddr8 money tsvector tsquery regproc regprocedure regoper regoperator regclass"
    " regtype regconfig regdictionary regnamespace regrole regcollation aclitem refcursor unknown",
    "codec: bits": "bit(3) bit varbit varbit(2)",
    "codec: geometry": "point line lseg box path polygon circle",
    "codec: tid and snapshots": "tid txid_snapshot pg_snapshot",
    "codec: arrays": "int2[] int4[] int8[] float8[] numeric[] text[] varchar[] bool[] uuid[] date[] timestamptz[]"
    " bytea[] money[] oid[] json[] point[] box[] int2vector oidvector",
    "codec: composites": "pair pair[] nested",
    "codec: records": "record",
    "codec: ranges": "int4range int8range numrange daterange tsrange tstzrange int4multirange datemultirange"
    " int4range[] floatrange",
    "codec: domains": "posint posint[] ints pairdomain information_schema.sql_identifier",
    "codec: enums": "color color[]",
    "codec: void": "void",
}


class Int:
    """Becomes an int."""

    def __int__(self) -> int:
        return 7

    def __repr__(self) -> str:
        return "Int()"


class Index(Int):
    """Is an integer to Python itself."""

    def __index__(self) -> int:
        return 8


class Float:
    """Becomes a float."""

    def __float__(self) -> float:
        return 1.5

    def __repr__(self) -> str:
        return "Float()"


class Raising:
    """Raises whenever it is asked to become something."""

    def fail(self) -> Any:
        raise RuntimeError("not today")

    __int__ = __float__ = fail

    def __repr__(self) -> str:
        return "Raising()"


class Bytes:
    """Has the bytes of a UUID."""

    bytes = b"0123456789abcdef"

    def __repr__(self) -> str:
        return "Bytes()"


class Day:
    """Has the number of a day."""

    def toordinal(self) -> int:
        return 730_000

    def __repr__(self) -> str:
        return "Day()"


class Delta:
    """Has the fields of a timedelta."""

    days, seconds, microseconds = 1, 2, 3

    def __repr__(self) -> str:
        return "Delta()"


class Sized:
    """Has a length and elements, and nothing else that a sequence has."""

    def __len__(self) -> int:
        return 2

    def __iter__(self) -> Iterator[int]:
        return iter((1, 2))

    def __repr__(self) -> str:
        return "Sized()"


class Text(str):
    """A str that is none exactly."""


INDIA = dt.timezone(dt.timedelta(hours=5, minutes=30))
MOMENT = dt.datetime(2024, 2, 29, 13, 5, 6, 789)

PLAIN: list[Any] = [
    None, True, False, 0, 1, -1, 5, 2**15, 2**31, 2**32, 2**63, 2**64, -(2**31), -(2**63), 10**40, 1.9, -1.9, 0.1, 1e39,
    float("nan"), float("inf"), Decimal("1.9"), Decimal("0.00"), Decimal("NaN"), Decimal("-Infinity"), Decimal("1E+5"),
    Int(), Index(), Float(), Raising(), object,
    "", "x", "1", "1.5", "abc", "a" * 50, "é", "\0", "\ud800", Text("sub"), "t", "f", "zz",
    b"", b"x", b"\x00\xff", bytearray(b"ab"), memoryview(b"abc"), array.array("B", [1, 2]),
    uuid.UUID(int=5), "00000000-0000-0000-0000-000000000005", "0" * 31 + "g", Bytes(),
    dt.date(2024, 2, 29), MOMENT, MOMENT.replace(tzinfo=dt.timezone.utc), MOMENT.replace(tzinfo=INDIA),
    dt.time(1, 2, 3, 4), dt.time(1, 2, 3, tzinfo=INDIA), dt.timedelta(days=1, seconds=2, microseconds=3),
    dt.timedelta(days=-1), dt.timedelta.max, dt.timedelta.min, Delta(), Day(),
    "2024-01-01", "1.2.3.4", "1.2.3.0/24", "1.2.3.4/24", "::1", "fe80::/10", 16909060,
    ipaddress.ip_address("1.2.3.4"), ipaddress.ip_network("10.0.0.0/30"), ipaddress.ip_interface("10.1.2.3/30"),
    ipaddress.ip_address("::1"), ipaddress.ip_network("2001:db8::/126"),
    [], [1, 2], [1, None], [None], ["a", "b"], [[1, 2], [3, 4]], [[1], [2, 3]], [[]], [1, [2]], [[], [1]],
    [[], [None]], [[], 1], [[], ()], [[[[[[[1]]]]]]], Sized(),
    (), (1,), (1, 2), (1, 2, 3), (1, 2, (3, 4)), ("a", 1), (1, "x"), ((1, 2), (3, 4)), [(1, 2), (3, 4)], ((1, 2), 3),
    ((0.5, 1), (2, 3)), [(1, "x"), None], ((1, "x"), [(2, "y")], 5),
    {}, {"a": 1}, {"a": 1, "b": "x"}, {"a": 1, "zz": 2}, {"p": {"a": 1}}, {5}, frozenset([3]), range(3),
    collections.OrderedDict(a=1), collections.deque([1, 2]), [True, False], [b"x", None], [[None, 1]],
    [dt.date(2024, 2, 29)], [0.5, 1], [Decimal("1.10")], [uuid.UUID(int=1)], [MOMENT.replace(tzinfo=INDIA)],
    '{"a": 1}', "[1]", "null", "$.a", "<a/>", "12.50", "$1.00", "08:00:2b:01:02:03", "08:00:2b:01:02:03:04:05",
    "pg_type", "int4", "english", "simple", "a & b", "a b", "red", 'gre"en', "pink", "int4in", "int4in(cstring)", "||/",
    "+(integer,integer)", "pg_catalog", '"C"', ["red", None, 'gre"en'], ["$1.00"], ["", " "],
]  # fmt: skip


def values(driver: Any) -> list[Any]:
    """The values, those of the driver's own classes among them."""
    own, bits = driver.Range, driver.BitString
    return [
        *PLAIN, bits("101"), bits("1"), bits(), bits("1" * 20), driver.Point(1, 2), driver.Box((3, 4), (1, 2)),
        driver.Line(1, 2, 3), driver.LineSegment((1, 2), (3, 4)), driver.Circle((1, 2), 3), driver.Path((1, 2), (3, 4)),
        driver.Path((1, 2), (3, 4), is_closed=True), driver.Polygon((1, 2), (3, 4)), own(1, 5), own(1, None), own(),
        own(empty=True), own(1, 5, lower_inc=False, upper_inc=True), own(5, 1), own(1.5, 2.5), own("a", "b"),
        own(dt.date(2024, 1, 1), None), own(MOMENT, None), [own(1, 5), own(7, 9)], [own(7, 9), own(1, 8)], [(1, 5)],
        [[1, 5], [7, 9]], [own(1, 5), None],
    ]  # fmt: skip
