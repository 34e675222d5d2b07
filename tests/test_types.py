# SPDX-License-Identifier: MIT
from __future__ import annotations

import copy
import pickle
import uuid
import weakref
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastpg.pgproto.types as pt
import fastpg.types as ft
from fastpg.pgproto._uuid import _make
from fastpg.pgproto.pgproto import UUID, pg_UUID

EXPRESSIONS = """
Range() ; Range(1, 5) ; Range(1, 5, upper_inc=True) ; Range(empty=True) ; Range(None, 5).lower_inc ; Range(5, None)
Range(None, 5).lower_inf ; Range(1, 5).upper_inf ; Range(empty=True).lower_inf ; Range(1, 2, empty=True).upper
bool(Range()) ; bool(Range(empty=True)) ; Range(1, 1).isempty ; Range(1, 5) == (1, 5) ; Range(1, 5) == Range(1, 5)
Range(1, 5) == Range(1, 5, lower_inc=False) ; Range(1, 5).nope ; Range(1, 5) < Range(2, 3) ; Range('a', 'b')
hash(Range(1, 5)) == hash(Range(1, 5)) ; Range(1, 5).lower ; Range(1, 5).upper ; Range(1, 5).isempty
BitString() ; BitString('0101 1') ; BitString('0101 1').as_string() ; BitString('012') ; BitString(b'01')
BitString('0101')[0] ; BitString('0101')[9] ; BitString('0101')[0:2] ; BitString('01').bytes
len(BitString('01011')) ; BitString('01') == BitString('010') ; BitString('01') == BitString(' 0 1')
BitString('01') == '01' ; list(BitString('0101')) ; BitString.frombytes(b'\\xff', 5) ; BitString.frombytes(b'\\xff')
BitString.frombytes(b'\\xff', 9) ; BitString.frombytes(None) ; BitString.from_int(5, 8) ; BitString.from_int(-5, 8)
BitString.from_int(-5, 8, signed=True) ; BitString.from_int(5, 2) ; BitString.from_int(5, 12, 'little')
BitString('1101').to_int(signed=True) ; BitString('110100000001').to_int('little') ; BitString('01').to_int('x')
BitString('110100000001').to_int('little', signed=True) ; BitString('').to_int() ; BitString('0101').to_int()
Point(1, 2) ; Point(1, 2).y ; Point('1', 2) ; Point(1, 2) == (1.0, 2.0) ; hash(Point(1, 2)) == hash((1.0, 2.0))
Box((1, 2), (3, 4)) ; Box((1, 2), (3, 4)).high ; Box((1, 2), (3, 4)).low ; LineSegment((1, 2), (3, 4)).p1
LineSegment((1, 2), (3, 4)) ; LineSegment((1, 2), (3, 4)).p2 ; Line(1, 2, 3) ; Line(1, 2, 3).A ; Line(1, 2, 3).B
Line(1, 2, 3).C ; Circle((1, 2), 3) ; Circle((1, 2), 3).center ; Circle((1, 2), 3).radius
Path((1, 2), (3, 4)).points ; Path((1, 2), is_closed=True).is_closed ; Path((1, 2))[0] ; Path((1, 2), (3, 4))[0:1]
list(Path((1, 2))) ; len(Path((1, 2))) ; Path((1, 2)) == Path((1, 2)) ; Path((1, 2)) == Path((1, 2), is_closed=True)
Polygon((1, 2)).is_closed ; Polygon((1, 2)) == Path((1, 2), is_closed=True) ; Path((1, 2)) == ((1, 2),)
Type(1, 'a', 'scalar', 's') ; Attribute('a', 1) ; ServerVersion(15, 1, 0, 'final', 0)
Type._fields ; Attribute._fields ; ServerVersion._fields
"""


def outcome(expression: str, module: Any) -> str:
    try:
        return repr(eval(expression, dict(vars(module)))).replace("asyncpg", "fastpg")
    except Exception as error:  # noqa: BLE001
        return f"{type(error).__name__}: {error}"


@pytest.mark.parametrize("expression", [e.strip() for e in EXPRESSIONS.replace("\n", ";").split(";") if e.strip()])
def test_same_as_asyncpg(expression: str) -> None:
    assert outcome(expression, ft) == outcome(expression, pytest.importorskip("asyncpg.types"))


def test_module_names() -> None:
    for name in pt.__all__:
        assert getattr(ft, name) is getattr(pt, name)
        assert getattr(pt, name).__module__ == "fastpg.pgproto.types"
    assert UUID is pg_UUID and UUID.__module__ == "fastpg.pgproto.pgproto"


@pytest.mark.parametrize(
    "value",
    [
        ft.Range(1, 5, upper_inc=True),
        ft.Range[int](empty=True),
        ft.BitString("0101 1"),
        ft.BitString(),
        ft.Point(1, 2),
        ft.Box((1, 2), (3, 4)),
        ft.LineSegment((1, 2), (3, 4)),
        ft.Line(1, 2, 3),
        ft.Circle(ft.Point(1, 2), 3),
        ft.Path((1, 2), (3, 4)),
        ft.Path((1, 2), is_closed=True),
        ft.Polygon((1, 2), (3, 4)),
        ft.Type(1, "a", "scalar", "s"),
    ],
    ids=repr,
)
def test_pickle_and_copy(value: Any) -> None:
    copies = [copy.copy(value), copy.deepcopy(value)]
    copies += [pickle.loads(pickle.dumps(value, p)) for p in range(2, pickle.HIGHEST_PROTOCOL + 1)]
    for again in copies:
        assert type(again) is type(value) and again == value and hash(again) == hash(value)


