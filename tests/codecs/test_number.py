# SPDX-License-Identifier: MIT
"""bool, integers, floating point: what the encoders take, and the reasons they give."""

from __future__ import annotations

import math
import struct
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

import fastpg.codecs.number  # noqa: F401
from fastpg.codecs.codec import decode, encode
from fastpg.exceptions import ProtocolError

BOOL, INT8, INT2, INT4, OID, FLOAT4, FLOAT8, XID8 = 16, 20, 21, 23, 26, 700, 701, 5069


class Index:
    def __index__(self) -> int:
        return 7


class Int:
    def __int__(self) -> int:
        return 8


class Broken:
    def __int__(self) -> int:
        raise RuntimeError("no")


@pytest.mark.parametrize("oid", [INT2, INT4, INT8, OID, XID8])
@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (True, 1),
        (1.9, 1),
        (Decimal("2.7"), 2),
        (Index(), 7),
        (Int(), 8),
    ],
)
def test_coercion(oid: int, value: Any, expected: int) -> None:
    assert decode(oid, encode(oid, value)) == expected


def test_negative_floats_truncate_towards_zero() -> None:
    assert decode(INT4, encode(INT4, -1.9)) == -1


@pytest.mark.parametrize(
    ("oid", "value", "error", "reason"),
    [
        (BOOL, 1, TypeError, "a boolean is required (got type int)"),
        (BOOL, "t", TypeError, "a boolean is required (got type str)"),
        (INT2, 2**15, OverflowError, "value out of int16 range"),
        (INT2, -(2**15) - 1, OverflowError, "value out of int16 range"),
        (INT2, math.inf, OverflowError, "value out of int16 range"),
        (INT4, 2**31, OverflowError, "value out of int32 range"),
        (INT4, 10**30, OverflowError, "value out of int32 range"),
        (INT4, 1e300, OverflowError, "value out of int32 range"),
        (INT4, "1", TypeError, "'str' object cannot be interpreted as an integer"),
        (INT4, [], TypeError, "'list' object cannot be interpreted as an integer"),
        (INT4, math.nan, ValueError, "cannot convert float NaN to integer"),
        (INT8, 2**63, OverflowError, "value out of int64 range"),
        (INT8, -(2**63) - 1, OverflowError, "value out of int64 range"),
        (OID, -1, OverflowError, "value out of uint32 range"),
        (OID, 2**32, OverflowError, "value out of uint32 range"),
        (OID, "1", TypeError, "an integer is required"),
        (XID8, 2**64, OverflowError, "value out of uint64 range"),
        (XID8, -1, OverflowError, "value out of uint64 range"),
        (FLOAT4, 1e39, ValueError, "value out of float32 range"),
        (FLOAT4, "1", TypeError, "must be real number, not str"),
        (FLOAT8, "1", TypeError, "must be real number, not str"),
        (FLOAT8, 10**400, OverflowError, "int too large to convert to float"),
    ],
)
def test_reasons(oid: int, value: Any, error: type[Exception], reason: str) -> None:
    with pytest.raises(error) as caught:
        encode(oid, value)
    assert str(caught.value) == reason


def test_an_error_of_the_value_itself_passes() -> None:
    with pytest.raises(RuntimeError, match="no"):
        encode(INT4, Broken())


def test_limits() -> None:
    for oid, bits in ((INT2, 16), (INT4, 32), (INT8, 64)):
        for value in (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1):
            assert encode(oid, value) == value.to_bytes(bits // 8, "big", signed=True)
    assert decode(OID, b"\xff\xff\xff\xff") == 2**32 - 1
    assert decode(XID8, b"\xff" * 8) == 2**64 - 1


def test_bool() -> None:
    assert decode(BOOL, b"\1") is True
    assert decode(BOOL, b"\0") is False
    with pytest.raises(ProtocolError):
        decode(BOOL, b"\2")


def test_float32_rounds_and_underflows() -> None:
    assert encode(FLOAT4, 0.1) == struct.pack(">f", 0.1)
    assert decode(FLOAT4, encode(FLOAT4, 1e-60)) == 0.0
    assert decode(FLOAT4, encode(FLOAT4, 3.40282356e38)) == 3.4028234663852886e38
    assert math.isinf(decode(FLOAT4, encode(FLOAT4, math.inf)))


def test_floats_take_real_numbers() -> None:
    for value, expected in ((1, 1.0), (Decimal("1.5"), 1.5), (Fraction(1, 4), 0.25), (True, 1.0), (Index(), 7.0)):
        assert decode(FLOAT8, encode(FLOAT8, value)) == expected
        assert decode(FLOAT4, encode(FLOAT4, value)) == expected
