# SPDX-License-Identifier: MIT
"""Every type, in and out: many arguments, right and wrong, and what the server sends, as both drivers see it."""

from __future__ import annotations

from typing import Any

import pytest

import fastpg
from tests.contract import covers, differs
from tests.differential.arguments import SETUP, TYPES, values
from tests.differential.known import Outcome, explained, outcome
from tests.sidebyside import Diary, both, compare

asyncpg = pytest.importorskip("asyncpg")

# Under Python 3.12 and later; the test suite makes errors of warnings.
pytestmark = pytest.mark.filterwarnings("ignore:__int__ returned non-int:DeprecationWarning")


async def connections(dsn: str) -> tuple[Any, Any]:
    """One of either driver, with the types of SETUP."""
    await make_types(dsn)
    settings = {"search_path": "played"}
    return await asyncpg.connect(dsn, server_settings=settings), await fastpg.connect(dsn, server_settings=settings)


async def make_types(dsn: str) -> None:
    """The types of SETUP, in a schema of their own."""
    con = await fastpg.connect(dsn)
    await con.execute(SETUP)
    await con.close()


def tell(type_: str, argument: Any, theirs: Outcome, ours: Outcome) -> str:
    return f"{type_} <- {argument!r}\n    asyncpg: {theirs}\n    fastpg:  {ours}"


@covers(
    "codec: bool",
    "codec: integers",
    "codec: floats",
    "codec: numeric",
    "codec: text",
    'codec: "char"',
    "codec: bytea",
    "codec: json",
    "codec: uuid",
    "codec: date",
    "codec: time",
    "codec: timestamp",
    "codec: timestamptz",
    "codec: interval",
    "codec: networks",
    "codec: types as text",
    "codec: bits",
    "codec: geometry",
    "codec: tid and snapshots",
    "codec: arrays",
    "codec: composites",
    "codec: records",
    "codec: ranges",
    "codec: domains",
    "codec: enums",
    "codec: void",
    "arguments: wrong type or value",
    "arguments: reasons",
)
@pytest.mark.parametrize("row", TYPES)
async def test_arguments(dsn: str, row: str) -> None:
    """Every value as an argument of every type: the value that comes back, and what the server made of it."""
    theirs, ours = await connections(dsn)
    differences = []
    for type_ in TYPES[row].split():
        query = f"SELECT $1::{type_} AS v" + (f", $1::{type_}::text AS t" if type_ != "void" else "")
        for argument, own in zip(values(asyncpg), values(fastpg), strict=True):
            their = await outcome(lambda query=query, a=argument: theirs.fetchrow(query, a), argument)
            our = await outcome(lambda query=query, a=own: ours.fetchrow(query, a), own)
            if not their.same(our) and explained(type_, own, their, our) is None:
                differences.append(tell(type_, own, their, our))
    theirs.terminate()
    ours.terminate()
    assert not differences, "\n".join(differences)


