# SPDX-License-Identifier: MIT
# date, time, timetz, timestamp, timestamptz, interval: C conversions between PostgreSQL's counts from 2000-01-01 and
# the fields of Python's objects, which are made through the datetime C API. No arithmetic on Python objects but for
# naive values of a timestamptz, which are local. May import: wire, codec, calendar.h, _temporal.

import datetime as datetime_module

from cpython.datetime cimport (
    PyDate_Check, PyDateTime_Check, PyDelta_Check, PyTime_Check, date_new, datetime_new, datetime_tzinfo,
    import_datetime, time_new, timedelta_days, timedelta_microseconds, timedelta_new, timedelta_seconds, timezone_new,
)
from libc.stdint cimport (
    INT32_MAX, INT32_MIN, INT64_MAX, INT64_MIN, int16_t, int32_t, int64_t, uint8_t, uint32_t, uint64_t,
)

from fastpg.codecs.codec cimport (
    CODEC_ATOMIC, FORMAT_BINARY, KIND_DATE, KIND_INTERVAL, KIND_TIME, KIND_TIMESTAMP, KIND_TIMESTAMPTZ, KIND_TIMETZ,
    Codec, Kind, decode_fn, encode_fn, malformed, out_of_range, register,
)
from fastpg.wire cimport Out, load_i32, load_i64, out_need, put_u32, put_u64

from fastpg._temporal import (
    DATE_INFINITY, DATE_MINUS_INFINITY, INTERVAL_INFINITY, INTERVAL_MINUS_INFINITY, TIMESTAMP_INFINITY,
    TIMESTAMP_MINUS_INFINITY, TIMESTAMPTZ_INFINITY, TIMESTAMPTZ_MINUS_INFINITY, InfinityDate, InfinityDatetime,
    InfinityInterval, Interval,
)

cdef extern from "calendar.h" nogil:
    int64_t days_from_civil(int64_t year, int month, int day)
    void civil_from_days(int64_t days, int64_t *year, int *month, int *day)
    int64_t floor_div(int64_t a, int64_t b)
    int64_t floor_mod(int64_t a, int64_t b)

cdef extern from "datetime.h":
    int PyDateTime_GET_YEAR(object o)
    int PyDateTime_GET_MONTH(object o)
    int PyDateTime_GET_DAY(object o)
    int PyDateTime_DATE_GET_HOUR(object o)
    int PyDateTime_DATE_GET_MINUTE(object o)
    int PyDateTime_DATE_GET_SECOND(object o)
    int PyDateTime_DATE_GET_MICROSECOND(object o)
    int PyDateTime_TIME_GET_HOUR(object o)
    int PyDateTime_TIME_GET_MINUTE(object o)
    int PyDateTime_TIME_GET_SECOND(object o)
    int PyDateTime_TIME_GET_MICROSECOND(object o)

import_datetime()

cdef enum:
    FIRST_DAY = -730119         # 0001-01-01
    LAST_DAY = 2921939          # 9999-12-31

cdef int64_t US_PER_SECOND = 1000000
cdef int64_t US_PER_DAY = 86400000000

cdef object UTC = datetime_module.timezone.utc


cdef str date_text(int64_t days):
    # As the server writes it: year 0 is 1 BC.
    cdef int64_t year
    cdef int month, day
    civil_from_days(days, &year, &month, &day)
    if year > 0:
        return f"{year:04d}-{month:02d}-{day:02d}"
    return f"{1 - year:04d}-{month:02d}-{day:02d} BC"


cdef str time_text(uint64_t us):
    text = f"{us // 3600000000:02d}:{us // 60000000 % 60:02d}:{us // 1000000 % 60:02d}"
    return f"{text}.{us % 1000000:06d}".rstrip("0") if us % 1000000 else text


cdef str timestamp_text(int64_t us, str zone):
    cdef int64_t days = floor_div(us, US_PER_DAY)
    text = date_text(days)
    suffix = " BC" if text.endswith(" BC") else ""
    return f"{text.removesuffix(' BC')} {time_text(floor_mod(us, US_PER_DAY))}{zone}{suffix}"


cdef int put_date(Out *out, int64_t days) except -1:
    out_need(out, 8)
    put_u32(out, 4)
    put_u32(out, <unsigned int>days)
    return 0


