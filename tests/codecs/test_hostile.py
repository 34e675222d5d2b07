# SPDX-License-Identifier: MIT
"""Bytes and objects with which the fuzzing has broken a codec."""

from __future__ import annotations

import datetime
import struct
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest

from fastpg.codecs.codec import decode, encode
from fastpg.codecs.registry import Registry
from fastpg.exceptions import ProtocolError, UnrepresentableValueError
from fastpg.protocol.operation import Execute, StatementPlan
from fastpg.protocol.row import RowPlan
from fastpg.protocol.session import Session
from fastpg.sinks.record import RecordSink
from tests import messages as m

POINT, LSEG, BOX, LINE, CIRCLE = 600, 601, 603, 628, 718
DATE, TIME, TIMETZ, TIMESTAMP, TIMESTAMPTZ, INTERVAL, CIDR = 1082, 1083, 1266, 1114, 1184, 1186, 650
RECORD, RECORD_ARRAY = 2249, 2287
UTC = datetime.timezone.utc


@pytest.mark.parametrize("oid", [POINT, LSEG, BOX, LINE, CIRCLE])
@pytest.mark.parametrize("value", [(), [], (1.0,), [1.0], [(1.0,), [2.0]], ([], ())])
def test_too_few_coordinates(oid: int, value: Any) -> None:
    with pytest.raises((IndexError, TypeError)):
        encode(oid, value)


@pytest.mark.parametrize("bits", [0, 8, 31])
def test_cidr_with_host_bits(bits: int) -> None:
    with pytest.raises(ProtocolError, match="host bits"):
        decode(CIDR, bytes([2, bits, 1, 4, 10, 1, 2, 3]))
    with pytest.raises(ProtocolError, match="host bits"):
        decode(CIDR, bytes([3, bits, 1, 16]) + b"\x01" * 16)


@pytest.mark.parametrize("oid", [TIMESTAMP, TIMESTAMPTZ])
def test_the_smallest_timestamp(oid: int) -> None:
    # -2**63 is -infinity; its neighbour overflowed on the way to days and a rest.
    with pytest.raises(UnrepresentableValueError, match="BC"):
        decode(oid, struct.pack("!q", -(2**63) + 1))


def test_intervals_at_the_ends() -> None:
    with pytest.raises(UnrepresentableValueError, match="-2562047788:00:54.775808"):
        decode(INTERVAL, struct.pack("!qii", -(2**63), -(2**31), 2**31 - 1))
    expected = datetime.timedelta(microseconds=-(2**63))
    assert decode(INTERVAL, struct.pack("!qii", -(2**63), 0, 0)) == expected


def duck(**fields: Any) -> Any:
    return SimpleNamespace(**{"hour": 0, "minute": 0, "second": 0, "microsecond": 0, "tzinfo": None, **fields})


def test_a_time_that_is_minus_one() -> None:
    assert encode(TIME, duck(microsecond=-1)) == b"\xff" * 8
    with pytest.raises(OverflowError):
        encode(TIME, duck(hour=2**70))


@pytest.mark.parametrize("offset", ["x", 3, object()])
def test_an_offset_that_is_no_timedelta(offset: Any) -> None:
    class Moment(datetime.datetime):
        def utcoffset(self) -> Any:
            return offset

    with pytest.raises(TypeError, match="utcoffset"):
        encode(TIMETZ, duck(utcoffset=lambda: offset))
    with pytest.raises(TypeError, match="utcoffset"):
        encode(TIMESTAMPTZ, Moment(2024, 1, 1, tzinfo=datetime.timezone(datetime.timedelta(hours=1))))


def test_a_datetime_that_becomes_something_else() -> None:
    class Moment(datetime.datetime):
        def astimezone(self, tz: Any = None) -> Any:
            return 5

    with pytest.raises(TypeError, match="int"):
        encode(TIMESTAMPTZ, Moment(2024, 1, 1))


@pytest.mark.parametrize("ordinal", [2**40, -(2**63), 2**70])
def test_a_date_out_of_range(ordinal: int) -> None:
    with pytest.raises(OverflowError):
        encode(DATE, SimpleNamespace(toordinal=lambda: ordinal))


@pytest.mark.parametrize("name", ["seconds", "microseconds", "hours", "years"])
def test_an_interval_out_of_range(name: str) -> None:
    names = ("days", "seconds", "microseconds", "years", "months", "hours", "minutes")
    with pytest.raises(OverflowError):
        encode(INTERVAL, SimpleNamespace(**dict.fromkeys(names, 0) | {name: 2**63}))


@pytest.mark.parametrize("oid", [21, 23, 20, 26, 5069, 3220])
@pytest.mark.parametrize("text", ["1E+999999", "-1E+999999", "1E+21", "99999999999999999999"])
def test_a_decimal_that_is_no_integer_of_ours(oid: int, text: str) -> None:
    # To make an int of the first takes minutes.
    with pytest.raises(OverflowError):
        encode(oid, Decimal(text))
    for element in ((Decimal(text), 1), (1, Decimal(text))):
        with pytest.raises(OverflowError):
            encode(27, element)
    assert encode(20, Decimal("7.9")) == struct.pack("!q", 7)


@pytest.mark.parametrize("encoding, data", [("UTF8", b"a\xffb"), ("EUC_JP", b"\xa4")])
def test_text_for_a_users_decoder_that_is_no_text(encoding: str, data: bytes) -> None:
    registry = Registry()
    registry.set_encoding(encoding)
    registry.set_python(25, "text", str, str, "text")
    handle = registry.lookup(25)
    column = (b"a", 0, 0, 25, -1, -1, 0)
    statement = StatementPlan("select", b"s", (), (), RowPlan((column,), (handle,)))
    session, outcome = Session(), Outcome()
    session.submit(Execute(statement, (), RecordSink(None), outcome))
    session.feed(m.bind_complete() + m.data_row(data) + m.command_complete("SELECT 1") + m.ready())
    assert isinstance(outcome.error, UnrepresentableValueError) and "'a'" in str(outcome.error)
    assert session.failure is None and session.pending == 0


class Outcome:
    """A waiter."""

    error: BaseException | None = None

    def done(self) -> bool:
        return self.error is not None

    def set_result(self, value: Any) -> None:
        raise AssertionError(value)

    def set_exception(self, error: BaseException) -> None:
        self.error = error


def nested(depth: int) -> bytes:
    """A record in a record in a record ..."""
    levels = (struct.pack("!iIi", 1, RECORD, 4 + 12 * below) for below in range(depth - 1, -1, -1))
    return b"".join(levels) + struct.pack("!i", 0)


@pytest.mark.parametrize("depth", [200, 1_000, 100_000])
def test_records_too_deep_for_the_stack(depth: int) -> None:
    array = struct.pack("!iiIii", 1, 0, RECORD, 1, 1) + struct.pack("!i", len(nested(depth))) + nested(depth)
    for oid, payload in ((RECORD, nested(depth)), (RECORD_ARRAY, array)):
        with pytest.raises(UnrepresentableValueError, match="nested more than 200 levels deep"):
            decode(oid, payload)
        # The levels are counted back.
        value = decode(RECORD, nested(199))
        for _ in range(199):
            (value,) = value
        assert value == ()
