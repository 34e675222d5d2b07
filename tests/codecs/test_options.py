# SPDX-License-Identifier: MIT
"""The codecs that options of connect() put in place of built-in ones."""

from __future__ import annotations

import copy
import datetime
import json
import pickle
import struct
import uuid
from decimal import Decimal
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastpg import types
from fastpg.codecs.codec import decode, encode
from fastpg.codecs.knowledge import TypeInfo, TypeKnowledge
from fastpg.codecs.options import CodecOptions
from fastpg.codecs.registry import Registry
from fastpg.exceptions import ClientConfigurationError, ProtocolError, UnrepresentableValueError

JSON, JSONB, JSON_ARRAY, JSONB_ARRAY = 114, 3802, 199, 3807
DATE, TIME, TIMETZ, TIMESTAMP, TIMESTAMPTZ, INTERVAL = 1082, 1083, 1266, 1114, 1184, 1186
INTEGERS = (20, 21, 23, 26, 28, 29, 5069, 3220, 6437)
UTC = datetime.timezone.utc
DAY = 86_400_000_000


def registry(**options: Any) -> Registry:
    return Registry(TypeKnowledge(), None, CodecOptions(**options))


# ------------------------------------------------------------------------- JSON

documents = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip
seen: list[Any] = []


def loads(data: Any) -> Any:
    seen.append(data)
    return json.loads(data)


LIBRARIES: dict[str, Any] = {
    "True": True, "stdlib": "stdlib", "orjson": "orjson", "msgspec": "msgspec", "pair": (loads, json.dumps),
    "module": json, "object": SimpleNamespace(loads=loads, dumps=lambda value: json.dumps(value).encode()),
}  # fmt: skip
each_library = pytest.mark.parametrize("library", LIBRARIES.values(), ids=list(LIBRARIES))


@each_library
@pytest.mark.parametrize("oid", [JSON, JSONB])
@pytest.mark.parametrize("encoding", ["UTF8", "LATIN1"])
def test_json_round_trip(library: Any, oid: int, encoding: str) -> None:
    types = registry(json=library)
    types.set_encoding(encoding)
    handle = types.lookup_or_text(oid)

    @given(documents)
    def check(value: Any) -> None:
        if encoding == "LATIN1":
            try:
                json.dumps(value, ensure_ascii=False).encode("latin-1")
            except UnicodeEncodeError:
                return
        assert handle.decode(handle.encode(value)) == value

    check()


@each_library
def test_json_inside_everything(library: Any) -> None:
    types = registry(json=library)
    value = {"a": [1, None, "é"]}
    for oid in (JSON_ARRAY, JSONB_ARRAY):
        handle = types.lookup_or_text(oid)
        # Only the outermost list is the array.
        for items in ([value, None, value], [[1, 2], [3, 4]], [[1], 2, [[]], []], [(1, 2)], (value, [1])):
            assert handle.decode(handle.encode(items)) == json.loads(json.dumps(items))
            assert handle.encode(items)[:4] == b"\0\0\0\1", "of one dimension"
        assert handle.decode(handle.encode([])) == []
        for wrong in ("abc", {"a": 1}, 5):
            with pytest.raises(TypeError, match="a sized iterable container expected"):
                handle.encode(wrong)
    types.add_types([
        TypeInfo(80001, "doc", "public", "domain", element=JSONB),
        TypeInfo(80002, "pair", "public", "composite", attributes=(("a", JSONB), ("b", 80001), ("c", JSON))),
        TypeInfo(80003, "_pair", "public", "array", element=80002),
        TypeInfo(80004, "odd", "public", "scalar"),
        TypeInfo(80005, "wordy", "public", "composite", attributes=(("a", JSONB), ("b", 80004), ("c", JSON_ARRAY))),
    ])  # fmt: skip
    domain, pair, pairs, wordy = (types.lookup_or_text(oid) for oid in (80001, 80002, 80003, 80005))
    assert domain.decode(domain.encode(value)) == value
    assert pair.decode(pair.encode((value, [1], "x"))) == (value, [1], "x")
    assert pairs.decode(pairs.encode([(value, 1, 2)])) == [(value, 1, 2)]
    # Text, because of its second member: jsonb is without its version byte then.
    assert wordy.format == 0 and wordy.decode(wordy.encode((value, "t", [value, [1]]))) == (value, "t", [value, [1]])


