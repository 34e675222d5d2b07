# SPDX-License-Identifier: MIT
"""Arrays, ranges, multiranges, composites and records; the registry that makes them."""

from __future__ import annotations

import struct
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastpg import exceptions
from fastpg.codecs.codec import decode, encode
from fastpg.codecs.knowledge import TypeInfo, TypeKnowledge, knowledge_for
from fastpg.codecs.registry import Registry
from fastpg.types import Range

INT4_ARRAY, TEXT_ARRAY, FLOAT8_ARRAY, MONEY_ARRAY, INT4RANGE, INT4MULTIRANGE, RECORD = (
    1007, 1009, 1022, 791, 3904, 4451, 2249,
)  # fmt: skip
i4 = st.none() | st.integers(-(2**31), 2**31 - 1)


def rectangles(elements: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Arrays of one to three dimensions."""

    def build(dims: list[int]) -> st.SearchStrategy[Any]:
        if not dims:
            return elements
        return st.lists(build(dims[1:]), min_size=dims[0], max_size=dims[0])

    return st.lists(st.integers(1, 4), min_size=1, max_size=3).flatmap(build)


@settings(max_examples=150, deadline=None)
@given(rectangles(i4))
def test_int_arrays_round_trip(value: Any) -> None:
    assert decode(INT4_ARRAY, encode(INT4_ARRAY, value)) == value


@settings(max_examples=150, deadline=None)
@given(rectangles(st.none() | st.text(st.characters(codec="utf-8", exclude_characters="\0"))))
def test_text_form_arrays_round_trip(value: Any) -> None:
    assert decode(MONEY_ARRAY, encode(MONEY_ARRAY, value)) == value
    assert decode(TEXT_ARRAY, encode(TEXT_ARRAY, value)) == value


def test_empty_arrays() -> None:
    assert decode(INT4_ARRAY, encode(INT4_ARRAY, [])) == []
    assert decode(INT4_ARRAY, encode(INT4_ARRAY, [[], []])) == []
    assert decode(MONEY_ARRAY, b"{}") == []
    assert encode(22, [1, 2])[12:20] == struct.pack("!ii", 2, 0), "int2vector starts at 0"
    assert decode(22, encode(22, [1, 2])) == [1, 2]
    assert decode(30, encode(30, [])) == []


def test_text_form_as_the_server_writes_it() -> None:
    assert decode(MONEY_ARRAY, b'[0:1][5:6]={{"$1,000.00",NULL},{"NULL",a}}') == [["$1,000.00", None], ["NULL", "a"]]


@pytest.mark.parametrize(
    "value, error, text",
    [
        ("abc", TypeError, "a sized iterable container expected (got type 'str')"),
        (5, TypeError, "a sized iterable container expected (got type 'int')"),
        ({"a": 1}, TypeError, "a sized iterable container expected (got type 'dict')"),
        ([1, "x"], ValueError, "invalid array element at index 1: 'str' object cannot be interpreted as an integer"),
        ([[1, 2], [3]], ValueError, "non-homogeneous array"),
        ([[1], 2], ValueError, "non-homogeneous array"),
        ([1, [2]], ValueError, "non-homogeneous array"),
        ([[], [1]], ValueError, "non-homogeneous array"),
        ([[], 1], ValueError, "non-homogeneous array"),
        ([[[]], [[1]]], ValueError, "non-homogeneous array"),
        ([[[], []], [[]]], ValueError, "non-homogeneous array"),
        ([[[[[[[1]]]]]]], ValueError, "number of array dimensions (7) exceed the maximum expected (6)"),
    ],
)
def test_array_errors(value: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error) as caught:
        encode(INT4_ARRAY, value)
    assert text in str(caught.value)


@pytest.mark.parametrize("value", [[[], ["$1"]], [[], [None]], [[], "$1"], [[], None], [[[]], [["$1"]]]])
def test_no_element_of_an_array_as_text_is_dropped(value: list[Any]) -> None:
    with pytest.raises(ValueError, match="non-homogeneous array"):
        encode(MONEY_ARRAY, value)


def test_every_truncation_of_containers_is_refused() -> None:
    samples = [
        (INT4_ARRAY, [[1, None], [3, 4]]),
        (TEXT_ARRAY, ["a", "", None]),
        (INT4RANGE, Range(1, 5)),
        (INT4MULTIRANGE, [Range(1, 5), Range(7, None)]),
        (MONEY_ARRAY, ["a", None]),
    ]
    for oid, value in samples:
        data = encode(oid, value)
        for n in range(len(data)):
            with pytest.raises(exceptions.ProtocolError):
                decode(oid, data[:n])
        with pytest.raises(exceptions.ProtocolError):
            decode(oid, data + b"\0")


@pytest.mark.parametrize(
    "header",
    [
        struct.pack("!iiI", -1, 0, 23),
        struct.pack("!iiI", 7, 0, 23) + b"\0" * 56,
        struct.pack("!iiIii", 1, 0, 23, 200_000_000, 1),
        struct.pack("!iiIii", 1, 0, 23, -5, 1),
        struct.pack("!iiIiiii", 2, 0, 23, 2**31 - 1, 1, 2**31 - 1, 1),
        struct.pack("!iiIiiiiii", 3, 0, 23, 65536, 1, 65536, 1, 65536, 1),
    ],
)
def test_claimed_counts_allocate_nothing(header: bytes) -> None:
    with pytest.raises(exceptions.ProtocolError):
        decode(INT4_ARRAY, header)
    with pytest.raises(exceptions.ProtocolError):
        decode(INT4MULTIRANGE, struct.pack("!i", 200_000_000) + b"\0" * 12)
    with pytest.raises(exceptions.ProtocolError):
        decode(RECORD, struct.pack("!i", 200_000_000) + b"\0" * 12)


bound = st.none() | st.integers(-1000, 1000)


@settings(max_examples=150, deadline=None)
@given(bound, bound, st.booleans(), st.booleans())
def test_ranges_round_trip(lower: int | None, upper: int | None, lower_inc: bool, upper_inc: bool) -> None:
    value = Range(lower, upper, lower_inc=lower_inc, upper_inc=upper_inc)
    assert decode(INT4RANGE, encode(INT4RANGE, value)) == value
    assert decode(INT4MULTIRANGE, encode(INT4MULTIRANGE, [value, value])) == [value, value]


def test_range_inputs() -> None:
    assert decode(INT4RANGE, encode(INT4RANGE, ())) == Range(empty=True)
    assert decode(INT4RANGE, encode(INT4RANGE, (1,))) == Range(1, None)
    assert decode(INT4RANGE, encode(INT4RANGE, [1, 5])) == Range(1, 5, upper_inc=True), "as asyncpg reads a pair"
    assert decode(INT4RANGE, encode(INT4RANGE, (None, 5))) == Range(None, 5, upper_inc=True)
    assert decode(3906, encode(3906, (Decimal("1.50"), None))) == Range(Decimal("1.50"), None)
    with pytest.raises(ValueError, match="expected 0, 1 or 2 elements in range"):
        encode(INT4RANGE, (1, 2, 3))
    with pytest.raises(TypeError, match="list, tuple or Range object expected"):
        encode(INT4RANGE, "x")


def test_range_flags_that_cannot_be() -> None:
    for flags in range(32, 256):
        with pytest.raises(exceptions.ProtocolError):
            decode(INT4RANGE, bytes([flags]))


def test_anonymous_record() -> None:
    data = struct.pack("!iIiiIi", 2, 23, 4, 7, 25, 1) + b"x"
    assert decode(RECORD, data) == (7, "x")
    for n in range(len(data)):
        with pytest.raises(exceptions.ProtocolError):
            decode(RECORD, data[:n])


# ------------------------------------------------------------------------ registry

POINT3 = TypeInfo(70001, "point3", "public", "composite", 0, (("x", 23), ("y", 25)))


def member(oid: int, payload: bytes) -> bytes:
    return struct.pack("!Ii", oid, len(payload)) + payload


def test_introspected_types() -> None:
    registry = Registry(TypeKnowledge())
    assert registry.lookup(70001) is None
    assert registry.missing([70001, 23, 70002]) == [70002, 70001]
    registry.add_types(
        [
            POINT3,
            TypeInfo(70002, "_point3", "public", "array", 70001),
            TypeInfo(70003, "color", "public", "enum"),
            TypeInfo(70004, "posint", "public", "domain", 23),
        ]
    )
    assert registry.missing([70001, 70002, 70004]) == []
    composite = registry.lookup(70001)
    assert composite is not None and composite.kind == 37
    assert [registry.lookup_or_text(oid).format for oid in (70003, 70002)] == [0, 1]
    domain = registry.lookup_or_text(70004)
    assert (domain.oid, domain.kind) == (70004, registry.lookup_or_text(23).kind), "its base type under its own OID"
    assert registry.lookup_or_text(70002).kind == registry.lookup_or_text(1007).kind


def test_unknown_type_is_text() -> None:
    handle = Registry().lookup_or_text(99999)
    assert (handle.oid, handle.format) == (99999, 0)


def test_knowledge_is_shared_and_reloads() -> None:
    knowledge = knowledge_for(("server", "db"))
    assert knowledge is knowledge_for(("server", "db")) and knowledge is not knowledge_for(("server", "other"))
    knowledge.add([POINT3])
    assert knowledge.get(70001) is POINT3
    epoch = knowledge.epoch
    knowledge.reload()
    assert knowledge.get(70001) is None and knowledge.epoch == epoch + 1


def test_lying_introspection_is_bounded() -> None:
    registry = Registry(TypeKnowledge())
    registry.add_types(
        [TypeInfo(80001, "a", "public", "domain", 80002), TypeInfo(80002, "b", "public", "domain", 80001)]
    )
    with pytest.raises(exceptions.InterfaceError, match="nested more than"):
        registry.lookup(80001)


def test_other_client_encodings() -> None:
    registry = Registry()
    registry.set_encoding("LATIN1")
    assert registry.lookup_or_text(25).name == "text"
    assert registry.lookup_or_text(1009).kind == registry.lookup_or_text(1007).kind
    assert registry.lookup_or_text(23).oid == 23
    plain = registry.lookup_or_text(23)
    for name in ("UTF8", "SQL_ASCII"):
        registry.set_encoding(name)
        assert registry.lookup_or_text(23).kind == plain.kind
    registry.set_encoding("EUC_TW")  # of which Python knows nothing but that ASCII is in it
    assert registry.lookup_or_text(25).name == "text"