BOUND = st.none() | st.integers(0, 4)
RANGES = st.builds(ft.Range, BOUND, BOUND, lower_inc=st.booleans(), upper_inc=st.booleans(), empty=st.booleans())


@settings(max_examples=200)
@given(RANGES, RANGES)
def test_subset_means_every_value(a: ft.Range[int], b: ft.Range[int]) -> None:
    def holds(r: ft.Range[int], x: float) -> bool:
        if r.isempty:
            return False
        low = r.lower is None or (x >= r.lower if r.lower_inc else x > r.lower)
        return low and (r.upper is None or (x <= r.upper if r.upper_inc else x < r.upper))

    values = [x / 4 for x in range(-4, 24)]
    if a.issubset(b):
        assert all(holds(b, x) for x in values if holds(a, x))
    elif any(holds(a, x) for x in values):
        assert not all(holds(b, x) for x in values if holds(a, x))
    assert b.issuperset(a) == a.issubset(b)


def test_range_is_read_only() -> None:
    with pytest.raises(AttributeError):
        ft.Range(1, 2).lower = 3  # type: ignore[misc]
    with pytest.raises(AttributeError):
        ft.Path((1, 2)).points = ()
    with pytest.raises(AttributeError):
        ft.BitString("1").x = 1  # type: ignore[attr-defined]


@settings(max_examples=200)
@given(st.text("01", max_size=40), st.sampled_from(["big", "little"]), st.booleans())
def test_bit_string_round_trips(text: str, order: Any, signed: bool) -> None:
    bits = ft.BitString(text)
    assert [str(bit) for bit in bits] == list(text)
    assert bits.as_string().replace(" ", "") == text
    assert ft.BitString.frombytes(bits.bytes, len(bits)) == bits
    assert ft.BitString.from_int(bits.to_int(order, signed=signed), len(bits), order, signed=signed) == bits


def test_bit_string_limits() -> None:
    for x, length in ((8, 4), (-9, 4), (1, 0), (-1, 0)):
        with pytest.raises(OverflowError):
            ft.BitString.from_int(x, length, signed=True)
    with pytest.raises(ValueError, match="length"):
        ft.BitString.from_int(0, -1)
    with pytest.raises(ValueError, match="invalid bit length"):
        ft.BitString.frombytes(b"ab", 8)
    # A negative index counts from the last bit; in asyncpg it counts from the last bit of the padded byte.
    assert [ft.BitString("01011")[i] for i in range(-5, 0)] == [0, 1, 0, 1, 1]
    with pytest.raises(IndexError):
        ft.BitString("01011")[-6]
    # Bits beyond the length do not count.
    assert ft.BitString.frombytes(b"\xff", 4) == ft.BitString("1111")


RAW = bytes(range(16))


@pytest.mark.parametrize("made", [_make(RAW), UUID(RAW), UUID(str(uuid.UUID(bytes=RAW))), UUID(RAW.hex())])
def test_uuid_is_a_uuid(made: UUID) -> None:
    plain = uuid.UUID(bytes=RAW)
    assert type(made) is UUID and isinstance(made, uuid.UUID)
    assert made == plain and plain == made and hash(made) == hash(plain) and (made != plain) is False
    assert {plain: 1}[made] == 1 and len({made, plain}) == 1
    for name in ("bytes", "bytes_le", "int", "hex", "fields", "urn", "version", "variant", "time", "node", "is_safe"):
        assert getattr(made, name) == getattr(plain, name), name
    assert str(made) == str(plain) and repr(made) == repr(plain) and int(made) == int(plain)
    assert made != 1 and made != str(made)
    greater = uuid.UUID(int=plain.int + 1)
    assert made < greater and greater > made and made <= plain and _make(greater.bytes) > made
    assert made.bytes == RAW
    weakref.ref(made)
    with pytest.raises(TypeError, match="immutable"):
        made.int = 3  # type: ignore[misc]
    for again in (copy.copy(made), copy.deepcopy(made), *(pickle.loads(pickle.dumps(made, p)) for p in range(6))):
        assert type(again) is UUID and again == plain


@pytest.mark.parametrize("bad", ["zz", "0" * 31 + "z", "0" * 31 + " ", "0" * 33, "{" + "0" * 32 + "}", b"1", ""])
def test_bad_uuid(bad: str | bytes) -> None:
    with pytest.raises(ValueError, match="UUID|16 bytes"):
        UUID(bad)


def test_uuid_of_other_types() -> None:
    with pytest.raises(TypeError, match="a bytes or str object expected, got 3"):
        UUID(3)  # type: ignore[arg-type]


def test_uuid_in_pydantic() -> None:
    pydantic = pytest.importorskip("pydantic")
    adapter = pydantic.TypeAdapter(uuid.UUID)
    assert adapter.validate_python(_make(RAW)) == uuid.UUID(bytes=RAW)
    assert adapter.dump_json(_make(RAW)) == f'"{uuid.UUID(bytes=RAW)}"'.encode()