cdef int put_int64(Out *out, int64_t value) except -1:
    out_need(out, 12)
    put_u32(out, 8)
    put_u64(out, <unsigned long long>value)
    return 0


# ------------------------------------------------------------------------ date

cdef object date_decode(const Codec *self, const char *p, Py_ssize_t n):
    cdef int32_t days = load_i32(p)
    cdef int64_t year
    cdef int month, day
    if days == INT32_MAX:
        return DATE_INFINITY
    if days == INT32_MIN:
        return DATE_MINUS_INFINITY
    if days < FIRST_DAY or days > LAST_DAY:
        return out_of_range(self, date_text(days))
    civil_from_days(days, &year, &month, &day)
    return date_new(<int>year, month, day)


cdef int date_encode(const Codec *self, Out *out, object value) except -1:
    if type(value) is InfinityDate or type(value) is InfinityDatetime:
        return put_date(out, INT32_MAX if value.year == 9999 else INT32_MIN)
    if PyDate_Check(value):
        return put_date(out, days_from_civil(PyDateTime_GET_YEAR(value), PyDateTime_GET_MONTH(value),
                                             PyDateTime_GET_DAY(value)))
    # 730120 is date(2000, 1, 1).toordinal(). The conversion to int32 has its check.
    cdef int32_t days = value.toordinal() - 730120
    return put_date(out, days)


# ------------------------------------------------------------------------ time

cdef str zone_text(int32_t west):
    text = f"{'-' if west > 0 else '+'}{abs(west) // 3600:02d}"
    if west % 3600:
        text += f":{abs(west) // 60 % 60:02d}"
    return f"{text}:{abs(west) % 60:02d}" if west % 60 else text


