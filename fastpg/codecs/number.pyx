# SPDX-License-Identifier: MIT
# Codecs of bool, the integers and the floating-point types.
# Decoding is one load and one constructor; encoding tries the exact type first and coerces out of line.
# May import: codecs.codec, wire.

from cpython.float cimport PyFloat_AS_DOUBLE, PyFloat_AsDouble, PyFloat_CheckExact
from cpython.long cimport PyLong_CheckExact
from libc.math cimport isinf
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memcpy

from fastpg.codecs.codec cimport (
    CODEC_ATOMIC, FORMAT_BINARY, KIND_BOOL, KIND_FLOAT4, KIND_FLOAT8, KIND_INT2, KIND_INT4, KIND_INT8, KIND_UINT4,
    KIND_UINT8, Codec, Kind, decode_fn, encode_fn, malformed, register, type_name,
)
from fastpg.wire cimport (
    Out, load_f32, load_f64, load_i16, load_i32, load_i64, load_u32, load_u64, out_need, put_u8, put_u16, put_u32,
    put_u64,
)

from decimal import Decimal


cdef extern from "Python.h":
    long long PyLong_AsLongLongAndOverflow(object value, int *overflow) except? -1
    unsigned long long PyLong_AsUnsignedLongLong(object value) except? 0xffffffffffffffff


# ------------------------------------------------------------- coercion, out of line

cdef object _overflow(const char *name):
    raise OverflowError(f"value out of {name.decode()} range")


cdef object _integer(object value, const char *name, str refusal):
    # Whatever converts itself to an int; float and Decimal lose their fraction, as asyncpg's callers expect.
    cls = type(value)
    if isinstance(value, int) or hasattr(cls, "__index__") or hasattr(cls, "__int__"):
        if isinstance(value, Decimal) and value.adjusted() > 20:
            return _overflow(name)      # minutes of work for 1E+999999
        try:
            return int(value)
        except OverflowError:           # an infinity
            return _overflow(name)
    raise TypeError(refusal)


cdef int64_t _signed(object value, const char *name, int64_t low, int64_t high) except? -1:
    cdef int overflow = 0
    if not PyLong_CheckExact(value):
        value = _integer(value, name, f"'{type_name(value)}' object cannot be interpreted as an integer")
    cdef int64_t result = PyLong_AsLongLongAndOverflow(value, &overflow)
    if overflow or result < low or result > high:
        _overflow(name)
    return result


cdef uint64_t _unsigned(object value, const char *name, uint64_t high) except? 0xffffffffffffffff:
    cdef uint64_t result = 0
    if not PyLong_CheckExact(value):
        value = _integer(value, name, "an integer is required")
    try:
        result = PyLong_AsUnsignedLongLong(value)
    except OverflowError:
        _overflow(name)
    if result > high:
        _overflow(name)
    return result


cdef object _whole(object value, const char *name, str refusal):
    # What strict codecs take: an int, or what is one without its type being int.
    if isinstance(value, int) or hasattr(type(value), "__index__"):
        return value
    number = _integer(value, name, refusal)
    if number != value:
        raise ValueError("a whole number is expected: strict_numbers=True cuts nothing off")
    return number


# ------------------------------------------------------------------------------ bool

cdef object bool_decode(const Codec *self, const char *p, Py_ssize_t n):
    if p[0] == 1:
        return True
    if p[0] == 0:
        return False
    return malformed(self, "neither 0 nor 1")


cdef int bool_encode(const Codec *self, Out *out, object value) except -1:
    if value is not True and value is not False:
        raise TypeError(f"a boolean is required (got type {type(value).__name__})")
    out_need(out, 5)
    put_u32(out, 1)
    put_u8(out, value is True)
    return 0


# -------------------------------------------------------------------------- integers

cdef object int2_decode(const Codec *self, const char *p, Py_ssize_t n):
    return load_i16(p)


cdef int int2_encode(const Codec *self, Out *out, object value) except -1:
    cdef int64_t v = _signed(value, b"int16", -0x8000, 0x7fff)
    out_need(out, 6)
    put_u32(out, 2)
    put_u16(out, <uint32_t>v & 0xffff)
    return 0


cdef object int4_decode(const Codec *self, const char *p, Py_ssize_t n):
    return load_i32(p)


cdef int int4_encode(const Codec *self, Out *out, object value) except -1:
    cdef int64_t v = _signed(value, b"int32", -<int64_t>0x80000000, 0x7fffffff)
    out_need(out, 8)
    put_u32(out, 4)
    put_u32(out, <uint32_t>v)
    return 0


cdef object int8_decode(const Codec *self, const char *p, Py_ssize_t n):
    return load_i64(p)


cdef int int8_encode(const Codec *self, Out *out, object value) except -1:
    cdef int64_t v = _signed(value, b"int64", (-<int64_t>0x7fffffffffffffff) - 1, 0x7fffffffffffffff)
    out_need(out, 12)
    put_u32(out, 8)
    put_u64(out, <uint64_t>v)
    return 0


cdef object uint4_decode(const Codec *self, const char *p, Py_ssize_t n):
    return load_u32(p)


