# SPDX-License-Identifier: MIT
"""Dates, times, intervals, addresses and shapes."""

from __future__ import annotations

import datetime
import ipaddress
import pickle
import struct
import time
from typing import Any

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastpg._temporal import InfinityDate, InfinityDatetime, Interval
from fastpg.codecs.codec import decode, encode
from fastpg.exceptions import ProtocolError, UnrepresentableValueError
from fastpg.types import Box, Circle, Line, LineSegment, Path, Point, Polygon

DATE, TIME, TIMETZ, TIMESTAMP, TIMESTAMPTZ, INTERVAL, INET, CIDR = 1082, 1083, 1266, 1114, 1184, 1186, 869, 650
UTC = datetime.timezone.utc
zones = st.integers(-86399, 86399).map(lambda s: datetime.timezone(datetime.timedelta(seconds=s)))
coordinate = st.floats(allow_nan=False)
points = st.tuples(coordinate, coordinate)

VALUES: dict[int, st.SearchStrategy[Any]] = {
    DATE: st.dates(),
    TIME: st.times(),
    TIMETZ: st.times(timezones=zones),
    TIMESTAMP: st.datetimes(),
    TIMESTAMPTZ: st.datetimes(timezones=st.just(UTC)),
    INTERVAL: st.timedeltas(),
    INET: st.ip_addresses()
    | st.tuples(st.ip_addresses(v=4), st.integers(0, 31)).map(lambda v: ipaddress.ip_interface((v[0].packed, v[1]))),
    CIDR: st.tuples(st.ip_addresses(), st.integers(0, 32)).map(
        lambda v: ipaddress.ip_network((v[0].packed, v[1]), strict=False)
    ),
    600: points.map(lambda v: Point(*v)),
    601: st.tuples(points, points).map(lambda v: LineSegment(*v)),
    602: st.lists(points, min_size=1).map(lambda v: Path(*v)),
    603: st.tuples(points, points).map(lambda v: Box(*v)),
    604: st.lists(points, min_size=1).map(lambda v: Polygon(*v)),
    628: st.tuples(coordinate, coordinate, coordinate).map(lambda v: Line(*v)),
    718: st.tuples(points, coordinate).map(lambda v: Circle(*v)),
}
each = pytest.mark.parametrize("oid", VALUES)


@each
def test_round_trip(oid: int) -> None:
    @settings(max_examples=200, deadline=None)
    @given(VALUES[oid])
    def check(value: Any) -> None:
        back = decode(oid, encode(oid, value))
        assert back == value
        assert type(back) is type(value) or isinstance(back, type(value))

    check()


@each
def test_truncations_and_bit_flips(oid: int) -> None:
    @settings(max_examples=30, deadline=None)
    @given(VALUES[oid], st.data())
    def check(value: Any, data: st.DataObject) -> None:
        wire = encode(oid, value)
        for n in range(len(wire)):
            with pytest.raises(ProtocolError):
                decode(oid, wire[:n])
        broken = bytearray(wire)
        broken[data.draw(st.integers(0, len(wire) - 1))] ^= 1 << data.draw(st.integers(0, 7))
        try:
            decode(oid, bytes(broken))
        except (ProtocolError, UnrepresentableValueError, ValueError):
            pass

    check()


@settings(max_examples=200, deadline=None)
@given(st.datetimes(datetime.datetime(2, 1, 1), datetime.datetime(9998, 1, 1), timezones=zones))
def test_other_zones(value: datetime.datetime) -> None:
    back = decode(TIMESTAMPTZ, encode(TIMESTAMPTZ, value))
    assert back == value and back.tzinfo is UTC


def test_infinity() -> None:
    for oid, raw, plain in (
        (DATE, struct.pack("!i", 2**31 - 1), datetime.date.max),
        (DATE, struct.pack("!i", -(2**31)), datetime.date.min),
        (TIMESTAMP, struct.pack("!q", 2**63 - 1), datetime.datetime.max),
        (TIMESTAMP, struct.pack("!q", -(2**63)), datetime.datetime.min),
        (TIMESTAMPTZ, struct.pack("!q", 2**63 - 1), datetime.datetime.max.replace(tzinfo=UTC)),
    ):
        value = decode(oid, raw)
        assert isinstance(value, (InfinityDate, InfinityDatetime)) and "infinity" in repr(value)
        assert value == plain and hash(value) == hash(plain)
        assert encode(oid, value) == raw
        assert encode(oid, pickle.loads(pickle.dumps(value))) == raw
        assert encode(oid, plain) != raw and decode(oid, encode(oid, plain)) == plain


def test_intervals_keep_their_months() -> None:
    wire = struct.pack("!qii", -5_000_000, 3, 14)
    value = decode(INTERVAL, wire)
    assert isinstance(value, Interval) and value.months == 14
    assert value == datetime.timedelta(days=365 + 60 + 3, seconds=-5)
    assert encode(INTERVAL, value) == wire and encode(INTERVAL, pickle.loads(pickle.dumps(value))) == wire
    negative = decode(INTERVAL, struct.pack("!qii", 0, 0, -14))
    assert negative == datetime.timedelta(days=-365 - 60)