LITERALS: dict[str, list[str]] = {
    "bool": ["true", "false"],
    "int2": ["-32768", "32767"],
    "int4": ["-2147483648", "0", "2147483647"],
    "int8": ["-9223372036854775808", "9223372036854775807"],
    "oid": ["0", "4294967295"],
    "xid": ["4294967295"],
    "cid": ["7"],
    "xid8": ["18446744073709551615"],
    "pg_lsn": ["0/16B3748"],
    "float4": ["0.1", "1e38", "NaN", "-Infinity", "-0"],
    "float8": ["0.1", "5e-324", "NaN", "Infinity", "-0"],
    "numeric": ["0", "0.00", "1.00000", "-1.5", "123456789012345678901234567890.123456789", "1e-10", "NaN", "99"],
    "text": ["", "é€\U0001f600", "a\tb\n"],
    "varchar": ["abc"],
    "char(5)": ["ab"],
    "name": ["abc"],
    "xml": ["<a>é</a>"],
    '"char"': ["x", ""],
    "bytea": ["", r"\x00ff61"],
    "json": ['{"a":  1}'],
    "jsonb": ['{"a":  1}'],
    "jsonpath": ["$.a[*]"],
    "uuid": ["12345678-1234-5678-1234-56789abcdef0"],
    "date": ["2024-02-29", "0001-01-02", "9999-12-30", "1970-01-01"],
    "time": ["00:00", "23:59:59.999999"],
    "timetz": ["00:00+00", "23:59:59.999999-15:59", "12:00+05:30"],
    "timestamp": ["2024-02-29 13:05:06.789", "0001-01-01 00:00:01", "1999-12-31 23:59:59.999999"],
    "timestamptz": ["2024-02-29 13:05:06.789+05:30", "1999-12-31 23:59:59.999999Z"],
    "interval": ["1 day 02:03:04.000005", "-1 day", "00:00:00.000001", "-00:00:01", "100 days -00:00:01"],
    "inet": ["1.2.3.4", "1.2.3.4/24", "::1", "fe80::1/10", "1.2.3.0/24"],
    "cidr": ["1.2.3.0/24", "fe80::/10", "1.2.3.4/32"],
    "macaddr": ["08:00:2b:01:02:03"],
    "macaddr8": ["08:00:2b:01:02:03:04:05"],
    "money": ["12.50", "-1"],
    "tsvector": ["a:1 b"],
    "tsquery": ["a & !b"],
    "regproc": ["int4in"],
    "regprocedure": ["int4in(cstring)"],
    "regoper": ["||/"],
    "regoperator": ["+(integer,integer)"],
    "regclass": ["pg_type", "played.pair"],
    "regtype": ["int4", "played.color[]"],
    "regconfig": ["english"],
    "regdictionary": ["simple"],
    "regnamespace": ["pg_catalog"],
    "regrole": ["pg_monitor"],
    "regcollation": ['"C"'],
    "refcursor": ["c"],
    "unknown": ["x"],
    "bit(3)": ["101"],
    "varbit": ["", "1", "10101010", "101010101"],
    "point": ["(1,2.5)", "(-0,Infinity)"],
    "line": ["{1,2,3}"],
    "lseg": ["[(1,2),(3,4)]"],
    "box": ["(3,4),(1,2)"],
    "tid": ["(4294967295,65535)"],
    "txid_snapshot": ["1:10:2,3", "5:5:"],
    "pg_snapshot": ["1:10:2,3", "5:5:"],
    "int4[]": ["{}", "{1,NULL,3}", "{{1,2},{3,4}}", "[5:6]={1,2}", "{{{{{{1}}}}}}"],
    "float8[]": ["{0.5,NaN}"],
    "numeric[]": ["{1.10,NULL}"],
    "text[]": ['{a,"b,c",NULL,"NULL","",\\\\}', "{{a},{b}}"],
    "bool[]": ["{t,f,NULL}"],
    "uuid[]": ["{00000000-0000-0000-0000-000000000001}"],
    "timestamptz[]": ["{2024-01-01Z,NULL}"],
    "bytea[]": [r'{"\\x00ff"}'],
    "oid[]": ["{1,2}"],
    "box[]": ["{(3,4),(1,2);(1,1),(0,0)}"],
    "int2vector": ["1 2 3", ""],
    "oidvector": ["1 2", ""],
    "int4range": ["[1,5)", "(,5)", "(,)", "empty", "[1,1]"],
    "numrange": ["[1.5,2.50]"],
    "daterange": ["[2024-01-01,)"],
    "tstzrange": ["[2024-01-01Z,2025-01-01Z)"],
    "int4range[]": ['{"[1,5)",empty,NULL}'],
    "int4multirange": ["{}", "{[1,5),[7,9)}"],
    "datemultirange": ["{[2024-01-01,2024-02-01)}"],
    "pair": ["(1,x)", "(,)", '(1,"")', '(1,"a ""b"" \\\\ c,d")'],
    "pair[]": ['{"(1,x)",NULL}', "{}", '{{"(1,x)"},{"(2,y)"}}'],
    "nested": ['("(1,x)","{""(2,y)"",NULL}",1.50)', "(,,)"],
    "posint": ["5"],
    "posint[]": ["{1,NULL}"],
    "ints": ["{1,2}"],
    "pairdomain": ["(1,x)"],
    "color": ["red", 'gre"en', "blue, light"],
    "color[]": ['{red,"gre\\"en",NULL,"blue, light"}'],
    "floatrange": ["[1.5,2.5)"],
    "information_schema.sql_identifier": ["abc"],
    "information_schema.cardinal_number": ["5"],
}