def test_what_the_decoder_is_given() -> None:
    seen.clear()
    handle = registry(json=(loads, json.dumps)).lookup_or_text(JSONB)
    assert handle.decode(b'\1{"a": 1}') == {"a": 1} and seen == [b'{"a": 1}']
    given: list[Any] = []
    registry(json=(given.append, json.dumps)).lookup_or_text(JSON).decode(b"[]")
    assert type(given[0]) is bytes


@each_library
@pytest.mark.parametrize("oid", [JSON, JSONB])
def test_malformed_json(library: Any, oid: int) -> None:
    handle = registry(json=library).lookup_or_text(oid)
    data = handle.encode({"a": [1, "x"]})
    for n in range(len(data)):
        # Cut short it is no JSON, which is of that value alone; without its version byte it is no jsonb.
        with pytest.raises((UnrepresentableValueError, ProtocolError)):
            handle.decode(data[:n])
    with pytest.raises(UnrepresentableValueError, match="value of type json"):
        handle.decode((b"\1" if oid == JSONB else b"") + b'"\xff"')


@each_library
def test_what_is_no_json(library: Any) -> None:
    for oid in (JSON, JSONB):
        handle = registry(json=library).lookup_or_text(oid)
        with pytest.raises((TypeError, ValueError), match="cannot be encoded as json"):
            handle.encode(object())
    wrong = registry(json=(json.loads, lambda value: 5)).lookup_or_text(JSON)
    with pytest.raises(TypeError, match="expected to return str or bytes, got int"):
        wrong.encode({})


def test_functions_that_raise_what_they_should_not() -> None:
    def stop(value: Any) -> Any:
        raise StopIteration

    def broken(value: Any) -> Any:
        raise ProtocolError("mine")

    for function in (stop, broken):
        handle = registry(json=(function, function)).lookup_or_text(JSON)
        with pytest.raises(UnrepresentableValueError):
            handle.decode(b"1")
        with pytest.raises(ValueError, match="cannot be encoded"):
            handle.encode(1)


def test_str_stays_the_default() -> None:
    assert decode(JSONB, b"\1[1]") == "[1]"
    assert registry().lookup_or_text(JSONB).decode(b"\1[1]") == "[1]"
    for off in (None, False):
        assert registry(json=off).lookup_or_text(JSON).decode(b"[1]") == "[1]"


@pytest.mark.parametrize("value", ["é", "[]"])
def test_jsonb_in_another_encoding(value: str) -> None:
    latin = Registry()
    latin.set_encoding("LATIN1")
    for oid, head in ((JSON, b""), (JSONB, b"\1"), (4072, b"\1")):
        handle = latin.lookup_or_text(oid)
        assert handle.encode(value) == head + value.encode("latin-1")
        assert handle.decode(head + value.encode("latin-1")) == value


# ---------------------------------------------------------------------- integers