@pytest.mark.parametrize(
    "oid, wire, text",
    [
        (DATE, struct.pack("!i", -730120), "0001-12-31 BC"),
        (DATE, struct.pack("!i", 2921940), "10000-01-01"),
        (TIME, struct.pack("!q", 86400000000), "24:00:00"),
        (TIMESTAMP, struct.pack("!q", -730120 * 86400000000 + 1), "0001-12-31 00:00:00.000001 BC"),
        (INTERVAL, struct.pack("!qii", 0, 2**31 - 1, 0), "days"),
    ],
)
def test_what_python_cannot_hold_is_named(oid: int, wire: bytes, text: str) -> None:
    with pytest.raises(UnrepresentableValueError, match=text):
        decode(oid, wire)


def test_intervals_of_many_months() -> None:
    for months, text in (2**31 - 1, "178956970 years 7 mons$"), (-(2**31), "-178956970 years -8 mons$"):
        with pytest.raises(UnrepresentableValueError, match=text):
            decode(INTERVAL, struct.pack("!qii", 0, 0, months))
    assert decode(INTERVAL, struct.pack("!qii", 0, 0, -1_200_000)) == datetime.timedelta(days=-36_500_000)


@pytest.mark.parametrize(
    "oid, value, error, text",
    [
        (DATE, "x", AttributeError, "'str' object has no attribute 'toordinal'"),
        (TIMESTAMP, "x", TypeError, "expected a datetime.date or datetime.datetime instance, got 'str'"),
        (TIMESTAMPTZ, 5, TypeError, "expected a datetime.date or datetime.datetime instance, got 'int'"),
        (TIMESTAMP, datetime.datetime(2020, 1, 1, tzinfo=UTC), TypeError,
         "can't subtract offset-naive and offset-aware datetimes"),
    ],
)  # fmt: skip
def test_wrong_values(oid: int, value: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        encode(oid, value)


class Undecided(datetime.tzinfo):
    """A zone of which no offset is known: Python counts such values as naive."""

    def utcoffset(self, dt: datetime.datetime | None) -> None:
        return None

    tzname = dst = utcoffset


def test_a_time_zone_without_an_offset() -> None:
    moment = datetime.datetime(2024, 2, 29, 13, 5)
    for oid in (TIMESTAMP, TIMESTAMPTZ):
        assert encode(oid, moment.replace(tzinfo=Undecided())) == encode(oid, moment)


def test_dates_from_datetimes_and_back() -> None:
    moment = datetime.datetime(2024, 2, 29, 13, 5)
    assert decode(DATE, encode(DATE, moment)) == datetime.date(2024, 2, 29)
    assert decode(TIMESTAMP, encode(TIMESTAMP, moment.date())) == datetime.datetime(2024, 2, 29)
    assert decode(TIMESTAMPTZ, encode(TIMESTAMPTZ, moment)) == moment.astimezone(UTC)


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="the time zone of a process is fixed here")
@pytest.mark.parametrize("zone, hours", [("UTC0", 0), ("EAST-9", 9), ("WEST5", -5)])
def test_the_first_and_the_last_local_times(zone: str, hours: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        for value in (datetime.datetime.min, datetime.datetime.max, datetime.date.min, datetime.date.max):
            local, utc = (int.from_bytes(encode(oid, value), "big", signed=True) for oid in (TIMESTAMP, TIMESTAMPTZ))
            assert local - utc == hours * 3600 * 10**6
    finally:
        monkeypatch.undo()
        time.tzset()


def test_paths_from_plain_sequences() -> None:
    assert decode(602, encode(602, ((1, 2), (3, 4)))).is_closed
    assert not decode(602, encode(602, [(1, 2), (3, 4)])).is_closed


@pytest.mark.parametrize(
    "oid, sql",
    [
        (DATE, "date '0001-01-01', date '1999-12-31', date '2000-02-29', date '9999-12-31', date '1600-02-29'"),
        (TIME, "time '00:00', time '23:59:59.999999', time '12:34:56'"),
        (TIMESTAMP, "timestamp '1969-12-31 23:59:59.5', timestamp '0001-01-01', timestamp '9999-12-31 23:59:59'"),
        (INET, "inet '1.2.3.4', inet '10.0.0.1/8', inet '::1', inet 'fe80::1/64'"),
        (CIDR, "cidr '10.0.0.0/8', cidr '::/0'"),
    ],
)
def test_as_the_server_writes_it(dsn: str, oid: int, sql: str) -> None:
    with psycopg.connect(dsn) as connection:
        columns = sql.split(", ")
        binary = connection.execute("SELECT " + sql, binary=True)
        text = connection.execute("SELECT " + ", ".join(f"({c})::text" for c in columns)).fetchone()
        assert text is not None and binary.pgresult is not None
        for i, expected in enumerate(text):
            wire = binary.pgresult.get_value(0, i)
            assert wire is not None
            value = decode(oid, wire)
            if oid == TIMESTAMP:
                assert value.isoformat(sep=" ").removesuffix(".000000").rstrip("0") == expected.rstrip("0")
            elif oid == INET:
                interface = ipaddress.ip_interface(expected)
                assert value == (interface.ip if interface.network.num_addresses == 1 else interface)
            else:
                assert str(value) == expected
            assert encode(oid, value) == wire
