# SPDX-License-Identifier: MIT
"""The types of values: Range, BitString, the shapes, UUID."""

from __future__ import annotations

import copy
import pickle
import uuid
from typing import Any

import asyncpg
import pytest
from asyncpg.protocol import protocol as theirs

import fastpg
from fastpg.protocol.protocol import _create_record
from tests.contract import covers, differs
from tests.sidebyside import Diary, compare, compare_now


@covers("values: Range", "tools: SQLAlchemy")
def test_range() -> None:
    def scenario(diary: Diary) -> None:
        cls = diary.driver.Range
        ranges = [
            cls(), cls(1, 5), cls(1, 5, upper_inc=True), cls(1, 5, lower_inc=False), cls(None, 5), cls(1, None),
            cls(None, 5, lower_inc=True), cls(1, None, upper_inc=True), cls(empty=True),
            cls(1, 5, empty=True), cls(3, 3),
            cls(2, 4), cls("a", "b"), cls(1.5, 2.5),
        ]  # fmt: skip
        for one in ranges:
            diary.note(repr(one), one.lower, one.upper, one.lower_inc, one.upper_inc, one.lower_inf, one.upper_inf,
                       one.isempty, bool(one))  # fmt: skip
            for again in (pickle.loads(pickle.dumps(one)), copy.copy(one), copy.deepcopy(one)):
                diary.note(again == one, hash(again) == hash(one), type(again) is cls)
            for other in ranges[:12]:
                if not isinstance(one.lower, (str, float)):
                    diary.try_now(f"{one} {other}", lambda one=one, other=other: (
                        one == other, one.issubset(other), one.issuperset(other)))  # fmt: skip
        diary.try_now("read-only", lambda: setattr(ranges[0], "lower", 1))
        diary.try_now("subscript", lambda: cls[int] is not None)
        diary.try_now("positional", lambda: cls(1, 2, True))
        diary.try_now("another type", lambda: ranges[0].issubset((1, 2)))
        diary.note(cls(1, 5) == (1, 5), sorted(name for name in dir(cls) if not name.startswith("_")))

    compare_now(scenario)


@covers("values: BitString", "tools: SQLAlchemy")
def test_bit_string() -> None:
    def scenario(diary: Diary) -> None:
        cls = diary.driver.BitString
        for text in ("", "0", "1", "0101", "0101 1", "11111111 1", b"01", None, "012", " 1 0 "):
            one = diary.try_now(f"{text!r}", lambda text=text: cls(text))
            if one is not None:
                diary.note(
                    len(one), one.as_string(), one.bytes, list(one), one == cls(text), hash(one) == hash(cls(text))
                )
                for order in ("big", "little"):
                    for signed in (False, True):
                        diary.try_now(
                            "int", lambda one=one, order=order, signed=signed: one.to_int(order, signed=signed)
                        )
                again = pickle.loads(pickle.dumps(one))
                diary.note(again == one)
        for x, length, order, signed in ((5, 8, "big", False), (5, 12, "little", False), (-5, 8, "big", True),
                                         (-5, 8, "big", False), (300, 8, "big", False), (0, 0, "big", False),
                                         (1, -1, "big", False), (5, 8, "odd", False)):  # fmt: skip
            diary.try_now(f"{x, length, order, signed}", lambda x=x, n=length, order=order, signed=signed: cls.from_int(
                x, n, order, signed=signed))  # fmt: skip
        for data, length in ((b"\xf0", 4), (b"\xff", None), (b"", 0), (b"\xff", 9), (None, 0)):
            diary.try_now(f"{data!r}", lambda data=data, length=length: cls.frombytes(data, length))
        for index in (0, 99, slice(0, 2)):
            diary.try_now(f"{index}", lambda index=index: cls("0101")[index])
        diary.note(cls("01") == "01", cls("01") == cls("010"))

    compare_now(scenario)