@pytest.mark.parametrize("oid", INTEGERS)
def test_strict_integers(oid: int) -> None:
    handle = registry(strict_numbers=True).lookup_or_text(oid)
    # Before Python 3.11 a Fraction is refused as what is no number is: there is no int of it.
    fractions = (Fraction(3, 2), Fraction(5)) if hasattr(Fraction, "__int__") else ()
    for value in (1.9, 0.5, Decimal("1.9"), Decimal("1E-5"), *fractions[:1]):
        with pytest.raises(ValueError, match="whole number.*strict_numbers"):
            handle.encode(value)
    for value in ("1.5", "1", b"1", None, [1], 1j):
        with pytest.raises(TypeError):
            handle.encode(value)
    for value in (float("nan"), float("inf"), Decimal("NaN"), Decimal("1E+999999"), 2**70):
        with pytest.raises((ValueError, OverflowError)):
            handle.encode(value)
    # What is a whole number loses nothing; bool is an int in Python.
    for value in (5, 5.0, Decimal("5.00"), Decimal(5), *fractions[1:]):
        assert handle.encode(value) == encode(oid, 5)
    assert handle.encode(True) == encode(oid, 1)
    assert handle.decode(encode(oid, 7)) == 7
    assert encode(oid, 1.9) == encode(oid, 1), "the default cuts off"


def test_strict_integers_inside_containers() -> None:
    types = registry(strict_numbers=True)
    for oid, good, bad in (
        (1007, [1, None, 2.0], [1, 1.5]),
        (3904, types_range(1, 5), types_range(1, 5.5)),
        (4451, [types_range(1, 5)], [types_range(1.5, 5)]),
    ):
        handle = types.lookup_or_text(oid)
        assert handle.decode(handle.encode(good)) == decode(oid, encode(oid, good))
        with pytest.raises(ValueError, match="whole number"):
            handle.encode(bad)


def types_range(lower: Any, upper: Any) -> Any:
    return types.Range(lower, upper)


# -------------------------------------------------------------------------- uuid

@given(st.uuids())
def test_plain_uuids(value: uuid.UUID) -> None:
    handle = registry(plain_uuid=True).lookup_or_text(2950)
    back = handle.decode(value.bytes)
    assert type(back) is uuid.UUID and back == value and hash(back) == hash(value)
    assert (back.int, back.bytes, back.is_safe, str(back)) == (value.int, value.bytes, value.is_safe, str(value))
    assert pickle.loads(pickle.dumps(back)) == copy.deepcopy(back) == value
    assert handle.encode(back) == value.bytes
    with pytest.raises(TypeError):
        back.int = 5  # type: ignore[misc]
    both = registry(plain_uuid=True).lookup_or_text(2951)
    assert [type(item) for item in both.decode(both.encode([value, None]))] == [uuid.UUID, type(None)]


# ------------------------------------------------------------- dates out of range

def at(days: int, us: int = 0) -> bytes:
    return struct.pack("!q", days * DAY + us)


OUT_OF_RANGE = [
    (DATE, struct.pack("!i", -730120), "0001-12-31 BC", datetime.date.min),
    (DATE, struct.pack("!i", 2921940), "10000-01-01", datetime.date.max),
    (TIME, struct.pack("!q", DAY), "24:00:00", datetime.time.max),
    (TIMETZ, struct.pack("!qi", DAY, -3600), "24:00:00+01",
     datetime.time.max.replace(tzinfo=datetime.timezone(datetime.timedelta(hours=1)))),
    (TIMETZ, struct.pack("!qi", DAY, 5 * 3600 + 1830), "24:00:00-05:30:30",
     datetime.time.max.replace(tzinfo=datetime.timezone(datetime.timedelta(seconds=-5 * 3600 - 1830)))),
    (TIMESTAMP, at(-730120, 1), "0001-12-31 00:00:00.000001 BC", datetime.datetime.min),
    (TIMESTAMP, at(2921940), "10000-01-01 00:00:00", datetime.datetime.max),
    (TIMESTAMPTZ, at(-730120, 500_000), "0001-12-31 00:00:00.5+00 BC", datetime.datetime.min.replace(tzinfo=UTC)),
    (TIMESTAMPTZ, at(2921940), "10000-01-01 00:00:00+00", datetime.datetime.max.replace(tzinfo=UTC)),
    (INTERVAL, struct.pack("!qii", -1, 2**31 - 1, -14), "-1 years -2 mons +2147483647 days -00:00:00.000001",
     datetime.timedelta.max),
    (INTERVAL, struct.pack("!qii", 0, -(2**31), 0), "-2147483648 days", datetime.timedelta.min),
    (INTERVAL, struct.pack("!qii", 3_600_000_000, 0, -(2**31)), "-178956970 years -8 mons +01:00:00",
     datetime.timedelta.min),
]  # fmt: skip
each_value = pytest.mark.parametrize("oid, wire, text, nearest", OUT_OF_RANGE)