@covers(
    "codec: bool",
    "codec: integers",
    "codec: floats",
    "codec: numeric",
    "codec: text",
    "codec: date",
    "codec: time",
    "codec: timestamp",
    "codec: timestamptz",
    "codec: interval",
    "codec: types as text",
    "codec: arrays",
    "codec: composites",
    "codec: ranges",
    "codec: domains",
    "codec: enums",
    "introspection",
)
async def test_results(dsn: str) -> None:
    """What the server sends of every type: alone, in arrays, anonymous records and composites, and its description."""

    async def scenario(diary: Diary) -> None:
        con = await diary.driver.connect(diary.dsn, server_settings={"search_path": "played"})
        for type_, literals in LITERALS.items():
            if type_ == "xml" and not has_xml:
                continue
            for literal in [*literals, None]:
                text = "NULL" if literal is None else "E'" + literal.replace("\\", "\\\\").replace("'", "''") + "'"
                diary.value(f"{type_} {literal}", await con.fetchval(f"SELECT {text}::{type_}"))
            if type_ not in ("unknown", "ints", "int2vector", "oidvector"):
                name = type_ if type_.endswith("[]") else f"{type_}[]"
                diary.value(f"array of {type_}", await con.fetchval(f"SELECT ARRAY[{text}]::{name}"))
            statement = await con.prepare(f"SELECT $1::{type_} AS v")
            diary.note(type_, "takes", statement.get_parameters(), "gives", statement.get_attributes())
        for record in ("1, 'x'::text, NULL", "", "1.50::numeric, true, '{}'::text[]", "row(1, row('x'::text))", "'x'"):
            diary.value(f"row({record})", await con.fetchval(f"SELECT row({record})"))
        diary.value("rows", await con.fetchval("SELECT ARRAY[row(1, 2), row(3, 4)]"))
        diary.value("void", await con.fetchrow("SELECT pg_sleep(0) AS v, 5"))
        diary.value("nothing", await con.fetch("SELECT"))
        diary.value("nothing twice", await con.fetch("SELECT FROM generate_series(1, 2)"))
        con.terminate()

    await make_types(dsn)
    con = await fastpg.connect(dsn)
    has_xml = not (await outcome(lambda: con.fetchval("SELECT '<a/>'::xml"))).error  # the server is built with libxml
    await con.close()
    await compare(dsn, scenario)


def told_apart(theirs: Diary, ours: Diary) -> list[tuple[str, str]]:
    """The entries that are not the same."""
    assert len(theirs.entries) == len(ours.entries)
    return [(their, our) for their, our in zip(theirs.entries, ours.entries, strict=True) if their != our]


@covers("codec: geometry")
@differs("Shapes")
async def test_shapes(dsn: str) -> None:
    async def scenario(diary: Diary) -> None:
        con = await diary.driver.connect(diary.dsn)
        path = await con.fetchval("SELECT '[(1,2),(3,4)]'::path")
        diary.note("repr", repr(path))
        diary.note("path", path.is_closed, path.points, list(path), len(path), path[1])
        polygon = await con.fetchval("SELECT '((1,2),(3,4))'::polygon")
        diary.note("polygon", polygon.is_closed, polygon.points, polygon == diary.driver.Polygon((1, 2), (3, 4)))
        circle = await con.fetchval("SELECT '<(1,2),3>'::circle")
        diary.note("centre", type(circle.center).__name__)
        diary.note("circle", tuple(circle.center), circle.radius, circle == diary.driver.Circle((1, 2), 3))
        con.terminate()

    assert told_apart(*await both(dsn, scenario)) == [
        ("repr <fastpg.pgproto.types.Path 0x>", "repr <Path open (1.0, 2.0), (3.0, 4.0)>"),
        ("centre tuple", "centre Point"),
    ]


@covers("codec: numeric", "codec: integers")
@differs("Round numbers", "Positions in the log")
async def test_numbers(dsn: str) -> None:
    async def scenario(diary: Diary) -> None:
        con = await diary.driver.connect(diary.dsn)
        diary.value("hundred thousand", await con.fetchval("SELECT 100000::numeric"))
        diary.value("100000.0", await con.fetchval("SELECT 100000.0::numeric"))
        diary.value("last position", await con.fetchval("SELECT 'FFFFFFFF/FFFFFFFF'::pg_lsn"))
        con.terminate()

    assert told_apart(*await both(dsn, scenario)) == [
        ("hundred thousand = Decimal('1.0E+5') : Decimal", "hundred thousand = Decimal('100000') : Decimal"),
        ("last position = -1 : int", "last position = 18446744073709551615 : int"),
    ]


