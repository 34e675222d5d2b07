# SPDX-License-Identifier: MIT
# Ranges and multiranges over any bound type with a binary form (wire form in range_send and multirange_send).
# May import: wire, codec, types.

from fastpg.types import Range

from libc.stdint cimport int32_t, uint32_t

from fastpg.codecs.codec cimport (
    FORMAT_BINARY, KIND_MULTIRANGE, KIND_RANGE, Codec, CodecHandle, decode_value, malformed,
)
from fastpg.wire cimport Out, load_i32, out_begin_value, out_end_value, out_i32, out_u8

cdef enum:
    EMPTY = 0x01
    LOWER_INCLUSIVE = 0x02
    UPPER_INCLUSIVE = 0x04
    LOWER_INFINITE = 0x08
    UPPER_INFINITE = 0x10


cdef CodecHandle range_of(uint32_t oid, str name, CodecHandle bound):
    return CodecHandle.derive(oid, name, KIND_RANGE, FORMAT_BINARY, -1, 0, range_decode, range_encode, bound, None, ())


cdef CodecHandle multirange_of(uint32_t oid, str name, CodecHandle range):
    return CodecHandle.derive(oid, name, KIND_MULTIRANGE, FORMAT_BINARY, -1, 0, multirange_decode, multirange_encode,
                              range, None, ())


cdef object take_bound(const Codec *self, const char **p, const char *end):
    cdef int32_t n
    if end - p[0] < 4:
        return malformed(self, "truncated bound")
    n = load_i32(p[0])
    p[0] += 4
    if n < 0 or n > end - p[0]:
        return malformed(self, f"bound of {n} bytes")
    p[0] += n
    return decode_value(self.element, p[0] - n, n)


cdef object range_decode(const Codec *self, const char *p, Py_ssize_t n):
    cdef const char *end = p + n
    cdef unsigned char flags
    cdef object lower = None
    cdef object upper = None
    if n < 1:
        return malformed(self, "no flags")
    flags = <unsigned char>p[0]
    p += 1
    if flags & ~0x1f:
        return malformed(self, f"flags 0x{flags:02x}")
    if flags & EMPTY:
        if p != end:
            return malformed(self, "trailing bytes")
        return Range(empty=True)
    if not flags & LOWER_INFINITE:
        lower = take_bound(self, &p, end)
    if not flags & UPPER_INFINITE:
        upper = take_bound(self, &p, end)
    if p != end:
        return malformed(self, "trailing bytes")
    return Range(lower, upper, lower_inc=bool(flags & LOWER_INCLUSIVE), upper_inc=bool(flags & UPPER_INCLUSIVE))


cdef int range_encode(const Codec *self, Out *out, object value) except -1:
    cdef Py_ssize_t at
    cdef int flags = 0
    cdef object lower = None
    cdef object upper = None
    if isinstance(value, Range):
        if value.isempty:
            flags = EMPTY
        else:
            lower, upper = value.lower, value.upper
            flags = (LOWER_INCLUSIVE if value.lower_inc else 0) | (UPPER_INCLUSIVE if value.upper_inc else 0)
    elif isinstance(value, (tuple, list)):
        if len(value) > 2:
            raise ValueError(f"expected 0, 1 or 2 elements in range (got {len(value)})")
        if len(value) == 0:
            flags = EMPTY
        else:
            lower = value[0]
            upper = value[1] if len(value) == 2 else None
            flags = LOWER_INCLUSIVE if lower is not None else 0
    else:
        raise TypeError(f"list, tuple or Range object expected (got type {type(value)})")
    if not flags & EMPTY:
        if lower is None:
            flags = (flags | LOWER_INFINITE) & ~LOWER_INCLUSIVE
        if upper is None:
            flags = (flags | UPPER_INFINITE) & ~UPPER_INCLUSIVE
    at = out_begin_value(out)
    out_u8(out, <unsigned char>flags)
    if lower is not None:
        self.element.encode(self.element, out, lower)
    if upper is not None:
        self.element.encode(self.element, out, upper)
    return out_end_value(out, at)


cdef object multirange_decode(const Codec *self, const char *p, Py_ssize_t n):
    cdef const char *end = p + n
    cdef int32_t i, count
    cdef list result = []
    if n < 4:
        return malformed(self, "no count")
    count = load_i32(p)
    p += 4
    # A range takes five bytes at the least.
    if count < 0 or count > (end - p) // 5:
        return malformed(self, f"{count} ranges in {end - p} bytes")
    for i in range(count):
        result.append(take_bound(self, &p, end))
    if p != end:
        return malformed(self, "trailing bytes")
    return result


cdef int multirange_encode(const Codec *self, Out *out, object value) except -1:
    cdef Py_ssize_t at
    if isinstance(value, (str, bytes, dict)) or not hasattr(value, "__iter__") or not hasattr(value, "__len__"):
        raise TypeError(f"expected a sequence (got type {type(value).__name__!r})")
    items = list(value)
    at = out_begin_value(out)
    out_i32(out, <int32_t>len(items))
    for item in items:
        self.element.encode(self.element, out, item)
    return out_end_value(out, at)