cdef int uint4_encode(const Codec *self, Out *out, object value) except -1:
    cdef uint64_t v = _unsigned(value, b"uint32", 0xffffffff)
    out_need(out, 8)
    put_u32(out, 4)
    put_u32(out, <uint32_t>v)
    return 0


cdef object uint8_decode(const Codec *self, const char *p, Py_ssize_t n):
    return load_u64(p)


cdef int uint8_encode(const Codec *self, Out *out, object value) except -1:
    cdef uint64_t v = _unsigned(value, b"uint64", 0xffffffffffffffff)
    out_need(out, 12)
    put_u32(out, 8)
    put_u64(out, v)
    return 0


# --------------------------------------------------------------------- floating point

cdef object float4_decode(const Codec *self, const char *p, Py_ssize_t n):
    return load_f32(p)


cdef int float4_encode(const Codec *self, Out *out, object value) except -1:
    cdef double v = PyFloat_AS_DOUBLE(value) if PyFloat_CheckExact(value) else PyFloat_AsDouble(value)
    cdef float narrow = <float>v
    cdef uint32_t bits
    if isinf(narrow) and not isinf(v):
        raise ValueError("value out of float32 range")
    memcpy(&bits, &narrow, 4)
    out_need(out, 8)
    put_u32(out, 4)
    put_u32(out, bits)
    return 0


cdef object float8_decode(const Codec *self, const char *p, Py_ssize_t n):
    return load_f64(p)


cdef int float8_encode(const Codec *self, Out *out, object value) except -1:
    cdef double v = PyFloat_AS_DOUBLE(value) if PyFloat_CheckExact(value) else PyFloat_AsDouble(value)
    cdef uint64_t bits
    memcpy(&bits, &v, 8)
    out_need(out, 12)
    put_u32(out, 8)
    put_u64(out, bits)
    return 0


# ------------------------------------------------------------------------------ table

cdef enum:
    COUNT = 12

cdef Codec _codecs[COUNT]


cdef int _add(int i, uint32_t oid, int size, Kind kind, decode_fn decode, encode_fn encode,
              const char *name) except -1:
    cdef Codec *codec = &_codecs[i]
    codec.oid = oid
    codec.size = size
    codec.kind = kind
    codec.format = FORMAT_BINARY
    codec.flags = CODEC_ATOMIC
    codec.decode = decode
    codec.encode = encode
    codec.name = name
    return register(codec)


_add(0, 16, 1, KIND_BOOL, bool_decode, bool_encode, b"bool")
_add(1, 21, 2, KIND_INT2, int2_decode, int2_encode, b"int2")
_add(2, 23, 4, KIND_INT4, int4_decode, int4_encode, b"int4")
_add(3, 20, 8, KIND_INT8, int8_decode, int8_encode, b"int8")
_add(4, 26, 4, KIND_UINT4, uint4_decode, uint4_encode, b"oid")
_add(5, 28, 4, KIND_UINT4, uint4_decode, uint4_encode, b"xid")
_add(6, 29, 4, KIND_UINT4, uint4_decode, uint4_encode, b"cid")
_add(7, 5069, 8, KIND_UINT8, uint8_decode, uint8_encode, b"xid8")
# A position in the write-ahead log has 64 bits without a sign.
_add(8, 3220, 8, KIND_UINT8, uint8_decode, uint8_encode, b"pg_lsn")
_add(11, 6437, 8, KIND_UINT8, uint8_decode, uint8_encode, b"oid8")          # PostgreSQL 19
_add(9, 700, 4, KIND_FLOAT4, float4_decode, float4_encode, b"float4")
_add(10, 701, 8, KIND_FLOAT8, float8_decode, float8_encode, b"float8")


# -------------------------------------------------------------------- strict integers

cdef enum:
    STRICT = 9

cdef Codec _strict[STRICT]
cdef int _strict_count = 0


cdef int strict_encode(const Codec *self, Out *out, object value) except -1:
    # The built-in encoder, once it is certain that nothing is cut off.
    if not PyLong_CheckExact(value):
        value = _whole(value, self.name, f"'{type(value).__name__}' object cannot be interpreted as an integer")
    return self.element.encode(self.element, out, value)


cdef const Codec *strict_number(uint32_t oid) noexcept:
    cdef int i
    for i in range(_strict_count):
        if _strict[i].oid == oid:
            return &_strict[i]
    return NULL


cdef int _add_strict(const Codec *codec) except -1:
    global _strict_count
    if codec.kind in (KIND_INT2, KIND_INT4, KIND_INT8, KIND_UINT4, KIND_UINT8):
        if _strict_count == STRICT:
            raise RuntimeError("too many integers")
        _strict[_strict_count] = codec[0]
        _strict[_strict_count].encode = strict_encode
        _strict[_strict_count].element = codec
        _strict_count += 1
    return 0


for _i in range(COUNT):
    _add_strict(&_codecs[_i])

#: The OIDs of the integers.
STRICT_OIDS = tuple([_strict[_i].oid for _i in range(STRICT)])
