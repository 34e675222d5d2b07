# SPDX-License-Identifier: MIT
# Dates and times by another policy than the built-in one, which is an error for what Python's types cannot hold: as
# text, or as the nearest value there is. And whether the largest and smallest dates stand for the infinities, as they
# do in asyncpg. Each codec here wraps a built-in one, and costs something for the rare values only.
# May import: wire, codec, textform, _textform, exceptions.

import datetime

from libc.stdint cimport int64_t, uint32_t

from fastpg.codecs.codec cimport (
    CODEC_ATOMIC, FORMAT_BINARY, KIND_DATE, KIND_INTERVAL, KIND_TIME, KIND_TIMESTAMP, KIND_TIMESTAMPTZ, KIND_TIMETZ,
    Codec, CodecHandle, Kind, builtin,
)
from fastpg.wire cimport Out, load_i32, load_i64, out_value

from fastpg._temporal import (
    DATE_INFINITY, DATE_MINUS_INFINITY, TIMESTAMP_INFINITY, TIMESTAMP_MINUS_INFINITY, InfinityDate, InfinityDatetime,
)
from fastpg.exceptions import UnrepresentableValueError

OIDS = (1082, 1083, 1266, 1114, 1184, 1186)
MODES = ("error", "text", "clamp")

cdef object UTC = datetime.timezone.utc


cdef class Policy:
    cdef bint as_text
    cdef bint clamp
    cdef bint max_is_infinity
    cdef object parse               # text form -> binary form


cdef CodecHandle temporal_by(uint32_t oid, str out_of_range, bint max_is_infinity):
    cdef const Codec *base = builtin(oid)
    cdef Policy policy = Policy.__new__(Policy)
    cdef CodecHandle handle
    from fastpg.codecs._textform import PARSE       # it uses codecs itself
    policy.as_text = out_of_range == "text"
    policy.clamp = out_of_range == "clamp"
    policy.max_is_infinity = max_is_infinity
    policy.parse = PARSE[oid]
    handle = CodecHandle.derive(oid, base.name.decode(), <Kind>base.kind, FORMAT_BINARY, base.size, CODEC_ATOMIC,
                                policy_decode, policy_encode, None, policy, ())
    handle.codec.element = base
    return handle


cdef object policy_decode(const Codec *self, const char *p, Py_ssize_t n):
    cdef Policy policy = <Policy>self.extra
    try:
        return self.element.decode(self.element, p, n)
    except UnrepresentableValueError as error:
        if policy.as_text:
            return error.value
        if policy.clamp:
            return nearest(self, p)
        raise


cdef object nearest(const Codec *self, const char *p):
    # What is out of range is beyond one end or the other; a time can only be too late.
    cdef int kind = self.kind
    cdef int64_t number
    if kind == KIND_TIME:
        return datetime.time.max
    if kind == KIND_TIMETZ:
        zone = datetime.timezone(datetime.timedelta(seconds=-<int64_t>load_i32(p + 8)))
        return datetime.time.max.replace(tzinfo=zone)
    if kind == KIND_DATE:
        return datetime.date.min if load_i32(p) < 0 else datetime.date.max
    if kind == KIND_INTERVAL:
        # In days, of which one more or less does not matter out there.
        number = <int64_t>load_i32(p + 12) * 30 + load_i32(p + 8) + load_i64(p) // 86400000000
        return datetime.timedelta.min if number < 0 else datetime.timedelta.max
    value = datetime.datetime.min if load_i64(p) < 0 else datetime.datetime.max
    return value if kind == KIND_TIMESTAMP else value.replace(tzinfo=UTC)


cdef int policy_encode(const Codec *self, Out *out, object value) except -1:
    cdef Policy policy = <Policy>self.extra
    cdef bytes data
    cdef const char *p
    if policy.as_text and isinstance(value, str):
        # What was read as text goes back as it came.
        data = policy.parse(value)
        p = data
        return out_value(out, p, len(data))
    if policy.max_is_infinity:
        value = infinity_for(self.kind, value)
    return self.element.encode(self.element, out, value)


cdef object infinity_for(int kind, object value):
    # date.max, datetime.max and their like are asyncpg's infinities.
    if type(value) is InfinityDate or type(value) is InfinityDatetime:
        return value
    if kind == KIND_DATE and isinstance(value, datetime.date):
        if (value.year, value.month, value.day) == (9999, 12, 31):
            return DATE_INFINITY
        if (value.year, value.month, value.day) == (1, 1, 1):
            return DATE_MINUS_INFINITY
    elif kind in (KIND_TIMESTAMP, KIND_TIMESTAMPTZ) and isinstance(value, datetime.datetime):
        if value.tzinfo is not None and (kind == KIND_TIMESTAMP or value.utcoffset()):
            return value
        if value.replace(tzinfo=None) == datetime.datetime.max:
            return TIMESTAMP_INFINITY
        if value.replace(tzinfo=None) == datetime.datetime.min:
            return TIMESTAMP_MINUS_INFINITY
    elif kind in (KIND_TIMESTAMP, KIND_TIMESTAMPTZ) and value == datetime.date.min:
        return TIMESTAMP_MINUS_INFINITY
    return value
