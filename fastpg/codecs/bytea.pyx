# SPDX-License-Identifier: MIT
# Codec of bytea: the buffer protocol in, bytes out. Bytes are copied at once; no buffer stays exported.
# May import: codecs.codec, wire.

from cpython.buffer cimport PyBUF_FULL_RO, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int32_t, uint32_t

from fastpg.codecs.codec cimport CODEC_ATOMIC, FORMAT_BINARY, KIND_BYTEA, Codec, CodecHandle, register, type_name
from fastpg.wire cimport Out, out_need, out_value, put_u32, wire_len


cdef extern from "Python.h":
    int PyObject_CheckBuffer(object value)
    int PyBuffer_IsContiguous(const Py_buffer *view, char order)
    int PyBuffer_ToContiguous(void *buf, const Py_buffer *view, Py_ssize_t n, char order) except -1


cdef object bytea_decode(const Codec *self, const char *p, Py_ssize_t n):
    return PyBytes_FromStringAndSize(p, n)


cdef int bytea_encode(const Codec *self, Out *out, object value) except -1:
    cdef Py_buffer view
    cdef int32_t n
    if PyBytes_CheckExact(value):
        return out_value(out, PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value))
    if not PyObject_CheckBuffer(value):
        raise TypeError(f"a bytes-like object is required, not '{type_name(value)}'")
    PyObject_GetBuffer(value, &view, PyBUF_FULL_RO)
    try:
        if PyBuffer_IsContiguous(&view, b"C"):
            out_value(out, view.buf, view.len)
        else:
            n = wire_len(view.len)
            out_need(out, view.len + 4)
            put_u32(out, <uint32_t>n)
            PyBuffer_ToContiguous(out.buf + out.len, &view, view.len, b"C")
            out.len += view.len
    finally:
        PyBuffer_Release(&view)
    return 0


def raw(format: int) -> CodecHandle:
    """A codec of the bytes of values of any type, as they are on the wire in this format."""
    return CodecHandle.derive(0, "raw", KIND_BYTEA, format, -1, CODEC_ATOMIC, bytea_decode, bytea_encode, None, None,
                              ())


cdef Codec bytea
bytea.oid = 17
bytea.size = -1
bytea.kind = KIND_BYTEA
bytea.format = FORMAT_BINARY
bytea.flags = CODEC_ATOMIC
bytea.decode = bytea_decode
bytea.encode = bytea_encode
bytea.name = b"bytea"
register(&bytea)
