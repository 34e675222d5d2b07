# SPDX-License-Identifier: MIT
# point, line, lseg, box, path, polygon, circle: float8 coordinates <-> the classes of fastpg.types.
# May import: wire, codec, types.

from fastpg.types import Box, Circle, Line, LineSegment, Path, Point, Polygon

from libc.stdint cimport int16_t, int32_t, uint8_t, uint32_t
from libc.string cimport memcpy

from fastpg.codecs.codec cimport (
    CODEC_ATOMIC, FORMAT_BINARY, KIND_BOX, KIND_CIRCLE, KIND_LINE, KIND_LSEG, KIND_PATH, KIND_POINT, KIND_POLYGON,
    Codec, Kind, decode_fn, encode_fn, malformed, register,
)
from fastpg.wire cimport (
    Out, load_f64, load_i32, out_begin_value, out_end_value, out_i32, out_i64, out_u8,
)


cdef object take_point(const char *p):
    return Point(load_f64(p), load_f64(p + 8))


cdef int put_double(Out *out, object value) except -1:
    cdef double number = value
    cdef long long bits
    memcpy(&bits, &number, 8)
    return out_i64(out, bits)


cdef int put_point(Out *out, object value) except -1:
    put_double(out, value[0])
    return put_double(out, value[1])


cdef object point_decode(const Codec *self, const char *p, Py_ssize_t n):
    return take_point(p)


cdef int point_encode(const Codec *self, Out *out, object value) except -1:
    cdef Py_ssize_t at = out_begin_value(out)
    put_point(out, value)
    return out_end_value(out, at)


cdef object lseg_decode(const Codec *self, const char *p, Py_ssize_t n):
    return LineSegment(take_point(p), take_point(p + 16))


cdef object box_decode(const Codec *self, const char *p, Py_ssize_t n):
    return Box(take_point(p), take_point(p + 16))


cdef int two_points_encode(const Codec *self, Out *out, object value) except -1:
    cdef Py_ssize_t at = out_begin_value(out)
    first, second = value[0], value[1]
    put_point(out, first)
    put_point(out, second)
    return out_end_value(out, at)


cdef object line_decode(const Codec *self, const char *p, Py_ssize_t n):
    return Line(load_f64(p), load_f64(p + 8), load_f64(p + 16))


cdef int line_encode(const Codec *self, Out *out, object value) except -1:
    cdef Py_ssize_t at = out_begin_value(out)
    put_double(out, value[0])
    put_double(out, value[1])
    put_double(out, value[2])
    return out_end_value(out, at)


cdef object circle_decode(const Codec *self, const char *p, Py_ssize_t n):
    return Circle(take_point(p), load_f64(p + 16))


cdef int circle_encode(const Codec *self, Out *out, object value) except -1:
    cdef Py_ssize_t at = out_begin_value(out)
    put_point(out, value[0])
    put_double(out, value[1])
    return out_end_value(out, at)


cdef list take_points(const Codec *self, const char *p, Py_ssize_t n):
    cdef int32_t i, count
    if n < 4:
        malformed(self, "no count")
    count = load_i32(p)
    if count < 0 or (n - 4) // 16 != count or (n - 4) % 16:
        malformed(self, f"{count} points in {n} bytes")
    return [take_point(p + 4 + 16 * i) for i in range(count)]


cdef int put_points(Out *out, object points) except -1:
    out_i32(out, <int32_t>len(points))
    for point in points:
        put_point(out, point)
    return 0


cdef object path_decode(const Codec *self, const char *p, Py_ssize_t n):
    if n < 1 or p[0] not in (0, 1):
        return malformed(self, "neither open nor closed")
    return Path(*take_points(self, p + 1, n - 1), is_closed=p[0] == 1)


cdef int path_encode(const Codec *self, Out *out, object value) except -1:
    cdef Py_ssize_t at = out_begin_value(out)
    if isinstance(value, Path):
        closed, points = value.is_closed, value.points
    else:
        # A tuple is a closed path, a list an open one.
        closed, points = isinstance(value, tuple), value
    len(points)                     # a generator might never end
    out_u8(out, 1 if closed else 0)
    put_points(out, tuple(points))
    return out_end_value(out, at)


cdef object polygon_decode(const Codec *self, const char *p, Py_ssize_t n):
    return Polygon(*take_points(self, p, n))


cdef int polygon_encode(const Codec *self, Out *out, object value) except -1:
    cdef Py_ssize_t at = out_begin_value(out)
    points = value.points if isinstance(value, Path) else value
    len(points)
    put_points(out, tuple(points))
    return out_end_value(out, at)


cdef enum:
    COUNT = 7

cdef Codec _codecs[COUNT]


cdef int _add(int i, uint32_t oid, int size, Kind kind, decode_fn decode, encode_fn encode,
              const char *name) except -1:
    cdef Codec *codec = &_codecs[i]
    codec.oid = oid
    codec.size = <int16_t>size
    codec.kind = <uint8_t>kind
    codec.format = FORMAT_BINARY
    codec.flags = CODEC_ATOMIC
    codec.delimiter = b";" if kind == KIND_BOX else b","
    codec.decode = decode
    codec.encode = encode
    codec.name = name
    return register(codec)


_add(0, 600, 16, KIND_POINT, point_decode, point_encode, b"point")
_add(1, 601, 32, KIND_LSEG, lseg_decode, two_points_encode, b"lseg")
_add(2, 602, -1, KIND_PATH, path_decode, path_encode, b"path")
_add(3, 603, 32, KIND_BOX, box_decode, two_points_encode, b"box")
_add(4, 604, -1, KIND_POLYGON, polygon_decode, polygon_encode, b"polygon")
_add(5, 628, 24, KIND_LINE, line_decode, line_encode, b"line")
_add(6, 718, 24, KIND_CIRCLE, circle_decode, circle_encode, b"circle")