@covers("codec: arrays", "codec: composites")
@differs("Elements in reasons", "Reasons", "Checked earlier", "More integers")
@pytest.mark.parametrize(
    ("type_", "argument", "theirs", "ours"),
    [
        ("money[]", [["x"], [5]], "invalid array element: expected str, got int",
         "invalid array element at index 0: expected str, got int"),
        ("numeric[]", [1, "x"], "[<class 'decimal.ConversionSyntax'>]", "[<class 'decimal.ConversionSyntax'>]"),
        ("text[]", [[1], [2, 3]], "non-homogeneous array", "invalid array element at index 0: expected str, got int"),
        ("txid_snapshot", (1, 2), "invalid number of elements in txid_snapshot tuple, expecting 4",
         "invalid number of elements in txid_snapshot tuple, expecting 3"),
        ('"char"', b"ab", "InvalidBinaryRepresentationError", "exactly one byte is required, got 2"),
        ("pair", (1,), "DatatypeMismatchError", "expected 2 elements in the composite value, got 1"),
        ("xid8", fastpg.BitString("1"), "an integer is required", "an integer is required"),
    ],
    ids=str,
)  # fmt: skip
async def test_reasons(dsn: str, type_: str, argument: Any, theirs: str, ours: str) -> None:
    their, our = await connections(dsn)
    query = f"SELECT $1::{type_}"
    found = [await outcome(lambda con=con: con.fetchval(query, argument), argument) for con in (their, our)]
    assert [one.reason.removeprefix("$1: ") or one.error for one in found] == [theirs, ours]
    their.terminate()
    our.terminate()


@differs("Checked earlier", "More integers")
async def test_what_is_taken_for_more_or_less(dsn: str) -> None:
    class Index:
        def __index__(self) -> int:
            return 8

    their, our = await connections(dsn)
    assert (await outcome(lambda: their.fetchval("SELECT $1::oid", Index()), 0)).error == "DataError"
    assert await our.fetchval("SELECT $1::oid", Index()) == 8
    await our.execute("CREATE TYPE letters AS (a text, b text)")
    assert tuple(await their.fetchval("SELECT $1::letters", "xy")) == ("x", "y")
    assert (await outcome(lambda: our.fetchval("SELECT $1::letters", "xy"), "xy")).error == "DataError"
    their.terminate()
    our.terminate()


@covers("codec: custom", "codec: arrays", "codec: records")
@differs("Codecs of elements", "Exceptions of decoders", "Types that travel as text")
async def test_codecs_of_elements(dsn: str) -> None:
    def failing(text: str) -> Any:
        raise ValueError("not today")

    async def scenario(diary: Diary) -> None:
        con = await diary.driver.connect(diary.dsn)
        for type_ in ("text", "int4", "numeric"):
            await con.set_type_codec(type_, schema="pg_catalog", encoder=str, decoder=lambda text: f"<{text}>")
        diary.note("int4[]", await con.fetchval("SELECT ARRAY[5]"))
        diary.note("text[]", await con.fetchval("SELECT ARRAY['5'::text]"))
        if diary.is_ours:
            diary.note("record", await con.fetchval("SELECT row(1.50::numeric)"))
        await con.set_type_codec("int4", schema="pg_catalog", encoder=str, decoder=failing)
        for query in ("SELECT 5", "SELECT ARRAY[5]"):
            try:
                await con.fetchval(query)
            except Exception as error:
                diary.note(query, type(error).__name__)
        con.terminate()

    theirs, ours = await both(dsn, scenario)
    assert theirs.entries[:2] == ["int4[] ['<5>']", "text[] ['5']"]
    assert ours.entries == [
        "int4[] ['<5>']", "text[] ['<5>']", "record ('<1.50>',)", "SELECT 5 ValueError", "SELECT ARRAY[5] ValueError"
    ]  # fmt: skip
    assert theirs.entries[-2:] == ["SELECT 5 ValueError", "SELECT ARRAY[5] ProtocolError"]