cdef object time_object(const Codec *self, int64_t us, object zone, int32_t west):
    cdef int64_t seconds
    if us < 0 or us > US_PER_DAY:
        return malformed(self, f"{us} microseconds")
    if us == US_PER_DAY:
        return out_of_range(self, "24:00:00" if zone is None else "24:00:00" + zone_text(west))
    seconds = us // US_PER_SECOND
    return time_new(<int>(seconds // 3600), <int>(seconds // 60 % 60), <int>(seconds % 60), <int>(us % US_PER_SECOND),
                    zone)


cdef object time_decode(const Codec *self, const char *p, Py_ssize_t n):
    return time_object(self, load_i64(p), None, 0)


cdef int64_t time_us(object value) except? -1:
    if not PyTime_Check(value):
        # Whatever offers the fields of a time will do.
        return ((value.hour * 60 + value.minute) * 60 + value.second) * 1000000 + value.microsecond
    return (<int64_t>(PyDateTime_TIME_GET_HOUR(value) * 60 + PyDateTime_TIME_GET_MINUTE(value)) * 60
            + PyDateTime_TIME_GET_SECOND(value)) * US_PER_SECOND + PyDateTime_TIME_GET_MICROSECOND(value)


cdef int time_encode(const Codec *self, Out *out, object value) except -1:
    return put_int64(out, time_us(value))


cdef object timetz_decode(const Codec *self, const char *p, Py_ssize_t n):
    # The zone is in seconds west of Greenwich.
    cdef int32_t west = load_i32(p + 8)
    if west <= -86400 or west >= 86400:
        return malformed(self, f"zone of {west} seconds")
    return time_object(self, load_i64(p), timezone_new(timedelta_new(0, -west, 0)), west)


cdef int require_delta(object offset) except -1:
    # What is no timedelta has no fields to read.
    if not PyDelta_Check(offset):
        raise TypeError(f"utcoffset() must give a datetime.timedelta, not {type(offset).__name__!r}")
    return 0


cdef int timetz_encode(const Codec *self, Out *out, object value) except -1:
    cdef int64_t us
    value.tzinfo                    # what has none is no time with a time zone
    us = time_us(value)
    offset = value.utcoffset()
    if offset is None:
        raise ValueError("a time with a time zone is expected: its tzinfo gives no offset")
    require_delta(offset)
    out_need(out, 16)
    put_u32(out, 12)
    put_u64(out, <unsigned long long>us)
    put_u32(out, <unsigned int><int32_t>-(timedelta_days(offset) * 86400 + timedelta_seconds(offset)))
    return 0


# ------------------------------------------------------------------- timestamps

cdef object timestamp_object(const Codec *self, int64_t us, object zone):
    cdef int64_t days = floor_div(us, US_PER_DAY)
    cdef int64_t rest = floor_mod(us, US_PER_DAY)
    cdef int64_t seconds, year
    cdef int month, day
    if days < FIRST_DAY or days > LAST_DAY:
        return out_of_range(self, timestamp_text(us, "" if zone is None else "+00"))
    civil_from_days(days, &year, &month, &day)
    seconds = rest // US_PER_SECOND
    return datetime_new(<int>year, month, day, <int>(seconds // 3600), <int>(seconds // 60 % 60), <int>(seconds % 60),
                        <int>(rest % US_PER_SECOND), zone)


cdef object timestamp_decode(const Codec *self, const char *p, Py_ssize_t n):
    cdef int64_t us = load_i64(p)
    if us == INT64_MAX:
        return TIMESTAMP_INFINITY
    if us == INT64_MIN:
        return TIMESTAMP_MINUS_INFINITY
    return timestamp_object(self, us, None)


cdef object timestamptz_decode(const Codec *self, const char *p, Py_ssize_t n):
    cdef int64_t us = load_i64(p)
    if us == INT64_MAX:
        return TIMESTAMPTZ_INFINITY
    if us == INT64_MIN:
        return TIMESTAMPTZ_MINUS_INFINITY
    return timestamp_object(self, us, UTC)


cdef int64_t wall_us(object value) noexcept:
    # Microseconds from 2000-01-01 to the fields of a datetime, its zone left aside.
    cdef int64_t days = days_from_civil(PyDateTime_GET_YEAR(value), PyDateTime_GET_MONTH(value),
                                        PyDateTime_GET_DAY(value))
    cdef int64_t seconds = (PyDateTime_DATE_GET_HOUR(value) * 60 + PyDateTime_DATE_GET_MINUTE(value)) * 60 \
        + PyDateTime_DATE_GET_SECOND(value)
    return days * US_PER_DAY + seconds * US_PER_SECOND + PyDateTime_DATE_GET_MICROSECOND(value)


cdef int64_t midnight_us(object value) noexcept:
    return days_from_civil(PyDateTime_GET_YEAR(value), PyDateTime_GET_MONTH(value),
                           PyDateTime_GET_DAY(value)) * US_PER_DAY


cdef object refuse(object value):
    raise TypeError(f"expected a datetime.date or datetime.datetime instance, got {type(value).__name__!r}")


cdef int timestamp_encode(const Codec *self, Out *out, object value) except -1:
    if type(value) is InfinityDatetime or type(value) is InfinityDate:
        return put_int64(out, INT64_MAX if value.year == 9999 else INT64_MIN)
    if PyDateTime_Check(value):
        if datetime_tzinfo(value) is not None and value.utcoffset() is not None:
            raise TypeError("can't subtract offset-naive and offset-aware datetimes")
        return put_int64(out, wall_us(value))
    if PyDate_Check(value):
        return put_int64(out, midnight_us(value))
    refuse(value)


cdef object offset_of_neighbour(int year):
    # For Python itself looks for a change of the clocks around a local time, and not beyond its first and last year.
    return datetime_new(year, 1 if year == 1 else 12, 3 if year == 1 else 29, 0, 0, 0, 0, None).astimezone().utcoffset()


cdef int timestamptz_encode(const Codec *self, Out *out, object value) except -1:
    cdef int64_t us
    if type(value) is InfinityDatetime or type(value) is InfinityDate:
        return put_int64(out, INT64_MAX if value.year == 9999 else INT64_MIN)
    if not PyDateTime_Check(value):
        if not PyDate_Check(value):
            refuse(value)
        value = datetime_new(PyDateTime_GET_YEAR(value), PyDateTime_GET_MONTH(value), PyDateTime_GET_DAY(value),
                             0, 0, 0, 0, None)
    zone = datetime_tzinfo(value)
    if zone is UTC:
        return put_int64(out, wall_us(value))
    offset = value.utcoffset() if zone is not None else None
    if offset is None:
        # A naive value is local time.
        try:
            utc = value.astimezone(UTC)
        except (ValueError, OverflowError):
            if PyDateTime_GET_YEAR(value) != 1 and PyDateTime_GET_YEAR(value) != 9999:
                raise
            offset = offset_of_neighbour(PyDateTime_GET_YEAR(value))
        else:
            if not PyDateTime_Check(utc):
                refuse(utc)
            return put_int64(out, wall_us(utc))
    require_delta(offset)
    us = (timedelta_days(offset) * 86400 + timedelta_seconds(offset)) * US_PER_SECOND + timedelta_microseconds(offset)
    return put_int64(out, wall_us(value) - us)


# -------------------------------------------------------------------- interval

cdef str interval_text(int64_t us, int32_t days, int32_t months):
    # As IntervalStyle postgres writes it: what is positive behind what is negative has its sign.
    cdef bint negative = False
    cdef list parts = []
    for number, unit in ((months // 12, "year"), (months % 12, "mon"), (days, "day")):
        if number:
            parts.append(f"{'+' if negative and number > 0 else ''}{number} {unit}{'s' if number != 1 else ''}")
            negative = number < 0
    if us or not parts:
        sign = "-" if us < 0 else "+" if negative else ""
        parts.append(sign + time_text(0 - <uint64_t>us if us < 0 else us))
    return " ".join(parts)


cdef object interval_decode(const Codec *self, const char *p, Py_ssize_t n):
    cdef int64_t us = load_i64(p)
    cdef int32_t days = load_i32(p + 8)
    cdef int32_t months = load_i32(p + 12)
    cdef int64_t total, of_us
    if us == INT64_MAX and days == INT32_MAX and months == INT32_MAX:
        return INTERVAL_INFINITY
    if us == INT64_MIN and days == INT32_MIN and months == INT32_MIN:
        return INTERVAL_MINUS_INFINITY
    of_us = floor_div(us, US_PER_DAY)
    total = days + 365 * (<int64_t>months // 12) + 30 * (months % 12) + of_us
    if total < -999999999 or total > 999999999:
        return out_of_range(self, interval_text(us, days, months))
    if months:
        return Interval.make(months, days, us)
    us = floor_mod(us, US_PER_DAY)
    return timedelta_new(<int>total, <int>(us // US_PER_SECOND), <int>(us % US_PER_SECOND))


cdef int interval_encode(const Codec *self, Out *out, object value) except -1:
    cdef int64_t us
    cdef object days
    cdef int32_t months = 0
    if isinstance(value, Interval) or type(value) is InfinityInterval:
        months, days, us = value.interval
    elif PyDelta_Check(value):
        days = timedelta_days(value)
        us = timedelta_seconds(value) * US_PER_SECOND + timedelta_microseconds(value)
    else:
        # dateutil's relativedelta and its like.
        days = value.days
        # In Python's integers: what does not fit at the end is an OverflowError, not another number.
        seconds = value.seconds
        if hasattr(value, "months"):
            months = value.years * 12 + value.months
            seconds += (value.hours * 60 + value.minutes) * 60
        us = seconds * 1000000 + value.microseconds
    out_need(out, 20)
    put_u32(out, 16)
    put_u64(out, <unsigned long long>us)
    put_u32(out, <unsigned int><int32_t>days)
    put_u32(out, <unsigned int>months)
    return 0


cdef enum:
    COUNT = 6

cdef Codec _codecs[COUNT]


cdef int _add(int i, uint32_t oid, int size, Kind kind, decode_fn decode, encode_fn encode,
              const char *name) except -1:
    cdef Codec *codec = &_codecs[i]
    codec.oid = oid
    codec.size = <int16_t>size
    codec.kind = <uint8_t>kind
    codec.format = FORMAT_BINARY
    codec.flags = CODEC_ATOMIC
    codec.decode = decode
    codec.encode = encode
    codec.name = name
    return register(codec)


_add(0, 1082, 4, KIND_DATE, date_decode, date_encode, b"date")
_add(1, 1083, 8, KIND_TIME, time_decode, time_encode, b"time")
_add(2, 1266, 12, KIND_TIMETZ, timetz_decode, timetz_encode, b"timetz")
_add(3, 1114, 8, KIND_TIMESTAMP, timestamp_decode, timestamp_encode, b"timestamp")
_add(4, 1184, 8, KIND_TIMESTAMPTZ, timestamptz_decode, timestamptz_encode, b"timestamptz")
_add(5, 1186, 16, KIND_INTERVAL, interval_decode, interval_encode, b"interval")