@each_value
def test_an_error_that_asyncpgs_users_catch(oid: int, wire: bytes, text: str, nearest: Any) -> None:
    for error in (UnrepresentableValueError, ValueError, OverflowError):
        with pytest.raises(error) as caught:
            decode(oid, wire)
        assert str(caught.value).endswith(f": {text}") and caught.value.value == text  # type: ignore[attr-defined]


@each_value
def test_as_text(oid: int, wire: bytes, text: str, nearest: Any) -> None:
    handle = registry(out_of_range="text").lookup_or_text(oid)
    assert handle.decode(wire) == text
    assert handle.encode(text) == wire, "it goes back as it came"
    with pytest.raises(ValueError, match="as DateStyle ISO"):
        handle.encode("nonsense")


@each_value
def test_as_the_nearest(oid: int, wire: bytes, text: str, nearest: Any) -> None:
    value = registry(out_of_range="clamp").lookup_or_text(oid).decode(wire)
    assert value == nearest and type(value) is type(nearest)


@pytest.mark.parametrize("mode", ["text", "clamp"])
def test_containers_follow_the_policy(mode: str) -> None:
    types = registry(out_of_range=mode)
    wire = struct.pack("!i", -730120)
    expected: Any = "0001-12-31 BC" if mode == "text" else datetime.date.min
    array = struct.pack("!iiIiii", 1, 0, DATE, 1, 1, 4) + wire
    assert types.lookup_or_text(1182).decode(array) == [expected]
    bounds = b"\2" + (struct.pack("!i", 4) + wire) + struct.pack("!ii", 4, 0)
    value = types.lookup_or_text(3912).decode(bounds)
    assert (value.lower, value.upper) == (expected, datetime.date(2000, 1, 1))
    record = struct.pack("!iIi", 1, DATE, 4) + wire
    assert types.lookup_or_text(2249).decode(record) == (expected,)
    types.add_types([
        TypeInfo(80001, "day", "public", "domain", element=DATE), TypeInfo(80004, "odd", "public", "scalar"),
        TypeInfo(80005, "wordy", "public", "composite", attributes=(("a", DATE), ("b", 80004), ("c", 80001))),
    ])  # fmt: skip
    wordy = types.lookup_or_text(80005)
    assert wordy.decode(b'("0001-12-31 BC",x,"0001-12-31 BC")') == (expected, "x", expected)


@pytest.mark.parametrize("mode", ["error", "text", "clamp"])
def test_values_in_range_are_the_same_under_every_policy(mode: str) -> None:
    types = registry(out_of_range=mode, max_is_infinity=True)
    for oid, strategy in (
        (DATE, st.dates(datetime.date(2, 1, 1), datetime.date(9999, 12, 30))),
        (TIME, st.times()), (TIMESTAMP, st.datetimes(datetime.datetime(2, 1, 1), datetime.datetime(9999, 1, 1))),
        (TIMESTAMPTZ, st.datetimes(datetime.datetime(2, 1, 1), datetime.datetime(9999, 1, 1), timezones=st.just(UTC))),
        (INTERVAL, st.timedeltas()),
    ):  # fmt: skip
        handle = types.lookup_or_text(oid)

        @given(strategy)
        def check(value: Any) -> None:
            assert handle.encode(value) == encode(oid, value)  # noqa: B023
            assert handle.decode(encode(oid, value)) == value  # noqa: B023

        check()
        data = handle.encode(example(oid))
        for n in range(len(data)):
            with pytest.raises(ProtocolError):
                handle.decode(data[:n])