@covers("values: points, boxes, lines, circles", "values: Path and Polygon")
def test_shapes() -> None:
    def scenario(diary: Diary) -> None:
        of = diary.driver.types
        made = {
            "point": of.Point(1, 2.5), "box": of.Box((3, 4), (1, 2)), "segment": of.LineSegment((1, 2), (3, 4)),
            "line": of.Line(1, 2, 3), "circle": of.Circle((1, 2), 3), "path": of.Path((1, 2), (3, 4)),
            "closed": of.Path((1, 2), (3, 4), is_closed=True), "polygon": of.Polygon((1, 2), (3, 4), (5, 6)),
        }  # fmt: skip
        for name, shape in made.items():
            public = [attribute for attribute in dir(shape) if not attribute.startswith("_")]
            for attribute in public:
                if attribute not in ("count", "index", "center"):  # see the differences
                    diary.value(f"{name}.{attribute}", getattr(shape, attribute))
            diary.note(name, public, isinstance(shape, tuple), len(shape), list(shape)[0], shape[0])
            diary.try_now("hash", lambda shape=shape: hash(shape) == hash(tuple(shape)))
            for other in made.values():
                diary.note(shape == other, shape != other)
        for name in ("point", "box", "segment"):
            diary.note(repr(made[name]))
        diary.try_now("read-only", lambda: setattr(made["point"], "x", 1))
        diary.try_now("no number", lambda: of.Point("x", 1))
        diary.try_now("few", lambda: of.Point(1))
        diary.note(of.Point(1, 2) == (1.0, 2.0), of.Polygon((1, 2)).is_closed)

    compare_now(scenario)


@covers("values: BitString")
@differs("Records, shapes and bits")
def test_mended() -> None:
    record = theirs._create_record({"a": 0}, (1,))
    for made in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="cannot pickle"):
            made(record)
    ours = _create_record({"a": 0}, (1,))
    assert pickle.loads(pickle.dumps(ours)) == copy.copy(ours) == copy.deepcopy(ours) == (1,)
    assert asyncpg.BitString("0101")[-1] == 0 and fastpg.BitString("0101")[-1] == 1
    with pytest.raises(TypeError):
        pickle.loads(pickle.dumps(asyncpg.Point(1, 2)))
    assert pickle.loads(pickle.dumps(fastpg.Point(1, 2))) == copy.copy(fastpg.Point(1, 2)) == (1.0, 2.0)


@covers("values: UUID", "tools: imports from pgproto", "tools: Piccolo")
def test_uuid() -> None:
    text = "12345678-1234-5678-9234-567812345678"

    def scenario(diary: Diary) -> None:
        cls = diary.driver.pgproto.pgproto.UUID
        diary.note(issubclass(cls, uuid.UUID), cls is diary.driver.pgproto.pgproto.pg_UUID)
        std = uuid.UUID(text)
        one = cls(text)
        for attribute in ("bytes", "bytes_le", "fields", "hex", "int", "urn", "variant", "version", "node", "time",
                          "clock_seq", "time_low", "time_mid", "time_hi_version", "is_safe"):  # fmt: skip
            diary.value(attribute, getattr(one, attribute))
            diary.note(getattr(one, attribute) == getattr(std, attribute))
        diary.note(
            repr(one), str(one), int(one), one == std, std == one, hash(one) == hash(std), one in {std}, std in {one}
        )
        diary.note(
            one < uuid.UUID(int=std.int + 1), one > uuid.UUID(int=0), one == text, sorted([one, uuid.UUID(int=1)])
        )
        diary.note(isinstance(one, uuid.UUID), type(one) is uuid.UUID, type(one).__name__)
        for protocol in (2, 5):
            again = pickle.loads(pickle.dumps(one, protocol))
            diary.note(again == one, type(again) is cls)
        diary.note(copy.copy(one) == one, copy.deepcopy(one) == one)
        for made in (text.upper(), text.replace("-", ""), "{" + text + "}", b"x" * 16, b"x", "zz", "1" * 40, 7, None):
            diary.try_now(f"{made!r}", lambda made=made: cls(made))

    compare_now(scenario)


@covers("values: UUID")
async def test_uuid_of_the_server(dsn: str) -> None:
    async def scenario(diary: Diary) -> None:
        async with diary.connected() as con:
            value = await diary.attempt(
                "uuid", lambda: con.fetchval("SELECT '12345678-1234-5678-1234-567812345678'::uuid")
            )
            diary.note(type(value) is diary.driver.pgproto.pgproto.UUID, value.__reduce__()[0] is not None)

    await compare(dsn, scenario)


@differs("Version")
def test_version() -> None:
    assert asyncpg.__version__ == "0.32.0" != fastpg.__version__

    def scenario(diary: Diary) -> None:
        diary.note(type(diary.driver.__version__).__name__)

    compare_now(scenario)


def names(driver: Any) -> set[str]:
    return {name for name in dir(driver.types) if not name.startswith("_")}


@covers("names: types")
def test_names() -> None:
    theirs = {name for name in names(asyncpg) if getattr(asyncpg.types, name).__class__ is not type(pickle)}
    assert {name for name in theirs if isinstance(getattr(asyncpg.types, name), type)} <= names(fastpg) | {"NamedTuple"}
