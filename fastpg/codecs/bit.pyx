# SPDX-License-Identifier: MIT
# Codecs of bit and varbit: BitString or any bytes-like object in, BitString out.
# On the wire: int32 number of bits, then the bits, the last byte filled up with zeros.
# May import: codecs.codec, wire, types.

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport int32_t, uint32_t

from fastpg.codecs.codec cimport CODEC_ATOMIC, FORMAT_BINARY, KIND_BIT, Codec, malformed, register, type_name
from fastpg.wire cimport Out, load_i32, out_need, put_bytes, put_u32, wire_len

from fastpg.types import BitString


cdef extern from "Python.h":
    int PyObject_CheckBuffer(object value)


cdef object _bit_string = BitString
cdef object _frombytes = BitString.frombytes


cdef object bit_decode(const Codec *self, const char *p, Py_ssize_t n):
    cdef int32_t bits
    if n < 4:
        return malformed(self, f"{n} bytes")
    bits = load_i32(p)
    if bits < 0 or n - 4 != (<Py_ssize_t>bits + 7) // 8:
        return malformed(self, f"{n} bytes for {bits} bits")
    return _frombytes(p[4:n], bits)


cdef int _put(Out *out, const void *p, Py_ssize_t n, Py_ssize_t bits) except -1:
    wire_len(n + 4)
    if bits > 0x7fffffff:
        raise ValueError(f"bit string of {bits} bits is too long")
    out_need(out, n + 8)
    put_u32(out, <uint32_t>(n + 4))
    put_u32(out, <uint32_t>bits)
    if n:
        put_bytes(out, p, n)
    return 0


cdef int bit_encode(const Codec *self, Out *out, object value) except -1:
    cdef Py_buffer view
    cdef Py_ssize_t bits = -1
    if isinstance(value, _bit_string):
        bits = len(value)
        value = value.bytes
    if not PyObject_CheckBuffer(value):
        raise TypeError(f"a bytes-like object is required, not '{type_name(value)}'")
    PyObject_GetBuffer(value, &view, PyBUF_SIMPLE)
    try:
        if bits < 0:
            bits = view.len * 8
        elif view.len != (bits + 7) // 8:
            raise ValueError(f"{view.len} bytes for {bits} bits")
        _put(out, view.buf, view.len, bits)
    finally:
        PyBuffer_Release(&view)
    return 0


cdef enum:
    COUNT = 2

cdef Codec _codecs[COUNT]


cdef int _add(int i, uint32_t oid, const char *name) except -1:
    cdef Codec *codec = &_codecs[i]
    codec.oid = oid
    codec.size = -1
    codec.kind = KIND_BIT
    codec.format = FORMAT_BINARY
    codec.flags = CODEC_ATOMIC
    codec.decode = bit_decode
    codec.encode = bit_encode
    codec.name = name
    return register(codec)


_add(0, 1560, b"bit")
_add(1, 1562, b"varbit")
