# SPDX-License-Identifier: MIT
# Codecs of "char", void, tid, txid_snapshot and pg_snapshot.
# May import: codecs.codec, wire.

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.long cimport PyLong_CheckExact
from cpython.ref cimport Py_INCREF
from cpython.tuple cimport PyTuple_New, PyTuple_SET_ITEM
from libc.stdint cimport int16_t, int64_t, uint16_t, uint32_t, uint64_t

from fastpg.codecs.codec cimport (
    CODEC_ATOMIC, FORMAT_BINARY, KIND_CHAR, KIND_SNAPSHOT, KIND_TID, KIND_VOID, Codec, Kind, decode_fn, encode_fn,
    malformed, register, type_name,
)
from fastpg.wire cimport (
    Out, load_i64, load_u16, load_u32, out_begin_value, out_end_value, out_i32, out_i64, out_need, out_value, put_u16,
    put_u32,
)

from decimal import Decimal


cdef extern from "Python.h":
    int PyObject_CheckBuffer(object value)
    unsigned long long PyLong_AsUnsignedLongLong(object value) except? 0xffffffffffffffff


# ---------------------------------------------------------------------------- "char"

cdef object char_decode(const Codec *self, const char *p, Py_ssize_t n):
    return p[:1]


cdef int char_encode(const Codec *self, Out *out, object value) except -1:
    cdef Py_buffer view
    if not PyObject_CheckBuffer(value):
        raise TypeError(f"a bytes-like object is required, not '{type_name(value)}'")
    PyObject_GetBuffer(value, &view, PyBUF_SIMPLE)
    try:
        if view.len != 1:
            raise ValueError(f"exactly one byte is required, got {view.len}")
        out_value(out, view.buf, 1)
    finally:
        PyBuffer_Release(&view)
    return 0


# ------------------------------------------------------------------------------ void

cdef object void_decode(const Codec *self, const char *p, Py_ssize_t n):
    return None                     # an empty value; a function returning void sends it


cdef int void_encode(const Codec *self, Out *out, object value) except -1:
    return out_i32(out, 0)


# ------------------------------------------------------------------------------- tid

cdef int _sequence(object value) except -1:
    if not isinstance(value, (list, tuple)):
        raise TypeError(f"list or tuple expected (got type {type(value)})")
    return 0


cdef uint64_t _unsigned(object value, uint64_t high, str message) except? 0xffffffffffffffff:
    cdef uint64_t result = 0
    if not PyLong_CheckExact(value):
        cls = type(value)
        if not isinstance(value, int) and not hasattr(cls, "__index__") and not hasattr(cls, "__int__"):
            raise TypeError("an integer is required")
        if isinstance(value, Decimal) and value.adjusted() > 20:
            raise OverflowError(message)    # minutes of work for 1E+999999
        value = int(value)
    try:
        result = PyLong_AsUnsignedLongLong(value)
    except OverflowError:
        raise OverflowError(message) from None
    if result > high:
        raise OverflowError(message)
    return result


cdef object tid_decode(const Codec *self, const char *p, Py_ssize_t n):
    return load_u32(p), load_u16(p + 4)


cdef int tid_encode(const Codec *self, Out *out, object value) except -1:
    cdef uint64_t block, offset
    _sequence(value)
    value = tuple(value)            # an item's __int__ may change a list
    if len(value) != 2:
        raise ValueError("invalid number of elements in tid tuple, expecting 2")
    block = _unsigned(value[0], 0xffffffff, "tuple id block value out of uint32 range")
    offset = _unsigned(value[1], 0xffff, "tuple id offset value out of uint16 range")
    out_need(out, 10)
    put_u32(out, 6)
    put_u32(out, <uint32_t>block)
    put_u16(out, <uint16_t>offset)
    return 0


# ------------------------------------------- snapshots: (xmin, xmax, (transactions in progress ...))

cdef object snapshot_decode(const Codec *self, const char *p, Py_ssize_t n):
    cdef Py_ssize_t i
    cdef uint32_t count
    cdef object item                # typed: an inferred int64 would be boxed twice, once without its reference
    if n < 20:
        return malformed(self, f"{n} bytes")
    count = load_u32(p)
    if (n - 20) % 8 or (n - 20) // 8 != count:
        return malformed(self, f"{n} bytes for {count} transactions")
    running = PyTuple_New(count)    # eight bytes of input stand behind each item
    for i in range(<Py_ssize_t>count):
        item = load_i64(p + 20 + 8 * i)
        Py_INCREF(item)
        PyTuple_SET_ITEM(running, i, item)
    return load_i64(p + 4), load_i64(p + 12), running


cdef int snapshot_encode(const Codec *self, Out *out, object value) except -1:
    cdef Py_ssize_t at
    cdef str message = "value out of uint64 range"
    _sequence(value)
    value = tuple(value)
    if len(value) != 3:
        raise ValueError("invalid number of elements in txid_snapshot tuple, expecting 3")
    running = value[2]
    if len(running) > 0x7fffff00:
        raise ValueError("too many transactions in progress")
    running = tuple(running)
    at = out_begin_value(out)
    out_i32(out, <int>len(running))
    out_i64(out, <int64_t>_unsigned(value[0], 0xffffffffffffffff, message))
    out_i64(out, <int64_t>_unsigned(value[1], 0xffffffffffffffff, message))
    for item in running:
        out_i64(out, <int64_t>_unsigned(item, 0xffffffffffffffff, message))
    return out_end_value(out, at)


# ------------------------------------------------------------------------------ table

cdef enum:
    COUNT = 5

cdef Codec _codecs[COUNT]


cdef int _add(int i, uint32_t oid, int16_t size, Kind kind, decode_fn decode, encode_fn encode,
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


_add(0, 18, 1, KIND_CHAR, char_decode, char_encode, b"char")
_add(1, 2278, -1, KIND_VOID, void_decode, void_encode, b"void")
_add(2, 27, 6, KIND_TID, tid_decode, tid_encode, b"tid")
_add(3, 2970, -1, KIND_SNAPSHOT, snapshot_decode, snapshot_encode, b"txid_snapshot")
_add(4, 5038, -1, KIND_SNAPSHOT, snapshot_decode, snapshot_encode, b"pg_snapshot")