def example(oid: int) -> Any:
    return {
        DATE: datetime.date(2020, 1, 1), TIME: datetime.time(1), TIMESTAMP: datetime.datetime(2020, 1, 1),
        TIMESTAMPTZ: datetime.datetime(2020, 1, 1, tzinfo=UTC), INTERVAL: datetime.timedelta(1),
    }[oid]  # fmt: skip


@pytest.mark.parametrize(
    "oid, value, infinite",
    [
        (DATE, datetime.date.max, "infinity"),
        (DATE, datetime.date.min, "-infinity"),
        (DATE, datetime.datetime.max, "infinity"),
        (DATE, datetime.date(9999, 12, 30), None),
        (TIMESTAMP, datetime.datetime.max, "infinity"),
        (TIMESTAMP, datetime.datetime.min, "-infinity"),
        (TIMESTAMP, datetime.date.min, "-infinity"),
        (TIMESTAMP, datetime.date.max, None),
        (TIMESTAMP, datetime.datetime(9999, 12, 31), None),
        (TIMESTAMPTZ, datetime.datetime.max, "infinity"),
        (TIMESTAMPTZ, datetime.datetime.min, "-infinity"),
        (TIMESTAMPTZ, datetime.datetime.max.replace(tzinfo=UTC), "infinity"),
        (TIMESTAMPTZ, datetime.datetime.min.replace(tzinfo=UTC), "-infinity"),
        (TIMESTAMPTZ, datetime.datetime.max.replace(tzinfo=datetime.timezone(datetime.timedelta(hours=1))), None),
        (TIMESTAMPTZ, datetime.date.max, None),
    ],
)  # fmt: skip
def test_the_largest_as_infinity(oid: int, value: Any, infinite: str | None) -> None:
    handle = registry(max_is_infinity=True).lookup_or_text(oid)
    sent = handle.encode(value)
    size = len(sent) * 8
    extremes = {(2 ** (size - 1) - 1).to_bytes(size // 8, "big"): "infinity",
                (-(2 ** (size - 1))).to_bytes(size // 8, "big", signed=True): "-infinity"}  # fmt: skip
    assert extremes.get(sent) == infinite
    if infinite is not None:
        assert handle.encode(handle.decode(sent)) == sent
    with pytest.raises((TypeError, AttributeError)):
        handle.encode("2020-01-01")


def test_infinite_intervals() -> None:
    for wire, plain in (
        (struct.pack("!qii", 2**63 - 1, 2**31 - 1, 2**31 - 1), datetime.timedelta.max),
        (struct.pack("!qii", -(2**63), -(2**31), -(2**31)), datetime.timedelta.min),
    ):
        value = decode(INTERVAL, wire)
        assert type(value) is types.InfinityInterval and "infinity" in repr(value)
        assert value == plain and hash(value) == hash(plain)
        assert encode(INTERVAL, value) == encode(INTERVAL, pickle.loads(pickle.dumps(value))) == wire
        assert encode(INTERVAL, plain) != wire


# -------------------------------------------------------------------- lower bounds

bounds = st.integers(-1000, 1000)


rows = st.lists(st.none() | st.integers(0, 9), min_size=2, max_size=2)


@given(st.lists(rows, min_size=1, max_size=3), bounds, bounds)
def test_arrays_with_lower_bounds(values: Any, first: int, second: int) -> None:
    for oid, convert in ((1007, int), (1009, str), (791, str)):     # binary, text in binary, text form
        handle = registry(array_bounds=True).lookup_or_text(oid)
        items = [[None if item is None else convert(item) for item in row] for row in values]
        value = types.Array(items, (first, second))
        back = handle.decode(handle.encode(value))
        assert type(back) is types.Array and back == items and back.lower_bounds == (first, second)
        assert type(back[0]) is list
        # Who does not ask for them, does not lose them when sending.
        assert encode(oid, value) == handle.encode(value) != encode(oid, items) or (first, second) == (1, 1)
        assert decode(oid, encode(oid, value)) == items and type(decode(oid, encode(oid, value))) is list
        assert handle.decode(encode(oid, items)).lower_bounds == (1, 1)


def test_arrays_at_the_edge() -> None:
    for oid in (1007, 791):
        handle = registry(array_bounds=True).lookup_or_text(oid)
        assert handle.decode(handle.encode([])) == [] and handle.decode(handle.encode([])).lower_bounds == ()
        assert handle.encode(types.Array([], (5,))) == encode(oid, [])
        with pytest.raises(ValueError, match="2 lower bounds for an array of 1 dimensions"):
            handle.encode(types.Array(["1"] if oid == 791 else [1], (1, 2)))
    with pytest.raises(OverflowError):
        encode(1007, types.Array([1], (2**40,)))
    assert registry(array_bounds=True).lookup_or_text(22).decode(encode(22, [1, 2])) == [1, 2]
    value = types.Array([1, 2], (0,))
    assert repr(value) == "Array([1, 2], (0,))"
    for twin in (copy.copy(value), copy.deepcopy(value), pickle.loads(pickle.dumps(value))):
        assert twin == value and twin.lower_bounds == (0,) and type(twin) is types.Array


def test_bounds_inside_containers() -> None:
    knowledge = TypeKnowledge()
    knowledge.add([
        TypeInfo(80001, "ints", "public", "domain", element=1007), TypeInfo(80004, "odd", "public", "scalar"),
        TypeInfo(80005, "wordy", "public", "composite", attributes=(("a", 1007), ("b", 80004), ("c", 80001))),
    ])  # fmt: skip
    handle = Registry(knowledge, None, CodecOptions(array_bounds=True)).lookup_or_text(80005)
    value = types.Array([1, 2], (0,))
    back = handle.decode(handle.encode((value, "x", value)))
    assert [item.lower_bounds for item in (back[0], back[2])] == [(0,), (0,)]


# ------------------------------------------------------------------ the options

@pytest.mark.parametrize(
    "options, text",
    [
        ({"json": "simplejson"}, "json is expected to be None, True, 'stdlib', 'orjson', 'msgspec', a pair"),
        ({"json": (json.loads,)}, "a pair of functions"),
        ({"json": (1, 2)}, "a pair of functions"),
        ({"json": 5}, "an object that has them, got 5"),
        ({"strict_numbers": 1}, "strict_numbers is expected to be True or False, got 1"),
        ({"plain_uuid": "yes"}, "plain_uuid is expected"),
        ({"array_bounds": None}, "array_bounds is expected"),
        ({"max_is_infinity": "no"}, "max_is_infinity is expected"),
        ({"out_of_range": "raise"}, "out_of_range is expected to be one of 'error', 'text', 'clamp', got 'raise'"),
    ],
)  # fmt: skip
def test_wrong_options(options: Any, text: str) -> None:
    with pytest.raises(ClientConfigurationError) as caught:
        CodecOptions(**options)
    assert text in str(caught.value)


def test_a_library_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "orjson", None)
    with pytest.raises(ClientConfigurationError, match="json='orjson' needs the package"):
        CodecOptions(json="orjson")


def test_no_option_is_no_change() -> None:
    assert CodecOptions().changes_nothing
    assert not CodecOptions(json=True).changes_nothing and not CodecOptions(array_bounds=True).changes_nothing
    assert repr(registry().lookup(1007)) == repr(Registry().lookup(1007))
    for options in ("strict_numbers", "plain_uuid", "max_is_infinity"):
        assert not CodecOptions(**{options: True}).changes_nothing  # type: ignore[arg-type]
    assert not CodecOptions(out_of_range="text").changes_nothing
