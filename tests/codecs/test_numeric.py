# SPDX-License-Identifier: MIT
"""numeric and Decimal."""

from __future__ import annotations

import decimal
import struct
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastpg.codecs.numeric  # noqa: F401
from fastpg.codecs.codec import decode, encode
from fastpg.exceptions import ProtocolError
from tests.strategies import decimals

NUMERIC = 1700


def wire(digits: list[int], weight: int, sign: int, scale: int) -> bytes:
    return struct.pack(f">HhHH{len(digits)}H", len(digits), weight, sign, scale, *digits)


def reference(digits: list[int], weight: int, sign: int, scale: int) -> Decimal:
    """What the format means, in the plainest arithmetic; digits beyond the scale are cut off."""
    with decimal.localcontext() as context:
        context.prec = decimal.MAX_PREC
        units = sum(digit * 10 ** (4 * (len(digits) - 1 - i)) for i, digit in enumerate(digits))
        shift = 4 * (weight - len(digits) + 1) + scale
        units = units * 10**shift if shift >= 0 else units // 10**-shift
        return Decimal((sign == 0x4000, tuple(map(int, str(units))), -scale))


@settings(max_examples=200, deadline=None)
@given(
    digits=st.lists(st.sampled_from([0, 1, 9, 10, 500, 1000, 9999]), max_size=7),
    weight=st.integers(-6, 8),
    sign=st.sampled_from([0, 0x4000]),
    scale=st.integers(0, 30),
)
def test_decode_against_arithmetic(digits: list[int], weight: int, sign: int, scale: int) -> None:
    value = decode(NUMERIC, wire(digits, weight, sign, scale))
    assert value == reference(digits, weight, sign, scale)
    assert value.as_tuple().exponent == -scale


@settings(max_examples=200, deadline=None)
@given(value=decimals)
def test_canonical(value: Decimal) -> None:
    payload = encode(NUMERIC, value)
    count, _, _, scale = struct.unpack(">HhHH", payload[:8])
    digits = struct.unpack(f">{count}H", payload[8:])
    assert all(digit < 10000 for digit in digits)
    if digits:
        assert digits[0] and digits[-1]
    if value.is_finite():
        exponent = value.as_tuple().exponent
        assert isinstance(exponent, int)
        assert scale == max(0, -exponent)
        assert decode(NUMERIC, payload) == value


@pytest.mark.parametrize("text", ["0", "0.00", "1", "1.00000", "10000", "0.0001", "-0.10", "1234567.89", "123456.7890"])
def test_scale_is_kept(text: str) -> None:
    assert str(decode(NUMERIC, encode(NUMERIC, Decimal(text)))) == text


def test_the_context_has_no_say() -> None:
    value = Decimal("-1234567.89")
    payload = encode(NUMERIC, value)
    long = Decimal("1234567890123456789012345.6789")
    with decimal.localcontext(decimal.Context(prec=1, Emin=0, Emax=0, capitals=0, traps=[decimal.Inexact])):
        assert decode(NUMERIC, payload).as_tuple() == value.as_tuple()
        assert encode(NUMERIC, value) == payload
        assert decode(NUMERIC, encode(NUMERIC, long)).as_tuple() == long.as_tuple()
        assert encode(NUMERIC, Decimal("1E+20")) == encode(NUMERIC, 10**20)
    with decimal.localcontext(decimal.Context(traps=[])), pytest.raises(decimal.InvalidOperation):
        encode(NUMERIC, "abc")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1, "1"),
        (True, "1"),
        (2**63, str(2**63)),
        (-(2**63), str(-(2**63))),
        (10**16, "10000000000000000"),
        (1.1, "1.100000000000000088817841970012523233890533447265625"),
        ("1.50", "1.50"),
        (" 1_000 ", "1000"),
        ((0, (1, 2, 3), -1), "12.3"),
        (float("nan"), "NaN"),
        ("sNaN12", "NaN"),
        ("-NaN", "NaN"),
        (float("-inf"), "-Infinity"),
        (Decimal("-0.00"), "0.00"),
        (Decimal("0E+5"), "0"),
        (Decimal("-1E+3"), "-1000"),
    ],
)
def test_accepted(value: Any, expected: str) -> None:
    assert str(decode(NUMERIC, encode(NUMERIC, value))) == expected


def test_subclass() -> None:
    class Money(Decimal):
        def __str__(self) -> str:
            return "money"

    assert decode(NUMERIC, encode(NUMERIC, Money("1.50"))) == Decimal("1.50")


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (Decimal("1E+131072"), "exponent is too large"),
        (Decimal("1E+999999"), "exponent is too large"),
        (Decimal("1E-16384"), "exponent is too small"),
        (Decimal("0E-16384"), "exponent is too small"),
        (Decimal("1E-999999"), "exponent is too small"),
        ("abc", "ConversionSyntax"),
        ("", "ConversionSyntax"),
    ],
)
def test_refused(value: Any, reason: str) -> None:
    with pytest.raises((ValueError, decimal.InvalidOperation), match=reason):
        encode(NUMERIC, value)


def test_refused_int() -> None:
    with pytest.raises(ValueError, match="exponent is too large"):
        encode(NUMERIC, 10**131072)


@pytest.mark.parametrize("value", [None, b"1", object(), {}])
def test_refused_types(value: Any) -> None:
    with pytest.raises(TypeError, match="conversion from"):
        encode(NUMERIC, value)


def test_limits() -> None:
    for value in (Decimal("9" * 131072), Decimal("1E-16383"), Decimal("9" * 131072 + "." + "9" * 16383)):
        assert decode(NUMERIC, encode(NUMERIC, value)) == value


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        wire([1], 0, 0, 0)[:-1],
        wire([1], 0, 0, 0) + b"\0",
        wire([1], 0, 0, 0) + b"\0\1",
        wire([10000], 0, 0, 0),
        wire([1, 1, 1, 1, 65535], 0, 0, 0),
        wire([1], 0, 0x4001, 0),
        wire([1], 0, 0x8000, 0),
        wire([1], 0, 0, 16384),
        wire([1], 0, 0, 65535),
        b"\xff\xff" + wire([], 0, 0, 0)[2:],
    ],
)
def test_malformed(payload: bytes) -> None:
    with pytest.raises(ProtocolError, match="malformed value of type numeric"):
        decode(NUMERIC, payload)


def test_extreme_weights() -> None:
    assert decode(NUMERIC, wire([1], 32767, 0, 0)) == Decimal("1E+131068")
    assert decode(NUMERIC, wire([1], -32768, 0, 16383)) == 0
    assert decode(NUMERIC, wire([], 32767, 0x4000, 2)) == 0
